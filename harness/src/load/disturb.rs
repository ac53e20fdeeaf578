//! Faults of the load: what a plan's steps change of the events before anything runs.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{LoadEvent, in_order};
use crate::plan::{Action, Ns, Plan, Start, Step, strikes};
use crate::scenario::draw::draw;

/// What a poisoned event carries: JSON that ends too soon.
const POISON: &[u8] = b"{\"poison\":";

/// Changes the events as the plan's steps say; how many each step changed, by its place in the plan. Numbers stay as they are.
/// A step that waits for a trigger changes nothing: the load is made before anything runs.
pub fn disturb(events: &mut [LoadEvent], plan: &Plan) -> BTreeMap<usize, u64> {
    let mut hits = BTreeMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let Some((from_ns, to_ns)) = window(step) else { continue };
        let during = |event: &LoadEvent| (from_ns..to_ns).contains(&event.intended_ns);
        let changed = match &step.action {
            Action::LoadPoison { source, ratio_ppm } => {
                let mut changed = 0;
                for event in events.iter_mut().filter(|event| event.entry == *source && during(event)) {
                    let luck = draw(plan.seed, "load.poison", &step.fault, event.seq.0, source);
                    if strikes(luck, *ratio_ppm) {
                        event.draft.payload = Bytes::from_static(POISON);
                        changed += 1;
                    }
                }
                changed
            }
            Action::LoadBurst { source } => {
                let meant = events.iter_mut().filter(|event| event.entry == *source && during(event));
                meant.filter(|event| event.intended_ns > from_ns).map(|event| event.intended_ns = from_ns).count()
                    as u64
            }
            _ => continue,
        };
        hits.insert(at, changed);
    }
    if !hits.is_empty() {
        in_order(events);
    }
    hits
}

/// From when to when a timed step lasts.
fn window(step: &Step) -> Option<(Ns, Ns)> {
    let Start::At { at_ns } = step.start else { return None };
    Some((at_ns, step.for_ns.map_or(Ns::MAX, |for_ns| at_ns.saturating_add(for_ns))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::EPOCH_UNIX_NS;
    use seaworthy_engine::node::Draft;
    use seaworthy_engine::packet::{ContentType, Kind, Seq};

    fn events() -> Vec<LoadEvent> {
        let event = |n: u64| LoadEvent {
            entry: "edge.feed".to_owned(),
            seq: Seq(n),
            intended_ns: n * 10,
            draft: Draft {
                packet_id: "p".into(),
                ts: EPOCH_UNIX_NS,
                kind: Kind::Event,
                source_id: "s".into(),
                key: None,
                content_type: ContentType::Json,
                payload: Bytes::from_static(b"{}"),
                meta: BTreeMap::new(),
            },
        };
        (1..=100).map(event).collect()
    }

    fn plan(action: Action) -> Plan {
        let step = Step { fault: "f".to_owned(), start: Start::At { at_ns: 200 }, for_ns: Some(300), action };
        Plan { seed: 1, steps: vec![step], ..Plan::default() }
    }

    #[test]
    fn a_burst_brings_what_was_due_at_once_and_in_order() {
        let mut events = events();
        let hits = disturb(&mut events, &plan(Action::LoadBurst { source: "edge.feed".to_owned() }));
        assert_eq!(hits[&0], 29);
        assert!(events.is_sorted_by_key(|event| (event.intended_ns, event.seq)));
        assert_eq!(events.iter().filter(|event| event.intended_ns == 200).count(), 30);
    }

    #[test]
    fn poison_strikes_a_share_of_the_events_of_its_time_and_source() {
        let mut events = events();
        let poison = |source: &str| plan(Action::LoadPoison { source: source.to_owned(), ratio_ppm: 500_000 });
        assert_eq!(disturb(&mut events, &poison("edge.other"))[&0], 0);
        let hits = disturb(&mut events, &poison("edge.feed"))[&0];
        let poisoned = events.iter().filter(|event| event.draft.payload == POISON).count() as u64;
        assert!(hits == poisoned && (5..25).contains(&hits), "{hits} {poisoned}");
    }
}
