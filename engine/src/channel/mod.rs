//! Channels: what their host keeps so that each packet is stored once, in order, and leased to one member at a time.
//!
//! Pure: what came in, what time it is, and what follows. The runtime does it; [`memory`] does it without a disk. What a
//! channel is to those who use it, whoever keeps it, is in [`kind`].

pub mod dedup;
pub mod kind;
pub mod lease;
pub mod memory;
pub mod producer;
pub mod terms;
