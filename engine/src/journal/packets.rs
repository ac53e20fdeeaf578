//! The needed packets of one channel: where they lie, and the newest of them themselves. Pure.

use std::collections::VecDeque;

use bytes::Bytes;

use super::frame::At;
use super::runs::Runs;
use crate::packet::Seq;

/// A channel's packets that somebody still needs.
#[derive(Clone, Debug, Default)]
pub struct Packets {
    /// The last number given.
    pub last: Seq,
    pub(super) entries: Runs,
    /// The newest packets, so that a reader that keeps up never touches the disk.
    pub(super) tail: VecDeque<(Seq, Bytes)>,
    pub(super) tail_bytes: usize,
}

impl Packets {
    /// How many somebody still needs.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.entries.len()
    }

    /// The first needed packet at or after `from`, and the frame that holds it.
    #[must_use]
    pub fn next(&self, from: Seq) -> Option<(Seq, At)> {
        self.entries.next(from)
    }

    /// True when `seq` is still needed.
    #[must_use]
    pub fn has(&self, seq: Seq) -> bool {
        self.entries.has(seq)
    }

    /// Packets from `from` on that are in memory, without a gap; empty when `from` itself is not.
    #[must_use]
    pub fn cached(&self, from: Seq, packets_max: usize, bytes_max: usize) -> Vec<(Seq, Bytes)> {
        let start = self.tail.partition_point(|(seq, _)| *seq < from);
        let mut out = Vec::new();
        let mut bytes = 0;
        for (seq, packet) in self.tail.range(start..).take(packets_max) {
            if !out.is_empty() && bytes + packet.len() > bytes_max {
                break;
            }
            if self.has(*seq) {
                bytes += packet.len();
                out.push((*seq, packet.clone()));
            }
        }
        out
    }
}
