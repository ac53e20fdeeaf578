//! The commit task: the only writer of a journal. It builds the next frame while the last one is being synced.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::checkpoint::{self, Stand};
use super::frame::{self, At, Header};
use super::record::{Record, Snapshot, identity_of};
use super::segment::{self, SegmentHeader};
use super::spare::{self, Made};
use super::{JournalError, JournalOptions, Lsn, Shared};
use crate::env::{Env, File, Work};
use crate::observe::{Event, What};
use crate::packet::Seq;

/// The segment that is being written.
pub(super) struct Active {
    pub(super) file: Arc<dyn File>,
    pub(super) number: u64,
    pub(super) size: u64,
    /// Where the next frame goes.
    pub(super) offset: u64,
    /// The last frame, where one was written since the journal was opened.
    pub(super) last: Option<At>,
    /// Checksum of the last frame.
    pub(super) prev: u32,
    pub(super) epoch: u64,
    pub(super) journal: u128,
    /// Its format version.
    pub(super) version: u16,
}

impl Active {
    /// Room left, in bytes.
    pub(super) fn left(&self) -> u64 {
        self.size - self.offset
    }

    /// Goes on in the spare `number`, whose first record will be `base`. Nothing is written: gives the header sector, to be
    /// written from byte 0 together with the small state.
    pub(super) async fn follow(
        &self,
        env: &Env,
        process: &str,
        number: u64,
        base: Lsn,
    ) -> Result<(Active, Bytes), JournalError> {
        let Active { prev, epoch, journal, .. } = *self;
        let file = spare::open(env, number).await?;
        let size = file.len().await.map_err(JournalError::io("read a segment's length"))?;
        let (version, process) = (segment::VERSION, process.to_owned());
        let header = SegmentHeader { version, journal, number, epoch, base, prev, process };
        let offset = frame::SECTOR;
        Ok((Active { file, number, size, offset, last: None, prev, epoch, journal, version }, header.encode()))
    }

    /// Builds the frames of small state that come next, each with `base` as its LSN, and moves on past them.
    pub(super) fn state_frames(&mut self, base: Lsn, time: i64, bodies: Vec<Bytes>) -> Vec<Bytes> {
        bodies.into_iter().flat_map(|body| self.frame(header(base, base, 0, true, time), body).1).collect()
    }

    /// Builds the frame that comes next, and moves on past it.
    pub(super) fn frame(&mut self, header: Header, body: Bytes) -> (At, Vec<Bytes>) {
        let at = At { segment: self.number, offset: self.offset };
        let (bufs, header) = frame::build(at, &Header { prev: self.prev, epoch: self.epoch, ..header }, body);
        (self.last, self.prev) = (Some(at), header.crc);
        self.offset += header.padded();
        assert!(self.offset <= self.size, "a frame ends at {} in a segment of {}", self.offset, self.size);
        (at, bufs)
    }
}

/// A header with what every frame of this moment has in common.
fn header(base: Lsn, durable_upto: Lsn, count: u32, is_state: bool, time: i64) -> Header {
    Header { crc: 0, len: 0, count, prev: 0, is_state, epoch: 0, base, durable_upto, time, segment: 0 }
}

struct Batch {
    body: Bytes,
    records: Vec<Record>,
    waiters: Vec<oneshot::Sender<()>>,
}

pub(super) struct Task {
    shared: Arc<Shared>,
    active: Active,
    /// All segments that hold records, the active one included.
    segments: BTreeSet<u64>,
    checkpoints: checkpoint::Writer,
    /// True while the last frame with records has no successor that confirms it.
    unmarked: bool,
    said_full: bool,
}

impl Task {
    pub(super) fn new(
        shared: Arc<Shared>,
        active: Active,
        segments: BTreeSet<u64>,
        checkpoints: checkpoint::Writer,
    ) -> Self {
        Task { shared, active, segments, checkpoints, unmarked: true, said_full: false }
    }

    /// Runs until the journal is closed or the disk fails. Holds `lock` so long.
    pub(super) async fn run(mut self, lock: Box<dyn Send + Sync>) {
        let outcome = self.work().await;
        let mut state = self.shared.lock();
        state.stopped = Some(match outcome {
            Ok(()) => "it was closed".to_owned(),
            Err(error) => error.to_string(),
        });
        // Whoever still waits hears `Stopped`: its transaction may be there or not.
        state.pending = super::Pending::default();
        drop(state);
        drop(lock);
        self.shared.durable.send_modify(|_| {});
    }

    async fn work(&mut self) -> Result<(), JournalError> {
        loop {
            if let Some(batch) = self.take() {
                self.write(batch).await?;
                self.recycle().await?;
                self.checkpoint().await?;
                continue;
            }
            if self.shared.lock().closing {
                return if self.unmarked { self.mark().await } else { Ok(()) };
            }
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Result<(), JournalError> {
        let clock = self.shared.env.clock.clone();
        let options = &self.shared.options;
        let spare_missing = self.shared.lock().spare.is_none();
        let nap = match (self.unmarked, spare_missing) {
            (true, _) => options.mark_after_ns,
            (false, true) => options.full_retry_ns,
            (false, false) => u64::MAX,
        };
        let shared = self.shared.clone();
        if nap == u64::MAX {
            shared.work.notified().await;
            return Ok(());
        }
        let due = tokio::select! {
            biased;
            () = shared.work.notified() => false,
            () = clock.sleep(nap) => true,
        };
        if due && self.unmarked {
            self.mark().await?;
        } else if due {
            self.make_spare().await?;
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
            (bytes, records) = (*byte_end, *record_end);
            waiters.push(pending.ends.pop_front().expect("front() saw one").2);
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

    async fn write(&mut self, batch: Batch) -> Result<(), JournalError> {
        let count = u32::try_from(batch.records.len()).expect("a frame holds fewer than 4 G records");
        let needed = ((frame::HEADER + batch.body.len()) as u64).next_multiple_of(frame::SECTOR);
        if needed > self.active.left() {
            self.rotate().await?;
        }
        let bytes = batch.body.len() as u64;
        if let Some(debt) = self.shared.env.cpu.charge(Work::Journal, count, bytes) {
            debt.await;
        }
        let durable = self.shared.lock().durable;
        let header = header(durable, durable, count, false, self.shared.env.clock.unix_ns());
        let offset = self.active.offset;
        let (at, bufs) = self.active.frame(header, batch.body);
        let written = self.active.file.write_sync(offset, bufs).await;
        written.map_err(|error| {
            JournalError::io(format!("write {needed} bytes to segment {} at {offset}", self.active.number))(error)
        })?;
        self.checkpoints.wrote(needed);
        self.confirm(at, batch.records, batch.waiters, count);
        Ok(())
    }

    /// The frame is durable: everybody may know.
    fn confirm(&mut self, at: At, records: Vec<Record>, waiters: Vec<oneshot::Sender<()>>, count: u32) {
        self.unmarked = true;
        let mut events = Vec::with_capacity(records.len() + 1);
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        state.durable = Lsn(state.durable.0 + u64::from(count));
        state.active_left = self.active.left();
        let durable = state.durable;
        events.push(Event {
            what: What::Synced,
            place: self.shared.name.clone(),
            identity: None,
            seq: Seq(durable.0),
            attempt: 0,
        });
        for record in records {
            let event = event_of(&record);
            let freed = state.image.apply(at, record);
            match event {
                Some(Event { what: What::Settled { .. }, place, seq, .. }) => {
                    let what = What::Settled { took_effect: freed > 0 };
                    events.push(Event {
                        what,
                        place,
                        identity: None,
                        seq,
                        attempt: u32::try_from(freed).unwrap_or(u32::MAX),
                    });
                }
                Some(event) => events.push(event),
                None => {}
            }
        }
        drop(guard);
        self.shared.env.probe.on(&events);
        for waiter in waiters {
            // Nobody has to wait for a commit.
            let _ = waiter.send(());
        }
        self.shared.durable.send_replace(durable.0);
    }

    /// Gives the last confirmed frame a successor, so that recovery knows it was confirmed.
    async fn mark(&mut self) -> Result<(), JournalError> {
        if self.active.left() < frame::SECTOR {
            // The header of the next segment will confirm it.
            self.unmarked = false;
            return Ok(());
        }
        let durable = self.shared.lock().durable;
        let header = header(durable, durable, 0, false, self.shared.env.clock.unix_ns());
        let offset = self.active.offset;
        let (_, bufs) = self.active.frame(header, Bytes::new());
        self.active.file.write_sync(offset, bufs).await.map_err(JournalError::io("write a mark"))?;
        self.shared.lock().active_left = self.active.left();
        self.unmarked = false;
        Ok(())
    }

    /// Writes a checkpoint when one is due. Everything written so far is durable, so it may stand on the last frame.
    async fn checkpoint(&mut self) -> Result<(), JournalError> {
        if !self.checkpoints.is_due() {
            return Ok(());
        }
        let Active { number, offset, last, prev, epoch, journal, .. } = self.active;
        let at = last.expect("an opening writes a frame, and so does the beginning of a segment");
        assert_eq!(at.segment, number, "a segment begins with a frame");
        let taken = {
            let state = self.shared.lock();
            let stand = Stand { at, crc: prev, end: offset, next: state.durable, epoch };
            if state.damaged { None } else { self.checkpoints.take(journal, &stand, &state.image) }
        };
        if let Some(taken) = taken {
            self.checkpoints.write(&self.shared.env, taken).await?;
        }
        Ok(())
    }

    /// Goes on in the spare segment; its first frames hold the small state.
    async fn rotate(&mut self) -> Result<(), JournalError> {
        loop {
            if self.shared.lock().spare.is_some() {
                break;
            }
            self.make_spare().await?;
            if self.shared.lock().spare.is_none() {
                self.shared.env.clock.sleep(self.shared.options.full_retry_ns).await;
            }
        }
        let (number, snapshot, durable) = {
            let mut state = self.shared.lock();
            let number = state.spare.take().expect("the loop above ends with a spare");
            (number, state.image.snapshot(), state.durable)
        };
        let bodies = state_bodies(&snapshot, self.shared.options.frame_bytes_max);
        state_frames_bytes(&bodies, &self.shared.options)?;
        let env = &self.shared.env;
        let (mut next, first) = self.active.follow(env, &self.shared.options.process, number, durable).await?;
        let mut bufs = vec![first];
        bufs.extend(next.state_frames(durable, env.clock.unix_ns(), bodies));
        next.file.write_sync(0, bufs).await.map_err(JournalError::io(format!("begin segment {number}")))?;
        let files = &self.shared.files;
        files.lock().expect("no code panics while it holds the files").open.insert(number, next.file.clone());
        self.active = next;
        self.segments.insert(number);
        self.shared.lock().active_left = self.active.left();
        self.make_spare().await
    }

    /// Sees to it that there is a spare, if there is room for one.
    async fn make_spare(&mut self) -> Result<(), JournalError> {
        self.recycle().await?;
        if self.shared.lock().spare.is_some() {
            return Ok(());
        }
        let number = self.active.number + 1;
        let options = &self.shared.options;
        let over = (self.segments.len() as u64 + 1) * options.segment_bytes > options.bytes_max;
        let made =
            if over { Made::NoRoom } else { spare::create(&self.shared.env, number, options.segment_bytes).await? };
        match made {
            Made::Spare => {
                self.shared.lock().spare = Some(number);
                self.said_full = false;
                self.shared.durable.send_modify(|_| {});
            }
            Made::NoRoom => {
                let reason = "journal.full".into();
                let what = What::Refused { reason };
                let event = Event { what, place: self.shared.name.clone(), identity: None, seq: Seq(0), attempt: 0 };
                self.shared.env.probe.on(&[event]);
                if !self.said_full {
                    tracing::warn!(process = %self.shared.name, bytes = options.segment_bytes, "the disk is full: waiting for room for a journal segment");
                    self.said_full = true;
                }
            }
        }
        Ok(())
    }

    /// Gives back the oldest segments that nobody needs: the first as the spare, the others to the file system.
    async fn recycle(&mut self) -> Result<(), JournalError> {
        loop {
            let oldest = *self.segments.first().expect("the active segment is one");
            let (free, spare) = {
                let state = self.shared.lock();
                (state.image.live_in(oldest) == 0, state.spare)
            };
            if oldest == self.active.number || !free {
                return Ok(());
            }
            self.segments.remove(&oldest);
            self.shared.files.lock().expect("no code panics while it holds the files").open.remove(&oldest);
            if spare.is_none() {
                let number = self.active.number + 1;
                spare::recycle(&self.shared.env, oldest, number).await?;
                self.shared.lock().spare = Some(number);
                self.said_full = false;
            } else {
                spare::remove(&self.shared.env, &segment::name(oldest)).await?;
            }
            self.shared.durable.send_modify(|_| {});
        }
    }
}

/// Packs small state into frame bodies; the first says how many there are.
pub(super) fn state_bodies(records: &[Record], frame_bytes_max: usize) -> Vec<Bytes> {
    let snapshot = |frames| Record::Snapshot(Snapshot { frames });
    let limit = frame_bytes_max - frame::HEADER - snapshot(0).size();
    let mut bodies = Vec::new();
    let mut body = BytesMut::new();
    for record in records {
        if !body.is_empty() && body.len() + record.size() > limit {
            bodies.push(body.split());
        }
        record.encode(&mut body);
    }
    bodies.push(body);
    let mut first = BytesMut::new();
    snapshot(u32::try_from(bodies.len()).expect("state fits half a segment")).encode(&mut first);
    first.extend_from_slice(&bodies[0]);
    bodies[0] = first;
    bodies.into_iter().map(BytesMut::freeze).collect()
}

/// Bytes that state frames take, one sector to spare.
///
/// # Errors
/// `StateTooLarge` when they would fill more than half a segment.
pub(super) fn state_frames_bytes(bodies: &[Bytes], options: &JournalOptions) -> Result<u64, JournalError> {
    let padded = |body: &Bytes| ((frame::HEADER + body.len()) as u64).next_multiple_of(frame::SECTOR);
    let bytes = bodies.iter().map(padded).sum::<u64>() + frame::SECTOR;
    let limit = options.segment_bytes / 2;
    if bytes > limit { Err(JournalError::StateTooLarge { bytes, limit }) } else { Ok(bytes) }
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
        Record::Settle(settle) => settle.seqs.last().map(|(_, to)| Event {
            what: What::Settled { took_effect: true },
            place: settle.input.clone(),
            identity: None,
            seq: *to,
            attempt: 0,
        }),
        Record::DeadLetter(letter) => Some(Event {
            what: What::DeadLettered,
            place: letter.node.clone(),
            identity: Some(letter.identity),
            seq: Seq(0),
            attempt: 0,
        }),
        _ => None,
    }
}
