//! All seeds of a scenario, added up one at a time in any order, and the verdict over them.

mod interval;
mod measure;

use std::collections::{BTreeMap, BTreeSet};

use crate::histogram::{Latency, Percentile};
use crate::phases::{self, Phase, Totals};
use crate::recovery::{self, Group, Outcome};
use crate::result;
use crate::result::{Assertion, Decimal, Figure, Recovery, Scenario, Seed, Sometimes, Spread, Verdict, Violation};
use crate::run::{SeedRun, Waterfall};
use crate::slo::{Objective, Part, Since};

/// What is known of a scenario beside its seeds.
#[derive(Clone, Debug, Default)]
pub struct ScenarioMeta {
    /// The file's stem.
    pub id: String,
    /// Hash of what runs.
    pub hash: String,
    /// Ids of its faults: where one took effect in no seed, nothing is proved of it.
    pub faults: Vec<String>,
    /// How many checks judged each seed; 0 proves nothing.
    pub checks: u64,
    /// What it promises beside its objectives, by name: a limit such as `<= 1000`, or a word.
    pub promise: BTreeMap<String, String>,
    /// The objectives, in order of the file.
    pub objectives: Vec<Objective>,
    /// The day on which what nodes cost was measured; `None` where it is guessed.
    pub cpu: Option<String>,
    /// Nodes in whose place something stood in, sorted.
    pub not_tested: Vec<String>,
}

/// Seeds, pooled: histograms merged, counts added, recoveries and violations kept a seed at a time.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    phases: BTreeMap<Phase, Totals>,
    /// Of the phases whose percentiles get an interval.
    by_seed: BTreeMap<Phase, interval::BySeed>,
    recoveries: BTreeMap<u64, Vec<Group>>,
    seeds: BTreeMap<u64, Seed>,
    sometimes: Vec<(String, BTreeSet<u64>)>,
    assertions: BTreeMap<String, u64>,
    /// Faults that took effect.
    acted: BTreeSet<String>,
    /// What came of the condition that a fault waits for, by fault, seed by seed.
    waited: BTreeMap<String, BTreeMap<u64, String>>,
    waterfalls: BTreeMap<u64, Vec<Waterfall>>,
}

impl Pool {
    /// Adds one seed.
    ///
    /// # Panics
    /// When the seed was added before.
    pub fn add(&mut self, run: &SeedRun) {
        let groups = recovery::groups(run);
        let totals = phases::totals(run, &groups);
        let all = &totals[&Phase::All];
        let violations: Vec<Violation> = run
            .violations
            .iter()
            .map(|broken| Violation {
                check: broken.check.clone(),
                message: broken.message.clone(),
                at_ms: broken.at_ns / 1_000_000,
            })
            .collect();
        let seed = Seed {
            seed: run.seed,
            verdict: if violations.is_empty() { Verdict::Pass } else { Verdict::Fail },
            trace_hash: run.trace_hash.clone(),
            virtual_ms: run.end_ns / 1_000_000,
            faults_applied: run.faults.len() as u64,
            packets: all.counts.offered,
            lost: all.counts.lost_all(),
            p99_ms: all.worst(Percentile::P99),
            cpu_us: run.cpu_ns.map(|ns| Decimal((ns as f64 / 100.0 / all.counts.offered.max(1) as f64).round() / 10.0)),
            instructions: None,
            violations,
        };
        let replaced = self.seeds.insert(run.seed, seed);
        assert!(replaced.is_none(), "seed {} was added twice", run.seed);
        self.recoveries.insert(run.seed, groups);
        for phase in [Phase::All, Phase::Steady] {
            let latency = &totals[&phase].latency;
            self.by_seed.entry(phase).or_default().add(run.seed, latency);
        }
        for (phase, totals) in &totals {
            self.phases.entry(phase.clone()).or_default().merge(totals);
        }
        for (id, hits) in &run.assertions {
            *self.assertions.entry(id.clone()).or_default() += u64::from(*hits > 0);
        }
        self.acted.extend(run.faults.iter().map(|fault| fault.id.clone()));
        for (what, told) in &run.waited {
            self.waited.entry(what.clone()).or_default().insert(run.seed, told.clone());
        }
        self.waterfalls.insert(run.seed, run.waterfalls.clone());
        for (that, hits) in &run.sometimes {
            let seeds = self.sometimes_of(that);
            if *hits > 0 {
                seeds.insert(run.seed);
            }
        }
    }

    fn sometimes_of(&mut self, that: &str) -> &mut BTreeSet<u64> {
        let known = self.sometimes.iter().position(|(known, _)| known == that);
        let at = known.unwrap_or_else(|| {
            self.sometimes.push((that.to_owned(), BTreeSet::new()));
            self.sometimes.len() - 1
        });
        &mut self.sometimes[at].1
    }

    /// What all phases meant by `asked` add up to; `None` when there was no such phase in any seed.
    #[must_use]
    pub fn phase(&self, asked: &Phase) -> Option<Totals> {
        let mut sum: Option<Totals> = None;
        for (phase, totals) in &self.phases {
            if phase.meant_by(asked) {
                sum.get_or_insert_default().merge(totals);
            }
        }
        sum
    }

    /// The latency of each phase at each sink.
    pub fn latencies(&self) -> impl Iterator<Item = (&Phase, &str, &Latency)> {
        self.phases.iter().flat_map(|(phase, totals)| {
            totals.latency.iter().map(move |(sink, latency)| (phase, sink.as_str(), latency))
        })
    }

    /// The recoveries of all groups that hold all of `faults`, seed by seed.
    #[must_use]
    pub fn recoveries_of(&self, faults: &[String]) -> Vec<&Group> {
        let groups = self.recoveries.values().flatten();
        groups.filter(|group| faults.iter().all(|id| group.faults.contains(id))).collect()
    }

    /// A seed and a fault group after which the load ended before events came in time again: what was steady is then what came
    /// before.
    fn never_steady(&self) -> Option<(u64, String)> {
        let late = |group: &&Group| matches!(group.steady, Outcome::AtLeast(_) | Outcome::Never);
        self.recoveries.iter().find_map(|(seed, groups)| Some((*seed, groups.iter().find(late)?.name())))
    }

    /// The scenario's part of `result.json`.
    #[must_use]
    pub fn finish(&self, meta: &ScenarioMeta) -> Scenario {
        let expect: Vec<_> = meta.objectives.iter().map(|objective| measure::evaluate(objective, self)).collect();
        let mut void = self.proved_nothing(meta);
        for expectation in expect.iter().filter(|expectation| expectation.verdict == Verdict::Void) {
            let why = if let Figure::Na { na } = &expectation.got { format!(": {na}") } else { String::new() };
            void.push(format!("{} can't be told{why}", expectation.what));
        }
        let mut scenario = Scenario {
            id: meta.id.clone(),
            hash: meta.hash.clone(),
            cpu: meta.cpu.clone(),
            not_tested: meta.not_tested.clone(),
            verdict: Verdict::Pass,
            void,
            promise: meta.promise.clone(),
            expect,
            phases: self.phases.iter().map(|(phase, totals)| (phase.to_string(), self.told(phase, totals))).collect(),
            recovery: self.recovery(),
            sometimes: self
                .sometimes
                .iter()
                .map(|(that, seeds)| Sometimes {
                    that: that.clone(),
                    hits: seeds.len() as u64,
                    nearest: self.waited_for(that).filter(|_| seeds.is_empty()),
                })
                .collect(),
            assertions: self.assertions.iter().map(|(id, hits)| Assertion { id: id.clone(), hits: *hits }).collect(),
            waterfalls: poured(&self.waterfalls).iter().map(result::Waterfall::of).collect(),
            seeds: self.seeds.values().cloned().collect(),
            processes: Vec::new(),
            part: None,
        };
        scenario.verdict = scenario.own_verdict();
        scenario
    }

    fn told(&self, phase: &Phase, totals: &Totals) -> result::Phase {
        let mut told = totals.to_result();
        told.latency_ms.over_seeds = self.by_seed.get(phase).and_then(interval::BySeed::intervals);
        told
    }

    fn proved_nothing(&self, meta: &ScenarioMeta) -> Vec<String> {
        let mut why = Vec::new();
        if self.seeds.is_empty() {
            why.push("no seed ran".to_owned());
        }
        if self.phases.get(&Phase::All).is_none_or(|all| all.counts.accepted + all.counts.recovered == 0) {
            why.push("no packet was carried".to_owned());
        }
        for fault in meta.faults.iter().filter(|id| !self.acted.contains(*id)) {
            let waited = self.waited_for(fault).map_or_else(String::new, |told| format!("; {told}"));
            why.push(format!("{fault} took effect in no seed{waited}"));
        }
        if meta.checks == 0 {
            why.push("no check was evaluated".to_owned());
        }
        why
    }

    /// What the first seed says of a fault, or of a condition, that was waited for.
    fn waited_for(&self, what: &str) -> Option<String> {
        let (seed, told) = self.waited.get(what)?.first_key_value()?;
        Some(format!("in seed {seed} {told}"))
    }

    fn recovery(&self) -> Vec<Recovery> {
        let mut by_name: BTreeMap<String, Vec<&Group>> = BTreeMap::new();
        for group in self.recoveries.values().flatten() {
            by_name.entry(group.name()).or_default().push(group);
        }
        let spread = |groups: &[&Group], part| Spread {
            p50: measure::recovery(groups, part, Percentile::P50),
            p95: measure::recovery(groups, part, Percentile::P95),
            max: measure::recovery(groups, part, Percentile::Max),
        };
        by_name
            .into_iter()
            .map(|(fault, groups)| Recovery {
                fault,
                n: groups.len() as u64,
                not_shown: groups.iter().filter(|group| group.steady == Outcome::Unknown).count() as u64,
                by_twin: groups.iter().all(|group| group.by_twin),
                steady_from_heal_ms: spread(&groups, Part::Steady(Since::Heal)),
                first_output_from_heal_ms: spread(&groups, Part::FirstOutput(Since::Heal)),
                drained_from_heal_ms: spread(&groups, Part::Drained(Since::Heal)),
                detect_from_start_ms: Some(spread(&groups, Part::Detect)),
                steady_from_start_ms: Some(spread(&groups, Part::Steady(Since::Start))),
                first_output_from_start_ms: Some(spread(&groups, Part::FirstOutput(Since::Start))),
                drained_from_start_ms: Some(spread(&groups, Part::Drained(Since::Start))),
                deficit: spread(&groups, Part::Deficit),
            })
            .collect()
    }
}

/// The waterfalls of all seeds, a sink at a time: in order of the seeds, as a stage that only some have stands where it stands in
/// the first of them.
fn poured(seeds: &BTreeMap<u64, Vec<Waterfall>>) -> Vec<Waterfall> {
    let mut sums: Vec<Waterfall> = Vec::new();
    for more in seeds.values().flatten() {
        let Some(known) = sums.iter_mut().find(|known| known.sink == more.sink) else {
            sums.push(more.clone());
            continue;
        };
        known.events += more.events;
        for (at, stage) in more.stages.iter().enumerate() {
            match known.stages.iter_mut().find(|known| (&known.stage, known.kind) == (&stage.stage, stage.kind)) {
                Some(known) => known.ns += stage.ns,
                None => known.stages.insert(at.min(known.stages.len()), stage.clone()),
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Kind, Stage};
    use crate::sample::{meta, run};

    #[test]
    fn seeds_add_up_to_the_same_in_any_order() {
        let of = |seed: u64, stages: &[&str]| {
            let kind = |stage: &str| if stage == "retry" { Kind::Retry } else { Kind::Service };
            let stage = |stage: &&str| Stage { stage: stage.replace("retry", "link"), kind: kind(stage), ns: seed };
            let stages = stages.iter().map(stage).collect();
            SeedRun {
                waterfalls: vec![Waterfall { sink: "hub.raw".into(), events: 1, stages }],
                ..run(seed, |number| Some(number % 9))
            }
        };
        let runs = [of(1, &["queue", "link"]), of(2, &["queue", "retry", "link"]), of(3, &["wait", "link"])];
        let pooled = |order: [usize; 3]| {
            let mut pool = Pool::default();
            order.into_iter().for_each(|at| pool.add(&runs[at]));
            pool.finish(&meta("smoke"))
        };
        let first = pooled([0, 1, 2]);
        assert_eq!(first, pooled([2, 0, 1]));
        assert_eq!(first, pooled([1, 2, 0]));
        let way = &first.waterfalls[0];
        let stages: Vec<(&str, Option<Kind>)> =
            way.stages.iter().map(|stage| (stage.stage.as_str(), stage.kind)).collect();
        let (worked, again) = (Some(Kind::Service), Some(Kind::Retry));
        assert_eq!(stages, [("wait", worked), ("queue", worked), ("link", again), ("link", worked)]);
        let kinds = way.by_kind().expect("each stage has one").map(|(kind, ms)| (kind.name(), (ms * 3e6).round()));
        assert_eq!(kinds, [("queue", 0.0), ("service", 12.0), ("link", 0.0), ("retry", 2.0)]);
    }
}
