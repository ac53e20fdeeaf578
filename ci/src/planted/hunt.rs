//! The hunt for one bug: the project's scenarios, round by round with fresh seeds, until a promise breaks or the budget of
//! CPU time is spent.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child;
use crate::outcome::Failed;
use crate::result;

/// Seeds of each scenario in the first round; later rounds have as many fresh ones.
const SEEDS_A_ROUND: u64 = 4;
/// Clock ticks a second, in which Linux tells CPU time to programs (`USER_HZ`).
const TICKS: f64 = 100.0;

/// What came of a hunt.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hunted {
    /// The check that found it; `None` when nothing did.
    pub(super) check: Option<String>,
    /// Seeds that ran.
    pub(super) seeds: u64,
    /// CPU seconds of all of them.
    pub(super) cpu_s: f64,
    /// A line to run it again with the same build.
    pub(super) again: Option<String>,
}

/// Hunts with the command `binary` in `tree`, over `scenarios` in this order.
pub(super) fn hunt(
    tree: &Path,
    binary: &Path,
    scenarios: &[String],
    out: &Path,
    budget_s: f64,
) -> Result<Hunted, Failed> {
    let began = children_cpu_s()?;
    let mut hunted = Hunted::default();
    for round in 0.. {
        for scenario in scenarios {
            hunted.cpu_s = children_cpu_s()? - began;
            if hunted.cpu_s >= budget_s {
                return Ok(hunted);
            }
            let from = round * SEEDS_A_ROUND + 1;
            let seeds = format!("{from}..{}", from + SEEDS_A_ROUND - 1);
            let mut sim = Command::new(binary);
            sim.current_dir(tree).arg("sim").arg(scenario).args(["--seeds", &seeds, "--out"]).arg(out);
            let ended = child::run(sim)?;
            hunted.seeds += SEEDS_A_ROUND;
            hunted.cpu_s = children_cpu_s()? - began;
            // A bug may also break the harness's books, or what a scenario must reach: neither is a find.
            if ended.code == Some(1)
                && let Some(check) = tripped(out, scenario)?
            {
                hunted.again = Some(format!("seaworthy sim {scenario} --seeds {seeds}"));
                hunted.check = Some(check);
                return Ok(hunted);
            }
        }
    }
    unreachable!("a budget ends")
}

/// The first check that a scenario's result says was tripped.
fn tripped(out: &Path, scenario: &str) -> Result<Option<String>, Failed> {
    let stem = Path::new(scenario).file_stem().unwrap_or_default();
    let path: PathBuf = out.join(stem).join("result.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failed::because(format!("could not read {}: {error}", path.display())))?;
    let tripped = result::tripped(&text).map_err(|why| Failed::because(format!("{}: {why}", path.display())))?;
    Ok(tripped.into_iter().next())
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
