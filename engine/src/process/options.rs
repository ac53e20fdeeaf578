//! How a channel hands out its packets: order, leases, redelivery, poison and business keys.

use miette::SourceSpan;

use super::problem::ProcessProblem;
use crate::graph::diagnostic::Findings;
use crate::graph::suggest::instead;
use crate::graph::yaml::{Fields, Tree, Value};
use crate::nodes::units::duration_ns;

/// Most deliveries that a file may ask for.
const COUNT_MAX: u64 = 1_000_000;
/// Most packets under lease that a file may ask for: their ranges are part of the journal's small state.
const PENDING_MAX: u64 = 16_384;
/// Longest time that a file may ask for: 30 days.
const TIME_MAX_NS: u64 = 30 * 86_400 * 1_000_000_000;

/// The keys of a channel that these options are read from.
pub(super) const KEYS: [&str; 8] =
    ["order", "on_poison", "ack_wait", "max_ack_pending", "max_deliver", "backoff", "backoff_max", "dedup_horizon"];

/// What keeps its order while several members of a group take from a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Nothing: any member takes any packet.
    None,
    /// Each key: one member holds all of a key's unsettled packets. Packets without a key keep no order.
    Key,
    /// All: one member holds all unsettled packets.
    Strict,
}

/// What becomes of a packet that was delivered `max_deliver` times, and of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPoison {
    /// It becomes a dead letter; its key goes on.
    Dlq,
    /// It becomes a dead letter, and so does every later packet of its key.
    ParkKey,
    /// It stays, and so does every later packet of its key, until the channel's options change.
    BlockKey,
}

/// How a channel hands out its packets. All times are ns.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChannelOptions {
    /// What keeps its order.
    pub order: Order,
    /// What becomes of a packet that can't be delivered.
    pub on_poison: OnPoison,
    /// How long a member may keep a packet without settling it.
    pub ack_wait_ns: u64,
    /// Most packets of a group that are under lease at a time.
    pub max_ack_pending: u32,
    /// Most deliveries of a packet to a group, those that a crash cut short included; `None` for as often as it takes.
    pub max_deliver: Option<u32>,
    /// The wait before a packet's second delivery; doubles with each further one.
    pub backoff_ns: u64,
    /// The longest wait before a delivery.
    pub backoff_max_ns: u64,
    /// How long a business key (`meta.idempotency_key`) is remembered after its packet came.
    pub dedup_horizon_ns: u64,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        ChannelOptions {
            order: Order::Key,
            on_poison: OnPoison::Dlq,
            ack_wait_ns: 30_000_000_000,
            max_ack_pending: 1024,
            max_deliver: None,
            backoff_ns: 100_000_000,
            backoff_max_ns: 10_000_000_000,
            dedup_horizon_ns: 3_600_000_000_000,
        }
    }
}

impl ChannelOptions {
    /// Reads the options of a channel; what is wrong is reported, and stays at its default.
    pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> ChannelOptions {
        let mut options = ChannelOptions::default();
        let orders = [("none", Order::None), ("key", Order::Key), ("strict", Order::Strict)];
        options.order = word(fields, "order", &orders, findings).unwrap_or(options.order);
        let ends = [("dlq", OnPoison::Dlq), ("park_key", OnPoison::ParkKey), ("block_key", OnPoison::BlockKey)];
        options.on_poison = word(fields, "on_poison", &ends, findings).unwrap_or(options.on_poison);
        let mut times = [
            ("ack_wait", &mut options.ack_wait_ns),
            ("backoff", &mut options.backoff_ns),
            ("backoff_max", &mut options.backoff_max_ns),
            ("dedup_horizon", &mut options.dedup_horizon_ns),
        ];
        for (key, value) in &mut times {
            **value = time(fields, key, findings).unwrap_or(**value);
        }
        options.max_ack_pending =
            count(fields, "max_ack_pending", PENDING_MAX, findings).unwrap_or(options.max_ack_pending);
        options.max_deliver = count(fields, "max_deliver", COUNT_MAX, findings);
        let said = |key| fields.get(key).map(|tree| tree.span);
        if let (OnPoison::ParkKey | OnPoison::BlockKey, Some(span)) = (options.on_poison, said("on_poison")) {
            if options.max_deliver.is_none() {
                findings.add(span, ProcessProblem::NoPoison);
            }
            if options.order == Order::None {
                findings.add(span, ProcessProblem::NoKeys);
            }
        }
        if let Some(span) = said("backoff_max").or(said("backoff"))
            && options.backoff_ns > options.backoff_max_ns
        {
            findings.add(span, ProcessProblem::Backoff);
        }
        options
    }
}

fn word<T: Copy>(fields: &Fields<'_>, key: &str, known: &[(&str, T)], findings: &mut Findings) -> Option<T> {
    let said = fields.get(key)?.text(key, findings)?;
    let found = known.iter().find(|(name, _)| *name == said.value).map(|(_, value)| *value);
    if found.is_none() {
        let help = instead(&said.value, known.iter().map(|(name, _)| *name));
        findings.add(said.span, ProcessProblem::UnknownWord { key: key.to_owned(), word: said.value, help });
    }
    found
}

fn time(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<u64> {
    let said = fields.get(key)?.text(key, findings)?;
    let ns = duration_ns(key, &said.value).ok().and_then(|ns| u64::try_from(ns).ok());
    let ns = ns.filter(|ns| *ns <= TIME_MAX_NS);
    if ns.is_none() {
        let problem = ProcessProblem::NoTime { key: key.to_owned(), text: said.value };
        findings.add(said.span, problem);
    }
    ns
}

fn count(fields: &Fields<'_>, key: &str, max: u64, findings: &mut Findings) -> Option<u32> {
    let tree: &Tree = fields.get(key)?;
    let number = if let Value::Number(number) = &tree.value { number.as_u64() } else { None };
    let number = number.filter(|number| (1..=max).contains(number)).and_then(|number| u32::try_from(number).ok());
    if number.is_none() {
        let span: SourceSpan = tree.span;
        findings.add(span, ProcessProblem::NoCount { key: key.to_owned(), max });
    }
    number
}
