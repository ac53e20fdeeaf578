//! What a witness writes: a record after the other, each behind its length.

use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::observe::Event;
use seaworthy_engine::packet::Seq;
use serde::{Deserialize, Serialize};

/// Bytes of a length.
const LENGTH: usize = 4;

/// Something that happened; times are of the machine's clock.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record {
    /// A life of the process begins.
    Began { at_ns: u64, process: String },
    /// A source brought these in, each a packet as the engine encodes it.
    Brought { at_ns: u64, node: Arc<str>, entries: Vec<(Seq, Bytes)> },
    /// A source heard that these are settled durably.
    Settled { at_ns: u64, node: Arc<str>, seqs: Vec<Seq> },
    /// A sink took these, durably.
    Took { at_ns: u64, node: Arc<str>, packets: Vec<Taken> },
    /// What the engine told.
    Said { at_ns: u64, events: Vec<Event> },
    /// An assertion of the engine's was looked at.
    Looked { at_ns: u64, place: Arc<str>, id: String, held: bool },
    /// What came from here on was not written down.
    Full { at_ns: u64 },
    /// The life ended by itself, and took so much of the processor.
    Ended { at_ns: u64, cpu_ns: u64 },
}

/// A packet at a sink.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) packet_id: String,
    pub(super) key: Option<String>,
    pub(super) content: Bytes,
}

impl Record {
    pub(super) fn at_ns(&self) -> u64 {
        match self {
            Record::Began { at_ns, .. }
            | Record::Brought { at_ns, .. }
            | Record::Settled { at_ns, .. }
            | Record::Took { at_ns, .. }
            | Record::Said { at_ns, .. }
            | Record::Looked { at_ns, .. }
            | Record::Full { at_ns }
            | Record::Ended { at_ns, .. } => *at_ns,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let record = postcard::to_stdvec(self).expect("records hold only types that postcard can write");
        let length = u32::try_from(record.len()).expect("a batch is far below 4 GiB");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&record);
    }

    /// The records of a file, up to one that its process did not finish.
    pub(super) fn all(mut bytes: &[u8]) -> impl Iterator<Item = Record> {
        std::iter::from_fn(move || {
            let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
            let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            bytes = rest;
            postcard::from_bytes(record).ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_up_to_one_that_is_cut() {
        let mut bytes = Vec::new();
        Record::Began { at_ns: 1, process: "edge".into() }.encode(&mut bytes);
        Record::Settled { at_ns: 2, node: "feed".into(), seqs: vec![Seq(7)] }.encode(&mut bytes);
        let whole = bytes.len();
        Record::Full { at_ns: 3 }.encode(&mut bytes);
        for cut in whole..bytes.len() {
            let times: Vec<u64> = Record::all(&bytes[..cut]).map(|record| record.at_ns()).collect();
            assert_eq!(times, [1, 2], "{cut}");
        }
        assert_eq!(Record::all(&bytes).count(), 3);
    }
}
