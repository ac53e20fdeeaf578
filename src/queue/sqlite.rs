//! An SQLite queue of the format's origin: the table `packets`, read in order, never written.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};
use seaworthy_engine::packet::{ContentType, Kind};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3Default;

/// One row, as far as it says something.
pub(super) struct Queued {
    pub(super) seq: u64,
    pub(super) packet_id: String,
    /// ns since 1970 UTC.
    pub(super) ts: i64,
    pub(super) kind: Kind,
    pub(super) source_id: String,
    pub(super) content_type: ContentType,
    pub(super) payload: Bytes,
    pub(super) meta: BTreeMap<String, String>,
    /// The row that came first under the same idempotency key, and whether its payload is the same.
    pub(super) repeats: Option<(u64, bool)>,
}

impl Queued {
    /// Tells this row from one of another queue that has its number; never 0.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut all = Xxh3Default::new();
        for part in [self.packet_id.as_bytes(), self.source_id.as_bytes(), &self.ts.to_le_bytes(), &self.payload[..]] {
            all.update(&(part.len() as u64).to_le_bytes());
            all.update(part);
        }
        all.digest().max(1)
    }
}

/// The queue, open for reading.
pub(super) struct Queue(Connection);

/// The first row of each idempotency key that several have. In memory or a temporary file, never in the queue itself.
const FIRST_OF_KEY: &str = "
    CREATE TEMP TABLE first_of_key (key PRIMARY KEY, seq) WITHOUT ROWID;
    INSERT INTO first_of_key
        SELECT idempotency_key, MIN(seq) FROM main.packets
        WHERE idempotency_key IS NOT NULL AND idempotency_key <> '' GROUP BY idempotency_key HAVING COUNT(*) > 1;";

const ROWS: &str = "
    SELECT p.seq, p.enqueued_at, p.idempotency_key, p.packet_id, p.ts, p.kind, p.source_id, p.payload_json, p.meta_json,
        f.seq, f.seq IS NOT NULL AND o.payload_json IS p.payload_json
    FROM main.packets p
    LEFT JOIN first_of_key f ON f.key = p.idempotency_key AND f.seq < p.seq
    LEFT JOIN main.packets o ON o.seq = f.seq
    WHERE p.seq > ?1 ORDER BY p.seq LIMIT ?2";

impl Queue {
    pub(super) fn open(file: &Path) -> rusqlite::Result<Queue> {
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.execute_batch(FIRST_OF_KEY)?;
        Ok(Queue(connection))
    }

    /// How many rows lie below the first number, 1, and the least of theirs.
    pub(super) fn below_first(&self) -> rusqlite::Result<Option<(usize, i64)>> {
        let below = "SELECT COUNT(*), MIN(seq) FROM main.packets WHERE seq < 1";
        let (rows, least): (i64, Option<i64>) = self.0.query_row(below, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(least.map(|least| (usize::try_from(rows).expect("a count is not negative"), least)))
    }

    /// The last row up to `seq`.
    pub(super) fn last_upto(&self, seq: u64) -> rusqlite::Result<Option<Queued>> {
        let seq = i64::try_from(seq).unwrap_or(i64::MAX);
        let last: Option<i64> =
            self.0.query_row("SELECT MAX(seq) FROM main.packets WHERE seq <= ?1", [seq], |row| row.get(0))?;
        let Some(last) = last.and_then(|last| u64::try_from(last).ok()).filter(|last| *last > 0) else {
            return Ok(None);
        };
        Ok(self.read(last - 1, 1)?.into_iter().next())
    }

    /// The rows behind `after`, at most `max` of them.
    pub(super) fn read(&self, after: u64, max: usize) -> rusqlite::Result<Vec<Queued>> {
        let mut statement = self.0.prepare(ROWS)?;
        let (after, max) = (i64::try_from(after).unwrap_or(i64::MAX), i64::try_from(max).unwrap_or(i64::MAX));
        let rows = statement.query_map((after, max), queued)?;
        rows.collect()
    }
}

fn queued(row: &Row<'_>) -> rusqlite::Result<Queued> {
    let seq = u64::try_from(row.get::<_, i64>(0)?).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, -1))?;
    let enqueued_ns = nanoseconds(row.get_ref(1)?);
    let payload = text(row.get_ref(7)?);
    let mut meta = meta(&text(row.get_ref(8)?));
    let key = text(row.get_ref(2)?);
    if !key.is_empty() {
        meta.entry("idempotency_key".to_owned()).or_insert_with(|| String::from_utf8_lossy(&key).into_owned());
    }
    let kind = String::from_utf8_lossy(&text(row.get_ref(5)?)).into_owned();
    let known = serde_json::from_value(Value::String(kind.clone())).ok();
    if known.is_none() && !kind.is_empty() {
        meta.entry("kind".to_owned()).or_insert(kind);
    }
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&payload).is_ok();
    let words = |at: usize| row.get_ref(at).map(|value| String::from_utf8_lossy(&text(value)).into_owned());
    let (first, same): (Option<i64>, bool) = (row.get(9)?, row.get(10)?);
    Ok(Queued {
        seq,
        packet_id: words(3)?,
        ts: nanoseconds(row.get_ref(4)?).or(enqueued_ns).unwrap_or(0),
        kind: known.unwrap_or_default(),
        source_id: words(6)?,
        content_type: if is_json { ContentType::Json } else { ContentType::Bytes },
        payload: payload.into(),
        meta,
        repeats: first.map(|first| (first.unsigned_abs(), same)),
    })
}

/// A value's bytes; a number's digits.
fn text(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Null => Vec::new(),
        ValueRef::Integer(number) => number.to_string().into_bytes(),
        ValueRef::Real(number) => number.to_string().into_bytes(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
    }
}

/// Text stays text, anything else stays JSON.
fn meta(json: &[u8]) -> BTreeMap<String, String> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(json) else { return BTreeMap::new() };
    let plain = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    fields.into_iter().map(|(name, value)| (name, plain(value))).collect()
}

/// A time since 1970 UTC in s, ms, µs or ns, told apart by its size: seconds reach 10^11 in the year 5138, and ms, µs and
/// ns of this century lie three digits apart.
fn nanoseconds(value: ValueRef<'_>) -> Option<i64> {
    let number = match value {
        ValueRef::Integer(number) => number as f64,
        ValueRef::Real(number) => number,
        ValueRef::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok()?,
        ValueRef::Null | ValueRef::Blob(_) => return None,
    };
    if let (ValueRef::Integer(whole), true) = (value, number.abs() >= 1e17) {
        return Some(whole);
    }
    let scale = match number.abs() {
        size if size < 1e11 => 1e9,
        size if size < 1e14 => 1e6,
        size if size < 1e17 => 1e3,
        _ => 1.0,
    };
    number.is_finite().then_some((number * scale) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_by_its_size() {
        let check = |value, expected| assert_eq!(nanoseconds(value), expected, "{value:?}");
        let ns = 1_785_542_400_000_000_000;
        check(ValueRef::Integer(1_785_542_400), Some(ns));
        check(ValueRef::Real(1_785_542_400.0), Some(ns));
        check(ValueRef::Integer(1_785_542_400_000), Some(ns));
        check(ValueRef::Integer(1_785_542_400_000_000), Some(ns));
        check(ValueRef::Integer(ns + 1), Some(ns + 1));
        check(ValueRef::Text(b"1785542400"), Some(ns));
        check(ValueRef::Text(b"yesterday"), None);
        check(ValueRef::Real(f64::NAN), None);
        check(ValueRef::Null, None);
    }

    #[test]
    fn meta_is_small_and_flat() {
        let found = meta(br#"{"a": "b", "n": 1, "deep": {"x": [1]}}"#);
        let expected = [("a", "b"), ("deep", r#"{"x":[1]}"#), ("n", "1")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert!(meta(b"nonsense").is_empty() && meta(b"[1]").is_empty());
    }
}
