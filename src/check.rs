//! `check`: all that is wrong with any number of files, each with its line.

use std::path::{Path, PathBuf};

use miette::{Diagnostic, Severity, SourceCode};
use seaworthy_engine::graph::Phase;
use seaworthy_engine::load::{Loaded, Planned, load_any};
use seaworthy_engine::node::Registry;
use seaworthy_harness::run::Prepared;
use serde::Serialize;

use crate::exit::Exit;
use crate::files::read_text;
use crate::held::{self, Held};
use crate::{scenario_files, show};

/// Finds all that is wrong with graphs, process graphs and scenarios, before anything starts.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  seaworthy check edge.yaml process.yaml scenarios/uplink_cut.toml\n  \
    seaworthy check process.yaml --data-dir /var/lib/seaworthy\n\n\
    Ends with 0 when no file has an error (warnings are fine), with 2 when one has.")]
pub(crate) struct Args {
    /// Graphs and process graphs (.yaml, .yml), and scenarios (.toml).
    #[arg(required = true)]
    files: Vec<String>,
    /// Says also what of the journals in a data directory goes on, and what the graph has no place for; with one graph or
    /// process graph.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Prints one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// `--data-dir` with what has no data.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("can't hold {dir} against {files} files")]
#[diagnostic(code(data::one_file), help("name the one graph or process graph that runs there"))]
struct OneFile {
    dir: String,
    files: usize,
}

/// Something in a journal that the graph has no place for.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the graph has no place for {what}, which {dir} holds")]
#[diagnostic(
    code(data::orphan),
    help("bring back what is gone; `run` refuses to start without it, and `run --park` moves it to the dead letters")
)]
struct Orphaned {
    what: String,
    dir: String,
}

/// A file that no part of the command reads.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("can't check {path}: its name doesn't say what it is")]
#[diagnostic(code(file::unknown_kind), help("graphs and process graphs end in .yaml or .yml, scenarios in .toml"))]
struct UnknownKind {
    path: String,
}

/// What came of one file.
struct Checked {
    what: String,
    found: Vec<Box<dyn Diagnostic>>,
    /// What of a data directory goes on, in words.
    held: Vec<String>,
    exit: Exit,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    if let (Some(dir), true) = (&args.data_dir, args.files.len() > 1) {
        show::problem(&OneFile { dir: dir.display().to_string(), files: args.files.len() });
        return Exit::Usage;
    }
    let data_dir = args.data_dir.as_deref();
    let checked: Vec<(&String, Checked)> =
        args.files.iter().map(|path| (path, check(path, data_dir, registry))).collect();
    let exit = checked.iter().fold(Exit::Pass, |exit, (_, checked)| exit.and(checked.exit));
    let shown = if args.json {
        show::json(&Report::of(&checked))
    } else {
        checked.iter().flat_map(|(_, checked)| &checked.found).for_each(|found| show::problem(found.as_ref()));
        show::report(&summary(&checked))
    };
    exit.and(shown)
}

fn check(path: &str, data_dir: Option<&Path>, registry: &Registry) -> Checked {
    if scenario_files::is_scenario(path) {
        return scenario(path, registry);
    }
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("yaml" | "yml") => graph(load_any(path, &read_text, registry, Phase::Check), data_dir),
        _ => Checked {
            what: "unknown".to_owned(),
            found: vec![Box::new(UnknownKind { path: path.to_owned() })],
            held: Vec::new(),
            exit: Exit::Usage,
        },
    }
}

/// A scenario, or every variant of its matrix up to the first that can't be used.
fn scenario(path: &str, registry: &Registry) -> Checked {
    let read = |path: &String| Prepared::read(path, &read_text, registry);
    let all = Prepared::variants(path, &read_text).and_then(|variants| variants.iter().map(read).collect());
    let all: Vec<Prepared> = match all {
        Ok(all) => all,
        Err(error) => {
            let exit = scenario_files::exit_of(&error);
            let found = scenario_files::diagnostics(path, error);
            return Checked { what: "scenario".to_owned(), found, held: Vec::new(), exit };
        }
    };
    let faults = all.iter().map(|prepared| prepared.scenario().faults.len()).max().unwrap_or(0);
    let faults = show::count(faults, "fault", "faults");
    let what = if all.len() == 1 { "scenario".to_owned() } else { format!("{} scenarios", all.len()) };
    let found = all.iter().flat_map(Prepared::lints).map(|lint| Box::new(lint) as _).collect();
    Checked { what: format!("{what}, {faults}"), found, held: Vec::new(), exit: Exit::Pass }
}

fn graph(loaded: Loaded, data_dir: Option<&Path>) -> Checked {
    let what = match &loaded.planned {
        Some(Planned::Graph(plan)) => format!("graph, {}", show::count(plan.nodes.len(), "node", "nodes")),
        Some(Planned::Processes(plan)) => {
            let processes = show::count(plan.processes.len(), "process", "processes");
            format!("process graph, {processes}, {}", show::count(plan.channels.len(), "channel", "channels"))
        }
        None => "graph".to_owned(),
    };
    let errors = loaded.diagnostics.iter().filter(|found| found.is_error());
    let exit = errors
        .fold(Exit::Pass, |exit, found| exit.and(if found.is_outside() { Exit::Environment } else { Exit::Usage }));
    let found = loaded.diagnostics.into_iter().map(|found| Box::new(found) as _).collect();
    let mut checked = Checked { what, found, held: Vec::new(), exit };
    if let (Some(planned), Some(dir)) = (&loaded.planned, data_dir) {
        checked.hold_against(planned, dir);
    }
    checked
}

impl Checked {
    /// Adds what the journals of a data directory hold.
    fn hold_against(&mut self, planned: &Planned, dir: &Path) {
        let all = match held::held(planned, dir) {
            Ok(all) => all,
            Err(error) => {
                self.found.push(Box::new(error));
                self.exit = self.exit.and(Exit::Environment);
                return;
            }
        };
        for Held { process, dir, lines, orphans, .. } in all {
            self.held.extend(lines.into_iter().map(|line| format!("{process}: {line}")));
            for orphan in orphans {
                self.found.push(Box::new(Orphaned { what: orphan.to_string(), dir: dir.display().to_string() }));
                self.exit = self.exit.and(Exit::Usage);
            }
        }
    }
}

/// The problems that one diagnostic stands for.
fn parts(found: &dyn Diagnostic) -> Vec<&dyn Diagnostic> {
    found.related().map(Iterator::collect).unwrap_or_default()
}

fn is_error(found: &dyn Diagnostic) -> bool {
    matches!(found.severity(), None | Some(Severity::Error))
}

fn summary(checked: &[(&String, Checked)]) -> String {
    let width = checked.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0);
    let line = |(path, checked): &(&String, Checked)| {
        let (errors, notes): (Vec<&dyn Diagnostic>, Vec<&dyn Diagnostic>) =
            checked.found.iter().map(AsRef::as_ref).partition(|found| is_error(*found));
        let errors: usize = errors.iter().map(|found| parts(*found).len().max(1)).sum();
        let notes = notes.len();
        let verdict = if errors == 0 { "ok   " } else { "error" };
        let mut said = vec![];
        if errors == 0 {
            said.push(checked.what.clone());
        } else {
            said.push(show::count(errors, "error", "errors"));
        }
        if notes > 0 {
            said.push(show::count(notes, "note", "notes"));
        }
        let held: String = checked.held.iter().map(|line| format!("       {line}\n")).collect();
        format!("{verdict}  {path:width$}  {}\n{held}", said.join(", "))
    };
    checked.iter().map(line).collect()
}

/// The JSON of `check`.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    files: Vec<FileReport<'a>>,
}

#[derive(Serialize)]
struct FileReport<'a> {
    file: &'a str,
    verdict: &'static str,
    found: Vec<Finding>,
    /// What of the data directory goes on.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    held: &'a [String],
}

/// Any diagnostic in plain words; `file` may be another than the one named, `line` and `column` count from 1.
#[derive(Serialize)]
struct Finding {
    severity: &'static str,
    code: String,
    message: String,
    help: Option<String>,
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
}

impl<'a> Report<'a> {
    fn of(checked: &'a [(&'a String, Checked)]) -> Report<'a> {
        let file = |(path, checked): &'a (&'a String, Checked)| FileReport {
            file: path,
            verdict: if checked.exit == Exit::Pass { "pass" } else { "fail" },
            found: checked.found.iter().flat_map(|found| Finding::all(found.as_ref())).collect(),
            held: &checked.held,
        };
        Report { schema: "seaworthy.check/v1", files: checked.iter().map(file).collect() }
    }
}

impl Finding {
    /// One for each of the problems that it stands for, in the text that it shows them in; itself where it stands for none.
    fn all(found: &dyn Diagnostic) -> Vec<Finding> {
        match parts(found) {
            parts if parts.is_empty() => vec![Finding::of(found, found.source_code())],
            parts => {
                parts.into_iter().map(|part| Finding::of(part, part.source_code().or(found.source_code()))).collect()
            }
        }
    }

    fn of(found: &dyn Diagnostic, source: Option<&dyn SourceCode>) -> Finding {
        let label = found.labels().and_then(|mut labels| labels.next());
        let place = label.zip(source).and_then(|(label, source)| {
            let place = source.read_span(label.inner(), 0, 0).ok()?;
            Some((place.name().map(str::to_owned), place.line() + 1, place.column() + 1))
        });
        Finding {
            severity: match found.severity() {
                None | Some(Severity::Error) => "error",
                Some(Severity::Warning) => "warning",
                Some(Severity::Advice) => "advice",
            },
            code: found.code().map(|code| code.to_string()).unwrap_or_default(),
            message: found.to_string(),
            help: found.help().map(|help| help.to_string()),
            file: place.as_ref().and_then(|(name, ..)| name.clone()),
            line: place.as_ref().map(|(_, line, _)| *line),
            column: place.map(|(.., column)| column),
        }
    }
}
