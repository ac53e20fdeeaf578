//! The step that runs the same scenarios in the simulated world and on this machine, and shows both side by side.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::cargo;
use crate::child;
use crate::outcome::{Failed, Outcome, Passed};
use crate::tree::Tree;

/// Seeds in the simulation, and rounds on the machine.
const TIMES: &str = "5";
/// Figures that are further apart need a reason in docs/experiments/sim_and_real.md.
const APART: f64 = 0.2;
/// What one side can't tell, ms: a simulation's tick.
const FLOOR_MS: f64 = 2.0;

/// Runs each scenario of `scenarios/real` on both sides; verdicts and losses must agree.
pub(crate) fn run(tree: &Tree) -> Outcome {
    let scenarios = tree.scenarios_in("scenarios/real")?;
    let binary = cargo::seaworthy(tree)?;
    let (sim, real) = (tree.scratch_for("both/sim")?, tree.scratch_for("both/real")?);
    let command = |args: &[&str], paths: &[String], out: &Path| {
        let mut command = Command::new(&binary);
        command.current_dir(tree.root()).args(args).args(paths).arg("--out").arg(out);
        child::run(command)?.expect_one_of(&[0, 1, 4], args[0])
    };
    command(&["sim", "--shrink", "0", "--seeds", &format!("1..{TIMES}")], &scenarios, &sim)?;
    let mut lines = vec![
        "| scenario | | verdict | lost | dup | p50 ms | p99 ms | drained ms |".to_owned(),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let mut differ = Vec::new();
    for path in &scenarios {
        let args = ["bench", "--faults", "--rounds", TIMES];
        command(&args, std::slice::from_ref(path), &real)?;
        let id = Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let sides = [side(&sim, &id)?, side(&real, &id)?];
        if !sides[0].agrees_with(&sides[1]) {
            differ.push(id.clone());
        }
        lines.push(sides[0].row(&id, "sim", None));
        lines.push(sides[1].row("", "real", Some(&sides[0])));
    }
    if differ.is_empty() {
        return Ok(Passed { what: format!("{} scenarios on both sides", scenarios.len()), lines, not_run: Vec::new() });
    }
    Err(Failed { why: format!("verdict or losses differ: {}", differ.join(", ")), output: lines })
}

/// What one side says of a scenario.
#[derive(Debug, Clone, PartialEq)]
struct Side {
    verdict: String,
    lost: u64,
    duplicates: f64,
    /// p50 and p99 of all events, and the median time until all that was due before a heal had come; `None` where it can't be told.
    ms: [Option<f64>; 3],
}

fn side(out: &Path, id: &str) -> Result<Side, Failed> {
    let path = out.join(id).join("result.json");
    let read = || {
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        parse(&text)
    };
    read().map_err(|why| Failed::because(format!("{}: {why}", path.display())))
}

fn parse(text: &str) -> Result<Side, String> {
    let file: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let scenario = &file["scenarios"][0];
    let all = &scenario["phases"]["all"];
    let number = |value: &Value| value["v"].as_f64();
    let recovery = scenario["recovery"].as_array().and_then(|groups| groups.first());
    Ok(Side {
        verdict: scenario["verdict"].as_str().ok_or("no verdict")?.to_owned(),
        lost: all["lost"].as_u64().ok_or("no lost")?,
        duplicates: all["duplicate_ratio"].as_f64().ok_or("no duplicate_ratio")?,
        ms: [
            number(&all["latency_ms"]["p50"]),
            number(&all["latency_ms"]["p99"]),
            recovery.and_then(|group| number(&group["drained_from_heal_ms"]["p50"])),
        ],
    })
}

impl Side {
    fn agrees_with(&self, other: &Side) -> bool {
        self.verdict == other.verdict && self.lost == other.lost
    }

    /// A row of the table; what lies further from `beside` than a fifth is set in bold.
    fn row(&self, id: &str, side: &str, beside: Option<&Side>) -> String {
        let cell = |at: usize| {
            let Some(ms) = self.ms[at] else { return "".to_owned() };
            let text = if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") };
            let apart = beside.and_then(|beside| beside.ms[at]).is_some_and(|other| is_apart(ms, other));
            if apart { format!("**{text}**") } else { text }
        };
        let duplicates = format!("{:.2} %", self.duplicates * 100.0);
        let [p50, p99, drained] = [cell(0), cell(1), cell(2)];
        format!("| {id} | {side} | {} | {} | {duplicates} | {p50} | {p99} | {drained} |", self.verdict, self.lost)
    }
}

fn is_apart(ms: f64, other: f64) -> bool {
    let by = (ms - other).abs();
    by > FLOOR_MS && by > APART * other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_read_and_what_is_apart_stands_out() {
        let text = |verdict: &str, lost: u64, p99: f64| {
            format!(
                "{{\"scenarios\": [{{\"verdict\": \"{verdict}\", \"phases\": {{\"all\": {{\"lost\": {lost}, \"duplicate_ratio\": 0.0125, \
                 \"latency_ms\": {{\"p50\": {{\"v\": 5}}, \"p99\": {{\"v\": {p99}}}}}}}}}, \
                 \"recovery\": [{{\"drained_from_heal_ms\": {{\"p50\": {{\"never\": true}}}}}}]}}]}}"
            )
        };
        let (sim, real) = (parse(&text("PASS", 0, 100.0)).unwrap(), parse(&text("PASS", 0, 121.0)).unwrap());
        assert!(sim.agrees_with(&real));
        assert_eq!(real.row("cut", "real", Some(&sim)), "| cut | real | PASS | 0 | 1.25 % | 5.0 | **121** |  |");
        assert_eq!(real.row("cut", "real", None), "| cut | real | PASS | 0 | 1.25 % | 5.0 | 121 |  |");
        assert!(!sim.agrees_with(&parse(&text("FAIL", 0, 100.0)).unwrap()));
        assert!(!sim.agrees_with(&parse(&text("PASS", 1, 100.0)).unwrap()));
        assert!(!is_apart(5.0, 3.2), "a tick or two is no difference");
        assert!(parse("{}").is_err());
    }
}
