//! The deterministic world around any tokio system: simulated hosts, faults, load, ledger and checks.

mod adapt;
pub mod calibrate;
pub mod check;
pub mod chrome;
mod conditions;
pub mod engine_system;
pub mod explore;
pub mod fault;
pub mod figures;
mod flow;
pub mod history;
pub mod kit;
pub mod ledger;
pub mod load;
pub mod members;
mod outside;
pub mod own;
pub mod parallel;
pub mod passage;
pub mod plan;
pub mod real;
pub mod reference;
pub mod run;
pub mod scenario;
pub mod sim;
mod stand_in;
mod still;
pub mod story;
pub mod system;
pub mod testing;
mod undone;
mod waterfall;
pub mod witness;
pub mod world;

pub use testing::scenario;
