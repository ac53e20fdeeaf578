//! `storm`: every fault that a graph can meet, one at a time, without a scenario written by hand.

use std::collections::BTreeMap;

use seaworthy_engine::node::Registry;
use seaworthy_engine::process::ProcessPlan;
use seaworthy_harness::run::{Prepared, read_graph};
use seaworthy_harness::scenario::storm::{self, Case};
use serde::Serialize;

use crate::draft::{Draft, plain};
use crate::exit::Exit;
use crate::files::{read_text, write_whole};
use crate::scenario_files::refused;
use crate::show;

/// Tries every applicable fault on every link, host, channel, node, sink and source of a graph.
#[derive(clap::Args)]
#[command(after_help = "Example: seaworthy storm graphs/edge_hub.yaml\n\n\
    Prints a line a pair of fault and place. What fails is saved as a scenario in --out, to be run again and kept.\n\
    Ends with 1 when a promise broke, with 4 when no fault was felt.")]
pub(crate) struct Args {
    /// A graph or process graph.
    graph: String,
    /// Seeds of each pair, from 1.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    /// Events a second of each source; a disk's faults get ten times as many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Only kinds that begin with this, such as `net.` or `host.crash`.
    #[arg(long)]
    only: Option<String>,
    /// Where failures are saved as scenarios.
    #[arg(long, default_value = "storm")]
    out: String,
    /// Worlds at a time; changes no result.
    #[arg(long, default_value_t = crate::worlds::default_jobs())]
    jobs: usize,
    /// Prints one JSON document instead of lines.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Storm {
    schema: &'static str,
    graph: String,
    pairs: Vec<Pair>,
}

#[derive(Serialize)]
struct Pair {
    kind: &'static str,
    on: String,
    verdict: Verdict,
    /// Seeds in which the fault was felt.
    felt: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scenario: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Pass,
    Fail,
    /// The fault was felt in no seed.
    Void,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let (plan, world) = match read_graph(&args.graph, &read_text, registry) {
        Ok(read) => read,
        Err(error) => return refused(&args.graph, error),
    };
    let calm = Case { kind: "no fault", on: "-".to_owned(), faults: String::new(), expect: "" };
    let wanted = |case: &Case| args.only.as_deref().is_none_or(|only| case.kind.starts_with(only));
    let cases = std::iter::once(calm).chain(storm::cases(&world).into_iter().filter(wanted));
    let mut pairs = Vec::new();
    for case in cases {
        let pair = match pair(args, registry, &plan, &case) {
            Ok(pair) => pair,
            Err(exit) => return exit,
        };
        if !args.json {
            show::report(&line(&pair));
        }
        let stuck = pairs.is_empty() && pair.verdict == Verdict::Fail;
        pairs.push(pair);
        if stuck {
            show::problem(&Calm { graph: args.graph.clone() });
            break;
        }
    }
    let faults = &pairs[1..];
    let count = |verdict| faults.iter().filter(|pair| pair.verdict == verdict).count();
    let (pass, fail, void) = (count(Verdict::Pass), count(Verdict::Fail), count(Verdict::Void));
    let exit = match () {
        () if fail > 0 || pairs[0].verdict == Verdict::Fail => Exit::Failed,
        () if pass == 0 => Exit::Void,
        () => Exit::Pass,
    };
    let shown = if args.json {
        show::json(&Storm { schema: "seaworthy.storm/v1", graph: args.graph.clone(), pairs })
    } else {
        let pairs = show::count(faults.len(), "pair", "pairs");
        show::report(&format!("{pairs} of fault and place: {pass} passed, {fail} failed, {void} not felt\n"))
    };
    exit.and(shown)
}

/// The graph breaks its promises with no fault at all, so no fault could show anything.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{graph} fails with no fault at all, so faults would prove nothing")]
#[diagnostic(
    code(storm::calm),
    help(
        "the load is made up where a source is not std:ndjson_source with `id: id`: write your own with `seaworthy new scenario --from …`"
    )
)]
struct Calm {
    graph: String,
}

fn pair(args: &Args, registry: &Registry, plan: &ProcessPlan, case: &Case) -> Result<Pair, Exit> {
    let stem = if case.faults.is_empty() { "calm".to_owned() } else { case.file_stem() };
    let path = format!("{}/{stem}.toml", args.out);
    let rate = if case.kind.starts_with("disk.") { args.rate * 10 } else { args.rate };
    let why = format!("{} on {}: the graph keeps its promises", case.kind, case.on);
    let draft = Draft { why: &why, graph: &args.graph, folder: &args.out, duration: "10s", rate, reads: true };
    let text = format!("{}\n{}\n[expect]\n{}", draft.text(plan), case.faults, case.expect);
    let read =
        |wanted: &str| if wanted == path { Ok(text.clone()) } else { read_text(&plain(wanted).to_string_lossy()) };
    let prepared = Prepared::read(&path, &read, registry).map_err(|error| refused(&path, error))?;
    let seeds: Vec<u64> = (1..=args.seeds).collect();
    let mut broken: BTreeMap<u64, (String, String)> = BTreeMap::new();
    let mut felt = 0;
    let pool = prepared.run_seeds(&seeds, args.jobs, false, |judged| {
        felt += u64::from(judged.run.faults.iter().any(|fault| fault.id == "it"));
        if let Some(violation) = judged.violations.first() {
            broken.insert(judged.run.seed, (violation.check.clone(), violation.message.clone()));
        }
    });
    pool.map_err(|error| crate::worlds::books(&error))?;
    let first = broken.into_iter().next();
    let verdict = match &first {
        Some(_) => Verdict::Fail,
        None if felt == 0 && !case.faults.is_empty() => Verdict::Void,
        None => Verdict::Pass,
    };
    let mut scenario = None;
    if first.is_some() {
        if let Err(error) = write_whole(&path, &text) {
            show::notes(&[format!("could not save {path}: {error}")]);
            return Err(Exit::Environment);
        }
        scenario = Some(path);
    }
    let (seed, check, message) = match first {
        Some((seed, (check, message))) => (Some(seed), Some(check), Some(message)),
        None => (None, None, None),
    };
    let scenario = scenario.zip(seed).map(|(path, seed)| format!("seaworthy sim {path} --seed {seed}"));
    Ok(Pair { kind: case.kind, on: case.on.clone(), verdict, felt, check, message, scenario })
}

fn line(pair: &Pair) -> String {
    let verdict = match pair.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::Void => "void",
    };
    let mut line = format!("{verdict}  {:<22} {:<18}", pair.kind, pair.on);
    if pair.verdict == Verdict::Void {
        line.push_str(" not felt in any seed");
    }
    if let (Some(check), Some(message)) = (&pair.check, &pair.message) {
        line.push_str(&format!(" {check}: {message}"));
    }
    if let Some(again) = &pair.scenario {
        line.push_str(&format!("\n      again: {again}"));
    }
    format!("{}\n", line.trim_end())
}
