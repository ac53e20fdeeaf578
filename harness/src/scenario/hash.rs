//! The hash of a scenario: what runs, and nothing else, so that results can be told comparable.

use serde::Serialize;

use super::model::{Fault, Load, Scenario, Sim, StandIn};
use crate::plan::Tuning;

/// What runs, in canonical form. Not `why`, not `expect`, not seeds, not the promise: those are judged, not run.
#[derive(Serialize)]
struct Runs<'a> {
    graph: &'a str,
    sim: Sim,
    #[serde(skip_serializing_if = "Tuning::is_default")]
    engine: Tuning,
    #[serde(skip_serializing_if = "<[StandIn]>::is_empty")]
    stand_ins: &'a [StandIn],
    loads: Vec<&'a Load>,
    faults: Vec<&'a Fault>,
}

/// 16 hexadecimal digits: xxh3 of the canonical JSON of what runs (times in ns, loads and faults by name), then of the
/// texts of `inputs`, the files behind it (graphs, rows) in an order that the caller keeps.
#[must_use]
pub fn hash(scenario: &Scenario, inputs: &[&str]) -> String {
    let mut loads: Vec<&Load> = scenario.loads.iter().collect();
    loads.sort_by(|a, b| a.name.cmp(&b.name));
    let mut faults: Vec<&Fault> = scenario.faults.iter().collect();
    faults.sort_by(|a, b| a.id.cmp(&b.id));
    let Scenario { graph, sim, engine, stand_ins, .. } = scenario;
    let runs = Runs { graph, sim: *sim, engine: *engine, stand_ins, loads, faults };
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(&serde_json::to_vec(&runs).expect("a scenario holds only texts, numbers and lists"));
    for input in inputs {
        hash.update(&(input.len() as u64).to_le_bytes());
        hash.update(input.as_bytes());
    }
    format!("{:016x}", hash.digest())
}
