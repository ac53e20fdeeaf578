//! Checks the loads of a file: where events enter, when they come, and what they are.

use std::collections::BTreeMap;

use super::address::Target;
use super::check::Checker;
use super::error::{ScenarioError, span};
use super::model::{Arrival, Content, Load, Made, Size, Template};
use super::shape::{Named, Scalar, Text};
use super::spec::LoadText;
use super::value::{self, ValueError};

impl Checker<'_> {
    pub fn loads(&mut self, texts: Vec<(String, LoadText)>) -> Vec<Load> {
        let mut loads: Vec<Load> = Vec::new();
        for (name, text) in texts {
            let into = text.into.clone();
            let Some(load) = self.load(name, text) else { continue };
            if loads.iter().any(|other| other.entry == load.entry) {
                let help = "give one of them another source, or write one load with `stages(…)`";
                self.contradiction(format!("two loads enter by `{}`", load.entry), &into.at, help);
            }
            loads.push(load);
        }
        loads
    }

    fn load(&mut self, name: String, text: LoadText) -> Option<Load> {
        let entry = self.entry(&text.into);
        let arrival = self.arrival(&text);
        let content = self.content(&text);
        if let (Some(Arrival::Trace(_)), Some(Content::Made(_))) = (&arrival, &content) {
            self.contradiction("`trace` needs rows with times", &text.at, "add `rows`, or write another arrival");
        }
        let keys = [(&text.key, true), (&text.business_key, false)];
        for (key, of_rows) in keys.into_iter().filter_map(|(key, of_rows)| Some((key.as_ref()?, of_rows))) {
            let made = match &content {
                Some(Content::Made(Made::Json(fields))) => fields.contains_key(&key.value),
                Some(Content::Made(Made::Bytes(_))) => false,
                Some(Content::Rows { .. }) => of_rows,
                None => true,
            };
            if !made {
                self.contradiction(
                    format!("the load's packets have no field `{}`", key.value),
                    &key.at,
                    "name a field of the template",
                );
            }
        }
        let [key, business_key] = [text.key, text.business_key].map(|key| key.map(|key| key.value));
        Some(Load { name, entry: entry?, arrival: arrival?, content: content?, key, business_key })
    }

    fn entry(&mut self, into: &Text) -> Option<String> {
        match self.keep(self.world.find(&into.value, &into.at))? {
            Target::Node(node) if node.source => Some(format!("{}.{}", node.host, node.node)),
            _ => {
                let sources = self.world.nodes_where(|node| node.source);
                let help = if sources.is_empty() {
                    "the graph has no source".to_owned()
                } else {
                    format!("the graph's sources: {}", sources.join(", "))
                };
                self.errors.push(ScenarioError::NotASource { node: into.value.clone(), at: span(&into.at), help });
                None
            }
        }
    }

    fn arrival(&mut self, text: &LoadText) -> Option<Arrival> {
        match (&text.rate, &text.arrival) {
            (Some(rate), None) => self.value("rate", rate, |text| value::rate(text, false)).map(Arrival::Constant),
            (None, Some(arrival)) => self.value("arrival", arrival, read_arrival),
            (Some(_), Some(arrival)) => {
                self.contradiction(
                    "`rate` and `arrival` both say when events come",
                    &arrival.at,
                    "keep one; `rate = R` is short for `arrival = \"constant(R)\"`",
                );
                None
            }
            (None, None) => {
                let (key, place) = ("rate".to_owned(), format!("the load into `{}`", text.into.value));
                let help = "add `rate = \"200/s\"`, or `arrival = \"poisson(200/s)\"`".to_owned();
                self.errors.push(ScenarioError::MissingKey { key, place, at: span(&text.into.at), help });
                None
            }
        }
    }

    fn content(&mut self, text: &LoadText) -> Option<Content> {
        if let (Some(true), None) = (text.repeat, &text.rows) {
            self.contradiction(
                "`repeat` is about rows, and there are none",
                &text.at,
                "add `rows`, or take `repeat` out",
            );
        }
        match (&text.rows, &text.json, &text.bytes) {
            (Some(rows), None, None) => {
                Some(Content::Rows { path: rows.value.clone(), repeat: text.repeat.unwrap_or(false) })
            }
            (None, Some(fields), None) => self.template(fields).map(|fields| Content::Made(Made::Json(fields))),
            (None, None, Some(size)) => {
                self.value("bytes", size, read_size).map(|size| Content::Made(Made::Bytes(size)))
            }
            (None, None, None) => {
                let (key, place) = ("rows".to_owned(), format!("the load into `{}`", text.into.value));
                let help = "add `rows = \"data/quakes.ndjson\"`, or `json = { … }`, or `bytes = \"512\"`".to_owned();
                self.errors.push(ScenarioError::MissingKey { key, place, at: span(&text.into.at), help });
                None
            }
            _ => {
                self.contradiction(
                    "the load says more than once what it carries",
                    &text.into.at,
                    "keep one of `rows`, `json`, `bytes`",
                );
                None
            }
        }
    }

    pub fn template(&mut self, fields: &Named<Scalar>) -> Option<BTreeMap<String, Template>> {
        let mut out = BTreeMap::new();
        for (name, scalar) in &fields.0 {
            let scalar = scalar.as_ref()?;
            let read =
                read_template(&scalar.value).map_err(|error| ScenarioError::value(&name.value, error, &scalar.at));
            out.insert(name.value.clone(), self.keep(read)?);
        }
        Some(out)
    }
}

fn read_arrival(text: &str) -> Result<Arrival, ValueError> {
    let bad = |help: &str| ValueError { found: text.to_owned(), wanted: "an arrival", help: help.to_owned() };
    let forms = "write \"constant(200/s)\", \"poisson(200/s)\", \"stages(100/s for 10s, 400/s for 5s)\" or \"trace(speed = 600)\"";
    let (name, Some(arguments)) = value::call(text) else { return Err(bad(forms)) };
    match (name, &arguments[..]) {
        ("constant", [rate]) => value::rate(rate, false).map(Arrival::Constant),
        ("poisson", [rate]) => value::rate(rate, false).map(Arrival::Poisson),
        ("stages", stages) if !stages.is_empty() => {
            let stage = |stage: &&str| {
                let (rate, time) =
                    stage.split_once(" for ").ok_or_else(|| bad("write each stage as \"100/s for 10s\""))?;
                match value::duration(time)? {
                    0 => Err(bad("a stage needs time")),
                    time => Ok((value::rate(rate, true)?, time)),
                }
            };
            let stages: Vec<(f64, u64)> = stages.iter().map(stage).collect::<Result<_, _>>()?;
            if stages.iter().all(|(rate, _)| *rate == 0.0) {
                return Err(bad("a load of no events tests nothing"));
            }
            Ok(Arrival::Stages(stages))
        }
        ("trace", [speed]) => {
            let speed = value::named(speed, "speed").and_then(value::number_and_unit);
            match speed {
                Some((speed, "")) if speed > 0.0 => Ok(Arrival::Trace(speed)),
                _ => Err(bad("write \"trace(speed = 600)\": the rows' times, 600 times faster")),
            }
        }
        _ => Err(bad(forms)),
    }
}

/// The largest payload that a template may ask for.
const PAYLOAD_MAX: u64 = 1 << 20;

pub(super) fn read_size(text: &str) -> Result<Size, ValueError> {
    let bad = |help: &str| ValueError { found: text.to_owned(), wanted: "a size in bytes", help: help.to_owned() };
    let number = |part: &str| part.parse::<u64>().map_err(|_| bad("write \"512\", or \"uniform(200, 2000)\""));
    let size = match value::call(text) {
        (plain, None) => Size { from: number(plain)?, to: number(plain)? },
        ("uniform", Some(bounds)) => match bounds[..] {
            [from, to] => Size { from: number(from)?, to: number(to)? },
            _ => return Err(bad("write \"uniform(200, 2000)\"")),
        },
        _ => return Err(bad("write \"512\", or \"uniform(200, 2000)\"")),
    };
    match size {
        Size { from, to } if from > to => Err(bad("the first bound must not be above the second")),
        Size { to, .. } if to > PAYLOAD_MAX => Err(bad("a payload is at most 1 MiB")),
        size => Ok(size),
    }
}

fn read_template(value: &serde_json::Value) -> Result<Template, ValueError> {
    let Some(text) = value.as_str() else { return Ok(Template::Constant(value.clone())) };
    let bad = |help: &str| ValueError { found: text.to_owned(), wanted: "a generator", help: help.to_owned() };
    match value::call(text) {
        (_, None) => Ok(Template::Constant(value.clone())),
        ("key", Some(arguments)) => match arguments[..] {
            [count] => match count.parse() {
                Ok(count @ 1..) => Ok(Template::Key(count)),
                _ => Err(bad("write \"key(12)\": one of 12 names")),
            },
            _ => Err(bad("write \"key(12)\": one of 12 names")),
        },
        ("uniform", Some(arguments)) => {
            let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
            match arguments[..] {
                [from, to] => match (number(from), number(to)) {
                    (Some(from), Some(to)) if from <= to => Ok(Template::Uniform(from, to)),
                    _ => Err(bad("write \"uniform(0, 6)\": a number from 0 to 6")),
                },
                _ => Err(bad("write \"uniform(0, 6)\": a number from 0 to 6")),
            }
        }
        _ => Err(bad("generators are key(N) and uniform(A, B)")),
    }
}
