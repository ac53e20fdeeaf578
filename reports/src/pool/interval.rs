//! How sure percentiles over several seeds are: a bootstrap that draws whole seeds, as events of one seed have its faults in common.

use std::collections::{BTreeMap, BTreeSet};

use crate::histogram::{Latency, Percentile, shown_ms, to_ms};
use crate::result::{Figure, Interval, OverSeeds};
use crate::statistics::{middle, resamples};

/// Resamples of a percentile: each goes through all seeds' buckets.
const RESAMPLES: usize = 1_000;

/// The delays of some seeds at each sink, as far as percentiles need them.
#[derive(Clone, Debug, Default)]
pub(super) struct BySeed(BTreeMap<u64, BTreeMap<String, Sample>>);

/// The delays of one seed at one sink.
#[derive(Clone, Debug)]
struct Sample {
    /// Delays that came, µs, each with its number of events.
    came_us: Vec<(u64, u64)>,
    open: u64,
    open_min_ns: u64,
    never: u64,
}

/// A delay as percentiles order them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Us(u64),
    Open(u64),
    Never,
}

/// All seeds at one sink.
struct Sink<'a> {
    /// Delays in order, each with the seed's place and its number of events there.
    came: Vec<(u64, usize, u64)>,
    seeds: Vec<Option<&'a Sample>>,
    /// Events of all seeds once.
    n: u64,
}

impl BySeed {
    pub(super) fn add(&mut self, seed: u64, latency: &BTreeMap<String, Latency>) {
        let sample = |latency: &Latency| {
            let (open, open_min_ns, never) = latency.missing();
            Sample { came_us: latency.buckets_us(), open, open_min_ns, never }
        };
        self.0.insert(seed, latency.iter().map(|(sink, latency)| (sink.clone(), sample(latency))).collect());
    }

    /// The 95 % interval of each percentile at the worst sink; `None` of fewer than two seeds.
    pub(super) fn intervals(&self) -> Option<OverSeeds> {
        const ALL: [Percentile; 4] = [Percentile::P50, Percentile::P95, Percentile::P99, Percentile::P999];
        let names: BTreeSet<&String> = self.0.values().flat_map(BTreeMap::keys).collect();
        let sinks: Vec<Sink<'_>> = names.into_iter().map(|name| self.sink(name)).collect();
        let mut weights = vec![0_u64; self.0.len()];
        let measure = |drawn: &[usize]| {
            weights.fill(0);
            drawn.iter().for_each(|at| weights[*at] += 1);
            let each: Vec<[Option<At>; 4]> = sinks.iter().map(|sink| sink.percentiles(&weights, ALL)).collect();
            // What can't be told at one sink says nothing of the others: `None` is below all.
            std::array::from_fn(|which| each.iter().map(|sink: &[Option<At>; 4]| sink[which]).max().flatten())
        };
        let measured: Vec<[Option<At>; 4]> = resamples(self.0.len(), RESAMPLES, measure)?;
        let [p50, p95, p99, p99_9] = std::array::from_fn(|which| {
            let mut told: Vec<At> = measured.iter().filter_map(|resample| resample[which]).collect();
            told.sort_unstable();
            (!told.is_empty()).then(|| {
                let [low, high] = middle(&told).map(At::figure);
                Interval { low, high }
            })
        });
        Some(OverSeeds { seeds: self.0.len() as u64, p50, p95, p99, p99_9 })
    }

    fn sink(&self, name: &str) -> Sink<'_> {
        let seeds: Vec<Option<&Sample>> = self.0.values().map(|sinks| sinks.get(name)).collect();
        let came = seeds.iter().enumerate().flat_map(|(at, sample)| {
            sample.iter().flat_map(move |sample| sample.came_us.iter().map(move |(us, count)| (*us, at, *count)))
        });
        let mut came: Vec<(u64, usize, u64)> = came.collect();
        came.sort_unstable();
        let n = seeds.iter().flatten().map(|sample| sample.n()).sum();
        Sink { came, seeds, n }
    }
}

impl Sample {
    fn n(&self) -> u64 {
        self.came_us.iter().map(|(_, count)| count).sum::<u64>() + self.open + self.never
    }
}

impl Sink<'_> {
    /// Percentiles of seeds that count so many times, as far as the whole sample carries them, in order.
    fn percentiles<const N: usize>(&self, weights: &[u64], wanted: [Percentile; N]) -> [Option<At>; N] {
        let drawn = || self.seeds.iter().zip(weights).filter_map(|(sample, weight)| Some(((*sample)?, *weight)));
        let n: u64 = drawn().map(|(sample, weight)| sample.n() * weight).sum();
        let drawn_open = || drawn().filter(|(sample, weight)| sample.open * weight > 0);
        let open: u64 = drawn_open().map(|(sample, weight)| sample.open * weight).sum();
        let mut came = self.came.iter();
        let (mut below, mut last_us) = (0, 0);
        wanted.map(|percentile| {
            if n == 0 || self.n < percentile.needs() {
                return None;
            }
            let rank = percentile.rank(n);
            while below < rank {
                let Some((us, at, count)) = came.next() else { break };
                below += count * weights[*at];
                last_us = *us;
            }
            Some(match () {
                () if rank <= below => At::Us(last_us),
                () if rank <= below + open => {
                    At::Open(drawn_open().map(|(sample, _)| sample.open_min_ns).min().unwrap_or(0))
                }
                () => At::Never,
            })
        })
    }
}

impl At {
    fn figure(self) -> Figure {
        match self {
            At::Us(us) => Figure::v(shown_ms(us)),
            At::Open(ns) => Figure::ge(to_ms(ns)),
            At::Never => Figure::never(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Delay;

    fn of(seeds: impl Iterator<Item = Vec<Delay>>) -> BySeed {
        let mut all = BySeed::default();
        for (seed, delays) in seeds.enumerate() {
            let mut latency = Latency::default();
            delays.into_iter().for_each(|delay| latency.record(delay));
            all.add(seed as u64, &[("hub.raw".to_owned(), latency)].into());
        }
        all
    }

    #[test]
    fn the_interval_of_a_percentile_over_seeds_is_that_of_scipy() {
        // SciPy 1.17.1, NumPy 2:
        //     import numpy as np
        //     from scipy.stats import bootstrap
        //     late = lambda s, n: float(40 * s + n if n >= 96 - 3 * s else 5 + n % 7)
        //     seeds = [[late(s, n) for n in range(100)] for s in range(8)]
        //     def pooled(q):
        //         return lambda drawn: float(np.percentile(np.concatenate([seeds[int(s)] for s in drawn]), q, method="inverted_cdf"))
        //     for q in (50.0, 95.0, 99.0):
        //         bootstrap((np.arange(8),), pooled(q), n_resamples=20_000, method="percentile", vectorized=False,
        //                   rng=np.random.default_rng(5))
        let scipy = [[8.0, 9.0], [207.0, 366.0], [291.0, 377.0]];
        let late = |seed: u64, n: u64| if n >= 96 - 3 * seed { 40 * seed + n } else { 5 + n % 7 };
        let delays = |seed| (0..100).map(|n| Delay::After(late(seed, n) * 1_000_000)).collect();
        let ours = of((0..8).map(delays)).intervals().expect("there are eight");
        assert_eq!((ours.seeds, ours.p99_9), (8, None));
        for (found, scipy) in [ours.p50, ours.p95, ours.p99].into_iter().zip(scipy) {
            let found = found.expect("the sample carries it");
            let ends = [found.low, found.high].map(|end| if let Figure::V { v } = end { v.0 } else { f64::NAN });
            // Its draws are others, and percentiles of few seeds come in steps.
            let near = ends.iter().zip(scipy).all(|(ours, theirs)| (ours - theirs).abs() <= 0.04 * theirs);
            assert!(near, "{ends:?} {scipy:?}");
        }
    }

    #[test]
    fn what_never_comes_in_one_seed_is_the_upper_end() {
        let delays = |seed| {
            let last = if seed == 0 { Delay::Never } else { Delay::After(9_000_000) };
            let mut delays = vec![Delay::After(7_000_000); 99];
            delays.extend(vec![last; 21]);
            delays
        };
        let ours = of((0..4).map(delays)).intervals().expect("there are four").p95.expect("480 events carry it");
        assert_eq!(ours, Interval { low: Figure::v(9.0), high: Figure::never() });
        assert!(of((0..1).map(delays)).intervals().is_none(), "one seed says nothing of others");
    }
}
