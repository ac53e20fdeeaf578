//! The deterministic world around any tokio system: simulated hosts, faults, load, ledger and checks.

pub mod check;
pub mod engine_system;
pub mod fault;
pub mod history;
pub mod load;
pub mod plan;
pub mod sim;
pub mod scenario;
pub mod figures;
pub mod history;
pub mod ledger;
pub mod plan;
pub mod reference;
pub mod system;
