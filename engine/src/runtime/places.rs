//! What a plan means in the journal's words: which inputs a process takes from, as which groups, and what it keeps.

use super::inputs::{channel_name, source_name, stage_name, taken_name};
use super::orphans::Kept;
use crate::graph::{Plan, PlannedNode, Role};
use crate::journal::record::Name;
use crate::journal::{Journal, Recovery};
use crate::process::{ChannelPlan, GroupPlan};

/// The channel and the group as which `process` takes from it.
pub(super) fn taken_by<'a>(
    process: &str,
    channel: &str,
    channels: &'a [ChannelPlan],
) -> (&'a ChannelPlan, &'a GroupPlan) {
    let plan = channels.iter().find(|plan| plan.id == channel);
    let found = plan.and_then(|plan| Some((plan, plan.group_of(process)?)));
    found.expect("a checked process graph links every channel end")
}

/// True when `channel` brings packets into `process` from outside.
pub(super) fn brings_in(channel: &ChannelPlan, process: &str) -> bool {
    if channel.host == process {
        channel.producers.iter().any(|producer| producer != process)
    } else {
        channel.group_of(process).is_some()
    }
}

/// Which life of its channels' numbers this is: another journal, or one that lost some of its packets, gives numbers again
/// that members know.
pub(super) fn incarnation(recovery: &Recovery, journal: &Journal) -> u64 {
    let losses = journal.image(|image| image.quarantined().len()) as u64;
    let mut bytes = recovery.journal.to_le_bytes().to_vec();
    bytes.extend(losses.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// Every input that this process takes from, and the group it does so as.
pub(super) fn groups(plan: &Plan, channels: &[ChannelPlan]) -> Vec<(Name, Name)> {
    let of_channel = |channel: &ChannelPlan| -> Vec<(Name, Name)> {
        let mut groups: Vec<(Name, Name)> = Vec::new();
        if channel.host == plan.process {
            let group = |group: &GroupPlan| (channel_name(&channel.id), group.id.as_str().into());
            groups.extend(channel.groups.iter().map(group));
        } else if channel.is_producer(&plan.process) {
            groups.push((channel_name(&channel.id), channel.host.as_str().into()));
        }
        let own = channel.group_of(&plan.process).filter(|group| channel.is_leased(group));
        groups.extend(own.map(|group| (taken_name(&channel.id), group.id.as_str().into())));
        groups
    };
    let of_node = |node: &PlannedNode| match node.role {
        Role::Source => Some((source_name(&node.id), node.id.clone())),
        Role::StatefulNode => Some((stage_name(&node.id), node.id.clone())),
        _ => None,
    };
    channels.iter().flat_map(of_channel).chain(plan.nodes.iter().filter_map(of_node)).collect()
}

/// What a process's graph has a place for in its journal.
#[must_use]
pub fn kept(plan: &Plan, channels: &[ChannelPlan]) -> Kept {
    let stateful = plan.nodes.iter().filter(|node| node.role == Role::StatefulNode).map(|node| node.id.clone());
    Kept { groups: groups(plan, channels).into_iter().collect(), stateful: stateful.collect() }
}

pub(super) fn input_name(node: &PlannedNode, process: &str, channels: &[ChannelPlan]) -> Option<Name> {
    match &node.role {
        Role::Source => Some(source_name(&node.id)),
        Role::ChannelIn { channel } => {
            let (plan, group) = taken_by(process, channel, channels);
            Some(if plan.is_leased(group) { taken_name(channel) } else { channel_name(channel) })
        }
        Role::StatefulNode => Some(stage_name(&node.id)),
        Role::Node | Role::ChannelOut { .. } | Role::Sink => None,
    }
}
