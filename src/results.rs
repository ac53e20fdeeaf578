//! Commands over results that are there already: `compare`, `merge`, `report`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use seaworthy_reports::compare::{Comparison, Delta, Loosened, Seeds, Tolerance, Word, compare};
use seaworthy_reports::merge::{MergeError, merge};
use seaworthy_reports::read::parse;
use seaworthy_reports::render::{self, summary, text};
use seaworthy_reports::result::{Figure, ResultFile, Verdict};
use seaworthy_reports::trend;

use crate::exit::Exit;
use crate::files::{read_written, same_folder};
use crate::pages::{self, OF_SCENARIO, write, write_page, write_result};
use crate::shard::ShardFile;
use crate::show;

/// Compares two results of the same scenarios.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  seaworthy compare ci/baseline.json out/gate/result.json\n  \
    seaworthy compare old.json new.json --fresh\n\n\
    On pinned seeds a difference is a fact and is held against the tolerance. With --fresh the seeds are a sample: a sign\n\
    test over them says whether the head is worse, and a bootstrap by how much.\n\
    Ends with 2 when something became easier to meet, with 3 when something got worse, with 4 when not all can be compared.")]
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
    exit_of(&comparison).and(shown)
}

/// What a comparison ends a command with: who makes a promise easier says so, or nothing is said of the rest.
pub(crate) fn exit_of(comparison: &Comparison) -> Exit {
    if comparison.loosened.is_empty() { Exit::from(comparison.figures_verdict()) } else { Exit::Usage }
}

/// `uplink_flap latency.p99 @steady <= 400ms → <= 600ms`.
pub(crate) fn loosened_text(loosened: &Loosened) -> String {
    let Loosened { scenario, what, from, to } = loosened;
    format!("{scenario} {what} {from} → {to}")
}

/// A comparison for people: a line a scenario, and below it what differs most.
pub(crate) fn comparison_text(comparison: &Comparison) -> String {
    let mut out = String::new();
    for loosened in &comparison.loosened {
        let _ = writeln!(out, "LOOSENED {}", loosened_text(loosened));
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
                    "  {} figures; seeds {} worse, {} same, {} better",
                    scenario.compared, signs.worse, signs.same, signs.better
                ));
                // On pinned seeds a difference is a fact.
                if comparison.seeds == Seeds::Fresh {
                    line.push_str(&format!(", sign test p {:.3}", signs.p));
                }
                if signs.untold > 0 {
                    line.push_str(&format!(", {} without a p99", signs.untold));
                }
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
            let sign = if delta.by.is_some_and(|by| by > 0.0) { "+" } else { "" };
            let by = delta.by.map_or_else(String::new, |by| format!("  {sign}{}", text::figure(&Figure::v(by))));
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
    if !comparison.without_base.is_empty() {
        let without = show::count(comparison.without_base.len(), "scenario", "scenarios");
        let _ = writeln!(out, "{without} of the head alone: {}", comparison.without_base.join(", "));
    }
    let untold = comparison.inconclusive().count();
    let word = match comparison.verdict {
        Verdict::Pass if untold > 0 => "inconclusive: nothing is known to be worse, and not all of it can be told",
        Verdict::Pass => "no regression",
        Verdict::Regressed => "worse than the base",
        Verdict::Fail => "easier to meet than the base",
        Verdict::Void if comparison.scenarios.is_empty() => "proved nothing: the base is of no scenario",
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

pub(crate) fn run_merge(args: &MergeArgs) -> Exit {
    match merged(args) {
        Ok(exit) => exit,
        Err(exit) if is_a_shard(args, &args.out) => exit,
        Err(exit) => exit.and(pages::end_early(&args.out, &format!("seaworthy merge ended with {}", exit as u8))),
    }
}

/// Whether a folder is one of the shards', from which nothing is taken away.
fn is_a_shard(args: &MergeArgs, folder: &str) -> bool {
    args.shards.iter().any(|shard| same_folder(&folder_of(shard), folder))
}

/// The shard beside the result in `folder`.
fn shard_beside(folder: &str) -> Result<ShardFile, String> {
    let path = format!("{}/shard.json", folder_of(folder));
    let text = read_written(&path).map_err(|error| format!("{path}: {error}"))?;
    ShardFile::parse(&text).map_err(|why| format!("{path}: {why}"))
}

fn merged(args: &MergeArgs) -> Result<Exit, Exit> {
    // In order of their numbers, so that the order on the command line changes no byte.
    let mut shards: BTreeMap<u32, (String, ResultFile)> = BTreeMap::new();
    let (mut numbers, mut tiers) = (BTreeSet::new(), BTreeSet::new());
    for folder in &args.shards {
        let file = read(folder)?;
        let shard = shard_beside(folder)
            .map_err(|why| refused(folder, &format!("it is no shard of `seaworthy gate --shard`: {why}")))?;
        numbers.insert(shard.of);
        tiers.insert(shard.tier.name());
        if let Some((other, _)) = shards.insert(shard.shard, (folder.clone(), file)) {
            return Err(refused(folder, &format!("it is shard {} as {other} is", shard.shard)));
        }
    }
    let of = numbers.pop_first().unwrap_or_default();
    if !numbers.is_empty() {
        return Err(refused(&args.shards.join(", "), "they are shards of different numbers of shards"));
    }
    if tiers.len() > 1 {
        let tiers = tiers.into_iter().collect::<Vec<_>>().join(" and ");
        return Err(refused(&args.shards.join(", "), &format!("they are shards of different tiers: {tiers}")));
    }
    let missing = (1..=of).filter(|number| !shards.contains_key(number)).take(MISSING_TOLD);
    let missing: Vec<String> = missing.map(|number| format!("{number}/{of}")).collect();
    if !missing.is_empty() {
        show::problem(&Missing { shards: missing.join(", ") });
        return Err(Exit::Void);
    }
    let shards: Vec<(String, ResultFile)> = shards.into_values().collect();
    let file = merge(&shards).map_err(|error| {
        let exit = refused(&args.shards.join(", "), &error.to_string());
        if error == MergeError::Empty { Exit::Void } else { exit }
    })?;
    let exit = exit_of_result(&file);
    let word = match exit {
        Exit::Pass => "PASS",
        Exit::Void => "VOID: proved nothing",
        Exit::Regressed => "WORSE than the baseline",
        _ => "FAIL",
    };
    if !is_a_shard(args, &args.out) {
        pages::forget(&args.out)?;
    }
    let (mut summary, mut comparisons) = (String::new(), Vec::new());
    for (folder, shard) in &shards {
        copy_scenarios(folder, shard, &args.out)?;
        comparisons.extend(pages::comparison_in(&folder_of(folder), shard)?);
        // One that is not there is said by the others' figures all the same.
        summary.push_str(&read_written(&format!("{}/summary.md", folder_of(folder))).unwrap_or_default());
    }
    let scenarios = show::count(file.scenarios.len(), "scenario", "scenarios");
    let mut line = String::new();
    for objection in &file.objections {
        let _ = writeln!(line, "{}: {} {}", objection.step, objection.scenario, objection.what);
    }
    let _ = writeln!(line, "{word}      {scenarios} of {} shards, report: {}/report.html", shards.len(), args.out);
    summary.push_str(&summary::render(&line));
    write_result(&args.out, &file, &summary, Comparison::merge(comparisons).as_ref())?;
    Ok(exit.and(show::report(&line)))
}

/// Copies what belongs to the scenarios of a shard beside the whole.
fn copy_scenarios(folder: &str, shard: &ResultFile, out: &str) -> Result<(), Exit> {
    for scenario in &shard.scenarios {
        for name in OF_SCENARIO {
            // Not every scenario has all of them.
            if let Ok(text) = read_written(&format!("{}/{}/{name}", folder_of(folder), scenario.id)) {
                write(&format!("{out}/{}/{name}", scenario.id), &text)?;
            }
        }
    }
    Ok(())
}

/// What a result ends a command with: the heaviest of its verdicts and of what the gate held against it.
fn exit_of_result(file: &ResultFile) -> Exit {
    let objections = file.objections.iter().filter_map(|objection| Exit::of_objection(objection.exit));
    objections.fold(Exit::from(file.verdict), Exit::and)
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
#[command(after_help = "Example: seaworthy report out/gate\n\n\
    Reads result.json, what its gate compared (comparison.json), and latency.hlog and timeline.json of each scenario where they\n\
    are. With --baseline it ends with 4 when not all of it can be compared.")]
pub(crate) struct ReportArgs {
    /// The folder of a run.
    dir: String,
    /// Shows the difference from this result, in place of what the gate compared with.
    #[arg(long)]
    baseline: Option<String>,
}

pub(crate) fn run_report(args: &ReportArgs) -> Exit {
    let file = match read(&args.dir) {
        Ok(file) => file,
        Err(exit) => return exit,
    };
    let dir = folder_of(&args.dir);
    let with = |base: &String| Ok(Some(compare(&read(base)?, &file, &Tolerance::default(), Seeds::Pinned)));
    let comparison = match args.baseline.as_ref().map_or_else(|| pages::comparison_in(&dir, &file), with) {
        Ok(comparison) => comparison,
        Err(exit) => return exit,
    };
    // A page of what is worse is a page; one of what can't be compared says nothing.
    let compared = match &comparison {
        Some(comparison) if args.baseline.is_some() && comparison.figures_verdict() == Verdict::Void => Exit::Void,
        _ => Exit::Pass,
    };
    match write_page(&dir, &file, comparison.as_ref()) {
        Ok(()) => compared.and(show::report(&format!("{dir}/report.html\n"))),
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
#[diagnostic(
    code(result::unusable),
    help("`seaworthy sim` and `seaworthy gate` write result.json; nobody else should")
)]
struct Unusable {
    path: String,
    why: String,
}

fn refused(path: &str, why: &str) -> Exit {
    show::problem(&Unusable { path: path.to_owned(), why: why.to_owned() });
    Exit::Usage
}

/// The result in a folder, or the file itself.
pub(crate) fn file_in(path: &str) -> String {
    if path.ends_with(".json") { path.to_owned() } else { format!("{path}/result.json") }
}

/// The folder that a result is in, or that is named itself.
fn folder_of(path: &str) -> String {
    let folder = if path.ends_with(".json") { Path::new(path).parent() } else { Some(Path::new(path)) };
    match folder.map(|folder| folder.display().to_string()) {
        Some(folder) if !folder.is_empty() => folder,
        _ => ".".to_owned(),
    }
}

/// Reads a result, or that in a folder; shows why it can't be used.
pub(crate) fn read(path: &str) -> Result<ResultFile, Exit> {
    let path = file_in(path);
    let text = read_written(&path).map_err(|error| {
        refused(&path, &error.to_string());
        Exit::from(&error)
    })?;
    parse(&text).map_err(|error| refused(&path, &error.to_string()))
}
