//! The load's own host: hands events to the system at their intended times, whatever the system does, and again under
//! the same number where it got no answer.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use indexmap::IndexMap;
use seaworthy_engine::env::Env;

use super::hosts::HostIndex;
use super::recorder::Recorder;
use crate::history::OfferRecord;
use crate::load::LoadEvent;
use crate::system::{Offer, Offered, System};

/// Wait before events without an answer are offered again, ns.
const AGAIN_NS: u64 = 50_000_000;

/// All events of one entry, each with its place in the history's offers. They live outside of any host.
pub(crate) struct EntryLoad {
    host: String,
    node: String,
    events: Vec<(usize, LoadEvent)>,
}

/// Sets the workload down in the history, in order of intended arrival, and sorts it by entry.
///
/// # Panics
/// When an entry is not `host.node`, or its numbers don't grow with its times.
pub(crate) fn plan(mut workload: Vec<LoadEvent>, recorder: &Recorder) -> Vec<EntryLoad> {
    workload.sort_by_key(|event| event.intended_ns);
    let mut entries: IndexMap<Arc<str>, EntryLoad> = IndexMap::new();
    let mut offers = Vec::with_capacity(workload.len());
    for (at, event) in workload.into_iter().enumerate() {
        if !entries.contains_key(event.entry.as_str()) {
            let (host, node) = event.entry.split_once('.').expect("an entry is written host.node");
            let entry = EntryLoad { host: host.to_owned(), node: node.to_owned(), events: Vec::new() };
            entries.insert(event.entry.as_str().into(), entry);
        }
        let (name, entry) = entries.get_key_value(event.entry.as_str()).expect("it was inserted above");
        offers.push(OfferRecord {
            entry: name.clone(),
            seq: event.seq,
            packet_id: event.draft.packet_id.as_str().into(),
            key: event.draft.key.as_deref().map(Into::into),
            intended_ns: event.intended_ns,
            accepted_ns: None,
            rejected: None,
            attempts: 0,
        });
        let last = entry.events.last().map_or(0, |(_, last)| last.seq.0);
        assert!(last < event.seq.0, "{name}: event {} comes after {last}", event.seq);
        entries.get_mut(event.entry.as_str()).expect("it was inserted above").events.push((at, event));
    }
    recorder.plan_offers(offers);
    entries.into_values().collect()
}

/// Offers everything; ends when each event has a final answer.
pub(crate) async fn offer_all(
    system: Rc<dyn System>,
    env: Env,
    recorder: Arc<Recorder>,
    host: HostIndex,
    load: Rc<Vec<EntryLoad>>,
    window: usize,
) {
    let hand = Hand { system, env, recorder, host };
    join_all(load.iter().map(|entry| hand.offer_entry(entry, window))).await;
}

struct Hand {
    system: Rc<dyn System>,
    env: Env,
    recorder: Arc<Recorder>,
    host: HostIndex,
}

impl Hand {
    /// Offers one entry's events in order, up to `window` of them without an answer. After one that got none, nothing new
    /// goes out until all are back; then what has no answer goes out again, in order.
    async fn offer_entry(&self, entry: &EntryLoad, window: usize) {
        let mut next = 0;
        let mut again: BTreeSet<usize> = BTreeSet::new();
        let mut out = FuturesUnordered::new();
        loop {
            if out.is_empty() && !again.is_empty() {
                self.env.clock.sleep(AGAIN_NS).await;
                out.extend(std::mem::take(&mut again).into_iter().map(|i| self.offer(entry, i)));
            }
            let open = again.is_empty() && out.len() < window;
            let wait_ns = entry
                .events
                .get(next)
                .filter(|_| open)
                .map(|(_, event)| event.intended_ns.saturating_sub(self.recorder.now_on_ns(self.host)));
            match wait_ns {
                Some(0) => {
                    out.push(self.offer(entry, next));
                    next += 1;
                }
                None if out.is_empty() && again.is_empty() => return,
                wait_ns => tokio::select! {
                    biased;
                    Some((i, answer)) = out.next() => {
                        if answer == Offered::Indeterminate {
                            again.insert(i);
                        }
                    }
                    () = self.env.clock.sleep(wait_ns.unwrap_or_default()), if wait_ns.is_some() => {}
                },
            }
        }
    }

    /// Software that stands still takes nothing. False when it ended meanwhile: others go in before what waited outside.
    async fn is_taken(&self, host: &str) -> bool {
        let Some(host) = self.recorder.hosts().index(host) else { return true };
        let incarnation = self.recorder.hosts().live(host);
        self.recorder.resumed(host, self.host).await;
        self.recorder.hosts().live(host) == incarnation
    }

    async fn offer(&self, entry: &EntryLoad, i: usize) -> (usize, Offered) {
        let (at, event) = &entry.events[i];
        self.recorder.offered(self.host, *at);
        let offer =
            Offer { host: entry.host.clone(), entry: entry.node.clone(), seq: event.seq, draft: event.draft.clone() };
        let answer = match self.recorder.steal(&event.entry) {
            Some(answer) => answer,
            None if self.is_taken(&entry.host).await => self.system.offer(&self.env, offer).await,
            None => Offered::Indeterminate,
        };
        self.recorder.answered(self.host, *at, &answer);
        (i, answer)
    }
}
