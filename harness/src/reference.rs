//! The reference evaluation: what each event should come to, at each sink that it can reach.
//!
//! The graph's own nodes are called one packet at a time by a plain recursive walk, over the events in order of their number
//! at their entry: no runtime, no journal, no lanes, no batches. A channel between two processes is a pipe. Only events that
//! the system took take part, because a node with state would see the others never; so the evaluation runs after the world.
//!
//! A window's output belongs to the event whose arrival closed it: that event is expected visible, and is late when the
//! output is. The events that live on in it are folded. Which events those are is read from the node's state changes: an
//! input that folds joins the state keys it wrote; an output takes over the members of the keys that its call removed, or
//! overwrote when it removed none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::node::{Class, Draft, Emitted, Node, Output};
use seaworthy_engine::packet::{BUSINESS_KEY, Epoch, Identity, Packet, ProducerId, Seq};

/// The graphs of all processes as one, in topological order.
pub struct Flow {
    /// Every wire leads to a later node.
    pub nodes: Vec<FlowNode>,
}

/// A node of the flow.
pub struct FlowNode {
    /// `host.node`, unique.
    pub address: Arc<str>,
    /// What it does with a packet.
    pub what: FlowWhat,
    /// Where its outputs go, in order of the graph's edges.
    pub wires: Vec<Wire>,
}

/// What a flow node does.
pub enum FlowWhat {
    /// Where the load's events come in.
    Entry,
    /// A node of the graph, freshly built.
    Node(Box<dyn Node>),
    /// An endpoint that the harness owns; it holds the payload of what reaches it.
    Sink {
        /// The packets, by name, that it refuses for good.
        refuses: BTreeSet<String>,
    },
    /// Hands packets on unchanged: where a channel is taken from.
    Pipe,
    /// Where a graph puts packets into a channel: it stores each business key once, and knows the payload that came with it.
    Channel(BTreeMap<String, Bytes>),
}

/// An edge of the flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The port that it leaves by; `out` for entries and pipes.
    pub port: String,
    /// Index of the node that it leads to.
    pub to: usize,
}

impl Wire {
    /// From the default port.
    #[must_use]
    pub fn out(to: usize) -> Wire {
        Wire { port: "out".into(), to }
    }
}

/// An event that the system took.
#[derive(Clone, Debug)]
pub struct LoadEvent {
    /// Its entry, as `host.node`.
    pub entry: Arc<str>,
    /// Its number there.
    pub seq: Seq,
    /// The event.
    pub draft: Draft,
}

/// An event by entry and number.
pub type EventKey = (Arc<str>, Seq);

/// What every event should come to.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// All sinks, in order of the flow.
    pub sinks: Vec<Arc<str>>,
    /// The sinks (by index) that each entry can reach.
    pub reach: BTreeMap<Arc<str>, Vec<usize>>,
    /// The sinks (by index) behind each node, itself included.
    pub behind: BTreeMap<Arc<str>, BTreeSet<usize>>,
    /// The packets that become dead letters, by name and node, as they come there.
    pub letters: BTreeMap<(String, Arc<str>), Vec<Copy>>,
    /// What each event that takes part should come to at each of those, in the same order.
    pub events: BTreeMap<EventKey, Vec<Expect>>,
}

/// What an event should come to at a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// These copies, in this order.
    Visible(Vec<Copy>),
    /// Nothing: it ends in a filter.
    Absorbed,
    /// It lives on in these outputs; none while its window is still open.
    Folded(Vec<Fold>),
    /// A node can't handle it.
    DeadLettered {
        /// The node, as `host.node`.
        at: Arc<str>,
        /// Why.
        class: Class,
        /// The packet's name there.
        packet_id: String,
    },
}

/// One expected effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its name at the sink.
    pub packet_id: String,
    /// Its key there.
    pub key: Option<String>,
    /// Its payload.
    pub content: Bytes,
}

impl Copy {
    fn of(packet: &Packet) -> Copy {
        let key = packet.key.as_ref().map(ToString::to_string);
        Copy { packet_id: packet.packet_id.to_string(), key, content: packet.payload.clone() }
    }
}

/// An output that an event was folded into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The event that closed the window.
    pub closer: EventKey,
    /// The output's name where it left the window.
    pub packet_id: String,
}

/// What happened to the event being evaluated, before it is told apart by sink.
#[derive(Default)]
struct Trail {
    copies: BTreeMap<usize, Vec<Copy>>,
    folded_at: BTreeSet<usize>,
    dead_at: Vec<(usize, Class, String)>,
}

/// Members of a node's open windows: (node, state key) to events.
type Open = BTreeMap<(usize, Bytes), Vec<usize>>;

struct Walk<'a> {
    flow: &'a mut Flow,
    keys: &'a [EventKey],
    open: Open,
    /// By (event, node): the outputs that took the event over.
    folds: BTreeMap<(usize, usize), Vec<Fold>>,
    letters: BTreeMap<(String, Arc<str>), Vec<Copy>>,
}

impl Walk<'_> {
    /// A node can't handle a packet.
    fn bury(&mut self, at: usize, packet: &Packet, class: Class, trail: &mut Trail) {
        trail.dead_at.push((at, class, packet.packet_id.to_string()));
        let letter = (packet.packet_id.to_string(), self.flow.nodes[at].address.clone());
        self.letters.entry(letter).or_default().push(Copy::of(packet));
    }

    fn give(&mut self, at: usize, event: usize, packet: &Packet, trail: &mut Trail) {
        let sends = match &mut self.flow.nodes[at].what {
            FlowWhat::Sink { refuses } if refuses.contains(packet.packet_id.as_str()) => {
                return self.bury(at, packet, Class::SinkPermanent, trail);
            }
            FlowWhat::Sink { .. } => {
                trail.copies.entry(at).or_default().push(Copy::of(packet));
                return;
            }
            FlowWhat::Entry | FlowWhat::Pipe => vec![("out", packet.clone())],
            FlowWhat::Channel(known) => match packet.meta.get(BUSINESS_KEY) {
                None => vec![("out", packet.clone())],
                Some(key) => match known.get(key) {
                    Some(payload) if *payload == packet.payload => vec![],
                    Some(_) => {
                        return self.bury(at, packet, Class::Conflict, trail);
                    }
                    None => {
                        known.insert(key.clone(), packet.payload.clone());
                        vec![("out", packet.clone())]
                    }
                },
            },
            FlowWhat::Node(node) => {
                let mut out = Output::default();
                if let Err(error) = node.process(packet, &mut out) {
                    return self.bury(at, packet, error.class, trail);
                }
                self.fold(at, event, &out);
                if out.folded {
                    trail.folded_at.insert(at);
                }
                let address = self.flow.nodes[at].address.clone();
                let name = |(index, (port, emitted)): (usize, (&'static str, Emitted))| match emitted {
                    Emitted::Pass(packet) => (port, packet),
                    Emitted::New(draft) => (port, draft.into_packet(packet.identity.derive(&address, index as u32))),
                };
                out.packets.into_iter().enumerate().map(name).collect()
            }
        };
        for (port, packet) in sends {
            for wire in 0..self.flow.nodes[at].wires.len() {
                let Wire { port: from, to } = &self.flow.nodes[at].wires[wire];
                if from != port {
                    continue;
                }
                let to = *to;
                assert!(to > at, "the flow is in topological order, yet {at} leads to {to}");
                self.give(to, event, &packet, trail);
            }
        }
    }

    /// Moves members of closed windows to the outputs that took them over, then lets the event itself join.
    fn fold(&mut self, at: usize, event: usize, out: &Output) {
        let outputs: Vec<&str> = out
            .packets
            .iter()
            .filter_map(|(_, emitted)| match emitted {
                Emitted::New(draft) => Some(draft.packet_id.as_str()),
                Emitted::Pass(_) => None,
            })
            .collect();
        if !outputs.is_empty() {
            let held = |removed: bool| {
                let keys = out.state.iter().filter(move |(_, value)| value.is_none() == removed).map(|(key, _)| key);
                keys.filter(|key| self.open.contains_key(&(at, (*key).clone()))).cloned().collect::<Vec<Bytes>>()
            };
            let removed = held(true);
            let closed = if removed.is_empty() { held(false) } else { removed };
            for (index, key) in closed.into_iter().enumerate() {
                let packet_id = outputs[index.min(outputs.len() - 1)];
                for member in self.open.remove(&(at, key)).expect("only keys that are open were collected") {
                    let fold = Fold { closer: self.keys[event].clone(), packet_id: packet_id.to_owned() };
                    self.folds.entry((member, at)).or_default().push(fold);
                }
            }
        }
        if out.folded {
            for (key, value) in &out.state {
                if value.is_some() {
                    self.open.entry((at, key.clone())).or_default().push(event);
                }
            }
        }
    }
}

/// By how many ways each node is reached from those where ways begin, so many at each; every output leads to a higher index.
pub(crate) fn ways<I: IntoIterator<Item = usize>>(mut ways: Vec<usize>, outputs: impl Fn(usize) -> I) -> Vec<usize> {
    for at in 0..ways.len() {
        for to in outputs(at) {
            ways[to] = ways[to].saturating_add(ways[at]);
        }
    }
    ways
}

/// For each node, the sinks (by index into the flow) that can be reached from it, itself included.
pub(crate) fn reachable(flow: &Flow) -> Vec<BTreeSet<usize>> {
    let mut reach = vec![BTreeSet::new(); flow.nodes.len()];
    for at in (0..flow.nodes.len()).rev() {
        if matches!(flow.nodes[at].what, FlowWhat::Sink { .. }) {
            reach[at].insert(at);
        }
        for wire in &flow.nodes[at].wires {
            assert!(wire.to > at, "the flow is in topological order, yet {at} leads to {}", wire.to);
            let onward: Vec<usize> = reach[wire.to].iter().copied().collect();
            reach[at].extend(onward);
        }
    }
    reach
}

/// Evaluates `events`, each once; events of one entry must come in order of their numbers. The nodes of `flow` are used up:
/// their state is that of the end.
///
/// # Panics
/// When an event names no entry of the flow, comes twice or out of order, or when the flow isn't in topological order.
#[must_use]
pub fn evaluate(flow: &mut Flow, events: Vec<LoadEvent>) -> Expected {
    let reach = reachable(flow);
    let sinks: Vec<usize> =
        (0..flow.nodes.len()).filter(|at| matches!(flow.nodes[*at].what, FlowWhat::Sink { .. })).collect();
    let entries: BTreeMap<Arc<str>, usize> = (0..flow.nodes.len())
        .filter(|at| matches!(flow.nodes[*at].what, FlowWhat::Entry))
        .map(|at| (flow.nodes[at].address.clone(), at))
        .collect();
    let addresses: Vec<Arc<str>> = flow.nodes.iter().map(|node| node.address.clone()).collect();
    let index_of = |at: &usize| sinks.binary_search(at).expect("reach holds only sinks");

    let keys: Vec<EventKey> = events.iter().map(|event| (event.entry.clone(), event.seq)).collect();
    let mut last: BTreeMap<Arc<str>, Seq> = BTreeMap::new();
    let mut trails = Vec::with_capacity(events.len());
    let mut walk = Walk { flow, keys: &keys, open: Open::new(), folds: BTreeMap::new(), letters: BTreeMap::new() };
    for (index, LoadEvent { entry, seq, draft }) in events.into_iter().enumerate() {
        let before = last.insert(entry.clone(), seq);
        assert!(before.is_none_or(|before| before < seq), "{entry} {seq} comes after {before:?}");
        let at = *entries.get(&entry).unwrap_or_else(|| panic!("{entry} is no entry of the flow"));
        let producer = ProducerId(xxhash_rust::xxh3::xxh3_64(entry.as_bytes()));
        let mut trail = Trail::default();
        walk.give(
            at,
            index,
            &draft.into_packet(Identity::Entered { producer, epoch: Epoch(1), pseq: seq }),
            &mut trail,
        );
        trails.push(trail);
    }
    let (folds, letters) = (walk.folds, walk.letters);

    let mut expected = Expected {
        letters,
        sinks: sinks.iter().map(|at| addresses[*at].clone()).collect(),
        behind: flow
            .nodes
            .iter()
            .zip(&reach)
            .map(|(node, reach)| (node.address.clone(), reach.iter().map(index_of).collect()))
            .collect(),
        reach: entries.iter().map(|(entry, at)| (entry.clone(), reach[*at].iter().map(index_of).collect())).collect(),
        events: BTreeMap::new(),
    };
    for (index, mut trail) in trails.into_iter().enumerate() {
        let fates = reach[entries[&keys[index].0]].iter().map(|sink| {
            if let Some(copies) = trail.copies.remove(sink) {
                return Expect::Visible(copies);
            }
            if let Some((at, class, packet_id)) = trail.dead_at.iter().find(|(at, ..)| reach[*at].contains(sink)) {
                return Expect::DeadLettered {
                    at: addresses[*at].clone(),
                    class: *class,
                    packet_id: packet_id.clone(),
                };
            }
            let mut windows = trail.folded_at.iter().filter(|at| reach[**at].contains(sink)).peekable();
            if windows.peek().is_none() {
                return Expect::Absorbed;
            }
            Expect::Folded(windows.flat_map(|at| folds.get(&(index, *at)).cloned().unwrap_or_default()).collect())
        });
        let fates = fates.collect();
        expected.events.insert(keys[index].clone(), fates);
    }
    expected
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use seaworthy_engine::node::NodeError;
    use seaworthy_engine::packet::{ContentType, Kind};

    /// Lets whole numbers from 10 on pass; what is no number is an error.
    struct Strong;

    impl Node for Strong {
        fn process(&mut self, packet: &Packet, out: &mut Output) -> Result<(), NodeError> {
            let number = packet.json().and_then(serde_json::Value::as_u64);
            let number = number.ok_or_else(|| NodeError::new(Class::DecodeFailed, "no number"))?;
            if number >= 10 {
                out.pass(packet);
            }
            Ok(())
        }
    }

    /// Counts by key in windows of 10 ns of event time; the first event beyond a window closes it.
    #[derive(Default)]
    struct Tally(BTreeMap<String, (i64, u64)>);

    impl Node for Tally {
        fn process(&mut self, packet: &Packet, out: &mut Output) -> Result<(), NodeError> {
            let key = packet.key.as_deref().unwrap_or_default().to_owned();
            let start = packet.ts - packet.ts % 10;
            let slot = self.0.entry(key.clone()).or_insert((start, 0));
            if slot.0 != start {
                let mut draft = Draft::of(packet);
                draft.packet_id = format!("{key}@{}", slot.0).into();
                draft.payload = slot.1.to_string().into();
                out.emit(draft);
                *slot = (start, 0);
            }
            slot.1 += 1;
            out.put(key, slot.1.to_string());
            out.folded = true;
            Ok(())
        }
    }

    pub(crate) fn draft(id: &str, ts: i64, payload: &str) -> Draft {
        Draft {
            packet_id: id.into(),
            ts,
            kind: Kind::Event,
            source_id: "test".into(),
            key: Some("k".into()),
            content_type: ContentType::Json,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            meta: BTreeMap::new(),
        }
    }

    /// edge.feed -> edge.strong -> edge.up = hub.up -> hub.raw, and hub.up -> hub.tally -> hub.sums
    pub(crate) fn flow() -> Flow {
        let node = |address: &str, what, to: &[usize]| FlowNode {
            address: address.into(),
            what,
            wires: to.iter().copied().map(Wire::out).collect(),
        };
        Flow {
            nodes: vec![
                node("edge.feed", FlowWhat::Entry, &[1]),
                node("edge.strong", FlowWhat::Node(Box::new(Strong)), &[2]),
                node("edge.up", FlowWhat::Pipe, &[3]),
                node("hub.up", FlowWhat::Pipe, &[4, 5]),
                node("hub.raw", FlowWhat::Sink { refuses: BTreeSet::new() }, &[]),
                node("hub.tally", FlowWhat::Node(Box::new(Tally::default())), &[6]),
                node("hub.sums", FlowWhat::Sink { refuses: BTreeSet::new() }, &[]),
            ],
        }
    }

    pub(crate) fn events(rows: &[(&str, i64, &str)]) -> Vec<LoadEvent> {
        let event = |(at, (id, ts, payload)): (usize, &(&str, i64, &str))| LoadEvent {
            entry: "edge.feed".into(),
            seq: Seq(at as u64 + 1),
            draft: draft(id, *ts, payload),
        };
        rows.iter().enumerate().map(event).collect()
    }

    #[test]
    fn each_event_is_told_apart_by_sink() {
        let expected = evaluate(
            &mut flow(),
            events(&[("a", 1, "10"), ("b", 2, "3"), ("c", 3, "x"), ("d", 11, "12"), ("e", 12, "13")]),
        );
        assert_eq!(expected.sinks, [Arc::from("hub.raw"), Arc::from("hub.sums")]);
        assert_eq!(expected.reach[&Arc::from("edge.feed")], [0, 1]);
        let of = |seq: u64| expected.events[&(Arc::from("edge.feed"), Seq(seq))].clone();
        let copy = |packet_id: &str, content: &str| Copy {
            packet_id: packet_id.into(),
            key: Some("k".into()),
            content: Bytes::copy_from_slice(content.as_bytes()),
        };
        let dead = Expect::DeadLettered { at: "edge.strong".into(), class: Class::DecodeFailed, packet_id: "c".into() };
        let fold = Fold { closer: ("edge.feed".into(), Seq(4)), packet_id: "k@0".into() };
        assert_eq!(of(1), [Expect::Visible(vec![copy("a", "10")]), Expect::Folded(vec![fold])]);
        assert_eq!(of(2), [Expect::Absorbed, Expect::Absorbed]);
        assert_eq!(of(3), [dead.clone(), dead]);
        assert_eq!(of(4), [Expect::Visible(vec![copy("d", "12")]), Expect::Visible(vec![copy("k@0", "1")])]);
        assert_eq!(of(5), [Expect::Visible(vec![copy("e", "13")]), Expect::Folded(vec![])], "its window is still open");
    }

    #[test]
    #[should_panic(expected = "comes after")]
    fn events_out_of_order_are_refused() {
        let mut rows = events(&[("a", 1, "10"), ("b", 2, "11")]);
        rows.swap(0, 1);
        let _ = evaluate(&mut flow(), rows);
    }
}
