//! A graph as its file says it: nodes, edges and their places, before anyone asked whether they make sense together.

use std::fmt;

use miette::SourceSpan;

use super::diagnostic::{At, Diagnostic, Findings, SourceFile};
use super::problem::GraphProblem;
use super::suggest::instead;
use super::yaml::{self, Fields, Tree, Value};

/// The version that graph files carry.
pub const GRAPH_VERSION: u64 = 2;
/// More nodes are refused.
pub const NODES_MAX: usize = 1024;
/// More edges are refused.
pub const EDGES_MAX: usize = 8192;
/// The largest `inbox_max`, in packets.
pub const INBOX_MAX_LIMIT: usize = 1_000_000;
/// `inbox_max` of a node that doesn't name one, in packets.
pub const INBOX_MAX_DEFAULT: usize = 1024;
/// The plugin name of a channel's end.
pub const CHANNEL_PLUGIN: &str = "std:channel";
/// The key of a node's `config` that speaks to the runtime, not to the plugin.
const RUNTIME_KEY: &str = "__runtime__";

/// What a node is in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Brings packets in; no incoming edge.
    Source,
    /// Packets in, packets out.
    Node,
    /// Takes packets out; no outgoing edge.
    Sink,
    /// Gives back what it got a step later; breaks a cycle.
    Delay,
    /// The first packet of a cycle; breaks it.
    Initial,
}

impl Kind {
    const NAMES: [(&'static str, Kind); 5] = [
        ("source", Kind::Source),
        ("node", Kind::Node),
        ("sink", Kind::Sink),
        ("delay", Kind::Delay),
        ("initial", Kind::Initial),
    ];

    /// The word that files use.
    #[must_use]
    pub fn name(self) -> &'static str {
        Kind::NAMES.iter().find(|(_, kind)| *kind == self).expect("every kind has a name").0
    }

    /// True for the two kinds that hold a packet back and so may stand in a cycle.
    #[must_use]
    pub fn breaks_cycles(self) -> bool {
        matches!(self, Kind::Delay | Kind::Initial)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an edge or a channel may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Anything; within one process.
    InprocAny,
    /// JSON; within and between processes.
    JsonPortable,
    /// References to data that lies elsewhere; within and between processes.
    RefPortable,
}

impl Profile {
    const NAMES: [(&'static str, Profile); 3] = [
        ("inproc_any", Profile::InprocAny),
        ("json_portable", Profile::JsonPortable),
        ("ref_portable", Profile::RefPortable),
    ];

    /// The word that files use.
    #[must_use]
    pub fn name(self) -> &'static str {
        Profile::NAMES.iter().find(|(_, profile)| *profile == self).expect("every profile has a name").0
    }

    pub(crate) fn parse(tree: &Tree, findings: &mut Findings) -> Option<At<Profile>> {
        let text = tree.text("profile", findings)?;
        let known = Profile::NAMES.iter().find(|(name, _)| *name == text.value);
        if known.is_none() {
            let help = instead(&text.value, Profile::NAMES.map(|(name, _)| name));
            findings.add(text.span, GraphProblem::UnknownProfile { profile: text.value, help });
        }
        known.map(|(_, profile)| At { value: *profile, span: text.span })
    }
}

/// What happens to a packet that finds an inbox full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The sender waits.
    #[default]
    Block,
    /// The packet that comes is dropped.
    DropNew,
    /// The packet that has waited longest is dropped.
    DropOldest,
    /// The packet that comes fails.
    Error,
}

impl Overflow {
    const NAMES: [(&'static str, Overflow); 4] = [
        ("block", Overflow::Block),
        ("drop_new", Overflow::DropNew),
        ("drop_oldest", Overflow::DropOldest),
        ("error", Overflow::Error),
    ];

    /// The word that files use.
    #[must_use]
    pub fn name(self) -> &'static str {
        Overflow::NAMES.iter().find(|(_, overflow)| *overflow == self).expect("every overflow has a name").0
    }
}

/// A node's inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct InboxSpec {
    /// Packets that may wait, at least 1.
    pub max: usize,
    /// What happens to one more.
    pub overflow: Overflow,
}

impl Default for InboxSpec {
    fn default() -> Self {
        InboxSpec { max: INBOX_MAX_DEFAULT, overflow: Overflow::Block }
    }
}

/// A node as written. What was written wrong is `None`, and has been reported.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The node's id; empty when none could be read.
    pub id: At<String>,
    /// What it is in the graph.
    pub kind: Option<At<Kind>>,
    /// The plugin's name; `delay` and `initial` have none.
    pub plugin: Option<At<String>>,
    /// The plugin's configuration, without `__runtime__`; null when there is none.
    pub config: serde_json::Value,
    /// Where `config` and its keys stand.
    pub config_keys: Vec<At<String>>,
    /// The inbox.
    pub inbox: InboxSpec,
    /// Where the inbox is configured, if it is.
    pub inbox_at: Option<SourceSpan>,
    /// The channel, when this is a channel's end (plugin `std:channel`).
    pub channel: Option<At<String>>,
}

impl NodeSpec {
    /// True when this is a channel's end.
    #[must_use]
    pub fn is_channel_end(&self) -> bool {
        self.plugin.as_ref().is_some_and(|plugin| plugin.value == CHANNEL_PLUGIN)
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        self.kind.as_ref().map(|kind| kind.value)
    }
}

/// An edge as written. Ports are given, or the default ones.
#[derive(Clone, Debug)]
pub struct EdgeSpec {
    /// The node whose output it takes; empty when none could be read.
    pub from: At<String>,
    /// The node whose inbox it fills; empty when none could be read.
    pub to: At<String>,
    /// The output, `out` by default.
    pub from_port: At<String>,
    /// The input, `in` by default.
    pub to_port: At<String>,
    /// What it may carry, when that is written.
    pub profile: Option<At<Profile>>,
}

/// A graph file, read but not yet checked.
#[derive(Clone, Debug)]
pub struct GraphSpec {
    /// The file.
    pub file: SourceFile,
    /// The nodes, in the file's order.
    pub nodes: Vec<NodeSpec>,
    /// The edges, in the file's order.
    pub edges: Vec<EdgeSpec>,
}

impl GraphSpec {
    /// Reads a graph. Goes on after an error; what could not be read is left out of the spec and reported. `None` when
    /// the file is no mapping at all.
    #[must_use]
    pub fn parse(file: &SourceFile) -> (Option<GraphSpec>, Vec<Diagnostic>) {
        let mut findings = Findings::new(file);
        let spec = match yaml::parse(file) {
            Ok(tree) => GraphSpec::read(&tree, &mut findings),
            Err(diagnostic) => return (None, vec![diagnostic]),
        };
        (spec, findings.found)
    }

    fn read(tree: &Tree, findings: &mut Findings) -> Option<GraphSpec> {
        let fields = Fields::of(tree, "a graph", &["version", "nodes", "edges", "config"], findings)?;
        if let Some(version) = fields.need("version", findings)
            && version.value != Value::Number(GRAPH_VERSION.into())
        {
            findings.add(version.span, GraphProblem::Version);
        }
        // The format has a `config` here, and nothing in it yet.
        if let Some(config) = fields.get("config").filter(|config| config.value != Value::Null) {
            let _ = Fields::of(config, "a graph's `config`", &[], findings);
        }
        let nodes = fields.need("nodes", findings).map_or(&[][..], |nodes| nodes.list("nodes", findings));
        let edges = fields.get("edges").map_or(&[][..], |edges| edges.list("edges", findings));
        for (what, all, max) in [("nodes", nodes, NODES_MAX), ("edges", edges, EDGES_MAX)] {
            if let Some(first) = all.get(max) {
                findings.add(first.span, GraphProblem::TooMany { what, count: all.len(), max });
            }
        }
        let nodes = nodes.iter().take(NODES_MAX).filter_map(|node| read_node(node, findings)).collect();
        let edges = edges.iter().take(EDGES_MAX).filter_map(|edge| read_edge(edge, findings)).collect();
        Some(GraphSpec { file: findings.file.clone(), nodes, edges })
    }
}

fn read_node(tree: &Tree, findings: &mut Findings) -> Option<NodeSpec> {
    let fields = Fields::of(tree, "a node", &["id", "kind", "plugin", "config"], findings)?;
    let kind = fields.need("kind", findings).and_then(|kind| read_kind(kind, findings));
    let plugin = match (&kind, fields.get("plugin")) {
        (_, Some(plugin)) => plugin.text("plugin", findings),
        (Some(At { value: Kind::Delay | Kind::Initial, .. }) | None, None) => None,
        (Some(_), None) => fields.need("plugin", findings).and_then(|plugin| plugin.text("plugin", findings)),
    };
    let nameless = || At { value: String::new(), span: fields.span };
    let mut node = NodeSpec {
        id: fields.need("id", findings).and_then(|id| id.id("id", findings)).unwrap_or_else(nameless),
        kind,
        plugin,
        config: serde_json::Value::Null,
        config_keys: Vec::new(),
        inbox: InboxSpec::default(),
        inbox_at: None,
        channel: None,
    };
    if let Some(config) = fields.get("config") {
        read_config(config, &mut node, findings);
    }
    if node.is_channel_end() {
        node.channel = read_channel(fields.get("config"), fields.span, findings);
    }
    Some(node)
}

fn read_kind(tree: &Tree, findings: &mut Findings) -> Option<At<Kind>> {
    let text = tree.text("kind", findings)?;
    let known = Kind::NAMES.iter().find(|(name, _)| *name == text.value);
    if known.is_none() {
        let help = instead(&text.value, Kind::NAMES.map(|(name, _)| name));
        findings.add(text.span, GraphProblem::UnknownKind { kind: text.value, help });
    }
    known.map(|(_, kind)| At { value: *kind, span: text.span })
}

fn read_config(tree: &Tree, node: &mut NodeSpec, findings: &mut Findings) {
    let map = match &tree.value {
        Value::Null => return,
        Value::Map(map) => map,
        _ => return tree.wrong_type("config", "a mapping", "write `config: {key: value}`", findings),
    };
    let mut config = tree.json(findings);
    if let Some(object) = config.as_object_mut() {
        object.remove(RUNTIME_KEY);
    }
    node.config = config;
    node.config_keys = map.iter().map(|(key, _)| key.clone()).collect();
    if let Some((key, runtime)) = map.iter().find(|(key, _)| key.value == RUNTIME_KEY) {
        node.inbox_at = Some(key.span);
        node.inbox = read_inbox(runtime, findings);
    }
}

fn read_inbox(tree: &Tree, findings: &mut Findings) -> InboxSpec {
    let mut inbox = InboxSpec::default();
    let Some(fields) = Fields::of(tree, "`__runtime__`", &["inbox_max", "inbox_overflow"], findings) else {
        return inbox;
    };
    if let Some(max) = fields.get("inbox_max") {
        let number = if let Value::Number(number) = &max.value { number.as_u64() } else { None };
        match number.and_then(|max| usize::try_from(max).ok()).filter(|max| (1..=INBOX_MAX_LIMIT).contains(max)) {
            Some(max) => inbox.max = max,
            None => findings.add(max.span, GraphProblem::InboxMax),
        }
    }
    if let Some(overflow) = fields.get("inbox_overflow").and_then(|overflow| overflow.text("inbox_overflow", findings))
    {
        match Overflow::NAMES.iter().find(|(name, _)| *name == overflow.value) {
            Some((_, known)) => inbox.overflow = *known,
            None => {
                let help = instead(&overflow.value, Overflow::NAMES.map(|(name, _)| name));
                findings.add(overflow.span, GraphProblem::UnknownOverflow { overflow: overflow.value, help });
            }
        }
    }
    inbox
}

fn read_channel(config: Option<&Tree>, node: SourceSpan, findings: &mut Findings) -> Option<At<String>> {
    let Some(config) = config else {
        findings.add(node, GraphProblem::ChannelUnnamed);
        return None;
    };
    let fields = Fields::of(config, "the `config` of a channel's end", &["channel", RUNTIME_KEY], findings)?;
    fields.need("channel", findings)?.id("channel", findings)
}

fn read_edge(tree: &Tree, findings: &mut Findings) -> Option<EdgeSpec> {
    let fields = Fields::of(tree, "an edge", &["from", "to", "from_port", "to_port", "profile"], findings)?;
    let or =
        |text: Option<At<String>>, default: &str| text.unwrap_or(At { value: default.to_owned(), span: fields.span });
    let from = fields.need("from", findings).and_then(|from| from.text("from", findings));
    let to = fields.need("to", findings).and_then(|to| to.text("to", findings));
    let from_port = fields.get("from_port").and_then(|port| port.text("from_port", findings));
    let to_port = fields.get("to_port").and_then(|port| port.text("to_port", findings));
    let profile = fields.get("profile").and_then(|profile| Profile::parse(profile, findings));
    Some(EdgeSpec {
        from: or(from, ""),
        to: or(to, ""),
        from_port: or(from_port, "out"),
        to_port: or(to_port, "in"),
        profile,
    })
}
