//! How long a system takes to come back after a fault: beside the twin ([`twin`]) where there is one, else by the rule here.
//!
//! Steps of faults that overlap, or of which the later begins before the system is steady again after the earlier, are one
//! group, named `flap+crash`. Its heal is the last heal of its steps. From there:
//! `first_output` until anything becomes visible; `steady` until events come in time again: over the longer of 5 s and 20
//! events p99 ≤ max(1.5 × warm-up p99, warm-up p99 + 5 ms), and the backlog is back at its level before the fault plus one
//! batch; `drained` until all that was due before the heal is visible; `deficit` the delay beyond the warm-up's median,
//! summed over the events due from the fault's start until steady. The worst sink counts.

mod twin;

use crate::run::{Delay, Fate, FaultRun, SeedRun};

/// Shortest stretch that shows steadiness.
const WINDOW_NS: u64 = 5_000_000_000;
/// Fewest events that show steadiness, and fewest warm-up events that make a baseline.
const WINDOW_EVENTS: usize = 20;
/// A sink may always be this much slower than in the warm-up, and by so many ticks.
const BAND_NS: u64 = 5_000_000;
const BAND_TICKS: u64 = 3;

/// By how much an event may be late for nothing.
fn band_of(run: &SeedRun) -> u64 {
    BAND_NS.max(BAND_TICKS * run.tick_ns)
}

/// Something measured after a heal.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Outcome {
    /// So many ns, or ns·events.
    After(u64),
    /// More than so many: the load, or what was measured, ended before it was over.
    AtLeast(u64),
    /// It did not happen, and will not.
    Never,
    /// It can't be told, and why.
    #[default]
    Unknown,
}

impl Outcome {
    fn worse(self, other: Outcome) -> Outcome {
        match (self, other) {
            (Outcome::Never, _) | (_, Outcome::Never) => Outcome::Never,
            (Outcome::Unknown, other) | (other, Outcome::Unknown) => other,
            (Outcome::After(a), Outcome::After(b)) => Outcome::After(a.max(b)),
            (Outcome::AtLeast(a) | Outcome::After(a), Outcome::AtLeast(b) | Outcome::After(b)) => {
                Outcome::AtLeast(a.max(b))
            }
        }
    }

    /// What was summed up until the system was steady, knowing how far that is known.
    fn until(self, steady: &Outcome) -> Outcome {
        match (self, steady) {
            (Outcome::After(sum), Outcome::AtLeast(_) | Outcome::Never) => Outcome::AtLeast(sum),
            (Outcome::After(_), Outcome::Unknown) => Outcome::Unknown,
            (outcome, _) => outcome,
        }
    }
}

/// A group of faults and how the system came back from it. Times run from the heal, [`Group::detect`] apart; [`Group::from_start`]
/// moves them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Ids of its faults in order of the scenario, each once.
    pub faults: Vec<String>,
    /// First start.
    pub from_ns: u64,
    /// Last heal.
    pub heal_ns: u64,
    /// End of the recovery phase: steady again, or the next group, or the end of the load.
    pub over_ns: u64,
    /// From the first start until the system itself said that something is not as usual.
    pub detect: Outcome,
    /// Until anything becomes visible at any sink.
    pub first_output: Outcome,
    /// Until events come in time again.
    pub steady: Outcome,
    /// Until all that was due before the heal is visible.
    pub drained: Outcome,
    /// Delay beyond that of the twin, or else beyond the warm-up's median, ns·events.
    pub deficit: Outcome,
    /// Whether `steady` and `deficit` are measured beside the twin.
    pub by_twin: bool,
}

impl Group {
    /// `flap+crash`.
    #[must_use]
    pub fn name(&self) -> String {
        self.faults.join("+")
    }

    /// The same instant as `after_heal`, counted from the first start of the faults.
    #[must_use]
    pub fn from_start(&self, after_heal: &Outcome) -> Outcome {
        let lasted_ns = self.heal_ns - self.from_ns;
        match after_heal {
            Outcome::After(ns) => Outcome::After(lasted_ns + ns),
            Outcome::AtLeast(ns) => Outcome::AtLeast(lasted_ns + ns),
            Outcome::Never | Outcome::Unknown => after_heal.clone(),
        }
    }
}

/// The delays at one sink in order of intended arrival, and what they are held against.
struct Track {
    due: Vec<(u64, Delay)>,
    accepted: Vec<u64>,
    visible: Vec<u64>,
    usual_ns: u64,
    band_ns: u64,
}

impl Track {
    /// `None` when the warm-up makes no baseline.
    fn of(run: &SeedRun, sink: usize) -> Option<Track> {
        let mut track = Track { due: vec![], accepted: vec![], visible: vec![], usual_ns: 0, band_ns: 0 };
        for event in &run.events {
            for at in event.at.iter().filter(|at| at.sink == sink) {
                let Some(delay) = run.delay(event, at) else { continue };
                track.due.push((event.intended_ns, delay));
                track.visible.extend(at.visible_ns);
                // A recovered event never got its answer: from its arrival on it is counted as inside.
                track.accepted.extend(event.accepted_ns.or(at.visible_ns.map(|_| event.intended_ns)));
            }
        }
        track.due.sort_by_key(|(intended, _)| *intended);
        track.accepted.sort_unstable();
        track.visible.sort_unstable();
        let mut warmup: Vec<Delay> =
            track.due.iter().take_while(|(intended, _)| *intended < run.warmup_ns).map(|(_, delay)| *delay).collect();
        if warmup.len() < WINDOW_EVENTS {
            return None;
        }
        warmup.sort_unstable();
        let Delay::After(p99) = warmup[(warmup.len() * 99).div_ceil(100) - 1] else { return None };
        let Delay::After(p50) = warmup[warmup.len().div_ceil(2) - 1] else { return None };
        track.usual_ns = p50;
        track.band_ns = (p99 + p99 / 2).max(p99 + band_of(run));
        Some(track)
    }

    fn backlog(&self, ns: u64) -> u64 {
        let upto = |times: &[u64]| times.partition_point(|time| *time <= ns) as u64;
        upto(&self.accepted).saturating_sub(upto(&self.visible))
    }

    /// The first instant from `heal_ns` on at which a window of events that come in time begins, and ends by `limit_ns`.
    fn steady(&self, from_ns: u64, heal_ns: u64, limit_ns: u64, batch: u64) -> Outcome {
        let first = self.due.partition_point(|(intended, _)| *intended < heal_ns);
        let end = self.due.partition_point(|(intended, _)| *intended < limit_ns);
        let slow = |(_, delay): &(u64, Delay)| *delay > Delay::After(self.band_ns);
        let before = self.backlog(from_ns.saturating_sub(1));
        let (mut upto, mut slow_in_window, mut at_least) = (first, 0, None);
        for start in first..end {
            let begin_ns = if start == first { heal_ns } else { self.due[start].0 };
            if begin_ns + WINDOW_NS > limit_ns || start + WINDOW_EVENTS > end {
                break;
            }
            at_least = Some(begin_ns - heal_ns);
            while upto < end && (self.due[upto].0 <= begin_ns + WINDOW_NS || upto < start + WINDOW_EVENTS) {
                slow_in_window += usize::from(slow(&self.due[upto]));
                upto += 1;
            }
            let n = upto - start;
            if slow_in_window <= n - (n * 99).div_ceil(100) && self.backlog(begin_ns) <= before + batch {
                return Outcome::After(begin_ns - heal_ns);
            }
            slow_in_window -= usize::from(slow(&self.due[start]));
        }
        at_least.map_or(Outcome::Unknown, Outcome::AtLeast)
    }

    fn drained(&self, run: &SeedRun, heal_ns: u64) -> Outcome {
        let mut last = 0;
        for (intended, delay) in self.due.iter().take_while(|(intended, _)| *intended < heal_ns) {
            match delay {
                Delay::After(ns) => last = last.max(intended + ns),
                Delay::Open(_) | Delay::Never => return Outcome::Never,
            }
        }
        assert!(last <= run.end_ns, "an event became visible at {last} ns, after the end at {} ns", run.end_ns);
        Outcome::After(last.saturating_sub(heal_ns))
    }

    fn deficit(&self, from_ns: u64, until_ns: u64) -> Outcome {
        let mut sum = 0_u64;
        for (intended, delay) in &self.due {
            if (from_ns..until_ns).contains(intended) {
                let Delay::After(ns) = delay else { return Outcome::Never };
                sum += ns.saturating_sub(self.usual_ns);
            }
        }
        Outcome::After(sum)
    }
}

/// Groups the faults of a seed and measures each group's recovery, in order of time.
#[must_use]
pub fn groups(run: &SeedRun) -> Vec<Group> {
    let tracks: Vec<Track> = (0..run.sinks.len()).filter_map(|sink| Track::of(run, sink)).collect();
    let mut spans = overlapping(&run.faults);
    let mut groups = Vec::new();
    let mut at = 0;
    while at < spans.len() {
        let limit_ns = spans.get(at + 1).map_or(run.load_end_ns, |next| next.from_ns.min(run.load_end_ns));
        let span = &spans[at];
        let steady = worst(&tracks, |track| track.steady(span.from_ns, span.heal_ns, limit_ns, run.batch));
        if at + 1 < spans.len() && !matches!(steady, Outcome::After(_)) && !tracks.is_empty() {
            let next = spans.remove(at + 1);
            join(&mut spans[at], next);
            continue;
        }
        let mut span = spans[at].clone();
        // The order of the file names a group alike in every seed, whichever fault came first.
        span.faults.sort_by_key(|id| run.fault_order.iter().position(|known| known == id).unwrap_or(usize::MAX));
        let next_ns = spans.get(at + 1).map_or(u64::MAX, |next| next.from_ns);
        span.detect = detect(&run.noticed_ns, span.from_ns, next_ns);
        groups.push(twin::beside(run, measure(run, &tracks, span, steady, limit_ns), limit_ns));
        at += 1;
    }
    groups
}

/// By when the load of the group's twin may end, virtual ns: some time after the run itself came back. It is a guess; where it
/// was too early the group is not [`Group::by_twin`]. `None` where the twin must be whole.
#[must_use]
pub fn twin_end_ns(run: &SeedRun, group: &Group) -> Option<u64> {
    twin::end_ns(run, group)
}

fn worst<T>(tracks: &[T], measure: impl Fn(&T) -> Outcome) -> Outcome {
    tracks.iter().map(measure).fold(Outcome::Unknown, Outcome::worse)
}

/// Until the system first said something, from the start of a group until the next one's, or the end of the run.
fn detect(noticed_ns: &[u64], from_ns: u64, next_ns: u64) -> Outcome {
    let first = noticed_ns.iter().find(|ns| (from_ns..next_ns).contains(*ns));
    first.map_or(Outcome::Unknown, |ns| Outcome::After(ns - from_ns))
}

/// When the recovery phase ends.
fn over_ns(steady: &Outcome, heal_ns: u64, limit_ns: u64) -> u64 {
    match steady {
        Outcome::After(ns) => heal_ns + ns,
        Outcome::AtLeast(_) | Outcome::Never | Outcome::Unknown => limit_ns.max(heal_ns),
    }
}

fn measure(run: &SeedRun, tracks: &[Track], span: Group, steady: Outcome, limit_ns: u64) -> Group {
    let over_ns = over_ns(&steady, span.heal_ns, limit_ns);
    let outputs = run.events.iter().flat_map(|event| event.at.iter().filter_map(|at| at.visible_ns));
    let first = outputs.filter(|ns| *ns >= span.heal_ns).min();
    let due_later = run.events.iter().any(|event| event.intended_ns >= span.heal_ns && event.fate() >= Fate::NotTaken);
    Group {
        over_ns,
        first_output: match first {
            Some(ns) => Outcome::After(ns - span.heal_ns),
            None if due_later => Outcome::Never,
            None => Outcome::Unknown,
        },
        drained: worst(tracks, |track| track.drained(run, span.heal_ns)),
        deficit: worst(tracks, |track| track.deficit(span.from_ns, over_ns)).until(&steady),
        steady,
        ..span
    }
}

fn overlapping(faults: &[FaultRun]) -> Vec<Group> {
    let mut sorted: Vec<&FaultRun> = faults.iter().collect();
    sorted.sort_by(|a, b| (a.from_ns, a.to_ns, &a.id).cmp(&(b.from_ns, b.to_ns, &b.id)));
    let mut groups: Vec<Group> = Vec::new();
    for fault in sorted {
        let span =
            Group { faults: vec![fault.id.clone()], from_ns: fault.from_ns, heal_ns: fault.to_ns, ..Group::default() };
        match groups.last_mut() {
            Some(last) if span.from_ns <= last.heal_ns => join(last, span),
            _ => groups.push(span),
        }
    }
    groups
}

fn join(group: &mut Group, next: Group) {
    group.heal_ns = group.heal_ns.max(next.heal_ns);
    for id in next.faults {
        if !group.faults.contains(&id) {
            group.faults.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{MS, cut, run};

    fn fault(id: &str, from_s: u64, to_s: u64) -> FaultRun {
        FaultRun { id: id.into(), from_ns: from_s * 1000 * MS, to_ns: to_s * 1000 * MS }
    }

    #[test]
    fn a_cut_is_measured_from_its_heal() {
        let groups = groups(&cut(4));
        assert_eq!(groups.len(), 1);
        let group = &groups[0];
        assert_eq!((group.name().as_str(), group.from_ns, group.heal_ns), ("cut", 20_000 * MS, 28_000 * MS));
        assert_eq!(group.first_output, Outcome::After(10 * MS));
        assert_eq!(group.drained, Outcome::After(10 * MS));
        // Events are slow until 30.0 s; those of the last 300 ms are still under way then, two more than before the cut
        // plus a batch of 4.
        assert_eq!(group.steady, Outcome::After(2_100 * MS));
        assert_eq!(group.from_start(&group.steady), Outcome::After(10_100 * MS));
        assert_eq!(group.from_start(&Outcome::Never), Outcome::Never);
        // 160 events that waited for 0 to 8 s, and 40 that came 300 ms late, less the usual 8 ms each.
        let Outcome::After(deficit) = group.deficit else { panic!("{:?}", group.deficit) };
        let waited: u64 = (0..160).map(|at| 8_000 - at * 50 + 10 - 8).sum();
        let worked_off: u64 = 40 * (300 - 8);
        assert!((deficit / MS).abs_diff(waited + worked_off) < 10, "{} ms", deficit / MS);
    }

    #[test]
    fn of_what_never_settles_a_bound_is_known_and_of_what_had_no_time_nothing() {
        let mut slow = run(1, |number| Some(if number < 600 { 7 } else { 80 }));
        slow.faults = vec![fault("disk", 30, 31)];
        let group = &groups(&slow)[0];
        // The load ends at 60 s, and to be steady takes 5 s to show.
        assert_eq!(group.steady, Outcome::AtLeast(24_000 * MS));
        assert!(matches!(group.deficit, Outcome::AtLeast(_)), "{:?}", group.deficit);
        slow.faults = vec![fault("disk", 55, 57)];
        assert_eq!((&groups(&slow)[0].steady, &groups(&slow)[0].deficit), (&Outcome::Unknown, &Outcome::Unknown));
        slow.warmup_ns = 500 * MS;
        slow.faults = vec![fault("disk", 30, 31)];
        assert_eq!(groups(&slow)[0].steady, Outcome::Unknown, "ten events are no baseline");
    }

    #[test]
    fn what_the_system_says_is_of_the_fault_before_it() {
        let mut run = run(1, |_| Some(7));
        run.faults = vec![fault("flap", 10, 12), fault("crash", 20, 22), fault("disk", 40, 41)];
        run.noticed_ns = [9_000, 11_500, 19_999, 40_000, 60_000].map(|ms| ms * MS).into();
        let detect: Vec<Outcome> = groups(&run).into_iter().map(|group| group.detect).collect();
        assert_eq!(detect, [Outcome::After(1_500 * MS), Outcome::Unknown, Outcome::After(0)]);
    }

    #[test]
    fn a_lost_event_is_never_drained() {
        let mut lossy = run(1, |number| (number != 605).then_some(7));
        lossy.faults = vec![fault("crash", 30, 31)];
        let group = &groups(&lossy)[0];
        assert_eq!(
            (&group.steady, &group.drained, &group.deficit),
            (&Outcome::After(0), &Outcome::Never, &Outcome::Never)
        );
        lossy.faults = vec![fault("crash", 29, 30)];
        let group = &groups(&lossy)[0];
        assert_eq!(
            (&group.drained, &group.deficit),
            (&Outcome::After(0), &Outcome::After(0)),
            "it was due after the heal"
        );
    }

    #[test]
    fn faults_that_overlap_or_leave_no_time_to_recover_are_one_group() {
        let names = |faults: Vec<FaultRun>| {
            let mut run = run(1, |_| Some(7));
            run.faults = faults;
            run.fault_order = vec!["flap".into(), "crash".into()];
            groups(&run).iter().map(|group| (group.name(), group.heal_ns / (1000 * MS))).collect::<Vec<_>>()
        };
        let group = |name: &str, heal_s| (name.to_owned(), heal_s);
        assert_eq!(names(vec![fault("crash", 10, 20), fault("flap", 15, 18)]), [group("flap+crash", 20)]);
        assert_eq!(names(vec![fault("flap", 10, 12), fault("flap", 14, 16)]), [group("flap", 16)]);
        assert_eq!(names(vec![fault("flap", 10, 12), fault("crash", 20, 22)]), [group("flap", 12), group("crash", 22)]);
        assert_eq!(names(vec![]), []);
    }
}
