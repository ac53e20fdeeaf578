//! The rules of a graph, all of them, with all that breaks them.
//!
//! Pure: a spec and a registry in, what is wrong out.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::{At, Diagnostic, Findings, SourceFile};
use super::plan::Plan;
use super::problem::GraphProblem;
use super::spec::{CHANNEL_PLUGIN, GraphSpec, Kind, NodeSpec, Profile};
use super::suggest::instead;
use crate::node::{Registry, RegistryError, Shape};

/// How far the graph is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is only looked at: what is in the format but not in this version is a warning.
    Check,
    /// It is about to start: what is not in this version is an error.
    Run,
}

/// What a graph is checked for.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// How far it is to go.
    pub phase: Phase,
    /// The process it runs as; in a file that stands alone, the file's stem.
    pub process: &'a str,
    /// True when the graph stands alone, so that its channel ends lead nowhere.
    pub alone: bool,
}

/// All that is wrong with a graph, besides what its reading already found. No error in here nor there: it may start.
#[must_use]
pub fn check(spec: &GraphSpec, registry: &Registry, context: Context<'_>) -> Vec<Diagnostic> {
    let mut findings = Findings::new(&spec.file);
    let mut nodes = BTreeMap::new();
    for node in &spec.nodes {
        if !node.id.value.is_empty()
            && let Some(first) = nodes.insert(node.id.value.as_str(), node)
        {
            let problem = GraphProblem::DuplicateId { id: node.id.value.clone() };
            findings.found.push(Diagnostic::at(&spec.file, node.id.span, problem).and(first.id.span, "also here"));
        }
        check_node(node, registry, context, &mut findings);
    }
    check_edges(spec, &nodes, &mut findings);
    check_cycles(spec, &nodes, &mut findings);
    if !findings.found.iter().any(Diagnostic::is_error) {
        warn_unwired(spec, &mut findings);
    }
    findings.found
}

fn check_node(node: &NodeSpec, registry: &Registry, context: Context<'_>, findings: &mut Findings) {
    let Some(At { value: kind, span: kind_at }) = node.kind else { return };
    let id = &node.id.value;
    if kind.breaks_cycles() {
        let diagnostic =
            Diagnostic::at(&findings.file, kind_at, GraphProblem::NotInThisVersion { id: id.clone(), kind });
        findings.found.push(if context.phase == Phase::Run { diagnostic } else { diagnostic.as_warning() });
        return;
    }
    if kind == Kind::Source
        && let Some(span) = node.inbox_at
    {
        findings.warn(span, GraphProblem::NoInbox { kind });
    }
    let Some(plugin) = &node.plugin else { return };
    if node.is_channel_end() {
        if kind == Kind::Node {
            findings.add(kind_at, GraphProblem::ChannelKind { kind });
        }
        if context.alone {
            let diagnostic = Diagnostic::at(&findings.file, plugin.span, GraphProblem::ChannelAlone { id: id.clone() });
            findings.found.push(if context.phase == Phase::Run { diagnostic } else { diagnostic.as_warning() });
        }
        return;
    }
    let Some(shape) = registry.shape(&plugin.value) else {
        let address = format!("{}.{id}", context.process);
        if registry.has_stand_in(&address) {
            return;
        }
        let help = instead(&plugin.value, registry.names().chain([CHANNEL_PLUGIN]));
        findings.add(plugin.span, GraphProblem::UnknownPlugin { plugin: plugin.value.clone(), address, help });
        return;
    };
    let is = match shape {
        Shape::Source => Kind::Source,
        Shape::Node | Shape::StatefulNode => Kind::Node,
        Shape::Sink => Kind::Sink,
    };
    if is != kind {
        findings.add(kind_at, GraphProblem::WrongRole { plugin: plugin.value.clone(), is, kind });
    }
    if let Err(RegistryError::Config(error)) = registry.lint(&plugin.value, node.config.clone()) {
        let key = node.config_keys.iter().find(|key| Some(&key.value) == error.key.as_ref());
        let problem = GraphProblem::PluginConfig { plugin: plugin.value.clone(), message: error.message };
        findings.add(key.map_or(plugin.span, |key| key.span), problem);
    }
}

fn check_edges(spec: &GraphSpec, nodes: &BTreeMap<&str, &NodeSpec>, findings: &mut Findings) {
    let mut seen = BTreeMap::new();
    for edge in &spec.edges {
        for end in [&edge.from, &edge.to] {
            if !end.value.is_empty() && !nodes.contains_key(end.value.as_str()) {
                let help = instead(&end.value, nodes.keys().copied());
                findings.add(end.span, GraphProblem::UnknownNode { id: end.value.clone(), help });
            }
        }
        for (node, port, only) in [(&edge.from, &edge.from_port, "out"), (&edge.to, &edge.to_port, "in")] {
            if port.value != only {
                let problem = GraphProblem::UnknownPort { node: node.value.clone(), port: port.value.clone(), only };
                findings.add(port.span, problem);
            }
        }
        let (from, to) = (nodes.get(edge.from.value.as_str()), nodes.get(edge.to.value.as_str()));
        if to.is_some_and(|node| node.kind() == Some(Kind::Source)) {
            findings.add(edge.to.span, GraphProblem::IntoSource { id: edge.to.value.clone() });
        }
        if from.is_some_and(|node| node.kind() == Some(Kind::Sink)) {
            findings.add(edge.from.span, GraphProblem::OutOfSink { id: edge.from.value.clone() });
        }
        if let Some(profile) = &edge.profile
            && profile.value == Profile::InprocAny
            && [from, to].into_iter().flatten().any(|node| node.is_channel_end())
        {
            findings.add(profile.span, GraphProblem::Profile);
        }
        let name = (&edge.from.value, &edge.from_port.value, &edge.to.value, &edge.to_port.value);
        if let Some(first) = seen.insert(name, edge.from.span) {
            let problem = GraphProblem::DuplicateEdge { from: edge.from.value.clone(), to: edge.to.value.clone() };
            findings.found.push(Diagnostic::at(&spec.file, edge.from.span, problem).and(first, "also here"));
        }
    }
}

/// Without its `delay` and `initial` nodes a graph must be a DAG. Names one cycle after the other, each with its nodes
/// taken out before the next is looked for.
fn check_cycles(spec: &GraphSpec, nodes: &BTreeMap<&str, &NodeSpec>, findings: &mut Findings) {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let holds_back = |id: &str| nodes.get(id).is_none_or(|node| node.kind().is_some_and(Kind::breaks_cycles));
    for edge in spec.edges.iter().filter(|edge| !holds_back(&edge.from.value) && !holds_back(&edge.to.value)) {
        next.entry(&edge.from.value).or_default().insert(&edge.to.value);
    }
    for cycle in cycles(next) {
        let steps = || cycle.iter().zip(cycle.iter().cycle().skip(1));
        let edges = |(from, to): (&&str, &&str)| {
            spec.edges.iter().position(|edge| edge.from.value == *from && edge.to.value == *to)
        };
        let last = steps().filter_map(edges).max().expect("every step of a cycle is an edge of the file");
        findings.add(spec.edges[last].from.span, GraphProblem::Cycle { path: round(&cycle) });
    }
}

/// One cycle after the other, each taken out before the next is looked for.
pub(crate) fn cycles<'a>(mut next: BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut cycles = Vec::new();
    while let Some(cycle) = find_cycle(&mut next) {
        next.retain(|id, _| !cycle.contains(id));
        cycles.push(cycle);
    }
    cycles
}

/// `a -> b -> a`.
pub(crate) fn round(cycle: &[&str]) -> String {
    cycle.iter().chain(cycle.first()).copied().collect::<Vec<_>>().join(" -> ")
}

/// A cycle, starting with its first node in the order of names; leaves only nodes that can still be on one.
fn find_cycle<'a>(next: &mut BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    // What leads nowhere is on no cycle; when that is peeled off, every walk goes round.
    loop {
        let alive: BTreeSet<&str> = next.keys().copied().collect();
        for targets in next.values_mut() {
            targets.retain(|to| alive.contains(to));
        }
        next.retain(|_, targets| !targets.is_empty());
        if next.len() == alive.len() {
            break;
        }
    }
    let mut walk = vec![*next.keys().next()?];
    loop {
        let here = walk.last().expect("a walk has a start");
        let to = *next[here].first().expect("what leads nowhere is peeled off");
        if let Some(start) = walk.iter().position(|id| *id == to) {
            let mut cycle = walk.split_off(start);
            let smallest = (0..cycle.len()).min_by_key(|at| cycle[*at]).expect("a cycle has a node");
            cycle.rotate_left(smallest);
            return Some(cycle);
        }
        walk.push(to);
    }
}

fn warn_unwired(spec: &GraphSpec, findings: &mut Findings) {
    let from: BTreeSet<&str> = spec.edges.iter().map(|edge| edge.from.value.as_str()).collect();
    let to: BTreeSet<&str> = spec.edges.iter().map(|edge| edge.to.value.as_str()).collect();
    for node in &spec.nodes {
        let id = node.id.value.as_str();
        let Some(kind) = node.kind().filter(|kind| !kind.breaks_cycles()) else { continue };
        if kind != Kind::Source && !to.contains(id) {
            let problem =
                GraphProblem::Unwired { id: id.into(), direction: "into", example: format!("from: ..., to: {id}") };
            findings.warn(node.id.span, problem);
        }
        if kind != Kind::Sink && !from.contains(id) {
            let problem =
                GraphProblem::Unwired { id: id.into(), direction: "out of", example: format!("from: {id}, to: ...") };
            findings.warn(node.id.span, problem);
        }
    }
}

/// Reads and checks a graph. The plan is there when nothing is wrong and no node is `delay` or `initial`.
pub(crate) fn plan_graph(file: &SourceFile, registry: &Registry, context: Context<'_>) -> GraphLoad {
    let (spec, mut found) = GraphSpec::parse(file);
    if let Some(spec) = &spec {
        found.extend(check(spec, registry, context));
    }
    let sound = spec.as_ref().filter(|_| !found.iter().any(Diagnostic::is_error));
    let plan = sound.and_then(|spec| Plan::of(spec, registry, context.process));
    GraphLoad { spec, plan, found }
}

/// A graph with all that was found out about it.
pub(crate) struct GraphLoad {
    pub(crate) spec: Option<GraphSpec>,
    pub(crate) plan: Option<Plan>,
    pub(crate) found: Vec<Diagnostic>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::test_registry;
    use proptest::prelude::*;

    const GOOD: &str = "\
version: 2
nodes:
  - {id: feed, kind: source, plugin: \"t:source\", config: {path: a.ndjson}}
  - {id: strong, kind: node, plugin: \"t:node\", config: {__runtime__: {inbox_max: 16, inbox_overflow: drop_old}}}
  - {id: out, kind: sink, plugin: \"t:sink\"}
edges:
  - {from: feed, to: strong}
  - {from: strong, to: out}
config: {}
";

    fn good() -> String {
        GOOD.replace("drop_old}", "drop_oldest}")
    }

    fn load(yaml: &str, phase: Phase) -> GraphLoad {
        let context = Context { phase, process: "edge", alone: true };
        plan_graph(&SourceFile::new("graph.yaml", yaml), &test_registry(), context)
    }

    /// `expected` holds `(code, line)` of each finding, in the order of lines; a warning's code starts with `?`.
    #[track_caller]
    fn check_errors(yaml: &str, expected: &[(&str, usize)]) {
        let loaded = load(yaml, Phase::Check);
        let name = |found: &Diagnostic| format!("{}{}", if found.is_error() { "" } else { "?" }, found.code());
        let mut got: Vec<(String, usize)> =
            loaded.found.iter().map(|found| (name(found), found.line_column().map_or(0, |(line, _)| line))).collect();
        got.sort_by_key(|(_, line)| *line);
        let got: Vec<(&str, usize)> = got.iter().map(|(code, line)| (code.as_str(), *line)).collect();
        assert_eq!(got, expected, "{:#?}", loaded.found.iter().map(ToString::to_string).collect::<Vec<_>>());
        for found in &loaded.found {
            assert!(found.help().is_some_and(|help| !help.is_empty()), "{found} has no help");
        }
    }

    /// A graph of nodes `t:node` with the given edges, a line each, from line 6 on.
    fn wired(edges: &[(&str, &str)]) -> String {
        let ids: BTreeSet<&str> = edges.iter().flat_map(|(from, to)| [*from, *to]).collect();
        let node = |id: &&str| match id.strip_prefix("delay") {
            Some(_) => format!("{{id: {id}, kind: delay}}"),
            None => format!("{{id: {id}, kind: node, plugin: \"t:node\"}}"),
        };
        let nodes = ids.iter().map(node).collect::<Vec<_>>().join(", ");
        let edges: String = edges.iter().map(|(from, to)| format!("  - {{from: {from}, to: {to}}}\n")).collect();
        format!("version: 2\nnodes:\n  [{nodes}]\n\nedges:\n{edges}")
    }

    #[test]
    fn a_good_graph_gives_a_plan_in_topological_order() {
        check_errors(&good(), &[]);
        let plan = load(&good(), Phase::Run).plan.expect("a good graph has a plan");
        let ids: Vec<&str> = plan.nodes.iter().map(|node| &*node.id).collect();
        assert_eq!(ids, ["feed", "strong", "out"]);
        assert_eq!(plan.nodes[0].outputs, [1]);
        assert_eq!(
            plan.nodes[1].inbox,
            crate::graph::InboxSpec { max: 16, overflow: crate::graph::Overflow::DropOldest }
        );
        assert_eq!(plan.nodes[1].config, serde_json::json!({}), "__runtime__ is not the plugin's");
    }

    #[test]
    fn every_error_is_found_at_once() {
        check_errors(
            "version: 3\nnodes:\n  - {id: a, kind: sorce, plugin: \"t:source\"}\n  - {id: a, kind: sink, plugin: \"t:snk\"}\n  - {kind: node, plugin: \"t:nod\"}\n  - {id: b, kind: node, plugin: \"t:sink\", color: red}\nedges:\n  - {from: a, to: c}\n  - {from: b, to: b}\n  - {to: zz}\n",
            &[
                ("graph::version", 1),
                ("graph::unknown_kind", 3),
                ("graph::duplicate_id", 4),
                ("graph::unknown_plugin", 4),
                ("yaml::missing_key", 5),
                ("graph::unknown_plugin", 5),
                ("yaml::unknown_key", 6),
                ("graph::wrong_role", 6),
                ("graph::unknown_node", 8),
                ("graph::out_of_sink", 8),
                ("graph::cycle", 9),
                ("yaml::missing_key", 10),
                ("graph::unknown_node", 10),
            ],
        );
    }

    #[test]
    fn yaml_and_types() {
        check_errors("", &[("yaml::wrong_type", 1)]);
        check_errors("a: [", &[("yaml::syntax", 1)]);
        check_errors("version: 2\nnodes: 7\nedges: {}\n", &[("yaml::wrong_type", 2), ("yaml::wrong_type", 3)]);
        check_errors(&good().replace("version: 2", "version: \"2\""), &[("graph::version", 1)]);
        check_errors(&good().replace("id: out", "id: 7"), &[("yaml::wrong_type", 5), ("graph::unknown_node", 8)]);
        check_errors(&good().replace("config: {}", "config: {a: 1}"), &[("yaml::unknown_key", 9)]);
        check_errors(&good().replace("{path: a.ndjson}", "{path: a, path: b}"), &[("yaml::repeated_key", 3)]);
        check_errors(&good().replace("out", "o.ut"), &[("yaml::bad_id", 5)]);
        check_errors(&format!("x: {}1{}", "[".repeat(4000), "]".repeat(4000)), &[("yaml::syntax", 1)]);
    }

    #[test]
    fn a_small_file_can_not_grow_large() {
        let long = "x".repeat(100_000);
        let mut bomb = format!("a0: &a0 [{long}, {long}, {long}]\n");
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 5].join(", ")));
        }
        check_errors(&bomb, &[("yaml::syntax", 3)]);
        check_errors(&" ".repeat(2 << 20), &[("yaml::too_large", 0)]);
    }

    #[test]
    fn nodes() {
        check_errors(GOOD, &[("graph::unknown_overflow", 4)]);
        for max in ["0", "-1", "1.5", "1000001", "many", "99999999999999999999"] {
            check_errors(&good().replace("16", max), &[("graph::inbox_max", 4)]);
        }
        check_errors(&good().replace("inbox_max", "inbox_mox"), &[("yaml::unknown_key", 4)]);
        check_errors(&good().replace("{path: a.ndjson}", "{pth: a}"), &[("graph::plugin_config", 3)]);
        check_errors(&good().replace("{path: a.ndjson}", "{path: 7}"), &[("graph::plugin_config", 3)]);
        check_errors(&good().replace("{path: a.ndjson}", "{path: a, __runtime__: {}}"), &[("?graph::no_inbox", 3)]);
        check_errors(&good().replace(", plugin: \"t:sink\"", ""), &[("yaml::missing_key", 5)]);
    }

    #[test]
    fn edges() {
        let with = |edge: &str| good().replace("config: {}", &format!("  - {{{edge}}}"));
        check_errors(&with("from: feed, to: strong"), &[("graph::duplicate_edge", 9)]);
        check_errors(
            &with("from: out, to: feed"),
            &[("graph::into_source", 9), ("graph::out_of_sink", 9), ("graph::cycle", 9)],
        );
        check_errors(
            &with("from: feed, to: out, from_port: left, to_port: right"),
            &[("graph::unknown_port", 9), ("graph::unknown_port", 9)],
        );
        check_errors(&with("from: feed, to: out, profile: json"), &[("graph::unknown_profile", 9)]);
        check_errors(&with("from: feed, to: out, profile: inproc_any"), &[]);
        check_errors(
            &good().replace("  - {from: strong, to: out}\n", ""),
            &[("?graph::unwired", 4), ("?graph::unwired", 5)],
        );
    }

    #[test]
    fn cycles_go_through_a_delay_or_not_at_all() {
        check_errors(&wired(&[("a", "a")]), &[("graph::cycle", 6)]);
        check_errors(
            &wired(&[("a", "b"), ("b", "c"), ("c", "a"), ("x", "y"), ("y", "x")]),
            &[("graph::cycle", 8), ("graph::cycle", 10)],
        );
        check_errors(&wired(&[("a", "delay"), ("delay", "a")]), &[("?graph::not_in_this_version", 3)]);
        // A delay in the component is not enough: one of its cycles goes round without it.
        check_errors(
            &wired(&[("a", "b"), ("b", "a"), ("a", "delay"), ("delay", "a")]),
            &[("?graph::not_in_this_version", 3), ("graph::cycle", 7)],
        );
        let run = load(&wired(&[("a", "delay"), ("delay", "a")]), Phase::Run);
        assert!(run.found.iter().any(Diagnostic::is_error), "run refuses what is not in this version");
        assert!(run.plan.is_none());
        let message = load(&wired(&[("b", "c"), ("c", "a"), ("a", "b")]), Phase::Run).found[0].to_string();
        assert_eq!(message, "the graph goes round in a circle: a -> b -> c -> a");
    }

    #[test]
    fn channel_ends_belong_into_a_process_graph() {
        let end = |kind: &str, config: &str| {
            good().replace("kind: sink, plugin: \"t:sink\"", &format!("kind: {kind}, plugin: \"std:channel\"{config}"))
        };
        check_errors(&end("sink", ", config: {channel: up}"), &[("?graph::channel_alone", 5)]);
        check_errors(&end("sink", ""), &[("graph::channel_unnamed", 5), ("?graph::channel_alone", 5)]);
        check_errors(
            &end("sink", ", config: {chanel: up}"),
            &[("yaml::unknown_key", 5), ("yaml::missing_key", 5), ("?graph::channel_alone", 5)],
        );
        check_errors(
            &end("node", ", config: {channel: up}"),
            &[("graph::channel_kind", 5), ("?graph::channel_alone", 5)],
        );
        let profile = end("sink", ", config: {channel: up}").replace("to: out}", "to: out, profile: inproc_any}");
        check_errors(&profile, &[("?graph::channel_alone", 5), ("graph::profile", 8)]);
        assert!(load(&end("sink", ", config: {channel: up}"), Phase::Run).found[0].is_error());
    }

    #[test]
    fn the_hash_sees_meaning_and_nothing_else() {
        let hash = |yaml: &str| load(yaml, Phase::Run).plan.expect("a good graph has a plan").graph_hash;
        let base = hash(&good());
        assert_eq!(base, 13_387_898_938_019_942_447, "journals and reports carry it from version to version");
        let mut lines: Vec<String> = good().lines().map(str::to_owned).collect();
        lines.swap(2, 4);
        lines.swap(6, 7);
        assert_eq!(hash(&(lines.join("\n") + "\n# the end\n")), base, "the order of nodes and edges says nothing");
        assert_eq!(
            hash(&good().replace("to: strong", "to: strong, from_port: out")),
            base,
            "nor do defaults written out"
        );
        for (old, new) in [
            ("16", "17"),
            ("a.ndjson", "b.ndjson"),
            ("from: strong, to: out", "from: feed, to: out"),
            ("drop_oldest", "error"),
        ] {
            assert_ne!(hash(&good().replace(old, new)), base, "{old} -> {new}");
        }
    }

    /// Kahn's count, on a plain list of edges.
    fn is_dag(nodes: usize, edges: &[(usize, usize)]) -> bool {
        let mut alive = vec![true; nodes];
        for _ in 0..nodes {
            for node in 0..nodes {
                alive[node] &= edges.iter().any(|(from, to)| *to == node && alive[*from]);
            }
        }
        !alive.contains(&true)
    }

    proptest! {
        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            load(&String::from_utf8_lossy(&bytes), Phase::Run);
        }

        #[test]
        fn damaged_graphs_never_panic_and_always_answer(at in 0usize..400, cut in 0usize..40, paste in "[ -~\n\u{e9}]{0,12}") {
            let mut text = good();
            let at = text.floor_char_boundary(at.min(text.len()));
            let end = text.floor_char_boundary((at + cut).min(text.len()));
            text.replace_range(at..end, &paste);
            let loaded = load(&text, Phase::Run);
            prop_assert_eq!(loaded.plan.is_none(), loaded.found.iter().any(Diagnostic::is_error));
        }

        #[test]
        fn accepted_iff_acyclic_without_delays(edges in prop::collection::btree_set((0usize..7, 0usize..7), 1..14)) {
            // Nodes 5 and 6 are delays.
            let name = |node: usize| if node < 5 { format!("n{node}") } else { format!("delay{node}") };
            let names: Vec<(String, String)> = edges.iter().map(|(from, to)| (name(*from), name(*to))).collect();
            let names: Vec<(&str, &str)> = names.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
            let plain: Vec<(usize, usize)> = edges.iter().copied().filter(|(from, to)| *from < 5 && *to < 5).collect();
            let loaded = load(&wired(&names), Phase::Check);
            prop_assert_eq!(is_dag(7, &plain), !loaded.found.iter().any(Diagnostic::is_error));
        }
    }
}
