//! One seed over time: how late the events of each moment came, and when faults were there. What a timeline is drawn from.

use serde::{Deserialize, Serialize};

use crate::run::{Delay, SeedRun};

/// The value of `schema` in every file of this version.
pub const SCHEMA: &str = "seaworthy.timeline/v1";
/// Moments of a run at most.
const MOMENTS: u64 = 240;

/// A seed, and the same seed without its faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timelines {
    /// [`SCHEMA`].
    pub schema: String,
    /// The scenario.
    pub scenario: String,
    /// The seed: the first that failed, or else the one with the highest p99.
    pub seed: u64,
    /// As it was.
    pub run: Series,
    /// The same seed without its faults; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<Series>,
}

/// One run over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// How long a moment is, ms.
    pub moment_ms: u64,
    /// End of the warm-up, ms.
    pub warmup_ms: u64,
    /// End of the load, ms.
    pub load_end_ms: u64,
    /// Moments with events, in order of time.
    pub moments: Vec<Moment>,
    /// Faults that took effect.
    pub faults: Vec<Band>,
}

/// The events that were due in one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// Its start, ms.
    pub at_ms: u64,
    /// Events that came to their sinks.
    pub came: u64,
    /// Events that didn't.
    pub missing: u64,
    /// The longest delay of those that came, ms.
    pub worst_ms: f64,
}

/// A fault from its start to its heal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// Its id.
    pub fault: String,
    /// Start, ms.
    pub from_ms: u64,
    /// Heal, ms.
    pub to_ms: u64,
}

impl Series {
    /// A seed over time.
    #[must_use]
    pub fn of(run: &SeedRun) -> Series {
        let moment_ns = (run.load_end_ns / MOMENTS).max(1_000_000);
        let mut series = Series {
            moment_ms: moment_ns / 1_000_000,
            warmup_ms: run.warmup_ns / 1_000_000,
            load_end_ms: run.load_end_ns / 1_000_000,
            ..Series::default()
        };
        for event in &run.events {
            let at_ms = event.intended_ns / moment_ns * moment_ns / 1_000_000;
            if series.moments.last().is_none_or(|last| last.at_ms != at_ms) {
                series.moments.push(Moment { at_ms, ..Moment::default() });
            }
            let moment = series.moments.last_mut().expect("one was pushed just above");
            match event.at.iter().filter_map(|at| run.delay(event, at)).max() {
                None => {}
                Some(Delay::After(ns)) => {
                    moment.came += 1;
                    moment.worst_ms = moment.worst_ms.max((ns / 1000) as f64 / 1000.0);
                }
                Some(Delay::Open(_) | Delay::Never) => moment.missing += 1,
            }
        }
        series.moments.retain(|moment| moment.came + moment.missing > 0);
        let band = |fault: &crate::run::FaultRun| Band {
            fault: fault.id.clone(),
            from_ms: fault.from_ns / 1_000_000,
            to_ms: fault.to_ns / 1_000_000,
        };
        series.faults = run.faults.iter().map(band).collect();
        series.faults.sort_by(|a, b| (a.from_ms, &a.fault).cmp(&(b.from_ms, &b.fault)));
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn moments_hold_what_was_due_in_them() {
        let series = Series::of(&sample::cut(1));
        assert_eq!((series.moment_ms, series.moments.len(), series.faults.len()), (250, 240, 1));
        assert_eq!(series.moments.iter().map(|moment| moment.came + moment.missing).sum::<u64>(), 1200);
        let worst = series.moments.iter().max_by(|a, b| a.worst_ms.total_cmp(&b.worst_ms)).unwrap();
        assert_eq!((worst.at_ms, worst.worst_ms), (20_000, 8_010.0));
        let lost = Series::of(&sample::run(1, |number| (number != 602).then_some(7)));
        assert_eq!(lost.moments.iter().map(|moment| moment.missing).sum::<u64>(), 1);
    }
}
