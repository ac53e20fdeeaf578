//! Counts of what the engine did, by probe event.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use seaworthy_engine::observe::{Event, What};
use seaworthy_reports::result::Counts;

/// Distinct reasons that are counted apart; any further one counts as `other`.
const REASONS_MAX: usize = 16;
/// Characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 48;

/// Takes in an event.
fn count(counts: &mut Counts, what: &What) {
    // Most events are known by name already: no allocation for those.
    match counts.events.get_mut(what.name()) {
        Some(count) => *count += 1,
        None => drop(counts.events.insert(what.name().to_owned(), 1)),
    }
    match what {
        What::Dropped { reason } => add(&mut counts.dropped, reason, 1),
        What::Refused { reason } => add(&mut counts.refused, reason, 1),
        _ => {}
    }
}

/// Takes in what another incarnation counted.
pub(super) fn add_all(counts: &mut Counts, other: &Counts) {
    for (name, count) in &other.events {
        *counts.events.entry(name.clone()).or_default() += count;
    }
    other.dropped.iter().for_each(|(reason, count)| add(&mut counts.dropped, reason, *count));
    other.refused.iter().for_each(|(reason, count)| add(&mut counts.refused, reason, *count));
}

/// `edge: 812 entered, 450 produced`, the most telling counts, for a line of progress.
pub(super) fn line(process: &str, counts: &Counts) -> String {
    let words: Vec<String> = counts.told().collect();
    if words.is_empty() { format!("{process}: waiting") } else { format!("{process}: {}", words.join(", ")) }
}

fn add(counts: &mut BTreeMap<String, u64>, reason: &str, more: u64) {
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    let known = counts.len() < REASONS_MAX || counts.contains_key(&reason);
    *counts.entry(if known { reason } else { "other".to_owned() }).or_default() += more;
}

/// Counts what the probe of a real run hears.
#[derive(Default)]
pub(super) struct Counter(Mutex<Counts>);

impl Counter {
    pub(super) fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn on(&self, events: &[Event]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(|event| count(&mut counts, &event.what));
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
        let mut tally = counter.counts();
        assert_eq!((tally.events["entered"], tally.events["dropped"]), (2, 40));
        assert_eq!((tally.dropped.len(), tally.dropped["other"]), (REASONS_MAX + 1, 24));
        add_all(&mut tally, &counter.counts());
        assert_eq!((tally.events["dropped"], tally.dropped["r00"], tally.dropped["other"]), (80, 2, 48));
        assert_eq!(line("edge", &tally), "edge: 4 entered, 80 dropped");
    }
}
