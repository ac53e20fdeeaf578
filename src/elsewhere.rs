//! A seed in a second process, in another directory, environment and time zone: what it gives must be the same, and the
//! instructions that it takes can be counted.
#![expect(
    clippy::disallowed_methods,
    reason = "the first process sets a variable by which the second knows that it is one"
)]

use std::path::Path;
use std::process::{Command, Output};

use seaworthy_engine::node::Registry;
use seaworthy_harness::scenario::Sources;
use seaworthy_reports::result::Scenario;

use crate::exit::Exit;
use crate::scenario_files::prepare;
use crate::show;

/// Set in the second process, which must not begin a third.
const ELSEWHERE: &str = "SEAWORTHY_ELSEWHERE";

/// Prints the hash of a seed's trace, and its records where they are asked for: what the gate runs in its second process.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The scenario.
    scenario: String,
    /// The seed.
    seed: u64,
    /// Prints the records, too, a line each.
    #[arg(long)]
    records: bool,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let prepared = match prepare(&args.scenario, registry) {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    match prepared.run_alone(&prepared.plan(args.seed), args.records) {
        Ok(judged) => show::report(&format!("{}\n{}", judged.trace.hash_text(), judged.trace.lines())),
        Err(error) => crate::worlds::books(&error),
    }
}

/// The trace of a seed, run by this binary in a process of its own: its hash, and its records where they are asked for.
pub(crate) fn trace(scenario: &str, seed: u64, records: bool) -> Result<(String, String), Exit> {
    hash_and_records(scenario, seed, records).map_err(|why| {
        show::notes(&[format!("could not run {scenario} in a second process: {why}")]);
        Exit::Environment
    })
}

/// Counts the instructions of a seed, with valgrind, and puts them beside the figures of the first of `result`.
pub(crate) fn count_instructions(scenario: &str, result: &mut Scenario) -> Result<(), Exit> {
    let Some(first) = result.seeds.first_mut() else { return Ok(()) };
    let progress = show::spinner("instructions");
    progress.set_message(format!("{}: seed {} under valgrind, some 50 times as slow", result.id, first.seed));
    let counted = instructions(scenario, first.seed);
    progress.finish_and_clear();
    let counted = counted.map_err(|why| {
        show::problem(&InstructionsError { scenario: scenario.to_owned(), why });
        Exit::Environment
    })?;
    first.instructions = Some(counted / first.packets.max(1));
    Ok(())
}

/// Instructions could not be counted.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("could not count the instructions of {scenario}: {why}")]
#[diagnostic(
    code(instructions),
    help("--instructions needs valgrind: `apt install valgrind`; or leave the option out")
)]
struct InstructionsError {
    scenario: String,
    why: String,
}

fn instructions(scenario: &str, seed: u64) -> Result<u64, String> {
    const COUNTER: [&str; 3] = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let output = second_process(&COUNTER, scenario, seed, false)?;
    // `==4711== Collected : 1747612618`
    let text = String::from_utf8_lossy(&output.stderr);
    let counted = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    counted.ok_or_else(|| format!("valgrind did not say how many: {}", text.lines().last().unwrap_or_default()))
}

fn hash_and_records(scenario: &str, seed: u64, records: bool) -> Result<(String, String), String> {
    let output = second_process(&[], scenario, seed, records)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (hash, records) = text.split_once('\n').ok_or("it said nothing")?;
    Ok((hash.to_owned(), records.to_owned()))
}

/// Runs the seed, by what is before the binary's own name on the command line.
fn second_process(before: &[&str], scenario: &str, seed: u64, records: bool) -> Result<Output, String> {
    if std::env::var_os(ELSEWHERE).is_some() {
        return Err(format!(
            "this is the second process ({ELSEWHERE} is set): a program of your own must hand its arguments to seaworthy::main"
        ));
    }
    let told = |error: std::io::Error| error.to_string();
    let binary = std::env::current_exe().map_err(told)?;
    let file = Sources::file_of(scenario);
    let mut path = Path::new(file).canonicalize().map_err(told)?.into_os_string();
    path.push(&scenario[file.len()..]);
    let dir = tempfile::tempdir().map_err(told)?;
    let mut command = match before {
        [] => Command::new(binary),
        [program, arguments @ ..] => {
            // Found where this process would find it: the second one has no PATH.
            let folders = std::env::var_os("PATH").unwrap_or_default();
            let found = std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file());
            let mut command = Command::new(found.ok_or_else(|| format!("there is no {program}"))?);
            command.args(arguments).arg(binary);
            command
        }
    };
    let output = command
        .arg("elsewhere")
        .arg(&path)
        .arg(seed.to_string())
        .args(records.then_some("--records"))
        .current_dir(&dir)
        .env_clear()
        .env("TZ", "Asia/Kathmandu")
        .env("LANG", "tr_TR.UTF-8")
        .env("HOME", "/nonexistent")
        .env(ELSEWHERE, "1")
        .output()
        .map_err(told)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}
