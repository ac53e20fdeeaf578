//! Scenarios named on the command line: read whole, and everything that is wrong with them shown.

use std::path::Path;

use miette::Diagnostic;
use seaworthy_engine::node::Registry;
use seaworthy_harness::run::{PrepareError, Prepared};
use seaworthy_harness::scenario::Sources;

use crate::exit::Exit;
use crate::files::{list, read_text};
use crate::show;
use crate::watch::Watch;

/// Reads a scenario and what it names, or shows why it can't be run.
pub(crate) fn prepare(path: &str, registry: &Registry) -> Result<Prepared, Exit> {
    Prepared::read(path, &read_text, registry).map_err(|error| refused(path, error))
}

/// Prepares all of them, a file with a matrix as all its variants, or shows everything that is wrong with any.
pub(crate) fn prepare_all<'a>(
    paths: impl Iterator<Item = &'a String>,
    prepare: impl Fn(&str) -> Result<Prepared, Exit>,
) -> Result<Vec<Prepared>, Exit> {
    let (mut prepared, mut exit) = (Vec::new(), Exit::Pass);
    for path in paths {
        let variants = Prepared::variants(path, &read_text).map_err(|error| refused(path, error));
        let ready =
            variants.and_then(|variants| variants.iter().map(|path| prepare(path)).collect::<Result<Vec<_>, _>>());
        match ready {
            Ok(ready) => prepared.extend(ready),
            Err(found) => exit = exit.and(found),
        }
    }
    if exit == Exit::Pass { Ok(prepared) } else { Err(exit) }
}

/// The scenarios named on a command line: those of a folder are its `.toml` files, in order of their names.
pub(crate) fn files(named: &[String]) -> Result<Vec<String>, Exit> {
    let mut paths = Vec::new();
    for path in named {
        if !Path::new(path).is_dir() {
            paths.push(path.clone());
            continue;
        }
        let inside = list(path, ".toml").map_err(|error| {
            show::notes(&[format!("could not read the folder {path}: {error}")]);
            Exit::from(&error)
        })?;
        paths.extend(inside);
    }
    if paths.is_empty() {
        show::notes(&[
            "proved nothing: there is no scenario; `seaworthy new scenario --from GRAPH` writes one".to_owned()
        ]);
        return Err(Exit::Void);
    }
    Ok(paths)
}

/// Whether a path is that of a scenario, or of one variant of its matrix.
pub(crate) fn is_scenario(path: &str) -> bool {
    Sources::file_of(path).ends_with(".toml")
}

/// As [`prepare`]; `watch` hears of each file that is read.
pub(crate) fn prepare_watched(path: &str, registry: &Registry, watch: &Watch) -> Result<Prepared, Exit> {
    let read = |path: &str| {
        watch.add(path);
        read_text(path)
    };
    Prepared::read(path, &read, registry).map_err(|error| refused(path, error))
}

/// Shows why a scenario or graph can't be used.
pub(crate) fn refused(path: &str, error: PrepareError) -> Exit {
    let exit = exit_of(&error);
    diagnostics(path, error).iter().for_each(|found| show::problem(found.as_ref()));
    exit
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{message}")]
#[diagnostic(code(scenario::unusable))]
struct Refused {
    message: String,
    #[help]
    help: Option<String>,
}

/// What a scenario that can't be used ends a command with: 74 where a file is there but can't be read, else 2.
pub(crate) fn exit_of(error: &PrepareError) -> Exit {
    match error {
        PrepareError::Read { source, .. } => Exit::from(source),
        _ => Exit::Usage,
    }
}

/// Everything that is wrong with it, each with its place.
pub(crate) fn diagnostics(path: &str, error: PrepareError) -> Vec<Box<dyn Diagnostic>> {
    match error {
        PrepareError::Scenario(errors) => vec![errors],
        PrepareError::Graph(errors) => errors.into_iter().map(|error| error as _).collect(),
        error => {
            let help = matches!(error, PrepareError::Read { .. })
                .then(|| format!("paths in a file are relative to that file; this one was asked for by {path}"));
            vec![Box::new(Refused { message: error.to_string(), help })]
        }
    }
}
