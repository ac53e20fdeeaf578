//! The commit task: the only writer of a journal. It builds the next frame while the last one is being synced, and hands it
//! to the disk before that one is confirmed where it carries enough to be worth a sync of its own.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::active::{Active, header};
use super::checkpoint::{self, Stand};
use super::frame::{self, At, Header};
use super::record::{Record, Settle, identity_of};
use super::spare::Made;
use super::stub::Stub;
use super::{Durability, JournalError, Lsn, SPARES, Shared};
use crate::env::{Fut, Io, Work};
use crate::observe::{Event, Place, What};
use crate::packet::Seq;
use crate::{always, sometimes};

/// Frames on their way to the disk at once.
const FLYING_MAX: usize = 2;
/// The second of them carries at least this part of the largest frame. A smaller one waits: more can join it while the
/// first is synced.
const SECOND_PART: usize = 16;

/// Who waits for a sync, where those are not made for every commit, waits no longer than this for its beginning: another process
/// stands still meanwhile.
const WANTED_NS: u64 = 5_000_000;
/// Nor for more bytes than these.
const WANTED_BYTES: u64 = 128 << 10;

/// What goes into one frame, and who waits for it.
pub(super) struct Batch {
    pub(super) body: Bytes,
    pub(super) records: Vec<Record>,
    pub(super) waiters: Vec<Waiter>,
}

/// Who waits for a transaction.
pub(super) struct Waiter {
    /// How many records it has.
    count: usize,
    done: oneshot::Sender<Range<Lsn>>,
}

/// A spare on its way, and whether the next stub's file was made with it.
pub(super) type Making = Fut<'static, Result<(Made, bool), JournalError>>;

/// A frame on its way to the disk.
pub(super) struct Flight {
    records: Vec<Record>,
    waiters: Vec<Waiter>,
    header: Header,
    stand: Stand,
    bytes: u64,
    written: Io<()>,
}

pub(super) struct Task {
    pub(super) shared: Arc<Shared>,
    pub(super) active: Active,
    /// All segments that hold records, the active one included, with the LSN that each begins at.
    pub(super) segments: BTreeMap<u64, Lsn>,
    /// Those of them that are but stubs.
    pub(super) stubs: BTreeMap<u64, Stub>,
    /// There is a file for the next one.
    pub(super) next_stub: bool,
    /// When each of the others was left, unix ns; those of before this opening, at this opening.
    pub(super) sealed: BTreeMap<u64, i64>,
    pub(super) checkpoints: checkpoint::Writer,
    /// The last frame that the image holds.
    pub(super) landed: Stand,
    pub(super) said_full: bool,
    /// The segment that was the active one when the journal was opened.
    pub(super) opened_in: u64,
    /// A spare that is being made: its number is the next that one will have. Where an old segment comes first, that one is better,
    /// and takes its name.
    pub(super) making: Option<Making>,
    /// When to look for room again, ns, while the disk is full.
    pub(super) retry_at: Option<u64>,
    /// The segment that was found to hold too much to be copied, and how much of it was needed then.
    pub(super) too_live: Option<(u64, u64)>,
    pub(super) flying: VecDeque<Flight>,
    /// LSN of the first record of the next frame.
    pub(super) next: Lsn,
    /// All records below are durable.
    pub(super) synced: Lsn,
    /// Bytes of confirmed frames that are not synced, which only weaker durabilities let happen.
    unsynced_bytes: u64,
    /// When the oldest of them is to be synced, ns.
    pub(super) sync_due: Option<u64>,
    /// True while the last frame with records has no successor that confirms it.
    unmarked: bool,
    /// The footer of the segment before, on its way to the disk.
    pub(super) sealing: Option<Io<()>>,
}

/// The end of a task, by a panic too: whoever still waits hears `Stopped`, and its transaction may be there or not.
struct End {
    shared: Arc<Shared>,
    cause: String,
    lock: Option<Box<dyn Send + Sync>>,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = Some(std::mem::take(&mut self.cause));
        state.pending = super::Pending::default();
        drop(state);
        self.lock = None;
        self.shared.durable.send_modify(|_| {});
    }
}

impl Task {
    pub(super) fn new(
        shared: Arc<Shared>,
        active: Active,
        segments: BTreeMap<u64, Lsn>,
        (stubs, next_stub): (BTreeMap<u64, Stub>, bool),
        checkpoints: checkpoint::Writer,
    ) -> Self {
        let (next, is_full) = {
            let state = shared.lock();
            (state.durable, state.full)
        };
        let retry_at = is_full.then(|| shared.env.clock.mono());
        let (landed, opened_in) = (active.stand(next), active.number);
        let now = shared.env.clock.unix_ns();
        let sealed = segments.keys().filter(|number| **number != active.number).map(|number| (*number, now)).collect();
        Task {
            shared,
            active,
            segments,
            stubs,
            next_stub,
            sealed,
            checkpoints,
            landed,
            said_full: false,
            opened_in,
            making: None,
            retry_at,
            too_live: None,
            flying: VecDeque::new(),
            next,
            synced: next,
            unsynced_bytes: 0,
            sync_due: None,
            unmarked: true,
            sealing: None,
        }
    }

    /// Runs until the journal is closed or the disk fails. Holds `lock` so long.
    pub(super) async fn run(mut self, lock: Box<dyn Send + Sync>) {
        let mut end = End { shared: self.shared.clone(), cause: "its task has ended".to_owned(), lock: Some(lock) };
        let outcome = self.work().await;
        tracing::debug!(process = %self.shared.name, "the journal's wear: {}", self.shared.wear());
        end.cause = match outcome {
            Ok(()) => "it was closed".to_owned(),
            Err(error) => error.to_string(),
        };
        self.flying.clear();
    }

    async fn work(&mut self) -> Result<(), JournalError> {
        loop {
            self.issue_all().await?;
            if !self.flying.is_empty() {
                self.land_or_hear().await?;
            } else if self.shared.lock().closing {
                return self.end().await;
            } else {
                self.idle().await?;
            }
            self.sync_if_due().await?;
            self.room_if_due().await?;
        }
    }

    /// Hands to the disk what may fly now.
    async fn issue_all(&mut self) -> Result<(), JournalError> {
        let second = self.shared.options.frame_bytes_max / SECOND_PART;
        while self.flying.is_empty()
            || (self.flying.len() < FLYING_MAX && self.shared.lock().pending.body.len() >= second)
        {
            let Some(batch) = self.take() else { return Ok(()) };
            let needed = ((frame::HEADER + batch.body.len()) as u64).next_multiple_of(frame::SECTOR);
            if needed > self.active.left() {
                while !self.flying.is_empty() {
                    self.land().await?;
                }
                self.rotate().await?;
            }
            self.issue(batch).await;
        }
        Ok(())
    }

    pub(super) async fn issue(&mut self, batch: Batch) {
        let count = u32::try_from(batch.records.len()).expect("a frame holds fewer than 4 G records");
        if let Some(debt) = self.shared.env.cpu.charge(Work::Journal, count, batch.body.len() as u64) {
            debt.await;
        }
        let header = header(self.next, self.synced, count, false, self.shared.env.clock.unix_ns());
        let offset = self.active.offset;
        let (_, bufs) = self.active.frame(header, batch.body);
        let written = match self.shared.options.durability {
            Durability::Sync => self.active.file.write_sync(offset, bufs),
            Durability::Interval { .. } | Durability::Os => self.active.file.write_at(offset, bufs),
        };
        self.next = Lsn(self.next.0 + u64::from(count));
        self.shared.lock().active_left = self.active.left();
        let (stand, bytes) = (self.active.stand(self.next), self.active.offset - offset);
        let probe = &*self.shared.env.probe;
        sometimes!(
            probe,
            "journal.two_frames_fly",
            !self.flying.is_empty(),
            "a frame that was written before the last was durable"
        );
        self.flying.push_back(Flight { records: batch.records, waiters: batch.waiters, header, stand, bytes, written });
    }

    /// Waits until the first frame is written, or something is submitted that may fly beside it.
    async fn land_or_hear(&mut self) -> Result<(), JournalError> {
        let shared = self.shared.clone();
        let first = self.flying.front_mut().expect("the caller saw one");
        tokio::select! {
            biased;
            written = &mut first.written => self.landed(written).await,
            made = made(&mut self.making) => self.making_ended(made?).await,
            () = shared.work.notified() => Ok(()),
        }
    }

    /// Waits until the first frame is written.
    pub(super) async fn land(&mut self) -> Result<(), JournalError> {
        let first = self.flying.front_mut().expect("the caller saw one");
        let written = (&mut first.written).await;
        self.landed(written).await
    }

    async fn landed(&mut self, written: std::io::Result<()>) -> Result<(), JournalError> {
        let Flight { records, waiters, header, stand, bytes, .. } =
            self.flying.pop_front().expect("the caller waited for one");
        let At { segment, offset } = stand.at;
        written.map_err(JournalError::io(format!("write {bytes} bytes to segment {segment} at {offset}")))?;
        self.landed = stand;
        self.checkpoints.wrote(bytes);
        match self.shared.options.durability {
            Durability::Sync => self.synced = stand.next,
            Durability::Interval { ms } => {
                let due = self.shared.env.clock.mono().saturating_add(u64::from(ms) * 1_000_000);
                self.sync_due.get_or_insert(due);
            }
            Durability::Os => {}
        }
        if let Some(digest) = &mut self.active.digest {
            digest.frame(stand.at.offset, &header, &records);
        }
        self.confirm(&stand, records, waiters, header.count, bytes);
        self.sync_if_due().await?;
        self.recycle().await?;
        self.spare_if_due().await?;
        self.checkpoint().await
    }

    /// Syncs when the interval is over, or for who waits for it.
    async fn sync_if_due(&mut self) -> Result<(), JournalError> {
        if self.unsynced_bytes == 0 {
            return Ok(());
        }
        let now = self.shared.env.clock.mono();
        let wanted = self.shared.lock().sync_wanted;
        if wanted {
            let due = now.saturating_add(WANTED_NS);
            self.sync_due = Some(self.sync_due.map_or(due, |sooner| sooner.min(due)));
        }
        let enough = wanted && self.unsynced_bytes >= WANTED_BYTES;
        if enough || self.sync_due.is_some_and(|due| now >= due) { self.sync().await } else { Ok(()) }
    }

    /// Makes durable what is confirmed. Nothing to do where a commit is durable when it is confirmed.
    pub(super) async fn sync(&mut self) -> Result<(), JournalError> {
        self.sync_due = None;
        if std::mem::take(&mut self.unsynced_bytes) == 0 {
            return Ok(());
        }
        self.active.file.sync_data().await.map_err(JournalError::io("sync the active segment"))?;
        self.synced = self.landed.next;
        let mut state = self.shared.lock();
        state.wear.syncs += 1;
        (state.synced, state.sync_wanted) = (self.synced, false);
        state.image.synced();
        drop(state);
        self.shared.env.probe.on(&[self.upto(What::Synced, self.synced)]);
        self.shared.durable.send_modify(|_| {});
        Ok(())
    }

    fn upto(&self, what: What, lsn: Lsn) -> Event {
        Event { what, place: self.shared.name.clone(), identity: None, seq: Seq(lsn.0), attempt: 0 }
    }

    async fn end(&mut self) -> Result<(), JournalError> {
        let mut body = BytesMut::new();
        Record::Closed.encode(&mut body);
        self.mark(true, body.freeze()).await?;
        self.sealed().await
    }

    /// Waits until the footer of the segment before is written.
    pub(super) async fn sealed(&mut self) -> Result<(), JournalError> {
        match self.sealing.take() {
            Some(sealing) => sealing.await.map_err(JournalError::io("write a segment's footer")),
            None => Ok(()),
        }
    }

    /// Nothing is on its way and nothing waits: a mark, another try for a spare, a sync, or something new.
    async fn idle(&mut self) -> Result<(), JournalError> {
        let clock = self.shared.env.clock.clone();
        let options = &self.shared.options;
        // The mark is a sync: whoever leaves those to the system has no use for it, and none comes before its time.
        let marks = self.unmarked && options.durability != Durability::Os && self.unsynced_bytes == 0;
        let now = clock.mono();
        let mark = marks.then(|| now.saturating_add(options.mark_after_ns));
        let spare_missing = self.making.is_none() && self.shared.lock().spares < SPARES;
        let retry = spare_missing.then(|| self.retry_at.unwrap_or_else(|| now.saturating_add(options.full_retry_ns)));
        let shared = self.shared.clone();
        let due = [mark, retry, self.sync_due].into_iter().flatten().min();
        tokio::select! {
            biased;
            () = shared.work.notified() => return Ok(()),
            made = made(&mut self.making) => return self.making_ended(made?).await,
            () = clock.sleep_until(due.unwrap_or(u64::MAX)), if due.is_some() => {}
        }
        let due = due.expect("without a time nothing else wakes");
        if mark == Some(due) {
            return self.mark(false, Bytes::new()).await;
        }
        if retry == Some(due) {
            self.retry_at = retry;
        }
        Ok(())
    }

    /// Takes as many whole transactions as fit one frame.
    fn take(&mut self) -> Option<Batch> {
        let mut guard = self.shared.lock();
        let pending = &mut guard.pending;
        let limit = self.shared.options.frame_bytes_max - frame::HEADER;
        let mut waiters = Vec::new();
        let (mut bytes, mut records) = (0, 0);
        while let Some((byte_end, record_end, _)) = pending.ends.front() {
            if *byte_end > limit && bytes > 0 {
                break;
            }
            let count = *record_end - records;
            (bytes, records) = (*byte_end, *record_end);
            waiters.push(Waiter { count, done: pending.ends.pop_front().expect("front() saw one").2 });
        }
        if records == 0 {
            return None;
        }
        for end in &mut pending.ends {
            end.0 -= bytes;
            end.1 -= records;
        }
        let body =
            if bytes == pending.body.len() { std::mem::take(&mut pending.body) } else { pending.body.split_to(bytes) };
        let rest = pending.records.split_off(records);
        let records = std::mem::replace(&mut pending.records, rest);
        Some(Batch { body: body.freeze(), records, waiters })
    }

    /// The frame is as durable as was asked for: everybody may know.
    fn confirm(&mut self, stand: &Stand, records: Vec<Record>, waiters: Vec<Waiter>, count: u32, bytes: u64) {
        self.unmarked = true;
        let is_synced = self.shared.options.durability == Durability::Sync;
        let mut events = Vec::with_capacity(records.len() + 1);
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let first = state.durable;
        state.durable = Lsn(first.0 + u64::from(count));
        let durable = state.durable;
        if is_synced {
            state.synced = durable;
            events.push(self.upto(What::Synced, durable));
        } else {
            events.push(self.upto(What::Confirmed, durable));
            self.unsynced_bytes += bytes;
        }
        state.wear.written_bytes += bytes;
        state.wear.syncs += u64::from(is_synced);
        for record in records {
            if let Record::Append { packet, .. } = &record {
                state.wear.payload_bytes += packet.len() as u64;
            }
            let event = event_of(&record);
            let settle = if let Record::Settle(Settle { input, group, seqs, .. }) = &record {
                seqs.last().map(|(_, last)| (state.image.place(input, group), *last))
            } else {
                None
            };
            let settled = state.image.apply(stand.at, record);
            events.extend(event);
            if let Some((place, last)) = settle {
                events.extend(settles(&place, last, &settled));
            }
        }
        drop(guard);
        let probe = &*self.shared.env.probe;
        always!(probe, "journal.in_order", durable == stand.next, "frames become durable in their order");
        probe.on(&events);
        let mut start = first;
        for Waiter { count, done } in waiters {
            let end = Lsn(start.0 + count as u64);
            // Nobody has to wait for a commit.
            let _ = done.send(start..end);
            start = end;
        }
        self.shared.durable.send_replace(durable.0);
    }

    /// Gives the last confirmed frame a successor, so that recovery knows it was confirmed.
    async fn mark(&mut self, is_state: bool, body: Bytes) -> Result<(), JournalError> {
        self.unmarked = false;
        self.sync().await?;
        if self.active.left() < frame::SECTOR {
            // The header of the next segment will confirm it.
            return Ok(());
        }
        let header = header(self.next, self.synced, 0, is_state, self.shared.env.clock.unix_ns());
        let offset = self.active.offset;
        let (_, bufs) = self.active.frame(header, body);
        self.active.file.write_sync(offset, bufs).await.map_err(JournalError::io("write a mark"))?;
        self.landed = self.active.stand(self.next);
        let mut state = self.shared.lock();
        state.active_left = self.active.left();
        state.wear.wrote_synced(frame::SECTOR);
        Ok(())
    }
}

/// Waits for a spare that is being made, for ever where none is.
async fn made(making: &mut Option<Making>) -> Result<(Made, bool), JournalError> {
    match making {
        Some(making) => making.await,
        None => std::future::pending().await,
    }
}

fn event_of(record: &Record) -> Option<Event> {
    match record {
        Record::Append { channel, seq, packet } => Some(Event {
            what: What::Committed,
            place: channel.clone(),
            identity: identity_of(packet),
            seq: *seq,
            attempt: 0,
        }),
        Record::DeadLetter(letter) => Some(Event {
            what: What::DeadLettered { reason: letter.failure.class.as_str().into() },
            place: letter.failure.node.clone(),
            identity: Some(letter.identity),
            seq: letter.source.as_ref().map_or(Seq(0), |source| source.seq),
            attempt: 0,
        }),
        _ => None,
    }
}

/// An event for each packet that was settled; one that says so where none was that had not been before.
fn settles(place: &Place, last: Seq, settled: &[Seq]) -> Vec<Event> {
    let event = |seq, took_effect| {
        let what = What::Settled { took_effect };
        Event { what, place: place.clone(), identity: None, seq, attempt: 0 }
    };
    if settled.is_empty() {
        return vec![event(last, false)];
    }
    settled.iter().map(|seq| event(*seq, true)).collect()
}
