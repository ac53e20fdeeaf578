//! The rules of a process graph and of the graphs that it names, and the plan that comes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::options::ChannelOptions;
use super::problem::ProcessProblem;
use super::spec::{ChannelSpec, LinkSpec, ProcessGraphSpec};
use crate::graph::check::{Context, GraphLoad, Phase, cycles, plan_graph, round};
use crate::graph::diagnostic::{At, Diagnostic, Findings, SourceFile, is_outside};
use crate::graph::plan::Plan;
use crate::graph::spec::{Kind, NodeSpec};
use crate::graph::suggest::{instead, nearest};
use crate::graph::yaml::Tree;
use crate::node::Registry;

/// Most channels of a host that one process puts into: they share a connection.
pub const CHANNELS_MAX: usize = 64;
/// Most connections that a host holds at a time: one for each producer, and one for each member and channel.
pub const CONNECTIONS_MAX: usize = 64;

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
    check_lanes(&spec, &mut findings);
    check_cycles(&spec, &graphs, &mut findings);

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

/// What a host's lanes carry: more would never be let in.
fn check_lanes(spec: &ProcessGraphSpec, findings: &mut Findings) {
    if findings.found.iter().any(Diagnostic::is_error) {
        return;
    }
    // By host: how many channels each producer puts into, and how often a member takes its share of one.
    let mut lanes: BTreeMap<String, (BTreeMap<String, usize>, usize)> = BTreeMap::new();
    for channel in spec.channels.iter().map(|channel| plan_channel(spec, channel)) {
        let (producers, seats) = lanes.entry(channel.host.clone()).or_default();
        for producer in channel.producers.iter().filter(|producer| **producer != channel.host) {
            *producers.entry(producer.clone()).or_default() += 1;
        }
        let members = channel.groups.iter().flat_map(|group| &group.members);
        *seats += members.filter(|member| **member != channel.host).count();
    }
    let span = |id: &str| spec.processes.iter().find(|process| process.id.value == id).map(|process| process.id.span);
    for (host, (producers, seats)) in lanes {
        let count = producers.len() + seats;
        if let Some(span) = span(&host).filter(|_| count > CONNECTIONS_MAX) {
            let (host, max) = (host.clone(), CONNECTIONS_MAX);
            findings.add(span, ProcessProblem::TooManyConnections { host, count, max });
        }
        for (producer, count) in producers {
            if let Some(span) = span(&producer).filter(|_| count > CHANNELS_MAX) {
                let (host, max) = (host.clone(), CHANNELS_MAX);
                findings.add(span, ProcessProblem::TooManyChannels { producer, host, count, max });
            }
        }
    }
}

/// No packet comes back to a channel that it came from. Names one circle after the other.
fn check_cycles(spec: &ProcessGraphSpec, graphs: &[(&str, GraphLoad)], findings: &mut Findings) {
    // By channel: those that its packets go on to, out of any process that takes it.
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for graph in graphs.iter().filter_map(|(_, graph)| graph.spec.as_ref()) {
        let node = |id: &str| graph.nodes.iter().find(|node| node.id.value == id);
        let holds_back = |id: &str| node(id).and_then(NodeSpec::kind).is_some_and(Kind::breaks_cycles);
        for (start, channel) in graph.nodes.iter().filter_map(|node| Some((node, node.channel.as_ref()?))) {
            let mut reached = BTreeSet::from([start.id.value.as_str()]);
            let mut ways = vec![start.id.value.as_str()];
            while let Some(from) = ways.pop() {
                let edges = graph.edges.iter().filter(|edge| edge.from.value == from);
                let to = edges.map(|edge| edge.to.value.as_str()).filter(|to| !holds_back(to));
                ways.extend(to.filter(|to| reached.insert(to)));
            }
            let onward =
                reached.into_iter().filter(|id| *id != start.id.value).filter_map(|id| node(id)?.channel.as_ref());
            next.entry(&channel.value).or_default().extend(onward.map(|channel| channel.value.as_str()));
        }
    }
    for cycle in cycles(next) {
        let mut of_cycle = spec.channels.iter().filter(|channel| cycle.contains(&channel.id.value.as_str()));
        if let Some(last) = of_cycle.next_back() {
            findings.add(last.id.span, ProcessProblem::Cycle { path: round(&cycle) });
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
#[path = "check_tests.rs"]
mod tests;
