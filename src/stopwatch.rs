//! Wall time of the command itself, for people; never part of a result.
#![expect(clippy::disallowed_methods, reason = "how long the command took is told to its user, nothing depends on it")]

use std::time::{Duration, Instant};

/// Runs from its start.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Stopwatch(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
