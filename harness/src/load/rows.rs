//! A file of JSON lines as an endless supply of events.

use std::collections::BTreeSet;

use bytes::Bytes;
use seaworthy_engine::node::Draft;
use seaworthy_engine::packet::ToSmolStr;
use serde::Serializer as _;
use serde_json::{Map, Value};

use super::key_text;

/// A row that can't be an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum RowsError {
    /// Not a JSON object.
    #[error("{path}:{line}: not a JSON object: {message}")]
    #[diagnostic(code(rows::not_json), help("each line of a file of rows is one JSON object with an `id`"))]
    NotJson {
        /// The file.
        path: String,
        /// From 1.
        line: u64,
        /// What the parser says.
        message: String,
    },
    /// No usable `id`.
    #[error("{path}:{line}: `id` must be a text without `#` or a number")]
    #[diagnostic(code(rows::bad_id), help("the ledger knows events by their id; `#` is kept for laps"))]
    BadId {
        /// The file.
        path: String,
        /// From 1.
        line: u64,
    },
    /// An `id` that an earlier row has.
    #[error("{path}:{line}: the id `{id}` was there before")]
    #[diagnostic(code(rows::duplicate_id), help("the ledger knows events by their id; give each row its own"))]
    DuplicateId {
        /// The file.
        path: String,
        /// From 1.
        line: u64,
        /// The id.
        id: String,
    },
    /// A `time` that is no whole number.
    #[error("{path}:{line}: `time` must be a whole number of milliseconds since 1970")]
    #[diagnostic(code(rows::bad_time), help("write it as an integer, or leave it out"))]
    BadTime {
        /// The file.
        path: String,
        /// From 1.
        line: u64,
    },
}

/// What an id and a time of a later lap may take beyond those of the row, bytes; a guess that only spares growing.
const LAP_BYTES: usize = 32;

/// The rows of one file.
#[derive(Clone, Debug)]
pub struct Rows {
    rows: Vec<Row>,
    first_ms: i64,
    /// From the first to the last time, both included, so that a lap never repeats an instant.
    span_ms: i64,
}

#[derive(Clone, Debug)]
struct Row {
    id: String,
    time_ms: Option<i64>,
    fields: Map<String, Value>,
    /// As it stands in the file.
    line: Bytes,
}

impl Rows {
    /// Reads the text of the file `path`, which only errors mention. Empty lines are skipped.
    ///
    /// # Errors
    /// The first line that can't be an event.
    pub fn parse(path: &str, text: &str) -> Result<Rows, RowsError> {
        let path = path.to_owned();
        let mut ids = BTreeSet::new();
        let mut rows = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let fields: Map<String, Value> = serde_json::from_str(line).map_err(|error| RowsError::NotJson {
                path: path.clone(),
                line: number,
                message: error.to_string(),
            })?;
            let id = match fields.get("id") {
                Some(Value::String(id)) if !id.contains('#') && !id.is_empty() => id.clone(),
                Some(Value::Number(id)) => id.to_string(),
                _ => return Err(RowsError::BadId { path, line: number }),
            };
            let time_ms = match fields.get("time") {
                None => None,
                // A century around now: far more than any file, and no sum of it overflows in nanoseconds.
                Some(time) => match time.as_i64().filter(|time| time.abs() < 4_102_444_800_000) {
                    Some(time) => Some(time),
                    None => return Err(RowsError::BadTime { path, line: number }),
                },
            };
            if !ids.insert(id.clone()) {
                return Err(RowsError::DuplicateId { path, line: number, id });
            }
            rows.push(Row { id, time_ms, fields, line: Bytes::copy_from_slice(line.trim().as_bytes()) });
        }
        let times = || rows.iter().filter_map(|row| row.time_ms);
        let first_ms = times().min().unwrap_or(0);
        let span_ms = times().max().map_or(0, |last| last - first_ms + 1);
        Ok(Rows { rows, first_ms, span_ms })
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of event `index` and its lap.
    fn row(&self, index: u64) -> (&Row, i64) {
        let (lap, row) = (index / self.len(), index % self.len());
        (&self.rows[row as usize], lap as i64)
    }

    /// How long after the first row event `index` happened, in ms; `None` for a row without a time.
    pub(super) fn offset_ms(&self, index: u64) -> Option<i64> {
        let (row, lap) = self.row(index);
        Some(row.time_ms? - self.first_ms + lap.saturating_mul(self.span_ms))
    }

    /// Event `index`. The first lap is the file byte for byte; a later one has `<id>#<lap>` for its id and its time moved
    /// on by the span, in the packet and in its payload.
    pub(super) fn draft(&self, index: u64, key: Option<&str>, stamped: Draft) -> Draft {
        let (row, lap) = self.row(index);
        let time_ms = row.time_ms.map(|time| time.saturating_add(lap.saturating_mul(self.span_ms)));
        let key = key.and_then(|key| row.fields.get(key)).map(|value| key_text(value).into());
        let ts = time_ms.map_or(stamped.ts, |time| time.saturating_mul(1_000_000));
        if lap == 0 {
            return Draft { packet_id: row.id.as_str().into(), ts, key, payload: row.line.clone(), ..stamped };
        }
        let packet_id = format_args!("{}#{lap}", row.id).to_smolstr();
        let (id, time) = (Value::from(packet_id.as_str()), time_ms.map(Value::from));
        let fields = row.fields.iter().map(|(name, value)| match name.as_str() {
            "id" => (name, &id),
            "time" => (name, time.as_ref().unwrap_or(value)),
            _ => (name, value),
        });
        let mut payload = Vec::with_capacity(row.line.len() + LAP_BYTES);
        let mut json = serde_json::Serializer::new(&mut payload);
        json.collect_map(fields).expect("an object that was JSON is JSON");
        Draft { packet_id, ts, key, payload: payload.into(), ..stamped }
    }
}
