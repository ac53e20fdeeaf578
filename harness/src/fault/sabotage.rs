//! Sabotages at the borders: deliberate breaches at a sink or an entry, each to see one check fail.

use super::Controls;
use crate::plan::Action;
use crate::sim::sink::Breach;

/// What a name stands for.
enum At {
    Once(Breach),
    Stuck,
    Swallow,
}

fn parse(action: &Action) -> Option<(At, &str)> {
    let Action::Sabotage { breach, on } = action else { return None };
    let at = match breach.as_str() {
        "lose_effect" => At::Once(Breach::Lose),
        "duplicate_effect" => At::Once(Breach::Duplicate),
        "reorder_effect" => At::Once(Breach::Reorder),
        "corrupt_effect" => At::Once(Breach::Corrupt),
        "unexpected_effect" => At::Once(Breach::Unexpected),
        "stuck_sink" => At::Stuck,
        "swallow_offer" => At::Swallow,
        _ => return None,
    };
    Some((at, on))
}

/// Switches a sabotage of a sink or an entry; false when it isn't one.
pub(super) fn set(controls: &Controls<'_>, action: &Action, on: bool) -> bool {
    let Some((at, on_what)) = parse(action) else { return false };
    let sink = controls.recorder.sink(on_what);
    match at {
        At::Once(breach) => sink.set_breach(breach, on),
        At::Stuck => sink.set_stuck(on),
        At::Swallow => controls.recorder.set_swallow(on_what, on),
    }
    true
}

/// How often something went wrong there so far.
pub(super) fn hits(controls: &Controls<'_>, action: &Action) -> Option<u64> {
    let (at, on_what) = parse(action)?;
    Some(match at {
        At::Swallow => controls.recorder.swallowed(on_what),
        At::Once(_) | At::Stuck => controls.recorder.sink(on_what).hits(),
    })
}
