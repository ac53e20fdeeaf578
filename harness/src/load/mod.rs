//! The load: every event that a seed offers, with its instant, its number and its content, before anything runs.

mod arrival;
mod disturb;
mod rows;

pub use disturb::disturb;
pub use rows::{Rows, RowsError};

use std::collections::BTreeMap;

use bytes::Bytes;
use seaworthy_engine::node::Draft;
use seaworthy_engine::packet::{BUSINESS_KEY, ContentType, Kind, Seq, SmolStr, ToSmolStr};

use crate::plan::{Ns, unit};
use crate::scenario::draw::draw;
use crate::scenario::{Content, Load, Made, Scenario, Size, Template};

/// The instant that virtual time 0 is on simulated calendars: 2026-01-01 00:00 UTC, in ns since 1970. Events without a
/// time of their own are stamped from it.
pub const EPOCH_UNIX_NS: i64 = 1_767_225_600_000_000_000;

/// The most events that one load may come to.
pub const EVENTS_MAX: u64 = 5_000_000;

/// One event of the load.
#[derive(Clone, Debug)]
pub struct LoadEvent {
    /// Where it enters, as `host.node`.
    pub entry: String,
    /// Its number there, from 1, in order of arrival.
    pub seq: Seq,
    /// When it is meant to arrive, virtual ns.
    pub intended_ns: Ns,
    /// The event; its `packet_id` is unique at its entry.
    pub draft: Draft,
}

/// A load that can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A file of rows was not handed over.
    #[error("load `{load}` needs the rows of {path}, which were not read")]
    NoRows {
        /// The load.
        load: String,
        /// As the scenario writes it.
        path: String,
    },
    /// Too many events.
    #[error("load `{load}` comes to more than {EVENTS_MAX} events; lower its rate or shorten the run")]
    TooMany {
        /// The load.
        load: String,
    },
    /// A trace without times.
    #[error(
        "load `{load}` replays the times of its rows, but a row has none; write another arrival, or give each row a `time` in ms"
    )]
    NoTimes {
        /// The load.
        load: String,
    },
    /// No event at all.
    #[error("load `{load}` has no event within the run; it would test nothing")]
    Empty {
        /// The load.
        load: String,
    },
}

/// Every event of `seed`, in order of arrival, then of entry. `rows` holds the files of [`Scenario::rows`] by the path
/// that the scenario writes. Pure; draws are keyed by load and index.
///
/// # Errors
/// Rows that are missing or don't suit the arrival, too many events, or none.
pub fn workload(scenario: &Scenario, seed: u64, rows: &BTreeMap<String, Rows>) -> Result<Vec<LoadEvent>, LoadError> {
    let mut events = Vec::new();
    for load in &scenario.loads {
        let before = events.len();
        let source = source(load, rows)?;
        let times = arrival::times(load, seed, source.limit(), scenario.sim.duration_ns, source.rows())?;
        for (index, intended_ns) in times.into_iter().enumerate() {
            let index = index as u64;
            let draft = source.draft(load, seed, index, intended_ns);
            events.push(LoadEvent { entry: load.entry.clone(), seq: Seq(index + 1), intended_ns, draft });
        }
        if events.len() == before {
            return Err(LoadError::Empty { load: load.name.clone() });
        }
    }
    in_order(&mut events);
    Ok(events)
}

/// In order of arrival, then of entry. Entries have one load each, so within an entry this keeps the order of numbers.
fn in_order(events: &mut [LoadEvent]) {
    events.sort_by(|a, b| (a.intended_ns, &a.entry, a.seq).cmp(&(b.intended_ns, &b.entry, b.seq)));
}

/// What a load's events are made from.
enum Source<'a> {
    Rows { rows: &'a Rows, path: &'a str, repeat: bool },
    Made(&'a Made),
}

fn source<'a>(load: &'a Load, rows: &'a BTreeMap<String, Rows>) -> Result<Source<'a>, LoadError> {
    Ok(match &load.content {
        Content::Rows { path, repeat } => {
            let missing = || LoadError::NoRows { load: load.name.clone(), path: path.clone() };
            Source::Rows { rows: rows.get(path).ok_or_else(missing)?, path, repeat: *repeat }
        }
        Content::Made(made) => Source::Made(made),
    })
}

impl Source<'_> {
    fn rows(&self) -> Option<&Rows> {
        match self {
            Source::Rows { rows, .. } => Some(rows),
            Source::Made(_) => None,
        }
    }

    /// How many events there can be.
    fn limit(&self) -> Option<u64> {
        match self {
            Source::Rows { rows, repeat: false, .. } => Some(rows.len()),
            Source::Rows { rows, .. } if rows.is_empty() => Some(0),
            _ => None,
        }
    }

    fn draft(&self, load: &Load, seed: u64, index: u64, intended_ns: Ns) -> Draft {
        let stamped = |packet_id, source_id: &str| Draft {
            packet_id,
            ts: EPOCH_UNIX_NS + intended_ns as i64,
            kind: Kind::Event,
            source_id: source_id.into(),
            key: None,
            content_type: ContentType::Json,
            payload: Bytes::new(),
            meta: BTreeMap::new(),
        };
        let numbered = || stamped(format_args!("{}-{}", load.name, index + 1).to_smolstr(), &load.name);
        match self {
            // Rows bring their own ids.
            Source::Rows { rows, path, .. } => {
                rows.draft(index, load.key.as_deref(), stamped(SmolStr::default(), path))
            }
            Source::Made(Made::Json(fields)) => {
                let object = object(fields, |field| draw(seed, "load", &load.name, index, field));
                let text_of = |field: &Option<String>| field.as_ref().and_then(|field| object.get(field)).map(key_text);
                let (key, business_key) = (text_of(&load.key).map(SmolStr::from), text_of(&load.business_key));
                let meta = business_key.into_iter().map(|key| (BUSINESS_KEY.to_owned(), key)).collect();
                Draft { key, payload: json(&object), meta, ..numbered() }
            }
            Source::Made(Made::Bytes(size)) => Draft {
                content_type: ContentType::Bytes,
                payload: noise(*size, |field| draw(seed, "load", &load.name, index, field)),
                ..numbered()
            },
        }
    }
}

/// A payload that is made up, and how it is to be read; `draw` gives the draw of each field.
pub(crate) fn made(content: &Made, draw: impl Fn(&str) -> u64) -> (ContentType, Bytes) {
    match content {
        Made::Json(fields) => (ContentType::Json, json(&object(fields, draw))),
        Made::Bytes(size) => (ContentType::Bytes, noise(*size, draw)),
    }
}

type Object = serde_json::Map<String, serde_json::Value>;

fn object(fields: &BTreeMap<String, Template>, draw: impl Fn(&str) -> u64) -> Object {
    fields.iter().map(|(name, template)| (name.clone(), generate(template, draw(name)))).collect()
}

fn json(object: &Object) -> Bytes {
    serde_json::to_vec(object).expect("an object of plain values is JSON").into()
}

fn generate(template: &Template, draw: u64) -> serde_json::Value {
    match template {
        Template::Constant(value) => value.clone(),
        Template::Key(names) => format!("k{}", ((u128::from(draw) * u128::from(*names)) >> 64) as u64).into(),
        Template::Uniform(from, to) => (from + (to - from) * unit(draw)).into(),
    }
}

/// A field's value as a packet's key: texts as they are, other values as JSON.
fn key_text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Bytes of a drawn size that differ from event to event.
fn noise(size: Size, draw: impl Fn(&str) -> u64) -> Bytes {
    let width = u128::from(size.to - size.from) + 1;
    let length = size.from as usize + ((u128::from(draw("size")) * width) >> 64) as usize;
    draw("bytes").to_le_bytes().into_iter().cycle().take(length).collect()
}
