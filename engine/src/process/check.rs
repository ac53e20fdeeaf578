//! The rules of a process graph and of the graphs that it names, and the plan that comes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::options::ChannelOptions;
use super::problem::ProcessProblem;
use super::spec::{ChannelSpec, LinkSpec, ProcessGraphSpec};
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

/// A channel: who puts packets in, where it lives, and who takes them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPlan {
    /// Its id, unique in the file.
    pub id: String,
    /// The process in whose journal it lives.
    pub host: String,
    /// The processes whose graphs put packets in, in the order of their links.
    pub producers: Vec<String>,
    /// The groups that take packets out, in the order of their first links. Each sees every packet.
    pub groups: Vec<GroupPlan>,
    /// How it hands out its packets.
    pub options: ChannelOptions,
}

/// The processes that share a channel's packets among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlan {
    /// Its id: the consumer's, unless the link names another.
    pub id: String,
    /// The processes whose graphs take packets out, in the order of their links.
    pub members: Vec<String>,
}

impl ChannelPlan {
    /// Those of `channels` that `process` has an end of, or keeps.
    #[must_use]
    pub fn of(process: &str, channels: &[ChannelPlan]) -> Vec<ChannelPlan> {
        let mine = |channel: &&ChannelPlan| {
            channel.host == process || channel.is_producer(process) || channel.group_of(process).is_some()
        };
        channels.iter().filter(mine).cloned().collect()
    }

    /// True when the graph of `process` puts packets in.
    #[must_use]
    pub fn is_producer(&self, process: &str) -> bool {
        self.producers.iter().any(|producer| producer == process)
    }

    /// The group as which `process` takes packets out.
    #[must_use]
    pub fn group_of(&self, process: &str) -> Option<&GroupPlan> {
        self.groups.iter().find(|group| group.members.iter().any(|member| member == process))
    }

    /// True when `process` reaches the channel over a lane: it has an end of it, and doesn't keep it.
    #[must_use]
    pub fn is_remote(&self, process: &str) -> bool {
        self.host != process && (self.is_producer(process) || self.group_of(process).is_some())
    }

    /// True when the packets of `group` are leased to its members. A sole member that is the host itself needs none, unless
    /// deliveries are counted: nobody competes with it, and its cursor is the group's.
    #[must_use]
    pub fn is_leased(&self, group: &GroupPlan) -> bool {
        self.options.max_deliver.is_some() || group.members != [self.host.as_str()]
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
    check_channels(&spec, &mut findings);

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

/// Each channel has links, a host, and each consumer in one group.
fn check_channels(spec: &ProcessGraphSpec, findings: &mut Findings) {
    for channel in spec.channels.iter().filter(|channel| !channel.id.value.is_empty()) {
        let id = || channel.id.value.clone();
        let links: Vec<&LinkSpec> = links_of(spec, &channel.id.value).collect();
        if links.is_empty() {
            findings.add(channel.id.span, ProcessProblem::UnlinkedChannel { channel: id() });
        }
        let mut seen: BTreeMap<(&str, &str), &LinkSpec> = BTreeMap::new();
        let mut groups: BTreeMap<&str, &str> = BTreeMap::new();
        for link in &links {
            let (producer, consumer) = (link.producer.value.as_str(), link.consumer.value.as_str());
            if let Some(first) = seen.insert((producer, consumer), link) {
                let (producer, consumer) = (producer.to_owned(), consumer.to_owned());
                let problem = ProcessProblem::RepeatedLink { channel: id(), producer, consumer };
                let found = Diagnostic::at(&spec.file, link.channel.span, problem);
                findings.found.push(found.and(first.channel.span, "also here"));
            }
            if let Some(first) = groups.insert(consumer, group(link)).filter(|first| *first != group(link)) {
                let (consumer, first, second) = (consumer.to_owned(), first.to_owned(), group(link).to_owned());
                let span = link.group.as_ref().unwrap_or(&link.consumer).span;
                findings.add(span, ProcessProblem::TwoGroups { channel: id(), consumer, first, second });
            }
            if links.iter().any(|other| other.consumer.value == producer) {
                let process = producer.to_owned();
                findings.add(link.producer.span, ProcessProblem::SelfLink { channel: id(), process });
            }
        }
        if groups.len() > 1 && channel.host.is_none() {
            let first = links[0].consumer.value.clone();
            let consumers = groups.keys().copied().collect::<Vec<_>>().join(", ");
            findings.add(channel.id.span, ProcessProblem::HostNeeded { channel: id(), consumers, first });
        }
    }
}

fn links_of<'a>(spec: &'a ProcessGraphSpec, channel: &'a str) -> impl Iterator<Item = &'a LinkSpec> {
    spec.links.iter().filter(move |link| link.channel.value == channel)
}

/// The group that a link's consumer takes in.
fn group(link: &LinkSpec) -> &str {
    link.group.as_ref().map_or(&link.consumer.value, |group| &group.value)
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
        let mut missing = BTreeSet::new();
        for link in spec.links.iter().filter(|link| !link.channel.value.is_empty()) {
            let sides = [(&link.producer, false, "puts into", "sink"), (&link.consumer, true, "takes from", "source")];
            for (side, takes, does, kind) in sides.into_iter().filter(|(side, ..)| side.value == process) {
                let end = (takes, link.channel.value.as_str());
                if !ends.contains_key(&end) && missing.insert(end) {
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
    let channels = spec.channels.iter().map(|channel| plan_channel(spec, channel));
    Some(ProcessPlan { processes: processes.collect::<Option<_>>()?, channels: channels.collect() })
}

fn plan_channel(spec: &ProcessGraphSpec, channel: &ChannelSpec) -> ChannelPlan {
    let mut producers: Vec<String> = Vec::new();
    let mut groups: Vec<GroupPlan> = Vec::new();
    for link in links_of(spec, &channel.id.value) {
        let (producer, consumer) = (&link.producer.value, &link.consumer.value);
        if !producers.contains(producer) {
            producers.push(producer.clone());
        }
        let id = group(link);
        match groups.iter_mut().find(|known| known.id == id) {
            Some(known) if known.members.contains(consumer) => {}
            Some(known) => known.members.push(consumer.clone()),
            None => groups.push(GroupPlan { id: id.to_owned(), members: vec![consumer.clone()] }),
        }
    }
    let sole = || groups[0].members[0].clone();
    ChannelPlan {
        id: channel.id.value.clone(),
        host: channel.host.as_ref().map_or_else(sole, |host| host.value.clone()),
        producers,
        groups,
        options: channel.options.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::test_registry;
    use crate::load::{Loaded, Planned, load_any};
    use crate::process::{OnPoison, Order};

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
        let [uplink] = plan.channels.as_slice() else { panic!("{:?}", plan.channels) };
        assert_eq!((uplink.id.as_str(), uplink.host.as_str()), ("uplink", "hub"));
        assert_eq!(uplink.producers, ["edge"]);
        assert_eq!(uplink.groups, [GroupPlan { id: "hub".into(), members: vec!["hub".into()] }]);
        assert_eq!(uplink.options, ChannelOptions::default());
        assert!(!uplink.is_leased(&uplink.groups[0]), "a file with one link means what it always meant");
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

    /// Two producers, two groups, of which one has two members; kept by a process of its own.
    const MANY: &str = "\
version: 1
processes:
  - {id: edge, graph: edge.yaml}
  - {id: van, graph: edge.yaml}
  - {id: hub, graph: g/hub.yaml}
  - {id: lab, graph: g/hub.yaml}
  - {id: lab2, graph: g/hub.yaml}
channels:
  - {id: uplink, kind: journal, host: hub, order: strict, max_deliver: 5, on_poison: park_key, ack_wait: 5s}
links:
  - {producer: edge, consumer: hub, channel: uplink}
  - {producer: van, consumer: lab, channel: uplink, group: labs}
  - {producer: van, consumer: lab2, channel: uplink, group: labs}
";

    #[test]
    fn links_with_one_group_compete() {
        check_errors(MANY, EDGE, HUB, &[]);
        let Some(Planned::Processes(plan)) = load(MANY, EDGE, HUB, Phase::Run).planned else { panic!("no plan") };
        let uplink = &plan.channels[0];
        assert_eq!(uplink.producers, ["edge", "van"]);
        let group = |id: &str, members: &[&str]| GroupPlan {
            id: id.into(),
            members: members.iter().map(|member| (*member).into()).collect(),
        };
        assert_eq!(uplink.groups, [group("hub", &["hub"]), group("labs", &["lab", "lab2"])]);
        let options = ChannelOptions {
            order: Order::Strict,
            max_deliver: Some(5),
            on_poison: OnPoison::ParkKey,
            ack_wait_ns: 5_000_000_000,
            ..ChannelOptions::default()
        };
        assert_eq!(uplink.options, options);
        assert!(uplink.is_remote("van") && uplink.is_remote("lab2") && !uplink.is_remote("hub"));
        assert!(uplink.is_leased(&uplink.groups[0]), "deliveries are counted");
    }

    #[test]
    fn a_channel_with_many_links_says_all_that_it_must() {
        check_errors(&MANY.replace("host: hub, ", ""), EDGE, HUB, &[("process::host_needed", "dir/p.yaml", 9)]);
        let twice = format!("{MANY}  - {{producer: van, consumer: lab2, channel: uplink, group: labs}}\n");
        check_errors(&twice, EDGE, HUB, &[("process::repeated_link", "dir/p.yaml", 14)]);
        let two = format!("{MANY}  - {{producer: edge, consumer: lab2, channel: uplink}}\n");
        check_errors(&two, EDGE, HUB, &[("process::two_groups", "dir/p.yaml", 14)]);
        let round = PROCESS.replace("producer: edge", "producer: hub");
        let found = load(&round, EDGE, HUB, Phase::Check).diagnostics;
        assert!(found.iter().any(|found| found.code() == "process::not_in_this_version"), "{found:?}");
        check_errors(&PROCESS.replace("require_ack: true", "host: edge"), EDGE, HUB, &[]);
    }

    #[test]
    fn options_that_make_no_sense() {
        let with = |options: &str| PROCESS.replace("require_ack: true", options);
        for (options, code) in [
            ("order: random", "process::unknown_word"),
            ("ack_wait: soon", "process::no_time"),
            ("backoff: 400d", "process::no_time"),
            ("max_deliver: 0", "process::no_count"),
            ("max_ack_pending: many", "process::no_count"),
            ("on_poison: park_key", "process::no_poison"),
            ("on_poison: block_key, max_deliver: 2, order: none", "process::no_keys"),
            ("backoff: 20s", "process::backoff"),
        ] {
            check_errors(&with(options), EDGE, HUB, &[(code, "dir/p.yaml", 6)]);
        }
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
