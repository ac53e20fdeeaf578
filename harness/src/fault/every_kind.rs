//! Every kind of fault, alone, on the reference graph: it is felt, and the promises hold. Each has a scenario of its own in
//! `scenarios/`, too; this table is what says that none is forgotten.

#![expect(clippy::disallowed_methods, reason = "tests read the repository's own graphs")]

use std::collections::BTreeMap;

use seaworthy_engine::node::Registry;

use crate::run::Prepared;
use crate::scenario::kinds::FAULTS;

/// Seeds that a fault has to be felt in one of them.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;

/// Makes the edge keep what it has.
const AWAY: &str = r#"away = { kind = "net.cut", on = "edge<->hub", at = "2s", for = "5s" }"#;

/// What a file says of the fault beside `kind`, and what else goes wrong with it.
const CASES: [(&str, &str, &str); FAULTS.len()] = [
    ("net.cut", r#"on = "edge<->hub", at = "3s", for = "2s""#, ""),
    ("net.flap", r#"on = "edge->hub", at = "3s", for = "4s", down = "300ms", up = "uniform(100ms, 400ms)""#, ""),
    ("net.swizzle", r#"on = "*", at = "3s", for = "3s""#, ""),
    ("net.latency", r#"on = "edge<->hub", at = "3s", for = "4s", add = "uniform(5ms, 50ms)""#, ""),
    ("net.loss", r#"on = "edge<->hub", at = "3s", for = "4s", ratio = "5%""#, ""),
    ("net.bandwidth", r#"on = "edge<->hub", at = "3s", for = "4s", rate = "500kbit/s""#, ""),
    ("net.reset", r#"on = "edge<->hub", at = "3s""#, ""),
    ("net.half_open", r#"on = "edge->hub", at = "3s""#, ""),
    ("net.short_io", r#"on = "edge<->hub", at = "3s", for = "2s", bytes = "64""#, ""),
    ("ack.delay", r#"on = "edge.uplink", at = "3s", for = "4s", add = "uniform(5ms, 200ms)""#, ""),
    ("ack.duplicate", r#"on = "edge.uplink", at = "3s", for = "4s", ratio = "30%""#, ""),
    ("ack.reorder", r#"on = "edge.uplink", at = "3s", for = "4s", ratio = "30%""#, ""),
    ("ack.lose", r#"on = "edge.uplink", at = "3s", for = "4s", ratio = "2%""#, ""),
    ("delivery.duplicate", r#"on = "edge.uplink", at = "3s", for = "4s", ratio = "2%""#, ""),
    ("disk.full", r#"on = "edge", at = "2s", for = "5s""#, AWAY),
    ("disk.quota", r#"on = "edge", at = "2s", for = "5s", bytes = "1MiB""#, AWAY),
    ("disk.latency", r#"on = "edge", at = "3s", for = "4s", add = "uniform(1ms, 20ms)""#, ""),
    ("disk.stall", r#"on = "hub", at = "3s", for = "2s""#, ""),
    ("disk.throttle", r#"on = "hub", at = "3s", for = "4s", rate = "1MiB/s""#, ""),
    ("disk.eio", r#"on = "edge", at = "3s", for = "2s", op = "write", ratio = "1%""#, ""),
    (
        "disk.torn",
        r#"on = "edge", at = "3s", for = "4s""#,
        r#"cut = { kind = "host.power_cut", on = "edge", at = "5s" }"#,
    ),
    ("disk.rot", r#"on = "edge", at = "3s""#, ""),
    ("disk.lying_sync", r#"on = "edge", at = "3s", for = "4s""#, ""),
    ("host.crash", r#"on = "hub", at = "3s""#, ""),
    ("host.power_cut", r#"on = "edge", at = "3s""#, ""),
    ("host.stop", r#"on = "hub", at = "3s""#, ""),
    ("host.pause", r#"on = "hub", at = "3s", for = "2s""#, ""),
    ("host.wipe", r#"on = "lab", at = "3s""#, ""),
    ("host.restart_storm", r#"on = "edge", at = "3s", for = "4s", operation = 40"#, ""),
    ("host.rolling_restart", r#"on = "*", at = "3s""#, ""),
    ("host.mixed_versions", r#"on = "edge", at = "3s", for = "4s""#, ""),
    ("clock.skew", r#"on = "hub", at = "3s", for = "4s", by = "-1h""#, ""),
    ("clock.drift", r#"on = "hub", at = "3s", for = "4s", by = "20%""#, ""),
    ("clock.step", r#"on = "hub", at = "3s", by = "-10m""#, ""),
    ("cpu.starve", r#"on = "edge", at = "3s", for = "4s", ratio = "80%""#, ""),
    ("node.slow", r#"on = "hub.by_net", at = "3s", for = "4s", add = "uniform(5ms, 50ms)""#, ""),
    ("node.panic", r#"on = "edge.strong", at = "3s", for = "4s", ratio = "1%""#, ""),
    ("load.poison", r#"on = "edge.feed", at = "3s", for = "4s", ratio = "1%""#, ""),
    ("load.burst", r#"on = "edge.feed", at = "3s", for = "3s""#, ""),
    ("sink.slow", r#"on = "hub.raw", at = "3s", for = "4s", add = "uniform(5ms, 50ms)""#, ""),
    ("sink.error", r#"on = "hub.raw", at = "3s", for = "2s", ratio = "30%""#, ""),
];

fn prepare(kind: &str, keys: &str, more: &str) -> Prepared {
    let expect = match kind {
        "node.panic" | "load.poison" => r#"dead_lettered = "> 0""#,
        _ => "",
    };
    // A machine that keeps a channel can't be replaced; a member of a group can.
    let graph = if kind == "host.wipe" { "nn_1_2" } else { "edge_hub" };
    let rate = if more == AWAY { 1_000 } else { 100 };
    let text = format!(
        "why = \"{kind} alone\"\ngraph = \"graphs/{graph}.yaml\"\nsim = {{ duration = \"10s\", warmup = \"1s\" }}\n\
         load = {{ into = \"edge.feed\", rate = \"{rate}/s\", rows = \"data/quakes.ndjson\", repeat = true, key = \"net\" }}\n\
         [faults]\nit = {{ kind = \"{kind}\", {keys} }}\n{more}\n[expect]\n{expect}\n"
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/alone.toml");
    let read = |wanted: &str| if wanted == path { Ok(text.clone()) } else { std::fs::read_to_string(wanted) };
    let mut registry = Registry::new();
    seaworthy_engine::nodes::register(&mut registry);
    Prepared::read(path, &read, &registry).unwrap_or_else(|error| panic!("{kind}: {error:?}"))
}

#[test]
fn every_kind_is_felt_and_survived() {
    let kinds: Vec<&str> = FAULTS.iter().map(|kind| kind.id).collect();
    let cases: Vec<&str> = CASES.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(cases, kinds, "the table above has every kind, in order");
    let mut wrong: BTreeMap<&str, String> = BTreeMap::new();
    for (kind, keys, more) in CASES {
        let prepared = prepare(kind, keys, more);
        let mut felt = false;
        for seed in SEEDS {
            let judged = prepared.run_seed(seed, false).unwrap_or_else(|error| panic!("{kind}: {error}"));
            felt |= judged.run.faults.iter().any(|fault| fault.id == "it");
            if let Some(violation) = judged.violations.first() {
                wrong.insert(kind, format!("seed {seed}: {}: {}", violation.check, violation.message));
            }
        }
        if !felt {
            wrong.entry(kind).or_insert_with(|| "felt in no seed".to_owned());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
