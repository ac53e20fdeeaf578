//! The load: what is offered to a system, and when.

use seaworthy_engine::node::Draft;
use seaworthy_engine::packet::Seq;

use crate::plan::Ns;

/// One event of the load.
#[derive(Clone, Debug)]
pub struct LoadEvent {
    /// Where it enters, as `host.node`.
    pub entry: String,
    /// Its number at that entry, from 1.
    pub seq: Seq,
    /// When it is meant to arrive, virtual ns since the world's start.
    pub intended_ns: Ns,
    /// The event.
    pub draft: Draft,
}
