//! The explicit plan of one seed: every fault step with its time and values, nothing left to chance. It is what a run
//! executes, what `seaworthy plan` prints, and what shrinking works on.

mod action;
mod normal;

pub use action::{Action, DiskOp};

use seaworthy_engine::journal::Durability;
use serde::{Deserialize, Serialize};

/// Nanoseconds of virtual time.
pub type Ns = u64;

/// The value of `schema` in every plan of this version.
pub const SCHEMA: &str = "seaworthy.plan/v1";

/// Segments and frames of simulated journals: small, so that a minute sees several rotations.
/// A load of large payloads gets larger ones.
const SEGMENT_BYTES: u64 = 1 << 20;
const FRAME_BYTES: u64 = 256 << 10;
/// Payloads up to here, such as quakes, leave the small frames as they are.
const LARGE_PAYLOAD_BYTES: u64 = 64 << 10;
/// The smallest frame that a scenario may ask for, and the largest; a simulated disk holds 64 MiB.
const FRAME_BYTES_MIN: u64 = 4 << 10;
const FRAME_BYTES_LIMIT: u64 = 2 << 20;
const SEGMENT_BYTES_LIMIT: u64 = 8 << 20;
/// Packets that a process may have in its nodes.
const IN_FLIGHT: u32 = 4096;

/// What one seed does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: String,
    /// The scenario's id (its file's stem).
    pub scenario: String,
    /// The seed that environment randomness is keyed by.
    pub seed: u64,
    /// The only events of the load that enter, by their number in order of arrival, from 1; `None` for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<Span>>,
    /// When the load ends and everything heals, if earlier than the scenario says. Later events don't enter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ns: Option<Ns>,
    /// How the engine runs.
    #[serde(default, skip_serializing_if = "Tuning::is_default")]
    pub engine: Tuning,
    /// Steps sorted by start; triggered ones last, in order of the file.
    pub steps: Vec<Step>,
}

/// How the engine runs, where not as in every simulation: small sizes meet in seconds what large ones meet in days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// A segment of a journal, bytes; at least four frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u64>,
    /// The largest frame of a journal, bytes; at least twice the largest payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_bytes: Option<u64>,
    /// Packets that a process may have in its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// When a commit counts.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "durability_text")]
    pub durability: Option<Durability>,
    /// Its sources end with the load; what has no other input then ends by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
    /// So long segments are kept for replays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_ns: Option<Ns>,
    /// So many bytes of segments are kept for replays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_bytes: Option<u64>,
}

/// What a journal must hold, whatever is settled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// All that was written in so long.
    pub(crate) ns: Ns,
    /// So many bytes of segments.
    pub(crate) bytes: u64,
    /// Size of a segment.
    pub(crate) segment_bytes: u64,
}

mod durability_text {
    use seaworthy_engine::journal::Durability;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &Option<Durability>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&value.expect("what is none is skipped"))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Option<Durability>, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(Some).map_err(D::Error::custom)
    }
}

impl Tuning {
    /// Whether all is as in every simulation.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Tuning::default()
    }

    /// These, and those of `others` where these say nothing.
    #[must_use]
    pub fn or(self, others: Tuning) -> Tuning {
        Tuning {
            segment_bytes: self.segment_bytes.or(others.segment_bytes),
            frame_bytes: self.frame_bytes.or(others.frame_bytes),
            in_flight: self.in_flight.or(others.in_flight),
            durability: self.durability.or(others.durability),
            ends: self.ends || others.ends,
            retain_ns: self.retain_ns.or(others.retain_ns),
            retain_bytes: self.retain_bytes.or(others.retain_bytes),
        }
    }

    /// The largest frame, bytes, where payloads are up to so large: half a frame is the most that a packet may have.
    #[must_use]
    pub fn frame_bytes(&self, payload_bytes_max: u64) -> u64 {
        let default = if payload_bytes_max > LARGE_PAYLOAD_BYTES { 2 * payload_bytes_max + FRAME_BYTES / 2 } else { 0 };
        match self.frame_bytes {
            None => default.next_multiple_of(FRAME_BYTES).max(FRAME_BYTES),
            Some(frame_bytes) => {
                frame_bytes.max((2 * payload_bytes_max + FRAME_BYTES_MIN / 2).next_multiple_of(FRAME_BYTES_MIN))
            }
        }
    }

    /// A segment, bytes, with frames of that size.
    #[must_use]
    pub fn segment_bytes(&self, frame_bytes: u64) -> u64 {
        self.segment_bytes.unwrap_or(SEGMENT_BYTES).max(4 * frame_bytes)
    }

    /// Packets that a process may have in its nodes.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.unwrap_or(IN_FLIGHT) as usize
    }

    /// When a commit counts.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability.unwrap_or_default()
    }

    /// What journals must hold for replays, with payloads of up to so many bytes.
    pub(crate) fn kept(&self, payload_bytes_max: u64) -> Kept {
        Kept {
            ns: self.retain_ns.unwrap_or(0),
            bytes: self.retain_bytes.unwrap_or(0),
            segment_bytes: self.segment_bytes(self.frame_bytes(payload_bytes_max)),
        }
    }

    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        match *self {
            Tuning { frame_bytes: Some(frame), .. } if !(FRAME_BYTES_MIN..=FRAME_BYTES_LIMIT).contains(&frame) => {
                Err(format!("a frame of {frame} bytes is not between {FRAME_BYTES_MIN} and {FRAME_BYTES_LIMIT}"))
            }
            Tuning { segment_bytes: Some(segment), .. }
                if !(4 * FRAME_BYTES_MIN..=SEGMENT_BYTES_LIMIT).contains(&segment) =>
            {
                Err(format!(
                    "a segment of {segment} bytes is not between {} and {SEGMENT_BYTES_LIMIT}",
                    4 * FRAME_BYTES_MIN
                ))
            }
            Tuning { in_flight: Some(0), .. } => Err("nothing moves with 0 packets in flight".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Numbers from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl Plan {
    /// Ends the load at `end_ns`, if that is before `duration_ns`: what would begin later doesn't.
    pub(crate) fn end_in(&mut self, end_ns: Ns, duration_ns: Ns) {
        if end_ns < duration_ns {
            self.end_ns = Some(end_ns);
            self.steps.retain(|step| !matches!(step.start, Start::At { at_ns } if at_ns >= end_ns));
        }
    }

    /// Gives triggers the times at which they came out, so that what they watched can change; one that did not come out
    /// never will. `began` knows them by the numbers of their steps.
    pub(crate) fn freeze(&mut self, began: impl Fn(usize) -> Option<Ns>) {
        let mut number = 0;
        self.steps.retain_mut(|step| {
            let came_out = began(number);
            number += 1;
            let Start::When { .. } = step.start else { return true };
            step.start = Start::At { at_ns: came_out.unwrap_or(0) };
            came_out.is_some()
        });
    }

    /// Whether the load's event of that number enters.
    #[must_use]
    pub fn lets_in(&self, number: u64) -> bool {
        let Some(only) = &self.only else { return true };
        only.iter().any(|span| (span.first..=span.last).contains(&number))
    }
}

/// One fault, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The fault's id in the scenario (`[faults.ID]`). A flap's cuts share it.
    pub fault: String,
    /// When it begins.
    pub start: Start,
    /// How long it lasts; `None` for what is over at once, or lasts until the heal phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ns: Option<Ns>,
    /// What it does.
    pub action: Action,
}

/// When a step begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Start {
    /// At a virtual time.
    At {
        /// Nanoseconds since the world's start.
        at_ns: Ns,
    },
    /// The first time that a condition over gauges and event counts holds, tested each tick.
    When {
        /// The expression, e.g. `edge.uplink.backlog > 200`.
        when: String,
    },
}

/// A direction between hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// One host.
    pub a: String,
    /// The other.
    pub b: String,
    /// True for `a->b` only, false for both directions.
    pub one_way: bool,
}

/// A distribution of durations; each draw is keyed by seed, fault and the thing that it delays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Dist {
    /// Always the same, in ns.
    Constant {
        /// The value, ns.
        ns: Ns,
    },
    /// Evenly between two values, both included.
    Uniform {
        /// Smallest, ns.
        from_ns: Ns,
        /// Largest, ns.
        to_ns: Ns,
    },
    /// Log-normal through two percentiles.
    Lognormal {
        /// Median, ns.
        p50_ns: Ns,
        /// 99th percentile, ns.
        p99_ns: Ns,
    },
}

impl Dist {
    /// The duration at `u`, where `u / 2^64` is the quantile: never smaller for a larger `u`, and equal on every machine.
    ///
    /// A log-normal is drawn through 4096 equal steps of probability and straight lines between them, so its tail ends
    /// at the quantile 1 - 2^-16. One whose `p99_ns` isn't above its `p50_ns` is always `p50_ns`.
    #[must_use]
    pub fn draw(&self, u: u64) -> Ns {
        match *self {
            Dist::Constant { ns } => ns,
            Dist::Uniform { from_ns, to_ns } => {
                let span = u128::from(to_ns.saturating_sub(from_ns)) + 1;
                from_ns + share(span, u)
            }
            Dist::Lognormal { p50_ns, p99_ns } if p50_ns == 0 || p99_ns <= p50_ns => p50_ns,
            Dist::Lognormal { p50_ns, p99_ns } => {
                let step = u >> 52;
                let low = normal::lognormal_step(p50_ns, p99_ns, step);
                let high = normal::lognormal_step(p50_ns, p99_ns, step + 1).max(low);
                low + share(u128::from(high - low), u << 12)
            }
        }
    }

    /// The largest value that a draw can give, ns; `None` for a log-normal, whose tail is long.
    #[must_use]
    pub fn max_ns(&self) -> Option<Ns> {
        match *self {
            Dist::Constant { ns } => Some(ns),
            Dist::Uniform { to_ns, .. } => Some(to_ns),
            Dist::Lognormal { .. } => None,
        }
    }

    /// The value that half of the draws stay below, ns.
    #[must_use]
    pub fn median_ns(&self) -> Ns {
        self.draw(1 << 63)
    }
}

/// A draw as a number strictly between 0 and 1.
pub(crate) fn unit(draw: u64) -> f64 {
    ((draw >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Whether a share, in parts per million, strikes what that was drawn for.
pub(crate) fn strikes(draw: u64, ratio_ppm: u32) -> bool {
    draw % 1_000_000 < u64::from(ratio_ppm)
}

/// `whole * u / 2^64`, rounded down.
fn share(whole: u128, u: u64) -> u64 {
    u64::try_from((whole * u128::from(u)) >> 64).expect("a part of at most 2^64, scaled by less than one, fits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(dist: Dist, quantile: f64) -> f64 {
        dist.draw((quantile * 2f64.powi(64)) as u64) as f64
    }

    #[test]
    fn lognormal_passes_through_its_percentiles() {
        let dist = Dist::Lognormal { p50_ns: 5_000_000, p99_ns: 200_000_000 };
        assert_eq!(at(dist, 0.5), 5e6);
        assert!((at(dist, 0.99) / 200e6 - 1.0).abs() < 0.002, "{}", at(dist, 0.99));
        // By symmetry of the logarithm: the first percentile is p50² / p99.
        assert!((at(dist, 0.01) / 125e3 - 1.0).abs() < 0.002, "{}", at(dist, 0.01));
    }

    #[test]
    fn uniform_reaches_both_ends() {
        let dist = Dist::Uniform { from_ns: 3, to_ns: 5 };
        assert_eq!((dist.draw(0), dist.draw(u64::MAX / 2), dist.draw(u64::MAX)), (3, 4, 5));
        let all = Dist::Uniform { from_ns: 0, to_ns: u64::MAX };
        assert_eq!((all.draw(0), all.draw(u64::MAX)), (0, u64::MAX));
    }

    #[test]
    fn impossible_shapes_are_constant() {
        assert_eq!(Dist::Lognormal { p50_ns: 7, p99_ns: 7 }.draw(u64::MAX), 7);
        assert_eq!(Dist::Uniform { from_ns: 9, to_ns: 1 }.draw(u64::MAX), 9);
    }

    proptest! {
        #[test]
        fn draws_are_monotone(a: u64, b: u64, p50 in 1u64..1 << 40, more in 0u64..1 << 45) {
            let (low, high) = (a.min(b), a.max(b));
            let dist = Dist::Lognormal { p50_ns: p50, p99_ns: p50 + more };
            prop_assert!(dist.draw(low) <= dist.draw(high));
            prop_assert!(dist.draw(low) <= dist.draw(low.saturating_add(1)));
        }
    }
}
