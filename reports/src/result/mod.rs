//! `result.json`: the types of the truth about a run, as `docs/schema/result.v1.schema.json` describes them.

mod measured;
mod process;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use measured::{Decimal, Figure, Interval, LatencyMs, OverSeeds, Phase, Recovery, Spread, Stage, Waterfall};
pub use process::{Counts, Process};

/// The value of `schema` in every file of this version.
pub const SCHEMA: &str = "seaworthy.result/v1";

/// Raised only when a draw or a definition changes; results of different semantics are not comparable.
pub const SEMANTICS: u32 = 3;

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything asked for holds.
    Pass,
    /// A promise or an objective is broken.
    Fail,
    /// Proved nothing.
    Void,
    /// Worse than the baseline, and nothing else.
    Regressed,
}

impl std::fmt::Display for Verdict {
    /// As results have it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Void => "void",
            Verdict::Regressed => "regressed",
        })
    }
}

impl Verdict {
    /// The one that wins: fail, void, regressed, pass.
    #[must_use]
    pub fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        verdicts.into_iter().max_by_key(|verdict| verdict.weight()).unwrap_or(Verdict::Pass)
    }

    /// The worse, the more.
    pub(crate) fn weight(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Regressed => 1,
            Verdict::Void => 2,
            Verdict::Fail => 3,
        }
    }
}

/// Which clock the times are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Time {
    /// The simulated world's.
    Virtual,
    /// The machine's.
    Wall,
}

/// A whole `result.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultFile {
    /// [`SCHEMA`].
    pub schema: String,
    /// [`SEMANTICS`].
    pub semantics: u32,
    /// Version of the program.
    pub seaworthy: String,
    /// Commit of the program, or empty.
    pub commit: String,
    /// The worst of the scenarios and objections.
    pub verdict: Verdict,
    /// Smallest difference of time that can be told apart, ms.
    pub resolution_ms: u32,
    /// The clock of all times.
    pub time: Time,
    /// One entry a scenario, sorted by id.
    pub scenarios: Vec<Scenario>,
    /// What steps of the release gate hold against the build, beside what its scenarios came to; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objections: Vec<Objection>,
}

/// What a step of the release gate holds against a build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objection {
    /// The scenario that it is of; absent where it is of the whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scenario: String,
    /// `determinism`, `corpus` or `compare`; `run` for a run that ended otherwise than well.
    pub step: String,
    /// The exit code that it means by itself: 1 failed, 2 wrong use, 3 regressed, 4 void, 5 not deterministic.
    #[schemars(range(min = 1, max = 5))]
    pub exit: u8,
    /// What was seen, in a line.
    pub what: String,
}

impl Objection {
    /// Its exit code as a verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.exit {
            3 => Verdict::Regressed,
            4 => Verdict::Void,
            _ => Verdict::Fail,
        }
    }
}

/// All seeds of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's stem.
    pub id: String,
    /// Hash of what runs (not of `why`, comments or `expect`).
    pub hash: String,
    /// In virtual time: the day on which what nodes cost was measured. Without it that is a guess, and what a change of the nodes
    /// costs is not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Nodes, as `host.node`, in whose place something stood in: they were not tested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_tested: Vec<String>,
    /// Fail before void before regressed before pass.
    pub verdict: Verdict,
    /// Why it proved nothing; only when it did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub void: Vec<String>,
    /// What it promises beside its objectives, such as the most that may wait; absent in results of older builds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub promise: BTreeMap<String, String>,
    /// The objectives, in order of the file.
    pub expect: Vec<Expectation>,
    /// Figures by phase: `all`, `warmup`, `steady`, `fault(id)`, `recovery(id)`, `drain`.
    pub phases: BTreeMap<String, Phase>,
    /// Recoveries, sorted by fault group.
    pub recovery: Vec<Recovery>,
    /// Conditions that should be reached at least once.
    pub sometimes: Vec<Sometimes>,
    /// Assertions in the code that should be reached at least once, sorted by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assertions: Vec<Assertion>,
    /// Where the time of events went, a sink at a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waterfalls: Vec<Waterfall>,
    /// One entry a seed, sorted.
    pub seeds: Vec<Seed>,
    /// Of a run with its own sources and sinks: its processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// Why the figures are of a part of such a run; absent where they are of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

impl Scenario {
    /// What its seeds, its objectives and what proved nothing come to, whatever the gate holds against it.
    #[must_use]
    pub fn own_verdict(&self) -> Verdict {
        let objectives = self.expect.iter().map(|expectation| expectation.verdict);
        let seeds = self.seeds.iter().map(|seed| seed.verdict);
        Verdict::worst(objectives.chain(seeds).chain((!self.void.is_empty()).then_some(Verdict::Void)))
    }

    /// The first seed that failed, and what it broke: a promise, or else, by itself, an objective that all miss together; of those
    /// seeds the first that lost something, or the slowest. `None` where nothing failed.
    #[must_use]
    pub fn first_failure(&self) -> Option<(u64, &str)> {
        let broken = self.seeds.iter().find_map(|seed| Some((seed.seed, seed.violations.first()?.check.as_str())));
        broken.or_else(|| {
            let missed = self.expect.iter().find(|expectation| expectation.verdict == Verdict::Fail)?;
            let seed = self.seeds.iter().find(|seed| seed.lost > 0).or_else(|| self.slowest())?;
            Some((seed.seed, missed.what.as_str()))
        })
    }

    /// The first of the seeds with the highest p99, as far as one is known; `None` where there is no seed.
    #[must_use]
    pub fn slowest(&self) -> Option<&Seed> {
        let p99 = |seed: &Seed| match &seed.p99_ms {
            Figure::Never { .. } => f64::INFINITY,
            Figure::Ge { ge } => ge.0,
            Figure::V { v } => v.0,
            Figure::Na { .. } => -1.0,
        };
        self.seeds.iter().rev().max_by(|a, b| p99(a).total_cmp(&p99(b)))
    }
}

/// One objective and what came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// What is judged, e.g. `latency.p99 @steady`.
    pub what: String,
    /// The limit, e.g. `<= 400ms`.
    pub limit: String,
    /// What came out: ms, a ratio, a count or event·s, as `what` says.
    pub got: Figure,
    /// Pass, fail, or void when it can't be told.
    pub verdict: Verdict,
    /// Its line in the scenario file; 0 when it isn't written there.
    pub line: u32,
}

/// A `[[sometimes]]` condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sometimes {
    /// The condition.
    pub that: String,
    /// In how many seeds it was reached.
    pub hits: u64,
    /// Of one that no seed reached, how near the first came: `in seed 1 edge.uplink.backlog was 0 to 612`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl Sometimes {
    /// The condition, and how near the seeds came that never reached it.
    #[must_use]
    pub fn told(&self) -> String {
        let nearest = self.nearest.as_ref().map_or_else(String::new, |nearest| format!(" ({nearest})"));
        format!("{}{nearest}", self.that)
    }
}

/// An assertion in the code: `always!`, `sometimes!` or `reachable!`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// Its id in the catalogue.
    pub id: String,
    /// In how many seeds it was reached.
    pub hits: u64,
}

impl Scenario {
    /// The middle of the rounds' processor time an event, µs; `None` where none was measured.
    #[must_use]
    pub fn cpu_us(&self) -> Option<f64> {
        let mut rounds: Vec<f64> = self.seeds.iter().filter_map(|seed| Some(seed.cpu_us?.0)).collect();
        rounds.sort_by(f64::total_cmp);
        rounds.get(rounds.len() / 2).copied()
    }

    /// Instructions an event, of the seed of which they were counted.
    #[must_use]
    pub fn instructions(&self) -> Option<(u64, u64)> {
        self.seeds.iter().find_map(|seed| Some((seed.seed, seed.instructions?)))
    }

    /// Assertions that were reached, how many there are, and those that never were.
    #[must_use]
    pub fn assertions_reached(&self) -> (usize, usize, Vec<&str>) {
        reached(self.assertions.iter())
    }
}

/// The same over several scenarios: reached is what one of them reached.
#[must_use]
pub fn assertions_reached(scenarios: &[Scenario]) -> (usize, usize, Vec<&str>) {
    reached(scenarios.iter().flat_map(|scenario| &scenario.assertions))
}

fn reached<'a>(assertions: impl Iterator<Item = &'a Assertion>) -> (usize, usize, Vec<&'a str>) {
    let mut hits: BTreeMap<&str, u64> = BTreeMap::new();
    for assertion in assertions {
        *hits.entry(&assertion.id).or_default() += assertion.hits;
    }
    let never: Vec<&str> = hits.iter().filter(|(_, hits)| **hits == 0).map(|(id, _)| *id).collect();
    (hits.len() - never.len(), hits.len(), never)
}

/// One seed, or one round on a real machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// The seed.
    pub seed: u64,
    /// Fail when a promise is broken.
    pub verdict: Verdict,
    /// Hash of its trace; empty for a round on a real machine, which has no twin.
    pub trace_hash: String,
    /// How long it ran, ms.
    pub virtual_ms: u64,
    /// Steps of faults that took effect.
    pub faults_applied: u64,
    /// Events offered.
    pub packets: u64,
    /// Events lost, whether reported or not.
    pub lost: u64,
    /// 99th percentile of latency at the worst sink, warm-up excepted.
    pub p99_ms: Figure,
    /// Processor time an event, µs: of a round on a real machine, where the load and the recording are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<Decimal>,
    /// Instructions an event, where they were counted: of the whole world in virtual time, the harness in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u64>,
    /// Broken promises, in order of time.
    pub violations: Vec<Violation>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Violation {
    /// The check.
    pub check: String,
    /// What was seen.
    pub message: String,
    /// When it could first be seen, whole ms.
    pub at_ms: u64,
}

impl ResultFile {
    /// A file of this version over `scenarios`, sorted by id.
    #[must_use]
    pub fn new(commit: &str, time: Time, resolution_ms: u32, mut scenarios: Vec<Scenario>) -> ResultFile {
        scenarios.sort_by(|a, b| a.id.cmp(&b.id));
        let mut file = ResultFile {
            schema: SCHEMA.into(),
            semantics: SEMANTICS,
            seaworthy: env!("CARGO_PKG_VERSION").into(),
            commit: commit.into(),
            verdict: Verdict::Pass,
            resolution_ms,
            time,
            scenarios,
            objections: Vec::new(),
        };
        file.judge();
        file
    }

    /// Writes down what a gate holds against the build, each once; the verdicts are then those with it.
    pub fn object(&mut self, objections: impl IntoIterator<Item = Objection>) {
        self.objections.extend(objections);
        self.objections.sort();
        self.objections.dedup();
        self.judge();
    }

    /// What is held against the whole, or against a scenario that is not here.
    pub fn objections_of_none(&self) -> impl Iterator<Item = &Objection> {
        self.objections
            .iter()
            .filter(|objection| self.scenarios.iter().all(|scenario| scenario.id != objection.scenario))
    }

    /// What the verdict of a scenario must be: the worst of its own and what is held against it.
    #[must_use]
    pub fn verdict_of(&self, scenario: &Scenario) -> Verdict {
        let against = self.objections.iter().filter(|objection| objection.scenario == scenario.id);
        Verdict::worst(against.map(Objection::verdict).chain([scenario.own_verdict()]))
    }

    /// What the verdict of the whole must be.
    #[must_use]
    pub fn verdict_of_all(&self) -> Verdict {
        let scenarios = self.scenarios.iter().map(|scenario| scenario.verdict);
        Verdict::worst(scenarios.chain(self.objections.iter().map(Objection::verdict)))
    }

    /// Sets all verdicts, after a scenario or an objection has changed.
    pub fn judge(&mut self) {
        let verdicts: Vec<Verdict> = self.scenarios.iter().map(|scenario| self.verdict_of(scenario)).collect();
        self.scenarios.iter_mut().zip(verdicts).for_each(|(scenario, verdict)| scenario.verdict = verdict);
        self.verdict = self.verdict_of_all();
    }
}
