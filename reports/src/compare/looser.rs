//! What is easier to meet in one result of a scenario than in another.

use std::collections::BTreeSet;

use super::Loosened;
use crate::result::Scenario;
use crate::slo::limit_parts;

/// Expectations that are easier to meet than they were, and seeds that are fewer.
pub(super) fn looser(old: &Scenario, new: &Scenario) -> Vec<Loosened> {
    let mut found = Vec::new();
    for a in &old.expect {
        let to = match new.expect.iter().find(|b| b.what == a.what) {
            None => "gone".to_owned(),
            Some(b) if is_looser(&a.limit, &b.limit) => b.limit.clone(),
            Some(_) => continue,
        };
        found.push(Loosened { scenario: old.id.clone(), what: a.what.clone(), from: a.limit.clone(), to });
    }
    // What the file does not speak of is 0.
    let counts = [
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
    let spoken_of = |what: &str| old.expect.iter().any(|a| a.what == what);
    for b in new.expect.iter().filter(|b| counts.contains(&&*b.what) && !spoken_of(&b.what)) {
        if !["== 0", "<= 0", "== 0%", "<= 0%"].contains(&&*b.limit) {
            let (what, to) = (b.what.clone(), b.limit.clone());
            found.push(Loosened { scenario: old.id.clone(), what, from: "== 0".into(), to });
        }
    }
    let seeds = |scenario: &Scenario| scenario.seeds.iter().map(|seed| seed.seed).collect::<BTreeSet<u64>>();
    let (before, now) = (seeds(old), seeds(new));
    if !before.is_subset(&now) {
        let left = before.intersection(&now).count();
        let (from, to) = (before.len().to_string(), format!("{left} of them"));
        found.push(Loosened { scenario: old.id.clone(), what: "seeds".into(), from, to });
    }
    found
}

fn is_looser(from: &str, to: &str) -> bool {
    if from == to {
        return false;
    }
    match (limit_parts(from), limit_parts(to)) {
        (Some((old_op, a, _)), Some((new_op, b, _))) if old_op == new_op => match old_op {
            "<" | "<=" => b > a,
            ">" | ">=" => b < a,
            _ => true,
        },
        // Another kind of limit can't be told to be as strict.
        _ => true,
    }
}
