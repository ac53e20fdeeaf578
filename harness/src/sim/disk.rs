//! A host's simulated disk: a page cache over a durable image, with faults that change while it runs.
//!
//! - What an operation does is decided when it is issued; its future only waits, so dropping it cancels nothing.
//! - A sync is durable once its device time has passed, and only then completes. What comes sooner than a tick (1 ms)
//!   completes at once, its time staying in the device's queue.
//! - A power cut decides each unsynced sector by itself, and keeps a prefix of each directory's unsynced changes. A new
//!   directory's own entry needs a sync of its parent, like any other name.
//! - A failed sync takes the file's dirty sectors with it, and all its handles answer `EIO`.
//! - Every draw is keyed by what happens where and when, never by the order of operations.

mod content;
mod device;
mod fault;
mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use seaworthy_engine::env::{Disk, File, Io, Open, Seed, check_path};

use self::device::{Device, Opened, Reply};
pub use self::fault::DiskHits;
use super::Now;
use super::hosts::Pause;
use crate::history::DiskFact;
use crate::plan::{DiskOp, Dist};

/// How long the device works on an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Nanoseconds an operation.
    pub base_ns: u64,
    /// Nanoseconds a KiB.
    pub kib_ns: u64,
}

impl Service {
    fn ns(self, bytes: u64) -> u64 {
        self.base_ns + (bytes * self.kib_ns).div_ceil(1024)
    }
}

/// What a disk is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// Whose disk it is; part of every draw's key.
    pub host: String,
    /// Size in bytes, allocated in blocks of 4096.
    pub capacity_bytes: u64,
    /// A read.
    pub read: Service,
    /// A write into the page cache, or a change of a name.
    pub write: Service,
    /// A sync, by dirty bytes.
    pub sync: Service,
}

impl DiskOptions {
    /// A disk with the service times of a small SSD.
    #[must_use]
    pub fn new(host: &str, capacity_bytes: u64) -> DiskOptions {
        DiskOptions {
            host: host.to_owned(),
            capacity_bytes,
            read: Service { base_ns: 10_000, kib_ns: 300 },
            write: Service { base_ns: 3_000, kib_ns: 150 },
            sync: Service { base_ns: 120_000, kib_ns: 600 },
        }
    }
}

/// What a disk has done over its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Operations of any kind.
    pub operations: u64,
    /// Syncs issued, of files and directories.
    pub syncs: u64,
    /// Bytes written into the cache.
    pub written_bytes: u64,
    /// Bytes read.
    pub read_bytes: u64,
}

/// A disk. Clones share it; it outlives the incarnations of its host.
#[derive(Clone)]
pub struct SimDisk(Arc<Shared>);

struct Shared {
    now: Now,
    pause: Pause,
    /// Handles of an older incarnation are inert.
    incarnation: AtomicU64,
    device: Mutex<Device>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(options: DiskOptions, seed: Arc<dyn Seed>, now: Now) -> SimDisk {
        SimDisk::of(options, seed, now, Pause::default())
    }

    /// The same, of a host whose software may stand still.
    pub(crate) fn of(options: DiskOptions, seed: Arc<dyn Seed>, now: Now, pause: Pause) -> SimDisk {
        let device = Mutex::new(Device::new(options, seed));
        SimDisk(Arc::new(Shared { now, pause, incarnation: AtomicU64::new(0), device }))
    }

    /// The disk for a new incarnation of its host. All older handles become inert: their operations fail and change
    /// nothing, their locks are gone.
    #[must_use]
    pub fn boot(&self) -> Arc<dyn Disk> {
        self.crash();
        Arc::new(Booted { disk: self.clone(), incarnation: self.0.incarnation.load(Ordering::SeqCst) })
    }

    /// SIGKILL: the page cache survives with all that was issued; handles become inert, locks are gone.
    pub fn crash(&self) {
        self.change(|device, _| device.crash());
    }

    /// The power goes: each sector that isn't durable now is kept or lost by a draw of its own, with `torn` also torn or
    /// garbled; handles become inert, locks are gone.
    pub fn power_cut(&self, torn: bool) {
        self.change(|device, now| device.power_cut(now, torn));
    }

    fn change(&self, end: impl FnOnce(&mut Device, u64)) {
        let now = (self.0.now)();
        let mut device = self.device_at(now);
        self.0.incarnation.fetch_add(1, Ordering::SeqCst);
        end(&mut device, now);
    }

    /// While set, nothing more can be allocated: `ENOSPC`.
    pub fn set_full(&self, full: bool) {
        self.device().faults.full = full;
    }

    /// While set, no more than so many bytes can be allocated: `ENOSPC`.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.device().faults.quota_bytes = bytes;
    }

    /// No operation that is issued before that time completes before it; 0 ends it.
    pub fn set_stall(&self, until_ns: u64) {
        self.device().faults.stall_until_ns = until_ns;
    }

    /// While set, bytes move only so fast, a second.
    pub fn set_throttle(&self, bytes_per_s: Option<u64>) {
        self.device().faults.throttle = bytes_per_s;
    }

    /// The machine's disk is replaced by an empty one; handles become inert, locks are gone.
    pub fn wipe(&self) {
        self.change(Device::wipe);
    }

    /// While set, every operation takes this much longer, and those behind it wait.
    pub fn set_latency(&self, add: Option<Dist>) {
        self.device().faults.latency = add;
    }

    /// While set, this share (parts per million) of such operations fails with `EIO`.
    pub fn set_eio(&self, eio: Option<(DiskOp, u32)>) {
        self.device().faults.eio = eio;
    }

    /// While set, syncs succeed in their time and do nothing.
    pub fn set_lying_sync(&self, lying: bool) {
        self.device().faults.lying = lying;
    }

    /// Flips a bit of a stored byte, in the cache and on the platter; false where there is no such byte.
    pub fn rot(&self, path: &str, offset: u64) -> bool {
        let now = (self.0.now)();
        self.device_at(now).rot(now, path, offset)
    }

    /// How many operations faults have touched, over the disk's life.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.fault_hits().total()
    }

    /// The same, by kind of fault.
    #[must_use]
    pub fn fault_hits(&self) -> DiskHits {
        self.device().faults.hits
    }

    /// What happened to it: power cuts, failed syncs, rot.
    #[must_use]
    pub fn facts(&self) -> Vec<DiskFact> {
        self.device().facts().to_vec()
    }

    /// When it forgot what was not synced, ns: the power went, or a sync failed.
    #[must_use]
    pub fn forgot_ns(&self) -> Vec<u64> {
        self.device().forgot_ns().to_vec()
    }

    /// Bytes in allocated blocks.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.device().used_bytes()
    }

    /// The content of all files as programs see it, by path.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, Bytes> {
        self.device().snapshot()
    }

    /// How many operations were issued.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.counts().operations
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        self.device().counts
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        self.device_at((self.0.now)())
    }

    fn device_at(&self, now: u64) -> MutexGuard<'_, Device> {
        let mut device = self.unsettled();
        device.settle(now);
        device
    }

    /// The state without a look at the time, which a destructor may be too late for.
    fn unsettled(&self) -> MutexGuard<'_, Device> {
        self.0.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The disk as one incarnation of its host sees it.
#[derive(Clone)]
struct Booted {
    disk: SimDisk,
    incarnation: u64,
}

impl Booted {
    fn inert(&self) -> bool {
        self.disk.0.incarnation.load(Ordering::SeqCst) != self.incarnation
    }

    /// Does `op` now, and lets the caller know when its time has come.
    fn issue<T: Send + 'static>(&self, op: impl FnOnce(&mut Device, u64) -> Reply<T>) -> Io<T> {
        let now = (self.disk.0.now)();
        let reply = {
            let mut device = self.disk.device_at(now);
            if self.inert() {
                return Box::pin(std::future::ready(Err(gone())));
            }
            op(&mut device, now)
        };
        if reply.at_ns <= now {
            return Box::pin(std::future::ready(reply.result));
        }
        let disk = self.clone();
        Box::pin(async move {
            let Shared { now, pause, .. } = &*disk.disk.0;
            pause.wait_until(now.clone(), reply.at_ns).await;
            if disk.inert() { Err(gone()) } else { reply.result }
        })
    }

    fn on<T: Send + 'static>(&self, path: &str, op: impl FnOnce(&mut Device, u64) -> Reply<T>) -> Io<T> {
        match check_path(path) {
            Ok(()) => self.issue(op),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "this handle is of an incarnation that is gone")
}

impl Disk for Booted {
    fn open(&self, path: &str, how: Open) -> Io<Arc<dyn File>> {
        self.on(path, |device, now| {
            let Reply { at_ns, result } = device.open(now, path, how);
            let handle = |opened| Arc::new(SimFile { disk: self.clone(), opened }) as Arc<dyn File>;
            Reply { at_ns, result: result.map(handle) }
        })
    }

    fn list(&self, dir: &str) -> Io<Vec<String>> {
        self.on(dir, |device, now| device.list(now, dir))
    }

    fn rename(&self, from: &str, to: &str) -> Io<()> {
        match check_path(from) {
            Ok(()) => self.on(to, |device, now| device.rename(now, from, to)),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn remove(&self, path: &str) -> Io<()> {
        self.on(path, |device, now| device.remove(now, path))
    }

    fn create_dir(&self, dir: &str) -> Io<()> {
        self.on(dir, |device, now| device.create_dir(now, dir))
    }

    fn sync_dir(&self, dir: &str) -> Io<()> {
        self.on(dir, |device, now| device.sync_dir(now, dir))
    }

    fn lock(&self, path: &str) -> Io<Box<dyn Send + Sync>> {
        self.on(path, |device, now| {
            let Reply { at_ns, result } = device.lock(now, path);
            let guard = |number| Lock { disk: self.clone(), path: path.to_owned(), number };
            Reply { at_ns, result: result.map(|number| Box::new(guard(number)) as Box<dyn Send + Sync>) }
        })
    }

    fn free_bytes(&self) -> Io<u64> {
        self.issue(Device::free)
    }
}

struct Lock {
    disk: Booted,
    path: String,
    number: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut device = self.disk.disk.unsettled();
        if !self.disk.inert() {
            device.unlock(&self.path, self.number);
        }
    }
}

struct SimFile {
    disk: Booted,
    opened: Opened,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut device = self.disk.disk.unsettled();
        if !self.disk.inert() {
            device.close(self.opened);
        }
    }
}

impl File for SimFile {
    fn len(&self) -> Io<u64> {
        self.disk.issue(|device, now| device.len(now, self.opened))
    }

    fn read_at(&self, at: u64, n: usize) -> Io<Bytes> {
        self.disk.issue(|device, now| device.read_at(now, self.opened, at, n))
    }

    fn write_at(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        self.disk.issue(|device, now| device.write_at(now, self.opened, at, &bufs))
    }

    fn write_sync(&self, at: u64, bufs: Vec<Bytes>) -> Io<()> {
        self.disk.issue(|device, now| device.write_sync(now, self.opened, at, &bufs))
    }

    fn sync_data(&self) -> Io<()> {
        self.disk.issue(|device, now| device.sync_data(now, self.opened))
    }

    fn zero_fill(&self, to: u64) -> Io<()> {
        self.disk.issue(|device, now| device.zero_fill(now, self.opened, to))
    }
}
