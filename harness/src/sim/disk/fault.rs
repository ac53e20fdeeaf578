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
    /// Delayed.
    pub latency: u64,
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
        self.full + self.latency + self.eio + self.lying + self.rot
    }
}

pub(super) struct Faults {
    seed: Arc<dyn Seed>,
    host_key: u64,
    pub(super) full: bool,
    pub(super) latency: Option<Dist>,
    pub(super) eio: Option<(DiskOp, u32)>,
    pub(super) lying: bool,
    pub(super) hits: DiskHits,
}

impl Faults {
    pub(super) fn new(seed: Arc<dyn Seed>, host_key: u64) -> Faults {
        Faults { seed, host_key, full: false, latency: None, eio: None, lying: false, hits: DiskHits::default() }
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

    /// How much longer an operation takes, ns.
    pub(super) fn delay(&mut self, key: u64, at: u64, now: u64) -> u64 {
        let Some(dist) = self.latency else { return 0 };
        self.hits.latency += 1;
        dist.draw(self.seed.draw("disk.latency", &[self.host_key, key, at, now]))
    }
}
