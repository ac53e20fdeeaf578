//! Time that the command itself has taken, on the wall and of CPUs, for people and budgets; never part of a result.
#![expect(clippy::disallowed_methods, reason = "how long the command took is told to its user, nothing depends on it")]

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

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

/// Seconds of all CPUs that this process has used.
pub(crate) fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let of = |part: i64| u64::try_from(part).expect("a process has not used less than nothing");
    Duration::from_secs(of(spent.tv_sec)) + Duration::from_nanos(of(spent.tv_nsec))
}
