//! A real run with its own sources and sinks, judged by what its witnesses wrote down.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use seaworthy_engine::graph::{PlannedNode, Role};
use seaworthy_engine::journal::reader::ReadError;
use seaworthy_engine::node::Class;
use seaworthy_engine::process::{ChannelPlan, Order};
use seaworthy_reports::pool::ScenarioMeta;
use seaworthy_reports::run::SeedRun;

use super::{Prepared, RunError};
use crate::check::Limits;
use crate::conditions::Sometimes;
use crate::history::Buried;
use crate::outside;
use crate::plan::Plan;
use crate::reference::{self, Flow, FlowNode, FlowWhat};
use crate::witness::books::{self, Books, BooksError};
use crate::world::SeedOutcome;

/// Classes of dead letters that only who gave the packet up can tell of: a node that panics would panic here, and a sink's word is
/// its own.
const TOLD: [Class; 2] = [Class::PluginPanic, Class::SinkPermanent];

/// A run as its witnesses saw it.
#[derive(Debug)]
pub struct Witnessed {
    /// What the reports take.
    pub run: SeedRun,
    /// It ends where a witness had seen enough, and the run went on.
    pub is_cut: bool,
    /// Whether the order of a key's events was judged.
    pub by_key: bool,
}

/// Why nothing can be told of a run.
#[derive(Debug, thiserror::Error)]
pub enum WitnessedError {
    /// There are no books of it.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// What a node makes depends on an order that is nowhere written down.
    #[error(
        "node `{node}` keeps state of packets that reach it by several ways, and how they mix is not known outside"
    )]
    Mixed {
        /// The node, as `host.node`.
        node: String,
    },
    /// Its dead letters can't be read.
    #[error(transparent)]
    Letters(#[from] ReadError),
    /// A node panicked over a packet that it had not come to in the run.
    #[error("a node panicked when its packets were evaluated again")]
    Panicked,
    /// The harness itself is wrong.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Prepared {
    /// Whether a ledger can be kept of a run of this graph, whatever its sources bring.
    ///
    /// # Errors
    /// When what comes out of it depends on an order that nobody outside knows.
    pub fn can_be_witnessed(&self) -> Result<(), WitnessedError> {
        let flow = self.flow();
        // Members that share a channel's packets pass each other: where they take them, another way begins.
        let ways = ways(&flow, |node| matches!(node.what, FlowWhat::Entry) || self.is_mixed(&node.address));
        let stateful = |address: &str| self.node(address).is_some_and(|node| node.role == Role::StatefulNode);
        let mixed = flow.nodes.iter().zip(ways).find(|(node, ways)| *ways > 1 && stateful(&node.address));
        mixed.map_or(Ok(()), |(node, _)| Err(WitnessedError::Mixed { node: node.address.to_string() }))
    }

    /// What the reports know of such a run: its checks are those of a simulation. `by_key`: it promises order within a key.
    #[must_use]
    pub fn witnessed_meta(&self, id: &str, hash: &str, by_key: bool) -> ScenarioMeta {
        let ordering = if by_key { "per_key" } else { "none" };
        ScenarioMeta {
            id: id.to_owned(),
            hash: hash.to_owned(),
            promise: [("ordering".to_owned(), ordering.to_owned())].into(),
            objectives: Vec::new(),
            ..self.meta()
        }
    }

    /// A node of the graph, as `host.node`.
    fn node(&self, address: &str) -> Option<&PlannedNode> {
        let (host, id) = address.split_once('.')?;
        let process = self.processes.processes.iter().find(|process| process.id == host)?;
        process.plan.nodes.iter().find(|node| *node.id == *id)
    }

    /// Whether it takes packets from a channel that keeps them in order by key at most.
    fn is_mixed(&self, address: &str) -> bool {
        let Some(Role::ChannelIn { channel }) = self.node(address).map(|node| &node.role) else { return false };
        let host = address.split_once('.').map_or("", |(host, _)| host);
        let plan = self.processes.channels.iter().find(|known| known.id == *channel);
        let leased = |plan: &ChannelPlan| plan.group_of(host).is_some_and(|group| plan.is_leased(group));
        plan.is_some_and(|plan| leased(plan) && plan.options.order != Order::Strict)
    }

    /// Whether the packets of a key reach each sink in the order in which they came in: by one way from each entry, and by no channel
    /// that keeps no order.
    fn keeps_key_order(&self) -> bool {
        let flow = self.flow();
        let one_way =
            |entry: &FlowNode| ways(&flow, |node| node.address == entry.address).iter().all(|ways| *ways <= 1);
        flow.nodes.iter().filter(|node| matches!(node.what, FlowWhat::Entry)).all(one_way)
            && self.processes.channels.iter().all(|channel| channel.options.order != Order::None)
    }

    /// Judges a run whose witnesses wrote in `dir`. `letters` reads the dead letters in the journals of those processes;
    /// `is_drained` says that all input had ended and everything was delivered.
    ///
    /// # Errors
    /// When nothing can be told of it.
    pub fn judge_witnessed(
        &self,
        dir: &Path,
        is_drained: bool,
        letters: impl FnOnce(BTreeSet<String>) -> Result<Vec<Buried>, ReadError>,
    ) -> Result<Witnessed, WitnessedError> {
        let Books { mut history, workload, is_cut, cpu_ns } =
            books::read(dir, |process| self.members.told_as(process).to_owned())?;
        history.drained = is_drained && !is_cut;
        let letters = letters(outside::buriers(&history))?;
        let told = letters.iter().filter(|letter| TOLD.iter().any(|class| class.name() == letter.class));
        history.struck =
            told.map(|letter| (format!("{}.{}", letter.host, letter.node), letter.packet_id.clone())).collect();
        history.dead_letters = letters;
        let names: BTreeSet<&str> = history.offers.iter().map(|offer| &*offer.packet_id).collect();
        // Of events of equal names nobody knows which one came first.
        let by_key = names.len() == history.offers.len() && self.keeps_key_order();
        // What it may cost is for whoever reads the report: only what no run may do is a failure.
        let limits = Limits {
            lost_reported: None,
            lost_window: None,
            unresolved: None,
            rejected: None,
            shed: None,
            dead_lettered: None,
            backlog_max: None,
            disk_bytes_max: BTreeMap::new(),
            // A sink that was away for a while is tried again and again.
            retries: u32::MAX.into(),
            key_order: by_key,
            ..self.limits()
        };
        let (plan, hits) = (Plan { seed: 1, ..Plan::default() }, Mutex::new(Sometimes::new(&self.scenario)));
        let outcome = SeedOutcome { history, ..SeedOutcome::default() };
        let judge = || self.judge(&plan, workload, outcome, &limits, &hits);
        let mut judged = catch_unwind(AssertUnwindSafe(judge)).map_err(|_| WitnessedError::Panicked)??;
        judged.run.trace_hash = String::new();
        judged.run.cpu_ns = cpu_ns;
        self.pour(&mut judged);
        Ok(Witnessed { run: judged.run, is_cut, by_key })
    }
}

/// By how many ways packets come to each node of a flow from those where they begin.
fn ways(flow: &Flow, begins: impl Fn(&FlowNode) -> bool) -> Vec<usize> {
    let begin = flow.nodes.iter().map(|node| usize::from(begins(node))).collect();
    reference::ways(begin, |at| flow.nodes[at].wires.iter().map(|wire| wire.to))
}
