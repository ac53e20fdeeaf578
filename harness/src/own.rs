//! A system of one's own in a world: a scenario's load and faults, and the system's own checks.
//!
//! The scenario is the usual TOML. Its `graph` is not read: what the world has is said by the
//! [`World`](crate::scenario::World) that [`load`](crate::scenario::load) is given, and what is expected by the
//! system's checks, beside those that hold for any system: no panic, no final exit, and rest after the heal.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::check::Violation;
use crate::history::History;
use crate::load::workload;
use crate::plan::Plan;
use crate::scenario::{self, Scenario};
use crate::sim::recorder::Recorder;
use crate::sim::trace::Trace;
use crate::system::System;
use crate::world::{WorldOptions, run_seed};

/// What came of one seed.
pub struct Outcome {
    /// The explicit plan that was run.
    pub plan: Plan,
    /// Broken promises, in order of time.
    pub violations: Vec<Violation>,
    /// Everything that happened.
    pub history: History,
    /// Its hash is the same for every run of the seed.
    pub trace: Trace,
}

/// Runs one seed over the system that `make` makes, with the recorder that its endpoints write to.
///
/// # Panics
/// When the load reads rows of a file: hand them to [`crate::world::run_seed`] yourself.
#[must_use]
pub fn run(scenario: &Scenario, seed: u64, make: impl FnOnce(&Arc<Recorder>) -> Box<dyn System>) -> Outcome {
    let plan = scenario::compile(scenario, seed);
    let load = workload(scenario, seed, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
    let recorder = Recorder::new(seed, false);
    let system = make(&recorder);
    let checks = system.checks();
    let options = WorldOptions {
        tick_ns: scenario.sim.tick_ns,
        latency_ns: scenario.sim.tick_ns,
        warmup_ns: scenario.sim.warmup_ns,
        duration_ns: scenario.sim.duration_ns,
        trigger: crate::conditions::trigger(),
        ..WorldOptions::new(recorder)
    };
    let outcome = run_seed(system, &plan, load, options);
    let mut violations = outcome.violations;
    if !outcome.history.drained {
        violations.push(Violation {
            check: "unresolved".to_owned(),
            message: "it did not come to rest after everything was healed".to_owned(),
            at_ns: outcome.history.end_ns,
        });
    }
    violations.extend(checks.iter().flat_map(|check| check.judge(&outcome.history)));
    violations.sort_by_key(|violation| violation.at_ns);
    Outcome { plan, violations, history: outcome.history, trace: outcome.trace }
}
