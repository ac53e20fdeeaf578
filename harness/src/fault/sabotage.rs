//! Sabotages of effects: deliberate breaches at a sink, each to see one check fail.

use super::Controls;
use crate::plan::Action;
use crate::sim::sink::Breach;

/// What a name stands for at a sink.
enum At {
    Once(Breach),
    Stuck,
}

fn parse(action: &Action) -> Option<(At, &str)> {
    let Action::Sabotage { breach, on } = action else { return None };
    let at = match breach.as_str() {
        "lose_effect" => At::Once(Breach::Lose),
        "duplicate_effect" => At::Once(Breach::Duplicate),
        "reorder_effects" => At::Once(Breach::Reorder),
        "corrupt_effect" => At::Once(Breach::Corrupt),
        "unexpected_effect" => At::Once(Breach::Unexpected),
        "stuck_sink" => At::Stuck,
        _ => return None,
    };
    Some((at, on))
}

/// Switches a sabotage of a sink; false when it isn't one.
pub(super) fn set(controls: &Controls<'_>, action: &Action, on: bool) -> bool {
    let Some((at, sink)) = parse(action) else { return false };
    let sink = controls.recorder.sink(sink);
    match at {
        At::Once(breach) => sink.set_breach(breach, on),
        At::Stuck => sink.set_stuck(on),
    }
    true
}

/// How often that sink was slow or broken so far.
pub(super) fn hits(controls: &Controls<'_>, action: &Action) -> Option<u64> {
    let (_, sink) = parse(action)?;
    Some(controls.recorder.sink(sink).hits())
}
