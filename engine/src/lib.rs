//! The stream-graph runtime: graphs, journal, channels and lanes. It asks one [`env::Env`] for time, disk and network.

pub mod assert;
pub mod channel;
pub mod env;
pub mod graph;
pub mod journal;
mod json;
pub mod lane;
pub mod load;
pub mod node;
pub mod nodes;
pub mod observe;
pub mod packet;
pub mod process;
pub mod runtime;
