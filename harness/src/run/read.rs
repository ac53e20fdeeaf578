//! Files in, a scenario that is ready to run out, or all that is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use miette::Diagnostic;
use seaworthy_engine::graph::{Phase, Role};
use seaworthy_engine::load::{Loaded, Planned, load_any};
use seaworthy_engine::node::Registry;
use seaworthy_engine::process::{PlannedProcess, ProcessPlan};

use super::Prepared;
use crate::calibrate::Calibration;
use crate::load::{LoadError, Rows, RowsError};
use crate::members::{Members, MembersProblem};
use crate::scenario::{self, GraphWanted, ScenarioErrors, Sources, World, WorldChannel, WorldNode};
use crate::stand_in;

/// A scenario that can't be run.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A file can't be read.
    #[error("could not read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The system's word.
        source: io::Error,
    },
    /// The scenario has errors.
    #[error("could not use the scenario")]
    Scenario(#[source] Box<ScenarioErrors>),
    /// What its nodes cost can't be read.
    #[error("could not use {path}: {why}; `seaworthy calibrate` writes such a file")]
    Cpu {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Its graph has errors.
    #[error("could not use the scenario's graph: {} errors", .0.len())]
    Graph(Vec<Box<dyn Diagnostic + Send + Sync>>),
    /// Rows can't be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The load can't be made.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A source that no load feeds.
    #[error(
        "could not run {path}: no load enters by `{entry}`, and a world has no other input; add [load.NAME] with into = \"{entry}\""
    )]
    Unfed {
        /// The scenario.
        path: String,
        /// The source.
        entry: String,
    },
    /// Members of a group that can't be told as one.
    #[error("could not run {path}: {problem}")]
    Members {
        /// The scenario.
        path: String,
        /// Why not.
        problem: Box<MembersProblem>,
    },
}

/// A node has no plugin here, and what the scenario has in its stead is for other nodes.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("the scenario's stand-ins are for {addresses}, and none is for a node that is missing here")]
#[diagnostic(
    code(scenario::stand_in),
    help("a stand-in is named by the address HOST.NODE, in quotes: [stand_in.\"edge.detect\"]")
)]
struct OtherStandIns {
    addresses: String,
}

/// What is wrong with a graph, and what its stand-ins may have to do with it.
fn with_stand_ins(error: PrepareError, stand_ins: &[String]) -> PrepareError {
    let PrepareError::Graph(mut errors) = error else { return error };
    let mut codes = errors.iter().filter_map(|error| error.code().map(|code| code.to_string()));
    if !stand_ins.is_empty() && codes.any(|code| code == "graph::unknown_plugin") {
        let addresses = stand_ins.iter().map(|address| format!("`{address}`")).collect::<Vec<_>>().join(", ");
        errors.push(Box::new(OtherStandIns { addresses }));
    }
    PrepareError::Graph(errors)
}

/// Gives the text of a file by path.
pub type ReadText<'a> = &'a dyn Fn(&str) -> io::Result<String>;

impl Prepared {
    /// Reads a scenario and all that it names.
    ///
    /// # Errors
    /// Everything that is wrong with the files, before anything runs.
    pub fn read(path: &str, read: ReadText<'_>, registry: &Registry) -> Result<Prepared, PrepareError> {
        let text_of = |path: &str| read(path).map_err(|source| PrepareError::Read { path: path.to_owned(), source });
        let sources = sources(path, &text_of)?;
        let mut inputs = Vec::new();
        let mut registry = registry.clone();
        let (processes, world) = match scenario::graph_wanted(&sources) {
            Some(GraphWanted { path, stand_ins }) => {
                // What stands in is known once the scenario is checked, which needs the graph.
                stand_ins.iter().for_each(|node| registry.stand_in(node, || unreachable!("only a plan is made yet")));
                let loaded = load_graph(&path.to_string_lossy(), read, &registry, &mut inputs);
                let processes = loaded.map_err(|error| with_stand_ins(error, &stand_ins))?;
                let world = world_of(&processes, &registry);
                (processes, world)
            }
            // The scenario's own errors say that the graph is missing.
            None => (ProcessPlan { processes: Vec::new(), channels: Vec::new() }, World::default()),
        };
        let scenario = scenario::load(&sources, &world).map_err(PrepareError::Scenario)?;
        scenario.stand_ins.iter().for_each(|stand_in| stand_in::register(&mut registry, stand_in));
        let mut rows = BTreeMap::new();
        for written in scenario.rows() {
            let file = scenario.path(written).to_string_lossy().into_owned();
            let text = text_of(&file)?;
            rows.insert(written.to_owned(), Rows::parse(&file, &text)?);
            inputs.push(text);
        }
        let calibration = match &scenario.cpu {
            Some(written) => {
                let file = scenario.path(written).to_string_lossy().into_owned();
                let text = text_of(&file)?;
                let calibration = calibration(&text, &world).map_err(|why| PrepareError::Cpu { path: file, why })?;
                inputs.push(text);
                calibration
            }
            None => Calibration::default(),
        };
        let fed: BTreeSet<&str> = scenario.loads.iter().map(|load| load.entry.as_str()).collect();
        if let Some(unfed) = world
            .nodes
            .iter()
            .find(|node| node.source && !fed.contains(format!("{}.{}", node.host, node.node).as_str()))
        {
            return Err(PrepareError::Unfed { path: path.to_owned(), entry: format!("{}.{}", unfed.host, unfed.node) });
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let hash = scenario::hash(&scenario, &inputs);
        let members = Members::of(&processes)
            .map_err(|problem| PrepareError::Members { path: path.to_owned(), problem: Box::new(problem) })?;
        let prepared = Prepared {
            scenario,
            members,
            processes: Arc::new(processes),
            registry,
            rows: Arc::new(rows),
            calibration: Arc::new(calibration),
            world,
            sources,
            hash,
            path: path.to_owned(),
        };
        // A load that can't be made is an error of the files, not of a seed.
        prepared.workload(1)?;
        Ok(prepared)
    }

    /// The scenarios of a file: itself, or each variant of its matrix as `path#variant`.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn variants(path: &str, read: ReadText<'_>) -> Result<Vec<String>, PrepareError> {
        let text_of = |path: &str| read(path).map_err(|source| PrepareError::Read { path: path.to_owned(), source });
        let variants = sources(path, &text_of)?.variants();
        Ok(if variants.is_empty() { vec![path.to_owned()] } else { variants })
    }

    /// The same scenario with more faults: `tables` are `[faults.ID]` tables, as a file has them.
    ///
    /// # Errors
    /// Everything that is wrong with them, or with the scenario that they make: what no system could survive, too.
    pub fn with_faults(&self, tables: &str) -> Result<Prepared, Box<ScenarioErrors>> {
        let sources = self.sources.with(tables);
        Ok(Prepared {
            scenario: scenario::load(&sources, &self.world)?,
            processes: self.processes.clone(),
            members: self.members.clone(),
            registry: self.registry.clone(),
            rows: self.rows.clone(),
            calibration: self.calibration.clone(),
            world: self.world.clone(),
            sources,
            // What a changed scenario gives is compared with nothing.
            hash: String::new(),
            path: self.path.clone(),
        })
    }
}

/// Reads a graph or process graph as a scenario would, and says what faults could be done to it.
///
/// # Errors
/// Everything that is wrong with its files.
pub fn read_graph(path: &str, read: ReadText<'_>, registry: &Registry) -> Result<(ProcessPlan, World), PrepareError> {
    let plan = load_graph(path, read, registry, &mut Vec::new())?;
    let world = world_of(&plan, registry);
    Ok((plan, world))
}

/// Reads what nodes cost; each must be of the world.
fn calibration(text: &str, world: &World) -> Result<Calibration, String> {
    let calibration: Calibration = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    let is_known = |address: &&String| {
        world.nodes.iter().any(|node| address.split_once('.') == Some((node.host.as_str(), node.node.as_str())))
    };
    match calibration.nodes.keys().find(|address| !is_known(address)) {
        Some(stranger) => Err(format!("the graph has no node `{stranger}`")),
        None => Ok(calibration),
    }
}

/// The scenario's file, and all that it extends.
fn sources(path: &str, text_of: &dyn Fn(&str) -> Result<String, PrepareError>) -> Result<Sources, PrepareError> {
    let mut sources = Sources::new(path, &text_of(Sources::file_of(path))?);
    while let Some(base) = sources.wanted() {
        let text = text_of(&base)?;
        sources.extend(base, &text);
    }
    Ok(sources)
}

fn load_graph(
    path: &str,
    read: ReadText<'_>,
    registry: &Registry,
    inputs: &mut Vec<String>,
) -> Result<ProcessPlan, PrepareError> {
    let texts = std::cell::RefCell::new(Vec::new());
    let reading = |path: &str| {
        let text = read(path)?;
        texts.borrow_mut().push(text.clone());
        Ok(text)
    };
    let Loaded { planned, diagnostics } = load_any(path, &reading, registry, Phase::Run);
    inputs.extend(texts.into_inner());
    match planned {
        Some(Planned::Processes(plan)) => Ok(plan),
        Some(Planned::Graph(plan)) => {
            let process = PlannedProcess { id: plan.process.clone(), path: path.to_owned(), plan };
            Ok(ProcessPlan { processes: vec![process], channels: Vec::new() })
        }
        None => {
            let errors = diagnostics.into_iter().filter(seaworthy_engine::graph::Diagnostic::is_error);
            Err(PrepareError::Graph(errors.map(|found| Box::new(found) as Box<dyn Diagnostic + Send + Sync>).collect()))
        }
    }
}

fn world_of(plan: &ProcessPlan, registry: &Registry) -> World {
    let node = |process: &PlannedProcess, node: &seaworthy_engine::graph::PlannedNode| WorldNode {
        host: process.id.clone(),
        node: node.id.to_string(),
        source: node.role == Role::Source,
        sink: node.role == Role::Sink,
        handles: matches!(node.role, Role::Node | Role::StatefulNode),
        stateful: node.role == Role::StatefulNode,
        plugin_is_here: registry.shape(&node.plugin).is_some(),
    };
    World {
        hosts: plan.processes.iter().map(|process| process.id.clone()).collect(),
        nodes: plan
            .processes
            .iter()
            .flat_map(|process| process.plan.nodes.iter().map(move |n| node(process, n)))
            .collect(),
        channels: plan
            .channels
            .iter()
            .map(|channel| WorldChannel {
                id: channel.id.clone(),
                host: channel.host.clone(),
                producers: channel.producers.clone(),
                consumers: channel.groups.iter().flat_map(|group| group.members.clone()).collect(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests read the repository's own scenarios")]

    use super::*;

    /// A stand-in whose address is misspelt is named beside the node that has none.
    #[test]
    fn a_stand_in_for_no_node_is_told_with_the_node_that_has_none() {
        let mut registry = Registry::new();
        seaworthy_engine::nodes::register(&mut registry);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/deep/detector.toml");
        let read =
            |path: &str| std::fs::read_to_string(path).map(|text| text.replace("\"edge.detect\"", "\"edge.detekt\""));
        let Err(PrepareError::Graph(errors)) = Prepared::read(path, &read, &registry) else {
            panic!("a node has neither a plugin nor a stand-in")
        };
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|error| error.contains("`edge.detekt`")), "{told:?}");
    }
}
