//! Faults of sinks: slow ones.

use super::Controls;
use crate::plan::Action;

/// Switches a fault of a sink; false when it isn't one.
pub(super) fn set(controls: &Controls<'_>, action: &Action, on: bool) -> bool {
    let Action::SinkSlow { sink, add } = action else { return false };
    controls.recorder.sink(sink).set_delay(on.then_some(*add));
    true
}

/// How often that sink was slow or broken so far.
pub(super) fn hits(controls: &Controls<'_>, action: &Action) -> Option<u64> {
    let Action::SinkSlow { sink, .. } = action else { return None };
    Some(controls.recorder.sink(sink).hits())
}
