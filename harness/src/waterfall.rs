//! Where the time of an event goes: from when it was due to when its first copy was visible at a sink, cut at each thing that the
//! engine says of it on its way. The parts of an event add up to its latency, to the nanosecond.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use seaworthy_engine::observe::What;
use seaworthy_engine::packet::Identity;
use seaworthy_reports::run::{Stage, Waterfall};

use crate::figures::entered;
use crate::history::History;
use crate::members::Members;
use crate::plan::Ns;
use crate::reference::{Flow, FlowWhat, reachable};

/// A stage, as the events that end it name it.
struct Kind {
    /// Where it stands in the order of stages.
    order: usize,
    name: String,
    /// The node that it is of, where it is of one: it counts only for sinks behind it.
    node: Option<usize>,
}

/// The waterfall of each sink that events reach as they are; what nodes make anew has no event of its own to follow.
pub(crate) fn waterfall(history: &History, flow: &Flow, members: &Members) -> Vec<Waterfall> {
    let reach = reachable(flow);
    let due = entered(history);
    // Events are many, and their places few: each kind of stage is named once.
    let mut kinds: IndexMap<(&str, &str, &'static str), Option<Kind>> = IndexMap::new();
    let mut ends: IndexMap<Identity, Vec<(Ns, usize)>> = IndexMap::new();
    let mut acked: BTreeMap<(&str, &str), BTreeSet<Identity>> = BTreeMap::new();
    for probed in &history.events {
        let Some(identity) = probed.event.identity else { continue };
        let (host, place, what) = (&*probed.host, &*probed.event.place, &probed.event.what);
        if *what == What::SinkAcked {
            acked.entry((host, place)).or_default().insert(identity);
        }
        let entry = kinds.entry((host, place, what.name()));
        let at = entry.index();
        if entry.or_insert_with(|| kind(what, members.told_as(host), place, flow)).is_some() {
            ends.entry(identity).or_default().push((probed.at_ns, at));
        }
    }
    let mut visible: BTreeMap<&str, IndexMap<&str, Ns>> = BTreeMap::new();
    for effect in &history.effects {
        visible.entry(&effect.endpoint).or_default().entry(&effect.packet_id).or_insert(effect.at_ns);
    }
    let mut found = Vec::new();
    for (sink, first) in visible {
        let Some(at) = flow.nodes.iter().position(|node| *node.address == *sink) else { continue };
        let mut stages: BTreeMap<(usize, &str), u64> = BTreeMap::new();
        let mut events = 0;
        // What a node made anew on the way may bear the event's name, but is another packet.
        let came = sink.split_once('.').and_then(|sink| acked.get(&sink));
        let came_in = |identity: &Identity| came.is_some_and(|came| came.contains(identity));
        for (identity, offer) in due.iter().filter(|(identity, _)| came_in(identity)) {
            let (Some(visible_ns), Some(ends)) = (first.get(&*offer.packet_id), ends.get(identity)) else { continue };
            events += 1;
            let mut since_ns = offer.intended_ns;
            for (at_ns, kind) in ends.iter().take_while(|(at_ns, _)| at_ns <= visible_ns) {
                let kind = kinds[*kind].as_ref().expect("only kinds that are stages end any");
                if kind.node.is_some_and(|node| !reach[node].contains(&at)) {
                    continue;
                }
                *stages.entry((kind.order, &kind.name)).or_default() += at_ns.saturating_sub(since_ns);
                since_ns = since_ns.max(*at_ns);
            }
            *stages.entry((usize::MAX, sink)).or_default() += visible_ns.saturating_sub(since_ns);
        }
        let stages = stages.into_iter().map(|((_, stage), ns)| Stage { stage: stage.to_owned(), ns }).collect();
        if events > 0 {
            found.push(Waterfall { sink: sink.to_owned(), events, stages });
        }
    }
    found
}

/// What stage of a packet ends with such an event there, if any.
fn kind(what: &What, host: &str, place: &str, flow: &Flow) -> Option<Kind> {
    match what {
        What::Entered | What::Processed => {
            let name = format!("{host}.{place}");
            let node = flow.nodes.iter().position(|node| *node.address == *name)?;
            Some(Kind { order: 4 * node, name, node: Some(node) })
        }
        What::Committed | What::Granted { .. } => {
            let channel = place.strip_prefix("channel/")?;
            let (rank, how) = if *what == What::Committed { (1, "stored") } else { (2, "waited") };
            let is_end = |what: &FlowWhat| matches!(what, FlowWhat::Pipe | FlowWhat::Channel(_));
            let of_host = |address: &str| address.split_once('.').is_some_and(|(of, _)| of == host);
            let last = flow.nodes.iter().rposition(|node| is_end(&node.what) && of_host(&node.address));
            let order = 4 * last.unwrap_or(flow.nodes.len()) + rank;
            Some(Kind { order, name: format!("{host}.{channel} {how}"), node: None })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests read the repository's own scenarios")]

    use seaworthy_engine::node::Registry;
    use seaworthy_reports::run::Delay;

    use crate::run::Prepared;

    #[test]
    fn the_stages_of_a_sink_add_up_to_its_latencies() {
        let mut registry = Registry::new();
        seaworthy_engine::nodes::register(&mut registry);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/smoke.toml");
        let read = |path: &str| std::fs::read_to_string(path);
        let prepared = Prepared::read(path, &read, &registry).expect("the scenario is well");
        let run = prepared.run_seed(1, false).expect("the books balance").run;
        let waterfall = run.waterfalls.iter().find(|waterfall| waterfall.sink == "hub.raw").expect("events come there");
        let sink = run.sinks.iter().position(|sink| *sink == waterfall.sink).expect("it is a sink");
        let at_sink =
            run.events.iter().flat_map(|event| event.at.iter().filter(|at| at.sink == sink).map(move |at| (event, at)));
        let delays = at_sink.filter_map(|(event, at)| match run.delay(event, at) {
            Some(Delay::After(ns)) => Some(ns),
            _ => None,
        });
        let delays: Vec<u64> = delays.collect();
        assert_eq!(waterfall.events, delays.len() as u64);
        assert_eq!(waterfall.stages.iter().map(|stage| stage.ns).sum::<u64>(), delays.iter().sum::<u64>());
        let names: Vec<&str> = waterfall.stages.iter().map(|stage| stage.stage.as_str()).collect();
        let way =
            ["edge.feed", "edge.strong", "edge.uplink stored", "hub.uplink stored", "hub.uplink waited", "hub.raw"];
        assert_eq!(names, way);
    }
}
