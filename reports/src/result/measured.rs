//! What was measured, as `result.json` has it: figures, phases, recoveries, and where the time went.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::run::Kind;

/// A number that prints as an integer when it is whole.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Decimal(pub f64);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 9e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// A figure: a value, a lower bound, never, or not available with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Figure {
    /// The value.
    V {
        /// In the unit of its place.
        v: Decimal,
    },
    /// At least this: what it measures had not come when the run ended.
    Ge {
        /// In the unit of its place.
        ge: Decimal,
    },
    /// It will never come.
    Never {
        /// Always true.
        never: bool,
    },
    /// It can't be told.
    Na {
        /// Why.
        na: String,
    },
}

impl Figure {
    /// A value.
    #[must_use]
    pub fn v(v: f64) -> Figure {
        Figure::V { v: Decimal(v) }
    }

    /// A lower bound.
    #[must_use]
    pub fn ge(ge: f64) -> Figure {
        Figure::Ge { ge: Decimal(ge) }
    }

    /// Never.
    #[must_use]
    pub fn never() -> Figure {
        Figure::Never { never: true }
    }

    /// Not available, and why.
    pub fn na(why: impl Into<String>) -> Figure {
        Figure::Na { na: why.into() }
    }

    /// The worse of two, larger being worse: never, then a lower bound, then a value, and what can't be told last.
    #[must_use]
    pub fn worse(self, other: Figure) -> Figure {
        let key = |figure: &Figure| match figure {
            Figure::Na { .. } => (0, 0.0),
            Figure::V { v } => (1, v.0),
            Figure::Ge { ge } => (2, ge.0),
            Figure::Never { .. } => (3, 0.0),
        };
        if key(&other) > key(&self) { other } else { self }
    }
}

/// Counts, ratios and latency of the events that were due in one phase, over all seeds.
///
/// An event counts once, with the worst of what became of it over the sinks that it can reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the counts are the words of docs/definitions.md, one for one")]
pub struct Phase {
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
    pub drop_ratio: f64,
    pub duplicate_ratio: f64,
    pub duplicate_raw_ratio: f64,
    pub replay_ratio: f64,
    pub latency_ms: LatencyMs,
    /// From the first attempt to the effect of replayed events; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_delay_ms: Option<LatencyMs>,
}

impl Phase {
    /// Events lost, whether declared or not.
    #[must_use]
    pub fn lost_all(&self) -> u64 {
        self.lost + self.lost_reported + self.lost_window
    }
}

/// Latency of the worst sink, percentile by percentile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencyMs {
    /// Events in the sample of the sink that has the most.
    pub n: u64,
    /// The median.
    pub p50: Figure,
    /// 95th percentile.
    pub p95: Figure,
    /// 99th percentile.
    pub p99: Figure,
    /// 99.9th percentile.
    pub p99_9: Figure,
    /// The largest.
    pub max: Figure,
    /// How sure the percentiles are; of the phases `all` and `steady`, where there are several seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_seeds: Option<OverSeeds>,
}

/// Between which figures each percentile lies with a confidence of 95 %: a bootstrap over whole seeds. What the sample does not carry
/// is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverSeeds {
    /// Seeds that were drawn from.
    pub seeds: u64,
    /// Of the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<Interval>,
    /// Of the 95th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<Interval>,
    /// Of the 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<Interval>,
    /// Of the 99.9th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_9: Option<Interval>,
}

/// Two figures between which a third one lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The lower end.
    pub low: Figure,
    /// The upper end.
    pub high: Figure,
}

impl OverSeeds {
    /// The intervals that are told, by the names of their percentiles.
    pub fn told(&self) -> impl Iterator<Item = (&'static str, &Interval)> {
        let all = [("p50", &self.p50), ("p95", &self.p95), ("p99", &self.p99), ("p99.9", &self.p99_9)];
        all.into_iter().filter_map(|(what, interval)| Some((what, interval.as_ref()?)))
    }
}

impl LatencyMs {
    /// Its figures by the names that objectives have for them.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, &Figure); 5] {
        [("p50", &self.p50), ("p95", &self.p95), ("p99", &self.p99), ("p99.9", &self.p99_9), ("max", &self.max)]
    }
}

/// Recoveries from one fault group, over all seeds. Times run from the heal of the group's last fault, or to the same instants from
/// the start of its first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// The fault's id; several joined by `+` when they overlapped.
    pub fault: String,
    /// Recoveries seen.
    pub n: u64,
    /// Of them, those that the load left no time to show: they are in no figure of `steady` and `deficit`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_shown: u64,
    /// Whether `steady` and `deficit` are measured beside the same seeds without these faults.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_twin: bool,
    /// Until events come in time again.
    pub steady_from_heal_ms: Spread,
    /// Until anything comes.
    pub first_output_from_heal_ms: Spread,
    /// Until all that was due before the heal has come.
    pub drained_from_heal_ms: Spread,
    /// Until the system itself said that something is not as usual, over the recoveries in which it did; absent in results of
    /// older builds, as the next three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect_from_start_ms: Option<Spread>,
    /// Until events come in time again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady_from_start_ms: Option<Spread>,
    /// Until anything comes after the heal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_output_from_start_ms: Option<Spread>,
    /// Until all that was due before the heal has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_from_start_ms: Option<Spread>,
    /// Delay beyond that of the twin, or else beyond the usual, summed over events, event·s.
    pub deficit: Spread,
}

impl Recovery {
    /// Its figures by the names that objectives have for them, with what each one is of; ms, the deficit event·s.
    #[must_use]
    pub fn parts(&self) -> Vec<(&'static str, &Spread)> {
        let of_all = [
            ("first_output", &self.first_output_from_heal_ms),
            ("steady", &self.steady_from_heal_ms),
            ("drained", &self.drained_from_heal_ms),
            ("deficit", &self.deficit),
        ];
        let of_newer = [
            ("detect", &self.detect_from_start_ms),
            ("first_output_from_start", &self.first_output_from_start_ms),
            ("steady_from_start", &self.steady_from_start_ms),
            ("drained_from_start", &self.drained_from_start_ms),
        ];
        let newer = of_newer.into_iter().filter_map(|(part, spread)| Some((part, spread.as_ref()?)));
        of_all.into_iter().chain(newer).collect()
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A figure over recoveries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The median.
    pub p50: Figure,
    /// 95th percentile, by nearest rank.
    pub p95: Figure,
    /// The largest.
    pub max: Figure,
}

/// Where the time of events went on their way to a sink, from due to visible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waterfall {
    /// The sink, as `host.node`.
    pub sink: String,
    /// Events that became visible there as they came in.
    pub events: u64,
    /// In order of the way. The means add up to the mean latency of those events.
    pub stages: Vec<Stage>,
}

/// One stage of the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// A node, or what a channel did: `edge.strong`, `hub.uplink stored`, `hub.uplink waited`.
    pub stage: String,
    /// What its time went into; a stage that is split is there once for each. Absent in results of older builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Mean time in it, ms.
    pub mean_ms: Decimal,
}

impl Waterfall {
    /// Mean time that went into each kind, ms: together the mean latency. `None` where an older build did not tell kinds apart.
    #[must_use]
    pub fn by_kind(&self) -> Option<[(Kind, f64); 4]> {
        let of = |kind| self.stages.iter().filter(move |stage| stage.kind == Some(kind));
        let told = self.stages.iter().all(|stage| stage.kind.is_some());
        // A sum of no floats is -0.
        told.then(|| Kind::ALL.map(|kind| (kind, of(kind).fold(0.0, |sum, stage| sum + stage.mean_ms.0))))
    }

    pub(crate) fn of(sums: &crate::run::Waterfall) -> Waterfall {
        let mean = |ns: u64| Decimal(ns as f64 / sums.events.max(1) as f64 / 1e6);
        let stage = |stage: &crate::run::Stage| Stage {
            stage: stage.stage.clone(),
            kind: Some(stage.kind),
            mean_ms: mean(stage.ns),
        };
        Waterfall { sink: sums.sink.clone(), events: sums.events, stages: sums.stages.iter().map(stage).collect() }
    }
}
