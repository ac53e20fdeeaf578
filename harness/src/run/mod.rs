//! A scenario, start to end: files in, seeds run, judged and pooled. The engine is put into the world here.

#[cfg(test)]
mod every_kind;
mod read;
mod real;
mod witnessed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use seaworthy_engine::node::{Class, Registry};
use seaworthy_engine::process::ProcessPlan;
use seaworthy_reports::pool::{Pool, ScenarioMeta};
use seaworthy_reports::recovery;
use seaworthy_reports::render::text;
use seaworthy_reports::result::Verdict;
use seaworthy_reports::run::{SeedRun, Twin};
use serde::{Deserialize, Serialize};

pub use self::read::{PrepareError, ReadText, read_graph};
pub use self::real::{ROUND_EVENTS_MAX, Real, RealError};
pub use self::witnessed::{Witnessed, WitnessedError};
use crate::adapt;
use crate::calibrate::Calibration;
use crate::check::{self, Case, ChannelAt, InboxAt, Limits, Violation};
use crate::conditions::{Sometimes, trigger};
use crate::engine_system::EngineSystem;
use crate::fault::lane_proxy::ProxyFaults;
use crate::fault::wants_proxy;
use crate::figures::{SeedFacts, seed_run};
use crate::flow::{self, Struck};
use crate::history::{History, began};
use crate::ledger::{self, Declared, LedgerError};
use crate::load::{LoadError, LoadEvent, Rows, disturb, workload};
use crate::members::Members;
use crate::outside;
use crate::parallel::in_parallel_then;
use crate::plan::{Action, Ns, Plan, Step};
use crate::reference::{self, Flow};
use crate::scenario::{self, Metric, PlanProblems, Scenario, Sources, World};
use crate::sim::cpu::CpuModel;
use crate::sim::disk::SimDisk;
use crate::sim::recorder::Recorder;
use crate::sim::trace::{Trace, first_difference};
use crate::still;
use crate::undone;
use crate::waterfall::waterfall;
use crate::world::{SeedOutcome, WorldOptions, run_seed};

/// Why a seed says nothing: the harness itself is wrong (exit 70).
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// The books don't balance.
    #[error("seed {seed}: {error}")]
    Ledger {
        /// The seed.
        seed: u64,
        /// What doesn't balance.
        error: LedgerError,
    },
}

/// A scenario that is ready to run any seed.
pub struct Prepared {
    scenario: Scenario,
    processes: Arc<ProcessPlan>,
    members: Members,
    registry: Registry,
    rows: Arc<BTreeMap<String, Rows>>,
    calibration: Arc<Calibration>,
    world: World,
    sources: Sources,
    hash: String,
    path: String,
}

/// One seed, judged.
pub struct Judged {
    /// What the reports take.
    pub run: SeedRun,
    /// The trace, with its records where they were kept.
    pub trace: Trace,
    /// Broken promises, in order of time.
    pub violations: Vec<Violation>,
    /// For counts that objectives judge: the first event that is in each.
    pub firsts: BTreeMap<&'static str, String>,
    /// Everything that the seed left behind, as its judges saw it.
    pub history: History,
    /// The hosts' disks as the run left them.
    pub disks: BTreeMap<String, SimDisk>,
}

/// A promise or an objective that one run broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The check, or what the objective is about: `lost`, `order.key`, `latency.p99 @steady`.
    pub check: String,
    /// What was seen, in one line.
    pub message: String,
    /// When it could first be seen, virtual ns; `None` for an objective.
    pub at_ns: Option<u64>,
}

impl Judged {
    /// The broken promises of this run, in order of time, then the objectives that it misses for itself.
    #[must_use]
    pub fn failures(&self, prepared: &Prepared) -> Vec<Failure> {
        let seen = |violation: &Violation| Failure {
            check: violation.check.clone(),
            message: violation.message.clone(),
            at_ns: Some(violation.at_ns),
        };
        let mut failures: Vec<Failure> = self.violations.iter().map(seen).collect();
        let mut pool = Pool::default();
        pool.add(&self.run);
        let missed = pool.finish(&prepared.meta()).expect.into_iter().filter(|found| found.verdict == Verdict::Fail);
        failures.extend(missed.map(|missed| {
            let first = self.firsts.get(&*missed.what).map_or_else(String::new, |first| format!("; first: {first}"));
            let message = format!("{} {}, but it is {}{first}", missed.what, missed.limit, text::figure(&missed.got));
            Failure { message, check: missed.what, at_ns: None }
        }));
        failures
    }
}

impl Prepared {
    /// The scenario.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Its file, as the user wrote it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The smallest difference of time that a run can tell, ms.
    ///
    /// # Panics
    /// Never: a scenario's tick is checked to be short.
    #[must_use]
    pub fn resolution_ms(&self) -> u32 {
        u32::try_from(self.scenario.sim.tick_ns / 1_000_000).expect("a tick is far below 49 days")
    }

    /// What faults can be done to.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Whether a channel gives up packets that were delivered too often.
    pub(crate) fn gives_up(&self) -> bool {
        self.processes.channels.iter().any(|channel| channel.options.max_deliver.is_some())
    }

    /// What in the scenario will probably disappoint whoever wrote it.
    #[must_use]
    pub fn lints(&self) -> Vec<scenario::Lint> {
        scenario::lints(&self.sources, &self.scenario, &self.arrivals(1))
    }

    /// Whether a plan that somebody wrote or changed fits this scenario and its world; one of [`Prepared::plan`] does.
    ///
    /// # Errors
    /// Everything that doesn't fit.
    pub fn check_plan(&self, plan: &Plan) -> Result<(), PlanProblems> {
        scenario::check_plan(&self.scenario, &self.world, plan)
    }

    /// When each event of the load of `seed` is meant to arrive, in order, virtual ns.
    ///
    /// # Panics
    /// Never: the load was made once when the scenario was read.
    #[must_use]
    pub fn arrivals(&self, seed: u64) -> Vec<Ns> {
        let workload = self.workload(seed).expect("the load was made once when the scenario was read");
        workload.into_iter().map(|event| event.intended_ns).collect()
    }

    /// What the reports know of it beside its seeds.
    #[must_use]
    pub fn meta(&self) -> ScenarioMeta {
        ScenarioMeta {
            id: self.scenario.id.clone(),
            hash: self.hash.clone(),
            faults: self.scenario.faults.iter().map(|fault| fault.id.clone()).collect(),
            checks: check::names().count() as u64,
            promise: adapt::promise(&self.scenario.promise),
            objectives: self.scenario.expect.iter().map(adapt::objective).collect(),
            not_tested: self.scenario.stand_ins.iter().map(|stand_in| stand_in.node.clone()).collect(),
            cpu: (!self.calibration.measured.is_empty()).then(|| self.calibration.measured.clone()),
        }
    }

    /// The explicit plan of a seed.
    #[must_use]
    pub fn plan(&self, seed: u64) -> Plan {
        scenario::compile(&self.scenario, seed)
    }

    fn workload(&self, seed: u64) -> Result<Vec<LoadEvent>, LoadError> {
        workload(&self.scenario, seed, &self.rows)
    }

    /// Runs and judges one seed.
    ///
    /// # Errors
    /// When the harness's own books don't balance.
    pub fn run_seed(&self, seed: u64, keep_trace: bool) -> Result<Judged, RunError> {
        self.run_plan(&self.plan(seed), keep_trace)
    }

    /// Runs and judges one plan. Where an objective asks for recovery, the same plan without the faults of each group runs,
    /// too: the twins that recovery is measured beside.
    ///
    /// # Errors
    /// When the harness's own books don't balance.
    pub fn run_plan(&self, plan: &Plan, keep_trace: bool) -> Result<Judged, RunError> {
        let mut judged = self.run_alone(plan, keep_trace)?;
        let of_recovery = |metric: &Metric| matches!(metric, Metric::Recovery { .. } | Metric::Deficit { .. });
        let asked = self.scenario.expect.iter().any(|objective| of_recovery(&objective.what));
        if asked && !plan.steps.is_empty() {
            self.add_twins(plan, &mut judged)?;
        }
        self.pour(&mut judged);
        Ok(judged)
    }

    /// Where the time of its events went.
    fn pour(&self, judged: &mut Judged) {
        judged.run.waterfalls = waterfall(&judged.history, &self.flow(), &self.members);
    }

    /// The graphs as one, with each node freshly built.
    fn flow(&self) -> Flow {
        flow::of(&self.processes, &self.members, &self.registry, &Struck::new())
    }

    /// The processes, with what the load feeds.
    fn system(&self, recorder: &Arc<Recorder>) -> EngineSystem {
        let entries = self.scenario.loads.iter().map(|load| load.entry.clone()).collect();
        let (processes, members) = (self.processes.clone(), self.members.clone());
        EngineSystem::new(recorder.clone(), processes, members, self.registry.clone(), &entries)
    }

    /// A twin for each group of faults; other faults come when they came. It ends when it has said enough of how the group was
    /// left behind: what it says is then what a whole one would.
    fn add_twins(&self, plan: &Plan, judged: &mut Judged) -> Result<(), RunError> {
        let mut frozen = plan.clone();
        frozen.freeze(began(&judged.history.applied));
        let twin = |faults: &[String], end_ns: Option<Ns>| {
            let mut plan = frozen.clone();
            plan.steps.retain(|step| !faults.contains(&step.fault));
            plan.end_ns = end_ns.or(plan.end_ns);
            Ok(Twin::of(&self.run_twin(&plan, &frozen, false)?.run, faults.to_vec(), end_ns))
        };
        let mut ends: BTreeMap<Vec<String>, Option<Ns>> = BTreeMap::new();
        for group in recovery::groups(&judged.run) {
            let end_ns = recovery::twin_end_ns(&judged.run, &group);
            // Faults that come back later make another group, which has the same twin.
            let latest = ends.entry(group.faults).or_insert(end_ns);
            *latest = latest.zip(end_ns).map(|(one, other)| one.max(other));
        }
        judged.run.twins =
            ends.iter().map(|(faults, end_ns)| twin(faults, *end_ns)).collect::<Result<_, RunError>>()?;
        let told = recovery::groups(&judged.run);
        for early in &mut judged.run.twins {
            if told.iter().any(|group| !group.by_twin && group.faults == early.faults) {
                *early = twin(&early.faults, None)?;
            }
        }
        Ok(())
    }

    /// Runs and judges one plan by itself: without twins, and without where the time goes.
    ///
    /// # Errors
    /// When the harness's own books don't balance.
    pub fn run_alone(&self, plan: &Plan, keep_trace: bool) -> Result<Judged, RunError> {
        self.run_routed(plan, wants_proxies(plan), keep_trace)
    }

    /// Runs and judges a plan that another leaves things out of, on the ways that bytes take under that one.
    ///
    /// # Errors
    /// When the harness's own books don't balance.
    pub fn run_twin(&self, plan: &Plan, of: &Plan, keep_trace: bool) -> Result<Judged, RunError> {
        self.run_routed(plan, wants_proxies(of), keep_trace)
    }

    fn run_routed(&self, plan: &Plan, proxies: bool, keep_trace: bool) -> Result<Judged, RunError> {
        let mut workload = self.workload(plan.seed).expect("the load was made once when the scenario was read");
        // Of the whole load, so that a plan that leaves some out runs with the same sizes.
        let payload_bytes_max = workload.iter().map(|event| event.draft.payload.len()).max().unwrap_or(0);
        let mut number = 0;
        workload.retain(|event| {
            number += 1;
            plan.lets_in(number) && plan.end_ns.is_none_or(|end_ns| event.intended_ns < end_ns)
        });
        let disturbed = disturb(&mut workload, plan);
        let recorder = Recorder::new(plan.seed, keep_trace);
        let system = self.system(&recorder).with_panicking(panicking(plan));
        let mut system = system.with_tuning(plan.engine, payload_bytes_max as u64);
        if plan.engine.ends {
            let mut last = BTreeMap::new();
            for event in &workload {
                let last = last.entry(event.entry.clone()).or_insert(event.seq);
                *last = event.seq.max(*last);
            }
            system = system.with_ends(&last);
        }
        let hits = Arc::new(Mutex::new(Sometimes::new(&self.scenario)));
        let mut options = self.options(recorder, &hits);
        options.duration_ns = plan.end_ns.unwrap_or(options.duration_ns);
        if proxies {
            let faults = Arc::new(ProxyFaults::default());
            options.routes = system.with_proxies(&faults);
            options.lanes = Some(faults);
        }
        let mut outcome = run_seed(Box::new(system), plan, workload.clone(), options);
        count_disturbed(&mut outcome.history, &disturbed);
        let files: Vec<_> = outcome.disks.iter().map(|(host, disk)| (host.clone(), disk.snapshot())).collect();
        let kept = plan.engine.kept(payload_bytes_max as u64);
        for (host, files) in &files {
            let (letters, unsound) = still::read(host, files.clone(), outcome.history.end_ns, kept);
            outcome.history.letters.extend(letters);
            outcome.history.unsound.extend(unsound);
        }
        outcome.history.dead_letters = outside::dead_letters(files);
        self.judge(plan, workload, outcome, &self.limits(), &hits)
    }

    /// Runs a plan again, on a thread of its own; where it parts from its first run, whose trace is `first`, if it does.
    ///
    /// # Errors
    /// When the harness's own books don't balance.
    ///
    /// # Panics
    /// When the harness does.
    pub fn parts_from(&self, plan: &Plan, first: &Trace) -> Result<Option<String>, RunError> {
        let run = |keep_trace| {
            let run = || self.run_alone(plan, keep_trace).map(|judged| judged.trace);
            std::thread::scope(|scope| scope.spawn(run).join().expect("the harness panicked"))
        };
        let again = run(false)?;
        if again.hash_text() == first.hash_text() {
            return Ok(None);
        }
        let told = match first_difference(&run(true)?.records, &run(true)?.records) {
            Some((one, other)) => format!("two runs of one plan part at {one:?} and {other:?}"),
            None => "two runs of one plan parted, and two more did not".to_owned(),
        };
        Ok(Some(told))
    }

    fn options(&self, recorder: Arc<Recorder>, hits: &Arc<Mutex<Sometimes>>) -> WorldOptions {
        let sim = &self.scenario.sim;
        let watched = hits.clone();
        WorldOptions {
            tick_ns: sim.tick_ns,
            latency_ns: sim.tick_ns,
            warmup_ns: sim.warmup_ns,
            duration_ns: sim.duration_ns,
            gauges: self.gauges(),
            cpu: self.cpu(),
            trigger: trigger(),
            watch: Box::new(move |gauges| watched.lock().expect("nothing panics in a watch").look(gauges)),
            ..WorldOptions::new(recorder)
        }
    }

    /// What computation costs: nodes as they were measured, members of a group as their first.
    fn cpu(&self) -> CpuModel {
        let costs = self.processes.processes.iter().flat_map(|process| {
            process.plan.nodes.iter().filter_map(|node| {
                let measured = format!("{}.{}", self.members.told_as(&process.id), node.id);
                Some((format!("{}.{}", process.id, node.id), *self.calibration.nodes.get(&measured)?))
            })
        });
        let stand_ins = self.scenario.stand_ins.iter();
        let services = stand_ins.filter_map(|stand_in| Some((stand_in.node.clone(), stand_in.service?)));
        CpuModel { nodes: Arc::new(costs.collect()), services: Arc::new(services.collect()), ..CpuModel::default() }
    }

    /// Addresses that `at(FAULT)` may ask for.
    fn gauges(&self) -> Vec<String> {
        let ends = self.processes.channels.iter().flat_map(|channel| {
            let stores = channel.producers.iter().chain([&channel.host]);
            stores.map(|host| format!("{host}.{}.backlog", channel.id))
        });
        std::iter::once("backlog".to_owned()).chain(ends).collect()
    }

    /// What the scenario allows.
    fn limits(&self) -> Limits {
        adapt::limits(&self.scenario, self.processes.processes.iter().map(|process| &*process.id))
    }

    fn judge(
        &self,
        plan: &Plan,
        workload: Vec<LoadEvent>,
        outcome: SeedOutcome,
        limits: &Limits,
        hits: &Mutex<Sometimes>,
    ) -> Result<Judged, RunError> {
        let SeedOutcome { history, trace, violations: seen, disks } = outcome;
        let fail = |error| RunError::Ledger { seed: plan.seed, error };
        let declared = Declared {
            idempotent_sinks: self.scenario.promise.idempotent.iter().cloned().collect(),
            ..outside::declared(&history, plan)
        };
        let part = ledger::taking_part(&history, &declared);
        let events = workload.into_iter().map(|event| reference::LoadEvent {
            entry: event.entry.as_str().into(),
            seq: event.seq,
            draft: event.draft,
        });
        let events = events.filter(|event| part.contains(&(event.entry.clone(), event.seq))).collect();
        let mut flow = flow::of(&self.processes, &self.members, &self.registry, &self.struck(&history));
        let expected = reference::evaluate(&mut flow, events);
        let ledger = ledger::join(&history, &expected, &declared).map_err(fail)?;
        let (channels, inboxes) = (self.channels(), InboxAt::of(&self.processes));
        let undone = undone::undone(&history);
        let case = Case {
            history: &history,
            undone: &undone,
            ledger: &ledger,
            plan,
            limits,
            channels: &channels,
            inboxes: &inboxes,
        };
        let mut violations = seen;
        // The world names a panic before the check of that name finds it in the history.
        let panicked = violations.iter().any(|violation| violation.check == "engine.panic");
        let mut found = check::judge_all(&case, &[]);
        found.retain(|violation| !(panicked && violation.check == "engine.panic"));
        violations.extend(found);
        violations.sort_by_key(|violation| violation.at_ns);
        let hits = hits.lock().expect("nothing panics in a watch");
        let (sometimes, waited) = (hits.finish(), hits.waited());
        let facts = SeedFacts {
            seed: plan.seed,
            trace_hash: trace.hash_text(),
            tick_ns: self.scenario.sim.tick_ns,
            batch: 256,
            fault_order: self.scenario.faults.iter().map(|fault| fault.id.clone()).collect(),
            sometimes,
            waited,
        };
        let run = seed_run(facts, &history, &ledger, &violations);
        let firsts = check::first_of_each(&case);
        Ok(Judged { run, trace, violations, firsts, history, disks })
    }

    /// What became a dead letter because a fault made a node panic over it, or a sink refuse it. What went through another time is
    /// not of them.
    fn struck(&self, history: &History) -> Struck {
        let classes = [Class::PluginPanic.name(), Class::SinkPermanent.name()];
        let dead = history.dead_letters.iter().filter(|letter| classes.contains(&letter.class.as_str()));
        let dead: BTreeSet<&str> = dead.map(|letter| letter.packet_id.as_str()).collect();
        let dead = history.struck.iter().filter(|(_, packet_id)| dead.contains(packet_id.as_str()));
        let told = |address: &str| {
            let (host, node) = address.split_once('.').expect("nodes are addressed as host.node");
            format!("{}.{node}", self.members.told_as(host))
        };
        dead.map(|(node, packet_id)| (told(node), packet_id.clone())).collect()
    }

    fn channels(&self) -> Vec<ChannelAt> {
        let channels = self.processes.channels.iter();
        channels.flat_map(|channel| ChannelAt::of(channel, &self.processes)).collect()
    }

    /// Runs seeds on `jobs` threads, a world a thread, and pools them. The number of jobs changes no figure. `done` hears
    /// of each seed in the order in which they end.
    ///
    /// # Errors
    /// The first seed, by number, whose books don't balance.
    pub fn run_seeds(
        &self,
        seeds: &[u64],
        jobs: usize,
        keep_trace: bool,
        mut done: impl FnMut(&Judged),
    ) -> Result<Pool, RunError> {
        let run = |seed: &u64| self.run_seed(*seed, keep_trace);
        let mut pool = Pool::default();
        // What a seed left behind is large, and goes with it.
        let ended = in_parallel_then(seeds, jobs, run, |_, judged| {
            let judged = judged?;
            done(&judged);
            pool.add(&judged.run);
            Ok(())
        });
        ended.into_iter().collect::<Result<(), RunError>>()?;
        Ok(pool)
    }
}

/// Whether a plan needs the peer in the middle of lanes.
fn wants_proxies(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| wants_proxy(&step.action))
}

/// The nodes that a plan makes panic.
fn panicking(plan: &Plan) -> BTreeSet<String> {
    let node = |step: &Step| if let Action::NodePanic { node, .. } = &step.action { Some(node.clone()) } else { None };
    plan.steps.iter().filter_map(node).collect()
}

/// Events that a fault changed before they entered are its effects.
fn count_disturbed(history: &mut History, disturbed: &BTreeMap<usize, u64>) {
    for applied in &mut history.applied {
        applied.hits += disturbed.get(&applied.step).copied().unwrap_or(0);
    }
}
