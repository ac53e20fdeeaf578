//! When the events of a load are meant to arrive.

use super::rows::Rows;
use super::{EVENTS_MAX, LoadError};
use crate::plan::{Ns, unit};
use crate::scenario::draw::draw;
use crate::scenario::{Arrival, Load};

const SECOND: f64 = 1e9;

/// Instants in order, all before `end_ns`, at most `limit` of them.
pub(super) fn times(
    load: &Load,
    seed: u64,
    limit: Option<u64>,
    end_ns: Ns,
    rows: Option<&Rows>,
) -> Result<Vec<Ns>, LoadError> {
    let mut times = Vec::new();
    let mut poisson = 0.0;
    let mut last = 0;
    for index in 0..limit.unwrap_or(u64::MAX) {
        let at = match &load.arrival {
            Arrival::Constant(rate) => Some((index as f64 * SECOND / rate) as Ns),
            Arrival::Poisson(rate) => {
                // The inverse of the exponential distribution; a draw is never 0 nor 1.
                poisson -= unit(draw(seed, "load", &load.name, index, "gap")).ln() * SECOND / rate;
                Some(poisson as Ns)
            }
            Arrival::Stages(stages) => staged(stages, index),
            Arrival::Trace(speed) => {
                let offset_ms = rows.and_then(|rows| rows.offset_ms(index));
                let offset_ms = offset_ms.ok_or_else(|| LoadError::NoTimes { load: load.name.clone() })?;
                Some((offset_ms as f64 * 1e6 / speed) as Ns)
            }
        };
        // Rows out of order arrive with the latest before them, as a file that is read in order would give them.
        let Some(at) = at.map(|at| at.max(last)).filter(|at| *at < end_ns) else { break };
        if index >= EVENTS_MAX {
            return Err(LoadError::TooMany { load: load.name.clone() });
        }
        times.push(at);
        last = at;
    }
    Ok(times)
}

/// The instant of event `index` when each stage is evenly spaced from its own start; `None` after the last stage.
fn staged(stages: &[(f64, Ns)], index: u64) -> Option<Ns> {
    let (mut start_ns, mut first) = (0, 0);
    for (rate, for_ns) in stages {
        let events = (rate * *for_ns as f64 / SECOND).ceil() as u64;
        if index < first + events {
            return Some(start_ns + ((index - first) as f64 * SECOND / rate) as Ns);
        }
        (start_ns, first) = (start_ns + for_ns, first + events);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Content, Size};

    fn arrive(arrival: Arrival, seed: u64) -> Vec<Ns> {
        let content = Content::Made(crate::scenario::Made::Bytes(Size { from: 1, to: 1 }));
        let load =
            Load { name: "load".into(), entry: "edge.feed".into(), arrival, content, key: None, business_key: None };
        times(&load, seed, None, 10_000_000_000, None).expect("a small load")
    }

    #[test]
    fn constant_is_even_from_the_start() {
        let times = arrive(Arrival::Constant(200.0), 1);
        assert_eq!((times.len(), times[0], times[1], times[1999]), (2000, 0, 5_000_000, 9_995_000_000));
    }

    #[test]
    fn poisson_has_its_rate_and_its_spread() {
        let times = arrive(Arrival::Poisson(200.0), 1);
        // 2000 expected, standard deviation 45.
        assert!((1820..2180).contains(&times.len()), "{}", times.len());
        let long = times.windows(2).filter(|pair| pair[1] - pair[0] > 5_000_000).count() as f64 / times.len() as f64;
        assert!((0.32..0.42).contains(&long), "e^-1 of the gaps are longer than the mean, not {long}");
        assert_ne!(times, arrive(Arrival::Poisson(200.0), 2));
        assert_eq!(times, arrive(Arrival::Poisson(200.0), 1));
    }

    #[test]
    fn stages_follow_one_another() {
        let times =
            arrive(Arrival::Stages(vec![(10.0, 1_000_000_000), (0.0, 2_000_000_000), (100.0, 1_000_000_000)]), 1);
        assert_eq!((times.len(), times[9], times[10], times[109]), (110, 900_000_000, 3_000_000_000, 3_990_000_000));
    }
}
