//! Linearizability of registers, a key at a time: is there one order of all operations, each between its call and its answer,
//! in which every read sees the write before it? (Wing and Gong's search, with Lowe's memory of what was tried.)

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_harness::check::{Check, Violation};
use seaworthy_harness::history::History;

pub(crate) struct Linearizable;

/// States of the search at most.
const STATES_MAX: usize = 200_000;

struct Operation {
    name: String,
    called_ns: u64,
    /// `u64::MAX` for a write that was never answered: it may take effect at any time, or never.
    answered_ns: u64,
    writes: bool,
    value: String,
}

impl Check for Linearizable {
    fn name(&self) -> &'static str {
        "linearizable"
    }

    fn judge(&self, history: &History) -> Vec<Violation> {
        let called: BTreeMap<&str, u64> =
            history.offers.iter().map(|offer| (&*offer.packet_id, offer.intended_ns)).collect();
        let mut keys: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
        for effect in &history.effects {
            let seen: serde_json::Value = serde_json::from_slice(&effect.content).expect("the system writes JSON");
            keys.entry(effect.key.as_deref().unwrap_or_default()).or_default().push(Operation {
                name: effect.packet_id.clone(),
                called_ns: called[effect.packet_id.as_str()],
                answered_ns: effect.at_ns,
                writes: seen["write"] == true,
                value: seen["value"].as_str().unwrap_or_default().to_owned(),
            });
        }
        let broken = |(key, mut operations): (&str, Vec<Operation>)| {
            operations.sort_by_key(|operation| operation.called_ns);
            let stuck = furthest(&operations)?;
            let Operation { name, value, answered_ns, writes, .. } = stuck;
            let what = if *writes { format!("wrote {value}") } else { format!("read `{value}`") };
            let message =
                format!("{key}: no order explains that {name} {what}, answered {:.3} s", *answered_ns as f64 / 1e9);
            Some(Violation { check: "linearizable".to_owned(), message, at_ns: *answered_ns })
        };
        keys.into_iter().filter_map(broken).collect()
    }
}

/// `None` when there is an order; else the operation at which every order ends at the latest.
fn furthest(operations: &[Operation]) -> Option<&Operation> {
    // How many were put in order from the front, which of the later ones, and the value that they leave.
    type State = (usize, BTreeSet<usize>, String);
    let mut tried: BTreeSet<State> = BTreeSet::new();
    let mut open: Vec<State> = vec![(0, BTreeSet::new(), String::new())];
    let mut best = 0;
    while let Some((front, ahead, value)) = open.pop() {
        if front == operations.len() {
            return None;
        }
        best = best.max(front);
        assert!(
            tried.len() < STATES_MAX,
            "too many concurrent writes of a key to tell; spread the load over more keys"
        );
        let left = || (front..operations.len()).filter(|at| !ahead.contains(at));
        // Whoever was called after another's answer comes after it.
        let deadline = left().map(|at| operations[at].answered_ns).min().unwrap_or(u64::MAX);
        let mut next: Vec<usize> = left().take_while(|at| operations[*at].called_ns <= deadline).collect();
        // A read that fits now can always be taken now: it changes nothing for the others.
        if let Some(read) = next.iter().find(|at| !operations[**at].writes && operations[**at].value == value) {
            next = vec![*read];
        }
        // What was answered first is tried first: in a sound system that is nearly always right.
        next.sort_by_key(|at| std::cmp::Reverse(operations[*at].answered_ns));
        for at in next {
            let operation = &operations[at];
            if !operation.writes && operation.value != value {
                continue;
            }
            let value = if operation.writes { operation.value.clone() } else { value.clone() };
            let (mut front, mut ahead) = (front, ahead.clone());
            ahead.insert(at);
            while ahead.remove(&front) {
                front += 1;
            }
            let state = (front, ahead, value);
            if tried.insert(state.clone()) {
                open.push(state);
            }
        }
    }
    operations.get(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(writes: bool, value: &str, called_ns: u64, answered_ns: u64) -> Operation {
        Operation { name: value.to_owned(), called_ns, answered_ns, writes, value: value.to_owned() }
    }

    #[test]
    fn a_read_of_an_overwritten_value_is_found_and_concurrent_ones_are_fine() {
        let write = |value, from, to| operation(true, value, from, to);
        let read = |value, from, to| operation(false, value, from, to);
        assert!(
            furthest(&[write("a", 0, 9), read("", 1, 2), read("a", 3, 4), write("b", 5, 6), read("b", 7, 8)]).is_none()
        );
        let stale = [write("a", 0, 1), write("b", 2, 3), read("a", 4, 5)];
        assert_eq!(furthest(&stale).map(|stuck| stuck.called_ns), Some(4));
        assert!(furthest(&[write("a", 0, 1), read("", 2, 3)]).is_some());
    }
}
