//! A scenario on the real machine: rounds at wall time, judged by the same ledger and checks.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Mutex;

use seaworthy_engine::journal::JournalOptions;
use seaworthy_reports::pool::ScenarioMeta;

use super::{Judged, Prepared, RunError, count_disturbed, panicking};
use crate::calibrate::{self, Seen};
use crate::conditions::{Sometimes, trigger};
use crate::load::{LoadError, LoadEvent, disturb, workload};
use crate::outside;
use crate::plan::{Ns, Plan};
use crate::real::{self, RoundError, RoundFaults, RoundOptions};
use crate::reference;
use crate::scenario::{self, Scenario, Sim};
use crate::sim::recorder::Recorder;
use crate::world::{SeedOutcome, WorldOptions};

/// Why a round on the real machine says nothing.
#[derive(Debug, thiserror::Error)]
pub enum RealError {
    /// It could not be run to its end.
    #[error(transparent)]
    Round(#[from] RoundError),
    /// The load can't be made that long.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// More events than a round may have.
    #[error("a round of {events} events is more than {ROUND_EVENTS_MAX}; lower the rate or shorten the round")]
    TooMany {
        /// How many there would be.
        events: usize,
    },
    /// A fault that only a simulated world has.
    #[error("fault `{fault}` ({kind}) is one that a real machine can't be made to have; it can have {}", real::KINDS.join(", "))]
    NotReal {
        /// Its name in the file.
        fault: String,
        /// Its kind.
        kind: &'static str,
    },
    /// A node that this binary doesn't hold.
    #[error(
        "`{node}` has a stand-in, which a simulated world can charge for and a real machine can't; run it by a binary that holds its plugin"
    )]
    StandIn {
        /// The node.
        node: String,
    },
    /// The harness itself is wrong.
    #[error(transparent)]
    Books(#[from] RunError),
}

/// Most events of a round on the real machine: everything that happens to each is kept until it is judged, some 2 KiB.
pub const ROUND_EVENTS_MAX: usize = 500_000;

/// What a round on the real machine is made of.
#[derive(Clone, Debug)]
pub struct Real {
    /// Where journals are kept; empty at first.
    pub dir: PathBuf,
    /// How long the load lasts, ns.
    pub duration_ns: Ns,
    /// The journals; the process is put in.
    pub journal: JournalOptions,
    /// Whether the scenario's faults happen, too.
    pub faults: bool,
}

impl Prepared {
    /// Runs and judges a round on the real machine: the load of the seed `round` at wall time, with its faults where they are
    /// asked for.
    ///
    /// # Errors
    /// When it can't be run to its end, or the harness's own books don't balance.
    pub fn run_real(&self, round: u64, real: &Real) -> Result<Judged, RealError> {
        let scenario =
            Scenario { sim: Sim { duration_ns: real.duration_ns, ..self.scenario.sim }, ..self.scenario.clone() };
        if let Some(stand_in) = scenario.stand_ins.first() {
            return Err(RealError::StandIn { node: stand_in.node.clone() });
        }
        let mut workload = workload(&scenario, round, &self.rows)?;
        if workload.len() > ROUND_EVENTS_MAX {
            return Err(RealError::TooMany { events: workload.len() });
        }
        let plan = match real.faults {
            true => scenario::compile(&scenario, round),
            false => Plan { seed: round, ..Plan::default() },
        };
        if let Some(step) = plan.steps.iter().find(|step| !real::is_known(&step.action)) {
            return Err(RealError::NotReal { fault: step.fault.clone(), kind: step.action.kind() });
        }
        let disturbed = disturb(&mut workload, &plan);
        let recorder = Recorder::new(round, false);
        let mut journal = real.journal.clone();
        let sizes = scenario.engine;
        journal.segment_bytes = sizes.segment_bytes.unwrap_or(journal.segment_bytes);
        journal.retain_ns = sizes.retain_ns.unwrap_or(journal.retain_ns);
        journal.retain_bytes = sizes.retain_bytes.unwrap_or(journal.retain_bytes);
        journal.durability = sizes.durability.unwrap_or(journal.durability);
        journal.frame_bytes_max = sizes.frame_bytes.map_or(journal.frame_bytes_max, |bytes| bytes as usize);
        let system = self.system(&recorder).with_panicking(panicking(&plan)).with_journal(journal);
        let faults = real.faults.then(|| RoundFaults { plan: plan.clone(), trigger: trigger(), gauges: self.gauges() });
        let warmup_ns = scenario.sim.warmup_ns.min(real.duration_ns / 5);
        let WorldOptions { drain_ns, load_window, .. } = WorldOptions::new(recorder.clone());
        let (dir, duration_ns) = (real.dir.clone(), real.duration_ns);
        let options = RoundOptions { recorder, dir, warmup_ns, duration_ns, drain_ns, load_window, faults };
        let before_ns = real::cpu_ns();
        let mut history = real::run_round(Rc::new(system), workload.clone(), options)?;
        let cpu_ns = real::cpu_ns() - before_ns;
        count_disturbed(&mut history, &disturbed);
        let hosts = outside::buriers(&history);
        history.dead_letters = outside::dead_letters(real::files(&real.dir, &hosts)?);
        let hits = Mutex::new(Sometimes::new(&self.scenario));
        let outcome = SeedOutcome { history, ..SeedOutcome::default() };
        let mut judged = self.judge(&plan, workload, outcome, &self.limits(), &hits)?;
        // Conditions are of a run with faults, and two real runs are never the same.
        judged.run.sometimes.clear();
        judged.run.waited.clear();
        judged.run.trace_hash = String::new();
        judged.run.cpu_ns = Some(cpu_ns);
        self.pour(&mut judged);
        Ok(judged)
    }

    /// Measures what each node of the graph costs here: the events of seed 1 go through it `rounds` times, and of each packet
    /// the fastest time counts.
    ///
    /// # Panics
    /// Never: the load was made once when the scenario was read.
    #[must_use]
    pub fn calibrate(&self, rounds: u32) -> Vec<Seen> {
        let workload = self.workload(1).expect("the load was made once when the scenario was read");
        let event = |event: &LoadEvent| reference::LoadEvent {
            entry: event.entry.as_str().into(),
            seq: event.seq,
            draft: event.draft.clone(),
        };
        let mut seen = calibrate::measure(rounds, || self.flow(), || workload.iter().map(event).collect());
        // What stands in says itself what it costs.
        seen.retain(|seen| self.scenario.stand_ins.iter().all(|stand_in| stand_in.node != seen.node));
        seen
    }

    /// What the reports know of rounds on the real machine. Without its faults, the objectives of a scenario that has some are
    /// of another run; with them, those of recovery are, as no real round has a twin.
    #[must_use]
    pub fn real_meta(&self, real: &Real) -> ScenarioMeta {
        let meta = self.meta();
        let faults = if real.faults { ".faults" } else { "" };
        let hash = format!("{}.{}ms.{}{faults}", meta.hash, real.duration_ns / 1_000_000, real.journal.durability);
        let mut objectives = meta.objectives;
        objectives.retain(|objective| meta.faults.is_empty() || real.faults && !objective.what.starts_with("recovery"));
        ScenarioMeta { hash, objectives, faults: if real.faults { meta.faults } else { Vec::new() }, ..meta }
    }
}
