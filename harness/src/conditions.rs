//! Conditions over a running world: what a plan's triggers and `[[sometimes]]` ask of its gauges and counts.

use std::collections::BTreeMap;

use crate::fault::{Gauges, Trigger};
use crate::scenario::{Expr, Fault, Readings, Scenario, Schedule, Term};

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

/// The `[[sometimes]]` conditions: each time that one becomes true is a hit. And what faults wait for.
pub(crate) struct Sometimes {
    conditions: Vec<(String, Expr, bool, u64)>,
    waits: Vec<Wait>,
}

/// A fault that begins when a condition holds, and how near that came.
struct Wait {
    fault: String,
    text: String,
    expr: Expr,
    held: bool,
    /// The least and the greatest value of each of its terms, numbers apart.
    seen: Vec<Option<(f64, f64)>>,
}

impl Wait {
    fn look(&mut self, live: &Live<'_>) {
        self.held |= self.expr.holds(live);
        for (term, seen) in self.expr.terms().into_iter().zip(&mut self.seen) {
            let Some(value) = term.value(live) else { continue };
            let (least, greatest) = seen.unwrap_or((value, value));
            *seen = Some((least.min(value), greatest.max(value)));
        }
    }

    /// `edge.uplink.backlog > 40000 never held: edge.uplink.backlog was 0 to 612`.
    fn told(&self) -> String {
        if self.held {
            return format!("{} held, and nothing felt it", self.text);
        }
        let terms = self.expr.terms().into_iter().zip(&self.seen).filter(|(term, _)| !matches!(term, Term::Number(_)));
        let ranges = terms.map(|(term, seen)| match seen {
            Some((least, greatest)) => format!("{term} was {least} to {greatest}"),
            None => format!("{term} was never told"),
        });
        format!("{} never held: {}", self.text, ranges.collect::<Vec<_>>().join(", "))
    }
}

impl Sometimes {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let conditions =
            scenario.sometimes.iter().map(|some| (some.text.clone(), some.that.clone(), false, 0)).collect();
        let wait = |fault: &Fault| match &fault.schedule {
            Schedule::When { when, .. } => {
                let expr = Expr::parse(when).expect("it was parsed when the scenario was read");
                let seen = vec![None; expr.terms().len()];
                Some(Wait { fault: fault.id.clone(), text: when.clone(), expr, held: false, seen })
            }
            _ => None,
        };
        Sometimes { conditions, waits: scenario.faults.iter().filter_map(wait).collect() }
    }

    pub(crate) fn look(&mut self, gauges: &Gauges<'_>) {
        for (_, expr, held, hits) in &mut self.conditions {
            let holds = expr.holds(&Live(gauges));
            *hits += u64::from(holds && !*held);
            *held = holds;
        }
        // Once it holds its fault begins.
        self.waits.iter_mut().filter(|wait| !wait.held).for_each(|wait| wait.look(&Live(gauges)));
    }

    /// The faults that wait for a condition, and what came of it.
    pub(crate) fn waited(&self) -> Vec<(String, String)> {
        self.waits.iter().map(|wait| (wait.fault.clone(), wait.told())).collect()
    }

    pub(crate) fn finish(&self) -> Vec<(String, u64)> {
        self.conditions.iter().map(|(text, _, _, hits)| (text.clone(), *hits)).collect()
    }
}
