//! Sabotages of the probe: events that the system never sent are told in its name, or a call of it ends in a panic.

use std::collections::BTreeSet;

use seaworthy_engine::node::Class;
use seaworthy_engine::observe::{Place, What};
use seaworthy_engine::packet::Epoch;

use super::hosts::HostIndex;

/// What a host's probe makes up, once for each place that gives it a chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// What was committed is committed once more.
    RepeatCommitted,
    /// A settle takes effect once more.
    RepeatSettled,
    /// What a business key told to be a copy is refused once more.
    RepeatRefused,
    /// What was handed out is handed out once more.
    RepeatGranted,
    /// What was settled is handed out.
    GrantSettled,
    /// A lease that ran out settles.
    SettleExpired,
    /// The lease of what was handed out runs out at once.
    ExpireEarly,
    /// What was held by a lease that ran out is handed out at once.
    GrantExpired,
    /// What was given up for too many deliveries is handed out once more.
    GrantParked,
    /// When something was dropped as the oldest, what comes much later was, too.
    DropNewest,
    /// What was handed out is given up, as if that had been once too often.
    GiveUpEarly,
    /// What a sink refused is not told.
    HideRefusals,
    /// What is settled is not told.
    HideSettles,
    /// That a lease is free, as its member has been restarted, is not told.
    HideFreed,
    /// A member joined once more, in the same generation.
    RepeatJoined,
    /// What came over a lane came in the epoch before.
    AdmitFenced,
    /// What is asserted doesn't hold.
    BreakAssertion,
    /// The call panics instead, so the task that made it does.
    Panic,
}

impl Lie {
    /// What is told behind `what`.
    fn after(self, what: &What) -> Option<What> {
        match (self, what) {
            (Lie::RepeatCommitted, What::Committed)
            | (Lie::RepeatSettled, What::Settled { took_effect: true })
            | (Lie::RepeatGranted, What::Granted { .. })
            | (Lie::RepeatJoined, What::Joined { .. }) => Some(what.clone()),
            (Lie::RepeatRefused, What::Refused { reason }) if reason.starts_with("dedup.") => Some(what.clone()),
            (Lie::GrantSettled, What::Settled { took_effect: true }) => Some(What::Granted { to: None }),
            (Lie::SettleExpired, What::Refused { reason }) if **reason == *"lease.expired" => {
                Some(What::Settled { took_effect: true })
            }
            (Lie::ExpireEarly, What::Granted { .. }) => Some(What::Refused { reason: "lease.expired".into() }),
            (Lie::GrantExpired, What::Refused { reason }) if **reason == *"lease.expired" => {
                Some(What::Granted { to: None })
            }
            (Lie::GrantParked, What::DeadLettered { reason }) if **reason == *Class::AttemptsExhausted.name() => {
                Some(What::Granted { to: None })
            }
            (Lie::DropNewest, What::Dropped { .. }) => Some(what.clone()),
            (Lie::GiveUpEarly, What::Granted { .. }) => {
                Some(What::DeadLettered { reason: Class::AttemptsExhausted.name().into() })
            }
            (Lie::AdmitFenced, What::Admitted { producer, epoch }) => {
                Some(What::Admitted { producer: producer.clone(), epoch: Epoch(epoch.0 - 1) })
            }
            (Lie::BreakAssertion, What::Asserted { id, held: true }) => Some(What::Asserted { id, held: false }),
            _ => None,
        }
    }
}

/// How much higher than the event's number that of a lie is: what was not dropped comes much later.
pub(crate) fn ahead(lie: &What) -> u64 {
    if matches!(lie, What::Dropped { .. }) { 1_000 } else { 0 }
}

/// The lies of all hosts.
#[derive(Default)]
pub(crate) struct Lies {
    armed: BTreeSet<(HostIndex, Lie)>,
    told: BTreeSet<(HostIndex, Lie, Place)>,
    panics: u64,
}

impl Lies {
    pub fn set(&mut self, host: HostIndex, lie: Lie, on: bool) {
        let _changed = if on { self.armed.insert((host, lie)) } else { self.armed.remove(&(host, lie)) };
    }

    /// How many lies of that kind the host has told.
    pub fn hits(&self, host: HostIndex, lie: Lie) -> u64 {
        match lie {
            Lie::Panic => self.panics,
            _ => self.told.iter().filter(|told| (told.0, told.1) == (host, lie)).count() as u64,
        }
    }

    /// Whether this call is to panic; asked once for each call.
    pub fn panics(&mut self, host: HostIndex) -> bool {
        let panics = self.armed.remove(&(host, Lie::Panic));
        self.panics += u64::from(panics);
        panics
    }

    /// Whether an event of a host is not told at all.
    pub fn hides(&mut self, host: HostIndex, place: &Place, what: &What) -> bool {
        // Almost always there is nothing to hide, and this is called for every event.
        if self.armed.is_empty() {
            return false;
        }
        let lie = match what {
            What::Refused { reason } if **reason == *Class::SinkUnavailable.name() => Lie::HideRefusals,
            What::Refused { reason } if **reason == *"lease.member_gone" => Lie::HideFreed,
            What::Settled { took_effect: true } => Lie::HideSettles,
            _ => return false,
        };
        let hides = self.armed.contains(&(host, lie));
        if hides {
            self.told.insert((host, lie, place.clone()));
        }
        hides
    }

    /// What to tell behind an event of a host.
    pub fn behind(&mut self, host: HostIndex, place: &Place, what: &What) -> Vec<What> {
        // Almost always there is nothing to make up, and this is called for every event.
        if self.armed.is_empty() {
            return Vec::new();
        }
        let lies: Vec<Lie> = self.armed.iter().filter(|armed| armed.0 == host).map(|armed| armed.1).collect();
        let tell = |lie: Lie| {
            let told = lie.after(what)?;
            self.told.insert((host, lie, place.clone())).then_some(told)
        };
        lies.into_iter().filter_map(tell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: What = What::Settled { took_effect: true };

    #[test]
    fn a_lie_is_told_once_at_each_place() {
        let mut lies = Lies::default();
        let (up, down): (Place, Place) = ("up".into(), "down".into());
        assert_eq!(lies.behind(1, &up, &SETTLED), []);
        lies.set(1, Lie::GrantSettled, true);
        assert_eq!(lies.behind(0, &up, &SETTLED), []);
        assert_eq!(lies.behind(1, &up, &What::Settled { took_effect: false }), []);
        assert_eq!(lies.behind(1, &up, &SETTLED), [What::Granted { to: None }]);
        assert_eq!(lies.behind(1, &up, &SETTLED), []);
        assert_eq!(lies.behind(1, &down, &SETTLED), [What::Granted { to: None }]);
        lies.set(1, Lie::GrantSettled, false);
        assert_eq!(lies.behind(1, &"else".into(), &SETTLED), []);
        assert_eq!((lies.hits(1, Lie::GrantSettled), lies.hits(0, Lie::GrantSettled)), (2, 0));
    }

    #[test]
    fn a_panic_strikes_one_call() {
        let mut lies = Lies::default();
        lies.set(0, Lie::Panic, true);
        assert_eq!([lies.panics(1), lies.panics(0), lies.panics(0)], [false, true, false]);
        assert_eq!(lies.hits(0, Lie::Panic), 1);
    }
}
