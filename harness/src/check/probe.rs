//! `probe.contradiction`: the system's own counts don't claim what the endpoints never saw. A sink that confirms a packet
//! has written one: at no time are there more confirmations than effects.

use std::collections::BTreeMap;

use seaworthy_engine::observe::What;

use super::{Case, seconds};
use crate::plan::Ns;

pub(super) fn judge(case: &Case<'_>) -> Vec<(Ns, String)> {
    let mut effects: BTreeMap<&str, Vec<Ns>> =
        case.ledger.sinks.iter().map(|account| (&*account.sink, vec![])).collect();
    for effect in &case.history.effects {
        effects.entry(&effect.endpoint).or_default().push(effect.at_ns);
    }
    effects.values_mut().for_each(|times| times.sort_unstable());
    let mut acked: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for probed in case.history.events.iter().filter(|probed| probed.event.what == What::SinkAcked) {
        let sink = format!("{}.{}", probed.host, probed.event.place);
        let Some(times) = effects.get(sink.as_str()) else { continue };
        let held = times.partition_point(|at_ns| *at_ns <= probed.at_ns);
        let count = acked.entry(sink.clone()).or_default();
        *count += 1;
        if *count > held {
            let at = seconds(probed.at_ns);
            found.push((probed.at_ns, format!("{sink} confirmed its packet number {count} at {at}, but holds {held}")));
        }
    }
    found
}
