//! `bench`: a graph on this machine under an open-loop load, several rounds, with the same ledger and the same report as in
//! the simulated world.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use seaworthy_engine::node::Registry;
use seaworthy_engine::nodes::units::duration_ns;
use seaworthy_harness::run::{Real, RealError};
use seaworthy_reports::pool::Pool;
use seaworthy_reports::render::{json, summary, text};
use seaworthy_reports::result::{ResultFile, Time};

use crate::drawn::Timed;
use crate::exit::Exit;
use crate::made_up;
use crate::pages;
use crate::run::JournalArgs;
use crate::show;
use crate::worlds::{books, commit, problem};

/// Runs a graph for real under a load, several rounds, and reports in wall time what a simulation reports in virtual time.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  seaworthy bench graphs/edge_hub.yaml --rate 1000\n  \
    seaworthy bench scenarios/smoke.toml --rounds 8\n  seaworthy bench scenarios/uplink_cut.toml --faults --rounds 3\n  seaworthy compare old/result.json out/bench/smoke/result.json\n\n\
    Nodes, runtime, journal, lanes, disk and network are real: a thread a process, loopback between them. The load stands in\n\
    for the sources and recording endpoints stand in for the sinks, as in a simulation, so the ledger knows every event.\n\
    Without --faults, those of a scenario are left out, and its objectives too. Each round begins with empty journals.\n\
    Two results of `bench` are compared as samples: 6 rounds are the fewest that a sign test can tell anything from.")]
pub(crate) struct Args {
    /// A graph or process graph (.yaml), or a scenario (.toml), whose load it gets.
    file: String,
    /// How often everything is run.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// How long the load of a round lasts [default: 10s for a graph, or what the scenario says]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<u64>,
    /// Events a second of each source of a graph.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    #[command(flatten)]
    journal: JournalArgs,
    /// Injects the scenario's faults: cuts and delays between processes, kills and stops, slow and full disks, those of sinks
    /// and of the load. Any other kind is an error.
    #[arg(long)]
    faults: bool,
    /// The disk to measure: journals are kept in a folder made here, and removed after each round [default: the folder of --out]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the files go; each graph or scenario gets a folder of its own in it.
    #[arg(long, default_value = "out/bench")]
    out: String,
    /// Prints the result as JSON instead of text.
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<u64, String> {
    let ns = duration_ns("--duration", text).map_err(|error| error.message)?;
    u64::try_from(ns).ok().filter(|ns| *ns >= 1_000_000_000).ok_or_else(|| "at least 1s".to_owned())
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    bench(args, registry).unwrap_or_else(|exit| exit)
}

fn bench(args: &Args, registry: &Registry) -> Result<Exit, Exit> {
    let prepared = made_up::prepare(&args.file, args.rate, "10s", registry)?;
    let scenario = prepared.scenario();
    let duration_ns = args.duration.unwrap_or(scenario.sim.duration_ns);
    let out = format!("{}/{}", args.out, scenario.id);
    let real =
        |dir: &Path| Real { dir: dir.to_owned(), duration_ns, journal: args.journal.options(""), faults: args.faults };
    let (mut pool, mut timed) = (Pool::default(), Timed::default());
    let bar = progress(&scenario.id, args.rounds);
    for round in 1..=args.rounds {
        let dir = fresh(args.data_dir.as_deref().unwrap_or(Path::new(&out)))?;
        let real = real(dir.path());
        let judged = prepared.run_real(round, &real).map_err(|error| failed(&error))?;
        pool.add(&judged.run);
        timed.add(&judged.run);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let meta = prepared.real_meta(&real(Path::new("")));
    let file = ResultFile::new(&commit(), Time::Wall, prepared.resolution_ms(), vec![pool.finish(&meta)]);
    let result = &file.scenarios[0];
    let heading = text::Heading {
        path: prepared.path(),
        plan: None,
        duration_ms: duration_ns / 1_000_000,
        all_expectations: true,
    };
    let mut block = text::scenario(&file, result, &heading);
    match (scenario.faults.is_empty(), args.faults) {
        (true, _) => {}
        (false, true) => block.push_str("  objectives of recovery are left out: no real round has a twin\n"),
        (false, false) => block.push_str("  its faults and objectives are left out; --faults injects them\n"),
    }
    pages::write_scenario(&out, &pool, &result.id, timed.alone(result).as_ref())?;
    pages::write_result(&out, &file, &summary::render(&block), None)?;
    let shown = if args.json {
        show::report(&json::result(&file))
    } else {
        show::report(&format!("{block}  report: {out}/report.html\n"))
    };
    Ok(Exit::from(result.verdict).and(shown))
}

/// A folder that goes when it is dropped.
fn fresh(within: &Path) -> Result<tempfile::TempDir, Exit> {
    let made =
        std::fs::create_dir_all(within).and_then(|()| tempfile::Builder::new().prefix("bench-").tempdir_in(within));
    made.map_err(|error| {
        problem(
            format!("could not make a folder in {}: {error}", within.display()),
            Some("name another with --data-dir"),
        );
        Exit::Environment
    })
}

fn failed(error: &RealError) -> Exit {
    match error {
        RealError::Books(error) => books(error),
        RealError::Round(error) => {
            problem(error.to_string(), None);
            match error.exit() {
                2 => Exit::Usage,
                70 => Exit::Internal,
                _ => Exit::Environment,
            }
        }
        error => {
            problem(error.to_string(), None);
            Exit::Usage
        }
    }
}

fn progress(id: &str, rounds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} rounds, {elapsed}");
    // Hidden by itself where nobody watches.
    ProgressBar::new(rounds).with_style(style.expect("a constant template")).with_prefix(id.to_owned())
}
