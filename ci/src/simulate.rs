//! The steps that run scenarios: they pass, sabotages fail, and both do the same in any surroundings.

use std::path::Path;
use std::process::Command;

use crate::cargo;
use crate::child::{self, Ended};
use crate::outcome::{Failed, Outcome, Passed};
use crate::result::{self, Hashes};
use crate::tree::Tree;

/// The gate's own suite, and the deep one: a scenario for each promise.
const FOLDERS: [&str; 2] = ["scenarios", "scenarios/deep"];
/// What the project stands on; `cargo ci seeds` fails if one is gone.
const CORE: [&str; 10] = [
    "smoke",
    "uplink_cut",
    "uplink_flap",
    "delayed_acks",
    "disk_full",
    "slow_disk",
    "hub_crash",
    "power_cut",
    "restart_storm",
    "slow_sink",
];
/// The topologies of N:N channels; `cargo ci nn` fails if one is gone.
const NN: [&str; 4] = ["nn_1_2", "nn_2_1", "nn_2_2", "nn_3_3"];
const NN_SEEDS: &str = "1..2500";
const NN_SEEDS_COUNT: usize = 2500;
/// Figures of the gate's own suite; `seaworthy gate --accept REASON` makes a new one.
const BASELINE: &str = "ci/baseline.json";
const SHORT_SEEDS: &str = "1..8";
const SHORT_SEEDS_COUNT: usize = 8;
const LONG_SEEDS: &str = "1..64";
const LONG_SEEDS_COUNT: usize = 64;
/// The seed that `determinism` runs again, alone.
const AGAIN_SEED: &str = "2";

/// The product's own gate, over the deep suite, too: each scenario passes, and those of the gate are no worse than the baseline.
pub(crate) fn scenarios(tree: &Tree) -> Outcome {
    let scenarios = suites(tree)?;
    let binary = cargo::seaworthy(tree)?;
    let out = tree.scratch_for("scenarios")?;
    let mut gate = Command::new(&binary);
    gate.current_dir(tree.root())
        .arg("gate")
        .args(FOLDERS)
        .args(["--tier", "pr", "--baseline", BASELINE, "--out"])
        .arg(&out);
    let lines = child::run(gate)?.expect_code(0, "seaworthy gate")?.lines;
    let seeds = hashes_below(&out)?.len();
    // One with a matrix is several.
    if seeds < scenarios.len() * SHORT_SEEDS_COUNT || !seeds.is_multiple_of(SHORT_SEEDS_COUNT) {
        return Err(Failed { why: format!("{} scenarios, but {seeds} traces", scenarios.len()), output: lines });
    }
    let lines = lines.into_iter().filter(|line| line.trim_start().starts_with("PASS ")).collect();
    Ok(Passed { what: format!("{} scenarios, {seeds} seeds", scenarios.len()), lines, not_run: Vec::new() })
}

/// Each sabotage ends with 1, trips the check that its first line names, and says so.
pub(crate) fn must_fail(tree: &Tree) -> Outcome {
    let sabotages = tree.scenarios_in("scenarios/must_fail")?;
    let binary = cargo::seaworthy(tree)?;
    for path in &sabotages {
        let text = tree.read(path)?;
        let check = trips(&text).ok_or(Failed::because(format!("{path}: its first line must be `# trips: CHECK`")))?;
        let out = tree.scratch_for("must_fail")?;
        let simulation = Simulation { tree, binary: &binary, scenarios: std::slice::from_ref(path), out: &out };
        let said = simulation.here(&["--seeds", SHORT_SEEDS])?.expect_code(1, path)?.lines;
        let mut tripped = Vec::new();
        for text in result::texts_below(&out)?.values() {
            tripped.extend(result::tripped(text).map_err(|why| Failed::because(format!("{path}: {why}")))?);
        }
        if !tripped.iter().any(|name| name == check) {
            let why = format!("{path}: was to trip `{check}`, tripped {tripped:?}");
            return Err(Failed { why, output: said });
        }
        if !said.iter().any(|line| line.contains(check)) {
            return Err(Failed { why: format!("{path}: tripped `{check}` without saying so"), output: said });
        }
    }
    Ok(Passed::of(format!("{} sabotages", sabotages.len())))
}

/// One seed of each scenario leaves the same trace in a second process, elsewhere and alone.
pub(crate) fn determinism(tree: &Tree) -> Outcome {
    let scenarios = suites(tree)?;
    let binary = cargo::seaworthy(tree)?;
    let (first, again) = (tree.scratch_for("determinism/first")?, tree.scratch_for("determinism/again")?);
    let simulation = |out| Simulation { tree, binary: &binary, scenarios: &scenarios, out };
    simulation(&first).here(&["--seeds", "1..2"])?.expect_one_of(&[0, 4], "seaworthy sim")?;
    let (ended, not_run) = simulation(&again).elsewhere(&["--seed", AGAIN_SEED])?;
    // One seed alone may prove nothing of what a scenario expects: here only its trace counts.
    ended.expect_one_of(&[0, 4], "seaworthy sim, elsewhere")?;
    let compared = compare(&hashes_below(&first)?, &hashes_below(&again)?)?;
    if compared < scenarios.len() {
        return Err(Failed::because(format!("{} scenarios, but {compared} traces", scenarios.len())));
    }
    Ok(Passed { what: format!("{compared} traces twice"), not_run, ..Passed::default() })
}

/// The core scenarios over many seeds, twice: one job on one core elsewhere, then two jobs here.
pub(crate) fn seeds(tree: &Tree) -> Outcome {
    let scenarios = tree.scenarios_in("scenarios")?;
    if let Some(gone) = CORE.iter().find(|id| !scenarios.contains(&format!("scenarios/{id}.toml"))) {
        return Err(Failed::because(format!("scenarios/{gone}.toml is missing")));
    }
    let core: Vec<String> = CORE.iter().map(|id| format!("scenarios/{id}.toml")).collect();
    let binary = cargo::seaworthy(tree)?;
    let (one, two) = (tree.scratch_for("seeds/jobs_1")?, tree.scratch_for("seeds/jobs_2")?);
    let simulation = |out| Simulation { tree, binary: &binary, scenarios: &core, out };
    let (ended, not_run) = simulation(&one).elsewhere(&["--seeds", LONG_SEEDS, "--jobs", "1"])?;
    ended.expect_code(0, "seaworthy sim --jobs 1, elsewhere")?;
    let ended = simulation(&two).here(&["--seeds", LONG_SEEDS, "--jobs", "2"])?;
    let said = ended.expect_code(0, "seaworthy sim --jobs 2")?.lines;
    let compared = compare(&hashes_below(&one)?, &hashes_below(&two)?)?;
    if compared != CORE.len() * LONG_SEEDS_COUNT {
        return Err(Failed::because(format!("{compared} traces instead of {}", CORE.len() * LONG_SEEDS_COUNT)));
    }
    if result::texts_below(&one)? != result::texts_below(&two)? {
        return Err(Failed::because(format!("result.json differs between {} and {}", one.display(), two.display())));
    }
    let lines = said.into_iter().filter(|line| line.trim_start().starts_with("PASS ")).collect();
    Ok(Passed { what: format!("{compared} traces twice, result.json equal"), lines, not_run })
}

/// The N:N scenarios over 10,000 seeds together.
pub(crate) fn nn(tree: &Tree) -> Outcome {
    let scenarios = tree.scenarios_in("scenarios")?;
    let nn: Vec<String> = NN.iter().map(|id| format!("scenarios/{id}.toml")).collect();
    if let Some(gone) = nn.iter().find(|path| !scenarios.contains(path)) {
        return Err(Failed::because(format!("{gone} is missing")));
    }
    let binary = cargo::seaworthy(tree)?;
    let out = tree.scratch_for("nn")?;
    let ended = Simulation { tree, binary: &binary, scenarios: &nn, out: &out }.here(&["--seeds", NN_SEEDS])?;
    let lines = ended.expect_code(0, "seaworthy sim")?.lines;
    let seeds = hashes_below(&out)?.len();
    if seeds != NN.len() * NN_SEEDS_COUNT {
        return Err(Failed { why: format!("{seeds} traces instead of {}", NN.len() * NN_SEEDS_COUNT), output: lines });
    }
    let lines = lines.into_iter().filter(|line| line.trim_start().starts_with("PASS ")).collect();
    Ok(Passed { what: format!("{} scenarios, {seeds} seeds", NN.len()), lines, not_run: Vec::new() })
}

/// All that must pass.
pub(crate) fn suites(tree: &Tree) -> Result<Vec<String>, Failed> {
    let folders = FOLDERS.iter().map(|folder| tree.scenarios_in(folder));
    Ok(folders.collect::<Result<Vec<_>, Failed>>()?.concat())
}

/// The check that a sabotage is there to trip.
fn trips(text: &str) -> Option<&str> {
    let name = text.lines().next()?.strip_prefix("# trips: ")?.trim();
    (!name.is_empty() && !name.contains(char::is_whitespace)).then_some(name)
}

fn hashes_below(out: &Path) -> Result<Hashes, Failed> {
    let mut all = Hashes::new();
    for (path, text) in result::texts_below(out)? {
        let hashes = result::hashes(&text).map_err(|why| Failed::because(format!("{path}: {why}")))?;
        for ((scenario, seed), hash) in hashes {
            let before = all.insert((scenario.clone(), seed), hash.clone());
            if before.is_some_and(|before| before != hash) {
                return Err(Failed::because(format!("{path}: {scenario} seed {seed} has two traces in one run")));
            }
        }
    }
    Ok(all)
}

fn compare(first: &Hashes, again: &Hashes) -> Result<usize, Failed> {
    let differing = result::differences(first, again);
    match differing.first() {
        None => Ok(again.len()),
        Some(line) => Err(Failed { why: format!("{} traces differ; {line}", differing.len()), output: differing }),
    }
}

/// One call of `seaworthy sim`.
struct Simulation<'a> {
    tree: &'a Tree,
    binary: &'a Path,
    scenarios: &'a [String],
    out: &'a Path,
}

impl Simulation<'_> {
    /// At the root, as a person would.
    fn here(&self, args: &[&str]) -> Result<Ended, Failed> {
        let mut command = Command::new(self.binary);
        command
            .current_dir(self.tree.root())
            .args(["sim", "--shrink", "0"])
            .args(self.scenarios)
            .args(args)
            .arg("--out")
            .arg(self.out);
        child::run(command)
    }

    /// In another directory, environment and time zone, on one core; what could not be changed is the second value.
    fn elsewhere(&self, args: &[&str]) -> Result<(Ended, Vec<String>), Failed> {
        let (mut command, not_run) = match one_core() {
            Ok(core) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(core).arg(self.binary);
                (command, Vec::new())
            }
            Err(why) => (Command::new(self.binary), vec![format!("NOT RUN core_set: {why}")]),
        };
        command.args(["sim", "--shrink", "0"]).args(self.scenarios.iter().map(|path| self.tree.root().join(path)));
        command.args(args).arg("--out").arg(self.out).current_dir(self.tree.scratch_for("elsewhere")?);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("TZ", "Asia/Kathmandu")
            .env("LANG", "tr_TR.UTF-8")
            .env("HOME", "/nonexistent")
            .env("ELSEWHERE", "1");
        Ok((child::run(command)?, not_run))
    }
}

/// A core that this process may use, if it may use several and `taskset` can choose.
fn one_core() -> Result<String, String> {
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(|error| format!("no /proc/self/status: {error}"))?;
    let core = last_of_several(&status).ok_or("this process may use only one core")?;
    let tried = Command::new("taskset").args(["-c", &core, "true"]).output();
    match tried {
        Ok(output) if output.status.success() => Ok(core),
        Ok(output) => Err(format!("taskset: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("taskset: {error}")),
    }
}

fn last_of_several(status: &str) -> Option<String> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim();
    let (_, last) = list.rsplit_once([',', '-'])?;
    Some(last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sabotage_names_its_check_first() {
        assert_eq!(trips("# trips: order.key\nwhy = \"\""), Some("order.key"));
        for bad in ["why = \"x\"\n# trips: lost", "# trips: ", "# trips: two words", ""] {
            assert_eq!(trips(bad), None, "{bad}");
        }
    }

    #[test]
    fn picks_the_last_of_several_cores_only() {
        assert_eq!(last_of_several("Name:\tx\nCpus_allowed_list:\t0-3\n").as_deref(), Some("3"));
        assert_eq!(last_of_several("Cpus_allowed_list:\t0,2\n").as_deref(), Some("2"));
        assert_eq!(last_of_several("Cpus_allowed_list:\t1\n"), None);
        assert_eq!(last_of_several("nothing"), None);
    }

    #[test]
    fn a_changed_trace_fails() {
        let first: Hashes = [(("smoke".to_owned(), 1), "a".to_owned())].into();
        let again: Hashes = [(("smoke".to_owned(), 1), "b".to_owned())].into();
        assert_eq!(compare(&first, &first).expect("equal"), 1);
        assert!(compare(&first, &again).expect_err("a is not b").why.contains("smoke seed 1"));
    }
}
