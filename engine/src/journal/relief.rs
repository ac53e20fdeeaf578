//! Relief: room within a full disk, so that those who drain it never stand still. The commit task looks for it.

use super::commit::Task;
use super::frame::SECTOR;
use super::spare;
use super::{JournalError, Lsn, SPARES, segment, stub};
use crate::reachable;

impl Task {
    /// Looks for room within a full disk, so that those who drain it never stand still: in segments between others that nobody
    /// needs and, where the last spare is in use, in the one before it, out of which the few packets are copied that entered
    /// it before the disk was full. Nothing may be on its way to the disk.
    pub(super) async fn relieve(&mut self) -> Result<(), JournalError> {
        self.recycle_between().await?;
        let newest = self
            .segments
            .keys()
            .rev()
            .find(|number| **number != self.active.number && !self.stubs.contains_key(number));
        let Some(newest) = newest.copied().filter(|_| self.spares() == 0) else { return Ok(()) };
        let live = self.shared.lock().image.live_in(newest);
        if self.too_live == Some((newest, live)) {
            return Ok(());
        }
        // What is left must do until the next one.
        let limit = self.active.left().saturating_sub(self.active.size / 8).min(self.copy_bytes_max());
        if self.copy_out(newest, limit, true).await? == 0 {
            self.too_live = Some((newest, live));
        }
        self.recycle_between().await
    }

    /// Gives back segments that nobody needs though an older one is needed, each for a stub, until no spare is missing. Where a
    /// full disk kept the next stub from being made, this is tried again.
    async fn recycle_between(&mut self) -> Result<(), JournalError> {
        while self.spares() < SPARES {
            let Some((dead, base, end)) = self.dead_between().await? else { return Ok(()) };
            let file = self.file(dead);
            // What settled its packets must be durable before they go; and its footer must not come into the spare.
            self.sync().await?;
            self.sealed().await?;
            let (shared, spare) = (self.shared.clone(), self.active.number + self.spares() + 1);
            let env = &shared.env;
            let before = self.segments.range(..dead).next_back().map(|(number, _)| *number);
            let before = before.and_then(|number| self.stubs.get_mut(&number)).filter(|stub| stub.takes(base));
            let stub = if let Some(stub) = before {
                stub.pass(end, env.clock.unix_ns(), None).await?;
                None
            } else {
                let begun = if self.prepare_stub().await? { stub::begin(env, (dead, &file), end).await? } else { None };
                let Some(stub) = begun else { return Ok(()) };
                Some(stub)
            };
            self.shared.lock().wear.wrote_synced(SECTOR);
            self.making = None;
            spare::recycle(env, dead, spare).await?;
            self.sealed.remove(&dead);
            let file = match stub {
                Some(mut stub) => {
                    stub.file = stub::put(env, dead).await?;
                    self.next_stub = false;
                    let file = stub.file.clone();
                    self.stubs.insert(dead, stub);
                    Some(file)
                }
                None => {
                    self.segments.remove(&dead);
                    None
                }
            };
            self.set_file(dead, file);
            reachable!(&*env.probe, "journal.stubbed", "a segment between others that became the next one");
            self.gained();
            self.checkpoints.want();
        }
        Ok(())
    }

    /// Sees to it that there is a file for the next stub, if there is room for it.
    async fn prepare_stub(&mut self) -> Result<bool, JournalError> {
        if !self.next_stub && stub::prepare(&self.shared.env).await? {
            self.prepared_stub();
        }
        Ok(self.next_stub)
    }

    pub(super) fn prepared_stub(&mut self) {
        self.next_stub = true;
        self.shared.lock().wear.wrote_synced(stub::BYTES);
    }

    /// The first segment between others that nobody needs and that would make a spare, with its LSNs.
    async fn dead_between(&mut self) -> Result<Option<(u64, Lsn, Lsn)>, JournalError> {
        let dead: Vec<_> = {
            let state = self.shared.lock();
            let sealed = self.segments.iter().zip(self.segments.values().skip(1)).skip(1);
            let dead = sealed
                .filter(|((number, _), _)| !self.stubs.contains_key(number) && state.image.live_in(**number) == 0);
            dead.map(|((number, base), end)| (*number, *base, *end)).collect()
        };
        for dead in dead {
            if self.is_whole(dead.0, &self.file(dead.0)).await? {
                return Ok(Some(dead));
            }
        }
        Ok(None)
    }

    /// The oldest segment was a stub: its file is the next one's, if that is missing.
    pub(super) async fn give_back_stub(&mut self, oldest: u64) -> Result<(), JournalError> {
        let env = &self.shared.env;
        if self.next_stub {
            spare::remove(env, &segment::name(oldest)).await
        } else {
            self.next_stub = true;
            spare::recycle(env, oldest, stub::NEXT).await
        }
    }
}
