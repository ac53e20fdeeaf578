//! Channels: what their host keeps so that each packet is stored once, in order, and leased to one member at a time.
//!
//! Pure: what came in, what time it is, and what follows. The runtime does it.

pub mod dedup;
pub mod lease;
pub mod producer;
mod terms;
