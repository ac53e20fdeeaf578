//! Tripwires: nothing on a simulated host may reach the real machine. Escapes are planted one by one, each must end its program
//! with a backtrace; then the engine itself runs over the wires.
//!
//! What no wire sees: a system call that is made without the C library, and the keys of a standard map, which a thread draws
//! once. Lints forbid such maps, and double runs (`seaworthy explore --twice`) would tell them.
#![expect(clippy::disallowed_methods, reason = "a test reads files before its worlds run")]

mod escapes;
mod wires;

use seaworthy_engine::node::Registry;
use seaworthy_harness::run::Prepared;

/// Scenarios that between them use lanes, groups, full disks, panics and a spoilt lane.
const SCENARIOS: [&str; 6] =
    ["smoke", "deep/small_segments", "deep/nn_rejoin", "deep/panicking", "deep/late_batches", "deep/full_restarts"];

#[test]
fn the_engine_never_leaves_its_world() {
    let mut registry = Registry::new();
    seaworthy_engine::nodes::register(&mut registry);
    let prepared: Vec<Prepared> = SCENARIOS
        .iter()
        .map(|name| {
            let path = format!("{}/scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            let read = |path: &str| std::fs::read_to_string(path);
            Prepared::read(&path, &read, &registry).unwrap_or_else(|error| panic!("{name}: {error:?}"))
        })
        .collect();
    wires::arm();
    for prepared in &prepared {
        let judged = prepared.run_alone(&prepared.plan(1), false).expect("the harness's books balance");
        assert!(judged.violations.is_empty(), "{}: {:?}", prepared.path(), judged.violations);
    }
    for ((function, by), ways) in wires::harmless() {
        println!("harmless: {function} by {by}, {ways} ways");
    }
}
