//! A machine in memory for the journal's own tests: files whose bytes a test may change, and a clock that jumps when all is idle.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use bytes::Bytes;

use super::record::Settle;
use super::{Intent, Journal, JournalError, JournalOptions, Record, Recovery, segment};
use crate::env::{Clock, Cpu, Disk, Env, File, Fut, Io, Listener, Net, Open, Probe, Seed, Stream, Work};
use crate::observe::Event;
use crate::packet::Seq;

/// One millisecond of its clock.
pub(super) const MS: u64 = 1_000_000;

/// The machine; clones share everything.
#[derive(Clone, Default)]
pub(super) struct Rig(Arc<Inner>);

#[derive(Default)]
struct Inner {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    /// What was called, in order.
    log: Mutex<Vec<String>>,
    /// Bytes that all files together may have; 0 for any number.
    room: AtomicU64,
    /// How long a new spare takes.
    fill_ns: AtomicU64,
    /// Blocks of 4 KiB that can't be read until they are written: file and number.
    bad: Mutex<BTreeSet<(String, usize)>>,
    /// The next write panics.
    panics: AtomicBool,
    now: AtomicU64,
    sleepers: Mutex<BTreeMap<u64, Vec<Waker>>>,
}

impl Rig {
    pub(super) fn env(&self) -> Env {
        let all = Arc::new(self.clone());
        Env {
            clock: all.clone(),
            disk: all.clone(),
            net: all.clone(),
            seed: all.clone(),
            cpu: all.clone(),
            probe: all.clone(),
        }
    }

    pub(super) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    pub(super) async fn open(&self) -> Result<(Journal, Recovery), JournalError> {
        Journal::open(&self.env(), options()).await
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.files.lock().unwrap().keys().cloned().collect()
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        self.0.files.lock().unwrap()[name].clone()
    }

    pub(super) fn drop_file(&self, name: &str) {
        self.0.files.lock().unwrap().remove(name);
    }

    /// Changes bytes of a segment.
    pub(super) fn edit(&self, number: u64, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.files.lock().unwrap().get_mut(&segment::name(number)).unwrap());
    }

    /// What was called since the last time.
    pub(super) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.0.log.lock().unwrap())
    }

    /// A block of a segment can't be read any more, until it is written.
    pub(super) fn spoil(&self, number: u64, offset: usize) {
        self.0.bad.lock().unwrap().insert((segment::name(number), offset / 4096));
    }

    pub(super) fn room(&self, bytes: u64) {
        self.0.room.store(bytes, SeqCst);
    }

    pub(super) fn fill_ms(&self, ms: u64) {
        self.0.fill_ns.store(ms * MS, SeqCst);
    }

    pub(super) fn panic_at_write(&self) {
        self.0.panics.store(true, SeqCst);
    }

    fn used(&self) -> u64 {
        self.0.files.lock().unwrap().values().map(|bytes| bytes.len() as u64).sum()
    }

    fn jump(&self) {
        let mut sleepers = self.0.sleepers.lock().unwrap();
        let Some((at, wakers)) = sleepers.pop_first() else { return };
        self.0.now.fetch_max(at, SeqCst);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Small segments.
pub(super) fn options() -> JournalOptions {
    JournalOptions { segment_bytes: 128 << 10, frame_bytes_max: 16 << 10, ..JournalOptions::new("edge") }
}

/// Runs a test on the machine's time.
pub(super) fn run<F: Future<Output = ()>>(test: impl FnOnce(Rig) -> F) {
    let rig = Rig::default();
    let jumper = rig.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().on_thread_park(move || jumper.jump()).build().unwrap();
    runtime.block_on(test(rig));
}

/// Appends one packet of `size` bytes to channel `c` and waits for it.
pub(super) async fn append(journal: &Journal, seq: u64, size: usize) {
    let packet = Bytes::from(vec![seq as u8; size]);
    let record = Record::Append { channel: "channel/c".into(), seq: Seq(seq), packet };
    journal.append(vec![record], Intent::Produce).await.unwrap().wait().await.unwrap();
}

/// Settles all packets of channel `c` up to `seq`.
pub(super) fn settled(seq: u64) -> Record {
    let seqs = vec![(Seq(1), Seq(seq))];
    Record::Settle(Settle { input: "channel/c".into(), group: "g".into(), seqs, position: None })
}

/// Declares the group that keeps the packets of channel `c`.
pub(super) async fn declare(journal: &Journal) {
    let group = Settle { input: "channel/c".into(), group: "g".into(), seqs: Vec::new(), position: None };
    journal.append(vec![Record::Settle(group)], Intent::Drain).await.unwrap().wait().await.unwrap();
}

fn ready<T: Send + 'static>(result: io::Result<T>) -> Io<T> {
    Box::pin(std::future::ready(result))
}

impl Disk for Rig {
    fn open(&self, path: &str, how: Open) -> Io<Arc<dyn File>> {
        let mut files = self.0.files.lock().unwrap();
        if !files.contains_key(path) {
            if matches!(how, Open::Read | Open::Write) {
                return ready(Err(io::ErrorKind::NotFound.into()));
            }
            files.insert(path.into(), Vec::new());
        }
        ready(Ok(Arc::new(RigFile { rig: self.clone(), path: path.into() })))
    }
    fn list(&self, _: &str) -> Io<Vec<String>> {
        ready(Ok(self.names()))
    }
    fn rename(&self, from: &str, to: &str) -> Io<()> {
        let mut files = self.0.files.lock().unwrap();
        let Some(bytes) = files.remove(from) else { return ready(Err(io::ErrorKind::NotFound.into())) };
        files.insert(to.into(), bytes);
        ready(Ok(()))
    }
    fn remove(&self, path: &str) -> Io<()> {
        self.0.log.lock().unwrap().push(format!("remove {path}"));
        let gone = self.0.files.lock().unwrap().remove(path);
        ready(gone.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into()))
    }
    fn create_dir(&self, _: &str) -> Io<()> {
        ready(Ok(()))
    }
    fn sync_dir(&self, _: &str) -> Io<()> {
        ready(Ok(()))
    }
    fn lock(&self, _: &str) -> Io<Box<dyn Send + Sync>> {
        ready(Ok(Box::new(())))
    }
    fn free_bytes(&self) -> Io<u64> {
        let room = self.0.room.load(SeqCst);
        ready(Ok(room.saturating_sub(self.used())))
    }
}

struct RigFile {
    rig: Rig,
    path: String,
}

impl RigFile {
    fn write(&self, at: u64, bufs: &[Bytes]) -> io::Result<()> {
        assert!(!self.rig.0.panics.swap(false, SeqCst), "a planned panic");
        let (at, bytes) = (at as usize, bufs.concat());
        let mut files = self.rig.0.files.lock().unwrap();
        // A file that was removed lives on unseen while it is open.
        let Some(content) = files.get_mut(&self.path) else { return Ok(()) };
        let end = at + bytes.len();
        content.resize(content.len().max(end), 0);
        let mut bad = self.rig.0.bad.lock().unwrap();
        let touched = |block: &usize| block * 4096 < end && (block + 1) * 4096 > at;
        let whole = |block: usize| at <= block * 4096 && ((block + 1) * 4096).min(content.len()) <= end;
        if bad.iter().any(|(path, block)| *path == self.path && touched(block) && !whole(*block)) {
            // What stays of the block would have to be read.
            return Err(io::Error::from_raw_os_error(5));
        }
        bad.retain(|(path, block)| *path != self.path || !touched(block));
        content[at..end].copy_from_slice(&bytes);
        Ok(())
    }
}

impl File for RigFile {
    fn len(&self) -> Io<u64> {
        ready(Ok(self.rig.0.files.lock().unwrap().get(&self.path).map_or(0, Vec::len) as u64))
    }
    fn read_at(&self, at: u64, n: usize) -> Io<Bytes> {
        let files = self.rig.0.files.lock().unwrap();
        let content = files.get(&self.path).map_or(&[][..], Vec::as_slice);
        let from = content.len().min(at as usize);
        let blocks = (self.path.clone(), from / 4096)..(self.path.clone(), content.len().min(from + n).div_ceil(4096));
        if blocks.start < blocks.end && self.rig.0.bad.lock().unwrap().range(blocks).next().is_some() {
            return ready(Err(io::Error::from_raw_os_error(5)));
        }
        ready(Ok(Bytes::copy_from_slice(&content[from..content.len().min(from + n)])))
    }
    fn write_at(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        ready(self.write(at, &bufs))
    }
    fn write_sync(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        ready(self.write(at, &bufs))
    }
    fn sync_data(&self) -> Io<()> {
        self.rig.0.log.lock().unwrap().push(format!("sync {}", self.path));
        ready(Ok(()))
    }
    fn zero_fill(&self, to: u64) -> Io<()> {
        let (rig, path) = (self.rig.clone(), self.path.clone());
        rig.0.log.lock().unwrap().push(format!("fill {path}"));
        Box::pin(async move {
            let ns = rig.0.fill_ns.load(SeqCst);
            if ns > 0 {
                rig.env().clock.sleep(ns).await;
            }
            let (room, used) = (rig.0.room.load(SeqCst), rig.used());
            let mut files = rig.0.files.lock().unwrap();
            let content = files.get_mut(&path).ok_or(io::ErrorKind::NotFound)?;
            let more = (to as usize).saturating_sub(content.len());
            if room > 0 && used + more as u64 > room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            content.resize(content.len() + more, 0);
            Ok(())
        })
    }
}

impl Clock for Rig {
    fn mono(&self) -> u64 {
        self.0.now.load(SeqCst)
    }
    fn unix_ns(&self) -> i64 {
        784_111_777_000_000_000 + self.mono() as i64
    }
    fn sleep_until(&self, mono_ns: u64) -> Fut<'static, ()> {
        let rig = self.clone();
        Box::pin(std::future::poll_fn(move |context| {
            if rig.mono() >= mono_ns {
                return Poll::Ready(());
            }
            rig.0.sleepers.lock().unwrap().entry(mono_ns).or_default().push(context.waker().clone());
            Poll::Pending
        }))
    }
}

impl Net for Rig {
    fn connect(&self, _: &str) -> Io<Box<dyn Stream>> {
        unreachable!("a journal has no network")
    }
    fn listen(&self, _: &str) -> Io<Box<dyn Listener>> {
        unreachable!("a journal has no network")
    }
}

impl Seed for Rig {
    fn draw(&self, stream: &'static str, key: &[u64]) -> u64 {
        let bytes: Vec<u8> = key.iter().flat_map(|part| part.to_le_bytes()).collect();
        xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, stream.len() as u64)
    }
}

impl Cpu for Rig {
    fn charge(&self, _: Work<'_>, _: u32, _: u64) -> Option<Fut<'static, ()>> {
        None
    }
}

impl Probe for Rig {
    fn on(&self, _: &[Event]) {}
}
