//! A gate: what one direction between two hosts does to what passes. Faults open and close it, a step of the plan each.

use seaworthy_engine::env::Seed;

use crate::plan::Dist;
use crate::sim::seed::KeyedSeed;

/// One direction between two hosts.
#[derive(Default)]
pub(crate) struct Gate {
    cuts: Vec<Cut>,
    delays: Vec<Delay>,
}

struct Cut {
    step: usize,
    hits: u64,
}

struct Delay {
    step: usize,
    /// Names the fault in draws, so that another step of the plan more or less shifts none.
    key: u64,
    add: Dist,
    hits: u64,
}

impl Gate {
    /// Closes the gate until the step is healed.
    pub fn cut(&mut self, step: usize) {
        self.cuts.push(Cut { step, hits: 0 });
    }

    /// Delays what passes until the step is healed.
    pub fn delay(&mut self, step: usize, key: u64, add: Dist) {
        self.delays.push(Delay { step, key, add, hits: 0 });
    }

    /// Takes back what the step did; how often it held something back or delayed it.
    pub fn heal(&mut self, step: usize) -> u64 {
        let hits = self.hits(step);
        self.cuts.retain(|cut| cut.step != step);
        self.delays.retain(|delay| delay.step != step);
        hits
    }

    fn hits(&self, step: usize) -> u64 {
        let cuts = self.cuts.iter().filter(|cut| cut.step == step).map(|cut| cut.hits);
        let delays = self.delays.iter().filter(|delay| delay.step == step).map(|delay| delay.hits);
        cuts.chain(delays).sum()
    }

    /// Whether anything passes.
    pub fn is_open(&self) -> bool {
        self.cuts.is_empty()
    }

    /// Something was held back.
    pub fn held(&mut self) {
        self.cuts.iter_mut().for_each(|cut| cut.hits += 1);
    }

    /// By how much what is sent now on the link `link` is delayed beyond the base latency, ns.
    pub fn delay_ns(&mut self, seed: KeyedSeed, link: u64, now_ns: u64) -> u64 {
        let draw = |delay: &mut Delay| {
            delay.hits += 1;
            delay.add.draw(seed.draw("net.latency", &[delay.key, link, now_ns]))
        };
        self.delays.iter_mut().map(draw).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_cuts_heal_one_by_one() {
        let mut gate = Gate::default();
        gate.cut(1);
        gate.held();
        gate.cut(2);
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
        gate.delay(1, 7, Dist::Constant { ns: 5 });
        gate.delay(2, 8, Dist::Uniform { from_ns: 0, to_ns: 1 << 40 });
        let seed = KeyedSeed(1);
        assert_eq!(gate.delay_ns(seed, 0, 100), gate.delay_ns(seed, 0, 100));
        assert_ne!(gate.delay_ns(seed, 0, 100), gate.delay_ns(seed, 0, 101));
        gate.heal(2);
        assert_eq!(gate.delay_ns(seed, 0, 100), 5);
    }
}
