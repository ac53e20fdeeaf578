//! Checks: judges of one seed's history. They see only what the harness itself recorded.

mod assertion;
mod bounds;
mod budget;
mod channel;
mod durability;
mod exits;
mod inbox;
mod lease;
mod letters;
mod lost;
mod member;
mod order;
mod probe;
#[cfg(test)]
mod tests;
mod unexpected;
mod unresolved;

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_engine::graph::{Plan as Graph, PlannedNode, Role};
use seaworthy_engine::process::{ChannelPlan, GroupPlan, OnPoison, Order, ProcessPlan};

pub use inbox::InboxAt;

use crate::history::{History, OfferRecord};
use crate::ledger::Ledger;
use crate::plan::{Ns, Plan};
use crate::reference;
use crate::scenario::Limit;

/// Violations that one check lists; a last line counts the rest.
const LISTED: usize = 100;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Violation {
    /// The check's name, e.g. `lost`, `order.key`.
    pub check: String,
    /// What was seen, with names and times, in one line.
    pub message: String,
    /// When it could first be seen, virtual ns.
    pub at_ns: u64,
}

/// Judges a finished history.
pub trait Check {
    /// Its name, unique, as `must_fail/` and reports say it.
    fn name(&self) -> &'static str;
    /// Every broken promise in `history`, in order of time; at most a hundred, with a last line that counts the rest.
    fn judge(&self, history: &History) -> Vec<Violation>;
}

/// What the scenario allows. The default allows nothing and asks for key order.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Events that may be lost; `None` where an objective of the file judges it over all seeds instead. So for the others.
    pub lost: Option<u64>,
    /// Events that may be gone with what a fault destroyed, and reported.
    pub lost_reported: Option<u64>,
    /// Events that a power cut may cost within the declared window.
    pub lost_window: Option<u64>,
    /// Effects that nobody expected.
    pub unexpected: Option<u64>,
    /// Events that may still be in flight at the end.
    pub unresolved: Option<u64>,
    /// Events that may be refused for good.
    pub rejected: Option<u64>,
    /// Events that may be dropped by rules that `drops` doesn't name.
    pub shed: Option<u64>,
    /// Rules that may drop, each with its share of what was taken.
    pub drops: BTreeMap<String, Limit>,
    /// Dead letters that may be written.
    pub dead_lettered: Option<u64>,
    /// Whether packets of one key keep their order.
    pub key_order: bool,
    /// Most packets that may wait inside the system at once; `None` for no bound.
    pub backlog_max: Option<u64>,
    /// Most bytes that a host's disk may hold, by host.
    pub disk_bytes_max: BTreeMap<String, u64>,
    /// How often the graph may try a delivery again beyond what restarts explain.
    pub retries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            lost: Some(0),
            lost_reported: Some(0),
            lost_window: Some(0),
            unexpected: Some(0),
            unresolved: Some(0),
            rejected: Some(0),
            shed: Some(0),
            drops: BTreeMap::new(),
            dead_lettered: Some(0),
            key_order: true,
            backlog_max: None,
            disk_bytes_max: BTreeMap::new(),
            retries: 0,
        }
    }
}

/// A channel at its host, as its probe events name it: as a whole, or as one of several groups sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelAt {
    /// The process that the channel lives with.
    pub host: String,
    /// The channel, or `CHANNEL@GROUP`.
    pub channel: String,
    /// Whether what enters by one source comes here by one way: else it may come in another order, and from each way once.
    pub one_way: bool,
    /// Whether packets are leased there, and how often each may be delivered.
    pub leased: Option<Leased>,
}

/// What a group whose packets are leased promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Most deliveries of a packet; `None` for as often as it takes.
    pub max_deliver: Option<u32>,
    /// How long a packet is a member's that says nothing of it, ns.
    pub ack_wait_ns: Ns,
    /// The wait before the second delivery of a packet whose lease ran out, ns.
    pub backoff_ns: Ns,
    /// Most packets that are leased at a time. Told only where deliveries are counted: then a packet is handed out after what made
    /// room for it was settled durably.
    pub pending: Option<u64>,
    /// Whether what follows a poison of its key is given up, too.
    pub parks: bool,
}

impl ChannelAt {
    /// The places of a channel among all of them.
    #[must_use]
    pub fn of(plan: &ChannelPlan, processes: &ProcessPlan) -> Vec<ChannelAt> {
        let one_way = comes_one_way(plan, processes, &mut BTreeSet::new());
        let name = seaworthy_engine::runtime::journal_channel(&plan.id).to_string();
        let options = &plan.options;
        let promised = Leased {
            max_deliver: options.max_deliver,
            ack_wait_ns: options.ack_wait_ns,
            backoff_ns: options.backoff_ns,
            pending: options.max_deliver.map(|_| u64::from(options.max_ack_pending)),
            parks: options.on_poison == OnPoison::ParkKey && options.order == Order::Key,
        };
        let leased = |group: &GroupPlan| plan.is_leased(group).then_some(promised);
        let at = |channel: String, leased| ChannelAt { host: plan.host.clone(), channel, one_way, leased };
        match plan.groups.as_slice() {
            [group] => vec![at(name, leased(group))],
            groups => {
                let of_group = |group: &GroupPlan| at(format!("{name}@{}", group.id), leased(group));
                std::iter::once(at(name.clone(), None)).chain(groups.iter().map(of_group)).collect()
            }
        }
    }
}

/// Whether no packet is on its way to the channel through several members, by several ways of one graph, or again from another.
fn comes_one_way<'a>(plan: &'a ChannelPlan, processes: &'a ProcessPlan, seen: &mut BTreeSet<&'a str>) -> bool {
    if !seen.insert(&plan.id) {
        return false;
    }
    let all = &processes.channels;
    let graphs = processes.processes.iter().filter(|process| plan.producers.contains(&process.id));
    if graphs.into_iter().any(|process| ways(&process.plan, &plan.id) > 1) {
        return false;
    }
    let takes = |process: &str| {
        let process = process.to_owned();
        let of = move |channel: &'a ChannelPlan| channel.groups.iter().map(move |group| (channel, group));
        all.iter().flat_map(of).filter(move |(_, group)| group.members.contains(&process))
    };
    let takers = plan.producers.iter().filter(|producer| takes(producer).next().is_some()).count();
    takers <= 1
        && plan.producers.iter().all(|producer| {
            takes(producer).all(|(channel, group)| !channel.is_leased(group) && comes_one_way(channel, processes, seen))
        })
}

/// By how many ways what enters a graph at one place may come to a channel's end, at most.
fn ways(graph: &Graph, channel: &str) -> usize {
    let is_end = |node: &PlannedNode| matches!(&node.role, Role::ChannelOut { channel: of } if of == channel);
    let from = |entry: usize| {
        let begin = (0..graph.nodes.len()).map(|at| usize::from(at == entry)).collect();
        let ways = reference::ways(begin, |at| graph.nodes[at].outputs.iter().copied());
        let ends = graph.nodes.iter().zip(ways).filter(|(node, _)| is_end(node));
        ends.map(|(_, ways)| ways).fold(0, usize::saturating_add)
    };
    let entries = graph.nodes.iter().enumerate().filter(|(_, node)| node.role.is_entry());
    entries.map(|(entry, _)| from(entry)).max().unwrap_or(0)
}

/// All that the built-in checks judge by.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// What happened.
    pub history: &'a History,
    /// Its events that a power cut undid, by their place in it.
    pub undone: &'a BTreeSet<usize>,
    /// What came of each event.
    pub ledger: &'a Ledger,
    /// What was planned.
    pub plan: &'a Plan,
    /// What is allowed.
    pub limits: &'a Limits,
    /// The channels.
    pub channels: &'a [ChannelAt],
    /// The inboxes that drop the oldest.
    pub inboxes: &'a [InboxAt],
}

impl Case<'_> {
    fn offer(&self, at: usize) -> &OfferRecord {
        &self.history.offers[at]
    }

    /// Which of the channels it is.
    fn channel(&self, host: &str, place: &str) -> Option<usize> {
        self.channels.iter().position(|at| at.host == host && at.channel == place)
    }
}

/// Finds (time, message) of each broken promise.
type Judge = fn(&Case<'_>) -> Vec<(Ns, String)>;

/// The built-in checks by name. Each has a sabotage in `scenarios/must_fail/`.
const CHECKS: [(&str, Judge); 36] = [
    ("lost", lost::silent),
    ("lost.reported", lost::reported),
    ("lost.window", lost::window),
    ("unexpected", unexpected::judge),
    ("order.key", order::judge),
    ("unresolved", unresolved::judge),
    ("rejected", budget::rejected),
    ("shed", budget::shed),
    ("shed.oldest", inbox::oldest),
    ("dead_lettered", budget::dead_lettered),
    ("dead_letter.record", letters::judge),
    ("bounds.backlog", bounds::backlog),
    ("bounds.disk", bounds::disk),
    ("durability", durability::judge),
    ("journal.recovered", durability::recovered),
    ("journal.sound", durability::sound),
    ("probe.contradiction", probe::judge),
    ("channel.committed_once", channel::committed_once),
    ("channel.floor", channel::floor),
    ("channel.refused_once", channel::refused_once),
    ("channel.settled_once", channel::settled_once),
    ("channel.deliveries", channel::deliveries),
    ("channel.given_up", channel::given_up),
    ("channel.producer_order", channel::producer_order),
    ("channel.fenced", channel::fenced),
    ("channel.one_lease", lease::one_lease),
    ("channel.held", lease::held),
    ("channel.ack_wait", lease::ack_wait),
    ("channel.backoff", lease::backoff),
    ("channel.parked", lease::parked),
    ("channel.pending", member::pending),
    ("channel.freed", member::freed),
    ("channel.generations", member::generations),
    ("engine.panic", exits::panicked),
    ("engine.ended", exits::ended),
    ("assertion", assertion::judge),
];

/// Names of the built-in checks.
pub fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Runs the built-in checks and the system's own: all broken promises in order of time, at most a hundred a check and a
/// line that counts the rest.
#[must_use]
pub fn judge_all(case: &Case<'_>, own: &[Box<dyn Check>]) -> Vec<Violation> {
    let mut all = Vec::new();
    for (check, judge) in CHECKS {
        let mut found = judge(case);
        // Stable: what shows at one instant, such as all that is missing at the end, stays in the order of the load.
        found.sort_by_key(|(at_ns, _)| *at_ns);
        let rest = found.len().saturating_sub(LISTED);
        found.truncate(LISTED);
        if rest > 0 {
            let last_ns = found.last().map_or(0, |(at_ns, _)| *at_ns);
            found.push((last_ns, format!("and {rest} more")));
        }
        all.extend(found.into_iter().map(|(at_ns, message)| Violation { check: check.to_owned(), message, at_ns }));
    }
    for check in own {
        all.extend(check.judge(case.history));
    }
    // Stable: what one check found stays in its order, with the count of the rest behind it.
    all.sort_by_key(|violation| violation.at_ns);
    all
}

/// For each count that an objective of the file judges over all seeds: the first event that is in it. The objective itself
/// knows only how many there are.
#[must_use]
pub fn first_of_each(case: &Case<'_>) -> BTreeMap<&'static str, String> {
    let limits = case.limits;
    let counts = [
        ("lost", limits.lost),
        ("unexpected", limits.unexpected),
        ("unresolved", limits.unresolved),
        ("rejected", limits.rejected),
        ("shed", limits.shed),
        ("dead_lettered", limits.dead_lettered),
    ];
    let strict = Case { limits: &Limits::default(), ..*case };
    let judge = |check| CHECKS.iter().find(|(name, _)| *name == check).map(|(_, judge)| judge);
    let first = |(check, allowed): (&'static str, Option<u64>)| {
        let judge = judge(check).filter(|_| allowed.is_none())?;
        let (_, message) = judge(&strict).into_iter().min_by_key(|(at_ns, _)| *at_ns)?;
        Some((check, message))
    };
    counts.into_iter().filter_map(first).collect()
}

/// `30.112 s`.
fn seconds(ns: Ns) -> String {
    format!("{}.{:03} s", ns / 1_000_000_000, ns / 1_000_000 % 1000)
}
