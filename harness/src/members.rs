//! Members of a group that share its packets, told as one: which of them an effect came by was never promised.
//!
//! The first member's process stands for the others. So they must run the same graph, up to what their sinks write to.

use std::collections::BTreeMap;

use seaworthy_engine::graph::{PlannedNode, Role};
use seaworthy_engine::process::{PlannedProcess, ProcessPlan};

/// Why members of a group can't be told as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersProblem {
    /// They do different things with the packets that they share.
    #[error(
        "could not tell `{first}` and `{other}` as one, which share group `{group}` of channel `{channel}`: their graphs differ at node `{node}`; give both processes the same graph"
    )]
    Differ {
        /// The channel.
        channel: String,
        /// The group.
        group: String,
        /// The first member.
        first: String,
        /// Another.
        other: String,
        /// The first node that one of them has otherwise, or not at all.
        node: String,
    },
    /// What a node keeps depends on which packets its member got.
    #[error(
        "could not tell `{first}` and `{other}` as one, which share group `{group}` of channel `{channel}`: node `{node}` keeps state, and each member would keep another; put the node behind a channel of its own"
    )]
    State {
        /// The channel.
        channel: String,
        /// The group.
        group: String,
        /// The first member.
        first: String,
        /// Another.
        other: String,
        /// The node.
        node: String,
    },
    /// Its packets enter by one member and not by the others.
    #[error(
        "could not tell `{first}` and `{other}` as one, which share group `{group}` of channel `{channel}`: node `{node}` is a source of its own; let it enter in another process"
    )]
    Entry {
        /// The channel.
        channel: String,
        /// The group.
        group: String,
        /// The first member.
        first: String,
        /// Another.
        other: String,
        /// The node.
        node: String,
    },
    /// A process stands for others in one group, and is told as another in a second.
    #[error("could not tell `{process}` as one with others: it shares packets with different processes in two groups")]
    Twice {
        /// The process.
        process: String,
    },
}

/// Which process stands for which.
#[derive(Clone, Debug, Default)]
pub struct Members(BTreeMap<String, String>);

impl Members {
    /// Finds the members that stand for others.
    ///
    /// # Errors
    /// Members that can't be told as one.
    pub fn of(plan: &ProcessPlan) -> Result<Members, MembersProblem> {
        let process = |id: &str| plan.processes.iter().find(|process| process.id == id);
        let mut told: BTreeMap<String, String> = BTreeMap::new();
        for channel in &plan.channels {
            for group in &channel.groups {
                let [first, others @ ..] = group.members.as_slice() else { continue };
                for other in others {
                    let (Some(one), Some(two)) = (process(first), process(other)) else { continue };
                    alike(one, two, &channel.id, &group.id)?;
                    let before = told.insert(other.clone(), first.clone());
                    if before.is_some_and(|before| before != *first) {
                        return Err(MembersProblem::Twice { process: other.clone() });
                    }
                }
            }
        }
        match told.values().find(|first| told.contains_key(*first)) {
            Some(process) => Err(MembersProblem::Twice { process: process.clone() }),
            None => Ok(Members(told)),
        }
    }

    /// The process that `process` is told as: mostly itself.
    #[must_use]
    pub fn told_as<'a>(&'a self, process: &'a str) -> &'a str {
        self.0.get(process).map_or(process, String::as_str)
    }

    /// True when `process` is told as itself.
    #[must_use]
    pub fn stands(&self, process: &str) -> bool {
        !self.0.contains_key(process)
    }
}

fn alike(one: &PlannedProcess, two: &PlannedProcess, channel: &str, group: &str) -> Result<(), MembersProblem> {
    let names = || (channel.to_owned(), group.to_owned(), one.id.clone(), two.id.clone());
    for node in one.plan.nodes.iter().chain(&two.plan.nodes) {
        let ((channel, group, first, other), node_id) = (names(), node.id.to_string());
        match node.role {
            Role::StatefulNode => return Err(MembersProblem::State { channel, group, first, other, node: node_id }),
            Role::Source => return Err(MembersProblem::Entry { channel, group, first, other, node: node_id }),
            _ => {}
        }
        let of = |process: &PlannedProcess| process.plan.nodes.iter().find(|known| known.id == node.id).map(shape);
        if of(one) != of(two) {
            return Err(MembersProblem::Differ { channel, group, first, other, node: node_id });
        }
    }
    Ok(())
}

/// All of a node that must be equal: what a sink writes to need not be.
fn shape(node: &PlannedNode) -> PlannedNode {
    let config = if node.role == Role::Sink { serde_json::Value::Null } else { node.config.clone() };
    PlannedNode { config, ..node.clone() }
}
