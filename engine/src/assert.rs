//! Assertions about a run, for the engine and for whoever runs beside it in a world: what must always hold, what should
//! happen at some time, what must never happen.
//!
//! Each is written where it is looked at, and the linker puts all of them into one catalogue, so that a report can also name
//! those that no run reached. Hits go through the probe: nothing is counted in memory that a crash of a simulated host would
//! have to forget. They are for what is worth telling of a run, a few hundred times a second at most; what a program must
//! check before it goes on is `assert!`.
//!
//! ```
//! # use seaworthy_engine::{always, sometimes, env::Probe};
//! # fn look(probe: &dyn Probe, before: u64, after: u64) {
//! always!(probe, "doc.grows", after >= before, "what is durable never becomes less");
//! sometimes!(probe, "doc.stands", after == before, "a sync with nothing to do");
//! # }
//! ```

use crate::env::Probe;
use crate::observe::{Event, What};
use crate::packet::Seq;

#[doc(hidden)]
pub use linkme;

/// What is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It holds whenever it is looked at.
    Always,
    /// It holds at least once over a set of runs.
    Sometimes,
    /// It is reached at least once over a set of runs.
    Reachable,
    /// It is never reached.
    Unreachable,
}

/// One assertion of the catalogue.
#[derive(Debug)]
pub struct Assertion {
    /// Its name, unique, such as `journal.recycled`.
    pub id: &'static str,
    /// What is claimed.
    pub claim: Claim,
    /// What it is about, in words.
    pub says: &'static str,
    /// The file that it is written in.
    pub file: &'static str,
    /// The line there.
    pub line: u32,
}

/// All assertions that are linked into this program, in no order.
#[linkme::distributed_slice]
pub static CATALOGUE: [Assertion];

/// All of them, sorted by id.
#[must_use]
pub fn catalogue() -> Vec<&'static Assertion> {
    let mut all: Vec<&Assertion> = CATALOGUE.iter().collect();
    all.sort_by_key(|assertion| assertion.id);
    all
}

/// Tells the probe that an assertion was looked at.
#[doc(hidden)]
pub fn look(probe: &dyn Probe, assertion: &'static Assertion, held: bool) {
    if probe.hears() {
        let what = What::Asserted { id: assertion.id, held };
        probe.on(&[Event { what, place: assertion.id.into(), identity: None, seq: Seq(0), attempt: 0 }]);
    }
}

/// Puts an assertion into the catalogue, and gives it.
#[doc(hidden)]
#[macro_export]
macro_rules! catalogued {
    ($id:literal, $claim:ident, $says:literal) => {{
        #[expect(unsafe_code, reason = "linkme puts it into a section of the program, and checks its type")]
        #[$crate::assert::linkme::distributed_slice($crate::assert::CATALOGUE)]
        #[linkme(crate = $crate::assert::linkme)]
        static ASSERTION: $crate::assert::Assertion = $crate::assert::Assertion {
            id: $id,
            claim: $crate::assert::Claim::$claim,
            says: $says,
            file: file!(),
            line: line!(),
        };
        &ASSERTION
    }};
}

/// `always!(probe, "id", condition, "what it says")`: must hold whenever it is looked at. Where it doesn't, the run has failed;
/// the program goes on.
#[macro_export]
macro_rules! always {
    ($probe:expr, $id:literal, $holds:expr, $says:literal) => {
        $crate::assert::look($probe, $crate::catalogued!($id, Always, $says), $holds)
    };
}

/// `sometimes!(probe, "id", condition, "what it says")`: should hold at least once over a set of runs.
#[macro_export]
macro_rules! sometimes {
    ($probe:expr, $id:literal, $holds:expr, $says:literal) => {{
        let assertion = $crate::catalogued!($id, Sometimes, $says);
        if $holds {
            $crate::assert::look($probe, assertion, true);
        }
    }};
}

/// `reachable!(probe, "id", "what it says")`: should be reached at least once over a set of runs.
#[macro_export]
macro_rules! reachable {
    ($probe:expr, $id:literal, $says:literal) => {
        $crate::assert::look($probe, $crate::catalogued!($id, Reachable, $says), true)
    };
}

/// `seaworthy_engine::unreachable!(probe, "id", "what it says")`: where it is reached, the run has failed. Other than the one of
/// the standard library it lets the program go on.
#[macro_export]
macro_rules! unreachable {
    ($probe:expr, $id:literal, $says:literal) => {
        $crate::assert::look($probe, $crate::catalogued!($id, Unreachable, $says), false)
    };
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<What>>);

    impl Probe for Heard {
        fn on(&self, events: &[Event]) {
            self.0.lock().expect("one thread").extend(events.iter().map(|event| event.what.clone()));
        }
    }

    fn all(probe: &dyn Probe, holds: bool) {
        always!(probe, "test.always", holds, "a");
        sometimes!(probe, "test.sometimes", holds, "b");
        reachable!(probe, "test.reachable", "c");
        if !holds {
            crate::unreachable!(probe, "test.never", "d");
        }
    }

    #[test]
    fn what_is_looked_at_is_heard() {
        let heard = Heard::default();
        all(&heard, true);
        all(&heard, false);
        let said = |id, held| What::Asserted { id, held };
        let expected = [
            said("test.always", true),
            said("test.sometimes", true),
            said("test.reachable", true),
            said("test.always", false),
            said("test.reachable", true),
            said("test.never", false),
        ];
        assert_eq!(*heard.0.lock().expect("one thread"), expected);
    }

    #[test]
    fn the_catalogue_knows_each_once_reached_or_not() {
        let all = catalogue();
        let of =
            |id| all.iter().filter(|assertion| assertion.id == id).map(|assertion| assertion.claim).collect::<Vec<_>>();
        assert_eq!(of("test.never"), [Claim::Unreachable]);
        assert_eq!(of("test.sometimes"), [Claim::Sometimes]);
        assert!(all.windows(2).all(|two| two[0].id < two[1].id), "two assertions have one id");
    }
}
