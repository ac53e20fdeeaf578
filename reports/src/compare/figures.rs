//! Which figures two results of a scenario are held together by, and the word for each.

use super::{Delta, Tolerance, Word};
use crate::result::{Figure, Scenario, Stage, Verdict, Waterfall};

/// What a figure counts, and so how it is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ms,
    Micros,
    /// Counted, and the same each time.
    Exact,
    Ratio,
    /// One more is one too many.
    Count,
}

/// The processor's time an event, the middle of the rounds. It is shown, and judged by whoever knows what else the machine did.
pub(super) const CPU: &str = "cpu us/event";

/// Part by which what repeats exactly may differ before it is worse.
const EXACT: f64 = 0.01;

/// How the figures of stages are named, up to the stage.
pub(super) const STAGE: &str = "stage ";

pub(super) type Pair = (String, Kind, Figure, Figure);

/// Every figure that both have, larger being worse.
pub(super) fn figures(old: &Scenario, new: &Scenario) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    for (name, a) in &old.phases {
        let Some(b) = new.phases.get(name) else { continue };
        let mut push = |what: &str, kind, a, b| pairs.push((format!("{what} @{name}"), kind, a, b));
        for (what, a, b) in [
            ("lost", a.lost_all(), b.lost_all()),
            ("unresolved", a.unresolved, b.unresolved),
            ("unexpected", a.unexpected, b.unexpected),
            ("rejected", a.rejected, b.rejected),
            ("dead_lettered", a.dead_lettered, b.dead_lettered),
            ("shed", a.shed, b.shed),
            ("expired", a.expired, b.expired),
        ] {
            push(what, Kind::Count, Figure::v(a as f64), Figure::v(b as f64));
        }
        for (what, a, b) in [
            ("drop.ratio", a.drop_ratio, b.drop_ratio),
            ("duplicate.ratio", a.duplicate_ratio, b.duplicate_ratio),
            ("replay.ratio", a.replay_ratio, b.replay_ratio),
        ] {
            push(what, Kind::Ratio, Figure::v(a), Figure::v(b));
        }
        let (a, b) = (&a.latency_ms, &b.latency_ms);
        for (what, a, b) in
            [("p50", &a.p50, &b.p50), ("p95", &a.p95, &b.p95), ("p99", &a.p99, &b.p99), ("p99.9", &a.p99_9, &b.p99_9)]
        {
            push(&format!("latency.{what}"), Kind::Ms, a.clone(), b.clone());
        }
    }
    for a in &old.waterfalls {
        let Some(b) = new.waterfalls.iter().find(|b| b.sink == a.sink) else { continue };
        // No event spent time in a stage that one side doesn't have.
        let mean = |of: &Waterfall, stage: &str| {
            Figure::v(of.stages.iter().find(|known| known.stage == stage).map_or(0.0, |known| known.mean_ms.0))
        };
        let new_ones = b.stages.iter().filter(|y| a.stages.iter().all(|x| x.stage != y.stage));
        for Stage { stage, .. } in a.stages.iter().chain(new_ones) {
            pairs.push((format!("{STAGE}{stage} mean @{}", a.sink), Kind::Ms, mean(a, stage), mean(b, stage)));
        }
    }
    if let (Some(a), Some(b)) = (old.cpu_us(), new.cpu_us()) {
        pairs.push((CPU.to_owned(), Kind::Micros, Figure::v(a), Figure::v(b)));
    }
    if let (Some((seed, a)), Some((other, b))) = (old.instructions(), new.instructions())
        && seed == other
    {
        pairs.push((
            format!("instructions/event (seed {seed})"),
            Kind::Exact,
            Figure::v(a as f64),
            Figure::v(b as f64),
        ));
    }
    let failed = |of: &Scenario| of.seeds.iter().filter(|seed| seed.verdict == Verdict::Fail).count() as f64;
    pairs.push(("failed seeds".to_owned(), Kind::Count, Figure::v(failed(old)), Figure::v(failed(new))));
    for a in &old.recovery {
        let Some(b) = new.recovery.iter().find(|b| b.fault == a.fault) else {
            pairs.extend(joined(&a.fault, new).map(|with| {
                let what = format!("recovery({}).steady p95", a.fault);
                (what, Kind::Ms, a.steady_from_heal_ms.p95.clone(), Figure::na(format!("not over before {with}")))
            }));
            continue;
        };
        // Beside a twin it is another figure than beside the warm-up.
        if a.by_twin != b.by_twin {
            continue;
        }
        let parts = [
            ("steady", &a.steady_from_heal_ms, &b.steady_from_heal_ms),
            ("first_output", &a.first_output_from_heal_ms, &b.first_output_from_heal_ms),
            ("drained", &a.drained_from_heal_ms, &b.drained_from_heal_ms),
        ];
        for (part, x, y) in parts {
            pairs.push((format!("recovery({}).{part} p95", a.fault), Kind::Ms, x.p95.clone(), y.p95.clone()));
        }
    }
    pairs
}

/// The fault group of `new` that holds all of a group that it no longer has by itself, and more: the next fault came before the
/// system was steady again.
fn joined<'a>(group: &str, new: &'a Scenario) -> Option<&'a str> {
    let holds_all = |other: &&str| group.split('+').all(|id| other.split('+').any(|of| of == id));
    new.recovery.iter().map(|recovery| recovery.fault.as_str()).find(holds_all)
}

pub(super) fn value(figure: &Figure) -> Option<f64> {
    if let Figure::V { v } = figure { Some(v.0) } else { None }
}

fn is_na(figure: &Figure) -> bool {
    matches!(figure, Figure::Na { .. })
}

pub(super) fn delta(
    what: String,
    kind: Kind,
    base: Figure,
    head: Figure,
    tolerance: &Tolerance,
    floor_ms: f64,
) -> Delta {
    let (by, word) = match (value(&base), value(&head)) {
        (Some(a), Some(b)) => {
            let band = match kind {
                Kind::Ms => (a * tolerance.relative).max(floor_ms),
                Kind::Micros => a * tolerance.relative,
                Kind::Exact => a * EXACT,
                Kind::Ratio => (a * tolerance.relative).max(tolerance.ratio),
                Kind::Count => 0.0,
            };
            let word = match b - a {
                by if by > band => Word::Regressed,
                by if by < -band => Word::Better,
                _ => Word::Equivalent,
            };
            (Some(b - a), word)
        }
        _ if base == head => (None, Word::Equivalent),
        // What was told of all events, and of those behind a fault, must be told again.
        (Some(_), None)
            if is_na(&head)
                && (what.starts_with("recovery(") || ["@all", "@steady"].iter().any(|of| what.ends_with(of))) =>
        {
            (None, Word::Regressed)
        }
        // What can't be told on one side tells nothing.
        _ if is_na(&base) || is_na(&head) => (None, Word::Inconclusive),
        // A value, a lower bound, never: `worse` keeps the first of two equals.
        _ if base.clone().worse(head.clone()) == head => (None, Word::Regressed),
        _ => (None, Word::Better),
    };
    Delta { what, base, head, by, word }
}
