//! Two results of the same scenarios: what got worse, by how much, and what was made easier to meet.
//!
//! On pinned seeds the same events meet the same faults, so a difference is a fact: it is held against a tolerance, without
//! statistics. On fresh seeds the seeds are a sample: the sign test says whether one side is worse, and a bootstrap over seeds
//! how much.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::result::{Figure, ResultFile, Scenario, Seed, Stage, Time, Verdict, Waterfall};
use crate::slo::limit_parts;
use crate::statistics::{bootstrap, sign_test};

/// What may differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Part of the base's figure.
    pub relative: f64,
    /// Milliseconds that a time may differ whatever it is.
    pub ms: f64,
    /// How far a ratio may differ whatever it is.
    pub ratio: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Tolerance { relative: 0.05, ms: 1.0, ratio: 0.001 }
    }
}

/// How seeds were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeds {
    /// The same ones each time.
    Pinned,
    /// Drawn for this comparison, the same for both sides.
    Fresh,
}

/// A word for one difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Better by more than the tolerance.
    Better,
    /// Within the tolerance.
    Equivalent,
    /// The seeds are too few to tell.
    Inconclusive,
    /// The two are not of the same.
    NotComparable,
    /// Worse by more than the tolerance.
    Regressed,
}

impl Word {
    /// As people say it.
    #[must_use]
    pub fn said(self) -> &'static str {
        match self {
            Word::Better => "better",
            Word::Equivalent => "equivalent",
            Word::Inconclusive => "inconclusive",
            Word::NotComparable => "not comparable",
            Word::Regressed => "regressed",
        }
    }
}

/// One figure of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delta {
    /// Which: `latency.p99 @steady`.
    pub what: String,
    /// In the base.
    pub base: Figure,
    /// In the head.
    pub head: Figure,
    /// Head minus base, where both are values.
    pub by: Option<f64>,
    /// What it comes to.
    pub word: Word,
}

impl Delta {
    /// Whether it is the time in one stage of the way.
    #[must_use]
    pub fn is_stage(&self) -> bool {
        self.what.starts_with(STAGE)
    }
}

/// Seeds, one by one, by their p99.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Signs {
    /// Seeds that are worse in the head.
    pub worse: u64,
    /// Seeds that are the same.
    pub same: u64,
    /// Seeds that are better.
    pub better: u64,
    /// Two-sided sign test: how likely such a split is where nothing differs.
    pub p: f64,
    /// The mean difference of p99 over seeds, ms, with its bootstrap interval of 95 %.
    pub mean_ms: Option<[f64; 3]>,
}

/// One scenario of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioDelta {
    /// Its id.
    pub id: String,
    /// What it comes to.
    pub word: Word,
    /// Why it can't be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Figures that differ, the worst first.
    pub deltas: Vec<Delta>,
    /// Figures that were compared.
    pub compared: usize,
    /// Seed by seed.
    pub signs: Signs,
}

/// Something that is easier to meet than it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loosened {
    /// The scenario.
    pub scenario: String,
    /// Which expectation, or `seeds`, or `scenario`.
    pub what: String,
    /// As it was.
    pub from: String,
    /// As it is.
    pub to: String,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Pass, void where nothing could be compared, or regressed.
    pub verdict: Verdict,
    /// Scenarios of the base, by id.
    pub scenarios: Vec<ScenarioDelta>,
    /// What needs a waiver.
    pub loosened: Vec<Loosened>,
}

impl Comparison {
    /// Takes out what may be looser, and gives it back; the verdict is that of the rest.
    pub fn waive(&mut self, may: impl Fn(&Loosened) -> bool) -> Vec<Loosened> {
        let waived = self.loosened.extract_if(.., |loosened| may(loosened)).collect();
        self.judge();
        waived
    }

    fn judge(&mut self) {
        self.verdict = if self.loosened.is_empty() { self.figures_verdict() } else { Verdict::Regressed };
    }

    /// The verdict of the figures alone, whatever became easier to meet.
    #[must_use]
    pub fn figures_verdict(&self) -> Verdict {
        let has = |word| self.scenarios.iter().any(|delta| delta.word == word);
        match () {
            () if has(Word::Regressed) => Verdict::Regressed,
            () if has(Word::NotComparable) => Verdict::Void,
            () => Verdict::Pass,
        }
    }
}

/// Compares `head` with `base`.
#[must_use]
pub fn compare(base: &ResultFile, head: &ResultFile, tolerance: &Tolerance, seeds: Seeds) -> Comparison {
    let mut loosened = Vec::new();
    let mut scenarios = Vec::new();
    for old in &base.scenarios {
        let Some(new) = head.scenarios.iter().find(|new| new.id == old.id) else {
            let gone =
                Loosened { scenario: old.id.clone(), what: "scenario".into(), from: "run".into(), to: "gone".into() };
            loosened.push(gone);
            scenarios.push(unlike(&old.id, "the head doesn't have it".to_owned()));
            continue;
        };
        loosened.extend(looser(old, new));
        scenarios.push(scenario(old, new, base, head, tolerance, seeds));
    }
    let mut comparison = Comparison { verdict: Verdict::Pass, scenarios, loosened };
    comparison.judge();
    if base.scenarios.is_empty() && !head.scenarios.is_empty() {
        comparison.verdict = Verdict::Void;
    }
    comparison
}

fn unlike(id: &str, why: String) -> ScenarioDelta {
    ScenarioDelta {
        id: id.to_owned(),
        word: Word::NotComparable,
        why: Some(why),
        deltas: Vec::new(),
        compared: 0,
        signs: Signs::default(),
    }
}

fn scenario(
    old: &Scenario,
    new: &Scenario,
    base: &ResultFile,
    head: &ResultFile,
    tolerance: &Tolerance,
    seeds: Seeds,
) -> ScenarioDelta {
    let numbers = |scenario: &Scenario| scenario.seeds.iter().map(|seed| seed.seed).collect::<Vec<u64>>();
    if base.time != head.time {
        return unlike(&old.id, "one is of virtual time, the other of wall time".to_owned());
    }
    if old.hash != new.hash {
        return unlike(&old.id, format!("what runs has changed: hash {} became {}", old.hash, new.hash));
    }
    if numbers(old) != numbers(new) {
        return unlike(&old.id, format!("other seeds: {} became {}", told(&numbers(old)), told(&numbers(new))));
    }
    // Rounds on a real machine are a sample, whatever their numbers.
    let seeds = if base.time == Time::Wall { Seeds::Fresh } else { seeds };
    let figures = figures(old, new);
    let compared = figures.len();
    let floor_ms = tolerance.ms.max(f64::from(base.resolution_ms.max(head.resolution_ms)));
    let mut deltas: Vec<Delta> =
        figures.into_iter().map(|(what, kind, old, new)| delta(what, kind, old, new, tolerance, floor_ms)).collect();
    let signs = signs(&old.seeds, &new.seeds);
    let word = match seeds {
        Seeds::Pinned => deltas.iter().map(|delta| delta.word).max().unwrap_or(Word::Equivalent),
        Seeds::Fresh => fresh(&deltas, &signs, (old, new), tolerance, floor_ms),
    };
    // Better at one figure and the same at all others is better.
    let word = match word {
        Word::Equivalent if deltas.iter().any(|delta| delta.word == Word::Better) => Word::Better,
        word => word,
    };
    deltas.retain(|delta| delta.base != delta.head);
    deltas.sort_by(|a, b| b.word.cmp(&a.word).then(b.by.unwrap_or(0.0).abs().total_cmp(&a.by.unwrap_or(0.0).abs())));
    ScenarioDelta { id: old.id.clone(), word, why: None, deltas, compared, signs }
}

/// The word over fresh seeds: counts of broken promises are facts on any seeds, times are told by the sample.
fn fresh(
    deltas: &[Delta],
    signs: &Signs,
    (old, new): (&Scenario, &Scenario),
    tolerance: &Tolerance,
    floor_ms: f64,
) -> Word {
    if deltas.iter().any(|delta| {
        let sampled = ["latency", "recovery", STAGE, CPU].iter().any(|times| delta.what.starts_with(times));
        delta.word == Word::Regressed && !sampled
    }) {
        return Word::Regressed;
    }
    // What never came in the head has no difference to take a mean of.
    let open = |figure: &Figure| matches!(figure, Figure::Never { .. } | Figure::Ge { .. });
    let gone = old.seeds.iter().zip(&new.seeds).any(|(a, b)| value(&a.p99_ms).is_some() && open(&b.p99_ms));
    if gone && signs.p < 0.05 && signs.worse > signs.better {
        return Word::Regressed;
    }
    let usual = old.phases.get("all").and_then(|all| value(&all.latency_ms.p99)).unwrap_or(0.0);
    let band = (usual * tolerance.relative).max(floor_ms);
    match signs.mean_ms {
        Some([_, low, _]) if signs.p < 0.05 && low > 0.0 && signs.worse > signs.better => Word::Regressed,
        Some([_, _, high]) if signs.p < 0.05 && high < 0.0 => Word::Better,
        Some([_, low, high]) if low >= -band && high <= band => Word::Equivalent,
        _ => Word::Inconclusive,
    }
}

fn told(seeds: &[u64]) -> String {
    match seeds {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        [first, .., last] => format!("{first}..{last} ({})", seeds.len()),
    }
}

/// What a figure counts, and so how it is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ms,
    Micros,
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

/// How the figures of stages are named, up to the stage.
const STAGE: &str = "stage ";

type Pair = (String, Kind, Figure, Figure);

/// Every figure that both have, larger being worse.
fn figures(old: &Scenario, new: &Scenario) -> Vec<Pair> {
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

fn value(figure: &Figure) -> Option<f64> {
    if let Figure::V { v } = figure { Some(v.0) } else { None }
}

fn is_na(figure: &Figure) -> bool {
    matches!(figure, Figure::Na { .. })
}

fn delta(what: String, kind: Kind, base: Figure, head: Figure, tolerance: &Tolerance, floor_ms: f64) -> Delta {
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

fn signs(old: &[Seed], new: &[Seed]) -> Signs {
    let mut signs = Signs::default();
    let mut differences = Vec::new();
    for (a, b) in old.iter().zip(new) {
        let worse = b.lost > a.lost || (b.lost == a.lost && a.p99_ms.clone().worse(b.p99_ms.clone()) != a.p99_ms);
        if a.p99_ms == b.p99_ms && a.lost == b.lost {
            signs.same += 1;
        } else if worse {
            signs.worse += 1;
        } else {
            signs.better += 1;
        }
        differences.extend(value(&a.p99_ms).zip(value(&b.p99_ms)).map(|(a, b)| b - a));
    }
    signs.p = sign_test(signs.worse, signs.better);
    signs.mean_ms = bootstrap(&differences);
    signs
}

/// Expectations that are easier to meet than they were, and seeds that are fewer.
fn looser(old: &Scenario, new: &Scenario) -> Vec<Loosened> {
    let mut found = Vec::new();
    for a in &old.expect {
        let to = match new.expect.iter().find(|b| b.what == a.what) {
            None => "gone".to_owned(),
            Some(b) if is_looser(&a.limit, &b.limit) => b.limit.clone(),
            Some(_) => continue,
        };
        found.push(Loosened { scenario: old.id.clone(), what: a.what.clone(), from: a.limit.clone(), to });
    }
    // What the file does not speak of is 0.
    let counts = [
        "lost",
        "lost.reported",
        "lost.window",
        "unexpected",
        "unresolved",
        "rejected",
        "shed",
        "dead_lettered",
        "drop.ratio",
    ];
    let spoken_of = |what: &str| old.expect.iter().any(|a| a.what == what);
    for b in new.expect.iter().filter(|b| counts.contains(&&*b.what) && !spoken_of(&b.what)) {
        if !["== 0", "<= 0", "== 0%", "<= 0%"].contains(&&*b.limit) {
            let (what, to) = (b.what.clone(), b.limit.clone());
            found.push(Loosened { scenario: old.id.clone(), what, from: "== 0".into(), to });
        }
    }
    let seeds = |scenario: &Scenario| scenario.seeds.iter().map(|seed| seed.seed).collect::<BTreeSet<u64>>();
    let (before, now) = (seeds(old), seeds(new));
    if !before.is_subset(&now) {
        let left = before.intersection(&now).count();
        let (from, to) = (before.len().to_string(), format!("{left} of them"));
        found.push(Loosened { scenario: old.id.clone(), what: "seeds".into(), from, to });
    }
    found
}

fn is_looser(from: &str, to: &str) -> bool {
    if from == to {
        return false;
    }
    match (limit_parts(from), limit_parts(to)) {
        (Some((old_op, a, _)), Some((new_op, b, _))) if old_op == new_op => match old_op {
            "<" | "<=" => b > a,
            ">" | ">=" => b < a,
            _ => true,
        },
        // Another kind of limit can't be told to be as strict.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Decimal, Expectation};
    use crate::sample;

    fn with(change: impl Fn(&mut Scenario)) -> ResultFile {
        let mut file = sample::passing();
        change(&mut file.scenarios[0]);
        file
    }

    fn compared(head: &ResultFile) -> Comparison {
        compare(&sample::passing(), head, &Tolerance::default(), Seeds::Pinned)
    }

    #[test]
    fn the_same_is_equivalent_to_the_last_figure() {
        let same = compared(&sample::passing());
        assert_eq!((same.verdict, same.scenarios[0].word), (Verdict::Pass, Word::Equivalent));
        assert!(same.scenarios[0].deltas.is_empty() && same.scenarios[0].compared > 20);
        assert_eq!((same.scenarios[0].signs.same, same.scenarios[0].signs.p), (8, 1.0));
    }

    #[test]
    fn one_lost_event_or_two_milliseconds_are_a_regression_and_a_little_less_is_not() {
        let lost = compared(&with(|s| s.phases.get_mut("all").unwrap().lost = 1));
        assert_eq!(lost.verdict, Verdict::Regressed);
        assert_eq!(lost.scenarios[0].deltas[0].what, "lost @all");
        let steady = |by: f64| {
            compared(&with(|s| {
                let p50 = &mut s.phases.get_mut("steady").unwrap().latency_ms.p50;
                *p50 = Figure::v(value(p50).unwrap() + by);
            }))
        };
        assert_eq!(steady(2.0).verdict, Verdict::Regressed);
        assert_eq!(steady(2.0).scenarios[0].deltas[0].what, "latency.p50 @steady");
        assert_eq!(steady(0.5).verdict, Verdict::Pass);
        assert_eq!(steady(-3.0).scenarios[0].word, Word::Better);
        let never = compared(&with(|s| s.phases.get_mut("all").unwrap().latency_ms.p99 = Figure::never()));
        assert_eq!(never.verdict, Verdict::Regressed);
    }

    #[test]
    fn unlike_inputs_prove_nothing() {
        for (head, why) in [
            (with(|s| s.hash = "0badf00d".into()), "what runs has changed"),
            (with(|s| s.seeds[7].seed = 9), "other seeds"),
        ] {
            let unlike = compared(&head);
            assert!(unlike.scenarios[0].why.as_ref().unwrap().contains(why), "{unlike:?}");
            assert!(unlike.verdict != Verdict::Pass);
        }
        assert_eq!(compared(&with(|s| s.hash = "0badf00d".into())).verdict, Verdict::Void);
    }

    #[test]
    fn what_is_easier_to_meet_is_told() {
        let looser = |change: &dyn Fn(&mut Scenario)| compared(&with(change)).loosened;
        let p99 = looser(&|s| s.expect[2].limit = "<= 600ms".into());
        assert_eq!((p99[0].from.as_str(), p99[0].to.as_str()), ("<= 400ms", "<= 600ms"));
        assert_eq!(looser(&|s| s.expect[2].limit = "<= 300ms".into()), []);
        assert_eq!(looser(&|s| drop(s.expect.remove(0)))[0].to, "gone");
        assert_eq!(looser(&|s| drop(s.seeds.pop()))[0].what, "seeds");
        // What no objective speaks of must be 0.
        let allows = |limit: &str| {
            let allowed = Expectation {
                what: "shed".into(),
                limit: limit.into(),
                ..sample::passing().scenarios[0].expect[0].clone()
            };
            looser(&move |s| s.expect.push(allowed.clone()))
        };
        assert_eq!((allows("<= 9")[0].from.as_str(), allows("<= 9")[0].to.as_str()), ("== 0", "<= 9"));
        assert_eq!(allows("== 0"), []);
        let gone = ResultFile { scenarios: Vec::new(), ..sample::passing() };
        assert_eq!(compared(&gone).loosened[0].what, "scenario");
    }

    #[test]
    fn a_stage_that_only_one_side_has_is_compared() {
        let stage = |name: &str, ms| Stage { stage: name.into(), mean_ms: Decimal(ms) };
        let file = |stages: &[Stage]| {
            with(|s| s.waterfalls = vec![Waterfall { sink: "hub.raw".into(), events: 9, stages: stages.to_vec() }])
        };
        let (base, head) = (file(&[stage("a", 1.0)]), file(&[stage("a", 1.0), stage("b", 3.0)]));
        let told = |base, head| compare(base, head, &Tolerance::default(), Seeds::Pinned).scenarios[0].clone();
        let slower = told(&base, &head);
        assert_eq!((slower.word, slower.deltas[0].what.as_str()), (Word::Regressed, "stage b mean @hub.raw"));
        assert!(slower.deltas[0].is_stage());
        assert_eq!(told(&head, &base).word, Word::Better);
    }

    #[test]
    fn instructions_repeat_so_little_is_much() {
        let counted = |an_event: u64| with(|s| s.seeds[0].instructions = Some(an_event));
        let told = |base, head| {
            let compared = compare(&counted(base), &counted(head), &Tolerance::default(), Seeds::Pinned);
            (compared.scenarios[0].word, compared.scenarios[0].deltas.first().map(|delta| delta.what.clone()))
        };
        let what = Some("instructions/event (seed 1)".to_owned());
        assert_eq!(told(100_000, 101_100), (Word::Regressed, what.clone()));
        assert_eq!(told(100_000, 100_900), (Word::Equivalent, what.clone()));
        assert_eq!(told(100_000, 98_000), (Word::Better, what));
        assert_eq!(told(100_000, 100_000), (Word::Equivalent, None));
        let one_side = compare(&sample::passing(), &counted(7), &Tolerance::default(), Seeds::Pinned);
        assert_eq!(one_side.verdict, Verdict::Pass, "what one side has not counted tells nothing");
    }

    #[test]
    fn rounds_on_a_real_machine_are_a_sample_and_processor_time_decides_nothing() {
        let round = |p50: f64, cpu: f64| {
            let mut file = with(|s| {
                s.phases.get_mut("all").unwrap().latency_ms.p50 = Figure::v(p50);
                s.seeds.iter_mut().for_each(|seed| seed.cpu_us = Some(Decimal(cpu)));
            });
            file.time = Time::Wall;
            file
        };
        let told = |head: &ResultFile| {
            compare(&round(5.0, 80.0), head, &Tolerance::default(), Seeds::Pinned).scenarios[0].clone()
        };
        let same = told(&round(50.0, 120.0));
        assert_eq!(same.word, Word::Equivalent, "no round's p99 differs");
        assert!(same.deltas.iter().any(|delta| delta.what == CPU && delta.by == Some(40.0)), "{:?}", same.deltas);
        assert_eq!(told(&sample::passing()).word, Word::NotComparable);
    }

    #[test]
    fn fresh_seeds_are_told_by_their_signs() {
        let slower = |by: f64, seeds: usize| {
            with(|s| {
                for seed in s.seeds.iter_mut().take(seeds) {
                    seed.p99_ms = Figure::v(value(&seed.p99_ms).unwrap() + by);
                }
            })
        };
        let fresh = |head: &ResultFile| {
            compare(&sample::passing(), head, &Tolerance::default(), Seeds::Fresh).scenarios[0].clone()
        };
        let all = fresh(&slower(900.0, 8));
        assert_eq!((all.word, all.signs.worse), (Word::Regressed, 8), "{:?}", all.signs);
        assert_eq!(fresh(&slower(5_000.0, 2)).word, Word::Inconclusive);
        assert_eq!(fresh(&slower(0.0, 8)).word, Word::Equivalent);
        assert_eq!(fresh(&slower(-900.0, 8)).word, Word::Better);
    }
}
