//! From one segment to the next: rotation, the spare, recycling, and checkpoints. The commit task does it between frames.

use super::active::{state_bodies, state_frames_bytes};
use super::commit::Task;
use super::retention::Horizon;
use super::spare::{self, Made};
use super::{JournalError, segment};
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
        loop {
            if self.shared.lock().spare.is_some() {
                break;
            }
            self.make_spare().await?;
            if self.shared.lock().spare.is_none() {
                self.shared.env.clock.sleep(self.shared.options.full_retry_ns).await;
            }
        }
        self.sealed().await?;
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
        self.spare_if_due().await
    }

    /// Looks for room when it is time to, however much there is to do.
    pub(super) async fn room_if_due(&mut self) -> Result<(), JournalError> {
        if self.retry_at.is_none_or(|at| self.shared.env.clock.mono() < at) {
            return Ok(());
        }
        self.retry_at = None;
        if self.shared.lock().spare.is_none() {
            while !self.flying.is_empty() {
                self.land().await?;
            }
            self.make_spare().await?;
            let full = self.shared.lock().full;
            if full {
                self.copy_forward(true).await?;
            }
        }
        Ok(())
    }

    /// Makes a spare where none came free while the first quarter of the active segment was written.
    pub(super) async fn spare_if_due(&mut self) -> Result<(), JournalError> {
        let wanted = {
            let state = self.shared.lock();
            state.spare.is_none() && !state.full
        };
        let due = wanted && self.active.offset >= self.active.size / 4;
        if due { self.make_spare().await } else { Ok(()) }
    }

    /// Sees to it that there is a spare, if there is room for one.
    pub(super) async fn make_spare(&mut self) -> Result<(), JournalError> {
        self.recycle().await?;
        if self.shared.lock().spare.is_some() {
            return Ok(());
        }
        let number = self.active.number + 1;
        let shared = self.shared.clone();
        let options = &shared.options;
        let over = (self.segments.len() as u64 + 1) * options.segment_bytes > options.bytes_max;
        let made = if over {
            Made::NoRoom
        } else {
            if self.sync_due.is_some() {
                // It would have to wait until all those zeros are written.
                self.sync().await?;
            }
            spare::create(&shared.env, number, options.segment_bytes).await?
        };
        match made {
            Made::Spare => {
                let mut state = self.shared.lock();
                (state.spare, state.full) = (Some(number), false);
                state.wear.wrote_synced(options.segment_bytes);
                drop(state);
                self.said_full = false;
                self.retry_at = None;
                self.shared.durable.send_modify(|_| {});
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

    /// Gives back the oldest segments that nobody needs and no replay may ask for: the first as the spare, the others to the
    /// file system.
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
        (free && (pressing || !self.is_kept(oldest))).then_some(oldest)
    }

    /// True while a sealed segment is kept for replays.
    pub(super) fn is_kept(&self, segment: u64) -> bool {
        let options = &self.shared.options;
        let horizon = Horizon { ns: options.retain_ns, bytes: options.retain_bytes };
        // Of the active one only what is written counts: what is asked for is there even when it was just begun.
        let sealed = self.segments.range(segment + 1..self.active.number).count() as u64;
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
        // One of an earlier life may be smaller, or cut short: it has no room for what a segment begins with.
        let whole = oldest > self.opened_in || {
            let size = file.expect("every segment in use is open").len().await;
            size.map_err(JournalError::io("read a segment's length"))? >= self.shared.options.segment_bytes
        };
        let spare = self.shared.lock().spare;
        if spare.is_none() && whole {
            self.retry_at = None;
            let number = self.active.number + 1;
            reachable!(&*self.shared.env.probe, "journal.recycled", "an old segment that became the next one");
            spare::recycle(&self.shared.env, oldest, number).await?;
            let mut state = self.shared.lock();
            (state.spare, state.full) = (Some(number), false);
            drop(state);
            self.said_full = false;
        } else {
            spare::remove(&self.shared.env, &segment::name(oldest)).await?;
        }
        self.shared.durable.send_modify(|_| {});
        Ok(())
    }
}
