//! The report of a real run: what was counted, in wall time, and no more than that.
#![expect(clippy::disallowed_methods, reason = "the command writes its report; the engine asks env.disk")]

use std::path::Path;

use serde::Serialize;

use super::console::Console;
use super::tally::Tally;
use crate::exit::Exit;

/// Ends of incarnations that are kept; the oldest go first.
const ENDS_MAX: usize = 32;
/// Findings of recoveries that are kept; the oldest go first.
const RECOVERY_MAX: usize = 64;

/// `seaworthy.run/v1`, as `docs/schema/run.v1.schema.json` says.
#[derive(Serialize)]
pub(super) struct Report {
    schema: &'static str,
    seaworthy: &'static str,
    file: String,
    verdict: &'static str,
    exit: u8,
    time: &'static str,
    wall_ms: u64,
    processes: Vec<ProcessReport>,
    #[serde(skip)]
    outcome: Exit,
}

/// What is known of one process, over all its incarnations.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ProcessReport {
    pub(super) id: String,
    pub(super) graph_hash: String,
    /// Incarnations.
    pub(super) starts: u64,
    /// How the newest of them ended, oldest first.
    ends: Vec<String>,
    /// False when an incarnation died before it could tell all that it had counted: counts are then too low.
    pub(super) counts_complete: bool,
    pub(super) counts: Tally,
    /// What opening the journal found.
    recovery: Vec<String>,
}

impl ProcessReport {
    pub(super) fn new(id: &str, graph_hash: u64) -> ProcessReport {
        let graph_hash = format!("{graph_hash:016x}");
        ProcessReport { id: id.to_owned(), graph_hash, counts_complete: true, ..ProcessReport::default() }
    }

    pub(super) fn ended(&mut self, how: String) {
        keep(&mut self.ends, how, ENDS_MAX);
    }

    pub(super) fn found(&mut self, finding: String) {
        keep(&mut self.recovery, finding, RECOVERY_MAX);
    }
}

fn keep(list: &mut Vec<String>, entry: String, max: usize) {
    if list.len() == max {
        list.remove(0);
    }
    list.push(entry);
}

impl Report {
    pub(super) fn of(file: &str, exit: Exit, wall_ms: u64, processes: Vec<ProcessReport>) -> Report {
        Report {
            schema: "seaworthy.run/v1",
            seaworthy: env!("CARGO_PKG_VERSION"),
            file: file.to_owned(),
            verdict: if exit == Exit::Pass { "pass" } else { "fail" },
            exit: exit as u8,
            time: "wall",
            wall_ms,
            processes,
            outcome: exit,
        }
    }

    /// Says how the run ended and writes the report where it is wanted; gives the command's exit.
    pub(super) fn close(&self, console: &Console, path: Option<&Path>) -> Exit {
        let exit = self.outcome;
        console.end_progress();
        for process in &self.processes {
            console.say(&process.counts.line(&process.id));
        }
        console.say(&format!("ended with {} after {:.1} s", self.exit, self.wall_ms as f64 / 1000.0));
        let Some(path) = path else { return exit };
        let mut text = serde_json::to_vec_pretty(self).expect("a report holds only text, numbers and lists");
        text.push(b'\n');
        let replaces = path.exists();
        match std::fs::write(path, text) {
            Ok(()) => {
                let verb = if replaces { "replaced" } else { "wrote" };
                console.say(&format!("{verb} {}", path.display()));
                exit
            }
            Err(error) => {
                console.say(&format!("could not write the report {}: {error}", path.display()));
                exit.and(Exit::Environment)
            }
        }
    }
}
