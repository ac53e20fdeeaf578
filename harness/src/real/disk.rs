//! A real disk that a fault can slow down or fill: operations pass in their order, later or not at all.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use seaworthy_engine::env::{Disk, File, Io, Open, Seed};
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

use crate::plan::Dist;
use crate::sim::seed::KeyedSeed;

/// The switches of one host's disk. They outlive the host's incarnations.
pub(super) struct Switches {
    /// Of the round and the host.
    seed: KeyedSeed,
    state: Mutex<State>,
    pub late_hits: AtomicU64,
    pub full_hits: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct State {
    add: Option<Dist>,
    full: bool,
    operations: u64,
}

impl Switches {
    /// Those of a host in a round.
    pub fn new(host: &str, seed: &KeyedSeed) -> Switches {
        let seed = KeyedSeed(seed.draw("real.disk", &[xxh3_64(host.as_bytes())]));
        Switches { seed, state: Mutex::default(), late_hits: AtomicU64::new(0), full_hits: AtomicU64::new(0) }
    }

    /// Makes each operation take longer by a draw.
    pub fn set_latency(&self, add: Option<Dist>) {
        self.change(|state| state.add = add);
    }

    /// Refuses whatever needs new blocks, or takes it again.
    pub fn set_full(&self, full: bool) {
        self.change(|state| state.full = full);
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> State {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        *state
    }

    async fn late(&self) {
        let State { add, operations, .. } = self.change(|state| state.operations += 1);
        if let Some(add) = add {
            self.late_hits.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_nanos(add.draw(self.seed.draw("late", &[operations])))).await;
        }
    }

    fn is_full(&self) -> bool {
        self.change(|_| ()).full
    }

    /// Refuses an operation for want of room.
    fn refuse(&self) -> io::Error {
        self.full_hits.fetch_add(1, Ordering::Relaxed);
        io::Error::new(io::ErrorKind::StorageFull, "the disk is full, by a fault of the scenario")
    }
}

/// The order of a disk's operations: each begins when the one before it has ended.
#[derive(Clone)]
struct Turns {
    last: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
    switches: Arc<Switches>,
}

impl Turns {
    /// Does an operation in its turn. It goes on when its future is dropped, as on any disk; it ends with the runtime.
    fn take<T, F>(&self, operation: impl FnOnce() -> F + Send + 'static) -> Io<T>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        let (done, next) = oneshot::channel();
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(next);
        let switches = self.switches.clone();
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // One that was given up keeps nobody.
                let _ = before.await;
            }
            switches.late().await;
            let result = operation().await;
            drop(done);
            result
        });
        Box::pin(async move { task.await.unwrap_or_else(|ended| Err(io::Error::other(ended))) })
    }
}

/// The disk behind its switches.
pub(super) struct SwitchedDisk {
    disk: Arc<dyn Disk>,
    turns: Turns,
}

impl SwitchedDisk {
    pub fn new(disk: Arc<dyn Disk>, switches: Arc<Switches>) -> SwitchedDisk {
        SwitchedDisk { disk, turns: Turns { last: Arc::default(), switches } }
    }
}

impl Disk for SwitchedDisk {
    fn open(&self, path: &str, how: Open) -> Io<Arc<dyn File>> {
        let (disk, turns, path) = (self.disk.clone(), self.turns.clone(), path.to_owned());
        self.turns.take(move || async move {
            let file = disk.open(&path, how).await?;
            Ok(Arc::new(SwitchedFile { file, turns }) as Arc<dyn File>)
        })
    }

    fn list(&self, dir: &str) -> Io<Vec<String>> {
        let (disk, dir) = (self.disk.clone(), dir.to_owned());
        self.turns.take(move || disk.list(&dir))
    }

    fn rename(&self, from: &str, to: &str) -> Io<()> {
        let (disk, from, to) = (self.disk.clone(), from.to_owned(), to.to_owned());
        self.turns.take(move || disk.rename(&from, &to))
    }

    fn remove(&self, path: &str) -> Io<()> {
        let (disk, path) = (self.disk.clone(), path.to_owned());
        self.turns.take(move || disk.remove(&path))
    }

    fn create_dir(&self, dir: &str) -> Io<()> {
        let (disk, dir) = (self.disk.clone(), dir.to_owned());
        self.turns.take(move || disk.create_dir(&dir))
    }

    fn sync_dir(&self, dir: &str) -> Io<()> {
        let (disk, dir) = (self.disk.clone(), dir.to_owned());
        self.turns.take(move || disk.sync_dir(&dir))
    }

    fn lock(&self, path: &str) -> Io<Box<dyn Send + Sync>> {
        let (disk, path) = (self.disk.clone(), path.to_owned());
        self.turns.take(move || disk.lock(&path))
    }

    fn free_bytes(&self) -> Io<u64> {
        let (disk, switches) = (self.disk.clone(), self.turns.switches.clone());
        self.turns.take(move || async move {
            let free = disk.free_bytes().await?;
            Ok(if switches.is_full() { 0 } else { free })
        })
    }
}

/// An open file of it.
struct SwitchedFile {
    file: Arc<dyn File>,
    turns: Turns,
}

impl SwitchedFile {
    /// An operation that reaches up to `end`, for which there must be room where the file is shorter.
    fn reaching<F>(&self, end: u64, operation: impl FnOnce(Arc<dyn File>) -> F + Send + 'static) -> Io<()>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let (file, switches) = (self.file.clone(), self.turns.switches.clone());
        self.turns.take(move || async move {
            if switches.is_full() && end > file.len().await? {
                return Err(switches.refuse());
            }
            operation(file).await
        })
    }
}

fn end(at: u64, bufs: &[Bytes]) -> u64 {
    at + bufs.iter().map(|buf| buf.len() as u64).sum::<u64>()
}

impl File for SwitchedFile {
    fn len(&self) -> Io<u64> {
        let file = self.file.clone();
        self.turns.take(move || file.len())
    }

    fn read_at(&self, at: u64, n: usize) -> Io<Bytes> {
        let file = self.file.clone();
        self.turns.take(move || file.read_at(at, n))
    }

    fn write_at(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        self.reaching(end(at, &bufs), move |file| file.write_at(at, bufs))
    }

    fn write_sync(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        // A write and a sync: a slow disk makes both longer.
        let switches = self.turns.switches.clone();
        self.reaching(end(at, &bufs), move |file| async move {
            switches.late().await;
            file.write_sync(at, bufs).await
        })
    }

    fn sync_data(&self) -> Io<()> {
        let file = self.file.clone();
        self.turns.take(move || file.sync_data())
    }

    fn zero_fill(&self, to: u64) -> Io<()> {
        self.reaching(to, move |file| file.zero_fill(to))
    }
}
