//! The faults that a disk has right now, and how often each was felt.

use std::io;
use std::sync::Arc;

use seaworthy_engine::env::Seed;

use crate::plan::{DiskOp, Dist};

/// `ENOSPC`.
pub(super) const ENOSPC: i32 = 28;
/// `EIO`.
pub(super) const EIO: i32 = 5;

/// The operating system's own error, as programs tell it by its number.
pub(super) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// How many operations each kind of fault touched, over the disk's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskHits {
    /// Refused for want of room by `set_full` (a disk that is full by itself doesn't count).
    pub full: u64,
    /// Refused, or found short, while a quota was set.
    pub quota: u64,
    /// Delayed.
    pub latency: u64,
    /// Issued while the disk stood still.
    pub stall: u64,
    /// Slowed because bytes moved only so fast.
    pub throttle: u64,
    /// Failed with `EIO`.
    pub eio: u64,
    /// Syncs that lied.
    pub lying: u64,
    /// Bytes that rotted.
    pub rot: u64,
}

impl DiskHits {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.full + self.quota + self.latency + self.stall + self.throttle + self.eio + self.lying + self.rot
    }
}

pub(super) struct Faults {
    seed: Arc<dyn Seed>,
    host_key: u64,
    pub(super) full: bool,
    pub(super) quota_bytes: Option<u64>,
    pub(super) stall_until_ns: u64,
    pub(super) throttle: Option<u64>,
    pub(super) latency: Option<Dist>,
    pub(super) eio: Option<(DiskOp, u32)>,
    pub(super) lying: bool,
    pub(super) hits: DiskHits,
}

impl Faults {
    pub(super) fn new(seed: Arc<dyn Seed>, host_key: u64) -> Faults {
        Faults {
            seed,
            host_key,
            full: false,
            quota_bytes: None,
            stall_until_ns: 0,
            throttle: None,
            latency: None,
            eio: None,
            lying: false,
            hits: DiskHits::default(),
        }
    }

    /// Fails an operation of kind `op` with `EIO` where its draw says so. Draws are keyed by what is touched where and
    /// when, so that one operation more elsewhere changes no other's luck.
    pub(super) fn strike(&mut self, op: DiskOp, key: u64, at: u64, now: u64) -> io::Result<()> {
        let Some((_, ppm)) = self.eio.filter(|(struck, _)| *struck == op) else { return Ok(()) };
        let draw = self.seed.draw("disk.eio", &[self.host_key, key, at, now, op as u64]);
        if (u128::from(draw) * 1_000_000) >> 64 >= u128::from(ppm) {
            return Ok(());
        }
        self.hits.eio += 1;
        Err(errno(EIO))
    }

    /// Refuses to allocate anything while the disk is full; `blocks` may be 0.
    pub(super) fn strike_full(&mut self, blocks: u64) -> io::Result<()> {
        if !self.full || blocks == 0 {
            return Ok(());
        }
        self.hits.full += 1;
        Err(errno(ENOSPC))
    }

    /// Whether this sync lies.
    pub(super) fn strike_lying(&mut self) -> bool {
        self.hits.lying += u64::from(self.lying);
        self.lying
    }

    /// When the device is done with an operation on `bytes` that it could begin at `begins` and that takes `service_ns`.
    pub(super) fn done_ns(&mut self, begins: u64, service_ns: u64, bytes: u64, (key, at, now): (u64, u64, u64)) -> u64 {
        let mut begins = begins;
        if self.stall_until_ns > now {
            self.hits.stall += 1;
            begins = begins.max(self.stall_until_ns);
        }
        let mut takes_ns = service_ns;
        if let Some(dist) = self.latency {
            self.hits.latency += 1;
            takes_ns += dist.draw(self.seed.draw("disk.latency", &[self.host_key, key, at, now]));
        }
        if let Some(bytes_per_s) = self.throttle.filter(|_| bytes > 0) {
            self.hits.throttle += 1;
            let moving_ns = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_s.max(1));
            takes_ns = takes_ns.max(u64::try_from(moving_ns).unwrap_or(u64::MAX));
        }
        begins.saturating_add(takes_ns)
    }
}
