//! The processes' graphs as one flow, for the reference evaluation.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use seaworthy_engine::env::{Cpu, Env, Fut, Io, Listener, Net, Probe, Stream, Work};
use seaworthy_engine::graph::{PlannedNode, Role};
use seaworthy_engine::node::{Class, Node, NodeContext, NodeError, Output, Registry};
use seaworthy_engine::observe::Event;
use seaworthy_engine::packet::Packet;
use seaworthy_engine::process::ProcessPlan;

use crate::members::Members;
use crate::reference::{Flow, FlowNode, FlowWhat, Wire};
use crate::sim::Now;
use crate::sim::clock::SimClock;
use crate::sim::disk::{DiskOptions, SimDisk};
use crate::sim::seed::KeyedSeed;

/// Packets that became dead letters because a fault made a node panic over them, or a sink refuse them: the node as `host.node`,
/// of members the first, and the packet's name.
pub type Struck = BTreeSet<(String, String)>;

/// A node that can't handle some packets.
struct Panicking {
    inner: Box<dyn Node>,
    over: BTreeSet<String>,
}

impl Node for Panicking {
    fn process(&mut self, packet: &Packet, out: &mut Output) -> Result<(), NodeError> {
        if self.over.contains(packet.packet_id.as_str()) {
            return Err(NodeError::new(Class::PluginPanic, "a fault made it panic"));
        }
        self.inner.process(packet, out)
    }
}

/// Builds every node anew and wires them across channels. Of members that share a group's packets only the first takes
/// part: it stands for the others.
///
/// # Panics
/// When a node that was checked can't be built.
#[must_use]
pub fn of(plan: &ProcessPlan, members: &Members, registry: &Registry, struck: &Struck) -> Flow {
    let all: Vec<(&str, &PlannedNode)> = plan
        .processes
        .iter()
        .filter(|process| members.stands(&process.id))
        .flat_map(|process| process.plan.nodes.iter().map(move |node| (process.id.as_str(), node)))
        .collect();
    let index: BTreeMap<(&str, &str), usize> =
        all.iter().enumerate().map(|(at, (host, node))| ((*host, &*node.id), at)).collect();
    let wires = |(host, node): &(&str, &PlannedNode)| -> Vec<usize> {
        if let Role::ChannelOut { channel } = &node.role {
            let ends = all.iter().enumerate();
            return ends
                .filter(|(_, (_, end))| matches!(&end.role, Role::ChannelIn { channel: c } if c == channel))
                .map(|(at, _)| at)
                .collect();
        }
        let process = plan.processes.iter().find(|process| process.id == *host).expect("every node is of a process");
        node.outputs.iter().map(|to| index[&(*host, &*process.plan.nodes[*to].id)]).collect()
    };
    let edges: Vec<Vec<usize>> = all.iter().map(wires).collect();
    let order = topological(&edges);
    let place: BTreeMap<usize, usize> = order.iter().enumerate().map(|(new, old)| (*old, new)).collect();
    let nodes = order.iter().map(|old| {
        let (host, node) = all[*old];
        let over = || {
            let over = struck.iter().filter(|(at, _)| *at == format!("{host}.{}", node.id));
            over.map(|(_, packet_id)| packet_id.clone()).collect::<BTreeSet<String>>()
        };
        let what = match &node.role {
            Role::Source => FlowWhat::Entry,
            Role::Sink => FlowWhat::Sink { refuses: over() },
            Role::ChannelIn { .. } => FlowWhat::Pipe,
            Role::ChannelOut { .. } => FlowWhat::Channel(BTreeMap::new()),
            Role::Node | Role::StatefulNode => {
                let env = nowhere();
                let context =
                    NodeContext { files: env.disk.clone(), env, process: host.to_owned(), node: node.id.to_string() };
                let built = registry.build_node(&node.plugin, &context, node.config.clone());
                let inner = built.unwrap_or_else(|error| panic!("node {host}.{} was checked, but: {error}", node.id));
                let over = over();
                FlowWhat::Node(if over.is_empty() { inner } else { Box::new(Panicking { inner, over }) })
            }
        };
        let wires = edges[*old].iter().map(|to| Wire::out(place[to])).collect();
        FlowNode { address: format!("{host}.{}", node.id).into(), what, wires }
    });
    Flow { nodes: nodes.collect() }
}

fn topological(edges: &[Vec<usize>]) -> Vec<usize> {
    let mut waiting = vec![0; edges.len()];
    edges.iter().flatten().for_each(|to| waiting[*to] += 1);
    let mut ready: BTreeSet<usize> = (0..edges.len()).filter(|at| waiting[*at] == 0).collect();
    let mut order = Vec::new();
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for to in &edges[at] {
            waiting[*to] -= 1;
            if waiting[*to] == 0 {
                ready.insert(*to);
            }
        }
    }
    assert!(
        order.len() == edges.len(),
        "processes send to each other in a circle; a reference evaluation needs a direction"
    );
    order
}

/// A machine for nodes that are only called: its clock stands still, and nobody answers.
fn nowhere() -> Env {
    let now: Now = Arc::new(|| 0);
    let seed = Arc::new(KeyedSeed(0));
    let disk = SimDisk::new(DiskOptions::new("nowhere", 0), seed.clone(), now.clone());
    let nobody = Arc::new(Nobody);
    Env {
        clock: Arc::new(SimClock::new(now, 0)),
        disk: disk.boot(),
        net: nobody.clone(),
        seed,
        cpu: nobody.clone(),
        probe: nobody,
    }
}

struct Nobody;

impl Net for Nobody {
    fn connect(&self, _: &str) -> Io<Box<dyn Stream>> {
        Box::pin(async { Err(io::ErrorKind::NotConnected.into()) })
    }
    fn listen(&self, _: &str) -> Io<Box<dyn Listener>> {
        Box::pin(async { Err(io::ErrorKind::NotConnected.into()) })
    }
}

impl Cpu for Nobody {
    fn charge(&self, _: Work<'_>, _: u32, _: u64) -> Option<Fut<'static, ()>> {
        None
    }
}

impl Probe for Nobody {
    fn on(&self, _: &[Event]) {}
}
