//! The conformance kit of channels: one list of cases that every kind of channel passes, as far as it promises what they
//! are about.
//!
//! ```text
//!  Kind ── set_up ──► Rig: one empty channel ──► Setting ──► case: producers, members, restarts ──► Outcome
//! ```
//! Who brings a kind of his own implements [`Kind`] and [`Rig`] and calls [`run`]. A case sees what a user of the channel sees
//! ([`seaworthy_engine::channel::kind`]), its dead letters, and nothing else. What a kind doesn't promise is reported as not
//! promised, never as passed.

mod cases;
mod hand;
mod item;
pub mod kinds;
mod pen;
mod setting;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use seaworthy_engine::channel::kind::{Channel, Promise};
use seaworthy_engine::env::Clock;
use seaworthy_engine::process::{ChannelOptions, ChannelPlan, GroupPlan, OnPoison, Order};

pub use cases::CASES;
pub use hand::{Answer, Hand};
pub use item::{Item, Taken, items, texts};
pub use pen::Pen;
pub use setting::{Setting, holds, same};

/// What goes wrong beside the channel itself, while it is set up or looked at.
pub type RigError = Box<dyn Error + Send + Sync>;

/// A kind of channel, as the kit needs it: something that can be set up again and again.
pub trait Kind {
    /// Its name in reports.
    fn name(&self) -> &str;
    /// The kit's unit of time, ns: the kit waits for leases of eight beats and takes a beat for long enough to see what comes
    /// at once. A second in virtual time; on a real clock as short as the kind can bear.
    fn beat_ns(&self) -> u64;
    /// An empty channel as `plan` has it.
    ///
    /// # Errors
    /// When it can't be set up; the case then fails.
    fn set_up<'a>(&'a self, plan: &'a ChannelPlan) -> LocalBoxFuture<'a, Result<Box<dyn Rig>, RigError>>;
}

/// A channel that was set up. All of it goes when it is dropped.
pub trait Rig {
    /// The channel, as its users reach it now.
    fn channel(&self) -> Arc<dyn Channel>;
    /// The clock by which its times pass.
    fn clock(&self) -> Arc<dyn Clock>;
    /// Ends what keeps the channel, and starts it again. Asked only of kinds that promise [`Promise::Durable`].
    ///
    /// # Errors
    /// When it doesn't start again.
    fn restart(&mut self, end: End) -> LocalBoxFuture<'_, Result<(), RigError>>;
    /// All dead letters of the channel, oldest first.
    ///
    /// # Errors
    /// When they can't be read.
    fn dead_letters(&mut self) -> LocalBoxFuture<'_, Result<Vec<Letter>, RigError>>;
}

/// How what keeps a channel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In good order.
    Stop,
    /// As suddenly as the rig can make it: by a power cut, or else by a kill.
    Crash,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its class, as `conflict`.
    pub class: String,
    /// Why, for people.
    pub reason: String,
    /// The packet, byte for byte.
    pub packet: Bytes,
}

/// One case: what is promised, and a function that sees whether it holds.
pub struct Case {
    /// Its name, unique in the kit.
    pub name: &'static str,
    /// What is promised, as a sentence.
    pub says: &'static str,
    /// What a kind must promise for the case to say anything of it.
    pub needs: &'static [Promise],
    /// Changes the options of the channel from [`options`]; `beat_ns` is the kind's.
    pub options: fn(options: &mut ChannelOptions, beat_ns: u64),
    /// Sees whether it holds.
    pub run: for<'a> fn(&'a mut Setting) -> LocalBoxFuture<'a, Result<(), Breach>>,
}

/// What a case saw that it should not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Breach(pub String);

impl Breach {
    /// A breach in these words.
    pub fn new(words: impl Into<String>) -> Breach {
        Breach(words.into())
    }
}

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It doesn't.
    Failed(Breach),
    /// The kind doesn't promise this, and so was not asked.
    NotPromised(Promise),
}

/// What came of a kind: the name of each case, and its outcome, in the kit's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kind's name.
    pub kind: String,
    /// The cases.
    pub outcomes: Vec<(&'static str, Outcome)>,
}

impl Report {
    /// The names of those that failed.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = |(name, outcome): &(&'static str, Outcome)| matches!(outcome, Outcome::Failed(_)).then_some(*name);
        self.outcomes.iter().filter_map(failed).collect()
    }

    /// The names of those that passed.
    #[must_use]
    pub fn passed(&self) -> Vec<&'static str> {
        let passed = |(name, outcome): &(&'static str, Outcome)| (*outcome == Outcome::Passed).then_some(*name);
        self.outcomes.iter().filter_map(passed).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.kind)?;
        for (name, outcome) in &self.outcomes {
            match outcome {
                Outcome::Passed => writeln!(f, "  ok            {name}")?,
                Outcome::Failed(breach) => writeln!(f, "  FAILED        {name}: {breach}")?,
                Outcome::NotPromised(promise) => writeln!(f, "  not promised  {name}: {}", promise.name())?,
            }
        }
        Ok(())
    }
}

/// The channel that cases begin with: two producers, a group of three and a group of one.
#[must_use]
pub fn plan(options: ChannelOptions) -> ChannelPlan {
    let group = |id: &str, members: &[&str]| GroupPlan {
        id: id.to_owned(),
        members: members.iter().map(|member| (*member).to_owned()).collect(),
    };
    ChannelPlan {
        id: "uplink".to_owned(),
        host: "host".to_owned(),
        producers: vec!["edge".to_owned(), "van".to_owned()],
        groups: vec![group("crew", &["ann", "ben", "cay"]), group("audit", &["dot"])],
        options,
    }
}

/// The options that cases begin with: leases of eight beats, waits of one, no order, no end of deliveries.
#[must_use]
pub fn options(beat_ns: u64) -> ChannelOptions {
    ChannelOptions {
        order: Order::None,
        on_poison: OnPoison::Dlq,
        ack_wait_ns: 8 * beat_ns,
        max_ack_pending: 64,
        max_deliver: None,
        backoff_ns: beat_ns,
        backoff_max_ns: 2 * beat_ns,
        dedup_horizon_ns: 3600 * beat_ns,
    }
}

/// Runs every case against a kind, each on a channel of its own.
pub async fn run(kind: &dyn Kind) -> Report {
    let mut outcomes = Vec::with_capacity(CASES.len());
    for case in CASES {
        outcomes.push((case.name, run_case(kind, case).await));
    }
    Report { kind: kind.name().to_owned(), outcomes }
}

/// Runs one case against a kind.
pub async fn run_case(kind: &dyn Kind, case: &Case) -> Outcome {
    let beat_ns = kind.beat_ns();
    let mut options = options(beat_ns);
    (case.options)(&mut options, beat_ns);
    let rig = match kind.set_up(&plan(options)).await {
        Ok(rig) => rig,
        Err(error) => return Outcome::Failed(Breach::new(format!("could not set the channel up: {error}"))),
    };
    let promises = rig.channel().promises();
    if let Some(missing) = case.needs.iter().find(|need| !promises.contains(need)) {
        return Outcome::NotPromised(*missing);
    }
    let mut setting = Setting::new(rig, beat_ns);
    match (case.run)(&mut setting).await {
        Ok(()) => Outcome::Passed,
        Err(breach) => Outcome::Failed(breach),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_a_sentence_and_a_need() {
        let names: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        for case in CASES {
            assert!(!case.needs.is_empty() && !case.says.ends_with('.') && case.says.len() > 20, "{}", case.name);
        }
        for promise in Promise::ALL {
            assert!(CASES.iter().any(|case| case.needs.contains(&promise)), "no case asks for {}", promise.name());
        }
    }
}
