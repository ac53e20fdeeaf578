//! The simulated machine: disk, clock, CPU and keyed randomness of each host of a world.

use std::sync::Arc;

pub mod clock;
pub mod cpu;
pub mod disk;
pub mod seed;

pub(crate) mod hosts;
pub(crate) mod lies;
pub(crate) mod machine;
pub mod net;
pub(crate) mod offering;
pub(crate) mod panics;
pub mod recorder;
pub mod sink;
pub mod trace;

/// The world's time: virtual nanoseconds since its start. Never goes back.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The smallest step of simulated time, ns: what is shorter is carried as debt, not slept.
pub const TICK_NS: u64 = 1_000_000;

/// Runs a test on a paused runtime, with a `Now` that follows it.
#[cfg(test)]
pub(crate) fn test_world<F: Future<Output = ()>>(test: impl FnOnce(Now) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O always builds").block_on(async {
        let start = tokio::time::Instant::now();
        test(Arc::new(move || u64::try_from(start.elapsed().as_nanos()).expect("tests are short"))).await;
    });
}
