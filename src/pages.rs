//! The files of a run, beside its result: summary, histograms, timeline, JUnit, Prometheus text and the page that shows them.

use std::collections::BTreeMap;
use std::io;

use seaworthy_harness::plan::Plan;
use seaworthy_reports::compare::Comparison;
use seaworthy_reports::pool::Pool;
use seaworthy_reports::render::html::{self, Extra};
use seaworthy_reports::render::{hlog, json, junit, prom, summary};
use seaworthy_reports::result::{ResultFile, Scenario};
use seaworthy_reports::series::Timelines;

use crate::drawn::Drawn;
use crate::exit::Exit;
use crate::files::{make_writable, read_written, remove_named, write_whole};
use crate::show;

/// What a run keeps of a scenario, in a folder of its name.
pub(crate) const OF_SCENARIO: [&str; 5] =
    ["latency.hlog", "timeline.json", "trace.json", "history.jsonl", "smallest.plan.json"];
/// What it keeps of the whole.
const OF_ALL: [&str; 7] =
    ["result.json", "summary.md", "junit.xml", "metrics.prom", "report.html", COMPARISON, "shard.json"];
/// What a gate compared, beside the result: a part of its seeds that the result doesn't tell apart.
const COMPARISON: &str = "comparison.json";

/// Writes what belongs to one scenario into `dir`: its histograms, and what is drawn of one seed.
pub(crate) fn write_scenario(dir: &str, pool: &Pool, id: &str, drawn: Option<&Drawn>) -> Result<(), Exit> {
    write(&format!("{dir}/latency.hlog"), &hlog::render(pool, id))?;
    let Some(Drawn { timelines, trace, history }) = drawn else { return Ok(()) };
    let mut text = serde_json::to_string(timelines).expect("timelines hold only text and numbers");
    text.push('\n');
    write(&format!("{dir}/timeline.json"), &text)?;
    for (name, text) in [("trace.json", trace), ("history.jsonl", history)] {
        match text {
            Some(text) => write(&format!("{dir}/{name}"), text)?,
            // That of an earlier run is not of this one.
            None => remove_named(dir, &[name], &[]).map_err(unwritten(dir))?,
        }
    }
    Ok(())
}

/// Writes what belongs to a whole result into `dir`, from what is there of its scenarios.
pub(crate) fn write_result(
    dir: &str,
    file: &ResultFile,
    summary: &str,
    comparison: Option<&Comparison>,
) -> Result<(), Exit> {
    write(&format!("{dir}/result.json"), &json::result(file))?;
    write(&format!("{dir}/summary.md"), summary)?;
    write(&format!("{dir}/junit.xml"), &junit::render(file))?;
    write(&format!("{dir}/metrics.prom"), &prom::render(file))?;
    if let Some(comparison) = comparison {
        write(&format!("{dir}/{COMPARISON}"), &show::in_json(comparison))?;
    }
    write_page(dir, file, comparison)
}

/// What the gate whose folder it is compared, where it did, beside its result.
pub(crate) fn comparison_in(dir: &str, file: &ResultFile) -> Result<Option<Comparison>, Exit> {
    let Some((path, text)) = first_there([format!("{dir}/{COMPARISON}")].into_iter())? else { return Ok(None) };
    let comparison: Comparison = serde_json::from_str(&text).map_err(|error| unusable(path.clone(), &error))?;
    let is_known = |id: &String| file.scenarios.iter().any(|scenario| scenario.id == *id);
    let compared = comparison.scenarios.iter().filter(|delta| delta.why.is_none()).map(|delta| &delta.id);
    match compared.chain(&comparison.without_base).find(|id| !is_known(id)) {
        Some(id) => Err(unusable(path, &format!("it is of other scenarios: the result has no `{id}`"))),
        None => Ok(Some(comparison)),
    }
}

/// Writes `report.html` into `dir`. A file there of which it can't be drawn is shown, and leaves the page as it was.
pub(crate) fn write_page(dir: &str, file: &ResultFile, comparison: Option<&Comparison>) -> Result<(), Exit> {
    let alone = file.scenarios.len() == 1;
    let extra = |scenario: &Scenario| Ok((scenario.id.clone(), extra(dir, alone, scenario)?));
    let extras = file.scenarios.iter().map(extra).collect::<Result<BTreeMap<String, Extra>, Exit>>()?;
    write(&format!("{dir}/report.html"), &html::render(file, &extras, comparison))
}

/// Histograms and timeline of a scenario, where they are: beside the result of one, or in a folder of its name.
fn extra(dir: &str, alone: bool, scenario: &Scenario) -> Result<Extra, Exit> {
    let id = scenario.id.as_str();
    let places = |name: &str| {
        let own = format!("{dir}/{id}/{name}");
        [Some(own), alone.then(|| format!("{dir}/{name}"))].into_iter().flatten()
    };
    let mut log = match first_there(places("latency.hlog"))? {
        Some((path, text)) => hlog::parse(&text, scenario).map_err(|error| unusable(path, &error))?,
        None => Vec::new(),
    };
    // Of the phases the whole, the quiet part, and the faults with the longest tails.
    log.retain(|(_, histogram)| histogram.len() >= 20);
    log.sort_by_key(|(tag, histogram)| {
        let rank = ["all/", "steady/"].iter().position(|phase| tag.starts_with(phase)).unwrap_or(2);
        (rank, std::cmp::Reverse(histogram.max()), tag.clone())
    });
    let spectrum = log.iter().take(5).map(|(tag, histogram)| (tag.clone(), hlog::spectrum(histogram))).collect();
    let timelines = match first_there(places("timeline.json"))? {
        Some((path, text)) => Some(Timelines::parse(&text, scenario).map_err(|error| unusable(path, &error))?),
        None => None,
    };
    let smallest = match first_there(places("smallest.plan.json"))? {
        Some((path, text)) => {
            let plan: Plan = serde_json::from_str(&text).map_err(|error| unusable(path.clone(), &error))?;
            let beside = path.strip_prefix(dir).unwrap_or(&path).trim_start_matches('/').to_owned();
            Some((beside, plan.steps.len()))
        }
        None => None,
    };
    Ok(Extra { spectrum, timelines, smallest })
}

/// The first of the files that is there, with its text.
fn first_there(paths: impl Iterator<Item = String>) -> Result<Option<(String, String)>, Exit> {
    for path in paths {
        match read_written(&path) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                unusable(path, &error);
                return Err(Exit::from(&error));
            }
        }
    }
    Ok(None)
}

pub(crate) fn write(path: &str, text: &str) -> Result<(), Exit> {
    write_whole(path, text).map_err(unwritten(path))
}

/// Makes the folder of a run, before it takes minutes whose result could not be kept.
pub(crate) fn make_folder(dir: &str) -> Result<(), Exit> {
    make_writable(dir).map_err(unwritten(dir))
}

/// Removes what an earlier run left in the folder of one that begins: whatever happens to this one, nobody takes that for its own.
pub(crate) fn forget(dir: &str) -> Result<(), Exit> {
    remove_named(dir, &OF_ALL, &OF_SCENARIO).map_err(unwritten(dir))
}

/// The same for a run that ended before it had a result; its summary says so.
pub(crate) fn end_early(dir: &str, told: &str) -> Exit {
    let told = format!("{told} before it had a result; what it said tells why\n");
    match forget(dir) {
        Ok(()) => {
            // Where not even this can be written, the run has said why, and there is nothing that could mislead.
            let _ = write_whole(&format!("{dir}/summary.md"), &summary::render(&told));
            let _ = write_whole(&format!("{dir}/junit.xml"), &junit::early(&told));
            Exit::Pass
        }
        Err(exit) => exit,
    }
}

fn unwritten(path: &str) -> impl FnOnce(io::Error) -> Exit {
    move |error| {
        show::problem(&Unwritten { path: path.to_owned(), why: error.to_string() });
        Exit::Environment
    }
}

fn unusable(path: String, why: &dyn std::fmt::Display) -> Exit {
    show::problem(&Unusable { path, why: why.to_string() });
    Exit::Usage
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("could not use {path}: {why}")]
#[diagnostic(
    code(files::unusable),
    help("a run wrote it beside its result; without the file, the page has one picture less")
)]
struct Unusable {
    path: String,
    why: String,
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("could not write {path}: {why}")]
#[diagnostic(code(files::unwritten), help("name another folder with --out"))]
struct Unwritten {
    path: String,
    why: String,
}
