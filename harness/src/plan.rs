//! The explicit plan of one seed: every fault step with its time and values, nothing left to chance. It is what a run
//! executes, what `seaworthy plan` prints, and what shrinking works on.

use serde::{Deserialize, Serialize};

/// Nanoseconds of virtual time.
pub type Ns = u64;

/// What one seed does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// `seaworthy.plan/v1`.
    pub schema: String,
    /// The scenario's id (its file's stem).
    pub scenario: String,
    /// The seed that environment randomness is keyed by.
    pub seed: u64,
    /// Steps sorted by start; triggered ones last, in order of the file.
    pub steps: Vec<Step>,
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
    /// The value at `draw`, an evenly distributed 64-bit number: the inverse of the distribution function, so a larger
    /// draw never gives a smaller value.
    #[must_use]
    pub fn sample_ns(self, draw: u64) -> Ns {
        match self {
            Dist::Constant { ns } => ns,
            Dist::Uniform { from_ns, to_ns } => {
                let width = u128::from(to_ns - from_ns) + 1;
                from_ns + ((u128::from(draw) * width) >> 64) as Ns
            }
            Dist::Lognormal { p50_ns, p99_ns } => {
                let sigma = (p99_ns as f64 / p50_ns as f64).ln() / Z_P99;
                (p50_ns as f64 * (sigma * normal_quantile(unit(draw))).exp()) as Ns
            }
        }
    }

    /// The largest value; `None` when there is none.
    #[must_use]
    pub fn max_ns(self) -> Option<Ns> {
        match self {
            Dist::Constant { ns } => Some(ns),
            Dist::Uniform { to_ns, .. } => Some(to_ns),
            Dist::Lognormal { .. } => None,
        }
    }

    /// The value that half of the draws stay below.
    #[must_use]
    pub fn median_ns(self) -> Ns {
        self.sample_ns(1 << 63)
    }
}

/// A draw as a number strictly between 0 and 1.
pub(crate) fn unit(draw: u64) -> f64 {
    ((draw >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// The standard normal's 99th percentile.
const Z_P99: f64 = 2.326_347_874_040_841;

/// The standard normal's quantile at `p` in (0, 1), to 1.2e-9 relative (P. J. Acklam's rational approximation).
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0];
    let poly = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        poly(&C, q) / poly(&D, q)
    };
    if p < 0.02425 {
        tail(p)
    } else if p > 1.0 - 0.02425 {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        q * poly(&A, q * q) / poly(&B, q * q)
    }
}

/// Which disk operations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskOp {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Syncs.
    Sync,
}

/// What a step does to the world. One variant a fault kind; the flap is compiled to cuts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum Action {
    /// Bytes stop and resume at the heal; connects hang.
    #[serde(rename = "net.cut")]
    NetCut {
        /// Where.
        link: Link,
    },
    /// Bytes arrive later.
    #[serde(rename = "net.latency")]
    NetLatency {
        /// Where.
        link: Link,
        /// By how much more.
        add: Dist,
    },
    /// Open connections break with ECONNRESET, once.
    #[serde(rename = "net.reset")]
    NetReset {
        /// Where.
        link: Link,
    },
    /// Acks of a channel's lane come later.
    #[serde(rename = "ack.delay")]
    AckDelay {
        /// The channel.
        channel: String,
        /// By how much.
        add: Dist,
    },
    /// Acks come twice.
    #[serde(rename = "ack.duplicate")]
    AckDuplicate {
        /// The channel.
        channel: String,
        /// Share of acks, in parts per million.
        ratio_ppm: u32,
    },
    /// Acks vanish; the connection is cut a moment later, as a lost connection would lose them.
    #[serde(rename = "ack.lose")]
    AckLose {
        /// The channel.
        channel: String,
        /// Share of acks, in parts per million.
        ratio_ppm: u32,
    },
    /// No byte more can be allocated.
    #[serde(rename = "disk.full")]
    DiskFull {
        /// Whose disk.
        host: String,
    },
    /// Each operation takes longer.
    #[serde(rename = "disk.latency")]
    DiskLatency {
        /// Whose disk.
        host: String,
        /// By how much.
        add: Dist,
    },
    /// Operations fail with EIO.
    #[serde(rename = "disk.eio")]
    DiskEio {
        /// Whose disk.
        host: String,
        /// Which operations.
        op: DiskOp,
        /// Share of them, in parts per million.
        ratio_ppm: u32,
    },
    /// While it lasts, a power cut tears and garbles unsynced sectors instead of only dropping some.
    #[serde(rename = "disk.torn")]
    DiskTorn {
        /// Whose disk.
        host: String,
    },
    /// SIGKILL, then a start after a while; the page cache survives.
    #[serde(rename = "host.crash")]
    HostCrash {
        /// Which.
        host: String,
        /// Down for how long.
        restart_ns: Ns,
    },
    /// The power goes: unsynced sectors are lost, peers hear nothing.
    #[serde(rename = "host.power_cut")]
    HostPowerCut {
        /// Which.
        host: String,
        /// Down for how long.
        restart_ns: Ns,
    },
    /// Crash after crash, also during recovery.
    #[serde(rename = "host.restart_storm")]
    HostRestartStorm {
        /// Which.
        host: String,
        /// Up for how long each time.
        up: Dist,
        /// Down for how long each time.
        down: Dist,
        /// Power cuts instead of SIGKILLs.
        power: bool,
    },
    /// A sink answers later.
    #[serde(rename = "sink.slow")]
    SinkSlow {
        /// The sink, as `host.node`.
        sink: String,
        /// By how much, each batch.
        add: Dist,
    },
    /// A deliberate breach, to see a check fail; only in `must_fail/`.
    #[serde(rename = "sabotage")]
    Sabotage {
        /// Which (`forge_ack`, `lose_effect`, …).
        breach: String,
        /// Where: a host, a sink or a channel, as the breach wants it.
        on: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_their_distribution() {
        let log = Dist::Lognormal { p50_ns: 5_000_000, p99_ns: 200_000_000 };
        let at = |dist: Dist, p: f64| dist.sample_ns((p * 2f64.powi(64)) as u64);
        assert!(at(log, 0.5).abs_diff(5_000_000) < 100, "{}", at(log, 0.5));
        assert!(at(log, 0.99).abs_diff(200_000_000) < 10_000, "{}", at(log, 0.99));
        let uniform = Dist::Uniform { from_ns: 10, to_ns: 12 };
        assert_eq!([0, 1 << 63, u64::MAX].map(|draw| uniform.sample_ns(draw)), [10, 11, 12]);
        assert_eq!(Dist::Uniform { from_ns: 0, to_ns: u64::MAX }.sample_ns(7), 7);
        let mut last = 0;
        for step in 0..1000u64 {
            let value = log.sample_ns(step << 54);
            assert!(value >= last, "the quantile goes back at {step}");
            last = value;
        }
    }
}
