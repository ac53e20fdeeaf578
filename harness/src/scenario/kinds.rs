//! The kinds of faults and sabotages: what each is done to, and which keys it takes. One table, read by the checker and
//! by the page `docs/scenario.md`.

/// What a kind is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// A link between hosts, one way or both.
    Link,
    /// All links of a host, or of the world.
    Links,
    /// A host.
    Host,
    /// All hosts.
    Hosts,
    /// A channel.
    Channel,
    /// A node between source and sink.
    Node,
    /// A sink whose endpoint the harness owns.
    Sink,
    /// A source that a load enters by.
    Source,
}

/// How a scenario writes all hosts, or all links.
pub const ALL: &str = "*";

impl On {
    /// In words, with an article and an example.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            On::Link => "a link, such as \"edge<->hub\" or \"edge->hub\"",
            On::Links => "a host, whose links are meant, such as \"hub\", or \"*\" for all links",
            On::Host => "a host, such as \"hub\"",
            On::Hosts => "\"*\", for all hosts",
            On::Channel => "a channel, such as \"edge.uplink\" or \"edge->hub:uplink\"",
            On::Node => "a node that is neither source nor sink, such as \"edge.strong\"",
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

/// The faults.
pub const FAULTS: [Kind; 44] = [
    kind("net.cut", On::Link, &[], &["for"]),
    kind("net.flap", On::Link, &["down", "up"], &["for"]),
    kind("net.swizzle", On::Links, &[], &["for"]),
    kind("net.latency", On::Link, &["add"], &["for"]),
    kind("net.loss", On::Link, &["ratio"], &["for"]),
    kind("net.bandwidth", On::Link, &["rate"], &["for"]),
    kind("net.reset", On::Link, &[], &[]),
    kind("net.half_open", On::Link, &[], &[]),
    kind("net.short_io", On::Link, &[], &["for", "bytes"]),
    kind("ack.delay", On::Channel, &["add"], &["for"]),
    kind("ack.duplicate", On::Channel, &["ratio"], &["for"]),
    kind("ack.reorder", On::Channel, &["ratio"], &["for"]),
    kind("ack.lose", On::Channel, &["ratio"], &["for"]),
    kind("delivery.duplicate", On::Channel, &["ratio"], &["for"]),
    kind("publish.delay", On::Channel, &["add"], &["for"]),
    kind("publish.duplicate", On::Channel, &["ratio"], &["for"]),
    kind("disk.full", On::Host, &[], &["for"]),
    kind("disk.quota", On::Host, &["bytes"], &["for"]),
    kind("disk.latency", On::Host, &["add"], &["for"]),
    kind("disk.stall", On::Host, &["for"], &[]),
    kind("disk.throttle", On::Host, &["rate"], &["for"]),
    kind("disk.eio", On::Host, &["op"], &["for", "ratio"]),
    kind("disk.torn", On::Host, &[], &["for"]),
    kind("disk.rot", On::Host, &[], &["newest"]),
    kind("disk.lying_sync", On::Host, &[], &["for"]),
    kind("host.crash", On::Host, &[], &["restart"]),
    kind("host.power_cut", On::Host, &[], &["restart"]),
    kind("host.stop", On::Host, &[], &["restart"]),
    kind("host.pause", On::Host, &["for"], &[]),
    kind("host.wipe", On::Host, &[], &["restart"]),
    kind("host.restart_storm", On::Host, &[], &["for", "up", "down", "power", "operation"]),
    kind("host.rolling_restart", On::Hosts, &[], &["restart", "up"]),
    kind("host.mixed_versions", On::Host, &[], &["for"]),
    kind("clock.skew", On::Host, &["by"], &["for"]),
    kind("clock.drift", On::Host, &["by"], &["for"]),
    kind("clock.step", On::Host, &["by"], &[]),
    kind("cpu.starve", On::Host, &["ratio"], &["for"]),
    kind("node.slow", On::Node, &["add"], &["for"]),
    kind("node.panic", On::Node, &["ratio"], &["for"]),
    kind("load.poison", On::Source, &["ratio"], &["for"]),
    kind("load.burst", On::Source, &["for"], &[]),
    kind("sink.slow", On::Sink, &["add"], &["for"]),
    kind("sink.error", On::Sink, &[], &["for", "ratio"]),
    kind("sink.reject", On::Sink, &["ratio"], &["for"]),
];

/// The sabotages: breaches that the world or the lane proxy commits, each to see one check fail. To add one, add a line
/// here and an arm in `fault/sabotage.rs`.
pub const SABOTAGES: [Kind; 30] = [
    kind("sabotage.forge_ack", On::Channel, &[], &["for"]),
    kind("sabotage.lying_sync", On::Host, &[], &["for"]),
    kind("sabotage.failing_sync", On::Host, &[], &["for"]),
    kind("sabotage.rot", On::Host, &[], &[]),
    kind("sabotage.repeat_committed", On::Host, &[], &["for"]),
    kind("sabotage.repeat_settled", On::Host, &[], &["for"]),
    kind("sabotage.repeat_refused", On::Host, &[], &["for"]),
    kind("sabotage.repeat_granted", On::Host, &[], &["for"]),
    kind("sabotage.give_up_early", On::Host, &[], &["for"]),
    kind("sabotage.grant_settled", On::Host, &[], &["for"]),
    kind("sabotage.expire_early", On::Host, &[], &["for"]),
    kind("sabotage.grant_expired", On::Host, &[], &["for"]),
    kind("sabotage.grant_parked", On::Host, &[], &["for"]),
    kind("sabotage.drop_newest", On::Host, &[], &["for"]),
    kind("sabotage.settle_expired", On::Host, &[], &["for"]),
    kind("sabotage.repeat_joined", On::Host, &[], &["for"]),
    kind("sabotage.hide_settles", On::Host, &[], &["for"]),
    kind("sabotage.hide_freed", On::Host, &[], &["for"]),
    kind("sabotage.hide_refusals", On::Host, &[], &["for"]),
    kind("sabotage.admit_fenced", On::Host, &[], &["for"]),
    kind("sabotage.break_assertion", On::Host, &[], &["for"]),
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

/// The keys that say when a fault begins; every kind takes them.
pub const SCHEDULE: [&str; 6] = ["at", "within", "when", "chance", "repeat", "every"];

/// The fault or sabotage of that name.
#[must_use]
pub fn find(id: &str) -> Option<Kind> {
    FAULTS.into_iter().chain(SABOTAGES).find(|kind| kind.id == id)
}
