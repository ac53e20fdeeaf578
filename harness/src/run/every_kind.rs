//! Every kind of fault, alone: it is felt, and the promises hold. The table of examples is that of `seaworthy storm`.
#![expect(clippy::disallowed_methods, reason = "tests read the repository's own graphs")]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::scenario::kinds::FAULTS;
use crate::scenario::storm::{self, Case};

/// A fault has to be felt in one of these.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=2;

fn registry() -> Registry {
    let mut registry = Registry::new();
    seaworthy_engine::nodes::register(&mut registry);
    registry
}

fn prepare(graph: &str, case: &Case) -> Prepared {
    // What makes a full disk felt needs a journal that grows.
    let rate = if case.kind.starts_with("disk.") { 1_000 } else { 100 };
    let text = format!(
        "why = \"{} alone\"\ngraph = \"graphs/{graph}.yaml\"\nsim = {{ duration = \"10s\", warmup = \"1s\" }}\n\
         load = {{ into = \"edge.feed\", rate = \"{rate}/s\", rows = \"data/quakes.ndjson\", repeat = true, key = \"net\" }}\n\
         {}\n[expect]\n{}",
        case.kind, case.faults, case.expect
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/alone.toml");
    let read = |wanted: &str| if wanted == path { Ok(text.clone()) } else { std::fs::read_to_string(wanted) };
    Prepared::read(path, &read, &registry()).unwrap_or_else(|error| panic!("{}: {error:?}", case.kind))
}

fn cases(graph: &str) -> Vec<Case> {
    let path = format!("{}/../scenarios/graphs/{graph}.yaml", env!("CARGO_MANIFEST_DIR"));
    let (_, world) = read_graph(&path, &|path| std::fs::read_to_string(path), &registry()).expect("the graph is well");
    storm::cases(&world)
}

#[test]
fn every_kind_is_felt_and_survived() {
    let mut unfelt: BTreeSet<&str> = FAULTS.iter().map(|kind| kind.id).collect();
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    // A machine that keeps a channel can't be replaced; a member of a group can.
    let wipe = cases("nn_1_2").into_iter().filter(|case| case.kind == "host.wipe").map(|case| ("nn_1_2", case));
    for (graph, case) in cases("edge_hub").into_iter().map(|case| ("edge_hub", case)).chain(wipe) {
        let prepared = prepare(graph, &case);
        for seed in SEEDS {
            let judged = prepared.run_seed(seed, false).unwrap_or_else(|error| panic!("{}: {error}", case.kind));
            if judged.run.faults.iter().any(|fault| fault.id == "it") {
                unfelt.remove(case.kind);
            }
            if let Some(violation) = judged.violations.first() {
                let what = format!("seed {seed}: {}: {}", violation.check, violation.message);
                wrong.insert(case.file_stem(), what);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(unfelt.is_empty(), "felt in no seed: {unfelt:?}");
}
