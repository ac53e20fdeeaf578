//! A seed in a second process, in another directory, environment and time zone: what it gives must be the same.
#![expect(
    clippy::disallowed_methods,
    reason = "the first process sets a variable by which the second knows that it is one"
)]

use std::path::Path;
use std::process::Command;

use seaworthy_engine::node::Registry;
use seaworthy_harness::scenario::Sources;

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
    second_process(scenario, seed, records).map_err(|why| {
        show::notes(&[format!("could not run {scenario} in a second process: {why}")]);
        Exit::Environment
    })
}

fn second_process(scenario: &str, seed: u64, records: bool) -> Result<(String, String), String> {
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
    let output = Command::new(binary)
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
    let text = String::from_utf8_lossy(&output.stdout);
    match text.split_once('\n') {
        Some((hash, records)) if output.status.success() => Ok((hash.to_owned(), records.to_owned())),
        _ => Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}
