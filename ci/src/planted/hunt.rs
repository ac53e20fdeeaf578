//! The hunt for one bug: the project's scenarios as they are, then under drawn faults, until a promise breaks or the budget
//! is spent; then the failing plan is made small.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::child::{self, Ended};
use crate::outcome::Failed;

/// Most seconds to make one failing plan small.
const SHRINK_S: u32 = 120;
/// How a watchdog's word begins.
const SPINS: &str = "engine.spins";
/// What a panic is found as.
const ABORTED: &str = "engine.panic";
/// Clock ticks a second, in which Linux tells CPU time to programs (`USER_HZ`).
const TICKS: f64 = 100.0;

/// What came of a hunt.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hunted {
    /// The check that found it; `None` when nothing did.
    pub(super) check: Option<String>,
    /// Runs of a scenario with a seed and its faults.
    pub(super) seeds: u64,
    /// CPU seconds of all of them.
    pub(super) cpu_s: f64,
    /// Steps and events of the smallest plan that shows it.
    pub(super) smallest: Option<(u64, u64)>,
    /// A line to run it again with the same build.
    pub(super) again: Option<String>,
}

/// Hunts with the command `binary` in `tree`, over `scenarios`.
pub(super) fn hunt(
    tree: &Path,
    binary: &Path,
    scenarios: &[String],
    out: &Path,
    budget_s: u32,
) -> Result<Hunted, Failed> {
    let began = children_cpu_s()?;
    let command = || {
        let mut command = Command::new(binary);
        command.current_dir(tree);
        command
    };
    // One world at a time: what counts is what it costs a core.
    let mut explore = command();
    explore.arg("explore").args(scenarios).args(["--first", "--json", "--jobs", "1", "--shrink", "0"]);
    explore.args(["--cpu", "--budget", &budget_s.to_string()]).arg("--out").arg(out);
    let ended = child::run(explore)?;
    let cpu_s = children_cpu_s()? - began;
    if spins(&ended) {
        return Ok(Hunted { check: Some(SPINS.to_owned()), cpu_s, ..Hunted::default() });
    }
    // A signal ended it: a panic of the engine within the end of another aborts the program, which then tells no plan.
    if ended.code.is_none() {
        return Ok(Hunted { check: Some(ABORTED.to_owned()), cpu_s, ..Hunted::default() });
    }
    let explored = said(ended, &[0, 1])?;
    let seeds = explored["trials"].as_u64().unwrap_or_default();
    let failure = &explored["failures"][0];
    let Some(check) = failure["check"].as_str().map(str::to_owned) else {
        return Ok(Hunted { seeds, cpu_s, ..Hunted::default() });
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut shrink = command();
    shrink.arg("shrink").arg(text(&failure["scenario"])).args(["--check", &check, "--json"]);
    shrink
        .args(["--budget", &SHRINK_S.to_string(), "--plan", &text(&failure["smallest"]["plan"])])
        .arg("--out")
        .arg(out);
    let ended = child::run(shrink)?;
    if spins(&ended) {
        return Ok(Hunted { check: Some(check), seeds, cpu_s, ..Hunted::default() });
    }
    let smallest = said(ended, &[1])?;
    let size = smallest["steps"].as_u64().zip(smallest["events"].as_u64());
    Ok(Hunted { check: Some(check), seeds, cpu_s, smallest: size, again: Some(text(&smallest["again"])) })
}

/// Whether a command was ended by its watchdog: a world that hangs can't be told of in JSON.
fn spins(ended: &Ended) -> bool {
    ended.lines.iter().any(|line| line.starts_with(SPINS))
}

/// What a command said that prints JSON and ends with one of those codes.
fn said(ended: Ended, codes: &[i32]) -> Result<Value, Failed> {
    let text = ended.lines.join("\n");
    if !ended.code.is_some_and(|code| codes.contains(&code)) {
        return Err(Failed::because(format!("ended with {:?}: {text}", ended.code)));
    }
    // What goes to stderr may stand before and behind it.
    let json = text.find("{\n").zip(text.rfind("\n}")).map(|(from, to)| &text[from..to + 2]);
    let json = json.ok_or_else(|| Failed::because(format!("said no JSON: {text}")))?;
    serde_json::from_str(json).map_err(|error| Failed::because(format!("{error}: {json}")))
}

/// CPU seconds of all children that have ended, and of theirs, as Linux tells them in /proc.
fn children_cpu_s() -> Result<f64, Failed> {
    let stat = std::fs::read_to_string("/proc/self/stat")
        .map_err(|error| Failed::because(format!("could not read /proc/self/stat: {error}")))?;
    cpu_of(&stat).ok_or(Failed::because("/proc/self/stat is not as proc(5) has it".to_owned()))
}

/// Fields 16 and 17, counted from the end of the name, which may hold anything.
fn cpu_of(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(13)?.parse::<f64>().ok()? + fields.get(14)?.parse::<f64>().ok()?;
    Some(ticks / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 150 250 20 0 1 0 9";
        assert_eq!(cpu_of(stat), Some(4.0));
        assert_eq!(cpu_of("7"), None);
    }
}
