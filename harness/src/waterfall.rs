//! Where the time of an event goes: from when it was due to when its first copy was visible at a sink, cut at each thing that the
//! engine says of it on its way. The parts of an event add up to its latency, to the nanosecond, and so do their kinds.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use seaworthy_engine::node::Class;
use seaworthy_engine::observe::What;
use seaworthy_engine::packet::Identity;
use seaworthy_reports::run::{Kind, Stage, Waterfall};

use crate::history::{History, OfferRecord};
use crate::members::Members;
use crate::outside;
use crate::plan::Ns;
use crate::reference::{Flow, FlowWhat, reachable};

/// A stage, as the events that end it name it.
struct End {
    /// Where it stands in the order of stages.
    order: usize,
    name: String,
    kind: Kind,
    /// The node that it is of, where it is of one: it counts only for sinks behind it.
    node: Option<usize>,
}

impl End {
    /// What the time up to this goes into, of an event that has had `done` before.
    fn kind_behind(&self, done: &[&End]) -> Kind {
        let stores = |end: &End| end.kind == Kind::Service && end.node.is_none();
        match () {
            () if done.iter().any(|before| before.name == self.name) => Kind::Retry,
            // What was stored on one host and is stored on another came over a link.
            () if stores(self) && done.iter().any(|before| stores(before)) => Kind::Link,
            () => self.kind,
        }
    }
}

/// The waterfall of each sink that events reach as they are; what nodes make anew has no event of its own to follow.
pub(crate) fn waterfall(history: &History, flow: &Flow, members: &Members) -> Vec<Waterfall> {
    let reach = reachable(flow);
    let due: IndexMap<Identity, &OfferRecord> = outside::entered(history).collect();
    // Events are many, and their places few: each stage is named once.
    let mut named: IndexMap<(&str, &str, &'static str), Option<End>> = IndexMap::new();
    let mut ends: IndexMap<Identity, Vec<(Ns, usize)>> = IndexMap::new();
    let mut acked: BTreeMap<(&str, &str), BTreeSet<Identity>> = BTreeMap::new();
    let mut refused: BTreeMap<(&str, &str), Vec<Ns>> = BTreeMap::new();
    for probed in &history.events {
        let (host, place, what) = (&*probed.host, &*probed.event.place, &probed.event.what);
        if matches!(what, What::Refused { reason } if **reason == *Class::SinkUnavailable.name()) {
            refused.entry((host, place)).or_default().push(probed.at_ns);
        }
        let Some(identity) = probed.event.identity else { continue };
        if *what == What::SinkAcked {
            acked.entry((host, place)).or_default().insert(identity);
        }
        let entry = named.entry((host, place, what.name()));
        let at = entry.index();
        if entry.or_insert_with(|| end(what, members.told_as(host), place, flow)).is_some() {
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
        let mut stages: BTreeMap<(usize, &str, Kind), u64> = BTreeMap::new();
        let mut events = 0;
        // What a node made anew on the way may bear the event's name, but is another packet.
        let place = sink.split_once('.');
        let came = place.and_then(|place| acked.get(&place));
        let refused: &[Ns] = place.and_then(|place| refused.get(&place)).map_or(&[], Vec::as_slice);
        let came_in = |identity: &Identity| came.is_some_and(|came| came.contains(identity));
        for (identity, offer) in due.iter().filter(|(identity, _)| came_in(identity)) {
            let (Some(visible_ns), Some(ends)) = (first.get(&*offer.packet_id), ends.get(identity)) else { continue };
            events += 1;
            let mut since_ns = offer.intended_ns;
            let mut done: Vec<&End> = Vec::new();
            let mut spend = |order: usize, name, kind, from_ns: Ns, to_ns: Ns| {
                *stages.entry((order, name, kind)).or_default() += to_ns.saturating_sub(from_ns);
            };
            for (at_ns, end) in ends.iter().take_while(|(at_ns, _)| at_ns <= visible_ns) {
                let end = named[*end].as_ref().expect("only what is a stage ends any");
                if end.node.is_some_and(|node| !reach[node].contains(&at)) {
                    continue;
                }
                spend(end.order, end.name.as_str(), end.kind_behind(&done), since_ns, *at_ns);
                done.push(end);
                since_ns = since_ns.max(*at_ns);
            }
            // Once the sink has refused something of what waits there, all of it waits for another attempt.
            let first_refused = refused.partition_point(|at_ns| *at_ns < since_ns);
            let retried_ns = refused.get(first_refused).map_or(*visible_ns, |at_ns| *at_ns.min(visible_ns));
            spend(usize::MAX, sink, Kind::Service, since_ns, retried_ns);
            if retried_ns < *visible_ns {
                spend(usize::MAX, sink, Kind::Retry, retried_ns, *visible_ns);
            }
        }
        let stage = |((_, stage, kind), ns): ((usize, &str, Kind), u64)| Stage { stage: stage.to_owned(), kind, ns };
        let stages = stages.into_iter().map(stage).collect();
        if events > 0 {
            found.push(Waterfall { sink: sink.to_owned(), events, stages });
        }
    }
    found
}

/// What stage of a packet ends with such an event there, if any.
fn end(what: &What, host: &str, place: &str, flow: &Flow) -> Option<End> {
    match what {
        What::Entered | What::Processed => {
            let name = format!("{host}.{place}");
            let node = flow.nodes.iter().position(|node| *node.address == *name)?;
            let kind = if *what == What::Entered { Kind::Queue } else { Kind::Service };
            Some(End { order: 4 * node, name, kind, node: Some(node) })
        }
        What::Committed | What::Granted { .. } => {
            let channel = place.strip_prefix("channel/")?;
            let (rank, how, kind) = match what {
                What::Committed => (1, "stored", Kind::Service),
                _ => (2, "waited", Kind::Queue),
            };
            let is_end = |what: &FlowWhat| matches!(what, FlowWhat::Pipe | FlowWhat::Channel(_));
            let of_host = |address: &str| address.split_once('.').is_some_and(|(of, _)| of == host);
            let last = flow.nodes.iter().rposition(|node| is_end(&node.what) && of_host(&node.address));
            let order = 4 * last.unwrap_or(flow.nodes.len()) + rank;
            Some(End { order, name: format!("{host}.{channel} {how}"), kind, node: None })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests read the repository's own scenarios")]

    use seaworthy_engine::node::Registry;
    use seaworthy_reports::run::{Delay, Kind, Waterfall};

    use crate::run::Prepared;

    /// The way to `hub.raw` in a seed of a scenario, and the delays of the events that came there.
    fn poured(scenario: &str, seed: u64) -> (Waterfall, Vec<u64>) {
        let mut registry = Registry::new();
        seaworthy_engine::nodes::register(&mut registry);
        let path = format!("{}/../scenarios/{scenario}.toml", env!("CARGO_MANIFEST_DIR"));
        let read = |path: &str| std::fs::read_to_string(path);
        let prepared = Prepared::read(&path, &read, &registry).expect("the scenario is well");
        let run = prepared.run_seed(seed, false).expect("the books balance").run;
        let waterfall = run.waterfalls.iter().find(|waterfall| waterfall.sink == "hub.raw").expect("events come there");
        let number = run.sinks.iter().position(|known| known == "hub.raw").expect("it is a sink");
        let at_sink = run
            .events
            .iter()
            .flat_map(|event| event.at.iter().filter(|at| at.sink == number).map(move |at| (event, at)));
        let delays = at_sink.filter_map(|(event, at)| match run.delay(event, at) {
            Some(Delay::After(ns)) => Some(ns),
            _ => None,
        });
        (waterfall.clone(), delays.collect())
    }

    #[test]
    fn the_stages_of_a_sink_add_up_to_its_latencies() {
        let (waterfall, delays) = poured("smoke", 1);
        assert_eq!(waterfall.events, delays.len() as u64);
        assert_eq!(waterfall.stages.iter().map(|stage| stage.ns).sum::<u64>(), delays.iter().sum::<u64>());
        let way: Vec<(&str, Kind)> = waterfall.stages.iter().map(|stage| (stage.stage.as_str(), stage.kind)).collect();
        let expected = [
            ("edge.feed", Kind::Queue),
            ("edge.strong", Kind::Service),
            ("edge.uplink stored", Kind::Service),
            ("hub.uplink stored", Kind::Link),
            ("hub.uplink waited", Kind::Queue),
            ("hub.raw", Kind::Service),
        ];
        assert_eq!(way, expected);
    }

    #[test]
    fn work_that_had_been_begun_before_is_a_retry_and_the_sum_stays() {
        // A hub that dies with packets handed out, and a sink that refuses.
        for (scenario, seed) in [("hub_crash", 4), ("deep/dead_letters", 1)] {
            let (waterfall, delays) = poured(scenario, seed);
            assert_eq!(waterfall.events, delays.len() as u64);
            let of = |kind| waterfall.stages.iter().filter(move |stage| stage.kind == kind).map(|stage| stage.ns);
            let sum: u64 = Kind::ALL.into_iter().flat_map(of).sum();
            assert_eq!(sum, delays.iter().sum::<u64>(), "{scenario}");
            assert!(of(Kind::Retry).sum::<u64>() > 0, "{scenario}: {waterfall:?}");
        }
    }
}
