//! `shed.oldest`: an inbox that drops the oldest drops nothing that is newer than what it keeps.
//!
//! What is older than what was dropped is out of the inbox: its node has it in hand, and that is no more than the inbox holds. So
//! behind each drop so many older ones are handled at most. Judged where packets come in the order of their numbers.

use std::collections::BTreeMap;

use seaworthy_engine::graph::{Overflow, Plan as Graph, Role};
use seaworthy_engine::observe::What;
use seaworthy_engine::packet::Seq;
use seaworthy_engine::process::ProcessPlan;

use super::{Case, seconds};
use crate::plan::Ns;

/// An inbox that drops the oldest, and gets its packets in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxAt {
    /// Its process.
    pub host: String,
    /// Its node.
    pub node: String,
    /// Packets that it holds at most.
    pub max: usize,
}

impl InboxAt {
    /// All of them. What comes by several ways, or from a group whose packets are leased, comes in any order.
    #[must_use]
    pub fn of(processes: &ProcessPlan) -> Vec<InboxAt> {
        let mut all = Vec::new();
        for process in &processes.processes {
            let leased = |id: &str| {
                let channel = processes.channels.iter().find(|channel| channel.id == id);
                channel.is_none_or(|channel| channel.groups.iter().any(|group| channel.is_leased(group)))
            };
            let nodes = process.plan.nodes.iter().enumerate();
            let drops = nodes.filter(|(_, node)| node.inbox.overflow == Overflow::DropOldest);
            let in_order = drops.filter(|(at, _)| comes_in_order(&process.plan, *at, &leased));
            all.extend(in_order.map(|(_, node)| InboxAt {
                host: process.id.clone(),
                node: node.id.to_string(),
                max: node.inbox.max,
            }));
        }
        all
    }
}

/// Whether one way leads to the node, from where packets are numbered.
fn comes_in_order(graph: &Graph, node: usize, leased: &impl Fn(&str) -> bool) -> bool {
    let before: Vec<usize> =
        graph.nodes.iter().enumerate().filter(|(_, from)| from.outputs.contains(&node)).map(|(at, _)| at).collect();
    let [one] = before[..] else { return false };
    match &graph.nodes[one].role {
        Role::Source | Role::StatefulNode => true,
        Role::ChannelIn { channel } => !leased(channel),
        _ => comes_in_order(graph, one, leased),
    }
}

pub(super) fn oldest(case: &Case<'_>) -> Vec<(Ns, String)> {
    /// A drop, and how many older ones its node has handled since.
    struct Drop {
        seq: Seq,
        older: usize,
    }
    let mut open: BTreeMap<(usize, u64), Vec<Drop>> = BTreeMap::new();
    let mut found = Vec::new();
    if case.inboxes.is_empty() {
        return found;
    }
    for probed in &case.history.events {
        let at_inbox = |inbox: &InboxAt| inbox.host == *probed.host && inbox.node == *probed.event.place;
        let Some(at) = case.inboxes.iter().position(at_inbox) else { continue };
        let (drops, seq) = (open.entry((at, probed.incarnation)).or_default(), probed.event.seq);
        match &probed.event.what {
            What::Dropped { reason } if **reason == *"inbox.drop_oldest" => drops.push(Drop { seq, older: 0 }),
            What::Processed | What::SinkAcked | What::DeadLettered { .. } => {
                let InboxAt { host, node, max } = &case.inboxes[at];
                // Its node has moved past it.
                drops.retain(|drop| drop.seq >= seq);
                for drop in drops.iter_mut().filter(|drop| drop.seq > seq) {
                    drop.older += 1;
                    if drop.older == max + 1 {
                        let (dropped, now) = (drop.seq, seconds(probed.at_ns));
                        let what = format!(
                            "{host}.{node} handled {seq} at {now}, older than {dropped}, which was dropped as the oldest; more than its {max} in hand"
                        );
                        found.push((probed.at_ns, what));
                    }
                }
            }
            _ => {}
        }
    }
    found
}
