//! Checks what a file means: from texts to a typed scenario, against the world that the graph makes.

use std::collections::BTreeMap;
use std::path::Path;

use seaworthy_engine::journal::Durability;
use seaworthy_engine::observe::What;

use super::address::{Target, World};
use super::check_fault;
use super::error::{ScenarioError, Span, span};
use super::expect::{Limit, Metric, Objective};
use super::expr::{Expr, ExprError, Term, Unit};
use super::model::{Load, Ordering, Promise, Scenario, SeedSets, Sim, Sometimes};
use super::shape::{Named, Text};
use super::sources::Sources;
use super::spec::{EngineText, File, PromiseText, SeedsText, SimText, SometimesText};
use super::value::{self, MS, SECOND, Seeds, ValueError, nearest};
use crate::plan::Tuning;

/// What a file is checked against and where its errors go.
pub(super) struct Checker<'a> {
    pub world: &'a World,
    pub sources: &'a Sources,
    /// Ids of all faults of the file, also of those that could not be read.
    pub faults: Vec<String>,
    pub errors: &'a mut Vec<ScenarioError>,
}

pub(super) fn check(sources: &Sources, file: File, world: &World, errors: &mut Vec<ScenarioError>) -> Option<Scenario> {
    let faults = file.faults.0.iter().map(|(id, _)| id.value.clone()).collect();
    let path = Path::new(sources.path());
    let mut checker = Checker { world, sources, faults, errors };
    let may_sabotage = path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "must_fail");
    let sim = checker.sim(file.sim.and_then(|sim| sim.0));
    let engine_text = file.engine.and_then(|engine| engine.0);
    let engine_at = engine_text.as_ref().map(|text| text.at.clone());
    let engine = checker.engine(engine_text);
    let seeds = checker.seeds(file.seeds.and_then(|seeds| seeds.0));
    let promise = checker.promise(file.promise.and_then(|promise| promise.0));
    let stand_ins = checker.stand_ins(file.stand_in);
    let loads = file.load.0.map(|loads| checker.loads(loads.named())).unwrap_or_default();
    if let Some(at) = engine_at.filter(|_| engine.durability() != Durability::Sync) {
        checker.forgetting(&loads, &at);
    }
    let faults = check_fault::faults(&mut checker, file.faults, sim, may_sabotage);
    let expect = checker.expect(file.expect);
    let sometimes = file.sometimes.into_iter().filter_map(|sometimes| checker.sometimes(sometimes)).collect();
    let why = file.why.0?;
    if why.value.trim().is_empty() {
        let help = "say in one sentence what a failure of this scenario would mean".to_owned();
        checker.errors.push(ScenarioError::BadValue { message: "`why` is empty".to_owned(), at: span(&why.at), help });
    }
    Some(Scenario {
        id: sources.id(),
        why: why.value,
        dir: path.parent().unwrap_or(Path::new("")).to_owned(),
        graph: file.graph.0?.value,
        loads,
        sim,
        cpu: file.cpu.map(|cpu| cpu.value),
        stand_ins,
        engine,
        seeds,
        promise,
        faults,
        expect,
        sometimes,
    })
}

impl Checker<'_> {
    /// Keeps a value, or its error.
    pub fn keep<T>(&mut self, result: Result<T, ScenarioError>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }

    /// Reads a text as a value.
    pub fn value<T>(&mut self, key: &str, text: &Text, read: impl Fn(&str) -> Result<T, ValueError>) -> Option<T> {
        self.keep(read(&text.value).map_err(|error| ScenarioError::value(key, error, &text.at)))
    }

    pub fn contradiction(&mut self, message: impl Into<String>, at: &Span, help: impl Into<String>) {
        self.errors.push(ScenarioError::Contradiction { message: message.into(), at: span(at), help: help.into() });
    }

    pub fn line(&self, at: &Span) -> u32 {
        self.sources.line(at.start)
    }

    fn sim(&mut self, text: Option<SimText>) -> Sim {
        let mut sim = Sim { duration_ns: 60 * SECOND, warmup_ns: 5 * SECOND, tick_ns: MS };
        let Some(text) = text else { return sim };
        let mut given = text.at.clone();
        if let Some((duration, at)) =
            text.duration.and_then(|text| Some((self.value("duration", &text, value::duration)?, text.at)))
        {
            sim.duration_ns = duration;
            if duration == 0 {
                let help = "the load needs time; write \"60s\"".to_owned();
                self.errors.push(ScenarioError::ZeroLength { key: "duration".to_owned(), at: span(&at), help });
            }
            given = at;
        }
        if let Some((warmup, at)) =
            text.warmup.and_then(|text| Some((self.value("warmup", &text, value::duration)?, text.at)))
        {
            sim.warmup_ns = warmup;
            given = at;
        }
        if sim.warmup_ns >= sim.duration_ns && sim.duration_ns > 0 {
            let help = format!(
                "the duration is {}; leave time in which latency is judged",
                value::show_duration(sim.duration_ns)
            );
            self.contradiction("the warm-up takes the whole run", &given, help);
        }
        if let Some((tick, text)) = text.tick.and_then(|text| Some((self.value("tick", &text, value::duration)?, text)))
        {
            if tick == 0 || !tick.is_multiple_of(MS) {
                self.errors.push(ScenarioError::Tick { tick: text.value, at: span(&text.at) });
            } else {
                sim.tick_ns = tick;
            }
        }
        sim
    }

    fn engine(&mut self, text: Option<EngineText>) -> Tuning {
        let mut sizes = Tuning::default();
        let Some(text) = text else { return sizes };
        let at = text.at.clone();
        sizes.durability = text.durability.and_then(|text| self.value("durability", &text, value::durability));
        sizes.segment_bytes = text.segment.and_then(|text| self.value("segment", &text, value::bytes));
        sizes.frame_bytes = text.frame.and_then(|text| self.value("frame", &text, value::bytes));
        sizes.retain_ns = text.retain.and_then(|text| self.value("retain", &text, value::duration));
        sizes.retain_bytes = text.retain_bytes.and_then(|text| self.value("retain_bytes", &text, value::bytes));
        sizes.ends = text.ends.unwrap_or(false);
        sizes.in_flight = text.in_flight.map(|count| u32::try_from(count.value).unwrap_or(u32::MAX));
        if let Err(problem) = sizes.check() {
            self.contradiction(
                problem,
                &at,
                "write it as { segment = \"128KiB\", frame = \"16KiB\", in_flight = 64, durability = \"interval:200\", retain = \"10s\", retain_bytes = \"1MiB\" }",
            );
        }
        sizes
    }

    /// What a disk may forget must be all that a judge has to know of: no output that was seen may hold what is gone.
    fn forgetting(&mut self, loads: &[Load], at: &Span) {
        let nodes = &self.world.nodes;
        let stateful = |host: &str| nodes.iter().any(|node| node.host == host && node.stateful);
        let entered = loads.iter().filter_map(|load| load.entry.split_once('.')).map(|(host, _)| host);
        let found = entered.clone().find_map(|host| {
            let sink = nodes.iter().any(|node| node.host == host && node.sink);
            let far = nodes.iter().find(|node| node.stateful && sink).map(|node| node.host.as_str());
            let near = stateful(host).then_some(host);
            near.or(far).map(|keeper| (host.to_owned(), keeper.to_owned()))
        });
        if let Some((host, keeper)) = found {
            let message = format!(
                "what goes with the power of `{host}` can't be judged: a load enters there, and what was seen of it may be in the state of `{keeper}`, or not"
            );
            let help = "let the load enter by a process without sinks and stateful nodes, or take `durability` out";
            self.contradiction(message, at, help);
        }
    }

    fn seeds(&mut self, text: Option<SeedsText>) -> SeedSets {
        let (pr, release) = text.map_or((None, None), |text| (text.pr, text.release));
        let mut read = |key, text: Option<Text>, to| {
            text.and_then(|text| self.value(key, &text, value::seeds)).unwrap_or(Seeds { from: 1, to })
        };
        SeedSets { pr: read("pr", pr, 8), release: read("release", release, 64) }
    }

    fn promise(&mut self, text: Option<PromiseText>) -> Promise {
        let mut promise = Promise {
            ordering: Ordering::PerKey,
            idempotent: Vec::new(),
            drops: BTreeMap::new(),
            backlog_max: Promise::BACKLOG_MAX,
            disk_bytes_max: Promise::DISK_BYTES_MAX,
        };
        let Some(text) = text else { return promise };
        if let Some(delivery) = text.delivery.filter(|delivery| delivery.value != "at-least-once") {
            let what = format!("the delivery promise `{}`", delivery.value);
            let help = "write \"at-least-once\", or leave the key out".to_owned();
            self.errors.push(ScenarioError::NotInThisVersion { what, at: span(&delivery.at), help });
        }
        match text.ordering.as_ref().map(|ordering| (ordering.value.as_str(), &ordering.at)) {
            None | Some(("per-key", _)) => {}
            Some(("none", _)) => promise.ordering = Ordering::None,
            Some((other, at)) => {
                let help = "write \"per-key\" or \"none\"".to_owned();
                self.errors.push(ScenarioError::BadValue {
                    message: format!("`{other}` is not an order"),
                    at: span(at),
                    help,
                });
            }
        }
        for sink in text.idempotent {
            match self.keep(self.world.find(&sink.value, &sink.at)) {
                Some(Target::Node(node)) if node.sink => promise.idempotent.push(sink.value),
                Some(other) => self.wrong_target(&sink, &other, "`idempotent`", "a sink, such as \"hub.raw\""),
                None => {}
            }
        }
        if let Some(backlog) = text.backlog {
            promise.backlog_max = backlog.value;
        }
        if let Some(disk) = text.disk.and_then(|disk| self.value("disk", &disk, value::bytes)) {
            promise.disk_bytes_max = disk;
        }
        for (rule, limit) in text.drops.0.into_iter().filter_map(|(rule, limit)| Some((rule, limit?))) {
            if !RULES.contains(&&*rule.value) {
                let help = format!("rules that drop are {}", RULES.join(" and "));
                let (message, at) = (format!("no rule is called `{}`", rule.value), span(&rule.at));
                self.errors.push(ScenarioError::BadExpectation { message, at, help });
            }
            let read = Limit::parse(&limit.value, Unit::Ratio).map_err(|error| bad_limit(error, &limit.at));
            if let Some(limit) = self.keep(read) {
                promise.drops.insert(rule.value, limit);
            }
        }
        promise
    }

    pub fn wrong_target(&mut self, on: &Text, is: &Target, who: &str, wanted: &'static str) {
        let (name, is, who) = (on.value.clone(), is.words(), who.to_owned());
        self.errors.push(ScenarioError::WrongTarget { on: name, is, who, wanted, at: span(&on.at) });
    }

    fn expect(&mut self, entries: Named<Text>) -> Vec<Objective> {
        let mut out = Vec::new();
        for (key, limit) in entries.0 {
            let metric = Metric::parse(&key.value).map_err(|error| {
                let at = inside(&key, error.at);
                ScenarioError::BadExpectation { message: error.message, at: span(&at), help: error.help }
            });
            let Some(what) = self.keep(metric) else { continue };
            for fault in what.faults() {
                self.known_fault(fault, &key.at);
            }
            let Some(limit) = limit else { continue };
            let read = Limit::parse(&limit.value, what.unit()).map_err(|error| bad_limit(error, &limit.at));
            if let Some(limit) = self.keep(read) {
                out.push(Objective { line: self.line(&key.at), text: key.value.trim().to_owned(), what, limit });
            }
        }
        out
    }

    fn sometimes(&mut self, text: SometimesText) -> Option<Sometimes> {
        let that = self.condition(&text.that)?;
        Some(Sometimes { line: self.line(&text.that.at), text: text.that.value, that })
    }

    /// Reads a condition and checks that the world has what it is about.
    pub fn condition(&mut self, text: &Text) -> Option<Expr> {
        let read = Expr::parse(&text.value).map_err(|ExprError { message, at, help }| {
            let at = span(&inside(text, at));
            ScenarioError::BadExpression { message, at, help }
        });
        let expr = self.keep(read)?;
        for term in expr.terms() {
            match term {
                Term::Number(_) => {}
                Term::Gauge(gauge) => self.gauge(gauge, text),
                Term::Count { host, place, event } => self.count(host, place, event, text),
                Term::At { fault, gauge } => {
                    self.known_fault(fault, &text.at);
                    if gauge != "backlog" {
                        self.gauge(gauge, text);
                    }
                }
            }
        }
        Some(expr)
    }

    fn known_fault(&mut self, fault: &str, at: &Span) {
        if self.faults.iter().any(|known| known == fault) {
            return;
        }
        let help = match nearest(fault, self.faults.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.faults.is_empty() => "the file has no faults".to_owned(),
            None => format!("the file has {}", self.faults.join(", ")),
        };
        self.errors.push(ScenarioError::UnknownFault { fault: fault.to_owned(), at: span(at), help });
    }

    /// `edge.uplink.backlog`
    fn gauge(&mut self, gauge: &str, text: &Text) {
        let (address, name) = gauge.rsplit_once('.').unwrap_or((gauge, ""));
        if name != "backlog" {
            let help =
                "the one gauge is `backlog`: committed minus settled; for events write `count(host.place.event)`"
                    .to_owned();
            self.errors.push(ScenarioError::BadExpression {
                message: format!("there is no gauge `{name}`"),
                at: span(&text.at),
                help,
            });
            return;
        }
        match self.keep(self.world.find(address, &text.at)) {
            Some(Target::Channel(_)) | None => {}
            Some(other) => {
                let address = Text { value: address.to_owned(), at: text.at.clone() };
                self.wrong_target(&address, &other, "`backlog`", "a channel, such as edge.uplink");
            }
        }
    }

    fn count(&mut self, host: &str, place: &str, event: &str, text: &Text) {
        let names = event_names();
        if !names.contains(&event) {
            let help = match nearest(event, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("events are {}", names.join(", ")),
            };
            self.errors.push(ScenarioError::BadExpression {
                message: format!("there is no event `{event}`"),
                at: span(&text.at),
                help,
            });
        }
        // A process's own journal and its lane report too, and are in no graph.
        let found = if matches!(place, "journal" | "lane") {
            self.world.find(host, &text.at)
        } else {
            self.world.find(&format!("{host}.{place}"), &text.at)
        };
        self.keep(found);
    }
}

/// The rules by which the engine drops packets: what `inbox_overflow` may be.
const RULES: [&str; 2] = ["inbox.drop_new", "inbox.drop_oldest"];

/// The names that `count(…)` knows: the probe's catalogue.
fn event_names() -> [&'static str; 17] {
    let none: seaworthy_engine::observe::Place = "".into();
    [
        What::Entered,
        What::Processed,
        What::Filtered,
        What::Produced,
        What::Granted { to: None },
        What::Joined { member: none.clone(), generation: 0 },
        What::Left { member: none.clone() },
        What::Settled { took_effect: true },
        What::SinkAcked,
        What::Dropped { reason: none.clone() },
        What::DeadLettered { reason: none.clone() },
        What::Committed,
        What::Confirmed,
        What::Synced,
        What::Recovered,
        What::Refused { reason: none.clone() },
        What::Asserted { id: "", held: true },
    ]
    .map(|what| what.name())
}

/// The place of byte `offset` of a text that stands in quotes; the end of the text when it has escapes or blanks.
fn inside(text: &Text, offset: usize) -> Span {
    // A quoted text is its value plus two quotes; anything longer has escapes, and offsets don't map.
    let quote = text.at.len().saturating_sub(text.value.len());
    let start = if quote <= 2 { text.at.start + quote / 2 + offset } else { text.at.start };
    let start = start.min(text.at.end.saturating_sub(1)).max(text.at.start);
    start..text.at.end
}

fn bad_limit(error: ExprError, at: &Span) -> ScenarioError {
    ScenarioError::BadLimit { message: error.message, at: span(at), help: error.help }
}
