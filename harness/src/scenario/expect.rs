//! Expectations: `"latency.p99 @steady" = "<= 400ms"` as a typed objective. The words mean what HARNESS.md §5 says.

use seaworthy_reports::histogram::Percentile;
use serde::{Deserialize, Serialize};

use super::expr::{ExprError, Op, Parser, Quantity, Unit};
use super::value::nearest;

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The key as written, e.g. `latency.p99 @steady`.
    pub text: String,
    /// What is measured.
    pub what: Metric,
    /// Its limit.
    pub limit: Limit,
    /// The line in the file, from 1.
    pub line: u32,
}

/// A comparison with a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// As written, e.g. `<= 400ms`.
    pub text: String,
    /// How.
    pub op: Op,
    /// With what; times in ns, ratios as shares of one.
    pub value: f64,
}

impl Limit {
    /// Whether `got`, in the metric's unit (ns, a share of one, a count), is within the limit.
    #[must_use]
    pub fn holds(&self, got: f64) -> bool {
        self.op.holds(got, self.value)
    }
}

/// What an objective measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Accepted, an expected effect missing, nobody said so.
    Lost,
    /// Reported lost, with its exact range.
    LostReported,
    /// Lost within the window that a durability declares.
    LostWindow,
    /// An effect that nothing explains.
    Unexpected,
    /// Still in flight at the end.
    Unresolved,
    /// Refused for good.
    Rejected,
    /// Ended as dead letters.
    DeadLettered,
    /// Dropped by a shedding policy.
    Shed,
    /// Dropped for their age.
    Expired,
    /// Visible too often, of all visible.
    DuplicateRatio,
    /// The same before dedup.
    DuplicateRaw,
    /// Work done again, of all work.
    ReplayRatio,
    /// (lost + shed + expired) / accepted.
    DropRatio,
    /// Visible minus intended arrival.
    Latency {
        /// Of the delivered events only; else what was not delivered counts as endless.
        delivered: bool,
        /// Which figure.
        stat: Stat,
        /// Over which events.
        over: Phase,
    },
    /// From the first attempt to the effect of a replayed event.
    ReplayDelay {
        /// Which figure.
        stat: Stat,
        /// Over which events.
        over: Phase,
    },
    /// How long until all is well again, of these faults taken as one group.
    Recovery {
        /// Fault ids, as written.
        faults: Vec<String>,
        /// Until what.
        until: Until,
        /// From their start, not from their heal.
        from_start: bool,
        /// Over the seeds.
        stat: Stat,
    },
    /// Event-seconds of delay that the faults cost.
    Deficit {
        /// Fault ids, as written.
        faults: Vec<String>,
        /// Over the seeds.
        stat: Stat,
    },
}

/// Which figure of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// The median.
    P50,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
    /// The 99.9th percentile.
    P999,
    /// The worst.
    Max,
}

impl Stat {
    /// As the reports know it.
    #[must_use]
    pub fn percentile(self) -> Percentile {
        match self {
            Stat::P50 => Percentile::P50,
            Stat::P95 => Percentile::P95,
            Stat::P99 => Percentile::P99,
            Stat::P999 => Percentile::P999,
            Stat::Max => Percentile::Max,
        }
    }
}

/// Which events a latency is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All after the warm-up; what is meant when nothing is written.
    All,
    /// Those of the warm-up.
    Warmup,
    /// Those of no fault, no recovery, after the warm-up.
    Steady,
    /// Those that arrived while the fault lasted.
    Fault(String),
    /// Those that arrived from its heal to the steady state.
    Recovery(String),
    /// Those that became visible after the load's end.
    Drain,
}

/// The end of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The system noticed.
    Detect,
    /// The first effect came out.
    FirstOutput,
    /// From then on events come as they did before.
    Steady,
    /// The backlog is gone.
    Drained,
}

/// Names of counts and ratios, with what they are.
const PLAIN: [(&str, Metric); 13] = [
    ("lost", Metric::Lost),
    ("lost.reported", Metric::LostReported),
    ("lost.window", Metric::LostWindow),
    ("unexpected", Metric::Unexpected),
    ("unresolved", Metric::Unresolved),
    ("rejected", Metric::Rejected),
    ("dead_lettered", Metric::DeadLettered),
    ("shed", Metric::Shed),
    ("expired", Metric::Expired),
    ("duplicate.ratio", Metric::DuplicateRatio),
    ("duplicate.raw", Metric::DuplicateRaw),
    ("replay.ratio", Metric::ReplayRatio),
    ("drop.ratio", Metric::DropRatio),
];

const STATS: [(&str, Stat); 5] =
    [("p50", Stat::P50), ("p95", Stat::P95), ("p99.9", Stat::P999), ("p99", Stat::P99), ("max", Stat::Max)];

const FORMS: &str = "write `lost`, `duplicate.ratio`, `latency.p99 @steady`, `recovery(FAULT).steady p95` or another of docs/scenario.md";

impl Metric {
    /// The unit that its limit is in.
    #[must_use]
    pub fn unit(&self) -> Unit {
        match self {
            Metric::DuplicateRatio | Metric::DuplicateRaw | Metric::ReplayRatio | Metric::DropRatio => Unit::Ratio,
            Metric::Latency { .. } | Metric::ReplayDelay { .. } | Metric::Recovery { .. } => Unit::Ns,
            _ => Unit::Count,
        }
    }

    /// The faults that it names.
    #[must_use]
    pub fn faults(&self) -> Vec<&str> {
        match self {
            Metric::Latency { over: Phase::Fault(fault) | Phase::Recovery(fault), .. }
            | Metric::ReplayDelay { over: Phase::Fault(fault) | Phase::Recovery(fault), .. } => vec![fault],
            Metric::Recovery { faults, .. } | Metric::Deficit { faults, .. } => {
                faults.iter().map(String::as_str).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Reads the key of an expectation.
    ///
    /// # Errors
    /// Where it stopped making sense.
    pub fn parse(text: &str) -> Result<Metric, ExprError> {
        let trimmed = text.trim();
        if let Some((_, metric)) = PLAIN.iter().find(|(name, _)| *name == trimmed) {
            return Ok(metric.clone());
        }
        let mut parser = Parser { text, at: 0, depth: 0 };
        let metric = if parser.take("latency.") {
            let delivered = parser.take("delivered.");
            Metric::Latency { delivered, stat: stat(&mut parser)?, over: over(&mut parser)? }
        } else if parser.take("replay.delay.") {
            Metric::ReplayDelay { stat: stat(&mut parser)?, over: over(&mut parser)? }
        } else if parser.take("recovery(") {
            let faults = faults(&mut parser)?;
            parser.expect(".")?;
            let (until, from_start) = until(&mut parser)?;
            Metric::Recovery { faults, until, from_start, stat: spread(&mut parser)? }
        } else if parser.take("deficit(") {
            let faults = faults(&mut parser)?;
            Metric::Deficit { faults, stat: spread(&mut parser)? }
        } else {
            let names =
                PLAIN.iter().map(|(name, _)| *name).chain(["latency.p99", "latency.p95", "latency.p50", "latency.max"]);
            let help = nearest(trimmed, names).map_or(FORMS.to_owned(), |near| format!("did you mean `{near}`?"));
            return parser.fail(format!("`{trimmed}` is not measured"), help);
        };
        parser.blanks();
        if !parser.rest().is_empty() {
            return parser.fail(format!("`{}` is too much", parser.rest()), FORMS);
        }
        Ok(metric)
    }
}

fn stat(parser: &mut Parser<'_>) -> Result<Stat, ExprError> {
    match STATS.into_iter().find(|(name, _)| parser.take(name)) {
        Some((_, stat)) => Ok(stat),
        None => parser.fail("which figure is missing", "write p50, p95, p99, p99.9 or max"),
    }
}

/// The events that are meant; all after the warm-up when nothing is written.
fn over(parser: &mut Parser<'_>) -> Result<Phase, ExprError> {
    if parser.take("@") { phase(parser) } else { Ok(Phase::All) }
}

/// A figure over seeds; the worst seed when nothing is written.
fn spread(parser: &mut Parser<'_>) -> Result<Stat, ExprError> {
    parser.blanks();
    if parser.rest().is_empty() {
        return Ok(Stat::Max);
    }
    match stat(parser)? {
        stat @ (Stat::P50 | Stat::P95 | Stat::Max) => Ok(stat),
        Stat::P99 | Stat::P999 => parser.fail("no set of seeds carries that percentile", "write p50, p95 or max"),
    }
}

fn phase(parser: &mut Parser<'_>) -> Result<Phase, ExprError> {
    let from = parser.at;
    let of_fault = |parser: &mut Parser<'_>| {
        parser.expect("(")?;
        let fault = parser.name().to_owned();
        parser.expect(")")?;
        Ok(fault)
    };
    match parser.name() {
        "all" => Ok(Phase::All),
        "steady" => Ok(Phase::Steady),
        "warmup" => Ok(Phase::Warmup),
        "drain" => Ok(Phase::Drain),
        "fault" => of_fault(parser).map(Phase::Fault),
        "recovery" => of_fault(parser).map(Phase::Recovery),
        other => {
            let help = "write @steady, @warmup, @all, @fault(ID), @recovery(ID) or @drain".to_owned();
            Err(ExprError { message: format!("unknown phase `@{other}`"), at: from, help })
        }
    }
}

fn faults(parser: &mut Parser<'_>) -> Result<Vec<String>, ExprError> {
    let mut all = vec![parser.name().to_owned()];
    while parser.take("+") {
        all.push(parser.name().to_owned());
    }
    parser.expect(")")?;
    Ok(all)
}

/// The end of a recovery, and whether it is counted from the start of the faults.
fn until(parser: &mut Parser<'_>) -> Result<(Until, bool), ExprError> {
    let from = parser.at;
    let name = parser.name();
    let (end, from_start) = name.strip_suffix("_from_start").map_or((name, false), |end| (end, true));
    match end {
        "steady" => Ok((Until::Steady, from_start)),
        "first_output" => Ok((Until::FirstOutput, from_start)),
        "drained" => Ok((Until::Drained, from_start)),
        "detect" if !from_start => Ok((Until::Detect, from_start)),
        _ => {
            let help = "write .detect, .first_output, .steady, .drained, or .steady_from_start and so on".to_owned();
            Err(ExprError { message: format!("a recovery has no `{name}`"), at: from, help })
        }
    }
}

impl Limit {
    /// Reads a limit such as `<= 400ms`, in the unit that `unit` says; shares may be written as percentages or plain.
    ///
    /// # Errors
    /// Where it stopped making sense, or that the unit is another.
    pub fn parse(text: &str, unit: Unit) -> Result<Limit, ExprError> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        let example = match unit {
            Unit::Count => "\"== 0\"",
            Unit::Ratio => "\"<= 0.5%\"",
            _ => "\"<= 400ms\"",
        };
        let Some(op) = parser.op() else {
            return parser.fail("it doesn't begin with a comparison", format!("write a limit such as {example}"));
        };
        let Quantity { value, unit: found } = parser.quantity()?;
        let fits = found == unit || (unit == Unit::Ratio && found == Unit::Count && value <= 1.0);
        if !fits {
            return Err(ExprError {
                message: "its unit doesn't fit".to_owned(),
                at: 0,
                help: format!("write {}, as in {example}", unit.example()),
            });
        }
        parser.blanks();
        if !parser.rest().is_empty() {
            return parser.fail(format!("`{}` is too much", parser.rest()), format!("write a limit such as {example}"));
        }
        Ok(Limit { text: text.trim().to_owned(), op, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        let latency = |delivered, stat, over| Ok(Metric::Latency { delivered, stat, over });
        assert_eq!(Metric::parse("lost"), Ok(Metric::Lost));
        assert_eq!(Metric::parse("lost.reported"), Ok(Metric::LostReported));
        assert_eq!(Metric::parse("latency.p99 @steady"), latency(false, Stat::P99, Phase::Steady));
        assert_eq!(Metric::parse("latency.p99.9"), latency(false, Stat::P999, Phase::All));
        assert_eq!(
            Metric::parse("latency.delivered.max @recovery(slow-disk)"),
            latency(true, Stat::Max, Phase::Recovery("slow-disk".into()))
        );
        assert_eq!(
            Metric::parse("replay.delay.p95 @fault(cut)"),
            Ok(Metric::ReplayDelay { stat: Stat::P95, over: Phase::Fault("cut".into()) })
        );
        let faults = vec!["flap".to_owned(), "crash".to_owned()];
        let recovery =
            |from_start| Metric::Recovery { faults: faults.clone(), until: Until::Steady, from_start, stat: Stat::P95 };
        assert_eq!(Metric::parse("recovery(flap+crash).steady p95"), Ok(recovery(false)));
        assert_eq!(Metric::parse("recovery(flap+crash).steady_from_start p95"), Ok(recovery(true)));
        assert_eq!(
            Metric::parse("deficit(flap)"),
            Ok(Metric::Deficit { faults: vec!["flap".into()], stat: Stat::Max })
        );
        for bad in [
            "",
            "lots",
            "latency",
            "latency.p42",
            "replay.delay",
            "replay.delay.p95 p95",
            "latency.p99 @noon",
            "recovery(flap).p95",
            "recovery(flap",
            "lost p95",
            "recovery(x).steady p99",
            "recovery(x).detect_from_start",
        ] {
            assert!(Metric::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_in_the_unit_of_what_they_limit() {
        let limit = Limit::parse("<= 400ms", Unit::Ns).expect("a time");
        assert!(limit.holds(400e6) && !limit.holds(400_000_001.0));
        let limit = Limit::parse("<= 0.5%", Unit::Ratio).expect("a share");
        assert!(limit.holds(0.005) && !limit.holds(0.006));
        assert_eq!(Limit::parse("<= 0.005", Unit::Ratio).expect("a plain share").value, 0.005);
        assert!(Limit::parse("== 0", Unit::Count).expect("a count").holds(0.0));
        for (bad, unit) in [
            ("400ms", Unit::Ns),
            ("<= 400", Unit::Ns),
            ("<= 5%", Unit::Count),
            ("<= ", Unit::Count),
            ("== 0 0", Unit::Count),
            ("<= 5", Unit::Ratio),
        ] {
            assert!(Limit::parse(bad, unit).is_err(), "{bad}");
        }
    }
}
