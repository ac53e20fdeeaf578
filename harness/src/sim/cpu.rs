//! A host's cores: computation takes no virtual time by itself, so it is charged here and slept off in whole ticks.

use std::sync::{Arc, Mutex, PoisonError};

use seaworthy_engine::env::{Cpu, Fut, Work};

use super::clock::wait_until;
use super::{Now, TICK_NS};

/// What one kind of work costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Nanoseconds a packet.
    pub packet_ns: u64,
    /// Nanoseconds a KiB.
    pub kib_ns: u64,
}

/// What computation costs on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuModel {
    /// A node's processing.
    pub node: Cost,
    /// Encoding and decoding for the journal.
    pub journal: Cost,
    /// Encoding and decoding for a lane.
    pub lane: Cost,
}

impl Default for CpuModel {
    /// A guess at a small edge machine, not a calibration.
    fn default() -> Self {
        CpuModel {
            node: Cost { packet_ns: 2_000, kib_ns: 1_000 },
            journal: Cost { packet_ns: 500, kib_ns: 250 },
            lane: Cost { packet_ns: 1_000, kib_ns: 500 },
        }
    }
}

/// A host's cores. Clones share them.
#[derive(Clone)]
pub struct SimCpu(Arc<Shared>);

struct Shared {
    now: Now,
    model: CpuModel,
    cores: Mutex<Cores>,
}

struct Cores {
    /// When each core has done all that it was charged with, virtual ns.
    free_at: Vec<u64>,
    charged_ns: u64,
}

impl SimCpu {
    /// A host with `cores` (at least one) idle cores.
    #[must_use]
    pub fn new(model: CpuModel, cores: u32, now: Now) -> SimCpu {
        let cores = Cores { free_at: vec![0; cores.max(1) as usize], charged_ns: 0 };
        SimCpu(Arc::new(Shared { now, model, cores: Mutex::new(cores) }))
    }

    /// All that was ever charged, ns.
    #[must_use]
    pub fn charged_ns(&self) -> u64 {
        self.0.cores.lock().unwrap_or_else(PoisonError::into_inner).charged_ns
    }

    /// Forgets work in progress: the host went down.
    pub fn reset(&self) {
        self.0.cores.lock().unwrap_or_else(PoisonError::into_inner).free_at.fill(0);
    }
}

impl Cpu for SimCpu {
    fn charge(&self, work: Work<'_>, packets: u32, bytes: u64) -> Option<Fut<'static, ()>> {
        let Shared { now, model, cores } = &*self.0;
        let cost = match work {
            Work::Node(_) => model.node,
            Work::Journal => model.journal,
            Work::Lane => model.lane,
        };
        let cost_ns = u64::from(packets) * cost.packet_ns + (bytes * cost.kib_ns).div_ceil(1024);
        let at = now();
        let mut cores = cores.lock().unwrap_or_else(PoisonError::into_inner);
        cores.charged_ns += cost_ns;
        // First in, first out: the core that is free first takes it.
        let core = cores.free_at.iter_mut().min().expect("a host has at least one core");
        *core = at.max(*core) + cost_ns;
        let done = *core;
        (done - at >= TICK_NS).then(|| Box::pin(wait_until(now.clone(), done)) as Fut<'static, ()>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::test_world;

    fn model() -> CpuModel {
        let cost = Cost { packet_ns: 1_000, kib_ns: 1_024 };
        CpuModel { node: cost, journal: cost, lane: cost }
    }

    #[test]
    fn small_debts_add_up_to_a_sleep() {
        test_world(|now| async move {
            let cpu = SimCpu::new(model(), 1, now.clone());
            for _ in 0..9 {
                assert!(cpu.charge(Work::Journal, 100, 0).is_none());
            }
            cpu.charge(Work::Lane, 99, 1_000).expect("one tick of debt").await;
            assert_eq!((now(), cpu.charged_ns()), (TICK_NS, 1_000_000));
            assert!(cpu.charge(Work::Node("n"), 999, 0).is_none(), "slept off");
        });
    }

    #[test]
    fn a_second_core_works_beside_the_first() {
        test_world(|now| async move {
            let cpu = SimCpu::new(model(), 2, now.clone());
            let first = cpu.charge(Work::Journal, 5_000, 0).unwrap();
            let second = cpu.charge(Work::Journal, 5_000, 0).unwrap();
            let third = cpu.charge(Work::Journal, 1_000, 0).unwrap();
            first.await;
            second.await;
            assert_eq!(now(), 5 * TICK_NS);
            third.await;
            assert_eq!(now(), 6 * TICK_NS);
        });
    }
}
