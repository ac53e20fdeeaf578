//! What the journals of a data directory hold, beside what a graph has a place for.

use std::io;
use std::path::{Path, PathBuf};

use seaworthy_engine::journal::image::Image;
use seaworthy_engine::load::Planned;
use seaworthy_engine::process::ChannelPlan;
use seaworthy_engine::runtime::{Kept, Orphan, kept, orphans};

use crate::queue::{self, QueueError};
use crate::show;

/// What one journal holds.
pub(crate) struct Held {
    /// Whose it is.
    pub(crate) process: String,
    /// Where it lies.
    pub(crate) dir: PathBuf,
    /// False when the file no longer has the process.
    pub(crate) known: bool,
    /// What goes on from it, in words.
    pub(crate) lines: Vec<String>,
    /// What the graph has no place for.
    pub(crate) orphans: Vec<Orphan>,
}

/// A data directory can't be looked at.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum HeldError {
    /// Its entries can't be listed.
    #[error("could not list the data directory {}", dir.display())]
    #[diagnostic(code(data::list), help("name the directory that `run --data-dir` was given"))]
    List {
        /// The directory.
        dir: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A journal can't be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] QueueError),
}

/// What the journals under `data_dir` hold, those of the file's processes first.
///
/// # Errors
/// A directory or a journal that can't be read.
pub(crate) fn held(planned: &Planned, data_dir: &Path) -> Result<Vec<Held>, HeldError> {
    let dirs = |source| HeldError::List { dir: data_dir.to_owned(), source };
    match planned {
        Planned::Graph(plan) => {
            std::fs::read_dir(data_dir).map_err(dirs)?;
            Ok(journal(data_dir, &plan.process, Some(&kept(plan, &[])))?.into_iter().collect())
        }
        Planned::Processes(plan) => {
            let mut names: Vec<String> = Vec::new();
            for entry in std::fs::read_dir(data_dir).map_err(dirs)? {
                let entry = entry.map_err(dirs)?;
                if entry.file_type().map_err(dirs)?.is_dir() {
                    names.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
            names.sort();
            let mut all = Vec::new();
            for process in &plan.processes {
                let kept = kept(&process.plan, &ChannelPlan::of(&process.id, &plan.channels));
                all.extend(journal(&data_dir.join(&process.id), &process.id, Some(&kept))?);
                names.retain(|name| *name != process.id);
            }
            for name in names {
                all.extend(journal(&data_dir.join(&name), &name, None)?);
            }
            Ok(all)
        }
    }
}

/// What a journal holds; `None` where there is none.
fn journal(dir: &Path, process: &str, place: Option<&Kept>) -> Result<Option<Held>, HeldError> {
    let Some(image) = queue::image(dir)? else { return Ok(None) };
    let nothing = Kept::default();
    let orphans = orphans(&image, place.unwrap_or(&nothing));
    let lines = if place.is_some() { goes_on(&image, &orphans) } else { Vec::new() };
    let (process, dir, known) = (process.to_owned(), dir.to_owned(), place.is_some());
    Ok(Some(Held { process, dir, known, lines, orphans }))
}

fn goes_on(image: &Image, orphans: &[Orphan]) -> Vec<String> {
    let mut lines = Vec::new();
    for (input, group, cursor) in image.groups() {
        let pending = image.pending(input, group);
        let is_orphan = orphans.iter().any(|orphan| match orphan {
            Orphan::Packets { input: i, group: g, .. } => i == input && g == group,
            Orphan::Position { node, .. } => input.strip_prefix("source/") == Some(node),
            Orphan::State { .. } => false,
        });
        let waiting = show::count(usize::try_from(pending).unwrap_or(usize::MAX), "packet waits", "packets wait");
        let line = match input.split_once('/') {
            _ if is_orphan || (cursor.floor.0, pending) == (0, 0) => continue,
            Some(("source", node)) => format!("source {node} goes on after entry {}", cursor.floor),
            Some(("channel", id)) => format!("channel {id} goes on for {group} after {}: {waiting}", cursor.floor),
            Some(("stage", node)) => format!("node {node} goes on after its output {}: {waiting}", cursor.floor),
            _ => continue,
        };
        lines.push(line);
    }
    let state = image.stateful().filter(|(node, _)| {
        !orphans.iter().any(|orphan| matches!(orphan, Orphan::State { node: gone, .. } if gone == *node))
    });
    lines.extend(
        state.map(|(node, keys)| format!("node {node} goes on with its state of {}", show::count(keys, "key", "keys"))),
    );
    if !image.dead_letters().is_empty() {
        lines.push(format!("{} stay", show::count(image.dead_letters().len(), "dead letter", "dead letters")));
    }
    lines
}
