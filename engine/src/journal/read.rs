//! Reading packets back: from memory while the reader keeps up, else whole frames from disk, verified.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;

use super::checkpoint;
use super::frame::{self, At, Found};
use super::image::Packets;
use super::record::Record;
use super::{Durability, Journal, JournalError};
use crate::env::File;
use crate::packet::Seq;
use crate::reachable;

/// The open segments, and what was read last.
pub(super) struct Files {
    pub(super) open: BTreeMap<u64, Arc<dyn File>>,
    /// The last frame.
    cached: Option<(At, Vec<Appended>)>,
    /// The bytes from a place on, of which that frame was the first: those behind it are likely to be next.
    piece: Option<(At, Bytes)>,
}

impl Files {
    pub(super) fn of(open: BTreeMap<u64, Arc<dyn File>>) -> Files {
        Files { open, cached: None, piece: None }
    }
}

impl Files {
    /// A frame that was read along with one before it. The piece may be older than the frame, and then doesn't hold it.
    fn read_along(&self, at: At) -> Option<Bytes> {
        let (from, piece) = self.piece.as_ref().filter(|(from, _)| from.segment == at.segment)?;
        let offset = usize::try_from(at.offset.checked_sub(from.offset)?).ok()?;
        match frame::parse(at, &piece.slice(offset.min(piece.len())..)) {
            Found::Frame(_, body) => Some(body),
            Found::Nothing | Found::Bad(_) => None,
        }
    }
}

/// How far a reader may see.
#[derive(Clone, Copy)]
enum Reach {
    Confirmed,
    Synced,
}

/// A packet of a frame: channel, number, bytes.
type Appended = (Arc<str>, Seq, Bytes);

/// The first packets of a channel from `from` on, ascending. What was copied forward more than once may lie in any order.
fn pick(records: &[Appended], channel: &str, from: Seq, packets_max: usize) -> Vec<(Seq, Bytes)> {
    let of_channel = records.iter().filter(|(name, seq, _)| **name == *channel && *seq >= from);
    let mut picked: Vec<&Appended> = of_channel.collect();
    if !picked.is_sorted_by_key(|(_, seq, _)| *seq) {
        picked.sort_by_key(|(_, seq, _)| *seq);
    }
    picked.into_iter().take(packets_max).map(|(_, seq, packet)| (*seq, packet.clone())).collect()
}

impl Journal {
    /// The next packets of a channel from `from` on that somebody still needs: at least one, at most `packets_max`, and
    /// about `bytes_max` bytes. Waits until there is one. Numbers that are settled already are passed over.
    ///
    /// # Errors
    /// When the disk fails or destroyed the packet, or the journal has stopped.
    pub async fn read(
        &self,
        channel: &str,
        from: Seq,
        packets_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Seq, Bytes)>, JournalError> {
        self.read_upto(Reach::Confirmed, channel, from, (packets_max, bytes_max)).await
    }

    /// The same, of those that are synced, whatever the durability: for other processes, which this one must not surprise
    /// with other packets under the same numbers.
    ///
    /// # Errors
    /// As [`Journal::read`].
    pub async fn read_synced(
        &self,
        channel: &str,
        from: Seq,
        packets_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Seq, Bytes)>, JournalError> {
        let reach = match self.shared.options.durability {
            Durability::Sync => Reach::Confirmed,
            Durability::Interval { .. } | Durability::Os => Reach::Synced,
        };
        self.read_upto(reach, channel, from, (packets_max, bytes_max)).await
    }

    async fn read_upto(
        &self,
        reach: Reach,
        channel: &str,
        from: Seq,
        (packets_max, bytes_max): (usize, usize),
    ) -> Result<Vec<(Seq, Bytes)>, JournalError> {
        let mut durable = self.shared.durable.subscribe();
        let mut looked = None;
        loop {
            let (next, upto) = {
                let mut state = self.shared.lock();
                if state.stopped.is_some() {
                    return Err(state.stopped());
                }
                let packets = state.image.channel(channel);
                let upto = match reach {
                    Reach::Confirmed => Seq(u64::MAX),
                    Reach::Synced => packets.map_or(Seq(0), |packets| packets.synced),
                };
                let mut next = packets.and_then(|packets| packets.next(from));
                if next.is_some_and(|(seq, _)| seq > upto) {
                    self.shared.want_sync(&mut state);
                    next = None;
                } else if let (Some(packets), Some((seq, _))) = (packets, next) {
                    let mut cached = packets.cached(seq, packets_max, bytes_max);
                    cached.truncate(cached.partition_point(|(seq, _)| *seq <= upto));
                    if cached.first().is_some_and(|(first, _)| *first == seq) {
                        return Ok(cached);
                    }
                }
                (next, upto)
            };
            let Some((seq, at)) = next else {
                if durable.changed().await.is_err() {
                    return Err(self.shared.lock().stopped());
                }
                continue;
            };
            let found = self.read_frame(channel, seq, at, packets_max).await?;
            let state = self.shared.lock();
            let mut needed =
                state.image.channel(channel).map(|packets| packets.without_holes(seq, found)).unwrap_or_default();
            needed.truncate(needed.partition_point(|(seq, _)| *seq <= upto));
            if !needed.is_empty() {
                return Ok(needed);
            }
            if looked.replace((seq, at)) == Some((seq, at)) {
                let why = format!("no packet {seq} of channel `{channel}` is in the frame that should hold it");
                let source = std::io::Error::new(std::io::ErrorKind::InvalidData, why);
                return Err(JournalError::io(format!("read segment {} at {}", at.segment, at.offset))(source));
            }
            // Settled, and perhaps recycled, while we read: look again.
            reachable!(
                &*self.shared.env.probe,
                "journal.moved_while_read",
                "a packet that was settled or moved while it was read"
            );
        }
    }

    /// One packet of a channel; `None` when nobody needs it any more.
    ///
    /// # Errors
    /// As [`Journal::read`].
    pub async fn packet(&self, channel: &str, seq: Seq) -> Result<Option<Bytes>, JournalError> {
        let mut looked = None;
        loop {
            let at = {
                let state = self.shared.lock();
                let Some(packets) = state.image.channel(channel).filter(|packets| packets.has(seq)) else {
                    return Ok(None);
                };
                let cached = packets.cached(seq, 1, usize::MAX);
                if let Some((_, packet)) = cached.into_iter().find(|(cached, _)| *cached == seq) {
                    return Ok(Some(packet));
                }
                packets.next(seq).map(|(_, at)| at)
            };
            let Some(at) = at.filter(|at| looked != Some(*at)) else { return Ok(None) };
            let found = self.read_frame(channel, seq, at, 1).await?;
            if let Some((_, packet)) = found.into_iter().find(|(found, _)| *found == seq) {
                return Ok(Some(packet));
            }
            // Copied forward while we read, or settled: look again.
            looked = Some(at);
        }
    }

    async fn read_frame(
        &self,
        channel: &str,
        from: Seq,
        at: At,
        packets_max: usize,
    ) -> Result<Vec<(Seq, Bytes)>, JournalError> {
        let pick = |records: &[Appended]| pick(records, channel, from, packets_max);
        let (file, along) = {
            let files = self.files();
            if let Some((cached, records)) = &files.cached
                && *cached == at
            {
                return Ok(pick(records));
            }
            (files.open.get(&at.segment).cloned(), files.read_along(at))
        };
        let Some(file) = file else { return Ok(Vec::new()) };
        let what = format!("read segment {} at {}", at.segment, at.offset);
        let body = match along {
            Some(body) => Some(body),
            None => {
                let limit = self.shared.options.frame_bytes_max.next_multiple_of(frame::SECTOR as usize);
                let piece = file.read_at(at.offset, limit).await.map_err(JournalError::io(what.clone()))?;
                let mut files = self.files();
                files.piece = Some((at, piece));
                files.read_along(at)
            }
        };
        let Some(mut body) = body else {
            // Settled or copied forward while we read, its segment is somebody else's.
            let here = |packets: &Packets| packets.next(from) == Some((from, at));
            let needed = self.image(|image| image.channel(channel).is_some_and(here));
            if !needed {
                return Ok(Vec::new());
            }
            // The next opening is to look at everything, and to say exactly what is lost.
            self.shared.lock().damaged = true;
            let voided = checkpoint::void(&self.shared.env.disk).await;
            voided.map_err(JournalError::io("void the checkpoints"))?;
            let why = "the frame's checksum doesn't match; the next start reports what is lost";
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, why);
            return Err(JournalError::Io { what, source: Arc::new(source) });
        };
        let mut records = Vec::new();
        while !body.is_empty() {
            match Record::decode(&mut body) {
                Ok(Record::Append { channel, seq, packet } | Record::Moved { channel, seq, packet }) => {
                    records.push((channel, seq, packet))
                }
                Ok(_) => {}
                Err(error) => {
                    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
                    return Err(JournalError::Io { what, source: Arc::new(source) });
                }
            }
        }
        let picked = pick(&records);
        self.files().cached = Some((at, records));
        Ok(picked)
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.shared.files.lock().expect("no code panics while it holds the files")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_copies_is_read_in_order() {
        let record = |channel: &str, seq| (Arc::from(channel), Seq(seq), Bytes::new());
        let records = [record("a", 7), record("b", 5), record("a", 4), record("a", 5), record("a", 2)];
        let seqs =
            |from, max| pick(&records, "a", Seq(from), max).into_iter().map(|(seq, _)| seq.0).collect::<Vec<_>>();
        assert_eq!(seqs(3, 9), [4, 5, 7]);
        assert_eq!(seqs(1, 2), [2, 4]);
        assert_eq!(seqs(8, 9), [0; 0]);
    }
}
