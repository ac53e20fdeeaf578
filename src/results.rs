//! Commands over results that are there already: `compare`, `merge`, `report`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use seaworthy_reports::compare::{Comparison, Delta, Seeds, Tolerance, Word, compare};
use seaworthy_reports::merge::merge;
use seaworthy_reports::read::parse;
use seaworthy_reports::render::{self, json, junit, prom, text};
use seaworthy_reports::result::{ResultFile, Scenario, Sometimes, Verdict};
use seaworthy_reports::trend;

use crate::exit::Exit;
use crate::files::read_written;
use crate::pages::{write, write_page};
use crate::show;

/// Compares two results of the same scenarios.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  seaworthy compare ci/baseline.json out/gate/result.json\n  \
    seaworthy compare old.json new.json --fresh\n\n\
    On pinned seeds a difference is a fact and is held against the tolerance. With --fresh the seeds are a sample: a sign\n\
    test over them says whether the head is worse, and a bootstrap by how much.\n\
    Ends with 3 when something got worse or easier to meet, with 4 when the two can't be compared.")]
pub(crate) struct CompareArgs {
    /// The base's result.json, or the folder that holds it.
    base: String,
    /// The head's.
    head: String,
    /// The seeds were drawn for this comparison, the same ones for both.
    #[arg(long)]
    fresh: bool,
    /// How much of the base's figure a time or ratio may be worse, %.
    #[arg(long, default_value_t = 5.0, value_parser = percent)]
    tolerance: f64,
    /// Milliseconds that a time may be worse whatever it is.
    #[arg(long, default_value_t = 1.0, value_parser = amount)]
    floor_ms: f64,
    /// Prints the comparison as JSON.
    #[arg(long)]
    json: bool,
}

fn amount(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0).ok_or_else(|| "a number from 0 on".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    amount(text.trim_end_matches('%'))
}

pub(crate) fn run_compare(args: &CompareArgs) -> Exit {
    let (base, head) = match (read(&args.base), read(&args.head)) {
        (Ok(base), Ok(head)) => (base, head),
        (base, head) => return [base, head].into_iter().filter_map(Result::err).fold(Exit::Pass, Exit::and),
    };
    let tolerance = Tolerance { relative: args.tolerance / 100.0, ms: args.floor_ms, ..Tolerance::default() };
    let seeds = if args.fresh { Seeds::Fresh } else { Seeds::Pinned };
    let comparison = compare(&base, &head, &tolerance, seeds);
    let shown = if args.json { show::json(&comparison) } else { show::report(&comparison_text(&comparison)) };
    Exit::from(comparison.verdict).and(shown)
}

/// A comparison for people: a line a scenario, and below it what differs most.
pub(crate) fn comparison_text(comparison: &Comparison) -> String {
    let mut out = String::new();
    for loosened in &comparison.loosened {
        let _ = writeln!(out, "LOOSENED {} {} {} → {}", loosened.scenario, loosened.what, loosened.from, loosened.to);
    }
    for scenario in &comparison.scenarios {
        // Loud where somebody has to look.
        let calm = matches!(scenario.word, Word::Better | Word::Equivalent);
        let word = scenario.word.said();
        let word = if calm { word.to_owned() } else { word.to_uppercase() };
        let mut line = format!("{word:<14} {}", scenario.id);
        match &scenario.why {
            Some(why) => line.push_str(&format!("  {why}")),
            None => {
                let signs = &scenario.signs;
                line.push_str(&format!(
                    "  {} figures; seeds {} worse, {} same, {} better, sign test p {:.3}",
                    scenario.compared, signs.worse, signs.same, signs.better, signs.p
                ));
                if let Some([mean, low, high]) = signs.mean_ms.filter(|_| signs.worse + signs.better > 0) {
                    line.push_str(&format!("; p99 {mean:+.2} ms a seed ({low:+.2} to {high:+.2})"));
                }
            }
        }
        let _ = writeln!(out, "{line}");
        // A stage says where: the worst one shows even where four other figures are worse.
        let (stages, figures): (Vec<&Delta>, Vec<&Delta>) = scenario.deltas.iter().partition(|delta| delta.is_stage());
        let shown: Vec<&Delta> = figures.into_iter().take(4).chain(stages.into_iter().take(1)).collect();
        for delta in &shown {
            let by = delta.by.map_or_else(String::new, |by| format!("  {by:+.3}"));
            let mark = if delta.word == Word::Regressed { "worse " } else { "      " };
            let _ = writeln!(
                out,
                "  {mark}{:<32} {} → {}{by}",
                delta.what,
                text::figure(&delta.base),
                text::figure(&delta.head)
            );
        }
        let more = scenario.deltas.len() - shown.len();
        if more > 0 {
            let _ = writeln!(out, "        and {more} more that differ");
        }
    }
    let word = match comparison.verdict {
        Verdict::Pass => "no regression",
        Verdict::Regressed | Verdict::Fail => "worse than the base",
        Verdict::Void => "proved nothing: not all of it can be compared",
    };
    let _ = writeln!(out, "{word}");
    out
}

/// Puts the results of shards together.
#[derive(clap::Args)]
#[command(after_help = "Example: seaworthy merge shard1 shard2 shard3 --out whole\n\n\
    Each folder holds the result.json of one shard of a gate. The whole is that of a run without shards, byte for byte.\n\
    Which shard of how many each is stands in result.json's neighbour shard.json; where one is missing it ends with 4.")]
pub(crate) struct MergeArgs {
    /// Folders of shards.
    #[arg(required = true)]
    shards: Vec<String>,
    /// Where the whole goes.
    #[arg(long, default_value = "out/merged")]
    out: String,
}

/// Which shard of how many a result is; written beside it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardFile {
    pub(crate) shard: u32,
    pub(crate) of: u32,
}

pub(crate) fn run_merge(args: &MergeArgs) -> Exit {
    let mut results = Vec::new();
    let mut numbers = Vec::new();
    for folder in &args.shards {
        match read(folder) {
            Ok(file) => results.push((folder.clone(), file)),
            Err(exit) => return exit,
        }
        let beside = match std::path::Path::new(folder).parent() {
            Some(parent) if folder.ends_with(".json") => parent.join("shard.json"),
            _ => std::path::Path::new(folder).join("shard.json"),
        };
        let beside = beside.to_string_lossy();
        let shard = read_written(&beside).map_err(|error| error.to_string());
        match shard.and_then(|text| serde_json::from_str::<ShardFile>(&text).map_err(|error| error.to_string())) {
            Ok(shard) => numbers.push(shard),
            Err(why) => {
                return refused(folder, &format!("it is no shard of `seaworthy gate --shard`: {beside}: {why}"));
            }
        }
    }
    let of = numbers.first().map_or(0, |first| first.of);
    if numbers.iter().any(|shard| shard.of != of) {
        return refused(&args.shards.join(", "), "they are shards of different numbers of shards");
    }
    let there: BTreeSet<u32> = numbers.iter().map(|shard| shard.shard).collect();
    let missing = (1..=of).filter(|number| !there.contains(number)).take(MISSING_TOLD);
    let missing: Vec<String> = missing.map(|number| format!("{number}/{of}")).collect();
    if !missing.is_empty() {
        show::problem(&Missing { shards: missing.join(", ") });
        return Exit::Void;
    }
    let file = match merge(&results) {
        Ok(file) => file,
        Err(error) => return refused(&args.shards.join(", "), &error.to_string()),
    };
    let files = [
        ("result.json", json::result(&file)),
        ("junit.xml", junit::render(&file)),
        ("metrics.prom", prom::render(&file)),
    ];
    for (name, text) in files {
        if let Err(exit) = write(&format!("{}/{name}", args.out), &text) {
            return exit;
        }
    }
    let scenarios = show::count(file.scenarios.len(), "scenario", "scenarios");
    let shown = show::report(&format!("{}/result.json: {scenarios} of {} shards\n", args.out, results.len()));
    let reached = if unreached(&file).next().is_none() { Exit::Pass } else { Exit::Void };
    Exit::from(file.verdict).and(reached).and(shown)
}

/// What was to be reached and was not, which proves nothing.
pub(crate) fn unreached(file: &ResultFile) -> impl Iterator<Item = (&Scenario, &Sometimes)> {
    let all = file.scenarios.iter().flat_map(|scenario| scenario.sometimes.iter().map(move |some| (scenario, some)));
    all.filter(|(_, sometimes)| sometimes.hits == 0)
}

/// Missing shards that are named, at most.
const MISSING_TOLD: usize = 20;

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("proved nothing: shards are missing: {shards}")]
#[diagnostic(
    code(merge::missing),
    help("run each shard with `seaworthy gate --shard i/n`, and name all their folders")
)]
struct Missing {
    shards: String,
}

/// Writes report.html again from the files of a run.
#[derive(clap::Args)]
#[command(after_help = "Example: seaworthy report out/gate --baseline ci/baseline.json\n\n\
    Reads result.json, and latency.hlog and timeline.json of each scenario where they are.")]
pub(crate) struct ReportArgs {
    /// The folder of a run.
    dir: String,
    /// Shows the difference from this result as well.
    #[arg(long)]
    baseline: Option<String>,
}

pub(crate) fn run_report(args: &ReportArgs) -> Exit {
    let file = match read(&args.dir) {
        Ok(file) => file,
        Err(exit) => return exit,
    };
    let comparison = match args.baseline.as_ref().map(|path| read(path)).transpose() {
        Ok(base) => base.map(|base| compare(&base, &file, &Tolerance::default(), Seeds::Pinned)),
        Err(exit) => return exit,
    };
    match write_page(&args.dir, &file, &BTreeMap::new(), comparison.as_ref()) {
        Ok(()) => show::report(&format!("{}/report.html\n", args.dir)),
        Err(exit) => exit,
    }
}

/// Writes many results as one table and one plot, in the order in which they are named.
#[derive(clap::Args)]
#[command(after_help = "Example: seaworthy trend results/*.json --out trend\n\n\
    Writes trend.csv, a line a scenario and result, and trend.svg, the p99 of each scenario.")]
pub(crate) struct TrendArgs {
    /// result.json of each build, the oldest first, or the folders that hold them.
    #[arg(required = true)]
    results: Vec<String>,
    /// Where the files go.
    #[arg(long, default_value = "out/trend")]
    out: String,
}

pub(crate) fn run_trend(args: &TrendArgs) -> Exit {
    let mut results = Vec::new();
    for path in &args.results {
        match read(path) {
            Ok(file) => results.push((path.clone(), file)),
            Err(exit) => return exit,
        }
    }
    let files = [("trend.csv", trend::csv(&results)), ("trend.svg", render::trend(&trend::p99(&results)))];
    for (name, text) in files {
        if let Err(exit) = write(&format!("{}/{name}", args.out), &text) {
            return exit;
        }
    }
    let count = show::count(results.len(), "result", "results");
    show::report(&format!("{out}/trend.csv and {out}/trend.svg: {count}\n", out = args.out))
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("could not use {path}: {why}")]
#[diagnostic(code(result::unusable), help("`seaworthy sim` and `seaworthy gate` write result.json"))]
struct Unusable {
    path: String,
    why: String,
}

fn refused(path: &str, why: &str) -> Exit {
    show::problem(&Unusable { path: path.to_owned(), why: why.to_owned() });
    Exit::Usage
}

/// Reads a result, or that in a folder; shows why it can't be used.
pub(crate) fn read(path: &str) -> Result<ResultFile, Exit> {
    let path = if path.ends_with(".json") { path.to_owned() } else { format!("{path}/result.json") };
    let text = read_written(&path).map_err(|error| {
        refused(&path, &error.to_string());
        Exit::from(&error)
    })?;
    parse(&text).map_err(|error| refused(&path, &error.to_string()))
}
