//! A run that ends at each of its disk operations in turn: what was confirmed is there, whole and in order, each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use seaworthy_engine::env::{Disk, File, Io, Open};
use seaworthy_engine::journal::JournalOptions;
use seaworthy_harness::sim::disk::SimDisk;

use super::machine::run;
use super::world::{Act, World, options};

/// How the run ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// SIGKILL once the operation was issued: it happened, and nobody knows.
    Crash,
    /// The power goes while the operation is under way.
    PowerCut,
    /// The power goes when the operation is about to be issued: all before it are over.
    PowerCutBefore,
}

/// Ends the machine at one operation, once.
pub struct Fuse {
    left: AtomicI64,
    end: End,
}

impl Fuse {
    pub fn new(operation: i64, end: End) -> Fuse {
        Fuse { left: AtomicI64::new(operation), end }
    }

    pub fn left(&self) -> i64 {
        self.left.load(Ordering::SeqCst)
    }

    pub fn has_blown(&self) -> bool {
        self.left() < 0
    }
}

/// A disk with a fuse in front, and all the disks of its machine.
pub struct Fused<T: ?Sized> {
    inner: Arc<T>,
    disks: Vec<SimDisk>,
    fuse: Arc<Fuse>,
}

impl<T: ?Sized> Fused<T> {
    pub fn new(inner: Arc<T>, disks: &[SimDisk], fuse: Arc<Fuse>) -> Fused<T> {
        Fused { inner, disks: disks.to_vec(), fuse }
    }

    fn on<R>(&self, issue: impl FnOnce(&T) -> Io<R>) -> Io<R> {
        let blows = self.fuse.left.fetch_sub(1, Ordering::SeqCst) == 0;
        match self.fuse.end {
            End::PowerCutBefore if blows => self.disks.iter().for_each(|disk| disk.power_cut(true)),
            _ => {}
        }
        let io = issue(&self.inner);
        match self.fuse.end {
            End::Crash if blows => self.disks.iter().for_each(SimDisk::crash),
            End::PowerCut if blows => self.disks.iter().for_each(|disk| disk.power_cut(true)),
            _ => {}
        }
        io
    }
}

impl Disk for Fused<dyn Disk> {
    fn open(&self, path: &str, how: Open) -> Io<Arc<dyn File>> {
        let opened = self.on(|disk| disk.open(path, how));
        let (disks, fuse) = (self.disks.clone(), self.fuse.clone());
        Box::pin(async move { Ok(Arc::new(Fused { inner: opened.await?, disks, fuse }) as Arc<dyn File>) })
    }
    fn list(&self, dir: &str) -> Io<Vec<String>> {
        self.on(|disk| disk.list(dir))
    }
    fn rename(&self, from: &str, to: &str) -> Io<()> {
        self.on(|disk| disk.rename(from, to))
    }
    fn remove(&self, path: &str) -> Io<()> {
        self.on(|disk| disk.remove(path))
    }
    fn create_dir(&self, dir: &str) -> Io<()> {
        self.on(|disk| disk.create_dir(dir))
    }
    fn sync_dir(&self, dir: &str) -> Io<()> {
        self.on(|disk| disk.sync_dir(dir))
    }
    fn lock(&self, path: &str) -> Io<Box<dyn Send + Sync>> {
        self.on(|disk| disk.lock(path))
    }
    fn free_bytes(&self) -> Io<u64> {
        self.on(|disk| disk.free_bytes())
    }
}

impl File for Fused<dyn File> {
    fn len(&self) -> Io<u64> {
        self.on(|file| file.len())
    }
    fn read_at(&self, at: u64, n: usize) -> Io<Bytes> {
        self.on(|file| file.read_at(at, n))
    }
    fn write_at(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        self.on(|file| file.write_at(at, bufs))
    }
    fn write_sync(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        self.on(|file| file.write_sync(at, bufs))
    }
    fn sync_data(&self) -> Io<()> {
        self.on(|file| file.sync_data())
    }
    fn zero_fill(&self, to: u64) -> Io<()> {
        self.on(|file| file.zero_fill(to))
    }
}

/// Transactions of all sizes over several segments, with pauses, a full disk, and new starts after a crash, a power cut
/// and a clean end: so openings, too, end at each of their operations.
fn story() -> Vec<Act> {
    let mut acts = Vec::new();
    for round in 0..200u8 {
        let (packets, size) = (1 + round % 4, 40 + u16::from(round) * 53 % 700);
        acts.push(Act::Submit { packets, size, settle: round % 3 == 1, key: round % 5 });
        acts.push(Act::Wait(u8::from(round % 4 == 0)));
        acts.push(Act::Submit { packets: 2, size: 90, settle: false, key: round % 3 });
        acts.push(Act::Wait(if round % 7 == 3 { 30 } else { 1 }));
        if round % 15 == 6 {
            acts.push(Act::Pin { every: 29 });
        }
        match round {
            40 | 95 => acts.push(Act::Crash),
            60 | 110 | 150 => acts.push(Act::PowerCut { torn: true }),
            75 => acts.push(Act::FullFor(50)),
            130 => acts.push(Act::Close),
            _ => {}
        }
    }
    acts
}

/// A journal that is full, and drained a packet at a time from its newest on, so that the oldest segment stays needed; then
/// some more come in. With new starts in between.
fn full_story() -> Vec<Act> {
    let mut acts = Vec::new();
    for key in 0..50 {
        acts.extend([Act::Submit { packets: 8, size: 40, settle: false, key: key % 3 }, Act::Wait(2)]);
    }
    for round in 0..240u8 {
        acts.extend([Act::Drain { newest: round % 40 > 3 }, Act::Wait(1)]);
        match round {
            90 => acts.push(Act::Crash),
            150 => acts.push(Act::PowerCut { torn: true }),
            200 => acts.push(Act::Close),
            _ => {}
        }
    }
    acts.push(Act::Wait(250));
    for key in 0..10 {
        acts.extend([Act::Submit { packets: 8, size: 40, settle: key == 5, key: key % 3 }, Act::Wait(2)]);
    }
    acts
}

/// Plays a story, with an end at `operation`, then another start and some more. Gives how many operations were left.
async fn play(options: JournalOptions, story: &[Act], operation: i64, end: End) -> i64 {
    let mut world = World::new(7, options, Some(Fuse::new(operation, end))).await;
    for act in story {
        world.act(act.clone()).await;
        if world.has_blown() {
            break;
        }
    }
    let left = world.fuse_left();
    // What the fuse left behind opens, and takes more.
    world.reopen().await;
    world.submit(3, 200, true, 1);
    world.pass(60).await;
    assert_eq!(world.unconfirmed(), 0, "a journal on a healthy disk confirms what it took");
    world.end().await;
    left
}

fn check_story(options: &JournalOptions, story: &[Act], end: End) {
    run(async move {
        let operations = i64::MAX - play(options.clone(), story, i64::MAX, end).await;
        assert!((500..=2000).contains(&operations), "the story has {operations} disk operations");
        for operation in 0..operations {
            assert!(play(options.clone(), story, operation, end).await < 0, "the story has no operation {operation}");
        }
    });
}

fn check(end: End) {
    check_story(&options(), &story(), end);
}

fn check_full(end: End) {
    let options = JournalOptions { bytes_max: 6 * options().segment_bytes, ..options() };
    check_story(&options, &full_story(), end);
}

#[test]
fn killed_at_every_operation_of_a_full_journal() {
    check_full(End::Crash);
}

#[test]
fn without_power_at_every_operation_of_a_full_journal() {
    check_full(End::PowerCut);
}

#[test]
fn without_power_after_every_operation_of_a_full_journal() {
    check_full(End::PowerCutBefore);
}

#[test]
fn killed_at_every_operation() {
    check(End::Crash);
}

#[test]
fn without_power_at_every_operation() {
    check(End::PowerCut);
}

#[test]
fn without_power_after_every_operation() {
    check(End::PowerCutBefore);
}
