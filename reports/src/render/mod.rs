//! Renderings of a result: pure functions from data to text.

pub mod annotations;
mod charts;
pub mod hlog;
pub mod html;
pub mod json;
pub mod junit;
pub mod plan;
pub mod prom;
pub mod text;

/// Groups of faults that overlap which are shown at first.
const GROUPS_SHOWN: usize = 6;

/// The p99 of scenarios over results, as an SVG with a legend: a line a scenario.
#[must_use]
pub fn trend(lines: &[(String, Vec<(f64, f64)>)]) -> String {
    charts::trend(lines)
}
