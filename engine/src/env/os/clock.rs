//! The machine's clocks.
#![expect(clippy::disallowed_methods, reason = "the real side of the seam: here real time is read and slept")]

use std::time::{Duration, Instant, SystemTime};

use crate::env::{Clock, Fut};

/// The machine's clocks; monotonic time counts from when this was made.
pub struct OsClock {
    start: Instant,
}

impl OsClock {
    /// A clock whose monotonic time is 0 now.
    #[must_use]
    pub fn new() -> OsClock {
        OsClock { start: Instant::now() }
    }
}

impl Default for OsClock {
    fn default() -> Self {
        OsClock::new()
    }
}

impl Clock for OsClock {
    fn mono(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("a process runs for less than 584 years")
    }

    fn unix_ns(&self) -> i64 {
        let since = |before, after: SystemTime| after.duration_since(before).map(|passed| passed.as_nanos());
        let now = SystemTime::now();
        let ns = match since(SystemTime::UNIX_EPOCH, now) {
            Ok(ns) => i128::try_from(ns),
            Err(early) => i128::try_from(early.duration().as_nanos()).map(|ns| -ns),
        };
        i64::try_from(ns.expect("durations are below 2^95 ns")).expect("the date is between 1678 and 2262")
    }

    fn sleep_until(&self, mono_ns: u64) -> Fut<'static, ()> {
        let deadline = self.start.checked_add(Duration::from_nanos(mono_ns));
        Box::pin(async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        })
    }
}
