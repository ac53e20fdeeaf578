//! What is easier to meet in one result of a scenario than in another.

use std::collections::BTreeSet;

use super::Loosened;
use crate::result::Scenario;
use crate::slo::limit_parts;

/// Counts that are 0 where the file does not speak of them.
const ZERO: [&str; 9] = [
    "lost",
    "lost.reported",
    "lost.window",
    "unexpected",
    "unresolved",
    "rejected",
    "shed",
    "dead_lettered",
    "drop.ratio",
];

/// What stands where nothing is promised away, and where something has been taken out.
const NONE: &str = "none";
const GONE: &str = "gone";

/// How promises and conditions are called, before their own names.
const PROMISE: &str = "promise.";
const SOMETIMES: &str = "sometimes ";

/// Expectations and promises that are easier to meet than they were, what no longer need be reached, and seeds that are fewer.
pub(super) fn looser(old: &Scenario, new: &Scenario) -> Vec<Loosened> {
    let mut found = Vec::new();
    let mut push = |what: &str, from: &str, to: &str| {
        found.push(Loosened { scenario: old.id.clone(), what: what.into(), from: from.into(), to: to.into() });
    };
    for a in &old.expect {
        match new.expect.iter().find(|b| b.what == a.what) {
            None => push(&a.what, &a.limit, GONE),
            Some(b) if is_looser(&a.limit, &b.limit) => push(&a.what, &a.limit, &b.limit),
            Some(_) => {}
        }
    }
    let spoken_of = |what: &str| old.expect.iter().any(|a| a.what == what);
    for b in new.expect.iter().filter(|b| ZERO.contains(&&*b.what) && !spoken_of(&b.what)) {
        let zero = if b.limit.ends_with('%') { "== 0%" } else { "== 0" };
        if is_looser(zero, &b.limit) {
            push(&b.what, "== 0", &b.limit);
        }
    }
    // One of an older build says nothing of its promise.
    if !old.promise.is_empty() {
        for (what, to) in &new.promise {
            let from = old.promise.get(what).map_or(NONE, String::as_str);
            if from != NONE && is_looser(from, to) || from == NONE && to != NONE && !is_order(what) {
                push(&format!("{PROMISE}{what}"), from, to);
            }
        }
    }
    for a in old.sometimes.iter().filter(|a| new.sometimes.iter().all(|b| b.that != a.that)) {
        push(&format!("{SOMETIMES}{}", a.that), "reached", GONE);
    }
    let seeds = |scenario: &Scenario| scenario.seeds.iter().map(|seed| seed.seed).collect::<BTreeSet<u64>>();
    let (before, now) = (seeds(old), seeds(new));
    if !before.is_subset(&now) {
        push(super::THE_SEEDS, &before.len().to_string(), &format!("{} of them", before.intersection(&now).count()));
    }
    found
}

/// Whether a loosened `what` is an expectation, which has a limit, rather than a promise, a condition, seeds or a whole scenario.
#[must_use]
pub fn has_a_limit(what: &str) -> bool {
    let is_whole = [super::THE_SCENARIO, super::THE_SEEDS].contains(&what);
    !is_whole && [PROMISE, SOMETIMES].iter().all(|other| !what.starts_with(other))
}

/// A promise of order is the more the more it says; all others take something away from what is judged.
fn is_order(what: &str) -> bool {
    what == "ordering"
}

/// Whether something meets `to` that does not meet `from`: limits as results print them. What is no limit is looser than any, unless
/// it is the same.
#[must_use]
pub fn is_looser(from: &str, to: &str) -> bool {
    match (limit_parts(from), limit_parts(to)) {
        _ if from == to => false,
        (Some((outer, a, unit)), Some((inner, b, same))) if unit == same => !within(inner, b, outer, a),
        _ => true,
    }
}

/// Whether every value, from 0 on, that is `inner` `b` is also `outer` `a`.
fn within(inner: &str, b: f64, outer: &str, a: f64) -> bool {
    match (outer, inner) {
        ("<=", "<=" | "<" | "==") | ("<", "<") => b <= a,
        ("<", "<=" | "==") => b < a,
        (">=", ">=" | ">" | "==") | (">", ">") => b >= a,
        (">", ">=" | "==") => b > a,
        ("==", "==") | ("!=", "!=") => a == b,
        ("==", "<=") => a == 0.0 && b == 0.0,
        ("!=", "==") => a != b,
        ("!=", "<=") => b < a,
        ("!=", "<") => b <= a,
        ("!=", ">=") => b > a,
        ("!=", ">") => b >= a,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_looser_when_more_meets_it() {
        for (from, to, looser) in [
            ("<= 5s", "< 4s", false),
            ("<= 5s", "<= 5s", false),
            ("<= 5s", "< 5s", false),
            ("< 5s", "<= 5s", true),
            ("<= 5s", "<= 5100ms", true),
            ("<= 5s", "== 3s", false),
            ("== 0", "<= 0", false),
            ("<= 0", "== 0", false),
            ("== 0", "<= 1", true),
            ("== 0", "== 1", true),
            ("== 3", "<= 3", true),
            (">= 3", "> 3", false),
            ("> 3", ">= 3", true),
            (">= 3", ">= 2", true),
            ("<= 3", ">= 3", true),
            ("!= 3", "== 4", false),
            ("!= 3", "<= 3", true),
            ("<= 1%", "<= 1", true),
            ("<= 3", "gone", true),
        ] {
            assert_eq!(is_looser(from, to), looser, "{from} → {to}");
        }
    }
}
