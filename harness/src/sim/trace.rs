//! The trace: everything that happened in a world as fixed binary records, hashed as it goes.

use xxhash_rust::xxh3::Xxh3;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A host booted; `a` is its incarnation.
    Boot = 1,
    /// A host went down; `a` is 1 at a power cut, else 0.
    Down = 2,
    /// Software ended by itself; `a` is its exit code.
    Exit = 3,
    /// A connect was tried; `a` is the connection, `b` the other host.
    Connect = 10,
    /// A connect ended; `a` is the connection, `b` its errno or 0.
    Connected = 11,
    /// A connection was accepted; `a` is the connection.
    Accepted = 12,
    /// Bytes were sent; `a` is the connection, `b` their number.
    Sent = 13,
    /// Bytes arrived; `a` is the connection, `b` their number.
    Arrived = 14,
    /// A FIN was sent; `a` is the connection.
    Closed = 15,
    /// An end broke; `a` is the connection, `b` the errno.
    Broken = 16,
    /// A probe event; `a` is its sequence, `b` a hash of its place.
    Event = 20,
    /// An effect became visible; `a` is a hash of its endpoint and name, `b` one of its content.
    Effect = 21,
    /// An event of the load was handed over; `a` is its number, `b` the attempt.
    Offered = 30,
    /// The system answered an offer; `a` is its number, `b` 0 accepted, 1 rejected, 2 indeterminate.
    Answered = 31,
    /// A step of the plan began; `a` is its number.
    Fault = 40,
    /// A step of the plan was healed; `a` is its number, `b` its hits.
    Heal = 41,
    /// The world entered a phase; `a` is its number.
    Phase = 42,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Virtual ns since the world's start.
    pub at_ns: u64,
    /// The host's place in the world's table; `u16::MAX` for the world itself.
    pub host: u16,
    /// Its number, from 0.
    pub seq: u64,
    /// A [`Kind`], plus the event's own number in the upper byte for probe events.
    pub kind: u16,
    /// First field.
    pub a: u64,
    /// Second field.
    pub b: u64,
}

impl Record {
    fn bytes(&self) -> [u8; 36] {
        let mut out = [0; 36];
        out[..8].copy_from_slice(&self.at_ns.to_le_bytes());
        out[8..10].copy_from_slice(&self.host.to_le_bytes());
        out[10..18].copy_from_slice(&self.seq.to_le_bytes());
        out[18..20].copy_from_slice(&self.kind.to_le_bytes());
        out[20..28].copy_from_slice(&self.a.to_le_bytes());
        out[28..].copy_from_slice(&self.b.to_le_bytes());
        out
    }
}

/// The host number of the world itself.
pub const WORLD: u16 = u16::MAX;

/// A finished trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// xxh3-128 over all records; equal for equal runs.
    pub hash: u128,
    /// How many records there were.
    pub count: u64,
    /// The records, when they were asked for; else empty.
    pub records: Vec<Record>,
}

impl Trace {
    /// The hash as 32 hexadecimal digits.
    #[must_use]
    pub fn hash_text(&self) -> String {
        format!("{:032x}", self.hash)
    }

    /// The kept records as text, one a line: virtual ns, host, number, kind, two fields.
    #[must_use]
    pub fn lines(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for record in &self.records {
            let _ = writeln!(text, "{record:?}");
        }
        text
    }
}

/// Takes records and hashes them.
pub(crate) struct Tracer {
    hash: Xxh3,
    count: u64,
    kept: Option<Vec<Record>>,
}

impl Tracer {
    pub fn new(keep: bool) -> Tracer {
        Tracer { hash: Xxh3::new(), count: 0, kept: keep.then(Vec::new) }
    }

    pub fn record(&mut self, at_ns: u64, host: u16, kind: u16, a: u64, b: u64) {
        let record = Record { at_ns, host, seq: self.count, kind, a, b };
        self.count += 1;
        self.hash.update(&record.bytes());
        if let Some(kept) = &mut self.kept {
            kept.push(record);
        }
    }

    pub fn finish(&mut self) -> Trace {
        Trace { hash: self.hash.digest128(), count: self.count, records: self.kept.take().unwrap_or_default() }
    }
}

/// The first place where two kept traces part, by their records or the lines of them: what each has there, `None` past its
/// end. `None` when they are equal.
#[must_use]
pub fn first_difference<T: Copy + PartialEq>(a: &[T], b: &[T]) -> Option<(Option<T>, Option<T>)> {
    (0..a.len().max(b.len())).map(|i| (a.get(i).copied(), b.get(i).copied())).find(|(a, b)| a != b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(fields: &[u64]) -> Trace {
        let mut tracer = Tracer::new(true);
        for (i, field) in fields.iter().enumerate() {
            tracer.record(i as u64, 0, Kind::Sent as u16, *field, 0);
        }
        tracer.finish()
    }

    #[test]
    fn equal_records_hash_alike_and_the_first_difference_is_found() {
        assert_eq!(trace(&[1, 2, 3]).hash, trace(&[1, 2, 3]).hash);
        assert_eq!(first_difference(&trace(&[1, 2]).records, &trace(&[1, 2]).records), None);
        let (a, b) = first_difference(&trace(&[1, 2, 3]).records, &trace(&[1, 9, 3]).records).unwrap();
        assert_eq!((a.unwrap().a, b.unwrap().a), (2, 9));
        let (a, b) = first_difference(&trace(&[1]).records, &trace(&[1, 2]).records).unwrap();
        assert_eq!((a, b.unwrap().a), (None, 2));
        assert_ne!(trace(&[1]).hash, trace(&[1, 2]).hash);
    }
}
