//! A plan for people: faults over virtual time as lines of characters, then each step in words.

use std::fmt::Write;

use super::model::Scenario;
use super::value::{show_dist, show_duration};
use crate::plan::{Action, DiskOp, Ns, Plan, Start, Step};

/// Columns for the time of the load; the drain comes behind them.
const WIDTH: u64 = 60;
const DRAIN: usize = 6;

/// One fault's row in a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineRow {
    /// The fault.
    pub fault: String,
    /// What it does and when, in the plan's order.
    pub marks: Vec<Mark>,
}

/// When a step of a plan shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It lasts from here to there, virtual ns.
    Lasts {
        /// Its begin.
        from_ns: Ns,
        /// Its end; the load's end where it has none of its own.
        to_ns: Ns,
    },
    /// It is over at once.
    Once {
        /// When.
        at_ns: Ns,
    },
    /// It waits for its trigger; only the run knows when that comes.
    Triggered,
}

/// A row for each fault of the plan, in the order of their first steps.
#[must_use]
pub fn timeline_rows(scenario: &Scenario, plan: &Plan) -> Vec<TimelineRow> {
    let end_ns = scenario.sim.duration_ns;
    let mut rows: Vec<TimelineRow> = Vec::new();
    for step in &plan.steps {
        let mark = match step.start {
            Start::When { .. } => Mark::Triggered,
            Start::At { at_ns } => match lasts(step, end_ns - at_ns.min(end_ns)) {
                Some(ns) => Mark::Lasts { from_ns: at_ns, to_ns: at_ns + ns },
                None => Mark::Once { at_ns },
            },
        };
        match rows.iter_mut().find(|row| row.fault == step.fault) {
            Some(row) => row.marks.push(mark),
            None => rows.push(TimelineRow { fault: step.fault.clone(), marks: vec![mark] }),
        }
    }
    rows
}

/// The plan as text: a bar a fault (`#` while it lasts, `!` where it is over at once, `?` when it waits for its
/// trigger), `w` for the warm-up, `~` for the drain, whose length only the run knows. Then the steps, in order.
#[must_use]
pub fn timeline(scenario: &Scenario, plan: &Plan) -> String {
    let rows = timeline_rows(scenario, plan);
    let label = rows.iter().map(|row| row.fault.chars().count()).max().unwrap_or(0).max("phase".len());
    let end = scenario.sim.duration_ns;

    let mut out = format!("{}, seed {}: {}\n\n", plan.scenario, plan.seed, scenario.why);
    let half = show_duration(end / 2);
    let gap = (WIDTH / 2) as usize;
    let _ = writeln!(out, "{:label$}  {:<gap$}{half:<gap$}{}", "", "0s", show_duration(end));
    let phases: String =
        (0..WIDTH).map(|column| if column < column_of(scenario.sim.warmup_ns, end) { 'w' } else { '.' }).collect();
    let _ = writeln!(out, "{:label$}  {phases}{}", "phase", "~".repeat(DRAIN));
    for row in &rows {
        let _ = writeln!(out, "{:label$}  {}", row.fault, bar(&row.marks, end));
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

fn bar(marks: &[Mark], end: Ns) -> String {
    let mut bar = vec!['.'; WIDTH as usize];
    let column = |ns| column_of(ns, end).min(WIDTH - 1) as usize;
    for mark in marks {
        match *mark {
            Mark::Triggered => return "?".repeat(WIDTH as usize),
            Mark::Lasts { from_ns, to_ns } => {
                let first = column(from_ns);
                bar[first..=column(to_ns.saturating_sub(1)).max(first)].fill('#');
            }
            Mark::Once { at_ns } => {
                let at = &mut bar[column(at_ns)];
                *at = if *at == '.' { '!' } else { *at };
            }
        }
    }
    bar.into_iter().collect()
}

/// How long a step shows: its own time, a host's time away, or all that is left. `None` for what is over at once.
fn lasts(step: &Step, left: Ns) -> Option<Ns> {
    match step.action {
        Action::NetReset { .. } | Action::NetHalfOpen { .. } | Action::DiskRot { .. } | Action::ClockStep { .. } => {
            None
        }
        Action::HostCrash { restart_ns, .. }
        | Action::HostPowerCut { restart_ns, .. }
        | Action::HostStop { restart_ns, .. }
        | Action::HostWipe { restart_ns, .. } => Some(restart_ns).filter(|ns| *ns > 0),
        _ => Some(step.for_ns.unwrap_or(left)),
    }
}

/// An action in one line, such as `disk.latency hub, + uniform(1ms, 5ms)`.
fn describe(action: &Action) -> String {
    if let Action::Sabotage { breach, on } = action {
        return format!("sabotage.{breach} {on}");
    }
    let details = details(action);
    let comma = if details.is_empty() { "" } else { ", " };
    format!("{} {}{comma}{details}", action.kind(), action.on())
}

/// What an action's line says behind its kind and target.
fn details(action: &Action) -> String {
    let share = |ppm: u32| format!("{}%", f64::from(ppm) / 1e4);
    let signed = |ns: i64| format!("{}{}", if ns < 0 { "-" } else { "" }, show_duration(ns.unsigned_abs()));
    match action {
        Action::NetLatency { add, .. }
        | Action::AckDelay { add, .. }
        | Action::PublishDelay { add, .. }
        | Action::DiskLatency { add, .. }
        | Action::NodeSlow { add, .. }
        | Action::SinkSlow { add, .. } => format!("+ {}", show_dist(*add)),
        Action::NetLoss { ratio_ppm, .. }
        | Action::AckDuplicate { ratio_ppm, .. }
        | Action::AckReorder { ratio_ppm, .. }
        | Action::AckLose { ratio_ppm, .. }
        | Action::DeliveryDuplicate { ratio_ppm, .. }
        | Action::PublishDuplicate { ratio_ppm, .. }
        | Action::CpuStarve { ratio_ppm, .. }
        | Action::NodePanic { ratio_ppm, .. }
        | Action::LoadPoison { ratio_ppm, .. }
        | Action::SinkReject { ratio_ppm, .. }
        | Action::SinkError { ratio_ppm, .. } => share(*ratio_ppm),
        Action::NetBandwidth { bytes_per_s, .. } | Action::DiskThrottle { bytes_per_s, .. } => show_speed(*bytes_per_s),
        Action::NetShortIo { bytes, .. } => format!("up to {bytes} bytes"),
        Action::DiskQuota { bytes, .. } => format!("{} KiB", bytes / 1024),
        Action::DiskEio { op, ratio_ppm, .. } => {
            let op = match op {
                DiskOp::Read => "reads",
                DiskOp::Write => "writes",
                DiskOp::Sync => "syncs",
            };
            format!("{} of {op}", share(*ratio_ppm))
        }
        Action::HostCrash { restart_ns, .. }
        | Action::HostPowerCut { restart_ns, .. }
        | Action::HostStop { restart_ns, .. }
        | Action::HostWipe { restart_ns, .. } => format!("back after {}", show_duration(*restart_ns)),
        Action::HostRestartStorm { up, down, power, operation, .. } => {
            let how = if *power { "power cuts" } else { "SIGKILLs" };
            let up = operation.map_or_else(|| format!("up {}", show_dist(*up)), |n| format!("at disk operation {n}"));
            format!("{how}, {up}, down {}", show_dist(*down))
        }
        Action::DiskRot { newest: true, .. } => "in the newest frame".to_owned(),
        Action::ClockSkew { by_ns, .. } | Action::ClockStep { by_ns, .. } => signed(*by_ns),
        Action::ClockDrift { ppm, .. } => format!("{ppm} ppm"),
        Action::NetCut { .. }
        | Action::NetReset { .. }
        | Action::NetHalfOpen { .. }
        | Action::DiskFull { .. }
        | Action::DiskStall { .. }
        | Action::DiskTorn { .. }
        | Action::DiskRot { newest: false, .. }
        | Action::DiskLyingSync { .. }
        | Action::HostPause { .. }
        | Action::HostMixedVersions { .. }
        | Action::LoadBurst { .. }
        | Action::Sabotage { .. } => String::new(),
    }
}

fn show_speed(bytes_per_s: u64) -> String {
    match bytes_per_s * 8 {
        bits if bits.is_multiple_of(1_000_000) => format!("{}Mbit/s", bits / 1_000_000),
        bits if bits.is_multiple_of(1_000) => format!("{}kbit/s", bits / 1_000),
        _ => format!("{bytes_per_s}B/s"),
    }
}
