//! From one segment to the next: rotation, the spares, recycling, and checkpoints. The commit task does it between frames.

use std::sync::Arc;

use super::active::{state_bodies, state_frames_bytes};
use super::commit::Task;
use super::retention::Horizon;
use super::spare::{self, Made, PIECES};
use super::{JournalError, SPARES, Shared, segment, stub};
use crate::env::File;
use crate::observe::{Event, What};
use crate::packet::Seq;
use crate::reachable;

impl Task {
    /// Writes a checkpoint when one is due. It stands on the last frame of which everybody knows.
    pub(super) async fn checkpoint(&mut self) -> Result<(), JournalError> {
        if !self.checkpoints.is_due() {
            return Ok(());
        }
        self.sync().await?;
        let taken = {
            let state = self.shared.lock();
            if state.damaged { None } else { self.checkpoints.take(&self.active, &self.landed, &state.image) }
        };
        if let Some(taken) = taken {
            let bytes = self.checkpoints.write(&self.shared.env, taken).await?;
            self.shared.lock().wear.wrote_synced(bytes);
        }
        Ok(())
    }

    /// Goes on in the spare segment; its first frames hold the small state.
    pub(super) async fn rotate(&mut self) -> Result<(), JournalError> {
        // The next header says that everything before it is durable; and waiting for room may take long.
        self.sync().await?;
        while self.spares() == 0 {
            self.make_spare().await?;
            if self.spares() == 0 {
                wait_to_retry(&self.shared).await?;
            }
        }
        self.sealed().await?;
        let (number, snapshot, durable) = {
            let mut state = self.shared.lock();
            state.spares -= 1;
            (self.active.number + 1, state.image.snapshot(), state.durable)
        };
        let bodies = state_bodies(&snapshot, self.shared.options.frame_bytes_max);
        state_frames_bytes(&bodies, &self.shared.options)?;
        let env = &self.shared.env;
        let (mut next, first) = self.active.follow(env, &self.shared.options.process, number, durable).await?;
        let mut bufs = vec![first];
        bufs.extend(next.state_frames(durable, env.clock.unix_ns(), bodies));
        let bytes = next.offset;
        next.file.write_sync(0, bufs).await.map_err(JournalError::io(format!("begin segment {number}")))?;
        self.shared.lock().wear.wrote_synced(bytes);
        let files = &self.shared.files;
        files.lock().expect("no code panics while it holds the files").open.insert(number, next.file.clone());
        self.sealed.insert(self.active.number, env.clock.unix_ns());
        // Nothing waits for it but the next rotation: it is never needed.
        if let Some((bytes, written)) = self.active.seal() {
            self.shared.lock().wear.written_bytes += bytes;
            self.sealing = Some(written);
        }
        self.active = next;
        self.landed = self.active.stand(durable);
        self.segments.insert(number, durable);
        self.shared.lock().active_left = self.active.left();
        // A segment that is free, or soon will be, is better than a new one: it is zero-filled already.
        self.recycle().await?;
        let full = self.shared.lock().full;
        self.copy_forward(full).await?;
        if full {
            self.relieve().await?;
        }
        self.spare_if_due().await
    }

    pub(super) fn spares(&self) -> u64 {
        self.shared.lock().spares
    }

    /// Looks for room when it is time to, however much there is to do.
    pub(super) async fn room_if_due(&mut self) -> Result<(), JournalError> {
        if self.retry_at.is_none_or(|at| self.shared.env.clock.mono() < at) {
            return Ok(());
        }
        self.retry_at = None;
        if self.spares() < SPARES {
            while !self.flying.is_empty() {
                self.land().await?;
            }
            let full = self.shared.lock().full;
            if full {
                self.copy_forward(true).await?;
                self.relieve().await?;
            }
            self.begin_spare().await?;
        }
        Ok(())
    }

    /// Makes a spare where none came free while the first quarter of the active segment was written.
    pub(super) async fn spare_if_due(&mut self) -> Result<(), JournalError> {
        let wanted = {
            let state = self.shared.lock();
            state.spares < SPARES && !state.full
        };
        let due = wanted && self.active.offset >= self.active.size / 4;
        if due { self.begin_spare().await } else { Ok(()) }
    }

    /// Sees to it that there is one more spare, if one is missing and there is room for it. Waits for that.
    async fn make_spare(&mut self) -> Result<(), JournalError> {
        let Some(number) = self.next_spare().await? else { return Ok(()) };
        // What was begun of it is gone on with, at once.
        self.making = None;
        let made = spare::create(&self.shared.env, number, self.shared.options.segment_bytes).await?;
        self.made(made).await
    }

    /// Begins to make one more spare, if one is missing and there may be room for it: [`Task::making_ended`] ends that. The
    /// next stub's file comes first.
    async fn begin_spare(&mut self) -> Result<(), JournalError> {
        if self.making.is_some() {
            return Ok(());
        }
        let Some(number) = self.next_spare().await? else { return Ok(()) };
        let (env, bytes, stub_missing) = (self.shared.env.clone(), self.shared.options.segment_bytes, !self.next_stub);
        self.making = Some(Box::pin(async move {
            let stub = stub_missing && stub::prepare(&env).await?;
            Ok((spare::create_in(&env, number, bytes, PIECES).await?, stub))
        }));
        Ok(())
    }

    /// The number of the spare to be made, if one is missing and the journal may grow.
    async fn next_spare(&mut self) -> Result<Option<u64>, JournalError> {
        self.recycle().await?;
        let spares = self.spares();
        if spares >= SPARES {
            return Ok(None);
        }
        let options = &self.shared.options;
        let files = (self.segments.len() - self.stubs.len()) as u64 + spares + 1;
        if files * options.segment_bytes > options.bytes_max {
            self.made(Made::NoRoom).await?;
            return Ok(None);
        }
        if self.sync_due.is_some() {
            // It would have to wait behind the zeros.
            self.sync().await?;
        }
        Ok(Some(self.active.number + spares + 1))
    }

    /// What was begun by [`Task::begin_spare`] is over.
    pub(super) async fn making_ended(&mut self, (made, stub): (Made, bool)) -> Result<(), JournalError> {
        self.making = None;
        if stub {
            self.prepared_stub();
        }
        self.made(made).await
    }

    /// A spare was made, or there was no room for it.
    async fn made(&mut self, made: Made) -> Result<(), JournalError> {
        let options = &self.shared.options;
        match made {
            Made::Spare => {
                self.shared.lock().wear.wrote_synced(options.segment_bytes);
                self.gained();
            }
            // Replays come second.
            Made::NoRoom if self.free_segment(true).is_some() => {
                reachable!(
                    &*self.shared.env.probe,
                    "journal.replay_gave_way",
                    "room for new packets before the replay horizon"
                );
                let oldest = self.free_segment(true).expect("the guard saw one");
                self.give_back(oldest).await?;
            }
            Made::NoRoom => {
                self.shared.lock().full = true;
                self.retry_at = Some(self.shared.env.clock.mono().saturating_add(options.full_retry_ns));
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

    /// There is one spare more.
    pub(super) fn gained(&mut self) {
        let mut state = self.shared.lock();
        state.spares += 1;
        if state.spares >= SPARES {
            state.full = false;
            self.said_full = false;
            self.retry_at = None;
        }
        drop(state);
        self.shared.durable.send_modify(|_| {});
    }

    /// Gives back the oldest segments that nobody needs and no replay may ask for: as spares while some are missing, else to
    /// the file system.
    pub(super) async fn recycle(&mut self) -> Result<(), JournalError> {
        while let Some(oldest) = self.free_segment(false) {
            self.give_back(oldest).await?;
        }
        Ok(())
    }

    /// The oldest segment, if nobody needs it.
    pub(super) fn free_segment(&self, pressing: bool) -> Option<u64> {
        let oldest = *self.segments.keys().next().expect("the active segment is one");
        let free = oldest != self.active.number && self.shared.lock().image.live_in(oldest) == 0;
        (free && (pressing || self.stubs.contains_key(&oldest) || !self.is_kept(oldest))).then_some(oldest)
    }

    /// True while a sealed segment is kept for replays.
    pub(super) fn is_kept(&self, segment: u64) -> bool {
        let options = &self.shared.options;
        let horizon = Horizon { ns: options.retain_ns, bytes: options.retain_bytes };
        // Of the active one only what is written counts: what is asked for is there even when it was just begun.
        let newer = self.segments.range(segment + 1..self.active.number);
        let sealed = newer.filter(|(number, _)| !self.stubs.contains_key(number)).count() as u64;
        let newer_bytes = sealed * options.segment_bytes + self.active.offset;
        let sealed_at = self.sealed.get(&segment).copied().unwrap_or(i64::MAX);
        horizon.keeps(sealed_at, self.shared.env.clock.unix_ns(), newer_bytes)
    }

    async fn give_back(&mut self, oldest: u64) -> Result<(), JournalError> {
        // What settled its packets must be durable before they go.
        self.sync().await?;
        self.segments.remove(&oldest);
        self.sealed.remove(&oldest);
        let file = self.shared.files.lock().expect("no code panics while it holds the files").open.remove(&oldest);
        let file = file.expect("every segment in use is open");
        if self.stubs.remove(&oldest).is_some() {
            return self.give_back_stub(oldest).await;
        }
        let whole = self.is_whole(oldest, &file).await?;
        let spares = self.spares();
        if spares < SPARES && whole {
            let number = self.active.number + spares + 1;
            self.making = None;
            reachable!(&*self.shared.env.probe, "journal.recycled", "an old segment that became the next one");
            spare::recycle(&self.shared.env, oldest, number).await?;
            self.gained();
        } else {
            spare::remove(&self.shared.env, &segment::name(oldest)).await?;
            self.shared.durable.send_modify(|_| {});
        }
        Ok(())
    }

    /// False for one of an earlier life that is smaller, or cut short: it has no room for what a segment begins with.
    pub(super) async fn is_whole(&mut self, segment: u64, file: &Arc<dyn File>) -> Result<bool, JournalError> {
        if segment > self.opened_in {
            return Ok(true);
        }
        let size = file.len().await.map_err(JournalError::io("read a segment's length"))?;
        Ok(size >= self.shared.options.segment_bytes)
    }

    /// The file of a segment in use.
    pub(super) fn file(&self, segment: u64) -> Arc<dyn File> {
        let files = self.shared.files.lock().expect("no code panics while it holds the files");
        files.open.get(&segment).cloned().expect("every segment in use is open")
    }

    pub(super) fn set_file(&self, segment: u64, file: Option<Arc<dyn File>>) {
        let mut files = self.shared.files.lock().expect("no code panics while it holds the files");
        match file {
            Some(file) => drop(files.open.insert(segment, file)),
            None => drop(files.open.remove(&segment)),
        }
    }
}

/// Waits until it is time to look for room again.
///
/// # Errors
/// The journal is being closed: what still waits for room was never durable, and is given up.
async fn wait_to_retry(shared: &Shared) -> Result<(), JournalError> {
    let clock = &shared.env.clock;
    let retry_at = clock.mono().saturating_add(shared.options.full_retry_ns);
    while !shared.lock().closing {
        tokio::select! {
            biased;
            () = shared.work.notified() => {}
            () = clock.sleep_until(retry_at) => return Ok(()),
        }
    }
    Err(JournalError::Stopped { cause: "it was closed while the disk was full".to_owned() })
}
