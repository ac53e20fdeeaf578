//! Runs the conformance kit against every kind of channel that there is, and says what came of each.
//!
//! ```text
//! cargo run --example channel_kit
//! ```
//! A kind of your own is one more line in the list: whatever implements `Kind` and `Rig` of `seaworthy_harness::kit`.

use std::process::ExitCode;

use seaworthy_harness::kit::kinds::{InJournal, InMemory};
use seaworthy_harness::kit::{self, Kind, Outcome};

fn main() -> ExitCode {
    let kinds: [&dyn Kind; 3] = [&InMemory, &InJournal::here(), &InJournal::behind_a_lane()];
    let mut all_passed = true;
    for kind in kinds {
        // Virtual time: what a case waits for takes no time.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let report = runtime.expect("a runtime needs nothing from the machine").block_on(kit::run(kind));
        let (passed, failed) = (report.passed().len(), report.failed().len());
        let beyond = report.outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::NotPromised(_))).count();
        println!("{}: {passed} passed, {failed} failed, {beyond} not promised", report.kind);
        if failed > 0 {
            println!("{report}");
            all_passed = false;
        }
    }
    if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
