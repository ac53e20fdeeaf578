//! Latency of many events: percentiles from an HdrHistogram (3 significant digits), count, maximum and what never came
//! as exact integers beside it. Merging is commutative, so the order of seeds and jobs changes nothing.

use hdrhistogram::Histogram;

use crate::result::Figure;
use crate::run::Delay;

/// Highest latency that is told apart, µs (an hour); longer ones count as this one.
const HIGHEST_US: u64 = 3_600_000_000;

/// A percentile, with the sample that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Percentile {
    /// The median.
    P50,
    /// 95th.
    P95,
    /// 99th.
    P99,
    /// 99.9th.
    P999,
    /// The largest value.
    Max,
}

impl Percentile {
    /// Parts per million of the sample that lie at or below it.
    fn ppm(self) -> u64 {
        match self {
            Percentile::P50 => 500_000,
            Percentile::P95 => 950_000,
            Percentile::P99 => 990_000,
            Percentile::P999 => 999_000,
            Percentile::Max => 1_000_000,
        }
    }

    /// The smallest sample that carries it: with that many events, one of them lies beyond the true percentile with a
    /// confidence of 95 % (`ln 0.05 / ln q`).
    #[must_use]
    pub fn needs(self) -> u64 {
        match self {
            Percentile::P50 | Percentile::Max => 1,
            Percentile::P95 => 59,
            Percentile::P99 => 299,
            Percentile::P999 => 2995,
        }
    }

    /// The nearest rank, from 1, in a sample of `n`.
    #[must_use]
    pub fn rank(self, n: u64) -> u64 {
        (n * self.ppm()).div_ceil(1_000_000).max(1)
    }
}

/// Delays of many events at one sink.
#[derive(Clone, Debug)]
pub struct Latency {
    came_us: Histogram<u64>,
    max_ns: u64,
    open: u64,
    open_min_ns: u64,
    never: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let mut came_us = Histogram::new(3).expect("three significant digits are within the crate's range of 0 to 5");
        came_us.auto(true);
        Latency { came_us, max_ns: 0, open: 0, open_min_ns: u64::MAX, never: 0 }
    }
}

impl Latency {
    /// Adds one event.
    pub fn record(&mut self, delay: Delay) {
        match delay {
            Delay::After(ns) => {
                let us = (ns / 1000).min(HIGHEST_US);
                self.came_us.record(us).expect("an auto-resizing histogram takes every value");
                self.max_ns = self.max_ns.max(ns);
            }
            Delay::Open(ns) => {
                self.open += 1;
                self.open_min_ns = self.open_min_ns.min(ns);
            }
            Delay::Never => self.never += 1,
        }
    }

    /// Adds all events of `other`.
    pub fn merge(&mut self, other: &Latency) {
        self.came_us.add(&other.came_us).expect("an auto-resizing histogram takes every value");
        self.max_ns = self.max_ns.max(other.max_ns);
        self.open += other.open;
        self.open_min_ns = self.open_min_ns.min(other.open_min_ns);
        self.never += other.never;
    }

    /// Events in the sample, whether they came or not.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.came_us.len() + self.open + self.never
    }

    /// Events that came.
    #[must_use]
    pub fn came(&self) -> u64 {
        self.came_us.len()
    }

    /// Delays that came, µs, as percentiles say them, each with its number of events, in order.
    pub(crate) fn buckets_us(&self) -> Vec<(u64, u64)> {
        let said = |us| self.came_us.median_equivalent(us).min(self.max_ns / 1000);
        let bucket = self.came_us.iter_recorded();
        bucket.map(|bucket| (said(bucket.value_iterated_to()), bucket.count_since_last_iteration())).collect()
    }

    /// Events that had not come when the run ended, the least that they had been waited for, ns, and those that never will.
    pub(crate) fn missing(&self) -> (u64, u64, u64) {
        (self.open, self.open_min_ns, self.never)
    }

    /// The delays of those that came, µs.
    pub(crate) fn came_us(&self) -> &Histogram<u64> {
        &self.came_us
    }

    /// A percentile over all events, in ms; what did not come lies above everything that came.
    #[must_use]
    pub fn figure(&self, percentile: Percentile) -> Figure {
        self.pick(percentile, self.n())
    }

    /// The same over those that came (`latency.delivered`).
    #[must_use]
    pub fn delivered(&self, percentile: Percentile) -> Figure {
        self.pick(percentile, self.came())
    }

    fn pick(&self, percentile: Percentile, n: u64) -> Figure {
        if n < percentile.needs() {
            return Figure::na(format!("n < {}", percentile.needs()));
        }
        let rank = percentile.rank(n);
        let came = self.came();
        if rank > came + self.open {
            return Figure::never();
        }
        if rank > came {
            return Figure::ge(to_ms(self.open_min_ns));
        }
        if percentile == Percentile::Max {
            return Figure::v(to_ms(self.max_ns));
        }
        Figure::v(shown_ms(self.at_rank(rank)))
    }

    fn at_rank(&self, rank: u64) -> u64 {
        let mut below = 0;
        for (us, count) in self.buckets_us() {
            below += count;
            if below >= rank {
                return us;
            }
        }
        unreachable!("rank {rank} lies within the {} events that came", self.came())
    }
}

/// Nanoseconds as ms with three decimals.
#[must_use]
pub fn to_ms(ns: u64) -> f64 {
    ((ns + 500) / 1000) as f64 / 1000.0
}

/// A percentile in µs as it is shown, ms.
pub(crate) fn shown_ms(us: u64) -> f64 {
    three_digits(us as f64 / 1000.0)
}

/// Rounded to three significant digits, but never coarser than a whole ms below 1 s.
fn three_digits(ms: f64) -> f64 {
    if ms == 0.0 {
        return 0.0;
    }
    let digits = 2 - ms.log10().floor() as i32;
    if digits >= 0 {
        let scale = 10_f64.powi(digits.min(3));
        (ms * scale).round() / scale
    } else {
        let scale = 10_f64.powi(-digits);
        (ms / scale).round() * scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Percentile; 5] = [Percentile::P50, Percentile::P95, Percentile::P99, Percentile::P999, Percentile::Max];

    fn of(delays: &[Delay]) -> Latency {
        let mut latency = Latency::default();
        delays.iter().for_each(|delay| latency.record(*delay));
        latency
    }

    fn figures(latency: &Latency) -> Vec<Figure> {
        ALL.iter().flat_map(|p| [latency.figure(*p), latency.delivered(*p)]).collect()
    }

    fn delay() -> impl Strategy<Value = Delay> {
        prop_oneof![
            20 => (0..90_000_000_000_u64).prop_map(Delay::After),
            1 => (0..90_000_000_000_u64).prop_map(Delay::Open),
            1 => Just(Delay::Never),
        ]
    }

    #[test]
    fn a_percentile_wants_its_sample() {
        let some = |n: usize| of(&vec![Delay::After(7_000_000); n]);
        assert_eq!(some(58).figure(Percentile::P95), Figure::na("n < 59"));
        assert_eq!(some(59).figure(Percentile::P95), Figure::v(7.0));
        assert_eq!(some(298).figure(Percentile::P99), Figure::na("n < 299"));
        assert_eq!(some(299).figure(Percentile::P99), Figure::v(7.0));
        assert_eq!(some(2994).figure(Percentile::P999), Figure::na("n < 2995"));
        assert_eq!(some(2995).figure(Percentile::P999), Figure::v(7.0));
        assert_eq!(some(0).figure(Percentile::Max), Figure::na("n < 1"));
    }

    #[test]
    fn what_did_not_come_only_worsens() {
        let mut delays = vec![Delay::After(5_000_000); 96];
        delays.extend([Delay::Open(9_000_000), Delay::Open(8_000_000), Delay::Never, Delay::Never]);
        let latency = of(&delays);
        assert_eq!(latency.figure(Percentile::P95), Figure::v(5.0));
        assert_eq!(latency.figure(Percentile::Max), Figure::never());
        assert_eq!(latency.delivered(Percentile::Max), Figure::v(5.0));
        delays.truncate(98);
        assert_eq!(of(&delays).figure(Percentile::Max), Figure::ge(8.0));
    }

    #[test]
    fn a_limit_in_round_numbers_is_met_exactly() {
        for ms in [1, 2, 31, 212, 400, 600, 999, 1000, 6000, 60_000] {
            assert_eq!(of(&vec![Delay::After(ms * 1_000_000); 300]).figure(Percentile::P99), Figure::v(ms as f64));
        }
    }

    proptest! {
        #[test]
        fn percentiles_agree_with_a_sort(mut delays in prop::collection::vec(delay(), 1..4000)) {
            let latency = of(&delays);
            delays.sort();
            for percentile in ALL {
                if latency.n() < percentile.needs() {
                    let na = matches!(latency.figure(percentile), Figure::Na { .. });
                    prop_assert!(na);
                    continue;
                }
                let exact = delays[percentile.rank(delays.len() as u64) as usize - 1];
                match (exact, latency.figure(percentile)) {
                    (Delay::After(ns), Figure::V { v }) => {
                        let exact_ms = ns as f64 / 1e6;
                        prop_assert!((v.0 - exact_ms).abs() <= exact_ms * 0.006 + 0.002, "{percentile:?}: {v:?}, sorted {exact_ms}");
                    }
                    (Delay::Open(ns), Figure::Ge { ge }) => prop_assert!(ge.0 <= ns as f64 / 1e6 + 0.001),
                    (Delay::Never, Figure::Never { .. }) => {}
                    (exact, figure) => prop_assert!(false, "{percentile:?}: {figure:?}, sorted {exact:?}"),
                }
            }
        }

        #[test]
        fn merging_in_any_order_is_the_same(delays in prop::collection::vec(delay(), 0..900), at in 0_usize..900, then in 0_usize..900) {
            let (at, then) = (at.min(then).min(delays.len()), at.max(then).min(delays.len()));
            let parts = [of(&delays[..at]), of(&delays[at..then]), of(&delays[then..])];
            for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
                let mut merged = Latency::default();
                order.iter().for_each(|part| merged.merge(&parts[*part]));
                prop_assert_eq!(figures(&merged), figures(&of(&delays)));
            }
        }
    }
}
