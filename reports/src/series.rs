//! One seed over time: how late the events of each moment came, and when faults were there. What a timeline is drawn from.

use serde::{Deserialize, Serialize};

use crate::result::Scenario;
use crate::run::{Delay, SeedRun};

/// The value of `schema` in every file of this version.
pub const SCHEMA: &str = "seaworthy.timeline/v1";
/// The longest time that a run can hold, ms: 30 years.
const MS_MAX: f64 = 1e12;
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
    /// The command that tells what led to its failure; empty where it did not fail.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub debug: String,
    /// As it was.
    pub run: Series,
    /// The same seed without its faults; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<Series>,
}

/// A file that is no timeline of a scenario's run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimelineError {
    /// Not JSON, or not of the form.
    #[error("not a timeline: {0}")]
    Malformed(String),
    /// Another format.
    #[error("its schema is `{found}`, and this program reads `{SCHEMA}`")]
    Schema {
        /// What it says.
        found: String,
    },
    /// Of another run.
    #[error("it is of seed {seed} of {scenario}, which is not in the result")]
    OfAnother {
        /// The scenario.
        scenario: String,
        /// The seed.
        seed: u64,
    },
    /// What can't have been.
    #[error("{place} at {at_ms} ms can't have been")]
    Impossible {
        /// Of what.
        place: &'static str,
        /// When.
        at_ms: u64,
    },
}

impl Timelines {
    /// The timelines in `text`, of a seed of `scenario`.
    ///
    /// # Errors
    /// Anything that no run of it writes.
    pub fn parse(text: &str, scenario: &Scenario) -> Result<Timelines, TimelineError> {
        let malformed = |error: serde_json::Error| TimelineError::Malformed(error.to_string());
        let value: serde_json::Value = serde_json::from_str(text).map_err(malformed)?;
        match value["schema"].as_str() {
            Some(SCHEMA) => {}
            Some(found) => return Err(TimelineError::Schema { found: found.to_owned() }),
            None => return Err(TimelineError::Malformed("it has no schema".to_owned())),
        }
        let timelines: Timelines = serde_json::from_value(value).map_err(malformed)?;
        if timelines.scenario != scenario.id || scenario.seeds.iter().all(|seed| seed.seed != timelines.seed) {
            return Err(TimelineError::OfAnother { scenario: timelines.scenario, seed: timelines.seed });
        }
        timelines.run.sound()?;
        timelines.twin.iter().try_for_each(Series::sound)?;
        Ok(timelines)
    }
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
    /// Whether a run could have been so.
    fn sound(&self) -> Result<(), TimelineError> {
        let is_time = |ms: f64| (0.0..=MS_MAX).contains(&ms);
        if !is_time(self.load_end_ms as f64) {
            return Err(TimelineError::Impossible { place: "the end of the load", at_ms: self.load_end_ms });
        }
        if let Some(wrong) = self.moments.iter().find(|m| !is_time(m.worst_ms) || !is_time(m.at_ms as f64)) {
            return Err(TimelineError::Impossible { place: "a delay", at_ms: wrong.at_ms });
        }
        if let Some(wrong) = self.moments.windows(2).find(|pair| pair[0].at_ms >= pair[1].at_ms) {
            return Err(TimelineError::Impossible { place: "a moment", at_ms: wrong[1].at_ms });
        }
        match self.faults.iter().find(|band| band.from_ms > band.to_ms || !is_time(band.to_ms as f64)) {
            Some(wrong) => Err(TimelineError::Impossible { place: "a fault", at_ms: wrong.from_ms }),
            None => Ok(()),
        }
    }

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
    fn a_timeline_is_read_back_and_no_other_is() {
        let scenario = &sample::passing().scenarios[0];
        let (scenario_id, seed) = (scenario.id.clone(), scenario.seeds[0].seed);
        let run = Series::of(&sample::cut(1));
        let (schema, twin, debug) = (SCHEMA.to_owned(), Some(run.clone()), String::new());
        let sound = Timelines { schema, scenario: scenario_id, seed, debug, run, twin };
        let read = |timelines: &Timelines| Timelines::parse(&serde_json::to_string(timelines).unwrap(), scenario);
        assert_eq!(read(&sound), Ok(sound.clone()));
        let with = |change: &dyn Fn(&mut Timelines)| {
            let mut changed = sound.clone();
            change(&mut changed);
            read(&changed).unwrap_err().to_string()
        };
        insta::assert_snapshot!([
            with(&|it| it.schema = "seaworthy.timeline/v9".into()),
            with(&|it| it.scenario = "smoke".into()),
            with(&|it| it.seed = 99),
            with(&|it| it.run.load_end_ms = u64::MAX),
            with(&|it| it.run.moments[3].worst_ms = -1.0),
            with(&|it| it.run.moments[3].worst_ms = 1e300),
            with(&|it| it.run.moments[3].at_ms = 0),
            with(&|it| it.run.faults[0].to_ms = 0),
            with(&|it| it.twin.as_mut().unwrap().moments[0].worst_ms = -1.0),
            Timelines::parse("[]", scenario).unwrap_err().to_string(),
        ].join("\n"), @r"
        its schema is `seaworthy.timeline/v9`, and this program reads `seaworthy.timeline/v1`
        it is of seed 1 of smoke, which is not in the result
        it is of seed 99 of uplink_cut, which is not in the result
        the end of the load at 18446744073709551615 ms can't have been
        a delay at 750 ms can't have been
        a delay at 750 ms can't have been
        a moment at 0 ms can't have been
        a fault at 20000 ms can't have been
        a delay at 0 ms can't have been
        not a timeline: it has no schema
        ");
        let cut_off = &serde_json::to_string(&sound).unwrap()[..99];
        assert!(matches!(Timelines::parse(cut_off, scenario), Err(TimelineError::Malformed(_))));
    }

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
