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

/// What is looked for in a run: the `[[sometimes]]` conditions, each time that one becomes true a hit, and what faults wait for.
pub(crate) struct Sometimes {
    conditions: Vec<Watched>,
    /// By fault.
    waits: Vec<(String, Watched)>,
}

/// A condition, how often it became true, and how near that came.
struct Watched {
    text: String,
    expr: Expr,
    holds: bool,
    hits: u64,
    /// The least and the greatest value of each of its terms, numbers apart, until it held.
    seen: Vec<Option<(f64, f64)>>,
}

impl Watched {
    fn new(text: &str) -> Self {
        let expr = Expr::parse(text).expect("it was parsed when the scenario was read");
        let seen = vec![None; expr.terms().len()];
        Watched { text: text.to_owned(), expr, holds: false, hits: 0, seen }
    }

    fn look(&mut self, live: &Live<'_>) {
        let holds = self.expr.holds(live);
        self.hits += u64::from(holds && !self.holds);
        self.holds = holds;
        if self.hits > 0 {
            return;
        }
        for (term, seen) in self.expr.terms().into_iter().zip(&mut self.seen) {
            let Some(value) = term.value(live) else { continue };
            let (least, greatest) = seen.unwrap_or((value, value));
            *seen = Some((least.min(value), greatest.max(value)));
        }
    }

    /// `edge.uplink.backlog was 0 to 612`.
    fn ranges(&self) -> String {
        let terms = self.expr.terms().into_iter().zip(&self.seen).filter(|(term, _)| !matches!(term, Term::Number(_)));
        let ranges = terms.map(|(term, seen)| match seen {
            Some((least, greatest)) => format!("{term} was {least} to {greatest}"),
            None => format!("{term} was never told"),
        });
        ranges.collect::<Vec<_>>().join(", ")
    }
}

impl Sometimes {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let wait = |fault: &Fault| match &fault.schedule {
            Schedule::When { when, .. } => Some((fault.id.clone(), Watched::new(when))),
            _ => None,
        };
        Sometimes {
            conditions: scenario.sometimes.iter().map(|some| Watched::new(&some.text)).collect(),
            waits: scenario.faults.iter().filter_map(wait).collect(),
        }
    }

    pub(crate) fn look(&mut self, gauges: &Gauges<'_>) {
        self.conditions.iter_mut().for_each(|condition| condition.look(&Live(gauges)));
        // Once it holds its fault begins.
        let waits = self.waits.iter_mut().map(|(_, wait)| wait);
        waits.filter(|wait| wait.hits == 0).for_each(|wait| wait.look(&Live(gauges)));
    }

    /// What came of the faults that wait for a condition, and how near the conditions came that never held.
    pub(crate) fn waited(&self) -> Vec<(String, String)> {
        let told = |wait: &Watched| match wait.hits {
            0 => format!("{} never held: {}", wait.text, wait.ranges()),
            _ => format!("{} held, and nothing felt it", wait.text),
        };
        let waits = self.waits.iter().map(|(fault, wait)| (fault.clone(), told(wait)));
        let missed = self.conditions.iter().filter(|condition| condition.hits == 0);
        waits.chain(missed.map(|condition| (condition.text.clone(), condition.ranges()))).collect()
    }

    pub(crate) fn finish(&self) -> Vec<(String, u64)> {
        self.conditions.iter().map(|condition| (condition.text.clone(), condition.hits)).collect()
    }
}
