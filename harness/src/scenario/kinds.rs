//! The kinds of faults and sabotages: what each is done to, and which keys it takes. One table, read by the checker and
//! by the page `docs/scenario.md`.

/// What a kind is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// A link between hosts, one way or both.
    Link,
    /// A host.
    Host,
    /// A channel.
    Channel,
    /// A sink whose endpoint the harness owns.
    Sink,
    /// A source that a load enters by.
    Source,
}

impl On {
    /// In words, with an article and an example.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            On::Link => "a link, such as \"edge<->hub\" or \"edge->hub\"",
            On::Host => "a host, such as \"hub\"",
            On::Channel => "a channel, such as \"edge.uplink\" or \"edge->hub:uplink\"",
            On::Sink => "a sink, such as \"hub.raw\"",
            On::Source => "a source, such as \"edge.feed\"",
        }
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// As files write it.
    pub id: &'static str,
    /// What it is done to.
    pub on: On,
    /// Keys that it must have, beyond `kind` and `on`.
    pub needs: &'static [&'static str],
    /// Keys that it may have, beyond those of the schedule.
    pub takes: &'static [&'static str],
}

const fn kind(id: &'static str, on: On, needs: &'static [&'static str], takes: &'static [&'static str]) -> Kind {
    Kind { id, on, needs, takes }
}

/// The faults of this version.
pub const FAULTS: [Kind; 15] = [
    kind("net.cut", On::Link, &[], &["for"]),
    kind("net.flap", On::Link, &["down", "up"], &["for"]),
    kind("net.latency", On::Link, &["add"], &["for"]),
    kind("net.reset", On::Link, &[], &[]),
    kind("ack.delay", On::Channel, &["add"], &["for"]),
    kind("ack.duplicate", On::Channel, &["ratio"], &["for"]),
    kind("ack.lose", On::Channel, &["ratio"], &["for"]),
    kind("disk.full", On::Host, &[], &["for"]),
    kind("disk.latency", On::Host, &["add"], &["for"]),
    kind("disk.eio", On::Host, &["op"], &["for", "ratio"]),
    kind("disk.torn", On::Host, &[], &["for"]),
    kind("host.crash", On::Host, &[], &["restart"]),
    kind("host.power_cut", On::Host, &[], &["restart"]),
    kind("host.restart_storm", On::Host, &["up"], &["for", "down", "power"]),
    kind("sink.slow", On::Sink, &["add"], &["for"]),
];

/// The sabotages: breaches that the world or the lane proxy commits, each to see one check fail. To add one, add a line
/// here and an arm in `fault/sabotage.rs`.
pub const SABOTAGES: [Kind; 18] = [
    kind("sabotage.forge_ack", On::Channel, &[], &["for"]),
    kind("sabotage.lying_sync", On::Host, &[], &["for"]),
    kind("sabotage.rot", On::Host, &[], &[]),
    kind("sabotage.repeat_committed", On::Host, &[], &["for"]),
    kind("sabotage.repeat_settled", On::Host, &[], &["for"]),
    kind("sabotage.repeat_granted", On::Host, &[], &["for"]),
    kind("sabotage.grant_settled", On::Host, &[], &["for"]),
    kind("sabotage.settle_expired", On::Host, &[], &["for"]),
    kind("sabotage.admit_fenced", On::Host, &[], &["for"]),
    kind("sabotage.panic", On::Host, &[], &["for"]),
    kind("sabotage.lose_effect", On::Sink, &[], &["for"]),
    kind("sabotage.duplicate_effect", On::Sink, &[], &["for"]),
    kind("sabotage.reorder_effect", On::Sink, &[], &["for"]),
    kind("sabotage.corrupt_effect", On::Sink, &[], &["for"]),
    kind("sabotage.unexpected_effect", On::Sink, &[], &["for"]),
    kind("sabotage.stuck_sink", On::Sink, &[], &["for"]),
    kind("sabotage.swallow_offer", On::Source, &[], &["for"]),
    kind("sabotage.reject_offer", On::Source, &[], &["for"]),
];

/// Kinds of HARNESS.md §3 that later versions bring.
pub const LATER: [&str; 26] = [
    "net.swizzle",
    "net.loss",
    "net.bandwidth",
    "net.half_open",
    "net.short_io",
    "ack.reorder",
    "delivery.duplicate",
    "disk.quota",
    "disk.stall",
    "disk.throttle",
    "disk.rot",
    "disk.lying_sync",
    "host.stop",
    "host.pause",
    "host.wipe",
    "host.rolling_restart",
    "host.mixed_versions",
    "clock.skew",
    "clock.drift",
    "clock.step",
    "cpu.starve",
    "node.slow",
    "node.panic",
    "load.poison",
    "load.burst",
    "sink.error",
];

/// The keys that say when a fault begins; every kind takes them.
pub const SCHEDULE: [&str; 6] = ["at", "within", "when", "chance", "repeat", "every"];

/// The fault or sabotage of that name.
#[must_use]
pub fn find(id: &str) -> Option<Kind> {
    FAULTS.into_iter().chain(SABOTAGES).find(|kind| kind.id == id)
}
