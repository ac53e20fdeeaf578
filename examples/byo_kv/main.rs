//! A system of one's own in the world: a small replicated key-value store, made with axum and hyper, with a log file of its own.
//! It knows nothing of graphs and journals; it asks its `Env` for disk, network and time, and that is all.
//!
//! ```text
//! cargo run --example byo_kv -- 50             # fifty seeds of power cuts, cuts and resets: all linearizable
//! cargo run --example byo_kv -- 50 forgetful   # the same without syncing its log: the checks find it
//! ```

mod linear;
mod store;
mod system;

use std::process::ExitCode;

use seaworthy_harness::own;
use seaworthy_harness::scenario::{Sources, World, WorldNode, load};
use system::KvSystem;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seeds: u64 = arguments.next().and_then(|seeds| seeds.parse().ok()).unwrap_or(20);
    let syncs = arguments.next().as_deref() != Some("forgetful");
    let scenario = match load(&Sources::new("kv.toml", include_str!("kv.toml")), &world()) {
        Ok(scenario) => scenario,
        Err(errors) => {
            eprintln!("{errors:?}");
            return ExitCode::from(2);
        }
    };
    let mut failed = 0;
    for seed in 1..=seeds {
        let outcome = own::run(&scenario, seed, |recorder| Box::new(KvSystem::new(recorder.clone(), syncs)));
        if let Some(first) = outcome.violations.first() {
            failed += 1;
            println!("FAIL seed {seed}: {}: {}", first.check, first.message);
        }
    }
    println!("{} of {seeds} seeds are linearizable", seeds - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What faults can be done to, and where the load goes: the world's own host `load` asks the store.
fn world() -> World {
    World {
        hosts: ["primary", "backup", "load"].map(str::to_owned).into(),
        nodes: vec![WorldNode {
            host: "load".into(),
            node: "ops".into(),
            source: true,
            sink: false,
            handles: false,
            stateful: false,
            plugin_is_here: true,
        }],
        channels: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seed: u64, syncs: bool) -> own::Outcome {
        let scenario =
            load(&Sources::new("kv.toml", include_str!("kv.toml")), &world()).expect("it is a whole scenario");
        own::run(&scenario, seed, |recorder| Box::new(KvSystem::new(recorder.clone(), syncs)))
    }

    #[test]
    fn the_store_is_linearizable_and_its_seeds_can_be_repeated() {
        for seed in 1..=6 {
            let (one, other) = (outcome(seed, true), outcome(seed, true));
            assert_eq!(one.violations, [], "seed {seed}");
            assert!(one.history.effects.len() > 300 && one.history.applied.len() > 5, "seed {seed} tested little");
            assert_eq!(one.trace.hash, other.trace.hash, "seed {seed}");
        }
    }

    #[test]
    fn a_store_that_does_not_sync_its_log_is_found() {
        let violations = outcome(1, false).violations;
        assert!(violations.iter().any(|violation| violation.check == "linearizable"), "{violations:?}");
    }
}
