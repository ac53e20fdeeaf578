//! The journal: one append-only log a process, in which channels, cursors, node state and dead letters are records.
//!
//! # What it promises
//! - A transaction ([`Journal::submit`]) is in one frame: after any crash it is there as a whole or not at all, and
//!   everything submitted before it is there too.
//! - [`Commit`] resolves once the transaction is durable. What it confirmed survives every crash and power cut; only a
//!   medium that destroyed it afterwards can lose it, and then recovery reports the exact LSNs ([`Recovery::lost`]).
//! - What was not confirmed may be there or not. A tail that recovery had to cut is reported as indeterminate.
//! - After a failed write or sync the journal takes nothing more: [`JournalError::Stopped`]. The next open re-reads.
//!
//! # On disk
//! Segments `seg-<number>.swj` of equal size, allocated (zero-filled) before use, so that a full disk shows in one place:
//! where the *spare* segments are made. While the second is missing, what would add packets from outside is refused, and what
//! drains them is still taken. A segment whose packets are all settled becomes a spare by a rename; on a full disk also one
//! between others ([`stub`]).
//!
//! A segment begins with a header sector ([`segment`]); frames ([`frame`]) follow, each at a 512 B boundary, so that no
//! frame shares a sector with an older one and a torn write can't touch what was confirmed. Rotation writes the small
//! state (cursors, producers, node state) into the new segment first, so that no old segment is needed for it.
//!
//! # What is absent
//! The journal never looks inside a packet, never sorts out duplicates, and knows no lanes. It keeps no clock but the
//! frames' time stamp, and has no linger timer: while one write is synced, the next frame fills.

mod active;
mod checkpoint;
mod commit;
mod copy;
mod cursor;
mod durability;
mod error;
pub mod footer;
pub mod frame;
mod handed;
pub mod image;
pub mod letter;
mod packets;
mod read;
pub mod reader;
pub mod record;
mod recovery;
mod relief;
pub mod repair;
mod report;
mod retention;
#[cfg(test)]
mod rig;
mod rotation;
mod runs;
mod scan;
pub mod segment;
mod spare;
mod stub;
#[cfg(test)]
mod tests;
mod wear;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, oneshot, watch};

use crate::env::Env;
use crate::journal::image::Image;
use crate::observe::Place;
pub use durability::Durability;
pub use error::{JournalError, is_full};
pub use record::Record;
pub use report::{Breach, Gap, Outcome, Recovery};
use spare::SPARES;
pub use wear::Wear;

/// Position of a record in a journal: the how many-th record it is, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, Default)]
pub struct Lsn(pub u64);

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Bounds of a journal. All sizes are bytes, all times ns.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// The process that the journal belongs to; another name than the stored one is refused.
    pub process: String,
    /// Size of a segment; a multiple of 512, at least four times `frame_bytes_max`.
    pub segment_bytes: u64,
    /// Largest frame, and so the largest transaction.
    pub frame_bytes_max: usize,
    /// How much may wait to be written before `submit` answers [`Full`].
    pub queue_bytes_max: usize,
    /// How much of each channel's newest packets is kept in memory for its reader.
    pub tail_bytes_max: usize,
    /// Idle time after which a mark frame confirms the last commit.
    pub mark_after_ns: u64,
    /// How often to try again for room on a full disk.
    pub full_retry_ns: u64,
    /// How much all segments together may take; at this size the journal is full, as if the disk were.
    pub bytes_max: u64,
    /// When a commit is confirmed.
    pub durability: Durability,
    /// Segments that nobody needs are kept so long after they were left, for replays; 0 keeps none. Pressing need of room
    /// comes first.
    pub retain_ns: u64,
    /// So many bytes of the newest segments are kept, for replays; 0 keeps none. Pressing need of room comes first.
    pub retain_bytes: u64,
}

impl JournalOptions {
    /// The defaults for `process`: 8 MiB segments, 1 MiB frames.
    #[must_use]
    pub fn new(process: &str) -> Self {
        JournalOptions {
            process: process.to_owned(),
            segment_bytes: 8 << 20,
            frame_bytes_max: 1 << 20,
            queue_bytes_max: 8 << 20,
            tail_bytes_max: 4 << 20,
            mark_after_ns: 20_000_000,
            full_retry_ns: 200_000_000,
            bytes_max: 4 << 30,
            durability: Durability::Sync,
            retain_ns: 0,
            retain_bytes: 0,
        }
    }
}

/// What a transaction does to the fill level, which decides whether a full disk takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Brings in what was elsewhere before: refused while the disk is full.
    Produce,
    /// Moves forward what is already here, and so frees room: taken even then.
    Drain,
}

/// No room now. Wait with [`Journal::room`] and submit again; nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too much is waiting to be written.
    #[error("too much is waiting to be written")]
    Queue,
    /// The disk is full.
    #[error("the disk is full")]
    Disk,
    /// The journal has stopped; `room` tells why.
    #[error("the journal has stopped")]
    Stopped,
    /// The transaction is larger than a frame can ever be.
    #[error("the transaction is larger than a frame")]
    TooLarge,
}

/// Resolves when its transaction is durable. Dropping it cancels nothing.
#[derive(Debug)]
pub struct Commit {
    done: oneshot::Receiver<Range<Lsn>>,
    shared: Arc<Shared>,
}

impl Commit {
    /// Waits for durability and gives the transaction's LSNs.
    ///
    /// # Errors
    /// `Stopped` when the journal failed first: the transaction may be there or not after the next open.
    pub async fn wait(self) -> Result<Range<Lsn>, JournalError> {
        match self.done.await {
            Ok(range) => Ok(range),
            Err(_) => Err(self.shared.lock().stopped()),
        }
    }

    /// Waits until it is synced, whatever the durability: what another process is told must not be forgotten here.
    ///
    /// # Errors
    /// As [`Commit::wait`].
    pub async fn synced(self) -> Result<Range<Lsn>, JournalError> {
        let journal = Journal { shared: self.shared.clone() };
        let range = self.wait().await?;
        journal.synced(range.end).await?;
        Ok(range)
    }
}

/// What waits to be written. Bodies are encoded at submit, in the submitter's time.
#[derive(Debug, Default)]
struct Pending {
    body: bytes::BytesMut,
    records: Vec<Record>,
    /// For each transaction: end in `body`, end in `records`, and who waits.
    ends: std::collections::VecDeque<(usize, usize, oneshot::Sender<Range<Lsn>>)>,
}

#[derive(Debug)]
struct State {
    image: Image,
    pending: Pending,
    /// LSN after all that was submitted, and copied forward.
    next: Lsn,
    /// All records below are confirmed: durable, unless the options ask for less.
    durable: Lsn,
    /// All records below are durable, whatever the options.
    synced: Lsn,
    /// Somebody waits for more of them.
    sync_wanted: bool,
    /// What was written since the journal was opened; without `open_ns`.
    wear: Wear,
    opened_ns: u64,
    /// Segments that are kept for when the active one is full: their numbers follow its own.
    spares: u64,
    /// There was no room for another the last time that one was to be made.
    full: bool,
    /// Room left in the active segment, for transactions that drain a full disk.
    active_left: u64,
    /// A frame that somebody needs turned out to be destroyed: what the checkpoints say of it is not true any more.
    damaged: bool,
    stopped: Option<String>,
    closing: bool,
}

impl State {
    fn stopped(&self) -> JournalError {
        JournalError::Stopped { cause: self.stopped.clone().unwrap_or_else(|| "its task has ended".to_owned()) }
    }
}

struct Shared {
    env: Env,
    options: JournalOptions,
    id: u128,
    name: Place,
    state: Mutex<State>,
    files: Mutex<read::Files>,
    /// Wakes the commit task.
    work: Notify,
    /// Durable LSN; readers and `room` wait on its changes.
    durable: watch::Sender<u64>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Journal({})", self.name)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let state = poisoned.into_inner();
            assert!(state.stopped.is_some(), "code panicked while it held the journal's state");
            state
        })
    }

    /// Asks for a sync, where those are not made for every commit.
    fn want_sync(&self, state: &mut State) {
        if !std::mem::replace(&mut state.sync_wanted, true) {
            self.work.notify_one();
        }
    }

    fn wear(&self) -> Wear {
        let state = self.lock();
        Wear { open_ns: self.env.clock.mono().saturating_sub(state.opened_ns), ..state.wear }
    }
}

/// A journal, open. Cheap to clone; all clones are the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

/// Bytes that a record takes in a frame, at most.
fn cost(tx: &[Record]) -> usize {
    tx.iter().map(Record::size).sum()
}

impl Journal {
    /// Opens the journal in `env.disk`, creating it when the directory is empty, and starts its commit task. When an
    /// existing journal finds no room to go on, it opens all the same and waits for room, saying so.
    ///
    /// # Errors
    /// Locked, foreign files, another version, a failing disk, or no room for the very first segment.
    pub async fn open(env: &Env, options: JournalOptions) -> Result<(Journal, Recovery), JournalError> {
        assert!(
            options.segment_bytes.is_multiple_of(512),
            "segment_bytes {} is not whole sectors",
            options.segment_bytes
        );
        assert!(
            options.segment_bytes >= 4 * options.frame_bytes_max as u64,
            "a segment of {} can't hold frames of {}",
            options.segment_bytes,
            options.frame_bytes_max
        );
        let opened = recovery::open(env, &options).await?;
        let (durable, _) = watch::channel(opened.recovery.next.0);
        let shared = Arc::new(Shared {
            env: env.clone(),
            id: opened.recovery.journal,
            name: options.process.as_str().into(),
            state: Mutex::new(State {
                image: opened.image,
                pending: Pending::default(),
                next: opened.recovery.next,
                durable: opened.recovery.next,
                synced: opened.recovery.next,
                sync_wanted: false,
                wear: opened.wear,
                opened_ns: env.clock.mono(),
                spares: opened.spares,
                full: opened.full,
                active_left: opened.active.left(),
                damaged: false,
                stopped: None,
                closing: false,
            }),
            files: Mutex::new(opened.files),
            options,
            work: Notify::new(),
            durable,
        });
        tokio::spawn(
            commit::Task::new(
                shared.clone(),
                opened.active,
                opened.segments,
                (opened.stubs, opened.next_stub),
                opened.checkpoints,
            )
            .run(opened.lock),
        );
        Ok((Journal { shared }, opened.recovery))
    }

    /// Queues a transaction. It is never split, and it becomes durable after all that was submitted before.
    ///
    /// # Errors
    /// [`Full`]: nothing was taken; wait with [`Journal::room`].
    pub fn submit(&self, tx: Vec<Record>, intent: Intent) -> Result<Commit, Full> {
        assert!(!tx.is_empty(), "an empty transaction");
        let bytes = cost(&tx);
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        self.room_in(state, bytes, intent)?;
        state.pending.body.reserve(bytes);
        for record in &tx {
            record.encode(&mut state.pending.body);
        }
        state.next = Lsn(state.next.0 + tx.len() as u64);
        state.pending.records.extend(tx);
        let (done, waiter) = oneshot::channel();
        state.pending.ends.push_back((state.pending.body.len(), state.pending.records.len(), done));
        drop(guard);
        self.shared.work.notify_one();
        Ok(Commit { done: waiter, shared: self.shared.clone() })
    }

    /// The largest frame, bytes: no transaction can be larger.
    #[must_use]
    pub fn frame_bytes_max(&self) -> usize {
        self.shared.options.frame_bytes_max
    }

    /// True when a transaction of `bytes` would be taken now.
    ///
    /// # Errors
    /// Why not.
    pub fn has_room(&self, bytes: usize, intent: Intent) -> Result<(), Full> {
        self.room_in(&self.shared.lock(), bytes, intent)
    }

    fn room_in(&self, state: &State, bytes: usize, intent: Intent) -> Result<(), Full> {
        let options = &self.shared.options;
        if bytes > options.frame_bytes_max - frame::HEADER {
            return Err(Full::TooLarge);
        }
        if state.stopped.is_some() || state.closing {
            return Err(Full::Stopped);
        }
        if state.pending.body.len() + bytes > options.queue_bytes_max {
            return Err(Full::Queue);
        }
        // Without a second spare, the first and what is left of the active segment belong to those who drain. Until it is known
        // that there is no room for one, half of what is left is for all.
        let waiting = state.pending.body.len() as u64 + 4 * frame::SECTOR;
        let left = match (intent, state.spares) {
            (Intent::Produce, SPARES..) | (Intent::Drain, 1..) => return Ok(()),
            (Intent::Drain, 0) => state.active_left,
            (Intent::Produce, _) if state.full => 0,
            (Intent::Produce, _) => state.active_left / 2,
        };
        if waiting + bytes as u64 > left {
            return Err(Full::Disk);
        }
        Ok(())
    }

    /// Waits until a transaction of `bytes` would be taken.
    ///
    /// # Errors
    /// `Stopped`, or `TooLarge` when it never will be.
    pub async fn room(&self, bytes: usize, intent: Intent) -> Result<(), JournalError> {
        let mut durable = self.shared.durable.subscribe();
        loop {
            {
                let state = self.shared.lock();
                match self.room_in(&state, bytes, intent) {
                    Ok(()) => return Ok(()),
                    Err(Full::Stopped) => return Err(state.stopped()),
                    Err(Full::TooLarge) => {
                        return Err(JournalError::TooLarge {
                            bytes,
                            limit: self.shared.options.frame_bytes_max - frame::HEADER,
                        });
                    }
                    Err(Full::Queue | Full::Disk) => {}
                }
            }
            if durable.changed().await.is_err() {
                return Err(self.shared.lock().stopped());
            }
        }
    }

    /// Submits as soon as there is room. Callers that need an order among themselves call it one after the other.
    ///
    /// # Errors
    /// As [`Journal::room`].
    pub async fn append(&self, tx: Vec<Record>, intent: Intent) -> Result<Commit, JournalError> {
        self.room(cost(&tx), intent).await?;
        // Nothing awaits in between, and one thread runs all: what had room a moment ago still has it.
        Ok(self.submit(tx, intent).expect("room() saw room in this very step"))
    }

    /// All records below are confirmed.
    #[must_use]
    pub fn confirmed(&self) -> Lsn {
        self.shared.lock().durable
    }

    /// True when all records below `upto` are synced.
    #[must_use]
    pub fn is_synced(&self, upto: Lsn) -> bool {
        self.shared.lock().synced >= upto
    }

    /// Waits until all records below `upto` are synced.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn synced(&self, upto: Lsn) -> Result<(), JournalError> {
        let mut changed = self.shared.durable.subscribe();
        loop {
            {
                let mut state = self.shared.lock();
                if state.synced >= upto {
                    return Ok(());
                }
                if state.stopped.is_some() {
                    return Err(state.stopped());
                }
                self.shared.want_sync(&mut state);
            }
            if changed.changed().await.is_err() {
                return Err(self.shared.lock().stopped());
            }
        }
    }

    /// Its id, drawn once when it was created, where its numbers are known by it: on another journal, equal numbers are other
    /// packets. `None` for one that an older release created: that one goes on as it was.
    #[must_use]
    pub fn counts_apart(&self) -> Option<u128> {
        Some(self.shared.id).filter(|id| recovery::counts_apart(*id))
    }

    /// Looks at the confirmed state: channels, cursors, node state, producers.
    pub fn image<T>(&self, look: impl FnOnce(&Image) -> T) -> T {
        look(&self.shared.lock().image)
    }

    /// Completes when the journal has stopped, with the cause.
    pub async fn stopped(&self) -> JournalError {
        let mut durable = self.shared.durable.subscribe();
        loop {
            {
                let state = self.shared.lock();
                if state.stopped.is_some() {
                    return state.stopped();
                }
            }
            if durable.changed().await.is_err() {
                return self.shared.lock().stopped();
            }
        }
    }

    /// Writes what was submitted, ends the commit task and gives the lock back. Later submits are refused.
    pub async fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        self.stopped().await;
    }

    /// What the journal has cost its medium since it was opened.
    #[must_use]
    pub fn wear(&self) -> Wear {
        self.shared.wear()
    }

    /// True when nothing waits to be written.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.next == state.durable
    }
}
