//! Objectives: a metric, a limit, and the verdict on what came out. Parsing them is the scenario's business.

use std::fmt;

use crate::histogram::Percentile;
use crate::phases::Phase;
use crate::result::{Figure, Verdict};

/// One line of `[expect]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Its canonical text, e.g. `latency.p99 @steady`.
    pub what: String,
    /// What is measured.
    pub metric: Metric,
    /// What it must meet.
    pub limit: Limit,
    /// Its line in the file; 0 when it isn't written there.
    pub line: u32,
}

/// What can be measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    /// Events of one fate.
    Count(Count, Phase),
    /// A share.
    Ratio(Ratio, Phase),
    /// Latency of the worst sink, over all offered events, ms.
    Latency(Percentile, Phase),
    /// The same over what was delivered, ms.
    Delivered(Percentile, Phase),
    /// From the first attempt to the effect of replayed events, of the worst sink, ms.
    ReplayDelay(Percentile, Phase),
    /// A recovery from the group that holds all these faults; times in ms, the deficit in event·s.
    Recovery {
        /// Ids of faults.
        faults: Vec<String>,
        /// Which of its figures.
        part: Part,
        /// Over the recoveries of all seeds.
        over: Percentile,
    },
}

/// A count of `docs/definitions.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the counts are the words of docs/definitions.md, one for one")]
pub enum Count {
    Offered,
    Accepted,
    Rejected,
    Indeterminate,
    Recovered,
    Visible,
    Absorbed,
    Folded,
    Lost,
    LostReported,
    LostWindow,
    Unresolved,
    DeadLettered,
    Shed,
    Expired,
    Unexpected,
}

/// A ratio of `docs/definitions.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ratio {
    /// (lost + shed + expired) / accepted.
    Drop,
    /// Copies beyond the expected / copies.
    Duplicate,
    /// The same before idempotent sinks took repeats out.
    DuplicateRaw,
    /// Work done again / distinct work.
    Replay,
    /// Shed / accepted.
    Shed,
    /// Expired / accepted.
    Expired,
    /// Dead-lettered / accepted.
    DeadLettered,
}

/// A figure of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// From the start until the system itself said that something is not as usual; n/a where it said nothing.
    Detect,
    /// Until anything comes.
    FirstOutput(Since),
    /// Until events come in time again.
    Steady(Since),
    /// Until all that was due before the heal has come.
    Drained(Since),
    /// Delay beyond the usual, event·s.
    Deficit,
}

/// Which end of the faults a recovery is counted from; what it ends with is the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The first start of the group's faults: how long users felt it.
    Start,
    /// The last heal: how long the system took once nothing was in its way.
    Heal,
}

/// How a figure is held against a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the operators are what their names say")]
pub enum Op {
    Less,
    AtMost,
    Equal,
    NotEqual,
    AtLeast,
    More,
}

impl Op {
    const ALL: [Op; 6] = [Op::Less, Op::AtMost, Op::Equal, Op::NotEqual, Op::AtLeast, Op::More];

    /// As limits print it.
    fn sign(self) -> &'static str {
        match self {
            Op::Less => "<",
            Op::AtMost => "<=",
            Op::Equal => "==",
            Op::NotEqual => "!=",
            Op::AtLeast => ">=",
            Op::More => ">",
        }
    }
}

/// The unit that a limit is given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Plain numbers.
    Count,
    /// A share of 1.
    Ratio,
    /// Milliseconds.
    Ms,
    /// Event·seconds.
    EventSeconds,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// How.
    pub op: Op,
    /// In `unit`.
    pub value: f64,
    /// Of `value`.
    pub unit: Unit,
}

impl Limit {
    /// Whether a value meets it.
    #[must_use]
    pub fn met(&self, v: f64) -> bool {
        match self.op {
            Op::Less => v < self.value,
            Op::AtMost => v <= self.value,
            Op::Equal => v == self.value,
            Op::NotEqual => v != self.value,
            Op::AtLeast => v >= self.value,
            Op::More => v > self.value,
        }
    }
}

impl Unit {
    /// A value with its unit, as limits and texts print it: `400ms`, `6s`, `0.5%`, `3`.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Count => format!("{value}"),
            // Six decimals of a ratio are four of a percentage; rounding hides what binary fractions add.
            Unit::Ratio => format!("{}%", (value * 1e6).round() / 1e4),
            Unit::Ms if value >= 1000.0 && value % 100.0 == 0.0 => format!("{}s", value / 1000.0),
            Unit::Ms => format!("{value}ms"),
            Unit::EventSeconds => format!("{value} event s"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.sign(), self.unit.show(self.value))
    }
}

/// Whether that is a limit as results print them: `<= 8s`.
#[must_use]
pub fn is_limit(text: &str) -> bool {
    let is_unit = |unit: &str| unit.chars().all(|letter| letter.is_alphabetic() || "%·".contains(letter));
    let parts =
        limit_parts(text).filter(|(sign, _, unit)| is_unit(unit) && Op::ALL.iter().any(|op| op.sign() == *sign));
    parts.is_some()
}

/// The limit's operator, value in the unit of the figure, and the unit's name, read back from its canonical text.
pub(crate) fn limit_parts(limit: &str) -> Option<(&str, f64, &str)> {
    let (op, value) = limit.split_once(' ')?;
    let digits = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let number: f64 = value[..digits].parse().ok()?;
    match &value[digits..] {
        "s" => Some((op, number * 1000.0, "ms")),
        "%" => Some((op, number / 100.0, "%")),
        unit => Some((op, number, unit)),
    }
}

/// Holds a figure against a limit: a lower bound and never fail, what can't be told is void.
#[must_use]
pub fn judge(got: &Figure, limit: &Limit) -> Verdict {
    match got {
        Figure::V { v } if limit.met(v.0) => Verdict::Pass,
        Figure::V { .. } | Figure::Ge { .. } | Figure::Never { .. } => Verdict::Fail,
        Figure::Na { .. } => Verdict::Void,
    }
}

/// The same where the limit is known as results print it; `None` where that is no limit, or where the figure is so close that the
/// print may have rounded it away.
pub(crate) fn judged(got: &Figure, limit: &str) -> Option<Verdict> {
    let (sign, value, _) = limit_parts(limit)?;
    let op = Op::ALL.into_iter().find(|op| op.sign() == sign)?;
    let near = matches!(got, Figure::V { v } if (v.0 - value).abs() <= value.abs() * 1e-9);
    let same = *got == Figure::v(value) && matches!(op, Op::Equal | Op::NotEqual);
    (same || !near).then(|| judge(got, &Limit { op, value, unit: Unit::Count }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_print_as_people_write_them() {
        let show = |op, value, unit| Limit { op, value, unit }.to_string();
        assert_eq!(show(Op::AtMost, 400.0, Unit::Ms), "<= 400ms");
        assert_eq!(show(Op::Less, 6000.0, Unit::Ms), "< 6s");
        assert_eq!(show(Op::AtMost, 0.005, Unit::Ratio), "<= 0.5%");
        assert_eq!(show(Op::Equal, 3.0, Unit::Count), "== 3");
    }

    #[test]
    fn a_printed_limit_judges_as_the_limit_does() {
        for (v, limit, verdict) in [
            (399.0, "<= 400ms", Some(Verdict::Pass)),
            (401.0, "<= 400ms", Some(Verdict::Fail)),
            (5999.0, "< 6s", Some(Verdict::Pass)),
            (0.0, "== 0", Some(Verdict::Pass)),
            (1.0, "== 0", Some(Verdict::Fail)),
            (3.0, ">= 2", Some(Verdict::Pass)),
            (0.007, "<= 0.7%", None),
            (1.0, "gone", None),
        ] {
            assert_eq!(judged(&Figure::v(v), limit), verdict, "{v} {limit}");
        }
        assert_eq!(judged(&Figure::never(), "<= 1s"), Some(Verdict::Fail));
        assert_eq!(judged(&Figure::na("n < 1"), "<= 1s"), Some(Verdict::Void));
    }

    #[test]
    fn only_a_value_can_pass_and_only_what_cannot_be_told_is_void() {
        let limit = Limit { op: Op::AtMost, value: 400.0, unit: Unit::Ms };
        assert_eq!(judge(&Figure::v(400.0), &limit), Verdict::Pass);
        assert_eq!(judge(&Figure::v(401.0), &limit), Verdict::Fail);
        assert_eq!(judge(&Figure::ge(1.0), &limit), Verdict::Fail);
        assert_eq!(judge(&Figure::never(), &limit), Verdict::Fail);
        assert_eq!(judge(&Figure::never(), &Limit { op: Op::AtLeast, ..limit }), Verdict::Fail);
        assert_eq!(judge(&Figure::na("n < 299"), &limit), Verdict::Void);
    }
}
