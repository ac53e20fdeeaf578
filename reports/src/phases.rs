//! Phases of a seed, and what is counted in each: an event belongs to the phase in which it was due, and to the drain as
//! well when it came after the load's end.

use std::collections::BTreeMap;
use std::fmt;

use crate::histogram::{Latency, Percentile};
use crate::recovery::Group;
use crate::result::{self, Figure, LatencyMs};
use crate::run::{Answer, EventRun, Fate, SeedRun};

/// A phase. Fault groups are named by the ids of their faults, in order of the scenario.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything; latency without the warm-up.
    All,
    /// From the start to the end of the warm-up.
    Warmup,
    /// Neither warm-up nor fault nor recovery, while the load lasts.
    Steady,
    /// From the first start to the last heal of overlapping faults.
    Fault(Vec<String>),
    /// From that heal until events come in time again.
    Recovery(Vec<String>),
    /// What became visible after the load's end; such an event counts in the phase of its arrival as well.
    Drain,
}

impl Phase {
    /// Whether this phase of a run is meant by `asked`: a fault group is meant by each set of its faults.
    #[must_use]
    pub fn meant_by(&self, asked: &Phase) -> bool {
        match (self, asked) {
            (Phase::Fault(group), Phase::Fault(ids)) | (Phase::Recovery(group), Phase::Recovery(ids)) => {
                ids.iter().all(|id| group.contains(id))
            }
            _ => self == asked,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::All => write!(f, "all"),
            Phase::Warmup => write!(f, "warmup"),
            Phase::Steady => write!(f, "steady"),
            Phase::Fault(ids) => write!(f, "fault({})", ids.join("+")),
            Phase::Recovery(ids) => write!(f, "recovery({})", ids.join("+")),
            Phase::Drain => write!(f, "drain"),
        }
    }
}

/// The phase of each instant of a seed.
pub struct Timeline<'a> {
    warmup_ns: u64,
    load_end_ns: u64,
    groups: &'a [Group],
}

impl<'a> Timeline<'a> {
    /// The phases of `run`, whose fault groups are `groups`.
    #[must_use]
    pub fn new(run: &SeedRun, groups: &'a [Group]) -> Timeline<'a> {
        Timeline { warmup_ns: run.warmup_ns, load_end_ns: run.load_end_ns, groups }
    }

    /// The phase at `ns`; a fault wins over warm-up and drain. Never [`Phase::All`].
    #[must_use]
    pub fn at(&self, ns: u64) -> Phase {
        for group in self.groups.iter().rev() {
            if (group.from_ns..group.heal_ns).contains(&ns) {
                return Phase::Fault(group.faults.clone());
            }
            if (group.heal_ns..group.over_ns).contains(&ns) {
                return Phase::Recovery(group.faults.clone());
            }
        }
        match ns {
            _ if ns < self.warmup_ns => Phase::Warmup,
            _ if ns >= self.load_end_ns => Phase::Drain,
            _ => Phase::Steady,
        }
    }
}

/// Events counted by what became of them. The words are those of `docs/definitions.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the counts are the words of docs/definitions.md, one for one")]
pub struct Counts {
    pub offered: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub indeterminate: u64,
    pub recovered: u64,
    pub visible: u64,
    pub absorbed: u64,
    pub folded: u64,
    pub lost: u64,
    pub lost_reported: u64,
    pub lost_window: u64,
    pub unresolved: u64,
    pub dead_lettered: u64,
    pub shed: u64,
    pub expired: u64,
    pub unexpected: u64,
    pub copies: u64,
    pub duplicates: u64,
    pub raw_copies: u64,
    pub raw_duplicates: u64,
    pub replayed: u64,
    pub worked: u64,
}

impl Counts {
    /// Lost in any of the three ways.
    #[must_use]
    pub fn lost_all(&self) -> u64 {
        self.lost + self.lost_reported + self.lost_window
    }

    fn add_event(&mut self, event: &EventRun) {
        self.offered += 1;
        match event.answer {
            Answer::Accepted => self.accepted += 1,
            Answer::Rejected => self.rejected += 1,
            // What was recovered never got its answer.
            Answer::Indeterminate => self.indeterminate += 1,
            Answer::Recovered => {
                self.indeterminate += 1;
                self.recovered += 1;
            }
        }
        match event.fate() {
            Fate::Absorbed => self.absorbed += u64::from(matches!(event.answer, Answer::Accepted | Answer::Recovered)),
            Fate::Folded => self.folded += 1,
            Fate::Visible => self.visible += 1,
            Fate::DeadLettered => self.dead_lettered += 1,
            Fate::Shed => self.shed += 1,
            Fate::Expired => self.expired += 1,
            Fate::NotTaken => {}
            Fate::Unresolved => self.unresolved += 1,
            Fate::LostReported => self.lost_reported += 1,
            Fate::LostWindow => self.lost_window += 1,
            Fate::Lost => self.lost += 1,
        }
        for at in &event.at {
            self.copies += u64::from(at.copies);
            self.duplicates += u64::from(at.copies.saturating_sub(at.expected));
            self.raw_copies += u64::from(at.raw_copies);
            self.raw_duplicates += u64::from(at.raw_copies.saturating_sub(at.expected));
        }
    }

    fn merge(&mut self, other: &Counts) {
        self.offered += other.offered;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.indeterminate += other.indeterminate;
        self.recovered += other.recovered;
        self.visible += other.visible;
        self.absorbed += other.absorbed;
        self.folded += other.folded;
        self.lost += other.lost;
        self.lost_reported += other.lost_reported;
        self.lost_window += other.lost_window;
        self.unresolved += other.unresolved;
        self.dead_lettered += other.dead_lettered;
        self.shed += other.shed;
        self.expired += other.expired;
        self.unexpected += other.unexpected;
        self.copies += other.copies;
        self.duplicates += other.duplicates;
        self.raw_copies += other.raw_copies;
        self.raw_duplicates += other.raw_duplicates;
        self.replayed += other.replayed;
        self.worked += other.worked;
    }
}

/// What one phase adds up to: counts, and latency a sink at a time.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// The counts.
    pub counts: Counts,
    /// Latency by sink.
    pub latency: BTreeMap<String, Latency>,
    /// From the first attempt to the effect of replayed events, by sink.
    pub replay: BTreeMap<String, Latency>,
}

impl Totals {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Totals) {
        self.counts.merge(&other.counts);
        for (ours, theirs) in [(&mut self.latency, &other.latency), (&mut self.replay, &other.replay)] {
            for (sink, latency) in theirs {
                ours.entry(sink.clone()).or_default().merge(latency);
            }
        }
    }

    /// A percentile of the worst sink, ms.
    #[must_use]
    pub fn worst(&self, percentile: Percentile) -> Figure {
        worst_of(&self.latency, |latency| latency.figure(percentile), percentile)
    }

    /// The same over what came.
    #[must_use]
    pub fn worst_delivered(&self, percentile: Percentile) -> Figure {
        worst_of(&self.latency, |latency| latency.delivered(percentile), percentile)
    }

    /// The same from the first attempt to the effect of replayed events.
    #[must_use]
    pub fn worst_replayed(&self, percentile: Percentile) -> Figure {
        worst_of(&self.replay, |latency| latency.figure(percentile), percentile)
    }

    /// As `result.json` has it.
    #[must_use]
    pub fn to_result(&self) -> result::Phase {
        let c = &self.counts;
        result::Phase {
            offered: c.offered,
            accepted: c.accepted,
            rejected: c.rejected,
            indeterminate: c.indeterminate,
            recovered: c.recovered,
            visible: c.visible,
            absorbed: c.absorbed,
            folded: c.folded,
            lost: c.lost,
            lost_reported: c.lost_reported,
            lost_window: c.lost_window,
            unresolved: c.unresolved,
            dead_lettered: c.dead_lettered,
            shed: c.shed,
            expired: c.expired,
            unexpected: c.unexpected,
            drop_ratio: ratio(c.lost_all() + c.shed + c.expired, c.accepted),
            duplicate_ratio: ratio(c.duplicates, c.copies),
            duplicate_raw_ratio: ratio(c.raw_duplicates, c.raw_copies),
            replay_ratio: ratio(c.replayed, c.worked),
            latency_ms: of_sinks(&self.latency),
            replay_delay_ms: (!self.replay.is_empty()).then(|| of_sinks(&self.replay)),
        }
    }
}

/// A figure of the worst sink.
fn worst_of(sinks: &BTreeMap<String, Latency>, figure: impl Fn(&Latency) -> Figure, percentile: Percentile) -> Figure {
    let none = Figure::na(format!("n < {}", percentile.needs()));
    sinks.values().map(figure).fold(none, Figure::worse)
}

fn of_sinks(sinks: &BTreeMap<String, Latency>) -> LatencyMs {
    let worst = |percentile| worst_of(sinks, |latency| latency.figure(percentile), percentile);
    LatencyMs {
        n: sinks.values().map(Latency::n).max().unwrap_or(0),
        p50: worst(Percentile::P50),
        p95: worst(Percentile::P95),
        p99: worst(Percentile::P99),
        p99_9: worst(Percentile::P999),
        max: worst(Percentile::Max),
        over_seeds: None,
    }
}

/// `part / whole` with six decimals, rounded in integers so that every machine prints the same; 0 of nothing is 0.
#[must_use]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    let millionths = (u128::from(part) * 2_000_000 + u128::from(whole)) / (2 * u128::from(whole));
    millionths as f64 / 1e6
}

/// Adds up a seed, phase by phase. `all`, `warmup`, `steady` and `drain` are there even when empty.
#[must_use]
pub fn totals(run: &SeedRun, groups: &[Group]) -> BTreeMap<Phase, Totals> {
    let timeline = Timeline::new(run, groups);
    let mut phases: BTreeMap<Phase, Totals> =
        [Phase::All, Phase::Warmup, Phase::Steady, Phase::Drain].map(|phase| (phase, Totals::default())).into();
    for group in groups {
        phases.entry(Phase::Fault(group.faults.clone())).or_default();
        phases.entry(Phase::Recovery(group.faults.clone())).or_default();
    }
    for event in &run.events {
        let phase = timeline.at(event.intended_ns);
        let warm = event.intended_ns >= run.warmup_ns;
        let late =
            event.at.iter().any(|at| at.visible_ns.is_some_and(|ns| ns >= run.load_end_ns)) && phase != Phase::Drain;
        let places = [Some((Phase::All, warm)), Some((phase, true)), late.then_some((Phase::Drain, true))];
        for (place, timed) in places.into_iter().flatten() {
            let totals = phases.entry(place).or_default();
            totals.counts.add_event(event);
            for at in event.at.iter().filter(|_| timed) {
                let sink = &run.sinks[at.sink];
                for (sinks, delay) in
                    [(&mut totals.latency, run.delay(event, at)), (&mut totals.replay, run.replay_delay(event, at))]
                {
                    if let Some(delay) = delay {
                        sinks.entry(sink.clone()).or_default().record(delay);
                    }
                }
            }
        }
    }
    for ns in &run.unexpected_ns {
        for place in [Phase::All, timeline.at(*ns)] {
            phases.entry(place).or_default().counts.unexpected += 1;
        }
    }
    for work in &run.work {
        for place in [Phase::All, timeline.at(work.first_ns)] {
            let counts = &mut phases.entry(place).or_default().counts;
            counts.worked += 1;
            counts.replayed += u64::from(work.again);
        }
    }
    phases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::AtSink;

    #[test]
    fn ratios_round_half_up_at_six_decimals() {
        assert_eq!(ratio(0, 0), 0.0);
        assert_eq!(ratio(1, 3), 0.333333);
        assert_eq!(ratio(2, 3), 0.666667);
        assert_eq!(ratio(18, 1000), 0.018);
        assert_eq!(ratio(1, 2_000_000), 0.000001);
    }

    #[test]
    fn an_event_counts_once_with_its_worst_fate_and_a_fault_takes_it_from_steady() {
        let at = |sink, fate, copies| AtSink {
            sink,
            fate,
            visible_ns: (fate == Fate::Visible).then_some(26_000_000),
            expected: 1,
            copies,
            raw_copies: copies,
            planted: false,
            again_ns: None,
        };
        let event = |ms: u64, at| EventRun {
            event: ("edge.feed".into(), ms),
            intended_ns: ms * 1_000_000,
            accepted_ns: Some(ms * 1_000_000),
            answer: Answer::Accepted,
            at,
        };
        let run = SeedRun {
            warmup_ns: 10_000_000,
            load_end_ns: 40_000_000,
            end_ns: 50_000_000,
            drained: true,
            sinks: vec!["hub.raw".into(), "hub.sums".into()],
            events: vec![
                event(5, vec![at(0, Fate::Visible, 1)]),
                event(20, vec![at(0, Fate::Visible, 2), at(1, Fate::Lost, 0)]),
                event(25, vec![at(0, Fate::Visible, 1), at(1, Fate::Folded, 0)]),
            ],
            ..SeedRun::default()
        };
        let groups = [Group {
            faults: vec!["cut".into()],
            from_ns: 18_000_000,
            heal_ns: 22_000_000,
            over_ns: 24_000_000,
            ..Group::default()
        }];
        let phases = totals(&run, &groups);
        let all = phases[&Phase::All].to_result();
        assert_eq!((all.offered, all.accepted, all.visible, all.lost), (3, 3, 2, 1));
        assert_eq!((all.drop_ratio, all.duplicate_ratio), (0.333333, 0.25));
        assert_eq!(all.latency_ms.n, 2, "the warm-up has no latency in `all`");
        assert_eq!(all.latency_ms.max, Figure::never());
        let fault = phases[&Phase::Fault(vec!["cut".into()])].to_result();
        assert_eq!((fault.offered, fault.lost), (1, 1));
        let steady = phases[&Phase::Steady].to_result();
        assert_eq!((steady.offered, steady.lost, steady.latency_ms.max), (1, 0, Figure::v(1.0)));
        assert_eq!(phases[&Phase::Warmup].to_result().latency_ms.p50, Figure::v(21.0));
        assert_eq!(phases[&Phase::Recovery(vec!["cut".into()])].counts.offered, 0);
    }

    #[test]
    fn a_replayed_event_takes_from_its_first_attempt_to_its_effect() {
        let mut run = crate::sample::run(1, |number| (number != 660).then_some(if number % 120 == 0 { 9 } else { 7 }));
        let delays = |run: &SeedRun| {
            let all = totals(run, &[])[&Phase::All].clone();
            (all.to_result().replay_delay_ms, all.worst_replayed(Percentile::P50), all.worst_replayed(Percentile::P95))
        };
        // Of 18 behind the warm-up, which each began again 1 ms after it was due, one was lost.
        let (replayed, p50, p95) = delays(&run);
        let replayed = replayed.expect("some were replayed");
        assert_eq!((replayed.n, replayed.p50, replayed.max), (18, Figure::v(8.0), Figure::never()));
        assert_eq!((p50, p95), (Figure::v(8.0), Figure::na("n < 59")));
        for at in run.events.iter_mut().flat_map(|event| &mut event.at) {
            at.again_ns = None;
        }
        assert_eq!(delays(&run).0, None);
    }

    #[test]
    fn a_group_is_meant_by_each_of_its_faults() {
        let group = Phase::Fault(vec!["flap".into(), "crash".into()]);
        assert!(group.meant_by(&Phase::Fault(vec!["crash".into()])));
        assert!(group.meant_by(&Phase::Fault(vec!["crash".into(), "flap".into()])));
        assert!(!group.meant_by(&Phase::Fault(vec!["disk".into()])));
        assert!(!group.meant_by(&Phase::Recovery(vec!["flap".into()])));
    }
}
