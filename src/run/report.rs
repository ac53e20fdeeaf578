//! How a run ended, and the report of it: what its ledger comes to, and what its processes counted themselves.

use std::path::Path;

use seaworthy_reports::render::{json, text};
use seaworthy_reports::result::{Objection, Process, ResultFile, Time};

use super::console::Console;
use super::ledger::Ledger;
use super::tally;
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
    pub(super) processes: Vec<Process>,
}

/// A process that was not started yet.
pub(super) fn unstarted(id: &str, graph_hash: u64) -> Process {
    let graph_hash = format!("{graph_hash:016x}");
    Process { id: id.to_owned(), graph_hash, counts_complete: true, ..Process::default() }
}

/// A life of a process ended so.
pub(super) fn ended(process: &mut Process, how: String) {
    keep(&mut process.ends, how, ENDS_MAX);
}

/// Opening the journal of a process found this.
pub(super) fn found(process: &mut Process, finding: String) {
    keep(&mut process.recovery, finding, RECOVERY_MAX);
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
            console.say(&tally::line(&process.id, &process.counts));
        }
        console.say(&format!("ended with {} after {:.1} s", exit as u8, self.wall_ms as f64 / 1000.0));
        let Some((ledger, path)) = report else { return exit };
        let (mut scenario, duration_ms) = ledger.close(self.is_drained);
        scenario.processes = self.processes;
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
