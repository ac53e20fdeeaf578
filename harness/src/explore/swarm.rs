//! Draws faults: a family is on or off as a whole in each trial, so that some trials hold none of what hides a bug.

use std::fmt::Write;

use crate::plan::{Action, Ns, Tuning, unit};
use crate::run::Prepared;
use crate::scenario::draw::draw;
use crate::scenario::kinds::{self, Kind};
use crate::scenario::{Effect, Fault, Metric, Scenario, storm};

/// A fault begins within this part of the run, and ends within it.
const WINDOW: (f64, f64) = (0.05, 0.95);
/// The longest that a drawn fault lasts, as a part of the run.
const LONGEST: f64 = 0.15;

/// `count` faults for `seed` within a run that ends at `end_ns`, as tables of a scenario; fewer where the families that are on
/// have no place here.
pub(super) fn faults(base: &Prepared, seed: u64, count: u64, end_ns: Ns) -> String {
    let scenario = base.scenario();
    let on = |kind: &Kind| draw(seed, "swarm", family(kind.id), 0, "family") & 1 == 1 && is_fair(kind, scenario);
    let cases = storm::cases(base.world());
    let places = |kind: &Kind| cases.iter().filter(|case| case.kind == kind.id).count();
    // A race of exponential clocks: a kind comes as often as its weight says, wherever its places are many.
    let arrives = |kind: &Kind, case: &storm::Case| {
        let luck = unit(draw(seed, "swarm", &format!("{} {}", case.kind, case.on), 0, "case"));
        -luck.ln() * places(kind) as f64 / weight(kind.id)
    };
    let mut cases: Vec<(f64, &storm::Case, Kind)> = cases
        .iter()
        .filter_map(|case| Some((kinds::find(case.kind)?, case)))
        .filter(|(kind, _)| on(kind))
        .map(|(kind, case)| (arrives(&kind, case), case, kind))
        .collect();
    cases.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
    let mut tables = String::new();
    for (number, (_, case, kind)) in cases.into_iter().take(count as usize).enumerate() {
        let id = format!("x{seed}-{number}");
        let luck = |field: &str| draw(seed, "swarm", &id, 0, field);
        let duration_s = end_ns as f64 / 1e9;
        let (from, to) = (duration_s * WINDOW.0, duration_s * WINDOW.1);
        let _ = write!(tables, "[faults.{id}]\nkind = \"{}\"\non = \"{}\"\n", kind.id, case.on);
        let _ = writeln!(tables, "within = \"{from:.1}s..{to:.1}s\"");
        if kind.needs.contains(&"for") || kind.takes.contains(&"for") {
            let longest = (duration_s * LONGEST).max(0.2);
            let _ = writeln!(tables, "for = \"uniform(50ms, {:.0}ms)\"", longest * 1e3);
        } else if luck("repeat") & 1 == 1 && kind.id != "host.rolling_restart" {
            let _ = writeln!(tables, "repeat = {}", 2 + luck("times") % 4);
        }
        let values = values(kind.id);
        if !values.is_empty() {
            tables.push_str(values[(luck("value") % values.len() as u64) as usize]);
        }
        tables.push('\n');
    }
    tables
}

/// How the engine runs for `seed`: each size is as it was in every other trial.
pub(super) fn tuning(scenario: &Scenario, seed: u64) -> Tuning {
    fn one_of<T: Copy>(seed: u64, name: &str, values: &[T]) -> Option<T> {
        let draw = draw(seed, "swarm", name, 0, "size");
        (draw & 1 == 1).then(|| values[((draw >> 1) % values.len() as u64) as usize])
    }
    // How many business keys are remembered goes by the segments: fewer of them than a scenario means break what it says.
    let has_keys = has_business_keys(scenario);
    let segment_bytes = one_of(seed, "segment", &[128 << 10, 256 << 10]);
    Tuning {
        segment_bytes: segment_bytes.filter(|_| !has_keys),
        frame_bytes: one_of(seed, "frame", &[8 << 10, 32 << 10]),
        in_flight: one_of(seed, "in_flight", &[16, 256]),
        ends: one_of(seed, "ends", &[true, false]).unwrap_or(false),
        ..Tuning::default()
    }
}

/// How often a kind is drawn, beside the others. What takes software down in the middle of its work finds most.
fn weight(kind: &str) -> f64 {
    match kind {
        "host.restart_storm" => 6.0,
        "host.crash" | "host.power_cut" => 4.0,
        "net.cut" | "net.reset" | "ack.lose" | "delivery.duplicate" | "disk.eio" | "sink.slow" => 3.0,
        "net.flap" | "net.half_open" | "ack.delay" | "disk.latency" | "disk.full" | "disk.torn" | "disk.stall"
        | "host.pause" | "sink.error" => 2.0,
        _ => 1.0,
    }
}

/// Kept faults with one left out or one more.
pub(super) fn change(kept: &str, more: &str, draw: u64) -> String {
    let tables: Vec<&str> = kept.split_inclusive("\n\n").filter(|table| !table.trim().is_empty()).collect();
    if draw & 1 == 1 && tables.len() > 1 {
        let out = (draw >> 1) as usize % tables.len();
        return tables.iter().enumerate().filter(|(at, _)| *at != out).map(|(_, table)| *table).collect();
    }
    format!("{kept}{more}")
}

fn family(kind: &str) -> &str {
    kind.split_once('.').map_or(kind, |(family, _)| family)
}

fn has_business_keys(scenario: &Scenario) -> bool {
    scenario.loads.iter().any(|load| load.business_key.is_some())
}

fn sets_clock(fault: &Fault) -> bool {
    matches!(&fault.effect, Effect::Act(Action::ClockStep { .. } | Action::ClockSkew { .. }))
}

/// Whether a scenario of this promise can bear such a fault. What spoils data or makes dead letters must be allowed there.
fn is_fair(kind: &Kind, scenario: &Scenario) -> bool {
    let allows = |metric: Metric| scenario.expect.iter().any(|objective| objective.what == metric);
    match kind.id {
        "node.panic" | "load.poison" | "sink.reject" => allows(Metric::DeadLettered),
        "disk.rot" | "disk.lying_sync" | "host.wipe" => false,
        // What passed between two starts is told by the wall clock: set by hours meanwhile, business keys are forgotten early.
        "host.crash" | "host.power_cut" | "host.stop" | "host.restart_storm" | "host.rolling_restart" | "disk.eio" => {
            !(has_business_keys(scenario) && scenario.faults.iter().any(sets_clock))
        }
        "clock.skew" | "clock.step" => !has_business_keys(scenario),
        _ => true,
    }
}

/// Values that a kind is tried with, beyond its time and place: from mild to hard.
fn values(kind: &str) -> &'static [&'static str] {
    match kind {
        "net.flap" => &[
            "down = \"300ms\"\nup = \"uniform(100ms, 400ms)\"\n",
            "down = \"uniform(20ms, 200ms)\"\nup = \"uniform(20ms, 200ms)\"\n",
        ],
        "net.latency" | "ack.delay" | "publish.delay" | "disk.latency" | "sink.slow" => &[
            "add = \"uniform(1ms, 20ms)\"\n",
            "add = \"uniform(10ms, 200ms)\"\n",
            "add = \"lognormal(p50 = 5ms, p99 = 500ms)\"\n",
        ],
        "node.slow" => &["add = \"uniform(1ms, 3ms)\"\n"],
        "net.loss" => &["ratio = \"1%\"\n", "ratio = \"10%\"\n"],
        "net.bandwidth" => &["rate = \"2Mbit/s\"\n", "rate = \"500kbit/s\"\n"],
        "net.short_io" => &["bytes = \"7\"\n", "bytes = \"512\"\n"],
        "ack.duplicate" | "ack.reorder" | "publish.duplicate" => &["ratio = \"5%\"\n", "ratio = \"50%\"\n"],
        "ack.lose" | "delivery.duplicate" => &["ratio = \"1%\"\n", "ratio = \"10%\"\n"],
        "disk.quota" => &["bytes = \"1MiB\"\n", "bytes = \"4MiB\"\n"],
        "disk.throttle" => &["rate = \"1MiB/s\"\n", "rate = \"4MiB/s\"\n"],
        "disk.eio" => &[
            "op = \"write\"\nratio = \"1%\"\n",
            "op = \"sync\"\nratio = \"1%\"\n",
            "op = \"sync\"\nratio = \"20%\"\n",
            "op = \"read\"\nratio = \"1%\"\n",
        ],
        "host.crash" | "host.power_cut" | "host.stop" => {
            &["restart = \"50ms\"\n", "restart = \"300ms\"\n", "restart = \"1s\"\n"]
        }
        "host.restart_storm" => &[
            "up = \"uniform(100ms, 2s)\"\ndown = \"uniform(10ms, 200ms)\"\n",
            "up = \"uniform(100ms, 2s)\"\ndown = \"uniform(10ms, 200ms)\"\npower = true\n",
            "operation = 2\npower = true\n",
            "operation = 7\n",
            "operation = 13\npower = true\n",
            "operation = 40\n",
            "operation = 41\npower = true\n",
            "operation = 150\npower = true\n",
        ],
        "host.rolling_restart" => &["restart = \"100ms\"\nup = \"200ms\"\n"],
        "clock.skew" | "clock.step" => &["by = \"-1h\"\n", "by = \"2s\"\n", "by = \"-500ms\"\n", "by = \"1d\"\n"],
        "clock.drift" => &["by = \"20%\"\n", "by = \"-10%\"\n"],
        "cpu.starve" => &["ratio = \"50%\"\n", "ratio = \"90%\"\n"],
        "node.panic" | "load.poison" | "sink.reject" => &["ratio = \"1%\"\n"],
        "sink.error" => &["ratio = \"5%\"\n", "ratio = \"50%\"\n"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_values_that_it_needs() {
        for kind in kinds::FAULTS {
            let values = values(kind.id);
            for key in kind.needs.iter().filter(|key| **key != "for") {
                assert!(!values.is_empty(), "{} needs `{key}`", kind.id);
                for value in values {
                    assert!(value.contains(&format!("{key} =")), "{} needs `{key}`: {value}", kind.id);
                }
            }
        }
    }

    #[test]
    fn a_change_takes_one_out_or_adds_one() {
        let kept = "[faults.a]\nx\n\n[faults.b]\ny\n\n";
        assert_eq!(change(kept, "[faults.c]\n\n", 0), format!("{kept}[faults.c]\n\n"));
        assert_eq!(change(kept, "", 1), "[faults.b]\ny\n\n");
        assert_eq!(change(kept, "", 3), "[faults.a]\nx\n\n");
        assert_eq!(change("[faults.a]\n\n", "[faults.c]\n\n", 1), "[faults.a]\n\n[faults.c]\n\n");
    }
}
