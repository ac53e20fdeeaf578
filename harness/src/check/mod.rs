//! Checks: judges of one seed's history. They see only what the harness itself recorded.

use crate::history::History;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Violation {
    /// The check's name, e.g. `lost`, `order.key`.
    pub check: String,
    /// What was seen, with names and times, in one line.
    pub message: String,
    /// When it could first be seen, virtual ns.
    pub at_ns: u64,
}

/// Judges a finished history.
pub trait Check {
    /// Its name, unique, as `must_fail/` and reports say it.
    fn name(&self) -> &'static str;
    /// Every broken promise in `history`, in order of time; at most a hundred, with a last line that counts the rest.
    fn judge(&self, history: &History) -> Vec<Violation>;
}
