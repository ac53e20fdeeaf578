//! What the runtime starts from: a checked graph as plain data, in topological order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::spec::{GraphSpec, Kind, NodeSpec};
pub use super::spec::{InboxSpec, Overflow};
use crate::node::{Registry, Shape};

/// A graph, ready to start.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The process that it runs as.
    pub process: String,
    /// The hash of what the graph says ([`graph_hash`]); the order of the file and its comments don't change it.
    pub graph_hash: u64,
    /// The nodes; every edge leads from a lower to a higher index. Equal graphs give equal orders.
    pub nodes: Vec<PlannedNode>,
}

/// A node, ready to be built.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedNode {
    /// Its id.
    pub id: Arc<str>,
    /// What it does.
    pub role: Role,
    /// The plugin to build it from; `std:channel` for a channel's end, which no registry holds.
    pub plugin: String,
    /// The plugin's configuration; null when there is none.
    pub config: serde_json::Value,
    /// Its inbox; sources have none, and this is then the default.
    pub inbox: InboxSpec,
    /// Indices of the nodes that its outputs go to, ascending, each once.
    pub outputs: Vec<usize>,
}

/// What a planned node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Brings packets in.
    Source,
    /// Packets in, packets out; keeps no state.
    Node,
    /// Packets in, packets out; keeps durable state.
    StatefulNode,
    /// Takes packets out.
    Sink,
    /// Brings in what a channel delivers.
    ChannelIn {
        /// The channel's id.
        channel: String,
    },
    /// Puts packets into a channel.
    ChannelOut {
        /// The channel's id.
        channel: String,
    },
}

impl Role {
    /// True when nothing leads into it, so that it has no inbox.
    #[must_use]
    pub fn is_entry(&self) -> bool {
        matches!(self, Role::Source | Role::ChannelIn { .. })
    }
}

impl Plan {
    /// The plan of a graph that `check` found no error in; `None` when it holds `delay` or `initial` nodes.
    ///
    /// # Panics
    /// When the graph was not checked, or was found wrong.
    #[must_use]
    pub(crate) fn of(spec: &GraphSpec, registry: &Registry, process: &str) -> Option<Plan> {
        if spec.nodes.iter().any(|node| node.kind().is_some_and(Kind::breaks_cycles)) {
            return None;
        }
        let order = topological(spec);
        let index: BTreeMap<&str, usize> =
            order.iter().enumerate().map(|(at, node)| (node.id.value.as_str(), at)).collect();
        let mut outputs = vec![BTreeSet::new(); order.len()];
        for edge in &spec.edges {
            let (from, to) = (index[edge.from.value.as_str()], index[edge.to.value.as_str()]);
            assert!(from < to, "edge {} -> {} leads back in a checked graph", edge.from.value, edge.to.value);
            outputs[from].insert(to);
        }
        let planned = |(node, outputs): (&NodeSpec, BTreeSet<usize>)| PlannedNode {
            id: node.id.value.as_str().into(),
            role: role(node, registry),
            plugin: node
                .plugin
                .as_ref()
                .map(|plugin| plugin.value.clone())
                .expect("a checked node of this kind has a plugin"),
            config: node.config.clone(),
            inbox: node.inbox,
            outputs: outputs.into_iter().collect(),
        };
        let nodes = order.into_iter().zip(outputs).map(planned).collect();
        Some(Plan { process: process.to_owned(), graph_hash: graph_hash(spec), nodes })
    }
}

fn role(node: &NodeSpec, registry: &Registry) -> Role {
    let kind = node.kind().expect("a checked node has a kind");
    if let Some(channel) = node.channel.as_ref().map(|channel| channel.value.clone()) {
        return if kind == Kind::Source { Role::ChannelIn { channel } } else { Role::ChannelOut { channel } };
    }
    let plugin = node.plugin.as_ref().expect("a checked node of this kind has a plugin");
    match (registry.shape(&plugin.value), kind) {
        (Some(Shape::Source), _) | (None, Kind::Source) => Role::Source,
        (Some(Shape::StatefulNode), _) => Role::StatefulNode,
        (Some(Shape::Sink), _) | (None, Kind::Sink) => Role::Sink,
        // What stands in for a plugin that isn't here keeps no state.
        (Some(Shape::Node), _) | (None, Kind::Node | Kind::Delay | Kind::Initial) => Role::Node,
    }
}

/// Sources first; among nodes that are ready, the first in the order of names.
fn topological(spec: &GraphSpec) -> Vec<&NodeSpec> {
    let mut waiting: BTreeMap<&str, usize> = spec.nodes.iter().map(|node| (node.id.value.as_str(), 0)).collect();
    for edge in &spec.edges {
        *waiting.get_mut(edge.to.value.as_str()).expect("a checked edge names a node") += 1;
    }
    let nodes: BTreeMap<&str, &NodeSpec> = spec.nodes.iter().map(|node| (node.id.value.as_str(), node)).collect();
    let mut ready: BTreeSet<&str> = waiting.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut order = Vec::new();
    while let Some(id) = ready.pop_first() {
        order.push(nodes[id]);
        for edge in spec.edges.iter().filter(|edge| edge.from.value == id) {
            let count = waiting.get_mut(edge.to.value.as_str()).expect("a checked edge names a node");
            *count -= 1;
            if *count == 0 {
                ready.insert(&edge.to.value);
            }
        }
    }
    assert!(
        order.len() == spec.nodes.len(),
        "{} of {} nodes are on a cycle of a checked graph",
        spec.nodes.len() - order.len(),
        spec.nodes.len()
    );
    order
}

/// A hash of what a graph says: xxh3 over a canonical text. The order of nodes, edges and keys, comments, and defaults
/// written out don't change it; everything else does.
#[must_use]
pub fn graph_hash(spec: &GraphSpec) -> u64 {
    let node = |node: &NodeSpec| {
        let kind = node.kind().map(Kind::name);
        let plugin = node.plugin.as_ref().map(|plugin| &plugin.value);
        let config = if node.config.is_null() { serde_json::json!({}) } else { node.config.clone() };
        canonical(&serde_json::json!([node.id.value, kind, plugin, config, node.inbox.max, node.inbox.overflow.name()]))
    };
    let edge = |edge: &super::spec::EdgeSpec| {
        let profile = edge.profile.as_ref().map(|profile| profile.value.name());
        canonical(&serde_json::json!([
            edge.from.value,
            edge.from_port.value,
            edge.to.value,
            edge.to_port.value,
            profile
        ]))
    };
    let nodes: BTreeSet<String> = spec.nodes.iter().map(node).collect();
    let edges: BTreeSet<String> = spec.edges.iter().map(edge).collect();
    let lines: Vec<&str> =
        nodes.iter().map(String::as_str).chain(["edges"]).chain(edges.iter().map(String::as_str)).collect();
    xxh3_64(lines.join("\n").as_bytes())
}

/// JSON with sorted keys whatever features serde_json was built with.
fn canonical(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(map) => {
            let sorted: BTreeMap<&String, String> = map.iter().map(|(key, value)| (key, canonical(value))).collect();
            let entries = sorted.into_iter().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str())));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}
