//! A machine for one channel's host, and its guests' side of it.

use std::sync::Arc;

use seaworthy_engine::env::{Cpu, Env, Fut, Probe, Work};
use seaworthy_engine::observe::Event;

use super::RigError;
use super::wires::Wires;
use crate::sim::Now;
use crate::sim::clock::SimClock;
use crate::sim::disk::{DiskOptions, SimDisk};
use crate::sim::seed::KeyedSeed;

/// Size of a virtual machine's disk, bytes.
const DISK_BYTES: u64 = 64 << 20;

/// What a channel's host runs on.
pub trait Machine {
    /// The machine as the host's next life sees it.
    ///
    /// # Errors
    /// When it can't be had.
    fn boot(&mut self) -> Result<Env, RigError>;
    /// Ends the host's life: what it leaves for the next one is decided now, and nothing that is still under way changes it.
    /// The host is dropped after this.
    ///
    /// # Errors
    /// When that can't be brought about.
    fn crash(&mut self) -> Result<(), RigError>;
    /// The machine as the channel's users see it, who live on.
    fn guest(&self) -> Env;
}

/// A machine in virtual time: simulated disk and clock, and streams in memory. Belongs to the paused runtime that it is made in.
pub struct VirtualMachine {
    disk: SimDisk,
    clock: SimClock,
    seed: Arc<KeyedSeed>,
    wires: Wires,
}

impl VirtualMachine {
    /// A machine that was never used.
    #[must_use]
    pub fn new() -> VirtualMachine {
        let start = tokio::time::Instant::now();
        let now: Now = Arc::new(move || u64::try_from(start.elapsed().as_nanos()).expect("a case is short"));
        let seed = Arc::new(KeyedSeed(1));
        let disk = SimDisk::new(DiskOptions::new("host", DISK_BYTES), seed.clone(), now.clone());
        VirtualMachine { disk, clock: SimClock::new(now, 784_111_777_000_000_000), seed, wires: Wires::default() }
    }

    fn env(&self, disk: Arc<dyn seaworthy_engine::env::Disk>) -> Env {
        let (clock, net) = (Arc::new(self.clock.clone()), Arc::new(self.wires.clone()));
        Env { clock, disk, net, seed: self.seed.clone(), cpu: Arc::new(Still), probe: Arc::new(Still) }
    }
}

impl Default for VirtualMachine {
    fn default() -> Self {
        VirtualMachine::new()
    }
}

impl Machine for VirtualMachine {
    fn boot(&mut self) -> Result<Env, RigError> {
        Ok(self.env(self.disk.boot()))
    }

    fn crash(&mut self) -> Result<(), RigError> {
        self.disk.power_cut(true);
        Ok(())
    }

    fn guest(&self) -> Env {
        // Users have no disk: one of their own, never written.
        let now: Now = Arc::new(|| 0);
        self.env(SimDisk::new(DiskOptions::new("guest", 0), self.seed.clone(), now).boot())
    }
}

/// Costs nothing, and hears nothing.
struct Still;

impl Cpu for Still {
    fn charge(&self, _: Work<'_>, _: u32, _: u64) -> Option<Fut<'static, ()>> {
        None
    }
}

impl Probe for Still {
    fn on(&self, _: &[Event]) {}
}
