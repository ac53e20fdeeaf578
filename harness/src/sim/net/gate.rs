//! A gate: what one direction between two hosts does to what passes. Faults hinder it, a step of the plan each.

use seaworthy_engine::env::Seed;

use crate::plan::{Dist, Ns, strikes};
use crate::sim::TICK_NS;
use crate::sim::seed::KeyedSeed;

/// How long a sender waits before it sends a lost segment again, ns; doubled each time.
const RETRANSMIT_NS: Ns = 200_000_000;
/// How often a segment is lost in a row at most; then it gets through.
const RETRANSMITS_MAX: u64 = 6;

/// What a fault does to what passes. `key` names the fault in draws, so that another step of the plan shifts none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hindrance {
    /// Nothing passes.
    Cut,
    /// Each segment takes longer by a draw.
    Latency { key: u64, add: Dist },
    /// That share of segments is lost and sent again.
    Loss { key: u64, ratio_ppm: u32 },
    /// Segments queue for a line that is free again at `free_at_ns`.
    Bandwidth { bytes_per_s: u64, free_at_ns: Ns },
    /// A read or write moves from 1 to `bytes` bytes.
    ShortIo { key: u64, bytes: u32 },
}

/// One direction between two hosts.
#[derive(Default)]
pub(crate) struct Gate {
    hindrances: Vec<Active>,
}

struct Active {
    step: usize,
    what: Hindrance,
    hits: u64,
}

impl Gate {
    /// Hinders what passes until the step is healed.
    pub fn hinder(&mut self, step: usize, what: Hindrance) {
        self.hindrances.push(Active { step, what, hits: 0 });
    }

    /// Takes back what the step did; how often it was felt.
    pub fn heal(&mut self, step: usize) -> u64 {
        self.hindrances.extract_if(.., |active| active.step == step).map(|active| active.hits).sum()
    }

    /// Whether anything passes.
    pub fn is_open(&self) -> bool {
        !self.hindrances.iter().any(|active| matches!(active.what, Hindrance::Cut))
    }

    /// Something was held back.
    pub fn held(&mut self) {
        let cuts = self.hindrances.iter_mut().filter(|active| matches!(active.what, Hindrance::Cut));
        cuts.for_each(|active| active.hits += 1);
    }

    /// By how much `bytes` that are sent now on the link `link` are delayed beyond the base latency, ns.
    pub fn delay_ns(&mut self, seed: KeyedSeed, link: u64, now_ns: Ns, bytes: usize) -> Ns {
        let mut delay_ns: Ns = 0;
        for Active { what, hits, .. } in &mut self.hindrances {
            let more = match what {
                Hindrance::Latency { key, add } => {
                    *hits += 1;
                    add.draw(seed.draw("net.latency", &[*key, link, now_ns]))
                }
                Hindrance::Loss { key, ratio_ppm } => {
                    let lost = |again: &u64| strikes(seed.draw("net.loss", &[*key, link, now_ns, *again]), *ratio_ppm);
                    let lost = (0..RETRANSMITS_MAX).take_while(lost).count();
                    *hits += u64::from(lost > 0);
                    RETRANSMIT_NS * ((1 << lost) - 1)
                }
                Hindrance::Bandwidth { bytes_per_s, free_at_ns } => {
                    let takes_ns = u128::from(bytes as u64) * 1_000_000_000 / u128::from(*bytes_per_s);
                    let takes_ns = u64::try_from(takes_ns).unwrap_or(u64::MAX);
                    *free_at_ns = (*free_at_ns).max(now_ns).saturating_add(takes_ns);
                    let waits_ns = *free_at_ns - now_ns;
                    *hits += u64::from(waits_ns >= TICK_NS);
                    waits_ns
                }
                Hindrance::Cut | Hindrance::ShortIo { .. } => 0,
            };
            delay_ns = delay_ns.saturating_add(more);
        }
        delay_ns
    }

    /// How many of `wanted` bytes a read or write moves; `place` tells it from others of this instant.
    pub fn moves(&mut self, seed: KeyedSeed, place: u64, now_ns: Ns, wanted: usize) -> usize {
        let mut moved = wanted;
        for Active { what, hits, .. } in &mut self.hindrances {
            if let Hindrance::ShortIo { key, bytes } = what {
                let draw = seed.draw("net.short_io", &[*key, place, now_ns, wanted as u64]);
                let most = 1 + (draw % u64::from((*bytes).max(1))) as usize;
                *hits += u64::from(most < moved);
                moved = moved.min(most);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: KeyedSeed = KeyedSeed(1);

    #[test]
    fn overlapping_cuts_heal_one_by_one() {
        let mut gate = Gate::default();
        gate.hinder(1, Hindrance::Cut);
        gate.held();
        gate.hinder(2, Hindrance::Cut);
        gate.held();
        assert_eq!(gate.heal(1), 2);
        assert!(!gate.is_open());
        assert_eq!(gate.heal(2), 1);
        assert!(gate.is_open());
        assert_eq!(gate.heal(2), 0);
    }

    #[test]
    fn delays_add_up_and_are_keyed_by_time() {
        let mut gate = Gate::default();
        gate.hinder(1, Hindrance::Latency { key: 7, add: Dist::Constant { ns: 5 } });
        gate.hinder(2, Hindrance::Latency { key: 8, add: Dist::Uniform { from_ns: 0, to_ns: 1 << 40 } });
        assert_eq!(gate.delay_ns(SEED, 0, 100, 1), gate.delay_ns(SEED, 0, 100, 1));
        assert_ne!(gate.delay_ns(SEED, 0, 100, 1), gate.delay_ns(SEED, 0, 101, 1));
        gate.heal(2);
        assert_eq!(gate.delay_ns(SEED, 0, 100, 1), 5);
    }

    #[test]
    fn what_is_lost_comes_a_retransmission_later() {
        let mut gate = Gate::default();
        gate.hinder(1, Hindrance::Loss { key: 7, ratio_ppm: 1_000_000 });
        assert_eq!(gate.delay_ns(SEED, 0, 100, 1), RETRANSMIT_NS * 63);
        gate.heal(1);
        gate.hinder(2, Hindrance::Loss { key: 7, ratio_ppm: 200_000 });
        let late: Vec<Ns> = (0..1_000).map(|at| gate.delay_ns(SEED, 0, at, 1)).filter(|ns| *ns > 0).collect();
        assert_eq!(gate.heal(2), late.len() as u64);
        assert!((150..250).contains(&late.len()), "{} of 1000", late.len());
        assert!(late.iter().all(|ns| ns.is_multiple_of(RETRANSMIT_NS)));
    }

    #[test]
    fn a_narrow_line_is_queued_for() {
        let mut gate = Gate::default();
        gate.hinder(1, Hindrance::Bandwidth { bytes_per_s: 1_000_000, free_at_ns: 0 });
        assert_eq!(gate.delay_ns(SEED, 0, 5_000_000, 10_000), 10_000_000);
        assert_eq!(gate.delay_ns(SEED, 0, 5_000_000, 10_000), 20_000_000);
        assert_eq!(gate.delay_ns(SEED, 0, 30_000_000, 100), 100_000);
        assert_eq!(gate.heal(1), 2, "the last one had no wait to speak of");
    }

    #[test]
    fn short_reads_move_at_least_a_byte() {
        let mut gate = Gate::default();
        gate.hinder(1, Hindrance::ShortIo { key: 7, bytes: 16 });
        let moved: Vec<usize> = (0..200).map(|at| gate.moves(SEED, 3, at, 1_000)).collect();
        assert!(moved.iter().all(|n| (1..=16).contains(n)), "{moved:?}");
        assert_eq!(gate.moves(SEED, 3, 0, 1), 1);
        assert_eq!(gate.heal(1), 200);
    }
}
