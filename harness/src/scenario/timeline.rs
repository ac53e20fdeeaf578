//! A plan for people: faults over virtual time as lines of characters, then each step in words.

use std::fmt::Write;

use super::model::Scenario;
use super::value::{show_dist, show_duration};
use crate::plan::{Action, DiskOp, Link, Ns, Plan, Start, Step};

/// Columns for the time of the load; the drain comes behind them.
const WIDTH: u64 = 60;
const DRAIN: usize = 6;

/// The plan as text: a bar a fault (`#` while it lasts, `!` where it is over at once, `?` when it waits for its
/// trigger), `w` for the warm-up, `~` for the drain, whose length only the run knows. Then the steps, in order.
#[must_use]
pub fn timeline(scenario: &Scenario, plan: &Plan) -> String {
    let mut faults: Vec<&str> = plan.steps.iter().map(|step| step.fault.as_str()).collect();
    let mut seen = std::collections::BTreeSet::new();
    faults.retain(|fault| seen.insert(*fault));
    let label = faults.iter().map(|fault| fault.chars().count()).max().unwrap_or(0).max("phase".len());
    let end = scenario.sim.duration_ns;

    let mut out = format!("{}, seed {}: {}\n\n", plan.scenario, plan.seed, scenario.why);
    let half = show_duration(end / 2);
    let gap = (WIDTH / 2) as usize;
    let _ = writeln!(out, "{:label$}  {:<gap$}{half:<gap$}{}", "", "0s", show_duration(end));
    let phases: String =
        (0..WIDTH).map(|column| if column < column_of(scenario.sim.warmup_ns, end) { 'w' } else { '.' }).collect();
    let _ = writeln!(out, "{:label$}  {phases}{}", "phase", "~".repeat(DRAIN));
    for fault in faults {
        let steps = plan.steps.iter().filter(|step| step.fault == fault);
        let _ = writeln!(out, "{fault:label$}  {}", bar(steps, end));
    }
    let _ = writeln!(out, "\n{:label$}  w warm-up, # lasts, ! at once, ? on its trigger, ~ heal and drain\n", "");
    for step in &plan.steps {
        let (start, trigger) = match &step.start {
            Start::At { at_ns } => (format!("{:.3}s", *at_ns as f64 / 1e9), String::new()),
            Start::When { when } => ("triggered".to_owned(), format!(" when {when}")),
        };
        let lasts = step.for_ns.map(|ns| format!(" for {}", show_duration(ns))).unwrap_or_default();
        let _ = writeln!(out, "{start:>10}  {:label$}  {}{lasts}{trigger}", step.fault, describe(&step.action));
    }
    if plan.steps.is_empty() {
        out.push_str("no faults\n");
    }
    out
}

fn column_of(ns: Ns, end: Ns) -> u64 {
    (u128::from(ns) * u128::from(WIDTH) / u128::from(end.max(1))).min(u128::from(WIDTH)) as u64
}

fn bar<'a>(steps: impl Iterator<Item = &'a Step>, end: Ns) -> String {
    let mut bar = vec!['.'; WIDTH as usize];
    for step in steps {
        let Start::At { at_ns } = step.start else {
            return "?".repeat(WIDTH as usize);
        };
        let first = column_of(at_ns, end).min(WIDTH - 1) as usize;
        match lasts(step, end - at_ns.min(end)) {
            Some(ns) => {
                let last = column_of((at_ns + ns).saturating_sub(1), end).min(WIDTH - 1) as usize;
                bar[first..=last.max(first)].fill('#');
            }
            None if bar[first] == '.' => bar[first] = '!',
            None => {}
        }
    }
    bar.into_iter().collect()
}

/// How long a step shows: its own time, a host's time away, or all that is left. `None` for what is over at once.
fn lasts(step: &Step, left: Ns) -> Option<Ns> {
    match step.action {
        Action::NetReset { .. } => None,
        Action::HostCrash { restart_ns, .. } | Action::HostPowerCut { restart_ns, .. } => {
            Some(restart_ns).filter(|ns| *ns > 0)
        }
        _ => Some(step.for_ns.unwrap_or(left)),
    }
}

fn show_link(link: &Link) -> String {
    format!("{}{}{}", link.a, if link.one_way { "->" } else { "<->" }, link.b)
}

/// An action in one line, such as `disk.latency hub, + uniform(1ms, 5ms)`.
fn describe(action: &Action) -> String {
    let share = |ppm: u32| format!("{}%", f64::from(ppm) / 1e4);
    match action {
        Action::NetCut { link } => format!("net.cut {}", show_link(link)),
        Action::NetLatency { link, add } => format!("net.latency {}, + {}", show_link(link), show_dist(*add)),
        Action::NetReset { link } => format!("net.reset {}", show_link(link)),
        Action::AckDelay { channel, add } => format!("ack.delay {channel}, + {}", show_dist(*add)),
        Action::AckDuplicate { channel, ratio_ppm } => format!("ack.duplicate {channel}, {}", share(*ratio_ppm)),
        Action::AckLose { channel, ratio_ppm } => format!("ack.lose {channel}, {}", share(*ratio_ppm)),
        Action::DiskFull { host } => format!("disk.full {host}"),
        Action::DiskLatency { host, add } => format!("disk.latency {host}, + {}", show_dist(*add)),
        Action::DiskEio { host, op, ratio_ppm } => {
            let op = match op {
                DiskOp::Read => "reads",
                DiskOp::Write => "writes",
                DiskOp::Sync => "syncs",
            };
            format!("disk.eio {host}, {} of {op}", share(*ratio_ppm))
        }
        Action::DiskTorn { host } => format!("disk.torn {host}"),
        Action::HostCrash { host, restart_ns } => {
            format!("host.crash {host}, back after {}", show_duration(*restart_ns))
        }
        Action::HostPowerCut { host, restart_ns } => {
            format!("host.power_cut {host}, back after {}", show_duration(*restart_ns))
        }
        Action::HostRestartStorm { host, up, down, power } => {
            let how = if *power { "power cuts" } else { "SIGKILLs" };
            format!("host.restart_storm {host}, {how}, up {}, down {}", show_dist(*up), show_dist(*down))
        }
        Action::SinkSlow { sink, add } => format!("sink.slow {sink}, + {}", show_dist(*add)),
        Action::Sabotage { breach, on } => format!("sabotage.{breach} {on}"),
    }
}
