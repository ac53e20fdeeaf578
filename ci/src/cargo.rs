//! The steps that cargo does: formatting, lints, tests. All in the release profile, so that dependencies are built once.

use std::path::PathBuf;
use std::process::Command;

use crate::child;
use crate::outcome::{Failed, Outcome, Passed};
use crate::tree::Tree;

/// Kills and full disks of `cargo ci real`; the tests' own defaults are 10 and 2.
const LONG_KILLS: &str = "200";
const LONG_FULL_DISKS: &str = "20";

/// Cargo, at the root.
fn command(tree: &Tree) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(tree.root()).env("CARGO_TERM_COLOR", "never");
    command
}

/// The release binary, up to date.
pub(crate) fn seaworthy(tree: &Tree) -> Result<PathBuf, Failed> {
    // Built as the tests build it: another selection of packages would mean other features, and all of it twice.
    let mut build = command(tree);
    build.args(["test", "--workspace", "--release", "--no-run"]);
    child::run(build)?.expect_code(0, "cargo test --no-run")?;
    let binary = tree.binaries().join("seaworthy");
    if binary.is_file() { Ok(binary) } else { Err(Failed::because(format!("no binary at {}", binary.display()))) }
}

/// A bench, built as everything else; what is added goes to it.
pub(crate) fn bench(tree: &Tree, name: &str) -> Command {
    let mut bench = command(tree);
    bench.args(["bench", "--quiet", "--workspace", "--bench", name, "--"]);
    bench
}

/// Formatting.
pub(crate) fn fmt(tree: &Tree) -> Outcome {
    let mut fmt = command(tree);
    fmt.args(["fmt", "--all", "--check", "--", "--color", "never"]);
    child::run(fmt)?.expect_code(0, "cargo fmt")?;
    Ok(Passed::default())
}

/// Lints of every target; a warning fails.
pub(crate) fn clippy(tree: &Tree) -> Outcome {
    let mut clippy = command(tree);
    clippy.args(["clippy", "--workspace", "--all-targets", "--release", "--", "-D", "warnings"]);
    child::run(clippy)?.expect_code(0, "cargo clippy")?;
    Ok(Passed::default())
}

/// Every test.
pub(crate) fn test(tree: &Tree) -> Outcome {
    let mut test = command(tree);
    // What a passing test says is shown too: it may say what it could not run.
    test.args(["test", "--workspace", "--release", "--", "--show-output"]);
    judge(child::run(test)?.expect_code(0, "cargo test")?.lines)
}

/// Real processes, killed 200 times, on a disk that fills 20 times.
pub(crate) fn real(tree: &Tree) -> Outcome {
    let mut test = command(tree);
    test.env("SEAWORTHY_KILLS", LONG_KILLS).env("SEAWORTHY_FULL_DISKS", LONG_FULL_DISKS);
    test.args(["test", "--workspace", "--release", "--test", "it", "--", "real::", "--show-output"]);
    judge(child::run(test)?.expect_code(0, "cargo test real::")?.lines)
}

/// Counts the tests that ran; none is a failure.
fn judge(lines: Vec<String>) -> Outcome {
    let results: Vec<String> = lines.iter().filter(|line| line.starts_with("test result:")).cloned().collect();
    let ran: u64 = results.iter().filter_map(|line| count_before(line, "passed")).sum();
    if ran == 0 {
        return Err(Failed { why: "no test ran".to_owned(), output: lines });
    }
    Ok(Passed { what: format!("{ran} tests"), not_run: not_run(&lines), lines: results })
}

/// The number in front of `word`.
fn count_before(line: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|found| found.trim_end_matches(';') == word)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

/// What the machine refused, each once, from wherever in a line it is said.
fn not_run(lines: &[String]) -> Vec<String> {
    let mut found: Vec<String> =
        lines.iter().filter_map(|line| line.find("NOT RUN ").map(|at| line[at..].to_owned())).collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn shows_results_and_counts_tests() {
        let passed = judge(lines(
            "running 3 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\nx\ntest result: ok. 1 passed; 0 failed; 0 ignored",
        ));
        let passed = passed.expect("three tests ran");
        assert_eq!(passed.what, "3 tests");
        assert_eq!(passed.lines.len(), 2);
    }

    #[test]
    fn no_test_is_a_failure() {
        let failed = judge(lines("test result: ok. 0 passed; 0 failed; 0 ignored; 9 filtered out"));
        assert_eq!(failed.expect_err("nothing ran").why, "no test ran");
    }

    #[test]
    fn finds_what_did_not_run_anywhere_in_a_line_once() {
        let said =
            lines("test real::full_disk ... NOT RUN full_disk: mount refused\nNOT RUN full_disk: mount refused\nok");
        assert_eq!(not_run(&said), ["NOT RUN full_disk: mount refused"]);
    }
}
