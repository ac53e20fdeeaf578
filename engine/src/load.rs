//! One entry for any YAML file: is it a graph or a process graph, what is wrong with it, and the plan of it.

use std::io;

use crate::graph::check::{Context, Phase, plan_graph};
use crate::graph::diagnostic::{At, Diagnostic, SourceFile, in_order, is_outside};
use crate::graph::plan::Plan;
use crate::graph::suggest::nearest;
use crate::graph::yaml::{self, Tree, Value};
use crate::node::Registry;
use crate::process::{self, ProcessPlan};

/// A file can't be told or read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FileProblem {
    /// The first file can't be read.
    #[error("could not read {path}")]
    #[diagnostic(code(file::unreadable), help("is the path right, and the file yours to read?"))]
    Unreadable {
        /// Its path, as given.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Neither a graph nor a process graph.
    #[error("this is neither a graph nor a process graph")]
    #[diagnostic(
        code(file::unknown_kind),
        help(
            "a graph has the keys version, nodes and edges; a process graph has version, processes, channels and links{near}"
        )
    )]
    UnknownKind {
        /// A suggestion for its first key.
        near: String,
    },
}

/// What a file turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Planned {
    /// A graph that stands alone.
    Graph(Plan),
    /// Processes joined by channels.
    Processes(ProcessPlan),
}

/// A file with all that was found out about it.
#[derive(Debug)]
pub struct Loaded {
    /// The plan. There is none when there is an error, nor for a graph that only [`Phase::Check`] accepts (it holds what
    /// is not in this version).
    pub planned: Option<Planned>,
    /// Errors and warnings, by file and line.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// True when the file, or one that it names, is wrong.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads and checks a graph, or a process graph with the graphs it names. `read` is asked for `path` first, then for
/// the paths in that file, joined to its directory with `/`. Never panics, whatever the files hold.
#[must_use]
pub fn load_any(path: &str, read: &dyn Fn(&str) -> io::Result<String>, registry: &Registry, phase: Phase) -> Loaded {
    let (planned, diagnostics) = match read(path) {
        Ok(text) => load_text(&SourceFile::new(path, &text), read, registry, phase),
        Err(source) => (None, vec![unreadable(path, source)]),
    };
    Loaded { planned, diagnostics: in_order(diagnostics) }
}

fn unreadable(path: &str, source: io::Error) -> Diagnostic {
    let outside = is_outside(&source);
    let diagnostic =
        Diagnostic::of(&SourceFile::new(path, ""), FileProblem::Unreadable { path: path.to_owned(), source });
    if outside { diagnostic.from_outside() } else { diagnostic }
}

fn load_text(
    file: &SourceFile,
    read: &dyn Fn(&str) -> io::Result<String>,
    registry: &Registry,
    phase: Phase,
) -> (Option<Planned>, Vec<Diagnostic>) {
    let tree = match yaml::parse(file) {
        Ok(tree) => tree,
        Err(diagnostic) => return (None, vec![diagnostic]),
    };
    let has = |keys: &[&str]| match &tree.value {
        Value::Map(map) => map.iter().any(|(key, _)| keys.contains(&key.value.as_str())),
        _ => false,
    };
    if has(&["processes", "links", "channels"]) {
        let (plan, found) = process::load(file, &tree, read, registry, phase);
        (plan.map(Planned::Processes), found)
    } else if has(&["nodes", "edges"]) {
        let stem = file.name().rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or_default();
        let load = plan_graph(file, registry, Context { phase, process: stem, alone: true });
        (load.plan.map(Planned::Graph), load.found)
    } else {
        (None, vec![unknown_kind(file, &tree)])
    }
}

fn unknown_kind(file: &SourceFile, tree: &Tree) -> Diagnostic {
    let first: Option<&At<String>> = match &tree.value {
        Value::Map(map) => map.iter().map(|(key, _)| key).find(|key| key.value != "version"),
        _ => None,
    };
    let near = first.and_then(|key| nearest(&key.value, &["nodes", "edges", "processes", "channels", "links"]));
    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Diagnostic::at(file, first.map_or(tree.span, |key| key.span), FileProblem::UnknownKind { near })
}
