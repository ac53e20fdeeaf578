//! A checked scenario: everything typed, defaults filled in, every address known to exist.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::expect::{Limit, Objective};
use super::expr::Expr;
use super::value::Seeds;
use crate::plan::{Action, Dist, Link, Ns, Tuning};

/// A scenario that can run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file's stem.
    pub id: String,
    /// Why it exists.
    pub why: String,
    /// The folder of the file; paths in it are relative to here.
    pub dir: PathBuf,
    /// The graph, as written.
    pub graph: String,
    /// What enters, in order of the file.
    pub loads: Vec<Load>,
    /// Virtual time.
    pub sim: Sim,
    /// The file of what nodes cost, as written.
    pub cpu: Option<String>,
    /// Nodes whose plugins aren't here, in order of their addresses.
    pub stand_ins: Vec<StandIn>,
    /// How the engine runs.
    pub engine: Tuning,
    /// Which seeds each tier runs.
    pub seeds: SeedSets,
    /// What the system promises.
    pub promise: Promise,
    /// What goes wrong, in order of the file.
    pub faults: Vec<Fault>,
    /// What must hold, in order of the file.
    pub expect: Vec<Objective>,
    /// What must be reached at least once over a set of seeds.
    pub sometimes: Vec<Sometimes>,
}

impl Scenario {
    /// Where a path that the file writes lies.
    #[must_use]
    pub fn path(&self, written: &str) -> PathBuf {
        self.dir.join(written)
    }

    /// The files of rows that its loads read, as written, each once.
    #[must_use]
    pub fn rows(&self) -> Vec<&str> {
        let mut rows: Vec<&str> = self
            .loads
            .iter()
            .filter_map(|load| match &load.content {
                Content::Rows { path, .. } => Some(path.as_str()),
                Content::Made(_) => None,
            })
            .collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }
}

/// Virtual time of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sim {
    /// How long the load lasts, ns.
    pub duration_ns: Ns,
    /// How long latency is not judged, ns.
    pub warmup_ns: Ns,
    /// The simulated network's step, ns; whole milliseconds.
    pub tick_ns: Ns,
}

/// The seeds of each tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedSets {
    /// Of a pull request.
    pub pr: Seeds,
    /// Of a release.
    pub release: Seeds,
}

/// What the system under test promises; delivery is at least once in this version.
#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    /// What order it keeps.
    pub ordering: Ordering,
    /// Sinks (`host.node`) whose outside system takes equal ids for one effect.
    pub idempotent: Vec<String>,
    /// Named rules that may drop, each with its limit as a share of what was accepted.
    pub drops: BTreeMap<String, Limit>,
    /// Most packets that may wait inside the system at once.
    pub backlog_max: u64,
    /// Most bytes that a host's disk may hold.
    pub disk_bytes_max: u64,
}

impl Promise {
    /// Most packets inside at once, unless a file says otherwise: an hour of a full uplink at the rates of this version.
    pub const BACKLOG_MAX: u64 = 50_000;
    /// Most bytes on a disk, unless a file says otherwise: the simulated disk, nearly full.
    pub const DISK_BYTES_MAX: u64 = 60 << 20;
}

/// A promise of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// Packets of equal key stay in order.
    PerKey,
    /// None.
    None,
}

/// What enters by one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Its name in the file; `load` for the one in place.
    pub name: String,
    /// The source, as `host.node`.
    pub entry: String,
    /// When events come.
    pub arrival: Arrival,
    /// What they are.
    pub content: Content,
    /// The field that is the packet's key.
    pub key: Option<String>,
    /// The field of a template that is the packet's business key.
    pub business_key: Option<String>,
}

/// What runs in place of a node whose plugin isn't here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StandIn {
    /// The node, as `host.node`.
    pub node: String,
    /// How long it works on each packet, on a core; `None` for what any node costs.
    pub service: Option<Dist>,
    /// Packets out for a million packets in.
    pub output_ppm: u64,
    /// What comes out; `None` for what went in.
    pub content: Option<Made>,
}

/// When events come.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// Evenly, so many a second.
    Constant(f64),
    /// Independently, so many a second on average.
    Poisson(f64),
    /// Evenly, at a rate a second for a time in ns, one stage after the other; then nothing.
    Stages(Vec<(f64, Ns)>),
    /// As the rows' own times say, so many times faster.
    Trace(f64),
}

/// What events are.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// The rows of a file of JSON lines.
    Rows {
        /// As written.
        path: String,
        /// Again and again.
        repeat: bool,
    },
    /// Made up.
    #[serde(untagged)]
    Made(Made),
}

/// A payload that is made up.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// A JSON object made from a template, field by field.
    Json(BTreeMap<String, Template>),
    /// Opaque bytes.
    Bytes(Size),
}

/// A field of a JSON template.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// Always the same.
    Constant(serde_json::Value),
    /// One of so many names (`k0`, `k1`, …), evenly.
    Key(u64),
    /// A number from one bound to the other, evenly.
    Uniform(f64, f64),
}

/// A payload's size in bytes, evenly from one to the other, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Smallest.
    pub from: u64,
    /// Largest.
    pub to: u64,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// Its name in the file.
    pub id: String,
    /// When it begins.
    pub schedule: Schedule,
    /// How likely a seed has it, above 0, at most 1.
    pub chance: f64,
    /// How long it lasts; `None` for what is over at once, or lasts until the heal phase.
    pub lasts: Option<Dist>,
    /// What it does.
    pub effect: Effect,
    /// The line of its kind, from 1.
    #[serde(skip)]
    pub line: u32,
}

/// When a fault begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// At a time, and again.
    At {
        /// The first time, ns.
        at_ns: Ns,
        /// How many times in all.
        repeat: u64,
        /// From one beginning to the next, ns.
        every_ns: Ns,
    },
    /// Once in each of `repeat` equal parts of a window, wholly inside it.
    Within {
        /// The window's start, ns.
        from_ns: Ns,
        /// Its end, ns.
        to_ns: Ns,
        /// How many parts.
        repeat: u64,
    },
    /// The first time that a condition holds.
    When {
        /// As written.
        when: String,
    },
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// One step of the plan each time.
    Act(Action),
    /// A link goes down and up: compiled to cuts.
    Flap {
        /// Where.
        link: Link,
        /// How long it is down each time.
        down: Dist,
        /// How long it is up between.
        up: Dist,
    },
    /// Links stop one by one and come back in another order: compiled to cuts.
    Swizzle {
        /// Which.
        links: Vec<Link>,
    },
    /// Hosts are stopped and started one after the other: compiled to stops.
    Rolling {
        /// Which, in this order.
        hosts: Vec<String>,
        /// From a request to stop to the next start.
        restart_ns: Ns,
        /// From a start to the next host's stop.
        up: Dist,
    },
}

impl Effect {
    /// How long it lasts where `for` has no say: a host's time away, nothing for what is over at once. `None` for what lasts
    /// as long as the file says, or until the heal.
    #[must_use]
    pub fn own_length(&self) -> Option<Ns> {
        match self {
            Effect::Act(
                Action::HostCrash { restart_ns, .. }
                | Action::HostPowerCut { restart_ns, .. }
                | Action::HostStop { restart_ns, .. }
                | Action::HostWipe { restart_ns, .. },
            ) => Some(*restart_ns),
            Effect::Act(Action::NetReset { .. } | Action::NetHalfOpen { .. } | Action::DiskRot { .. }) => Some(0),
            Effect::Rolling { hosts, restart_ns, up } => {
                Some((restart_ns + up.max_ns().unwrap_or(up.median_ns())).saturating_mul(hosts.len() as u64))
            }
            _ => None,
        }
    }
}

/// Something that must be reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Sometimes {
    /// As written.
    pub text: String,
    /// The condition, tested each tick; each time that it becomes true is one hit.
    pub that: Expr,
    /// The line, from 1.
    pub line: u32,
}
