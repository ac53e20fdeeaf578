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
    /// The last that was synced, where commits are confirmed before they are; see [`super::Journal::read_synced`].
    pub(super) synced: Seq,
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

    /// Of what one frame holds, ascending, what is needed from `from` on and up to where another frame holds the next: who
    /// reads on from there must not take what lies in between for settled.
    pub(super) fn without_holes(&self, from: Seq, found: Vec<(Seq, Bytes)>) -> Vec<(Seq, Bytes)> {
        let mut out = Vec::with_capacity(found.len());
        let mut expected = self.next(from).map(|(seq, _)| seq);
        for (seq, packet) in found {
            match expected {
                Some(next) if seq == next => {
                    out.push((seq, packet));
                    expected = self.next(seq.next()).map(|(seq, _)| seq);
                }
                Some(next) if seq < next => {}
                _ => break,
            }
        }
        out
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

#[cfg(test)]
mod tests {
    use super::super::frame::At;
    use super::*;

    #[test]
    fn what_another_frame_holds_ends_what_is_read() {
        let mut packets = Packets::default();
        let frame = |segment| At { segment, offset: 512 };
        // 1 was copied forward into the frame that holds 4; 2 and 3 lie in another.
        for (seq, segment) in [(1, 7), (2, 5), (3, 5), (4, 7), (6, 7)] {
            packets.entries.add(Seq(seq), 1, frame(segment));
        }
        let found = |seqs: &[u64]| seqs.iter().map(|seq| (Seq(*seq), Bytes::new())).collect();
        let seqs = |out: Vec<(Seq, Bytes)>| out.into_iter().map(|(seq, _)| seq.0).collect::<Vec<_>>();
        let read = |from, seqs_found| seqs(packets.without_holes(Seq(from), found(seqs_found)));
        assert_eq!(read(1, &[1, 4, 6]), [1]);
        assert_eq!(read(4, &[4, 5, 6]), [4, 6], "5 is needed by nobody");
        assert_eq!(read(2, &[2, 3]), [2, 3]);
        assert_eq!(read(3, &[4, 6]), [0; 0], "3 lies in another frame by now");
        assert_eq!(read(1, &[]), [0; 0]);
    }
}
