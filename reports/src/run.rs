//! What one seed hands to the reports: plain data, already judged, times in nanoseconds of one clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One seed, start to end.
#[derive(Clone, Debug, Default)]
pub struct SeedRun {
    /// The seed.
    pub seed: u64,
    /// Hash of the trace, as hexadecimal text.
    pub trace_hash: String,
    /// End of the warm-up.
    pub warmup_ns: u64,
    /// End of the load.
    pub load_end_ns: u64,
    /// End of the run.
    pub end_ns: u64,
    /// Whether everything was quiet at the end; if not, what is missing may only be late.
    pub drained: bool,
    /// The grain of its times; 0 where they have none.
    pub tick_ns: u64,
    /// Packets that the system handles in one batch: how far a backlog may differ and still be the same.
    pub batch: u64,
    /// Sinks as `host.node`; [`AtSink::sink`] is an index into it.
    pub sinks: Vec<String>,
    /// Events of the load in order of intended arrival.
    pub events: Vec<EventRun>,
    /// When effects were seen that nobody expected.
    pub unexpected_ns: Vec<u64>,
    /// Work per distinct (stage, event).
    pub work: Vec<Work>,
    /// Steps of faults that took effect, in any order. A fault that did nothing isn't one.
    pub faults: Vec<FaultRun>,
    /// When the system itself said that something is not as usual, in order.
    pub noticed_ns: Vec<u64>,
    /// Ids of the scenario's faults in order of the file; overlapping faults are named in this order.
    pub fault_order: Vec<String>,
    /// Broken promises.
    pub violations: Vec<Broken>,
    /// `[[sometimes]]` conditions and how often each was reached, in order of the file.
    pub sometimes: Vec<(String, u64)>,
    /// Faults that begin when a condition holds, and what came of it, in words; and how near `[[sometimes]]` came that never held.
    pub waited: Vec<(String, String)>,
    /// Assertions in the code that should be reached, sorted by id, and how often each was.
    pub assertions: Vec<(String, u64)>,
    /// The same seed without the faults of a group, for groups whose recovery is to be measured beside it.
    pub twins: Vec<Twin>,
    /// Where the time of its events went, a sink at a time.
    pub waterfalls: Vec<Waterfall>,
    /// Processor time that it took on a real machine, ns; the load and the recording are in it.
    pub cpu_ns: Option<u64>,
}

/// Where the time of events went on their way to one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waterfall {
    /// The sink, as `host.node`.
    pub sink: String,
    /// Events that became visible there as they came in.
    pub events: u64,
    /// The stages in order of the way; together the latencies of all those events.
    pub stages: Vec<Stage>,
}

/// One stage of the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// Its name: a node, or what a channel did.
    pub stage: String,
    /// What its time went into. A stage of which a part went into something else is there once for each.
    pub kind: Kind,
    /// Time in it, over all events, ns.
    pub ns: u64,
}

/// What the time of a stage goes into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Waiting to be taken.
    Queue,
    /// Being worked on: a node, a journal, a sink.
    #[default]
    Service,
    /// On the way to another host.
    Link,
    /// Work that had been begun before: from the first attempt to the last.
    Retry,
}

impl Kind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Kind; 4] = [Kind::Queue, Kind::Service, Kind::Link, Kind::Retry];

    /// As results have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Queue => "queue",
            Kind::Service => "service",
            Kind::Link => "link",
            Kind::Retry => "retry",
        }
    }
}

/// An event of the load: its entry, and its number there.
pub type EventName = (Arc<str>, u64);

/// A seed run again without the faults of one group, all else equal: when its events came.
#[derive(Clone, Debug, Default)]
pub struct Twin {
    /// The faults that it is without, as the group names them.
    pub faults: Vec<String>,
    /// The delays of each event of the load: the sink, and how late it came there.
    pub delays: BTreeMap<EventName, Vec<(usize, Delay)>>,
    /// From here on it says nothing of events, by their intended arrival; `u64::MAX` for a whole one.
    pub until_ns: u64,
}

impl Twin {
    /// What a run without `faults` says, whose load ended at `end_ns` where it ended early. What was still under way then came
    /// otherwise than it would have.
    #[must_use]
    pub fn of(run: &SeedRun, faults: Vec<String>, end_ns: Option<u64>) -> Twin {
        let of = |event: &EventRun| event.at.iter().filter_map(|at| Some((at.sink, run.delay(event, at)?))).collect();
        let delays: Vec<Vec<(usize, Delay)>> = run.events.iter().map(of).collect();
        let named = |delays: Vec<_>| run.events.iter().map(|event| event.event.clone()).zip(delays).collect();
        let until_ns = end_ns.map_or(u64::MAX, |end_ns| {
            let came = |event: &EventRun, (_, delay): &(usize, Delay)| {
                matches!(delay, Delay::After(ns) if event.intended_ns.saturating_add(*ns) < end_ns)
            };
            let under_way = run.events.iter().zip(&delays).filter(|(event, at)| !at.iter().all(|at| came(event, at)));
            under_way.map(|(event, _)| event.intended_ns).min().unwrap_or(end_ns).min(end_ns)
        });
        Twin { faults, delays: named(delays), until_ns }
    }
}

/// What the border answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Taken durably.
    Accepted,
    /// Refused for good.
    Rejected,
    /// No answer came, and nothing of the event was ever seen.
    Indeterminate,
    /// No answer came, yet it was seen at a sink.
    Recovered,
}

/// One event of the load.
#[derive(Clone, Debug)]
pub struct EventRun {
    /// Which event of the load it is. A twin has the same.
    pub event: EventName,
    /// When it was meant to arrive.
    pub intended_ns: u64,
    /// When it was taken durably.
    pub accepted_ns: Option<u64>,
    /// What the border answered.
    pub answer: Answer,
    /// What became of it, a sink at a time: every sink that its entry can reach.
    pub at: Vec<AtSink>,
}

/// What became of an event at a sink that it can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Ended in a filter, as it should.
    Absorbed,
    /// Lives on in a window's output, or in a window that is still open.
    Folded,
    /// All expected copies are there.
    Visible,
    /// Became a dead letter.
    DeadLettered,
    /// Dropped by a named rule.
    Shed,
    /// Dropped as too old.
    Expired,
    /// Never taken by the system: rejected, or never answered and never seen.
    NotTaken,
    /// Still in flight at the end.
    Unresolved,
    /// Lost, and the system reported exactly that.
    LostReported,
    /// Lost within the declared window of a weaker durability.
    LostWindow,
    /// Lost without a word.
    Lost,
}

/// An event at a sink.
#[derive(Clone, Copy, Debug)]
pub struct AtSink {
    /// Index into [`SeedRun::sinks`].
    pub sink: usize,
    /// What became of it.
    pub fate: Fate,
    /// When its last expected copy became visible; set exactly when `fate` is [`Fate::Visible`].
    pub visible_ns: Option<u64>,
    /// Copies that were expected.
    pub expected: u32,
    /// Copies that the outside system holds.
    pub copies: u32,
    /// Copies that reached it, before a sink that declares itself idempotent took repeats out.
    pub raw_copies: u32,
    /// Planted to fail: expected as a dead letter, so it has no latency.
    pub planted: bool,
    /// When that work on the event began which was done again later; `None` where none was, by the time it became visible.
    pub again_ns: Option<u64>,
}

/// How often a stage worked on an event.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// When it first did.
    pub first_ns: u64,
    /// How many times more.
    pub again: u32,
}

/// A step of a fault, as it came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRun {
    /// The fault's id in the scenario.
    pub id: String,
    /// Start.
    pub from_ns: u64,
    /// Heal.
    pub to_ns: u64,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The check, e.g. `lost`.
    pub check: String,
    /// What was seen, in one line.
    pub message: String,
    /// When it could first be seen.
    pub at_ns: u64,
}

impl EventRun {
    /// What counts for the event as a whole: the worst of its sinks. `Absorbed` when it reaches none.
    #[must_use]
    pub fn fate(&self) -> Fate {
        self.at.iter().map(|at| at.fate).max().unwrap_or(Fate::Absorbed)
    }
}

/// A delay from intended arrival to visibility, as a percentile counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delay {
    /// It came after so many ns.
    After(u64),
    /// It had not come when the run ended; it had been waited for so many ns.
    Open(u64),
    /// It will never come.
    Never,
}

impl SeedRun {
    /// The delay of `event` at one of its sinks; `None` where none is due: absorbed, folded, planted to fail.
    #[must_use]
    pub fn delay(&self, event: &EventRun, at: &AtSink) -> Option<Delay> {
        self.since(event.intended_ns, event, at)
    }

    /// How long after the first attempt a replayed event took effect at one of its sinks; `None` where it was not replayed, or none
    /// is due.
    #[must_use]
    pub fn replay_delay(&self, event: &EventRun, at: &AtSink) -> Option<Delay> {
        self.since(at.again_ns?, event, at)
    }

    /// From `from_ns` to the effect of an event.
    fn since(&self, from_ns: u64, event: &EventRun, at: &AtSink) -> Option<Delay> {
        match at.fate {
            Fate::Absorbed | Fate::Folded => None,
            Fate::DeadLettered if at.planted => None,
            Fate::Visible => {
                let visible = at.visible_ns.expect("a visible event has the time at which it became visible");
                // A clock may step back between the two readings; a negative delay is none.
                Some(Delay::After(visible.saturating_sub(from_ns)))
            }
            Fate::Unresolved => Some(Delay::Open(self.end_ns.saturating_sub(from_ns))),
            Fate::NotTaken if event.answer == Answer::Indeterminate && !self.drained => {
                Some(Delay::Open(self.end_ns.saturating_sub(from_ns)))
            }
            _ => Some(Delay::Never),
        }
    }
}
