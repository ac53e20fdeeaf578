//! Which figures two results of a scenario are held together by, and the word for each.

use std::collections::BTreeSet;

use super::{Delta, Tolerance, Word};
use crate::phases::ratio;
use crate::result::{Figure, LatencyMs, Phase, Recovery, Scenario, Stage, Verdict, Waterfall};

/// What a figure counts, and so how it is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ms,
    Micros,
    EventSeconds,
    /// Counted, and the same each time.
    Exact,
    Ratio,
    /// One more is one too many.
    Count,
}

/// The processor's time an event, the middle of the rounds. It is shown, and judged by whoever knows what else the machine did.
const CPU: &str = "cpu us/event";

/// Part by which what repeats exactly may differ before it is worse.
const EXACT: f64 = 0.01;

/// Event·s that a deficit may differ whatever it is.
const EVENT_SECONDS: f64 = 1.0;

/// How the figures of stages are named, up to the stage.
pub(super) const STAGE: &str = "stage ";

/// How figures are named that another sample of the same gives otherwise.
const SAMPLED: [&str; 7] = ["latency", "recovery", "replay.delay", "indeterminate", "duplicate.raw", STAGE, CPU];

/// Whether a figure is told by a sample of seeds rather than a fact on any.
pub(super) fn is_sampled(what: &str) -> bool {
    SAMPLED.iter().any(|sampled| what.starts_with(sampled))
}

/// One figure of both, larger being worse.
pub(super) struct Pair {
    what: String,
    kind: Kind,
    base: Figure,
    head: Figure,
    /// What was told of it must be told again.
    must: bool,
}

impl Pair {
    fn new(what: String, kind: Kind, base: Figure, head: Figure) -> Pair {
        // Of all events, and of those behind a fault; fewer replays are no loss.
        let must = what.starts_with("recovery(")
            || ["@all", "@steady"].iter().any(|of| what.ends_with(of)) && !what.starts_with("replay.delay");
        Pair { what, kind, base, head, must }
    }

    /// What the base has and the head has not.
    fn gone(what: String, kind: Kind, base: Figure, why: String) -> Pair {
        Pair { what, kind, base, head: Figure::na(why), must: true }
    }
}

/// Every figure that the base has.
pub(super) fn figures(old: &Scenario, new: &Scenario) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (name, a) in &old.phases {
        match new.phases.get(name) {
            Some(b) => phase(&mut pairs, name, a, b),
            // Of a group that others have taken in or that came apart, its recovery tells.
            None if a.offered == 0 || regrouped(name, new.phases.keys()).is_some() => {}
            None => {
                let events = Figure::v(a.offered as f64);
                pairs.push(Pair::gone(format!("events @{name}"), Kind::Count, events, "no such phase".into()));
            }
        }
    }
    for a in &old.waterfalls {
        waterfall(&mut pairs, a, new.waterfalls.iter().find(|b| b.sink == a.sink));
    }
    if let (Some(a), Some(b)) = (old.cpu_us(), new.cpu_us()) {
        pairs.push(Pair::new(CPU.to_owned(), Kind::Micros, Figure::v(a), Figure::v(b)));
    }
    if let (Some((seed, a)), Some((other, b))) = (old.instructions(), new.instructions())
        && seed == other
    {
        let what = format!("instructions/event (seed {seed})");
        pairs.push(Pair::new(what, Kind::Exact, Figure::v(a as f64), Figure::v(b as f64)));
    }
    let seeds = |of: &Scenario| of.seeds.iter().filter(|seed| seed.verdict == Verdict::Fail).count();
    let objectives = |of: &Scenario| of.expect.iter().filter(|objective| objective.verdict == Verdict::Fail).count();
    for (what, a, b) in
        [("failed seeds", seeds(old), seeds(new)), ("failed objectives", objectives(old), objectives(new))]
    {
        pairs.push(Pair::new(what.to_owned(), Kind::Count, Figure::v(a as f64), Figure::v(b as f64)));
    }
    for a in &old.recovery {
        recovery(&mut pairs, a, new);
    }
    pairs
}

fn phase(pairs: &mut Vec<Pair>, name: &str, a: &Phase, b: &Phase) {
    let mut push = |what: &str, kind, a, b| pairs.push(Pair::new(format!("{what} @{name}"), kind, a, b));
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
        ("duplicate.raw", a.duplicate_raw_ratio, b.duplicate_raw_ratio),
        ("replay.ratio", a.replay_ratio, b.replay_ratio),
        ("indeterminate/offered", ratio(a.indeterminate, a.offered), ratio(b.indeterminate, b.offered)),
    ] {
        push(what, Kind::Ratio, Figure::v(a), Figure::v(b));
    }
    let mut delays = |of: &str, a: &LatencyMs, b: &LatencyMs| {
        for ((what, a), (_, b)) in a.figures().into_iter().zip(b.figures()) {
            push(&format!("{of}.{what}"), Kind::Ms, a.clone(), b.clone());
        }
    };
    delays("latency", &a.latency_ms, &b.latency_ms);
    // Where only one side has replayed anything, the ratio tells.
    if let (Some(a), Some(b)) = (&a.replay_delay_ms, &b.replay_delay_ms) {
        delays("replay.delay", a, b);
    }
}

fn waterfall(pairs: &mut Vec<Pair>, a: &Waterfall, b: Option<&Waterfall>) {
    let Some(b) = b else {
        let events = Figure::v(a.events as f64);
        pairs.push(Pair::gone(format!("visible @{}", a.sink), Kind::Count, events, "no event came there".into()));
        return;
    };
    // No event spent time in a stage that one side doesn't have. What it went into there, an older build does not tell.
    let mean = |of: &Waterfall, stage: &str| {
        let parts = of.stages.iter().filter(|known| known.stage == stage);
        Figure::v(parts.fold(0.0, |sum, known| sum + known.mean_ms.0))
    };
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for Stage { stage, .. } in a.stages.iter().chain(&b.stages).filter(|known| named.insert(&known.stage)) {
        let what = format!("{STAGE}{stage} mean @{}", a.sink);
        pairs.push(Pair::new(what, Kind::Ms, mean(a, stage), mean(b, stage)));
    }
}

fn recovery(pairs: &mut Vec<Pair>, a: &Recovery, new: &Scenario) {
    let steady = |head| {
        Pair::new(format!("recovery({}).steady p95", a.fault), Kind::Ms, a.steady_from_heal_ms.p95.clone(), head)
    };
    let Some(b) = new.recovery.iter().find(|b| b.fault == a.fault) else {
        pairs.push(match regrouped(&a.fault, new.recovery.iter().map(|recovery| &recovery.fault)) {
            // The next fault came before the system was steady again.
            Some((with, true)) => steady(Figure::na(format!("not over before {with}"))),
            Some((part, false)) => Pair { must: false, ..steady(Figure::na(format!("of {part} by itself"))) },
            None => {
                let (what, n) = (format!("recovery({}) n", a.fault), Figure::v(a.n as f64));
                Pair::gone(what, Kind::Count, n, "no such recovery".into())
            }
        });
        return;
    };
    // From the start they are the same instants, only that the faults' own length is in them. What a
    // system says of itself is not what it is held by.
    let mut parts = vec![
        ("first_output", Kind::Ms, &a.first_output_from_heal_ms, &b.first_output_from_heal_ms),
        ("drained", Kind::Ms, &a.drained_from_heal_ms, &b.drained_from_heal_ms),
    ];
    if a.by_twin == b.by_twin {
        parts.push(("steady", Kind::Ms, &a.steady_from_heal_ms, &b.steady_from_heal_ms));
        parts.push(("deficit", Kind::EventSeconds, &a.deficit, &b.deficit));
    } else {
        // Beside a twin it is another figure than beside the warm-up.
        pairs.push(Pair { must: false, ..steady(Figure::na("one of them is not beside a twin")) });
    }
    for (part, kind, x, y) in parts {
        pairs.push(Pair::new(format!("recovery({}).{part} p95", a.fault), kind, x.p95.clone(), y.p95.clone()));
    }
}

/// A fault group among `others` that has to do with one that is not there by itself: true where it holds all of it, and more.
fn regrouped<'a>(group: &str, others: impl Iterator<Item = &'a String>) -> Option<(&'a str, bool)> {
    let (kind, ids) = named(group);
    let mut found = None;
    for other in others {
        let (of, theirs) = named(other);
        let shared = ids.split('+').filter(|id| theirs.split('+').any(|other| other == *id)).count();
        if of != kind || shared == 0 {
            continue;
        }
        if shared == ids.split('+').count() {
            return Some((theirs, true));
        }
        found = found.or(Some((theirs, false)));
    }
    found
}

/// `fault(a+b)` as a phase is called, or `a+b`: its kind and its ids.
fn named(group: &str) -> (&str, &str) {
    group.split_once('(').map_or(("", group), |(kind, ids)| (kind, ids.trim_end_matches(')')))
}

pub(super) fn value(figure: &Figure) -> Option<f64> {
    if let Figure::V { v } = figure { Some(v.0) } else { None }
}

pub(super) fn is_na(figure: &Figure) -> bool {
    matches!(figure, Figure::Na { .. })
}

pub(super) fn delta(pair: Pair, tolerance: &Tolerance, floor_ms: f64) -> Delta {
    let Pair { what, kind, base, head, must } = pair;
    let (by, word) = match (value(&base), value(&head)) {
        (Some(a), Some(b)) => {
            let band = match kind {
                Kind::Ms => (a * tolerance.relative).max(floor_ms),
                Kind::Micros => a * tolerance.relative,
                Kind::EventSeconds => (a * tolerance.relative).max(EVENT_SECONDS),
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
        (Some(_), None) if is_na(&head) && must => (None, Word::Regressed),
        // What can't be told on one side tells nothing.
        _ if is_na(&base) || is_na(&head) => (None, Word::Inconclusive),
        // A value, a lower bound, never: `worse` keeps the first of two equals.
        _ if base.clone().worse(head.clone()) == head => (None, Word::Regressed),
        _ => (None, Word::Better),
    };
    Delta { what, base, head, by, word }
}
