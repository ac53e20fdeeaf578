//! The stream-graph runtime: graphs, journal, channels and lanes. It asks one [`env::Env`] for time, disk and network.

pub mod env;
pub mod node;
pub mod nodes;
pub mod observe;
pub mod packet;
