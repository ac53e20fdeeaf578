//! A host's clock: true virtual time, seen through a skew, a drift and steps that may change while it runs.
#![expect(clippy::disallowed_methods, reason = "the one place that sleeps on tokio's (virtual) time")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seaworthy_engine::env::{Clock, Fut};
use tokio::sync::Notify;

use super::Now;
use super::hosts::Pause;

/// Drift is held to ±90 %, so that time always goes forward.
pub const DRIFT_MAX_PPM: i64 = 900_000;

/// A host's clock. Clones share it; it outlives the host's incarnations.
#[derive(Clone)]
pub struct SimClock(Arc<Shared>);

struct Shared {
    now: Now,
    pause: Pause,
    reading: Mutex<Reading>,
    hits: ClockHits,
    /// Sleepers compute their wake-up anew when the rate changes.
    changed: Notify,
}

/// How often software read a clock that was off, or slept by it.
#[derive(Debug, Default)]
struct ClockHits {
    skew: AtomicU64,
    drift: AtomicU64,
    step: AtomicU64,
}

/// A straight line from true time to this clock's.
#[derive(Clone, Copy)]
struct Reading {
    true_ns: u64,
    mono_ns: u64,
    unix_ns: i64,
    skew_ns: i64,
    drift_ppm: i64,
    /// It has jumped.
    stepped: bool,
}

impl Reading {
    fn at(self, true_ns: u64) -> Reading {
        let passed = i128::from(true_ns.saturating_sub(self.true_ns));
        let seen = passed + passed * i128::from(self.drift_ppm) / 1_000_000;
        let seen = i64::try_from(seen).expect("a world lasts less than 292 years");
        let mono_ns = self.mono_ns + seen.unsigned_abs();
        Reading { true_ns: true_ns.max(self.true_ns), mono_ns, unix_ns: self.unix_ns.saturating_add(seen), ..self }
    }
}

impl SimClock {
    /// A clock that is right: `unix_ns` at the world's start, and no drift.
    #[must_use]
    pub fn new(now: Now, unix_ns: i64) -> SimClock {
        SimClock::of(now, unix_ns, Pause::default())
    }

    /// The same, of a host whose software may stand still.
    pub(crate) fn of(now: Now, unix_ns: i64, pause: Pause) -> SimClock {
        let reading = Reading { true_ns: 0, mono_ns: 0, unix_ns, skew_ns: 0, drift_ppm: 0, stepped: false };
        let (reading, changed, hits) = (Mutex::new(reading), Notify::new(), ClockHits::default());
        SimClock(Arc::new(Shared { now, pause, reading, changed, hits }))
    }

    /// How often software has read the wall clock while it was skewed, has read or slept by a clock that drifts, and has read
    /// the wall clock after a step.
    #[must_use]
    pub fn hits(&self) -> (u64, u64, u64) {
        let ClockHits { skew, drift, step } = &self.0.hits;
        (skew.load(Ordering::Relaxed), drift.load(Ordering::Relaxed), step.load(Ordering::Relaxed))
    }

    /// From now on runs faster by `ppm` (slower where negative), held to ±[`DRIFT_MAX_PPM`]. Sleepers follow.
    pub fn set_drift(&self, ppm: i64) {
        self.re_anchor(|reading| reading.drift_ppm = ppm.clamp(-DRIFT_MAX_PPM, DRIFT_MAX_PPM));
        self.0.changed.notify_waiters();
    }

    /// From now on the wall clock is off by `ns`, beside what drift and steps have done; 0 takes the skew away.
    pub fn set_skew(&self, ns: i64) {
        self.re_anchor(|reading| reading.skew_ns = ns);
    }

    /// Moves the wall clock by `ns`, back where negative; the monotonic one goes on.
    pub fn step(&self, ns: i64) {
        self.re_anchor(|reading| {
            reading.unix_ns = reading.unix_ns.saturating_add(ns);
            reading.stepped = true;
        });
    }

    fn re_anchor(&self, change: impl FnOnce(&mut Reading)) {
        let now = (self.0.now)();
        let mut reading = self.reading();
        *reading = reading.at(now);
        change(&mut reading);
    }

    fn read(&self) -> Reading {
        let now = (self.0.now)();
        self.reading().at(now)
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.0.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn mono(&self) -> u64 {
        let reading = self.read();
        self.0.hits.drift.fetch_add(u64::from(reading.drift_ppm != 0), Ordering::Relaxed);
        reading.mono_ns
    }

    fn unix_ns(&self) -> i64 {
        let reading = self.read();
        self.0.hits.skew.fetch_add(u64::from(reading.skew_ns != 0), Ordering::Relaxed);
        self.0.hits.step.fetch_add(u64::from(reading.stepped), Ordering::Relaxed);
        reading.unix_ns.saturating_add(reading.skew_ns)
    }

    fn sleep_until(&self, mono_ns: u64) -> Fut<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let changed = clock.0.changed.notified();
                let reading = clock.read();
                let Some(left) = mono_ns.checked_sub(reading.mono_ns).filter(|left| *left > 0) else {
                    return clock.0.pause.wait_until(clock.0.now.clone(), 0).await;
                };
                let rate = (1_000_000 + reading.drift_ppm).unsigned_abs();
                let left = (u128::from(left) * 1_000_000).div_ceil(u128::from(rate));
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = tokio::time::sleep(Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))) => {}
                }
            }
        })
    }
}

/// Completes once the world's time has reached `at_ns`; at once where it has.
pub(crate) async fn wait_until(now: Now, at_ns: u64) {
    // The world's time may lag a step behind the runtime's, so look again after each sleep.
    while let Some(left) = at_ns.checked_sub(now()).filter(|left| *left > 0) {
        tokio::time::sleep(Duration::from_nanos(left)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::test_world;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn drift_bends_both_clocks_and_sleep() {
        test_world(|now| async move {
            let clock = SimClock::new(now.clone(), 1_000);
            clock.set_drift(-500_000);
            clock.sleep_until(SECOND).await;
            assert_eq!((now(), clock.mono(), clock.unix_ns()), (2 * SECOND, SECOND, SECOND as i64 + 1_000));
            clock.set_drift(0);
            clock.sleep_until(2 * SECOND).await;
            assert_eq!(now(), 3 * SECOND);
        });
    }

    #[test]
    fn a_sleeper_follows_a_drift_that_comes_later() {
        test_world(|now| async move {
            let clock = SimClock::new(now.clone(), 0);
            let sleeper = tokio::spawn(clock.sleep_until(10 * SECOND));
            wait_until(now.clone(), 4 * SECOND).await;
            clock.set_drift(DRIFT_MAX_PPM);
            sleeper.await.unwrap();
            let expected = 4 * SECOND + 6 * SECOND * 10 / 19;
            assert!(now().abs_diff(expected) <= 2_000_000, "{} {expected}", now());
        });
    }

    #[test]
    fn a_step_moves_the_wall_clock_only() {
        test_world(|now| async move {
            let clock = SimClock::new(now.clone(), 0);
            wait_until(now, SECOND).await;
            clock.step(-5 * SECOND as i64);
            assert_eq!((clock.mono(), clock.unix_ns()), (SECOND, -4 * SECOND as i64));
            clock.set_skew(7);
            assert_eq!((clock.mono(), clock.unix_ns()), (SECOND, -4 * SECOND as i64 + 7));
        });
    }
}
