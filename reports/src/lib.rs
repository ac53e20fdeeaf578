//! Plain run data in, figures, verdicts and renderings out. It knows neither the engine nor the harness.

pub mod compare;
pub mod histogram;
pub mod merge;
pub mod phases;
pub mod pool;
pub mod read;
pub mod recovery;
pub mod render;
pub mod result;
pub mod run;
pub mod series;
pub mod slo;
pub mod statistics;
pub mod trend;

#[cfg(test)]
mod sample;
