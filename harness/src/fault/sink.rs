//! Faults of sinks: slow ones, ones that are unavailable, and ones that refuse packets for good.

use super::Controls;
use crate::plan::Action;

/// Switches a fault of a sink; false when it isn't one.
pub(super) fn set(controls: &Controls<'_>, action: &Action, on: bool) -> bool {
    match action {
        Action::SinkSlow { sink, add } => controls.recorder.sink(sink).set_delay(on.then_some(*add)),
        Action::SinkError { sink, ratio_ppm } => controls.recorder.sink(sink).set_errors(on.then_some(*ratio_ppm)),
        Action::SinkReject { sink, ratio_ppm } => controls.recorder.sink(sink).set_rejects(on.then_some(*ratio_ppm)),
        _ => return false,
    }
    true
}

/// How often that sink was slow or unavailable, or refused a packet, so far.
pub(super) fn hits(controls: &Controls<'_>, action: &Action) -> Option<u64> {
    Some(match action {
        Action::SinkSlow { sink, .. } => controls.recorder.sink(sink).hits(),
        Action::SinkError { sink, .. } => controls.recorder.sink(sink).errors(),
        Action::SinkReject { sink, .. } => controls.recorder.sink(sink).rejects(),
        _ => return None,
    })
}
