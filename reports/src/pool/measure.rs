//! What an objective measures over a pool, and its verdict.

use super::Pool;
use crate::histogram::Percentile;
use crate::phases::{Phase, ratio};
use crate::recovery::Outcome;
use crate::result::{Expectation, Figure};
use crate::slo::{Count, Metric, Objective, Part, Ratio, Since, judge};

/// Judges one objective over all seeds of `pool`.
pub(super) fn evaluate(objective: &Objective, pool: &Pool) -> Expectation {
    let got = measure(&objective.metric, pool);
    let verdict = judge(&got, &objective.limit);
    let Objective { what, limit, line, .. } = objective;
    Expectation { what: what.clone(), limit: limit.to_string(), got, verdict, line: *line }
}

fn measure(metric: &Metric, pool: &Pool) -> Figure {
    match metric {
        Metric::Recovery { faults, part, over } => recovery(&pool.recoveries_of(faults), *part, *over),
        Metric::Count(_, phase)
        | Metric::Ratio(_, phase)
        | Metric::Latency(_, phase)
        | Metric::Delivered(_, phase)
        | Metric::ReplayDelay(_, phase) => {
            let Some(totals) = pool.phase(phase) else { return Figure::na(format!("no {phase}")) };
            let timed = !matches!(metric, Metric::Count(..) | Metric::Ratio(..));
            if let (true, Phase::Steady, Some((seed, group))) = (timed, phase, pool.never_steady()) {
                return Figure::na(format!("not steady again after {group} in seed {seed}"));
            }
            match metric {
                Metric::Count(count, _) => Figure::v(counted(&totals.counts, *count) as f64),
                Metric::Ratio(share, _) => shared(&totals.counts, *share),
                Metric::Latency(percentile, _) => totals.worst(*percentile),
                Metric::Delivered(percentile, _) => totals.worst_delivered(*percentile),
                Metric::ReplayDelay(percentile, _) => totals.worst_replayed(*percentile),
                Metric::Recovery { .. } => unreachable!("recoveries are measured above"),
            }
        }
    }
}

fn counted(c: &crate::phases::Counts, count: Count) -> u64 {
    match count {
        Count::Offered => c.offered,
        Count::Accepted => c.accepted,
        Count::Rejected => c.rejected,
        Count::Indeterminate => c.indeterminate,
        Count::Recovered => c.recovered,
        Count::Visible => c.visible,
        Count::Absorbed => c.absorbed,
        Count::Folded => c.folded,
        Count::Lost => c.lost,
        Count::LostReported => c.lost_reported,
        Count::LostWindow => c.lost_window,
        Count::Unresolved => c.unresolved,
        Count::DeadLettered => c.dead_lettered,
        Count::Shed => c.shed,
        Count::Expired => c.expired,
        Count::Unexpected => c.unexpected,
    }
}

fn shared(c: &crate::phases::Counts, share: Ratio) -> Figure {
    let (part, whole) = match share {
        Ratio::Drop => (c.lost_all() + c.shed + c.expired, c.accepted),
        Ratio::Duplicate => (c.duplicates, c.copies),
        Ratio::DuplicateRaw => (c.raw_duplicates, c.raw_copies),
        Ratio::Replay => (c.replayed, c.worked),
        Ratio::Shed => (c.shed, c.accepted),
        Ratio::Expired => (c.expired, c.accepted),
        Ratio::DeadLettered => (c.dead_lettered, c.accepted),
    };
    if whole == 0 { Figure::na("nothing to take a share of") } else { Figure::v(ratio(part, whole)) }
}

/// One figure over recoveries by nearest rank, in ms or event·s. One recovery that never came makes p95 and max never; one
/// that is known to take longer than the figure makes it a lower bound.
pub(super) fn recovery(groups: &[&crate::recovery::Group], part: Part, over: Percentile) -> Figure {
    let since = |group: &crate::recovery::Group, after_heal: &Outcome, since| match since {
        Since::Start => group.from_start(after_heal),
        Since::Heal => after_heal.clone(),
    };
    let outcome = |group: &&crate::recovery::Group| match part {
        Part::Detect => group.detect.clone(),
        Part::FirstOutput(from) => since(group, &group.first_output, from),
        Part::Steady(from) => since(group, &group.steady, from),
        Part::Drained(from) => since(group, &group.drained, from),
        Part::Deficit => group.deficit.clone(),
    };
    let (mut known, mut never) = (Vec::new(), 0_u64);
    for group in groups {
        match outcome(group) {
            Outcome::After(ns) => known.push((ns, false)),
            Outcome::AtLeast(ns) => known.push((ns, true)),
            Outcome::Never => never += 1,
            Outcome::Unknown => {}
        }
    }
    let n = known.len() as u64 + never;
    if n == 0 {
        let is_steady = matches!(part, Part::Steady(_)) && !groups.is_empty();
        let late = "n < 1: each time the warm-up said too little, or the next fault or the end came too early";
        return Figure::na(if is_steady { late } else { "n < 1" });
    }
    if never > 0 && over != Percentile::P50 {
        return Figure::never();
    }
    known.sort_unstable();
    let rank = over.rank(n) as usize;
    let Some((ns, _)) = known.get(rank - 1) else { return Figure::never() };
    let figure = match part {
        Part::Deficit => (*ns as f64 / 1e6).round() / 1e3,
        _ => crate::histogram::to_ms(*ns),
    };
    if known[..rank].iter().any(|(_, is_bound)| *is_bound) { Figure::ge(figure) } else { Figure::v(figure) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::Group;

    const STEADY: Part = Part::Steady(Since::Heal);

    #[test]
    fn one_recovery_that_never_came_spoils_the_tail() {
        let group = |steady| Group { steady, ..Group::default() };
        let groups = [
            group(Outcome::After(3_000_000_000)),
            group(Outcome::After(1_000_000_000)),
            group(Outcome::Unknown),
            group(Outcome::After(2_000_000_000)),
        ];
        let all: Vec<&Group> = groups.iter().collect();
        assert_eq!(recovery(&all, STEADY, Percentile::P50), Figure::v(2000.0));
        assert_eq!(recovery(&all, STEADY, Percentile::P95), Figure::v(3000.0));
        assert_eq!(recovery(&all, Part::Drained(Since::Heal), Percentile::P95), Figure::na("n < 1"));
        // Each from the start of its own fault: the longest recovery need not be the one that was felt longest.
        let lasting = |lasted_s: u64, group: &Group| Group { heal_ns: lasted_s * 1_000_000_000, ..group.clone() };
        let felt: Vec<Group> = [1, 9, 4, 2].into_iter().zip(&groups).map(|(s, group)| lasting(s, group)).collect();
        let felt: Vec<&Group> = felt.iter().collect();
        let figure = |over| recovery(&felt, Part::Steady(Since::Start), over);
        assert_eq!((figure(Percentile::P50), figure(Percentile::Max)), (Figure::v(4000.0), Figure::v(10_000.0)));
        let long = group(Outcome::AtLeast(1_500_000_000));
        let censored: Vec<&Group> = groups.iter().chain([&long]).collect();
        assert_eq!(recovery(&censored, STEADY, Percentile::P50), Figure::ge(1500.0));
        assert_eq!(recovery(&censored, STEADY, Percentile::Max), Figure::ge(3000.0));
        let never = group(Outcome::Never);
        let spoiled: Vec<&Group> = groups.iter().chain([&never]).collect();
        assert_eq!(recovery(&spoiled, STEADY, Percentile::P50), Figure::v(2000.0));
        assert_eq!(recovery(&spoiled, STEADY, Percentile::P95), Figure::never());
    }
}
