//! The deterministic world around any tokio system: simulated hosts, faults, load, ledger and checks.

pub mod check;
pub mod fault;
pub mod history;
pub mod load;
pub mod plan;
pub mod scenario;
pub mod sim;
pub mod system;
