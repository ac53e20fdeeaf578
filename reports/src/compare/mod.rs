//! Two results of the same scenarios: what got worse, by how much, and what was made easier to meet.
//!
//! On pinned seeds the same events meet the same faults, so a difference is a fact: it is held against a tolerance, without
//! statistics. On fresh seeds the seeds are a sample: the sign test says whether one side is worse, and a bootstrap over seeds
//! how much.

mod figures;
mod looser;

use serde::Serialize;

use crate::result::{Figure, ResultFile, Scenario, Seed, Time, Verdict};
use crate::statistics::{bootstrap, sign_test};
use figures::{CPU, STAGE, delta, figures, value};
use looser::looser;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Decimal, Expectation, Stage, Waterfall};
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
