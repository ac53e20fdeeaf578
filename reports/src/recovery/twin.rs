//! Recovery beside the twin: the same seed without the faults of a group, all else equal. What an event comes later than
//! there is what those faults cost, exactly.

use super::{Group, Outcome, Track, WINDOW_EVENTS, WINDOW_NS, band_of, over_ns, worst};
use crate::run::{Delay, EventRun, SeedRun, Twin};

/// An event at a sink, here and in the twin.
struct Pair {
    intended_ns: u64,
    /// So much later is in time.
    band_ns: u64,
    here: Delay,
    there: Delay,
}

impl Pair {
    /// Whether it comes no later than in the twin, give or take the band. What the twin doesn't bring is no cost of this group.
    fn is_in_time(&self) -> bool {
        match (self.here, self.there) {
            (Delay::After(here), Delay::After(there)) => here <= there.saturating_add(self.band_ns),
            (_, Delay::Open(_) | Delay::Never) => true,
            _ => false,
        }
    }
}

/// Measures a group against its twin, if it has one: until when its events are late, and by how much together. A twin that
/// ended too early to tell is as good as none.
pub(super) fn beside(run: &SeedRun, group: Group, limit_ns: u64) -> Group {
    let Some(twin) = run.twins.iter().find(|twin| twin.faults == group.faults) else { return group };
    let sinks: Vec<Vec<Pair>> = (0..run.sinks.len()).map(|sink| pairs(run, twin, sink)).collect();
    if twin.until_ns <= limit_ns && !sinks.iter().all(|pairs| is_told(pairs, group.heal_ns, twin.until_ns)) {
        return group;
    }
    // A group is over when it is steady by its own measure. Where that is so, and the next one begins before the twin has a whole
    // window to say it, half of one is enough.
    let least_ns = if matches!(group.steady, Outcome::After(_)) { WINDOW_NS / 2 } else { WINDOW_NS };
    let steady = worst(&sinks, |pairs| steady(pairs, group.heal_ns, limit_ns.min(twin.until_ns), least_ns));
    let over_ns = over_ns(&steady, group.heal_ns, limit_ns);
    let deficit = worst(&sinks, |pairs| deficit(pairs, group.from_ns, over_ns)).until(&steady);
    Group { steady, over_ns, deficit, by_twin: true, ..group }
}

/// Whether a sink is seen to be steady so early that a whole twin would say the same: its window ends before `until_ns`.
fn is_told(pairs: &[Pair], heal_ns: u64, until_ns: u64) -> bool {
    let ends = |ns: u64| heal_ns.saturating_add(ns).saturating_add(WINDOW_NS);
    // A sink that no event is due at says nothing either way.
    pairs.is_empty() || matches!(steady(pairs, heal_ns, until_ns, WINDOW_NS), Outcome::After(ns) if ends(ns) < until_ns)
}

/// By when the load of a group's twin may end: events come as the warm-up's did, over the longer of the two windows and half
/// as long again. A guess, as only the twin says how they come there; `None` for a whole twin.
pub(super) fn end_ns(run: &SeedRun, group: &Group) -> Option<u64> {
    let mut end_ns = None;
    for sink in 0..run.sinks.len() {
        let due = |event: &EventRun| event.at.iter().any(|at| at.sink == sink && run.delay(event, at).is_some());
        if !run.events.iter().any(due) {
            continue;
        }
        let Track { due, band_ns, .. } = Track::of(run, sink)?;
        let there = Delay::After(band_ns - band_of(run));
        let pair = |(intended_ns, here)| Pair { intended_ns, band_ns: band_of(run), here, there };
        let pairs: Vec<Pair> = due.into_iter().map(pair).collect();
        let Outcome::After(ns) = steady(&pairs, group.heal_ns, run.load_end_ns, WINDOW_NS) else { return None };
        let begin_ns = group.heal_ns + ns;
        let first = pairs.partition_point(|pair| pair.intended_ns < begin_ns);
        let window_ns = (pairs.get(first + WINDOW_EVENTS)?.intended_ns - begin_ns).max(WINDOW_NS);
        end_ns = end_ns.max(Some(begin_ns + window_ns / 2 * 3));
    }
    end_ns.filter(|end_ns| *end_ns < run.load_end_ns)
}

fn pairs(run: &SeedRun, twin: &Twin, sink: usize) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    for event in &run.events {
        let Some(there) = twin.delays.get(&event.event) else { continue };
        let here = event.at.iter().find(|at| at.sink == sink).and_then(|at| run.delay(event, at));
        let there = there.iter().find(|(at, _)| *at == sink).map(|(_, delay)| *delay);
        if let (Some(here), Some(there)) = (here, there)
            && event.intended_ns < twin.until_ns
        {
            pairs.push(Pair { intended_ns: event.intended_ns, band_ns: band_of(run), here, there });
        }
    }
    pairs.sort_by_key(|pair| pair.intended_ns);
    pairs
}

/// The first instant from the heal on from which, over the longer of the two windows, each event comes in time; or from which all
/// that is left does, where that is no shorter than `least_ns`.
fn steady(pairs: &[Pair], heal_ns: u64, limit_ns: u64, least_ns: u64) -> Outcome {
    let end = pairs.partition_point(|pair| pair.intended_ns < limit_ns);
    let mut start = pairs.partition_point(|pair| pair.intended_ns < heal_ns);
    let mut begin_ns = heal_ns;
    let mut was_late = false;
    while begin_ns.saturating_add(WINDOW_NS) <= limit_ns && start + WINDOW_EVENTS <= end {
        let long = pairs.partition_point(|pair| pair.intended_ns <= begin_ns + WINDOW_NS).min(end);
        let upto = long.max(start + WINDOW_EVENTS);
        let Some(late) = pairs[start..upto].iter().rposition(|pair| !pair.is_in_time()) else {
            return Outcome::After(begin_ns - heal_ns);
        };
        was_late = true;
        start += late + 1;
        begin_ns = pairs.get(start).map_or(limit_ns, |pair| pair.intended_ns);
    }
    // What is left is too short to say that it is steady; it may say that it is not.
    if let Some(late) = pairs.get(start..end).and_then(|left| left.iter().rposition(|pair| !pair.is_in_time())) {
        was_late = true;
        start += late + 1;
        begin_ns = pairs.get(start).map_or(limit_ns, |pair| pair.intended_ns);
    }
    if begin_ns.saturating_add(least_ns) <= limit_ns && start + WINDOW_EVENTS <= end {
        return Outcome::After(begin_ns - heal_ns);
    }
    if was_late { Outcome::AtLeast(begin_ns.min(limit_ns).saturating_sub(heal_ns)) } else { Outcome::Unknown }
}

/// By how much the events due from `from_ns` until `until_ns` came later than in the twin, together.
fn deficit(pairs: &[Pair], from_ns: u64, until_ns: u64) -> Outcome {
    let mut sum = 0_u64;
    for pair in pairs.iter().filter(|pair| (from_ns..until_ns).contains(&pair.intended_ns)) {
        match (pair.here, pair.there) {
            (Delay::After(here), Delay::After(there)) => sum += here.saturating_sub(there),
            (_, Delay::Open(_) | Delay::Never) => {}
            _ => return Outcome::Never,
        }
    }
    Outcome::After(sum)
}

#[cfg(test)]
mod tests {
    use super::super::groups;
    use super::*;
    use crate::run::FaultRun;
    use crate::sample::{MS, run};

    /// A run with a fault from 20 s to 21 s beside a twin in which event `number` takes what `there` says, in ms.
    fn measured(here: impl Fn(u64) -> Option<u64>, there: impl Fn(u64) -> Option<u64>) -> Group {
        let mut this = run(1, here);
        this.faults = vec![FaultRun { id: "cut".into(), from_ns: 20_000 * MS, to_ns: 21_000 * MS }];
        this.twins = vec![Twin::of(&run(1, there), vec!["cut".into()], None)];
        groups(&this).remove(0)
    }

    #[test]
    fn steady_is_when_each_event_comes_as_in_the_twin() {
        // Events come every 50 ms: 420 is due at the heal, 440 a second later.
        let group = measured(|number| Some(if (400..440).contains(&number) { 300 } else { 7 }), |_| Some(7));
        assert!(group.by_twin);
        assert_eq!(group.steady, Outcome::After(1_000 * MS));
        assert_eq!(group.deficit, Outcome::After(40 * 293 * MS));
    }

    #[test]
    fn what_is_slow_in_the_twin_too_is_no_cost() {
        let slow = |number| Some(if number > 410 { 90 } else { 7 });
        let group = measured(slow, slow);
        assert_eq!((group.steady, group.deficit), (Outcome::After(0), Outcome::After(0)));
    }

    #[test]
    fn one_event_that_is_late_beyond_the_band_counts() {
        let late = |by: u64| measured(move |number| Some(if number == 500 { 7 + by } else { 7 }), |_| Some(7)).steady;
        assert_eq!(late(5), Outcome::After(0));
        assert_eq!(late(6), Outcome::After(4_050 * MS));
    }

    #[test]
    fn what_is_lost_here_alone_is_never_made_up_for() {
        let group = measured(|number| (number != 405).then_some(7), |_| Some(7));
        assert_eq!((group.steady, group.deficit), (Outcome::After(0), Outcome::Never));
        let group = measured(|number| (number != 405).then_some(7), |number| (number != 405).then_some(7));
        assert_eq!(group.deficit, Outcome::After(0), "it is lost in the twin, too");
    }

    /// The same, but the twin's load ended at `end_s`.
    fn measured_early(here: impl Fn(u64) -> Option<u64>, end_s: u64) -> (SeedRun, Group) {
        let mut this = run(1, here);
        this.faults = vec![FaultRun { id: "cut".into(), from_ns: 20_000 * MS, to_ns: 21_000 * MS }];
        let end_ns = end_s * 1_000 * MS;
        let mut there = run(1, |_| Some(7));
        there.events.retain(|event| event.intended_ns < end_ns);
        this.twins = vec![Twin::of(&there, vec!["cut".into()], Some(end_ns))];
        let group = groups(&this).remove(0);
        (this, group)
    }

    #[test]
    fn a_twin_that_ends_early_says_what_a_whole_one_says_or_nothing() {
        let late = |number: u64| Some(if (400..440).contains(&number) { 300 } else { 7 });
        let whole = measured(late, |_| Some(7));
        let (this, early) = measured_early(late, 28);
        assert!(early.by_twin && early == whole, "{early:?}");
        assert_eq!(this.twins[0].until_ns, 28_000 * MS, "nothing was under way");
        // Steady from 22 s on, which needs 5 s to show.
        assert!(!measured_early(late, 26).1.by_twin);
        assert!(!measured_early(late, 27).1.by_twin);
        let (mut this, _) = measured_early(late, 28);
        let event = this.twins[0].delays.len() - 200;
        this.twins[0] = Twin { until_ns: this.events[event].intended_ns, ..this.twins[0].clone() };
        assert!(!groups(&this)[0].by_twin, "an event that was under way at the end says nothing of those behind it");
    }

    #[test]
    fn a_twin_need_not_go_on_once_events_come_as_in_the_warm_up() {
        let end = |here: &dyn Fn(u64) -> Option<u64>| {
            let mut this = run(1, here);
            this.faults = vec![FaultRun { id: "cut".into(), from_ns: 20_000 * MS, to_ns: 21_000 * MS }];
            end_ns(&this, &groups(&this)[0])
        };
        let late = |number: u64| Some(if (400..440).contains(&number) { 300 } else { 7 });
        assert_eq!(end(&late), Some(22_000 * MS + 7_500 * MS));
        assert_eq!(end(&|number| Some(if number > 400 { 300 } else { 7 })), None, "it never is");
    }

    #[test]
    fn what_the_load_ended_too_early_to_show_is_a_bound() {
        // Late until 56 s, with 4 s of load left.
        let group = measured(|number| Some(if (400..1120).contains(&number) { 300 } else { 7 }), |_| Some(7));
        assert_eq!(group.steady, Outcome::AtLeast(35_000 * MS));
        assert_eq!(group.deficit, Outcome::AtLeast(720 * 293 * MS));
    }

    #[test]
    fn where_the_next_group_cuts_the_window_short_half_of_it_is_enough() {
        // One event is late by a little, which the warm-up forgives and the twin does not.
        let steady = |late: u64, next_ms: u64| {
            let mut this = run(1, |number| Some(if number == late { 13 } else { 7 }));
            let fault = |id: &str, from_ms, to_ms| FaultRun { id: id.into(), from_ns: from_ms * MS, to_ns: to_ms * MS };
            this.faults = vec![fault("cut", 20_000, 21_000), fault("crash", next_ms, next_ms + 100)];
            this.twins = vec![Twin::of(&run(1, |_| Some(7)), vec!["cut".into()], None)];
            let group = groups(&this).remove(0);
            assert!(group.by_twin && group.faults == ["cut"], "{group:?}");
            group.steady
        };
        assert_eq!(steady(424, 27_000), Outcome::After(250 * MS), "a whole window");
        assert_eq!(steady(424, 26_100), Outcome::After(250 * MS));
        assert_eq!(steady(480, 26_100), Outcome::AtLeast(3_050 * MS), "2 s are too few");
    }

    #[test]
    fn without_time_to_show_it_nothing_is_known() {
        let mut this = run(1, |_| Some(7));
        this.faults = vec![FaultRun { id: "cut".into(), from_ns: 55_000 * MS, to_ns: 57_000 * MS }];
        this.twins = vec![Twin::of(&run(1, |_| Some(7)), vec!["cut".into()], None)];
        assert_eq!(groups(&this)[0].steady, Outcome::Unknown);
    }
}
