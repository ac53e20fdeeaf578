//! The one seed of a scenario that a run draws: over time, as a trace beside its twin, and, where it failed, everything that
//! happened.

use std::collections::BTreeMap;

use seaworthy_harness::chrome;
use seaworthy_harness::plan::Plan;
use seaworthy_harness::run::{Judged, Prepared};
use seaworthy_harness::story::{self, Line};
use seaworthy_reports::result::{Scenario, Seed, Verdict};
use seaworthy_reports::run::SeedRun;
use seaworthy_reports::series::{SCHEMA, Series, Timelines};

/// Each seed over time, as it ends; only one of them is drawn.
#[derive(Default)]
pub(crate) struct Timed(BTreeMap<u64, Series>);

/// What is kept of that seed.
pub(crate) struct Drawn {
    pub(crate) timelines: Timelines,
    /// `trace.json`, of a simulated run.
    pub(crate) trace: Option<String>,
    /// `history.jsonl`, of one that failed.
    pub(crate) history: Option<String>,
}

impl Drawn {
    /// Of one that failed, where its trace is in the folder of its scenario.
    pub(crate) fn told(&self, dir: &str) -> Option<String> {
        let beside = if self.timelines.twin.is_some() { " beside the same without its faults" } else { "" };
        let seed = self.timelines.seed;
        self.history.as_ref().map(|_| format!("trace: {dir}/trace.json (seed {seed}{beside}, for ui.perfetto.dev)"))
    }
}

impl Timed {
    pub(crate) fn add(&mut self, run: &SeedRun) {
        self.0.insert(run.seed, Series::of(run));
    }

    /// A run that has no twin, and that no command runs again just so.
    pub(crate) fn alone(&self, result: &Scenario) -> Option<Drawn> {
        let (seed, _) = picked(result)?;
        let timelines = self.timelines(result, seed.seed, String::new(), None)?;
        Some(Drawn { timelines, trace: None, history: None })
    }

    /// The seed that is drawn, beside the same without its faults. `plan` is the file of the plan that ran in place of the seed's
    /// own, if one did, and what it holds.
    pub(crate) fn drawn(&self, prepared: &Prepared, result: &Scenario, plan: Option<(&str, &Plan)>) -> Option<Drawn> {
        let (seed, failed) = picked(result)?;
        let seed = seed.seed;
        let debug = match plan {
            _ if !failed => String::new(),
            Some((path, _)) => format!("seaworthy debug {} --plan {path}", prepared.path()),
            None => format!("seaworthy debug {} --seed {seed}", prepared.path()),
        };
        let plan = plan.map_or_else(|| prepared.plan(seed), |(_, plan)| plan.clone());
        let twin = twin(prepared, &plan);
        let timelines = self.timelines(result, seed, debug, twin.as_ref().map(|twin| Series::of(&twin.run)))?;
        // Without a picture the page says less, and nothing wrong.
        let lines = prepared.run_alone(&plan, true).ok().map(|run| story::lines(prepared.world(), &plan, &run));
        let trace = lines.as_ref().map(|lines| trace(prepared, &plan, lines, twin.as_ref()));
        let history = lines.filter(|_| failed).map(|lines| history(&lines));
        Some(Drawn { timelines, trace, history })
    }

    fn timelines(&self, result: &Scenario, seed: u64, debug: String, twin: Option<Series>) -> Option<Timelines> {
        let run = self.0.get(&seed)?.clone();
        Some(Timelines { schema: SCHEMA.to_owned(), scenario: result.id.clone(), seed, debug, run, twin })
    }
}

/// The first seed that failed, or else the one with the highest p99; and whether it failed.
fn picked(result: &Scenario) -> Option<(&Seed, bool)> {
    let failed = result.seeds.iter().find(|seed| seed.verdict == Verdict::Fail);
    Some((failed.or_else(|| result.slowest())?, failed.is_some()))
}

/// The same without the plan's faults, with its trace; `None` where there are none.
pub(crate) fn twin(prepared: &Prepared, plan: &Plan) -> Option<Judged> {
    let calm = without_faults(plan);
    (!plan.steps.is_empty()).then(|| prepared.run_twin(&calm, plan, true).ok())?
}

fn without_faults(plan: &Plan) -> Plan {
    Plan { steps: Vec::new(), ..plan.clone() }
}

/// `trace.json` of a run with these lines, and of its twin.
pub(crate) fn trace(prepared: &Prepared, plan: &Plan, lines: &[Line], twin: Option<&Judged>) -> String {
    let twin = twin.map(|twin| story::lines(prepared.world(), &without_faults(plan), twin));
    format!("{}\n", chrome::document(plan.seed, lines, twin.as_deref()))
}

/// `history.jsonl`: everything that happened, a line each.
pub(crate) fn history(lines: &[Line]) -> String {
    let line = |line: &Line| serde_json::to_string(line).expect("a line holds only texts and numbers") + "\n";
    lines.iter().map(line).collect()
}
