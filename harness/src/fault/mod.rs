//! Faults: carry out a plan's steps while the world runs, heal them, and count what they did.

mod disk;
pub(crate) mod driver;
pub(crate) mod host;
mod lane;
pub mod lane_proxy;
mod net;
mod node;
mod sabotage;
pub(crate) mod schedule;
mod sink;
mod take_proxy;

use std::collections::BTreeMap;
use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64;

pub(crate) use lane::wants_proxy;
pub use lane::{LaneFault, LaneFaults};

use crate::plan::{Ns, Step};
use crate::sim::machine::Machine;
use crate::sim::net::Network;
use crate::sim::recorder::Recorder;
use crate::system::System;

/// Decides whether a condition of the plan holds now.
pub type Trigger = Box<dyn FnMut(&str, &Gauges<'_>) -> bool>;

/// What a trigger may look at.
pub struct Gauges<'a> {
    system: &'a dyn System,
    recorder: &'a Recorder,
    /// Gauges when each fault last began.
    begun: &'a BTreeMap<String, Vec<(String, u64)>>,
}

impl Gauges<'_> {
    /// Virtual ns since the world's start.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.recorder.now_ns()
    }

    /// The system's own counter at an address such as `edge.uplink.backlog`; `None` when there is no such thing.
    #[must_use]
    pub fn gauge(&self, address: &str) -> Option<u64> {
        self.system.gauge(address)
    }

    /// A gauge at the moment when `fault` last began; `None` before it did.
    #[must_use]
    pub fn at_fault(&self, fault: &str, gauge: &str) -> Option<u64> {
        self.begun.get(fault)?.iter().find(|(address, _)| address == gauge).map(|(_, value)| *value)
    }

    /// How often an event of the probe's catalogue happened at a place of a host; 0 for what isn't known.
    #[must_use]
    pub fn count(&self, host: &str, place: &str, event: &str) -> u64 {
        self.recorder.count(host, place, event)
    }
}

/// What faults act on.
pub(crate) struct Controls<'a> {
    pub system: &'a dyn System,
    pub recorder: &'a Recorder,
    pub network: &'a Network,
    /// By their place in the table of hosts.
    pub machines: &'a [Rc<Machine>],
    /// When the load ends and everything is healed, ns.
    pub load_end_ns: Ns,
    pub lanes: Option<&'a dyn LaneFaults>,
}

impl<'a> Controls<'a> {
    fn machine(&self, host: &str) -> Option<&'a Machine> {
        Some(&self.machines[self.recorder.hosts().index(host)?])
    }
}

/// Names a step's fault in draws: not by its place in the plan, so that leaving out another step shifts nothing.
fn draw_key(step: &Step) -> u64 {
    xxh3_64(step.fault.as_bytes())
}
