//! The rules of a process graph and of the graphs that it names, and the plan that comes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::problem::ProcessProblem;
use super::spec::{LinkSpec, ProcessGraphSpec};
use crate::graph::check::{Context, GraphLoad, Phase, plan_graph};
use crate::graph::diagnostic::{At, Diagnostic, Findings, SourceFile, is_outside};
use crate::graph::plan::Plan;
use crate::graph::spec::Kind;
use crate::graph::suggest::{instead, nearest};
use crate::graph::yaml::Tree;
use crate::node::Registry;

/// Processes and channels, ready to start.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessPlan {
    /// The processes, in the file's order.
    pub processes: Vec<PlannedProcess>,
    /// The channels, in the file's order.
    pub channels: Vec<ChannelPlan>,
}

/// A process, ready to start.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedProcess {
    /// Its id.
    pub id: String,
    /// The path of its graph, seen from where the process graph's own path is seen from.
    pub path: String,
    /// Its graph.
    pub plan: Plan,
}

/// A channel, with its two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPlan {
    /// Its id, unique in the file.
    pub id: String,
    /// The process whose graph puts packets in.
    pub producer: String,
    /// The process whose graph takes packets out.
    pub consumer: String,
    /// The process in whose journal it lives.
    pub host: String,
    /// The consumers' group; the consumer's id unless the link names another.
    pub group: String,
}

impl ChannelPlan {
    /// Those of `channels` that `process` has an end of, or keeps.
    #[must_use]
    pub fn of(process: &str, channels: &[ChannelPlan]) -> Vec<ChannelPlan> {
        let mine = |channel: &&ChannelPlan| {
            [&channel.producer, &channel.consumer, &channel.host].into_iter().any(|end| end == process)
        };
        channels.iter().filter(mine).cloned().collect()
    }
}

/// Reads a process graph and its graphs, by `read` with paths that follow from `file`'s own, and checks all of it.
pub(crate) fn load(
    file: &SourceFile,
    tree: &Tree,
    read: &dyn Fn(&str) -> io::Result<String>,
    registry: &Registry,
    phase: Phase,
) -> (Option<ProcessPlan>, Vec<Diagnostic>) {
    let mut findings = Findings::new(file);
    let Some(spec) = ProcessGraphSpec::read(tree, &mut findings) else { return (None, findings.found) };
    check_ids(&spec, &mut findings);
    check_channels(&spec, phase, &mut findings);

    let mut graphs = Vec::new();
    for process in spec.processes.iter().filter(|process| !process.graph.value.is_empty()) {
        let path = beside(file.name(), &process.graph.value);
        match read(&path) {
            Ok(text) => {
                let context = Context { phase, process: &process.id.value, alone: false };
                graphs.push((process.id.value.as_str(), plan_graph(&SourceFile::new(&path, &text), registry, context)));
            }
            Err(source) => {
                let outside = is_outside(&source);
                let diagnostic =
                    Diagnostic::at(file, process.graph.span, ProcessProblem::GraphUnreadable { path, source });
                findings.found.push(if outside { diagnostic.from_outside() } else { diagnostic });
            }
        }
    }
    check_ends(&spec, &graphs, &mut findings);

    let mut found = findings.found;
    found.extend(graphs.iter_mut().flat_map(|(_, graph)| std::mem::take(&mut graph.found)));
    let sound = !found.iter().any(Diagnostic::is_error);
    let plan = sound.then(|| plan(&spec, graphs)).flatten();
    (plan, found)
}

/// A path that a file names, seen from where that file's own path is seen from.
fn beside(file: &str, path: &str) -> String {
    match file.rsplit_once('/') {
        Some((dir, _)) if !path.starts_with('/') => format!("{dir}/{path}"),
        _ => path.to_owned(),
    }
}

fn check_ids(spec: &ProcessGraphSpec, findings: &mut Findings) {
    let processes = spec.processes.iter().map(|process| ("processes", &process.id));
    let channels = spec.channels.iter().map(|channel| ("channels", &channel.id));
    let mut seen = BTreeMap::new();
    for (what, id) in processes.chain(channels).filter(|(_, id)| !id.value.is_empty()) {
        if let Some(first) = seen.insert((what, id.value.as_str()), id.span) {
            let problem = ProcessProblem::DuplicateId { what, id: id.value.clone() };
            findings.found.push(Diagnostic::at(&findings.file, id.span, problem).and(first, "also here"));
        }
    }
    let known: BTreeSet<&str> = spec.processes.iter().map(|process| process.id.value.as_str()).collect();
    let named = spec.links.iter().flat_map(|link| [&link.producer, &link.consumer]);
    let hosts = spec.channels.iter().filter_map(|channel| channel.host.as_ref());
    for id in named.chain(hosts).filter(|id| !id.value.is_empty() && !known.contains(id.value.as_str())) {
        let help = instead(&id.value, known.iter().copied());
        findings.add(id.span, ProcessProblem::UnknownProcess { id: id.value.clone(), help });
    }
    let known: BTreeSet<&str> = spec.channels.iter().map(|channel| channel.id.value.as_str()).collect();
    for At { value: id, span } in spec.links.iter().map(|link| &link.channel) {
        if !id.is_empty() && !known.contains(id.as_str()) {
            findings.add(
                *span,
                ProcessProblem::UnknownChannel { id: id.clone(), help: instead(id, known.iter().copied()) },
            );
        }
    }
}

/// A channel has exactly one link, from one process to another, and lives with its consumer.
fn check_channels(spec: &ProcessGraphSpec, phase: Phase, findings: &mut Findings) {
    let not_yet = |diagnostic: Diagnostic| if phase == Phase::Run { diagnostic } else { diagnostic.as_warning() };
    for channel in spec.channels.iter().filter(|channel| !channel.id.value.is_empty()) {
        let id = &channel.id.value;
        let links: Vec<&LinkSpec> = spec.links.iter().filter(|link| link.channel.value == *id).collect();
        let [link] = links.as_slice() else {
            let diagnostic = match links.get(1) {
                None => {
                    Diagnostic::at(&spec.file, channel.id.span, ProcessProblem::UnlinkedChannel { channel: id.clone() })
                }
                Some(second) => {
                    let problem = ProcessProblem::ManyLinks { channel: id.clone(), links: links.len() };
                    Diagnostic::at(&spec.file, second.channel.span, problem)
                }
            };
            findings.found.push(diagnostic);
            continue;
        };
        if link.producer.value == link.consumer.value {
            let problem = ProcessProblem::SelfLink { channel: id.clone(), process: link.consumer.value.clone() };
            findings.found.push(not_yet(Diagnostic::at(&spec.file, link.consumer.span, problem)));
        }
        if let Some(host) = channel.host.as_ref().filter(|host| host.value != link.consumer.value) {
            let consumer = link.consumer.value.clone();
            let problem = ProcessProblem::ForeignHost { channel: id.clone(), host: host.value.clone(), consumer };
            findings.found.push(not_yet(Diagnostic::at(&spec.file, host.span, problem)));
        }
    }
}

/// Each link has its two ends in the graphs, and each end has its link.
fn check_ends(spec: &ProcessGraphSpec, graphs: &[(&str, GraphLoad)], findings: &mut Findings) {
    for (process, graph) in graphs.iter().filter_map(|(process, graph)| Some((*process, graph.spec.as_ref()?))) {
        let mut ends = BTreeMap::new();
        for node in &graph.nodes {
            let (Some(At { value: channel, span }), Some(kind)) = (&node.channel, node.kind()) else { continue };
            if let Some(first) = ends.insert((kind == Kind::Source, channel.as_str()), *span) {
                let problem = ProcessProblem::SecondEnd { channel: channel.clone() };
                findings.found.push(Diagnostic::at(&graph.file, *span, problem).and(first, "also here"));
            }
            let mine = |link: &&LinkSpec| match kind {
                Kind::Source => link.consumer.value == process,
                _ => link.producer.value == process,
            };
            let linked: Vec<&str> = spec.links.iter().filter(mine).map(|link| link.channel.value.as_str()).collect();
            if !linked.contains(&channel.as_str()) {
                let problem = unlinked_end(process, channel, kind, &linked, spec.file.name());
                findings.found.push(Diagnostic::at(&graph.file, *span, problem));
            }
        }
        for link in spec.links.iter().filter(|link| !link.channel.value.is_empty()) {
            let sides = [(&link.producer, false, "puts into", "sink"), (&link.consumer, true, "takes from", "source")];
            for (side, takes, does, kind) in sides.into_iter().filter(|(side, ..)| side.value == process) {
                if !ends.contains_key(&(takes, link.channel.value.as_str())) {
                    let (process, channel) = (process.to_owned(), link.channel.value.clone());
                    let graph = graph.file.name().to_owned();
                    findings.add(side.span, ProcessProblem::MissingEnd { process, channel, graph, does, kind });
                }
            }
        }
    }
}

fn unlinked_end(process: &str, channel: &str, kind: Kind, linked: &[&str], file: &str) -> ProcessProblem {
    let (may, link) = match kind {
        Kind::Source => ("take from", format!("producer: ..., consumer: {process}, channel: {channel}")),
        _ => ("put into", format!("producer: {process}, consumer: ..., channel: {channel}")),
    };
    let help = match nearest(channel, linked) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add `- {{{link}}}` to `links` of {file}, or remove the node"),
    };
    ProcessProblem::UnlinkedEnd { process: process.to_owned(), channel: channel.to_owned(), may, help }
}

/// `None` when a graph has no plan: it holds `delay` or `initial` nodes.
fn plan(spec: &ProcessGraphSpec, graphs: Vec<(&str, GraphLoad)>) -> Option<ProcessPlan> {
    let path_of = |id: &str| {
        let process = spec.processes.iter().find(|process| process.id.value == id);
        beside(spec.file.name(), &process.expect("graphs were read from these processes").graph.value)
    };
    let processes = graphs
        .into_iter()
        .map(|(id, graph)| Some(PlannedProcess { id: id.to_owned(), path: path_of(id), plan: graph.plan? }));
    let channels = spec.channels.iter().map(|channel| {
        let link = spec.links.iter().find(|link| link.channel.value == channel.id.value);
        let link = link.expect("each channel of a checked file has its link");
        let or_consumer = |id: &Option<At<String>>| id.as_ref().map_or(&link.consumer.value, |id| &id.value).clone();
        ChannelPlan {
            id: channel.id.value.clone(),
            producer: link.producer.value.clone(),
            consumer: link.consumer.value.clone(),
            host: or_consumer(&channel.host),
            group: or_consumer(&link.group),
        }
    });
    Some(ProcessPlan { processes: processes.collect::<Option<_>>()?, channels: channels.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::test_registry;
    use crate::load::{Loaded, Planned, load_any};

    const PROCESS: &str = "\
version: 1
processes:
  - {id: edge, graph: edge.yaml}
  - {id: hub, graph: g/hub.yaml}
channels:
  - {id: uplink, kind: journal, require_ack: true}
links:
  - {producer: edge, consumer: hub, channel: uplink}
";
    const EDGE: &str = "\
version: 2
nodes:
  - {id: feed, kind: source, plugin: \"t:source\", config: {path: a}}
  - {id: up, kind: sink, plugin: \"std:channel\", config: {channel: uplink}}
edges: [{from: feed, to: up}]
";
    const HUB: &str = "\
version: 2
nodes:
  - {id: up, kind: source, plugin: \"std:channel\", config: {channel: uplink}}
  - {id: out, kind: sink, plugin: \"t:sink\"}
edges: [{from: up, to: out}]
";

    fn load(process: &str, edge: &str, hub: &str, phase: Phase) -> Loaded {
        let read = |path: &str| match path {
            "dir/p.yaml" => Ok(process.to_owned()),
            "dir/edge.yaml" => Ok(edge.to_owned()),
            "dir/g/hub.yaml" => Ok(hub.to_owned()),
            "dir/broken.yaml" => Err(io::Error::other("the disk is on fire")),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        load_any("dir/p.yaml", &read, &test_registry(), phase)
    }

    /// `expected` holds `(code, file, line)` of each finding, in the order of files and lines; a `?` marks what refuses nothing.
    #[track_caller]
    fn check_errors(process: &str, edge: &str, hub: &str, expected: &[(&str, &str, usize)]) {
        let loaded = load(process, edge, hub, Phase::Check);
        let name = |found: &Diagnostic| format!("{}{}", if found.is_error() { "" } else { "?" }, found.code());
        let line = |found: &Diagnostic| found.line_column().map_or(0, |(line, _)| line);
        let got: Vec<_> =
            loaded.diagnostics.iter().map(|found| (name(found), found.file().to_owned(), line(found))).collect();
        let got: Vec<_> = got.iter().map(|(code, file, line)| (code.as_str(), file.as_str(), *line)).collect();
        assert_eq!(got, expected, "{:#?}", loaded.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(loaded.planned.is_none(), loaded.is_refused());
    }

    #[test]
    fn a_good_file_gives_a_plan() {
        check_errors(PROCESS, EDGE, HUB, &[]);
        let Some(Planned::Processes(plan)) = load(PROCESS, EDGE, HUB, Phase::Run).planned else { panic!("no plan") };
        assert_eq!(plan.processes.iter().map(|process| &process.id).collect::<Vec<_>>(), ["edge", "hub"]);
        assert_eq!(plan.processes[0].plan.nodes[1].role, crate::graph::Role::ChannelOut { channel: "uplink".into() });
        assert_eq!(plan.processes[1].plan.nodes[0].role, crate::graph::Role::ChannelIn { channel: "uplink".into() });
        let hub = || "hub".to_owned();
        let uplink =
            ChannelPlan { id: "uplink".into(), producer: "edge".into(), consumer: hub(), host: hub(), group: hub() };
        assert_eq!(plan.channels, [uplink]);
    }

    #[test]
    fn the_words_of_the_origin_are_understood() {
        let origin = PROCESS.replace("kind: journal, require_ack: true", "kind: sqlite_queue, path: q.db");
        check_errors(
            &origin,
            EDGE,
            HUB,
            &[("?process::alias", "dir/p.yaml", 6), ("?process::path_unused", "dir/p.yaml", 6)],
        );
        check_errors(
            &PROCESS.replace("ack: true", "ack: false"),
            EDGE,
            HUB,
            &[("?process::always_acks", "dir/p.yaml", 6)],
        );
    }

    #[test]
    fn names_and_keys() {
        check_errors(&PROCESS.replace("version: 1", "version: 2"), EDGE, HUB, &[("process::version", "dir/p.yaml", 1)]);
        check_errors(
            &PROCESS.replace("kind: journal", "kind: kafka"),
            EDGE,
            HUB,
            &[("process::unknown_kind", "dir/p.yaml", 6)],
        );
        check_errors(
            &PROCESS.replace("require_ack", "require_akc"),
            EDGE,
            HUB,
            &[("yaml::unknown_key", "dir/p.yaml", 6)],
        );
        check_errors(
            &PROCESS.replace("require_ack: true", "profile: inproc_any"),
            EDGE,
            HUB,
            &[("process::profile", "dir/p.yaml", 6)],
        );
        check_errors(
            &PROCESS.replace("consumer: hub", "consumer: hubb"),
            EDGE,
            HUB,
            &[("process::unlinked_end", "dir/g/hub.yaml", 3), ("process::unknown_process", "dir/p.yaml", 8)],
        );
        let twice = PROCESS.replace("  - {id: hub", "  - {id: edge, graph: edge.yaml}\n  - {id: hub");
        check_errors(&twice, EDGE, HUB, &[("process::duplicate_id", "dir/p.yaml", 4)]);
    }

    #[test]
    fn graphs_are_found_beside_the_file() {
        check_errors(&PROCESS.replace("g/hub", "hub"), EDGE, HUB, &[("process::graph_unreadable", "dir/p.yaml", 4)]);
        let broken = load(&PROCESS.replace("g/hub", "broken"), EDGE, HUB, Phase::Run);
        assert!(broken.diagnostics[0].is_outside(), "a disk on fire is not the file's fault");
        assert!(!load(&PROCESS.replace("g/hub", "hub"), EDGE, HUB, Phase::Run).diagnostics[0].is_outside());
    }

    #[test]
    fn ends_and_links_belong_together() {
        let no_link = &PROCESS[..PROCESS.find("links").expect("it has links")];
        check_errors(
            no_link,
            EDGE,
            HUB,
            &[
                ("process::unlinked_end", "dir/edge.yaml", 4),
                ("process::unlinked_end", "dir/g/hub.yaml", 3),
                ("process::unlinked_channel", "dir/p.yaml", 6),
            ],
        );
        check_errors(
            PROCESS,
            &EDGE.replace("channel: uplink", "channel: downlink"),
            HUB,
            &[("process::unlinked_end", "dir/edge.yaml", 4), ("process::missing_end", "dir/p.yaml", 8)],
        );
        let second = EDGE.replace("edges: [", "  - {id: up2, kind: sink, plugin: \"std:channel\", config: {channel: uplink}}\nedges: [{from: feed, to: up2}, ");
        check_errors(PROCESS, &second, HUB, &[("process::second_end", "dir/edge.yaml", 5)]);
        // Errors of the graphs show beside those of the file.
        let two = [("process::graph_unreadable", "dir/p.yaml", 4), ("yaml::unknown_key", "dir/p.yaml", 6)];
        let bad = PROCESS.replace("g/hub", "hub").replace("require_ack", "ack");
        check_errors(
            &bad,
            &EDGE.replace("t:source", "t:sauce"),
            HUB,
            &[&[("graph::unknown_plugin", "dir/edge.yaml", 3)], &two[..]].concat(),
        );
    }

    #[test]
    fn what_is_not_in_this_version() {
        let many = format!("{PROCESS}  - {{producer: hub, consumer: edge, channel: uplink}}\n");
        let found = load(&many, EDGE, HUB, Phase::Check).diagnostics;
        assert!(found.iter().any(|found| found.to_string().contains("N:N channels are not in this version")));
        let foreign = PROCESS.replace("require_ack: true", "host: edge");
        check_errors(&foreign, EDGE, HUB, &[("?process::not_in_this_version", "dir/p.yaml", 6)]);
        assert!(load(&foreign, EDGE, HUB, Phase::Run).is_refused());
        check_errors(&PROCESS.replace("require_ack: true", "host: hub"), EDGE, HUB, &[]);
    }

    #[test]
    fn a_file_of_neither_kind_is_told_apart() {
        check_errors("version: 1\nproceses: []\n", EDGE, HUB, &[("file::unknown_kind", "dir/p.yaml", 2)]);
        check_errors("hello", EDGE, HUB, &[("file::unknown_kind", "dir/p.yaml", 1)]);
        let alone = load(EDGE, EDGE, HUB, Phase::Run);
        assert_eq!(alone.diagnostics[0].code(), "graph::channel_alone");
    }

    proptest::proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0usize..300, cut in 0usize..40, paste in "[ -~\n]{0,12}") {
            let mut text = PROCESS.to_owned();
            let at = at.min(text.len());
            text.replace_range(at..(at + cut).min(PROCESS.len()), &paste);
            let loaded = load(&text, EDGE, HUB, Phase::Run);
            proptest::prop_assert_eq!(loaded.planned.is_none(), loaded.is_refused());
        }
    }
}
