//! Sabotages: deliberate breaches by the world around the system, each to see one check fail. The kinds of a scenario
//! (`scenario::kinds::SABOTAGES`) and the list below are the same.

use super::lane::LaneFault;
use super::{Controls, disk};
use crate::plan::{Action, DiskOp};
use crate::sim::lies::Lie;
use crate::sim::sink::Breach;
use crate::system::Offered;

/// What is broken, and by whom.
#[derive(Clone, Copy)]
enum Sabotage {
    /// The outside system behind a sink.
    Effect(Breach),
    /// A sink that takes nothing.
    Stuck,
    /// The border: an offer is answered, and the system never gets it.
    Swallow,
    Reject,
    /// A host's probe.
    Probe(Lie),
    /// A host's disk.
    LyingSync,
    FailingSync,
    Rot,
    /// The peer in the middle of a lane.
    ForgeAck,
}

fn parse(action: &Action) -> Option<(Sabotage, &str)> {
    let Action::Sabotage { breach, on } = action else { return None };
    let sabotage = match breach.as_str() {
        "lose_effect" => Sabotage::Effect(Breach::Lose),
        "duplicate_effect" => Sabotage::Effect(Breach::Duplicate),
        "reorder_effect" => Sabotage::Effect(Breach::Reorder),
        "corrupt_effect" => Sabotage::Effect(Breach::Corrupt),
        "unexpected_effect" => Sabotage::Effect(Breach::Unexpected),
        "stuck_sink" => Sabotage::Stuck,
        "swallow_offer" => Sabotage::Swallow,
        "reject_offer" => Sabotage::Reject,
        "repeat_committed" => Sabotage::Probe(Lie::RepeatCommitted),
        "repeat_settled" => Sabotage::Probe(Lie::RepeatSettled),
        "repeat_refused" => Sabotage::Probe(Lie::RepeatRefused),
        "repeat_granted" => Sabotage::Probe(Lie::RepeatGranted),
        "grant_settled" => Sabotage::Probe(Lie::GrantSettled),
        "settle_expired" => Sabotage::Probe(Lie::SettleExpired),
        "expire_early" => Sabotage::Probe(Lie::ExpireEarly),
        "grant_expired" => Sabotage::Probe(Lie::GrantExpired),
        "grant_parked" => Sabotage::Probe(Lie::GrantParked),
        "drop_newest" => Sabotage::Probe(Lie::DropNewest),
        "give_up_early" => Sabotage::Probe(Lie::GiveUpEarly),
        "hide_settles" => Sabotage::Probe(Lie::HideSettles),
        "hide_freed" => Sabotage::Probe(Lie::HideFreed),
        "repeat_joined" => Sabotage::Probe(Lie::RepeatJoined),
        "hide_refusals" => Sabotage::Probe(Lie::HideRefusals),
        "admit_fenced" => Sabotage::Probe(Lie::AdmitFenced),
        "break_assertion" => Sabotage::Probe(Lie::BreakAssertion),
        "panic" => Sabotage::Probe(Lie::Panic),
        "lying_sync" => Sabotage::LyingSync,
        "failing_sync" => Sabotage::FailingSync,
        "rot" => Sabotage::Rot,
        "forge_ack" => Sabotage::ForgeAck,
        _ => return None,
    };
    Some((sabotage, on))
}

/// Whether it goes on until it is healed, also beyond the end of the load; the others strike and are spent.
pub(super) fn lasts(action: &Action) -> bool {
    matches!(parse(action), Some((Sabotage::Stuck | Sabotage::LyingSync | Sabotage::ForgeAck, _)))
}

/// Switches a sabotage; false when it isn't one.
pub(super) fn set(controls: &Controls<'_>, action: &Action, on: bool) -> bool {
    let Some((sabotage, target)) = parse(action) else { return false };
    let recorder = controls.recorder;
    match sabotage {
        Sabotage::Effect(breach) => recorder.sink(target).set_breach(breach, on),
        Sabotage::Stuck => recorder.sink(target).set_stuck(on),
        Sabotage::Swallow => recorder.set_steal(target, on.then_some(Offered::Accepted)),
        Sabotage::Reject => {
            recorder.set_steal(target, on.then(|| Offered::Rejected { reason: "sabotage".to_owned() }));
        }
        Sabotage::Probe(lie) => recorder.set_lie(target, lie, on),
        Sabotage::LyingSync => controls.machine(target).into_iter().for_each(|machine| machine.disk.set_lying_sync(on)),
        Sabotage::FailingSync => {
            let eio = on.then_some((DiskOp::Sync, 1_000_000));
            controls.machine(target).into_iter().for_each(|machine| machine.disk.set_eio(eio));
        }
        Sabotage::Rot if on => disk::rot(controls, target, disk::Rot::Foul),
        Sabotage::Rot => {}
        Sabotage::ForgeAck => controls.lanes.into_iter().for_each(|lanes| lanes.set(target, LaneFault::Forge, on)),
    }
    true
}

/// How often something went wrong there so far.
pub(super) fn hits(controls: &Controls<'_>, action: &Action) -> Option<u64> {
    let (sabotage, target) = parse(action)?;
    let disk = || controls.machine(target).map(|machine| machine.disk.fault_hits()).unwrap_or_default();
    Some(match sabotage {
        Sabotage::Effect(_) | Sabotage::Stuck => controls.recorder.sink(target).hits(),
        Sabotage::Swallow | Sabotage::Reject => controls.recorder.stolen(target),
        Sabotage::Probe(lie) => controls.recorder.lies(target, lie),
        Sabotage::LyingSync => disk().lying,
        Sabotage::FailingSync => disk().eio,
        Sabotage::Rot => disk().rot,
        Sabotage::ForgeAck => controls.lanes.map_or(0, |lanes| lanes.hits(target, LaneFault::Forge)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::kinds::SABOTAGES;

    #[test]
    fn every_kind_that_a_scenario_may_name_is_one() {
        for kind in SABOTAGES {
            let breach = kind.id.strip_prefix("sabotage.").unwrap().to_owned();
            let action = Action::Sabotage { breach, on: "hub".to_owned() };
            assert!(parse(&action).is_some(), "{}", kind.id);
        }
    }
}
