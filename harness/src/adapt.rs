//! A scenario's own words as those of the checks and the reports.

use std::collections::BTreeMap;

use seaworthy_reports::phases::Phase as ReportPhase;
use seaworthy_reports::slo::{self, Count, Part, Ratio, Since, Unit};

use crate::check::Limits;
use crate::scenario::{Metric, Objective, Op, Ordering, Phase, Promise, Scenario, Until};

/// An objective of `[expect]` in the reports' words.
#[must_use]
pub fn objective(objective: &Objective) -> slo::Objective {
    let (metric, unit) = metric(&objective.what);
    let scale = if unit == Unit::Ms { 1e-6 } else { 1.0 };
    let limit = slo::Limit { op: op(objective.limit.op), value: objective.limit.value * scale, unit };
    slo::Objective { what: objective.text.clone(), metric, limit, line: objective.line }
}

fn op(op: Op) -> slo::Op {
    match op {
        Op::Below => slo::Op::Less,
        Op::AtMost => slo::Op::AtMost,
        Op::Equal => slo::Op::Equal,
        Op::AtLeast => slo::Op::AtLeast,
        Op::NotEqual => slo::Op::NotEqual,
        Op::Above => slo::Op::More,
    }
}

fn metric(metric: &Metric) -> (slo::Metric, Unit) {
    let count = |count| (slo::Metric::Count(count, ReportPhase::All), Unit::Count);
    let ratio = |ratio| (slo::Metric::Ratio(ratio, ReportPhase::All), Unit::Ratio);
    match metric {
        Metric::Lost => count(Count::Lost),
        Metric::LostReported => count(Count::LostReported),
        Metric::LostWindow => count(Count::LostWindow),
        Metric::Unexpected => count(Count::Unexpected),
        Metric::Unresolved => count(Count::Unresolved),
        Metric::Rejected => count(Count::Rejected),
        Metric::DeadLettered => count(Count::DeadLettered),
        Metric::Shed => count(Count::Shed),
        Metric::Expired => count(Count::Expired),
        Metric::DuplicateRatio => ratio(Ratio::Duplicate),
        Metric::DuplicateRaw => ratio(Ratio::DuplicateRaw),
        Metric::ReplayRatio => ratio(Ratio::Replay),
        Metric::DropRatio => ratio(Ratio::Drop),
        Metric::Latency { delivered, stat, over: phase } => {
            let (over, phase) = (stat.percentile(), report_phase(phase));
            let metric =
                if *delivered { slo::Metric::Delivered(over, phase) } else { slo::Metric::Latency(over, phase) };
            (metric, Unit::Ms)
        }
        Metric::ReplayDelay { stat, over } => {
            (slo::Metric::ReplayDelay(stat.percentile(), report_phase(over)), Unit::Ms)
        }
        Metric::Recovery { faults, until, from_start, stat } => {
            let since = if *from_start { Since::Start } else { Since::Heal };
            let part = match until {
                Until::Detect => Part::Detect,
                Until::FirstOutput => Part::FirstOutput(since),
                Until::Steady => Part::Steady(since),
                Until::Drained => Part::Drained(since),
            };
            (slo::Metric::Recovery { faults: faults.clone(), part, over: stat.percentile() }, Unit::Ms)
        }
        Metric::Deficit { faults, stat } => (
            slo::Metric::Recovery { faults: faults.clone(), part: Part::Deficit, over: stat.percentile() },
            Unit::EventSeconds,
        ),
    }
}

fn report_phase(phase: &Phase) -> ReportPhase {
    match phase {
        Phase::All => ReportPhase::All,
        Phase::Warmup => ReportPhase::Warmup,
        Phase::Steady => ReportPhase::Steady,
        Phase::Fault(id) => ReportPhase::Fault(vec![id.clone()]),
        Phase::Recovery(id) => ReportPhase::Recovery(vec![id.clone()]),
        Phase::Drain => ReportPhase::Drain,
    }
}

/// What a scenario promises beside its objectives, as results have it.
#[must_use]
pub fn promise(promise: &Promise) -> BTreeMap<String, String> {
    let ordering = match promise.ordering {
        Ordering::PerKey => "per_key",
        Ordering::None => "none",
    };
    let most = |what: &str, limit: u64| (what.to_owned(), format!("<= {limit}"));
    let mut told: BTreeMap<String, String> = [
        ("ordering".to_owned(), ordering.to_owned()),
        most("backlog_max", promise.backlog_max),
        most("disk_bytes_max", promise.disk_bytes_max),
    ]
    .into();
    told.extend(promise.idempotent.iter().map(|sink| (format!("idempotent {sink}"), "yes".to_owned())));
    told.extend(promise.drops.iter().map(|(rule, limit)| {
        let limit = slo::Limit { op: op(limit.op), value: limit.value, unit: Unit::Ratio };
        (format!("drops {rule}"), limit.to_string())
    }));
    told
}

/// What the checks allow on those hosts: nothing, but what an objective of the file allows and judges over all seeds instead.
#[must_use]
pub fn limits<'a>(scenario: &Scenario, hosts: impl Iterator<Item = &'a str>) -> Limits {
    let allows = |objective: &&Objective| {
        let limit = &objective.limit;
        !(limit.value == 0.0 && matches!(limit.op, Op::Equal | Op::AtMost))
    };
    let allowed: Vec<&Metric> = scenario.expect.iter().filter(allows).map(|objective| &objective.what).collect();
    let zero_unless = |wanted: &[Metric]| {
        if allowed.iter().any(|metric| wanted.contains(metric)) { None } else { Some(0) }
    };
    Limits {
        lost: zero_unless(&[Metric::Lost]),
        lost_reported: zero_unless(&[Metric::LostReported]),
        lost_window: zero_unless(&[Metric::LostWindow, Metric::DropRatio]),
        unexpected: zero_unless(&[Metric::Unexpected]),
        unresolved: zero_unless(&[Metric::Unresolved]),
        rejected: zero_unless(&[Metric::Rejected]),
        shed: zero_unless(&[Metric::Shed, Metric::DropRatio]),
        drops: scenario.promise.drops.clone(),
        dead_lettered: zero_unless(&[Metric::DeadLettered]),
        key_order: scenario.promise.ordering == Ordering::PerKey,
        backlog_max: Some(scenario.promise.backlog_max),
        disk_bytes_max: hosts.map(|host| (host.to_owned(), scenario.promise.disk_bytes_max)).collect(),
        retries: 0,
    }
}
