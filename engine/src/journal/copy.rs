//! Copying forward: what little of an old segment is still needed moves to the active one, so that the segment, and those
//! behind it, can be recycled.

use bytes::{Bytes, BytesMut};

use super::JournalError;
use super::active::padded;
use super::commit::{Batch, Task};
use super::frame::{self, At, Found, SECTOR};
use super::image::{DeadLetterEntry, Image};
use super::record::Record;
use crate::reachable;

/// A segment is light when less than one in so many of its records are live.
const LIGHT_PART: u64 = 4;
/// Light segments, itself included, from which on a light one is copied.
const HELD_UP_MIN: usize = 3;
/// Light segments behind it from which on a heavy one is copied: what it costs is at most an eighth of what it frees.
const HELD_UP_BY_HEAVY: usize = 8;

/// A sealed segment.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    number: u64,
    records: u64,
    live: u64,
}

impl Sealed {
    fn is_light(&self) -> bool {
        self.live * LIGHT_PART < self.records
    }
}

/// The segment whose live packets should be copied: the oldest, when it holds up enough light ones. When room is pressing, a
/// light one needs no others.
fn pin(sealed: &[Sealed], pressing: bool) -> Option<u64> {
    let oldest = sealed.first().filter(|oldest| oldest.live > 0)?;
    let light = sealed.iter().filter(|segment| segment.is_light()).count();
    let worth = if oldest.is_light() { pressing || light >= HELD_UP_MIN } else { light >= HELD_UP_BY_HEAVY };
    worth.then_some(oldest.number)
}

/// What of a record in the frame `at` is needed, as a copy.
fn copy_of(image: &Image, letters: &[DeadLetterEntry], at: At, record: Record) -> Option<Record> {
    match record {
        Record::Append { channel, seq, packet } | Record::Moved { channel, seq, packet } => {
            let lies_here = image.channel(&channel).is_some_and(|packets| packets.next(seq) == Some((seq, at)));
            lies_here.then_some(Record::Moved { channel, seq, packet })
        }
        Record::DeadLetter(letter) | Record::MovedLetter(letter) => {
            let lies_here = letters.iter().any(|entry| entry.at == at && entry.is_of(&letter));
            lies_here.then_some(Record::MovedLetter(letter))
        }
        _ => None,
    }
}

impl Task {
    /// Copies forward as long as that is worth it, half a segment at most. Nothing may be on its way to the disk: a
    /// settlement ahead of the copy would be undone by it.
    pub(super) async fn copy_forward(&mut self, pressing: bool) -> Result<(), JournalError> {
        assert!(self.flying.is_empty(), "copies were made while frames were on their way");
        let mut budget = self.shared.options.segment_bytes / 2;
        while let Some(number) = self.pin(pressing) {
            let limit = budget.min(self.active.left() / 2).min(self.copy_bytes_max());
            let copied = self.copy_out(number, limit, false).await?;
            if copied == 0 {
                return Ok(());
            }
            budget -= copied;
        }
        Ok(())
    }

    /// How much may be copied now: what comes next must fit still, whatever it is.
    pub(super) fn copy_bytes_max(&self) -> u64 {
        let largest = (self.shared.options.frame_bytes_max as u64).next_multiple_of(SECTOR);
        self.active.left().saturating_sub(largest)
    }

    /// Copies what is needed of a segment, `limit` bytes at most; `wholly` copies nothing where that is not all of it. Gives
    /// how many bytes were written.
    pub(super) async fn copy_out(&mut self, number: u64, limit: u64, wholly: bool) -> Result<u64, JournalError> {
        // A record's size is but an upper bound: what fits shows in the frames.
        let enough = if wholly { u64::MAX } else { limit };
        let Some(copies) = self.live_records(number, enough).await? else { return Ok(0) };
        let batches = batches(copies, self.shared.options.frame_bytes_max - frame::HEADER);
        if wholly && batches.iter().map(|batch| padded(&batch.body)).sum::<u64>() > limit {
            return Ok(0);
        }
        let mut left = limit;
        for batch in batches {
            let Some(rest) = left.checked_sub(padded(&batch.body)) else { break };
            left = rest;
            // Numbered like all records, so that their loss would be seen like any other.
            self.shared.lock().next.0 += batch.records.len() as u64;
            reachable!(&*self.shared.env.probe, "journal.copied_forward", "packets that moved out of an old segment");
            self.issue(batch).await;
            self.land().await?;
        }
        Ok(limit - left)
    }

    fn pin(&self, pressing: bool) -> Option<u64> {
        let state = self.shared.lock();
        let ends = self.segments.values().skip(1);
        let sealed: Vec<Sealed> = self
            .segments
            .iter()
            .zip(ends)
            .filter(|((number, _), _)| !self.stubs.contains_key(number))
            .map(|((number, base), end)| Sealed {
                number: *number,
                records: end.0.saturating_sub(base.0),
                live: state.image.live_in(*number),
            })
            .collect();
        drop(state);
        pin(&sealed, pressing).filter(|pin| pressing || !self.is_kept(*pin))
    }

    /// The first needed records of a segment, some more than `bytes` of them; `None` where one of its frames is destroyed,
    /// which its reader will find out.
    async fn live_records(&mut self, segment: u64, bytes: u64) -> Result<Option<Vec<Record>>, JournalError> {
        let (frames, letters) = {
            let state = self.shared.lock();
            let letters = state.image.dead_letters().iter().filter(|entry| entry.at.segment == segment).cloned();
            (state.image.live_frames(segment), letters.collect::<Vec<_>>())
        };
        let file = self.file(segment);
        let limit = self.shared.options.frame_bytes_max.next_multiple_of(SECTOR as usize);
        let (mut copies, mut copied) = (Vec::new(), 0);
        // The bytes from a place on; frames behind the first are read along with it.
        let mut piece = (0, Bytes::new());
        for at in frames {
            if copied > bytes {
                break;
            }
            let along = usize::try_from(at.offset - piece.0).expect("a segment fits in memory").min(piece.1.len());
            let mut found = frame::parse(at, &piece.1.slice(along..));
            if !matches!(found, Found::Frame(..)) {
                let read = file.read_at(at.offset, limit).await;
                let bytes = read.map_err(JournalError::io(format!("read segment {segment} at {}", at.offset)))?;
                piece = (at.offset, bytes);
                found = frame::parse(at, &piece.1);
            }
            let Found::Frame(_, mut body) = found else { return Ok(None) };
            let state = self.shared.lock();
            while !body.is_empty() {
                let Ok(record) = Record::decode(&mut body) else { return Ok(None) };
                if let Some(copy) = copy_of(&state.image, &letters, at, record) {
                    copied += copy.size() as u64;
                    copies.push(copy);
                }
            }
        }
        Ok(Some(copies))
    }
}

/// Packs records into frames of `limit` bytes at most.
fn batches(records: Vec<Record>, limit: usize) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut open: (BytesMut, Vec<Record>) = Default::default();
    let close = |(body, records): (BytesMut, Vec<Record>)| Batch { body: body.freeze(), records, waiters: Vec::new() };
    for record in records {
        if !open.1.is_empty() && open.0.len() + record.size() > limit {
            batches.push(close(std::mem::take(&mut open)));
        }
        record.encode(&mut open.0);
        open.1.push(record);
    }
    if !open.1.is_empty() {
        batches.push(close(open));
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sealed: &[(u64, u64)], pressing: bool, expected: Option<u64>) {
        let sealed: Vec<Sealed> = (1..)
            .zip(sealed)
            .map(|(number, (records, live))| Sealed { number, records: *records, live: *live })
            .collect();
        assert_eq!(pin(&sealed, pressing), expected, "{sealed:?}");
    }

    #[test]
    fn a_light_pin_is_copied_once_it_holds_up_others() {
        check(&[], true, None);
        check(&[(1000, 3), (1000, 0), (1000, 0)], false, Some(1));
        check(&[(1000, 3), (1000, 3), (1000, 3)], false, Some(1));
        check(&[(1000, 3), (1000, 0)], false, None);
        check(&[(1000, 3)], true, Some(1));
        check(&[(1000, 500), (1000, 0), (1000, 0), (1000, 0)], true, None);
        check(&[&[(1000, 500)], &[(1000, 1); 8][..]].concat(), false, Some(1));
        check(&[(1000, 0), (1000, 0), (1000, 0)], true, None);
    }
}
