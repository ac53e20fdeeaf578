//! Conditions over a running world: what a plan's triggers and `[[sometimes]]` ask of its gauges and counts.

use std::collections::BTreeMap;

use crate::fault::{Gauges, Trigger};
use crate::scenario::{Expr, Readings, Scenario};

/// Live readings of a world.
struct Live<'a>(&'a Gauges<'a>);

impl Readings for Live<'_> {
    fn gauge(&self, address: &str) -> Option<u64> {
        self.0.gauge(address)
    }

    fn count(&self, host: &str, place: &str, event: &str) -> u64 {
        // A node and a channel are written alike; the engine's events name the channel as its journal does.
        self.0.count(host, place, event) + self.0.count(host, &seaworthy_engine::runtime::journal_channel(place), event)
    }

    fn at_fault(&self, fault: &str, gauge: &str) -> Option<u64> {
        self.0.at_fault(fault, gauge)
    }
}

/// Decides conditions of plans; parses each once.
pub(crate) fn trigger() -> Trigger {
    let mut parsed: BTreeMap<String, Expr> = BTreeMap::new();
    Box::new(move |text, gauges| {
        if !parsed.contains_key(text) {
            let expr = Expr::parse(text).expect("a plan's conditions were parsed when the scenario was read");
            parsed.insert(text.to_owned(), expr);
        }
        parsed[text].holds(&Live(gauges))
    })
}

/// The `[[sometimes]]` conditions: each time that one becomes true is a hit.
pub(crate) struct Sometimes {
    conditions: Vec<(String, Expr, bool, u64)>,
}

impl Sometimes {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let conditions =
            scenario.sometimes.iter().map(|some| (some.text.clone(), some.that.clone(), false, 0)).collect();
        Sometimes { conditions }
    }

    pub(crate) fn look(&mut self, gauges: &Gauges<'_>) {
        for (_, expr, held, hits) in &mut self.conditions {
            let holds = expr.holds(&Live(gauges));
            *hits += u64::from(holds && !*held);
            *held = holds;
        }
    }

    pub(crate) fn finish(&self) -> Vec<(String, u64)> {
        self.conditions.iter().map(|(text, _, _, hits)| (text.clone(), *hits)).collect()
    }
}
