//! Faults: what carries out a plan's steps.

pub mod lane_proxy;

use crate::plan::Dist;

/// A peer in the middle of lanes that can spoil acks. A setting holds for a channel until it is taken back.
pub trait LaneFaults: Send + Sync {
    /// Acks come later by a draw; `None` ends it.
    fn set_delay(&self, channel: &str, add: Option<Dist>);
    /// That share of acks, in parts per million, comes twice; `None` ends it.
    fn set_duplicate(&self, channel: &str, ratio_ppm: Option<u32>);
    /// That share of acks, in parts per million, is lost, and the connection cut a moment later; `None` ends it.
    fn set_lose(&self, channel: &str, ratio_ppm: Option<u32>);
    /// Acks are forged for what the host has not committed.
    fn set_forge(&self, channel: &str, on: bool);
    /// How many acks of the channel were spoilt so far.
    fn hits(&self, channel: &str) -> u64;
}
