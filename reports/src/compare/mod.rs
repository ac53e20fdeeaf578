//! Two results of the same scenarios: what got worse, by how much, and what was made easier to meet.
//!
//! On pinned seeds the same events meet the same faults, so a difference is a fact: it is held against a tolerance, without
//! statistics. On fresh seeds the seeds are a sample: the sign test says whether one side is worse, and a bootstrap over seeds
//! how much.

mod figures;
mod looser;

use serde::{Deserialize, Serialize};

use crate::result::{Figure, ResultFile, Scenario, Seed, Time, Verdict};
use crate::statistics::{bootstrap, sign_test};
use figures::{STAGE, delta, figures, is_na, is_sampled, value};
use looser::looser;
pub use looser::{has_a_limit, is_looser};

/// What is looser where a scenario is gone, and where seeds are.
const THE_SCENARIO: &str = "scenario";
const THE_SEEDS: &str = "seeds";
/// How it begins why a scenario of other seeds can't be compared.
const OTHER_SEEDS: &str = "other seeds: ";

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seeds {
    /// The same ones each time.
    Pinned,
    /// Drawn for this comparison, the same for both sides.
    Fresh,
}

/// A word for one difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signs {
    /// Seeds that are worse in the head.
    pub worse: u64,
    /// Seeds that are the same.
    pub same: u64,
    /// Seeds that are better.
    pub better: u64,
    /// Seeds whose p99 can't be told on either side.
    pub untold: u64,
    /// Two-sided sign test: how likely such a split is where nothing differs.
    pub p: f64,
    /// The mean difference of p99 over seeds, ms, with its bootstrap interval of 95 %.
    pub mean_ms: Option<[f64; 3]>,
}

/// One scenario of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioDelta {
    /// Its id.
    pub id: String,
    /// What it comes to.
    pub word: Word,
    /// Why it can't be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Figures that differ, the worst first.
    pub deltas: Vec<Delta>,
    /// Figures that were compared.
    pub compared: usize,
    /// Seed by seed.
    pub signs: Signs,
}

/// Something that is easier to meet than it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loosened {
    /// The scenario.
    pub scenario: String,
    /// Which expectation, `promise.NAME`, `sometimes CONDITION`, `seeds`, or `scenario`.
    pub what: String,
    /// As it was.
    pub from: String,
    /// As it is.
    pub to: String,
}

impl Loosened {
    /// Whether the scenario itself is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.what == THE_SCENARIO
    }
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// How the seeds were chosen; rounds on a real machine are always fresh.
    pub seeds: Seeds,
    /// Fail where something is easier to meet, void where not all could be compared, regressed, or pass.
    pub verdict: Verdict,
    /// Scenarios of the base, by id.
    pub scenarios: Vec<ScenarioDelta>,
    /// What needs a waiver.
    pub loosened: Vec<Loosened>,
    /// Scenarios of the head that the base does not have: nothing holds them.
    pub without_base: Vec<String>,
}

impl Comparison {
    /// Takes out what may be looser, and gives it back; the verdict is that of the rest. Where that is a scenario that is gone, or
    /// seeds, nothing is left to compare: the scenario goes, or is inconclusive.
    pub fn waive(&mut self, may: impl Fn(&Loosened) -> bool) -> Vec<Loosened> {
        let waived: Vec<Loosened> = self.loosened.extract_if(.., |loosened| may(loosened)).collect();
        let is_waived =
            |id: &str, what| waived.iter().any(|loosened| (&*loosened.scenario, &*loosened.what) == (id, what));
        self.scenarios.retain(|delta| !is_waived(&delta.id, THE_SCENARIO));
        for delta in &mut self.scenarios {
            let has_others = delta.why.as_ref().is_some_and(|why| why.starts_with(OTHER_SEEDS));
            if has_others && is_waived(&delta.id, THE_SEEDS) {
                delta.word = Word::Inconclusive;
            }
        }
        self.judge();
        waived
    }

    /// Those of the shards of one gate, put together; `None` of none.
    pub fn merge(parts: impl IntoIterator<Item = Comparison>) -> Option<Comparison> {
        let mut whole = parts.into_iter().reduce(|mut whole, part| {
            whole.scenarios.extend(part.scenarios);
            whole.loosened.extend(part.loosened);
            whole.without_base.extend(part.without_base);
            whole
        })?;
        whole.sort();
        // What no shard has is missing in each.
        whole.scenarios.dedup();
        whole.loosened.dedup();
        whole.judge();
        Some(whole)
    }

    fn sort(&mut self) {
        self.scenarios.sort_by(|a, b| a.id.cmp(&b.id));
        self.loosened.sort_by(|a, b| (&a.scenario, &a.what).cmp(&(&b.scenario, &b.what)));
        self.without_base.sort();
    }

    /// Adds a scenario of the base that is there no longer.
    pub fn miss(&mut self, id: &str) {
        self.loosened.push(Loosened {
            scenario: id.to_owned(),
            what: THE_SCENARIO.into(),
            from: "run".into(),
            to: "gone".into(),
        });
        self.scenarios.push(unlike(id, "the head doesn't have it".to_owned()));
        self.sort();
        self.judge();
    }

    fn judge(&mut self) {
        self.verdict = if self.loosened.is_empty() { self.figures_verdict() } else { Verdict::Fail };
    }

    /// The verdict of the figures alone, whatever became easier to meet: a base of nothing is void.
    #[must_use]
    pub fn figures_verdict(&self) -> Verdict {
        let has = |word| self.scenarios.iter().any(|delta| delta.word == word);
        match () {
            () if self.scenarios.is_empty() || has(Word::NotComparable) => Verdict::Void,
            () if has(Word::Regressed) => Verdict::Regressed,
            () => Verdict::Pass,
        }
    }

    /// Scenarios of which the seeds, or the figures, say too little.
    pub fn inconclusive(&self) -> impl Iterator<Item = &ScenarioDelta> {
        self.scenarios.iter().filter(|delta| delta.word == Word::Inconclusive)
    }
}

/// Compares `head` with `base`. Where they have no scenario in common, or other clocks, none of it can be compared.
#[must_use]
pub fn compare(base: &ResultFile, head: &ResultFile, tolerance: &Tolerance, seeds: Seeds) -> Comparison {
    let in_head = |old: &Scenario| head.scenarios.iter().find(|new| new.id == old.id);
    let in_base = |new: &&Scenario| base.scenarios.iter().any(|old| old.id == new.id);
    let without_base = head.scenarios.iter().filter(|new| !in_base(new)).map(|new| new.id.clone()).collect();
    // Rounds on a real machine are a sample, whatever their numbers.
    let seeds = if base.time == Time::Wall { Seeds::Fresh } else { seeds };
    let mut comparison =
        Comparison { seeds, verdict: Verdict::Pass, scenarios: Vec::new(), loosened: Vec::new(), without_base };
    let why = match () {
        () if base.time != head.time => Some("one is of virtual time, the other of wall time"),
        () if base.scenarios.iter().all(|old| in_head(old).is_none()) => Some("the two have no scenario in common"),
        () => None,
    };
    for old in &base.scenarios {
        match (why, in_head(old)) {
            (Some(why), _) => comparison.scenarios.push(unlike(&old.id, why.to_owned())),
            (None, None) => comparison.miss(&old.id),
            (None, Some(new)) => {
                comparison.loosened.extend(looser(old, new));
                comparison.scenarios.push(scenario(old, new, base, head, tolerance, seeds));
            }
        }
    }
    comparison.sort();
    comparison.judge();
    comparison
}

fn unlike(id: &str, why: String) -> ScenarioDelta {
    let (deltas, signs) = (Vec::new(), Signs::default());
    ScenarioDelta { id: id.to_owned(), word: Word::NotComparable, why: Some(why), deltas, compared: 0, signs }
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
    for (side, of) in [("base", old), ("head", new)] {
        let proved = match () {
            () if of.seeds.is_empty() => Some("no seed ran"),
            () if !of.phases.contains_key("all") => Some("it has no figures"),
            () => of.void.first().map(String::as_str),
        };
        if let Some(why) = proved {
            return unlike(&old.id, format!("the {side} proved nothing: {why}"));
        }
    }
    if old.hash != new.hash {
        return unlike(&old.id, format!("what runs has changed: hash {} became {}", old.hash, new.hash));
    }
    if numbers(old) != numbers(new) {
        return unlike(&old.id, format!("{OTHER_SEEDS}{} became {}", told(&numbers(old)), told(&numbers(new))));
    }
    // Figures of the head that the base has none like would be held by nothing.
    for (what, before, now) in [
        ("recovery", old.recovery.len(), new.recovery.len()),
        ("way of events", old.waterfalls.len(), new.waterfalls.len()),
    ] {
        if before == 0 && now > 0 {
            return unlike(&old.id, format!("the base has no {what}, and the head has"));
        }
    }
    let figures = figures(old, new);
    let compared = figures.len();
    // A file's is that of its coarsest scenario: this one's is no coarser than either.
    let floor_ms = tolerance.ms.max(f64::from(base.resolution_ms.min(head.resolution_ms)));
    let mut deltas: Vec<Delta> = figures.into_iter().map(|pair| delta(pair, tolerance, floor_ms)).collect();
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
    if word == Word::NotComparable {
        return ScenarioDelta { signs, ..unlike(&old.id, "no seed has a p99".to_owned()) };
    }
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
    if deltas.iter().any(|delta| delta.word == Word::Regressed && !is_sampled(&delta.what)) {
        return Word::Regressed;
    }
    if signs.untold as usize == new.seeds.len() {
        return Word::NotComparable;
    }
    // What never came in the head, or can no longer be told, has no difference to take a mean of.
    let gone = |(a, b): (&Seed, &Seed)| value(&a.p99_ms).is_some() && value(&b.p99_ms).is_none();
    if old.seeds.iter().zip(&new.seeds).any(gone) && signs.p < 0.05 && signs.worse > signs.better {
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
        let (before, now) = (&a.p99_ms, &b.p99_ms);
        differences.extend(value(before).zip(value(now)).map(|(a, b)| b - a));
        let count = match () {
            () if b.lost > a.lost => &mut signs.worse,
            () if b.lost < a.lost => &mut signs.better,
            () if is_na(before) && is_na(now) => &mut signs.untold,
            () if before == now => &mut signs.same,
            // What was told must be told again.
            () if is_na(now) => &mut signs.worse,
            () if is_na(before) => &mut signs.better,
            () if before.clone().worse(now.clone()) == *now => &mut signs.worse,
            () => &mut signs.better,
        };
        *count += 1;
    }
    signs.p = sign_test(signs.worse, signs.better);
    signs.mean_ms = bootstrap(&differences);
    signs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Decimal, Expectation, Stage, Waterfall};
    use crate::run::Kind;
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
        let second = Scenario { id: "second".into(), ..sample::passing().scenarios[0].clone() };
        let two = ResultFile::new("", Time::Virtual, 1, vec![second, sample::passing().scenarios[0].clone()]);
        let gone = compare(&two, &sample::passing(), &Tolerance::default(), Seeds::Pinned);
        assert_eq!((gone.loosened[0].what.as_str(), gone.verdict), ("scenario", Verdict::Fail));
        assert_eq!(looser(&|s| drop(s.sometimes.remove(0)))[0].what, "sometimes at(cut).backlog > 200");
        let promised = |what: &str, limit: &str| looser(&|s| drop(s.promise.insert(what.into(), limit.into())));
        assert_eq!(promised("backlog_max", "<= 2000")[0].what, "promise.backlog_max");
        assert_eq!(promised("backlog_max", "<= 900"), []);
        assert_eq!(promised("ordering", "none")[0].to, "none");
        assert_eq!(promised("drops inbox.drop_new", "<= 1%")[0].from, "none");
        let stricter = with(|s| drop(s.promise.insert("ordering".into(), "none".into())));
        assert_eq!(compare(&stricter, &sample::passing(), &Tolerance::default(), Seeds::Pinned).loosened, []);
        // One of an older build does not say what it promised.
        let older = with(|s| s.promise.clear());
        assert_eq!(compare(&older, &sample::passing(), &Tolerance::default(), Seeds::Pinned).loosened, []);
    }

    #[test]
    fn what_is_not_of_the_same_can_not_be_compared_and_is_no_looser() {
        let other = ResultFile::new(
            "",
            Time::Virtual,
            1,
            vec![Scenario { id: "smoke".into(), ..sample::passing().scenarios[0].clone() }],
        );
        let wall = ResultFile { time: Time::Wall, ..with(|s| s.expect.clear()) };
        let nothing = ResultFile { scenarios: Vec::new(), ..sample::passing() };
        for (base, head) in [(&sample::passing(), &other), (&wall, &sample::passing()), (&sample::passing(), &wall)] {
            let unlike = compare(base, head, &Tolerance::default(), Seeds::Pinned);
            assert_eq!((unlike.verdict, unlike.loosened.len()), (Verdict::Void, 0));
        }
        for head in [&nothing, &sample::passing()] {
            assert_eq!(compare(&nothing, head, &Tolerance::default(), Seeds::Pinned).verdict, Verdict::Void);
        }
        let beside = compare(
            &sample::passing(),
            &ResultFile::new("", Time::Virtual, 1, [other.scenarios.clone(), sample::passing().scenarios].concat()),
            &Tolerance::default(),
            Seeds::Pinned,
        );
        assert_eq!((beside.verdict, &beside.without_base[..]), (Verdict::Pass, &["smoke".to_owned()][..]));
    }

    #[test]
    fn what_is_hollow_on_either_side_proves_nothing() {
        for hollow in [
            with(|s| s.seeds.clear()),
            with(|s| s.phases.clear()),
            with(|s| s.void = vec!["cut took effect in no seed".into()]),
        ] {
            assert_eq!(compared(&hollow).figures_verdict(), Verdict::Void);
            assert_eq!(
                compare(&hollow, &sample::passing(), &Tolerance::default(), Seeds::Pinned).verdict,
                Verdict::Void
            );
        }
        // 4 outweighs 3.
        let two = |change: &dyn Fn(&mut Scenario)| {
            let mut file = with(|s| s.id = "second".into());
            file.scenarios.extend(with(change).scenarios);
            file
        };
        let mut head = two(&|s| s.hash = "0badf00d".into());
        head.scenarios[0].phases.get_mut("all").unwrap().lost = 1;
        let both = compare(&two(&|_| ()), &head, &Tolerance::default(), Seeds::Pinned);
        assert_eq!(both.verdict, Verdict::Void);
    }

    #[test]
    fn what_the_head_no_longer_has_or_that_nobody_looked_at_is_worse() {
        let way = |ms| Waterfall {
            sink: "hub.raw".into(),
            events: 9,
            stages: vec![Stage { stage: "a".into(), kind: None, mean_ms: Decimal(ms) }],
        };
        let base = with(|s| s.waterfalls = vec![way(1.0)]);
        let worst = |change: &dyn Fn(&mut Scenario)| {
            let mut head = base.clone();
            change(&mut head.scenarios[0]);
            let told = compare(&base, &head, &Tolerance::default(), Seeds::Pinned).scenarios[0].clone();
            assert_eq!(told.word, Word::Regressed, "{told:?}");
            told.deltas[0].what.clone()
        };
        fn all(s: &mut Scenario) -> &mut crate::result::Phase {
            s.phases.get_mut("all").unwrap()
        }
        assert_eq!(worst(&|s| drop(s.phases.remove("fault(cut)"))), "events @fault(cut)");
        assert_eq!(worst(&|s| s.recovery.clear()), "recovery(cut) n");
        assert_eq!(worst(&|s| s.waterfalls.clear()), "visible @hub.raw");
        assert_eq!(worst(&|s| all(s).latency_ms.max = Figure::v(9_000.0)), "latency.max @all");
        assert_eq!(worst(&|s| s.recovery[0].deficit.p95 = Figure::v(1e6)), "recovery(cut).deficit p95");
        assert_eq!(worst(&|s| all(s).indeterminate = 96), "indeterminate/offered @all");
        assert_eq!(worst(&|s| all(s).duplicate_raw_ratio = 0.1), "duplicate.raw @all");
        assert_eq!(worst(&|s| s.expect[2].verdict = Verdict::Fail), "failed objectives");
        // A resolution of a day would hide every difference.
        let mut slow = ResultFile { resolution_ms: 86_400_000, ..base.clone() };
        all(&mut slow.scenarios[0]).latency_ms.p50 = Figure::v(500.0);
        assert_eq!(compare(&base, &slow, &Tolerance::default(), Seeds::Pinned).verdict, Verdict::Regressed);
    }

    #[test]
    fn groups_of_faults_that_join_are_worse_and_those_that_come_apart_are_not_told() {
        let named = |fault: &str| with(|s| s.recovery[0].fault = fault.into());
        let told =
            |base, head| compare(&named(base), &named(head), &Tolerance::default(), Seeds::Pinned).scenarios[0].clone();
        assert_eq!(told("cut", "cut+slow").word, Word::Regressed);
        assert_eq!(told("cut+slow", "cut").word, Word::Inconclusive);
        assert_eq!(told("cut", "slow").word, Word::Regressed);
        let alone = with(|s| s.recovery[0].by_twin = !s.recovery[0].by_twin);
        assert_eq!(compared(&alone).scenarios[0].word, Word::Inconclusive);
    }

    #[test]
    fn a_stage_that_only_one_side_has_is_compared() {
        let stage = |name: &str, ms| Stage { stage: name.into(), kind: None, mean_ms: Decimal(ms) };
        let file = |stages: &[Stage]| {
            with(|s| s.waterfalls = vec![Waterfall { sink: "hub.raw".into(), events: 9, stages: stages.to_vec() }])
        };
        let (base, head) = (file(&[stage("a", 1.0)]), file(&[stage("a", 1.0), stage("b", 3.0)]));
        let told = |base, head| compare(base, head, &Tolerance::default(), Seeds::Pinned).scenarios[0].clone();
        let slower = told(&base, &head);
        assert_eq!((slower.word, slower.deltas[0].what.as_str()), (Word::Regressed, "stage b mean @hub.raw"));
        assert!(slower.deltas[0].is_stage());
        assert_eq!(told(&head, &base).word, Word::Better);
        // An older build did not tell what the time of a stage went into.
        let of = |kind, ms| Stage { kind: Some(kind), ..stage("b", ms) };
        let split = file(&[stage("a", 1.0), of(Kind::Service, 1.0), of(Kind::Retry, 2.0)]);
        assert_eq!((told(&head, &split).word, told(&head, &split).deltas.len()), (Word::Equivalent, 0));
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
        assert!(
            same.deltas.iter().any(|delta| delta.what == "cpu us/event" && delta.by == Some(40.0)),
            "{:?}",
            same.deltas
        );
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
        // A p99 that can no longer be told is worse; one that never could says nothing.
        let untold = |seeds: usize| {
            with(|s| s.seeds.iter_mut().take(seeds).for_each(|seed| seed.p99_ms = Figure::na("n < 299")))
        };
        let gone = fresh(&untold(8));
        assert_eq!((gone.word, gone.signs.worse), (Word::Regressed, 8), "{:?}", gone.signs);
        assert_eq!(fresh(&untold(1)).signs.worse, 1);
        let never = compare(&untold(8), &untold(8), &Tolerance::default(), Seeds::Fresh).scenarios[0].clone();
        assert_eq!((never.word, never.signs.untold, never.signs.same), (Word::NotComparable, 8, 0));
        assert!(never.why.is_some_and(|why| why.contains("p99")));
    }
}
