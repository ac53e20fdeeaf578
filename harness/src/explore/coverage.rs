//! What runs have reached: kinds of events at places of the graph, and how often within a run. A trial that reached what
//! few others did is kept, to be changed a little.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_engine::observe::What;

use super::Trial;
use crate::run::Judged;

/// A site that fewer trials than this have reached is rare.
const RARE: u64 = 3;
/// Trials that are kept at most; the oldest goes first.
const KEPT: usize = 64;

/// A kind of event at a place, and the power of two of how often it was there in one run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The event, with its reason where it has one: `refused lane.duplicate`.
    pub event: String,
    /// Host and place.
    pub place: String,
    /// Floor of log2 of the count.
    pub magnitude: u32,
}

/// The sites of all trials so far.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    sites: BTreeMap<Site, u64>,
    kept: Vec<Trial>,
}

impl Coverage {
    /// Sites that some trial reached.
    #[must_use]
    pub fn sites(&self) -> usize {
        self.sites.len()
    }

    /// The kinds of events that were seen at all, with the number of trials that the most frequent of its sites had.
    #[must_use]
    pub fn events(&self) -> BTreeMap<&str, u64> {
        let mut events: BTreeMap<&str, u64> = BTreeMap::new();
        for (site, trials) in &self.sites {
            let most = events.entry(&site.event).or_default();
            *most = (*most).max(*trials);
        }
        events
    }

    pub(super) fn add(&mut self, trial: &Trial, judged: &Judged) {
        let mut rare = false;
        for site in reached(trial.scenario, judged) {
            let trials = self.sites.entry(site).or_default();
            *trials += 1;
            rare |= *trials < RARE;
        }
        // A scenario as it is comes round by itself.
        if rare && !trial.faults.is_empty() {
            self.kept.push(trial.clone());
            if self.kept.len() > KEPT {
                self.kept.remove(0);
            }
        }
    }

    pub(super) fn pick(&self, draw: u64) -> Option<&Trial> {
        let count = self.kept.len() as u128;
        self.kept.get(((u128::from(draw) * count) >> 64) as usize)
    }
}

fn reached(scenario: usize, judged: &Judged) -> BTreeSet<Site> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for probed in &judged.history.events {
        let event = match &probed.event.what {
            What::Dropped { reason } | What::Refused { reason } => format!("{} {reason}", probed.event.what.name()),
            What::Asserted { id, .. } => format!("asserted {id}"),
            What::Settled { took_effect: false } => "settled again".to_owned(),
            what if probed.event.attempt > 1 => format!("{} again", what.name()),
            what => what.name().to_owned(),
        };
        let place = format!("{scenario}:{}.{}", probed.host, probed.event.place);
        *counts.entry((event, place)).or_default() += 1;
    }
    counts.into_iter().map(|((event, place), count)| Site { event, place, magnitude: count.ilog2() }).collect()
}
