//! Counts of what the engine did, by probe event.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use seaworthy_engine::observe::{Event, What};
use seaworthy_reports::result::Counts;
use serde::{Deserialize, Serialize};

/// Distinct reasons that are counted apart; any further one counts as `other`.
const REASONS_MAX: usize = 16;
/// Characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 48;

/// How often each event happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// By the event's name, e.g. `entered`, `sink.acked`.
    pub(super) events: BTreeMap<String, u64>,
    /// `dropped`, by reason.
    pub(super) dropped: BTreeMap<String, u64>,
    /// `refused`, by reason.
    pub(super) refused: BTreeMap<String, u64>,
}

impl From<Tally> for Counts {
    fn from(Tally { events, dropped, refused }: Tally) -> Counts {
        Counts { events, dropped, refused }
    }
}

impl Tally {
    fn count(&mut self, what: &What) {
        // Most events are known by name already: no allocation for those.
        match self.events.get_mut(what.name()) {
            Some(count) => *count += 1,
            None => drop(self.events.insert(what.name().to_owned(), 1)),
        }
        match what {
            What::Dropped { reason } => add(&mut self.dropped, reason, 1),
            What::Refused { reason } => add(&mut self.refused, reason, 1),
            _ => {}
        }
    }

    /// Takes in what another incarnation counted.
    pub(super) fn add(&mut self, other: &Tally) {
        for (name, count) in &other.events {
            *self.events.entry(name.clone()).or_default() += count;
        }
        other.dropped.iter().for_each(|(reason, count)| add(&mut self.dropped, reason, *count));
        other.refused.iter().for_each(|(reason, count)| add(&mut self.refused, reason, *count));
    }

    /// `edge: 812 entered, 450 produced`, the most telling counts, for a line of progress.
    pub(super) fn line(&self, process: &str) -> String {
        let told = ["entered", "granted", "sink.acked", "dropped", "dead_lettered"];
        let words = told.iter().filter_map(|name| Some(format!("{} {name}", self.events.get(*name)?)));
        let words: Vec<String> = words.collect();
        if words.is_empty() { format!("{process}: waiting") } else { format!("{process}: {}", words.join(", ")) }
    }
}

fn add(counts: &mut BTreeMap<String, u64>, reason: &str, more: u64) {
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    let known = counts.len() < REASONS_MAX || counts.contains_key(&reason);
    *counts.entry(if known { reason } else { "other".to_owned() }).or_default() += more;
}

/// Counts what the probe of a real run hears.
#[derive(Default)]
pub(super) struct Counter(Mutex<Tally>);

impl Counter {
    pub(super) fn tally(&self) -> Tally {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn on(&self, events: &[Event]) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(|event| tally.count(&event.what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_name_and_reason_within_bounds() {
        let counter = Counter::default();
        let event = |what| Event { what, place: "n".into(), identity: None, seq: Default::default(), attempt: 0 };
        let drops = (0..40).map(|n| event(What::Dropped { reason: format!("r{n:02}").into() }));
        counter.on(&drops.chain([event(What::Entered), event(What::Entered)]).collect::<Vec<_>>());
        let mut tally = counter.tally();
        assert_eq!((tally.events["entered"], tally.events["dropped"]), (2, 40));
        assert_eq!((tally.dropped.len(), tally.dropped["other"]), (REASONS_MAX + 1, 24));
        tally.add(&counter.tally());
        assert_eq!((tally.events["dropped"], tally.dropped["r00"], tally.dropped["other"]), (80, 2, 48));
        assert_eq!(tally.line("edge"), "edge: 4 entered, 80 dropped");
    }
}
