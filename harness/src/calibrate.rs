//! What the nodes of a graph cost on this machine: each packet of a load goes through each node several times, alone, and a
//! straight line through the fastest says what a packet and what a KiB of it costs.
#![expect(clippy::disallowed_methods, reason = "here the real machine is what is measured")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use seaworthy_engine::node::{Node, NodeError, Output};
use seaworthy_engine::packet::Packet;
use serde::{Deserialize, Serialize};

use crate::reference::{self, Flow, FlowWhat};
use crate::sim::cpu::Cost;

/// Fewer packets than this tell nothing of a node.
pub const PACKETS_MIN: usize = 100;

/// What `seaworthy calibrate` writes and a scenario's `cpu` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The day, as `2026-11-29`.
    pub measured: String,
    /// What each node costs, by `host.node`; a node that isn't here costs what it does without a calibration.
    pub nodes: BTreeMap<String, Cost>,
}

/// What was seen of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// `host.node`; of a group's members the first.
    pub node: String,
    /// Packets of one round.
    pub packets: usize,
    /// The middle one's time, ns; of each packet the fastest round counts.
    pub p50_ns: u64,
    /// The time of the 99th of a hundred, ns.
    pub p99_ns: u64,
    /// The line through them.
    pub cost: Cost,
}

/// Payload bytes and the fastest time of each packet, in order.
type Samples = Arc<Mutex<Vec<(usize, u64)>>>;

/// A node under a stopwatch.
struct Timed {
    inner: Box<dyn Node>,
    at: usize,
    samples: Samples,
}

impl Node for Timed {
    fn process(&mut self, packet: &Packet, out: &mut Output) -> Result<(), NodeError> {
        let began = Instant::now();
        let result = self.inner.process(packet, out);
        let took_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        match samples.get_mut(self.at) {
            Some((_, fastest_ns)) => *fastest_ns = took_ns.min(*fastest_ns),
            None => samples.push((packet.payload.len(), took_ns)),
        }
        self.at += 1;
        result
    }

    fn restore(&mut self, state: &BTreeMap<Bytes, Bytes>) -> Result<(), NodeError> {
        self.inner.restore(state)
    }
}

/// Runs the events through fresh nodes, `rounds` times.
pub(crate) fn measure(
    rounds: u32,
    flow: impl Fn() -> Flow,
    events: impl Fn() -> Vec<reference::LoadEvent>,
) -> Vec<Seen> {
    let mut all: BTreeMap<String, Samples> = BTreeMap::new();
    for _ in 0..rounds {
        let mut flow = flow();
        for node in &mut flow.nodes {
            let samples = all.entry(node.address.to_string()).or_default().clone();
            // What is no node of the graph costs nothing that a plugin could change.
            let what = std::mem::replace(&mut node.what, FlowWhat::Pipe);
            node.what = match what {
                FlowWhat::Node(inner) => FlowWhat::Node(Box::new(Timed { inner, at: 0, samples })),
                other => other,
            };
        }
        // What comes out doesn't matter here.
        let _ = reference::evaluate(&mut flow, events());
    }
    let seen = |(node, samples): (String, Samples)| {
        let samples = samples.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut times: Vec<u64> = samples.iter().map(|(_, ns)| *ns).collect();
        times.sort_unstable();
        let at = |part: usize| times.get(times.len().checked_sub(1)? * part / 100).copied();
        Some(Seen { node, packets: times.len(), p50_ns: at(50)?, p99_ns: at(99)?, cost: line(&samples) })
    };
    all.into_iter().filter_map(seen).collect()
}

/// The line of least squares; neither a packet nor a KiB costs less than nothing.
fn line(samples: &[(usize, u64)]) -> Cost {
    let n = samples.len() as f64;
    let (kib, ns) = (|bytes: usize| bytes as f64 / 1024.0, |ns: u64| ns as f64);
    let (mean_kib, mean_ns) = (
        samples.iter().map(|(bytes, _)| kib(*bytes)).sum::<f64>() / n,
        samples.iter().map(|(_, took)| ns(*took)).sum::<f64>() / n,
    );
    let spread: f64 = samples.iter().map(|(bytes, _)| (kib(*bytes) - mean_kib).powi(2)).sum();
    let together: f64 = samples.iter().map(|(bytes, took)| (kib(*bytes) - mean_kib) * (ns(*took) - mean_ns)).sum();
    let slope = if spread > f64::EPSILON * n { (together / spread).max(0.0) } else { 0.0 };
    let (slope, packet) = match mean_ns - slope * mean_kib {
        packet if packet >= 0.0 => (slope, packet),
        // All of it is by the KiB.
        _ => (mean_ns / mean_kib, 0.0),
    };
    Cost { packet_ns: packet.round() as u64, kib_ns: slope.round() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_never_runs_below_zero() {
        let on = |packet: u64, kib: u64| -> Vec<(usize, u64)> {
            (1..50).map(|n| (n * 512, packet + kib * n as u64 / 2)).collect()
        };
        let cost = line(&on(2_000, 300));
        assert!(cost.packet_ns.abs_diff(2_000) < 5 && cost.kib_ns.abs_diff(300) < 5, "{cost:?}");
        assert_eq!(line(&[(700, 900), (700, 1_100)]), Cost { packet_ns: 1_000, kib_ns: 0 }, "one size tells no slope");
        assert_eq!(line(&[(1024, 9_000), (4096, 1_000)]).kib_ns, 0, "larger is not cheaper");
        let steep = line(&[(1024, 0), (2048, 8_000), (4096, 24_000)]);
        assert_eq!(steep.packet_ns, 0);
        assert!(steep.kib_ns > 3_000, "{steep:?}");
    }

    #[test]
    fn a_calibration_survives_being_written() {
        let nodes = [("edge.strong".to_owned(), Cost { packet_ns: 5, kib_ns: 7 })].into();
        let calibration = Calibration { measured: "2026-11-29".to_owned(), nodes };
        let text = toml::to_string(&calibration).unwrap();
        assert!(text.contains("[nodes.\"edge.strong\"]\npacket_ns = 5"), "{text}");
        assert_eq!(toml::from_str::<Calibration>(&text).unwrap(), calibration);
        assert!(toml::from_str::<Calibration>("measured = \"x\"\nnodes = {}\nmore = 1").is_err());
    }
}
