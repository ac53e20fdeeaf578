//! `engine.panic`: no software on a host panics.

use super::{Case, seconds};
use crate::plan::Ns;

pub(super) fn judge(case: &Case<'_>) -> Vec<(Ns, String)> {
    let panics = case.history.exits.iter().filter(|(_, _, message)| message.starts_with("panic"));
    panics.map(|(host, at_ns, message)| (*at_ns, format!("{host} at {}: {message}", seconds(*at_ns)))).collect()
}
