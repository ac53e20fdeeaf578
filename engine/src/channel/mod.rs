//! Channels: what their host keeps so that each packet is stored once, in order.

pub mod producer;
