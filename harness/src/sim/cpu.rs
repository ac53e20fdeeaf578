//! A host's cores: computation takes no virtual time by itself, so it is charged here and slept off in whole ticks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seaworthy_engine::env::{Cpu, Fut, Seed, Work};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::hosts::Pause;
use super::seed::KeyedSeed;
use super::{Now, TICK_NS};
use crate::plan::Dist;

/// What one kind of work costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Nanoseconds a packet.
    pub packet_ns: u64,
    /// Nanoseconds a KiB.
    pub kib_ns: u64,
}

/// What computation costs on a host.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuModel {
    /// What was measured of nodes, by `host.node`.
    pub nodes: Arc<BTreeMap<String, Cost>>,
    /// How long stand-ins work on each packet, by `host.node`; comes before what was measured.
    pub services: Arc<BTreeMap<String, Dist>>,
    /// Any other node's processing.
    pub node: Cost,
    /// Encoding and decoding for the journal.
    pub journal: Cost,
    /// Encoding and decoding for a lane.
    pub lane: Cost,
}

/// What is known of the nodes of one host, by their names.
fn own<T: Copy>(all: &BTreeMap<String, T>, host: &str) -> BTreeMap<String, T> {
    let own = all.iter().filter_map(|(address, what)| {
        let (of, node) = address.split_once('.')?;
        (of == host).then(|| (node.to_owned(), *what))
    });
    own.collect()
}

impl Default for CpuModel {
    /// A guess at a small edge machine, not a calibration.
    fn default() -> Self {
        CpuModel {
            nodes: Arc::default(),
            services: Arc::default(),
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
    pause: Pause,
    seed: KeyedSeed,
    model: CpuModel,
    /// What was measured of this host's nodes.
    nodes: BTreeMap<String, Cost>,
    /// Of this host's stand-ins.
    services: BTreeMap<String, Dist>,
    cores: Mutex<Cores>,
}

struct Cores {
    /// When each core has done all that it was charged with, virtual ns.
    free_at: Vec<u64>,
    charged_ns: u64,
    /// The share of the cores that something else takes, in parts per million.
    starved_ppm: u64,
    starved_hits: u64,
    /// Nodes that take longer, by name: by how much each batch, and how many batches did.
    slow: BTreeMap<String, (Option<Dist>, u64)>,
}

/// The largest share of the cores that can be taken, in parts per million; software that gets none at all is paused instead.
pub const STARVE_MAX_PPM: u32 = 990_000;

impl SimCpu {
    /// A host with `cores` (at least one) idle cores.
    #[must_use]
    pub fn new(model: CpuModel, cores: u32, now: Now) -> SimCpu {
        SimCpu::of(model, "", cores, now, Pause::default(), KeyedSeed(0))
    }

    /// The same, of a host whose software may stand still.
    pub(crate) fn of(model: CpuModel, host: &str, cores: u32, now: Now, pause: Pause, seed: KeyedSeed) -> SimCpu {
        let free_at = vec![0; cores.max(1) as usize];
        let cores = Cores { free_at, charged_ns: 0, starved_ppm: 0, starved_hits: 0, slow: BTreeMap::new() };
        let (nodes, services) = (own(&model.nodes, host), own(&model.services, host));
        SimCpu(Arc::new(Shared { now, pause, seed, model, nodes, services, cores: Mutex::new(cores) }))
    }

    /// From now on something else takes that share of the cores, in parts per million, at most [`STARVE_MAX_PPM`].
    pub fn set_starved(&self, ratio_ppm: u32) {
        self.cores().starved_ppm = ratio_ppm.min(STARVE_MAX_PPM).into();
    }

    /// From now on the node takes longer for each batch by a draw; `None` ends it.
    pub fn set_slow(&self, node: &str, add: Option<Dist>) {
        self.cores().slow.entry(node.to_owned()).or_default().0 = add;
    }

    /// How much work was charged while the cores were starved.
    #[must_use]
    pub fn starved_hits(&self) -> u64 {
        self.cores().starved_hits
    }

    /// How many batches of the node took longer.
    #[must_use]
    pub fn slow_hits(&self, node: &str) -> u64 {
        self.cores().slow.get(node).map_or(0, |(_, hits)| *hits)
    }

    fn cores(&self) -> MutexGuard<'_, Cores> {
        self.0.cores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was ever charged, ns.
    #[must_use]
    pub fn charged_ns(&self) -> u64 {
        self.cores().charged_ns
    }

    /// Forgets work in progress: the host went down.
    pub fn reset(&self) {
        self.cores().free_at.fill(0);
    }
}

impl Cpu for SimCpu {
    fn charge(&self, work: Work<'_>, packets: u32, bytes: u64) -> Option<Fut<'static, ()>> {
        let Shared { now, pause, seed, model, nodes, services, .. } = &*self.0;
        let at = now();
        let packets = u64::from(packets);
        let by = |cost: Cost| packets * cost.packet_ns + (bytes * cost.kib_ns).div_ceil(1024);
        let mut cost_ns = match work {
            Work::Node(node) => match services.get(node) {
                Some(service) => {
                    let node = xxh3_64(node.as_bytes());
                    let each = |packet| service.draw(seed.draw("stand_in.service", &[node, at, packet]));
                    (0..packets).map(each).sum()
                }
                None => by(nodes.get(node).copied().unwrap_or(model.node)),
            },
            Work::Journal => by(model.journal),
            Work::Lane => by(model.lane),
        };
        let mut cores = self.cores();
        if cores.starved_ppm > 0 {
            cores.starved_hits += 1;
            cost_ns = cost_ns * 1_000_000 / (1_000_000 - cores.starved_ppm);
        }
        cores.charged_ns += cost_ns;
        // A slow node waits for something else than its core.
        let wait_ns = match work {
            Work::Node(node) => cores.slow.get_mut(node).map_or(0, |(add, hits)| {
                *hits += u64::from(add.is_some());
                add.map_or(0, |add| add.draw(seed.draw("node.slow", &[xxh3_64(node.as_bytes()), at])))
            }),
            Work::Journal | Work::Lane => 0,
        };
        // First in, first out: the core that is free first takes it.
        let core = cores.free_at.iter_mut().min().expect("a host has at least one core");
        *core = at.max(*core) + cost_ns;
        let done = *core + wait_ns;
        let (now, pause) = (now.clone(), pause.clone());
        (done - at >= TICK_NS).then(|| Box::pin(async move { pause.wait_until(now, done).await }) as Fut<'static, ()>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::test_world;

    fn model() -> CpuModel {
        let cost = Cost { packet_ns: 1_000, kib_ns: 1_024 };
        CpuModel { nodes: Arc::default(), services: Arc::default(), node: cost, journal: cost, lane: cost }
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
    fn what_was_measured_of_a_node_is_what_it_costs() {
        test_world(|now| async move {
            let nodes = Arc::new([("edge.slow".to_owned(), Cost { packet_ns: 50_000, kib_ns: 1_024 })].into());
            let model = CpuModel { nodes, ..model() };
            let pause = Pause::default();
            let edge = SimCpu::of(model.clone(), "edge", 1, now.clone(), pause.clone(), KeyedSeed(0));
            let hub = SimCpu::of(model, "hub", 1, now, pause, KeyedSeed(0));
            for cpu in [&edge, &hub] {
                assert!(cpu.charge(Work::Node("slow"), 1, 10).is_none());
                assert!(cpu.charge(Work::Node("quick"), 1, 10).is_none());
            }
            assert_eq!((edge.charged_ns(), hub.charged_ns()), (50_010 + 1_010, 2 * 1_010));
        });
    }

    #[test]
    fn a_stand_in_works_on_each_packet_by_a_draw() {
        test_world(|now| async move {
            let services =
                Arc::new([("edge.camera".to_owned(), Dist::Uniform { from_ns: 1_000, to_ns: 3_000 })].into());
            let model = CpuModel { services, ..model() };
            let edge = SimCpu::of(model, "edge", 1, now, Pause::default(), KeyedSeed(7));
            assert!(edge.charge(Work::Node("camera"), 100, 1 << 20).is_none());
            let charged = edge.charged_ns();
            assert!((150_000..250_000).contains(&charged), "{charged} ns for 100 packets of 1 to 3 us");
            assert!(edge.charge(Work::Node("other"), 1, 0).is_none());
            assert_eq!(edge.charged_ns(), charged + 1_000);
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
