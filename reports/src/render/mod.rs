//! Renderings of a result: pure functions from data to text.

pub mod annotations;
mod charts;
pub mod hlog;
pub mod html;
pub mod json;
pub mod junit;
pub mod plan;
pub mod prom;
pub mod summary;
pub mod text;

#[cfg(test)]
pub(crate) mod spelled;

use std::cmp::Reverse;

use crate::result::Recovery;

/// Groups of faults that overlap which are shown at first.
const GROUPS_SHOWN: usize = 6;

/// Groups of faults, those that came most first.
fn most(all: &[Recovery]) -> Vec<&Recovery> {
    let mut all: Vec<&Recovery> = all.iter().collect();
    all.sort_by_key(|recovery| Reverse(recovery.n));
    all
}

/// The p99 of scenarios over results, as an SVG with a legend: a line a scenario.
#[must_use]
pub fn trend(lines: &[(String, Vec<(f64, f64)>)]) -> String {
    charts::trend(lines)
}
