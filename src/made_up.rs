//! A scenario for commands that take a graph as well: the one that was named, or one made up for the graph.

use std::path::Path;

use seaworthy_engine::node::Registry;
use seaworthy_harness::run::{PrepareError, Prepared, read_graph};

use crate::draft::Draft;
use crate::exit::Exit;
use crate::files::read_text;
use crate::scenario_files::{is_scenario, refused};

/// Reads a scenario (.toml), or a graph (.yaml) with a load of `rate` events a second.
pub(crate) fn prepare(path: &str, rate: u32, duration: &str, registry: &Registry) -> Result<Prepared, Exit> {
    let prepared = match is_scenario(path) {
        true => Prepared::read(path, &read_text, registry),
        false => of_graph(path, &Load { rate, duration, reads: true }, registry),
    };
    prepared.map_err(|error| refused(path, error))
}

/// A graph that brings its own load: there is one in the scenario, and nobody asks for it.
pub(crate) fn without_load(path: &str, registry: &Registry) -> Result<Prepared, PrepareError> {
    of_graph(path, &Load { rate: 1, duration: "10s", reads: false }, registry)
}

struct Load<'a> {
    rate: u32,
    duration: &'a str,
    /// Whether it is what the sources read.
    reads: bool,
}

fn of_graph(path: &str, load: &Load<'_>, registry: &Registry) -> Result<Prepared, PrepareError> {
    let (plan, _) = read_graph(path, &read_text, registry)?;
    // It is named as the graph is, and lies beside it, without being there.
    let made_up = Path::new(path).with_extension("toml").to_string_lossy().into_owned();
    let folder = made_up.rsplit_once('/').map_or("", |(folder, _)| folder);
    let Load { rate, duration, reads } = *load;
    let text = Draft { why: "a load for a graph", graph: path, folder, duration, rate, reads }.text(&plan);
    let read = |wanted: &str| if wanted == made_up { Ok(text.clone()) } else { read_text(wanted) };
    Prepared::read(&made_up, &read, registry)
}
