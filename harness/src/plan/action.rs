//! What a step of a plan does to the world: one variant a kind of fault. What scenarios write as one fault and the world
//! knows as several (a flap, a swizzle, a rolling restart) is compiled to these.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Dist, Link, Ns};

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

/// Defines [`Action`], and with it each variant's kind and what it is done to, so that they can't drift apart.
macro_rules! actions {
    ($(
        $(#[$doc:meta])*
        $kind:literal => $name:ident { $(#[$target_doc:meta])* $target:ident: $of:ty $(, $(#[$key_doc:meta])* $key:ident: $value:ty)* $(,)? }
    )*) => {
        /// What a step does to the world.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", deny_unknown_fields)]
        pub enum Action {
            $(
                $(#[$doc])*
                #[serde(rename = $kind)]
                $name {
                    $(#[$target_doc])*
                    $target: $of,
                    $($(#[$key_doc])* $key: $value,)*
                },
            )*
            /// A deliberate breach, to see a check fail; only in `must_fail/`.
            #[serde(rename = "sabotage")]
            Sabotage {
                /// Which (`forge_ack`, `lose_effect`, …).
                breach: String,
                /// Where: a host, a sink or a channel, as the breach wants it.
                on: String,
            },
        }

        impl Action {
            /// The kind, as plans write it: `net.cut`, and `sabotage` for all sabotages.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Action::$name { .. } => $kind,)*
                    Action::Sabotage { .. } => "sabotage",
                }
            }

            /// What it is done to, as scenarios write it: `edge<->hub`, `hub`, `edge.uplink`.
            #[must_use]
            pub fn on(&self) -> Cow<'_, str> {
                match self {
                    $(Action::$name { $target, .. } => $target.as_written(),)*
                    Action::Sabotage { on, .. } => on.as_written(),
                }
            }
        }
    };
}

/// What a step can be done to.
trait Place {
    fn as_written(&self) -> Cow<'_, str>;
}

impl Place for String {
    fn as_written(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }
}

impl Place for Link {
    fn as_written(&self) -> Cow<'_, str> {
        Cow::Owned(format!("{}{}{}", self.a, if self.one_way { "->" } else { "<->" }, self.b))
    }
}

actions! {
    /// Bytes stop and resume at the heal; connects hang.
    "net.cut" => NetCut {
        /// Where.
        link: Link,
    }
    /// Bytes arrive later.
    "net.latency" => NetLatency {
        /// Where.
        link: Link,
        /// By how much more.
        add: Dist,
    }
    /// Segments are lost and sent again: they, and all behind them, arrive a retransmission later.
    "net.loss" => NetLoss {
        /// Where.
        link: Link,
        /// Share of segments, in parts per million.
        ratio_ppm: u32,
    }
    /// Bytes queue for a line that carries only so many a second, each direction by itself.
    "net.bandwidth" => NetBandwidth {
        /// Where.
        link: Link,
        /// Bytes a second.
        bytes_per_s: u64,
    }
    /// Open connections break with ECONNRESET, once.
    "net.reset" => NetReset {
        /// Where.
        link: Link,
    }
    /// Connections that are open when it begins go dead without a word: what is sent on them arrives nowhere.
    "net.half_open" => NetHalfOpen {
        /// Where.
        link: Link,
    }
    /// Reads and writes move only a few bytes at a time.
    "net.short_io" => NetShortIo {
        /// Where.
        link: Link,
        /// Most bytes of one read or write; each is drawn from 1 to this.
        bytes: u32,
    }
    /// Acks of a channel's lane come later.
    "ack.delay" => AckDelay {
        /// The channel.
        channel: String,
        /// By how much.
        add: Dist,
    }
    /// Acks come twice.
    "ack.duplicate" => AckDuplicate {
        /// The channel.
        channel: String,
        /// Share of acks, in parts per million.
        ratio_ppm: u32,
    }
    /// Acks are overtaken by later ones.
    "ack.reorder" => AckReorder {
        /// The channel.
        channel: String,
        /// Share of acks, in parts per million.
        ratio_ppm: u32,
    }
    /// Acks vanish; the connection is cut a moment later, as a lost connection would lose them.
    "ack.lose" => AckLose {
        /// The channel.
        channel: String,
        /// Share of acks, in parts per million.
        ratio_ppm: u32,
    }
    /// The connection is cut between commit and ack, so that what was taken is delivered again.
    "delivery.duplicate" => DeliveryDuplicate {
        /// The channel.
        channel: String,
        /// Share of acks, in parts per million.
        ratio_ppm: u32,
    }
    /// Batches come to their host later, also those of a producer that is gone by then.
    "publish.delay" => PublishDelay {
        /// The channel.
        channel: String,
        /// By how much.
        add: Dist,
    }
    /// Batches come to their host twice.
    "publish.duplicate" => PublishDuplicate {
        /// The channel.
        channel: String,
        /// Share of batches, in parts per million.
        ratio_ppm: u32,
    }
    /// No byte more can be allocated.
    "disk.full" => DiskFull {
        /// Whose disk.
        host: String,
    }
    /// The disk is smaller than it was.
    "disk.quota" => DiskQuota {
        /// Whose disk.
        host: String,
        /// What it holds at most, in bytes.
        bytes: u64,
    }
    /// Each operation takes longer.
    "disk.latency" => DiskLatency {
        /// Whose disk.
        host: String,
        /// By how much.
        add: Dist,
    }
    /// No operation that begins now completes before the heal.
    "disk.stall" => DiskStall {
        /// Whose disk.
        host: String,
    }
    /// Bytes move only so fast.
    "disk.throttle" => DiskThrottle {
        /// Whose disk.
        host: String,
        /// Bytes a second.
        bytes_per_s: u64,
    }
    /// Operations fail with EIO.
    "disk.eio" => DiskEio {
        /// Whose disk.
        host: String,
        /// Which operations.
        op: DiskOp,
        /// Share of them, in parts per million.
        ratio_ppm: u32,
    }
    /// While it lasts, a power cut tears and garbles unsynced sectors instead of only dropping some.
    "disk.torn" => DiskTorn {
        /// Whose disk.
        host: String,
    }
    /// A stored byte of the journal changes, once.
    "disk.rot" => DiskRot {
        /// Whose disk.
        host: String,
        /// In the last frame that may rot, instead of one near the middle.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        newest: bool,
    }
    /// Syncs succeed in their time and make nothing durable.
    "disk.lying_sync" => DiskLyingSync {
        /// Whose disk.
        host: String,
    }
    /// SIGKILL, then a start after a while; the page cache survives.
    "host.crash" => HostCrash {
        /// Which.
        host: String,
        /// Down for how long.
        restart_ns: Ns,
    }
    /// The power goes: unsynced sectors are lost, peers hear nothing.
    "host.power_cut" => HostPowerCut {
        /// Which.
        host: String,
        /// Down for how long.
        restart_ns: Ns,
    }
    /// The software is asked to end, and starts again.
    "host.stop" => HostStop {
        /// Which.
        host: String,
        /// From the request to the next start, at least.
        restart_ns: Ns,
    }
    /// The software stands still while time and the network go on.
    "host.pause" => HostPause {
        /// Which.
        host: String,
    }
    /// The machine is replaced: another one comes up under its name, with an empty disk.
    "host.wipe" => HostWipe {
        /// Which.
        host: String,
        /// Down for how long.
        restart_ns: Ns,
    }
    /// Crash after crash, also during recovery.
    "host.restart_storm" => HostRestartStorm {
        /// Which.
        host: String,
        /// Up for how long each time.
        up: Dist,
        /// Down for how long each time.
        down: Dist,
        /// Power cuts instead of SIGKILLs.
        power: bool,
        /// Down as soon as its disk has begun so many operations since the boot, instead of after `up`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<u64>,
    }
    /// The host's lanes speak the oldest version of the protocol, as software of an older release would.
    "host.mixed_versions" => HostMixedVersions {
        /// Which.
        host: String,
    }
    /// The wall clock is off.
    "clock.skew" => ClockSkew {
        /// Whose clock.
        host: String,
        /// By how much, ns; behind where negative.
        by_ns: i64,
    }
    /// Both clocks run fast, or slow.
    "clock.drift" => ClockDrift {
        /// Whose clock.
        host: String,
        /// By how much, in parts per million; slow where negative.
        ppm: i64,
    }
    /// The wall clock jumps, once.
    "clock.step" => ClockStep {
        /// Whose clock.
        host: String,
        /// By how much, ns; back where negative.
        by_ns: i64,
    }
    /// Something else takes a share of the cores.
    "cpu.starve" => CpuStarve {
        /// Which host.
        host: String,
        /// The share that is gone, in parts per million.
        ratio_ppm: u32,
    }
    /// A node takes longer for each batch.
    "node.slow" => NodeSlow {
        /// The node, as `host.node`.
        node: String,
        /// By how much.
        add: Dist,
    }
    /// A node panics over a packet.
    "node.panic" => NodePanic {
        /// The node, as `host.node`.
        node: String,
        /// Share of packets, in parts per million.
        ratio_ppm: u32,
    }
    /// Events carry a payload that no node can read.
    "load.poison" => LoadPoison {
        /// The source, as `host.node`.
        source: String,
        /// Share of events, in parts per million.
        ratio_ppm: u32,
    }
    /// All events that are due while it lasts come at its start.
    "load.burst" => LoadBurst {
        /// The source, as `host.node`.
        source: String,
    }
    /// A sink answers later.
    "sink.slow" => SinkSlow {
        /// The sink, as `host.node`.
        sink: String,
        /// By how much, each batch.
        add: Dist,
    }
    /// A sink refuses packets for good.
    "sink.reject" => SinkReject {
        /// The sink, as `host.node`.
        sink: String,
        /// Share of packets, in parts per million.
        ratio_ppm: u32,
    }
    /// A sink says that it is unavailable.
    "sink.error" => SinkError {
        /// The sink, as `host.node`.
        sink: String,
        /// Share of batches, in parts per million.
        ratio_ppm: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_what_plans_write() {
        let link = Link { a: "edge".to_owned(), b: "hub".to_owned(), one_way: true };
        for action in [Action::NetCut { link }, Action::DiskFull { host: "hub".to_owned() }] {
            let written = serde_json::to_value(&action).expect("an action is plain data");
            assert_eq!(written["kind"], action.kind());
        }
    }

    #[test]
    fn places_are_what_scenarios_write() {
        let link = Link { a: "edge".to_owned(), b: "hub".to_owned(), one_way: true };
        assert_eq!(Action::NetReset { link: link.clone() }.on(), "edge->hub");
        assert_eq!(Action::NetReset { link: Link { one_way: false, ..link } }.on(), "edge<->hub");
        assert_eq!(Action::DiskRot { host: "hub".to_owned(), newest: false }.on(), "hub");
    }
}
