//! How a run ended, and the report of it: what its ledger comes to, and what its processes counted themselves.

use std::path::Path;

use seaworthy_reports::render::{json, text};
use seaworthy_reports::result::{Objection, Process, ResultFile, Time};

use super::console::Console;
use super::ledger::Ledger;
use super::tally::Tally;
use crate::exit::Exit;
use crate::files::write_whole;
use crate::worlds::commit;

/// Ends of lives that are kept; the oldest go first.
const ENDS_MAX: usize = 32;
/// Findings of recoveries that are kept; the oldest go first.
const RECOVERY_MAX: usize = 64;
/// The smallest difference of wall time that counts, ms.
const RESOLUTION_MS: u32 = 1;

/// How a run ended.
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) wall_ms: u64,
    /// All input had ended, and all was delivered.
    pub(super) is_drained: bool,
    pub(super) processes: Vec<ProcessReport>,
}

/// What is known of one process, over all its lives.
#[derive(Clone, Debug, Default)]
pub(super) struct ProcessReport {
    pub(super) id: String,
    graph_hash: String,
    /// Lives.
    pub(super) starts: u64,
    /// How the newest of them ended, oldest first.
    ends: Vec<String>,
    /// False when a life was killed before it could tell all that it had counted: counts are then too low.
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

    fn told(self) -> Process {
        let ProcessReport { id, graph_hash, starts, ends, counts_complete, counts, recovery } = self;
        Process { id, graph_hash, starts, ends, counts_complete, counts: counts.into(), recovery }
    }
}

fn keep(list: &mut Vec<String>, entry: String, max: usize) {
    if list.len() == max {
        list.remove(0);
    }
    list.push(entry);
}

impl Ended {
    /// Says how the run ended and writes the report where it is wanted; gives the command's exit.
    pub(super) fn close(self, console: &Console, file: &str, report: Option<(Ledger, &Path)>) -> Exit {
        let exit = self.exit;
        console.end_progress();
        for process in &self.processes {
            console.say(&process.counts.line(&process.id));
        }
        console.say(&format!("ended with {} after {:.1} s", exit as u8, self.wall_ms as f64 / 1000.0));
        let Some((ledger, path)) = report else { return exit };
        let (mut scenario, duration_ms) = ledger.close(self.is_drained);
        scenario.processes = self.processes.into_iter().map(ProcessReport::told).collect();
        let id = scenario.id.clone();
        let mut result = ResultFile::new(&commit(), Time::Wall, RESOLUTION_MS, vec![scenario]);
        if exit != Exit::Pass {
            let what = format!("it ended with {}", exit as u8);
            result.object([Objection { scenario: id, step: "run".to_owned(), exit: Exit::Failed as u8, what }]);
        }
        let heading = text::Heading { path: file, plan: None, duration_ms, all_expectations: true };
        console.say(&text::scenario(&result, &result.scenarios[0], &heading));
        let replaces = path.exists();
        match write_whole(&path.to_string_lossy(), &json::result(&result)) {
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
