//! One simulated machine: what stays when its software dies, and the software's life on it.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use seaworthy_engine::env::{Env, Seed};
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use super::Now;
use super::clock::SimClock;
use super::cpu::{CpuModel, SimCpu};
use super::disk::{DiskOptions, SimDisk};
use super::hosts::HostIndex;
use super::net::{Network, SimNet};
use super::panics;
use super::recorder::Recorder;
use super::seed::KeyedSeed;
use super::trace::Kind;
use crate::system::{Boot, BootError, HostSpec, System};

/// Between an end by error and the next start: the first wait, and the longest, ns.
const BACKOFF_NS: (u64, u64) = (100_000_000, 1_000_000_000);
/// Software that stayed up for so long starts anew with the first wait, ns.
const STABLE_NS: u64 = 10_000_000_000;

/// How software ended by itself.
pub(crate) enum Exit {
    Done,
    Failed(BootError),
    Panicked(String),
}

/// A machine. Its disk, clock and cores outlive the incarnations of its software.
pub(crate) struct Machine {
    pub index: HostIndex,
    pub name: String,
    pub disk: SimDisk,
    pub clock: SimClock,
    pub cpu: SimCpu,
    recorder: Arc<Recorder>,
    network: Arc<Network>,
    /// Set by the software when it ends; the world takes it at the next border.
    pub exit: RefCell<Option<Exit>>,
    /// Which runtime its software is in, to find the host of a panic.
    pub runtime: Cell<Option<Id>>,
    /// When it starts again; `None` while it is up, or down for good.
    pub restart_ns: Cell<Option<u64>>,
    /// Its software ended by itself, with nothing left to do.
    pub ended: Cell<bool>,
    /// It was asked to stop: when it must have ended, and when it starts again.
    pub stopping: Cell<Option<(u64, u64)>>,
    /// How often its disk was looked at after it went down.
    pub looked: Cell<u32>,
    booted_ns: Cell<u64>,
    failures: Cell<u32>,
}

impl Machine {
    pub fn new(
        index: HostIndex,
        spec: &HostSpec,
        recorder: &Arc<Recorder>,
        network: &Arc<Network>,
        cpu: CpuModel,
        unix_ns: i64,
    ) -> Self {
        let time = recorder.clone();
        let now: Now = Arc::new(move || time.now_on_ns(index));
        let pause = recorder.hosts().pause_of(index);
        let options = DiskOptions::new(&spec.name, spec.disk_bytes);
        let disk = SimDisk::of(options, Arc::new(recorder.seed), now.clone(), pause.clone());
        // A node's name says nothing of its host, so the host is in the key of the draws.
        let seed = KeyedSeed(recorder.seed.draw("host.cpu", &[recorder.hosts().key(index)]));
        Machine {
            index,
            name: spec.name.clone(),
            disk,
            clock: SimClock::of(now.clone(), unix_ns, pause.clone()),
            cpu: SimCpu::of(cpu, &spec.name, spec.cores, now, pause, seed),
            recorder: recorder.clone(),
            network: network.clone(),
            exit: RefCell::new(None),
            runtime: Cell::new(None),
            restart_ns: Cell::new(None),
            ended: Cell::new(false),
            stopping: Cell::new(None),
            looked: Cell::new(0),
            booted_ns: Cell::new(0),
            failures: Cell::new(0),
        }
    }

    /// The machine as its next incarnation sees it.
    pub fn boot(&self) -> Boot {
        let hosts = self.recorder.hosts();
        let incarnation = hosts.boot(self.index);
        let now_ns = self.recorder.now_ns();
        hosts.set_origin(self.index, Instant::now() - Duration::from_nanos(now_ns));
        self.booted_ns.set(now_ns);
        self.ended.set(false);
        self.recorder.trace(self.index, Kind::Boot, incarnation, 0);
        let entropy = self.recorder.seed.draw("host.entropy", &[hosts.key(self.index), incarnation]);
        let env = Env {
            clock: Arc::new(self.clock.clone()),
            disk: self.disk.boot(),
            net: Arc::new(SimNet::new(self.network.clone(), self.index, incarnation)),
            seed: Arc::new(KeyedSeed(entropy)),
            cpu: Arc::new(self.cpu.clone()),
            probe: self.recorder.probe(self.index, incarnation),
        };
        Boot { env, host: self.name.clone(), incarnation }
    }

    /// Boots the system here and runs it until it ends by itself; then waits, inert, for the world to take it down.
    pub async fn run(self: Rc<Self>, system: Rc<dyn System>) -> turmoil::Result {
        self.runtime.set(Some(Handle::current().id()));
        let boot = self.boot();
        let ended = AssertUnwindSafe(async { system.boot(boot).await }).catch_unwind().await;
        self.recorder.end(self.index);
        self.exit.replace(Some(match ended {
            Ok(Ok(())) => Exit::Done,
            Ok(Err(error)) => Exit::Failed(error),
            Err(payload) => Exit::Panicked(panics::message(&*payload)),
        }));
        std::future::pending().await
    }

    /// How long a supervisor waits before it starts failed software again.
    pub fn backoff_ns(&self, now_ns: u64) -> u64 {
        let failures = if now_ns - self.booted_ns.get() >= STABLE_NS { 0 } else { self.failures.get() };
        self.failures.set(failures + 1);
        let (first, longest) = BACKOFF_NS;
        first.saturating_mul(1 << failures.min(16)).min(longest)
    }
}
