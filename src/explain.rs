//! `explain`: what happens on each edge and channel on error, timeout, full and crash, and what it may cost.

use std::fmt::Write;

use seaworthy_engine::graph::{Diagnostic, Overflow, Phase, Plan, PlannedNode, Role};
use seaworthy_engine::load::{Planned, load_any};
use seaworthy_engine::node::Registry;
use seaworthy_engine::process::{ChannelOptions, ChannelPlan, Order};
use serde::Serialize;

use crate::exit::Exit;
use crate::files::read_text;
use crate::{picture, show};

/// Says what happens on each edge and channel on error, timeout, full and crash; worst-case memory and disk.
#[derive(clap::Args)]
#[command(after_help = "Example: seaworthy explain process.yaml --packet-bytes 4096")]
pub(crate) struct Args {
    /// A graph or a process graph.
    file: String,
    /// The largest packet to reckon with, in bytes.
    #[arg(long, default_value_t = 1024)]
    packet_bytes: u64,
    /// Prints one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, registry: &Registry) -> Exit {
    let loaded = load_any(&args.file, &read_text, registry, Phase::Run);
    loaded.diagnostics.iter().for_each(|found| show::problem(found));
    let Some(planned) = &loaded.planned else {
        let outside = loaded.diagnostics.iter().filter(|found| found.is_error()).all(Diagnostic::is_outside);
        return if outside { Exit::Environment } else { Exit::Usage };
    };
    let explained = Explained::of(planned, args.packet_bytes);
    if args.json { show::json(&explained) } else { show::report(&explained.text()) }
}

/// What happens when; each a sentence.
#[derive(Clone, Serialize, PartialEq)]
struct Behaviour {
    full: String,
    error: String,
    timeout: String,
    crash: String,
}

#[derive(Serialize)]
struct Explained {
    schema: &'static str,
    packet_bytes: u64,
    processes: Vec<Process>,
    channels: Vec<Channel>,
}

#[derive(Serialize)]
struct Process {
    id: String,
    graph_hash: String,
    picture: String,
    inbox_packets: u64,
    inbox_bytes_worst: u64,
    edges: Vec<Edge>,
}

#[derive(Serialize)]
struct Edge {
    from: String,
    to: String,
    inbox_packets: u64,
    inbox_overflow: Overflow,
    #[serde(flatten)]
    behaviour: Behaviour,
}

#[derive(Serialize)]
struct Channel {
    id: String,
    producers: Vec<String>,
    host: String,
    groups: Vec<Group>,
    options: ChannelOptions,
    disk: String,
    #[serde(flatten)]
    behaviour: Behaviour,
}

#[derive(Serialize)]
struct Group {
    id: String,
    members: Vec<String>,
    leased: bool,
}

impl Explained {
    fn of(planned: &Planned, packet_bytes: u64) -> Explained {
        let (processes, channels) = match planned {
            Planned::Graph(plan) => (vec![process(plan, packet_bytes)], Vec::new()),
            Planned::Processes(plan) => {
                let processes = plan.processes.iter().map(|one| process(&one.plan, packet_bytes));
                (processes.collect(), plan.channels.iter().map(channel).collect())
            }
        };
        Explained { schema: "seaworthy.explain/v1", packet_bytes, processes, channels }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for process in &self.processes {
            let Process { id, graph_hash, picture, inbox_packets, inbox_bytes_worst, edges } = process;
            put(&mut text, format_args!("process {id}  graph {graph_hash}\n\n"));
            picture.lines().for_each(|line| put(&mut text, format_args!("  {line}\n")));
            let (worst, each) = (bytes(*inbox_bytes_worst), bytes(self.packet_bytes));
            put(
                &mut text,
                format_args!("\n  memory   at most {inbox_packets} packets in inboxes: {worst} at {each} a packet\n"),
            );
            put(
                &mut text,
                format_args!(
                    "  disk     its journal: positions, state and dead letters; at most 4 GiB of segments, or what the disk has\n\n"
                ),
            );
            for (names, edge) in grouped(edges) {
                put(&mut text, format_args!("  edge {names}\n"));
                put(
                    &mut text,
                    format_args!("    inbox    {} packets, {}\n", edge.inbox_packets, edge.inbox_overflow.name()),
                );
                edge.behaviour.write(&mut text);
            }
        }
        for channel in &self.channels {
            channel.write(&mut text);
        }
        text
    }
}

fn put(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("writing to a String can't fail");
}

/// Edges into equal inboxes with equal behaviour are told once.
fn grouped(edges: &[Edge]) -> Vec<(String, &Edge)> {
    let mut groups: Vec<(String, &Edge)> = Vec::new();
    for edge in edges {
        let same = |known: &Edge| (known.inbox_packets, &known.behaviour) == (edge.inbox_packets, &edge.behaviour);
        let name = format!("{} -> {}", edge.from, edge.to);
        match groups.iter_mut().find(|(_, known)| same(known)) {
            Some((names, _)) => *names = format!("{names}, {name}"),
            None => groups.push((name, edge)),
        }
    }
    groups
}

impl Behaviour {
    fn write(&self, text: &mut String) {
        let Behaviour { full, error, timeout, crash } = self;
        for (when, what) in [("full", full), ("error", error), ("timeout", timeout), ("crash", crash)] {
            put(text, format_args!("    {when:8} {what}\n"));
        }
        text.push('\n');
    }
}

fn process(plan: &Plan, packet_bytes: u64) -> Process {
    let inboxes = plan.nodes.iter().filter(|node| !node.role.is_entry());
    let inbox_packets = inboxes.map(|node| node.inbox.max as u64).sum();
    let edge = |from: &PlannedNode, to: &PlannedNode| Edge {
        from: from.id.to_string(),
        to: to.id.to_string(),
        inbox_packets: to.inbox.max as u64,
        inbox_overflow: to.inbox.overflow,
        behaviour: edge_behaviour(to),
    };
    Process {
        id: plan.process.clone(),
        graph_hash: format!("{:016x}", plan.graph_hash),
        picture: picture::draw(plan),
        inbox_packets,
        inbox_bytes_worst: inbox_packets.saturating_mul(packet_bytes),
        edges: plan
            .nodes
            .iter()
            .flat_map(|from| from.outputs.iter().map(move |to| edge(from, &plan.nodes[*to])))
            .collect(),
    }
}

fn edge_behaviour(to: &PlannedNode) -> Behaviour {
    let full = match to.inbox.overflow {
        Overflow::Block => "the sender waits, and so does all before it, back to the source",
        Overflow::DropNew => "LOSES: the new packet is dropped and counted as inbox.drop_new",
        Overflow::DropOldest => "LOSES: the oldest packet of the inbox is dropped and counted as inbox.drop_oldest",
        Overflow::Error => "the new packet becomes a dead letter",
    };
    let error = match &to.role {
        Role::Sink => {
            "while the sink is unavailable it is tried again; a packet it refuses for good becomes a dead letter"
        }
        Role::ChannelOut { .. } => "none: the outbox takes it, or the sender waits",
        _ => "a packet that the node fails or panics on becomes a dead letter, in the frame that settles it",
    };
    let crash = match &to.role {
        Role::StatefulNode => {
            "what was not settled comes again from the source; state, output and position move together"
        }
        _ => "what was not settled comes again from the source: at least once",
    };
    let timeout = "none in this version: a slow node fills its inbox, and then `full` holds";
    Behaviour { full: full.into(), error: error.into(), timeout: timeout.into(), crash: crash.into() }
}

fn channel(plan: &ChannelPlan) -> Channel {
    let ChannelPlan { id, host, producers, groups, options } = plan.clone();
    let all = |names: &[String]| names.join(" and ");
    let consumers: Vec<String> = groups.iter().flat_map(|group| group.members.clone()).collect();
    let (from, to) = (all(&producers), all(&consumers));
    let leased = plan.groups.iter().any(|group| plan.is_leased(group));
    let error = match options.max_deliver {
        None => format!("a packet that fails behind the channel becomes a dead letter in the journal of {to}"),
        Some(max) => format!(
            "a packet that fails behind the channel becomes a dead letter in the journal of {to}; one that is not settled in {max} deliveries, in the journal of {host}"
        ),
    };
    let again = if leased {
        format!("{host} delivers again what was not settled within {}", seconds(options.ack_wait_ns))
    } else {
        format!("{host} stores each packet once")
    };
    let behaviour = Behaviour {
        full: format!(
            "nothing is dropped: {host} takes no more, the outbox of {from} grows, and on a full disk its source waits"
        ),
        error,
        timeout: format!("{from} connects again and sends again what was not acked; {again}"),
        crash: format!("{from} sends again what its outbox holds; {host} delivers again what was not settled"),
    };
    let disk = format!(
        "the outbox of {from} until {host} has it, {host}'s journal until {to} settles it; bound: 4 GiB of segments each, or the disk"
    );
    let groups = plan.groups.iter().map(|group| Group {
        id: group.id.clone(),
        members: group.members.clone(),
        leased: plan.is_leased(group),
    });
    Channel { id, producers, host, groups: groups.collect(), options, disk, behaviour }
}

impl Channel {
    fn write(&self, text: &mut String) {
        let Channel { id, producers, host, groups, options, disk, behaviour } = self;
        let group = |group: &Group| match group.members.as_slice() {
            [one] if *one == group.id => one.clone(),
            members => format!("{} ({})", group.id, members.join(" or ")),
        };
        let groups: Vec<String> = groups.iter().map(group).collect();
        let ends = format!("{} => {}", producers.join(", "), groups.join(", "));
        put(text, format_args!("channel {id}  {ends}, lives with {host}\n"));
        if self.groups.iter().any(|group| group.leased) {
            let order = match options.order {
                Order::None => "no order",
                Order::Key => "the order of each key",
                Order::Strict => "one order",
            };
            let (wait, most) = (seconds(options.ack_wait_ns), options.max_ack_pending);
            put(text, format_args!("    leases   {order}, at most {most} packets a group, each for {wait}\n"));
        }
        put(text, format_args!("    disk     {disk}\n"));
        behaviour.write(text);
    }
}

/// `1.5 s`.
fn seconds(ns: u64) -> String {
    format!("{} s", ns as f64 / 1e9)
}

/// `1.5 MiB`.
fn bytes(n: u64) -> String {
    let mut unit = 0;
    let mut left = n as f64;
    while left >= 1024.0 && unit < 4 {
        left /= 1024.0;
        unit += 1;
    }
    let name = ["B", "KiB", "MiB", "GiB", "TiB"][unit];
    if unit == 0 { format!("{n} {name}") } else { format!("{left:.1} {name}") }
}
