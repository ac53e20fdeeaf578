//! The recorder: everything that one seed leaves behind, taken down outside of any host, so that no crash can touch it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use seaworthy_engine::env::{Probe, Seed};
use seaworthy_engine::observe::{Event, Place, What};
use seaworthy_engine::packet::Seq;
use xxhash_rust::xxh3::xxh3_64;

use super::hosts::{HostIndex, Hosts, WorldTime};
use super::lies::{self, Lie, Lies};
use super::seed::KeyedSeed;
use super::sink::{Endpoint, Sinks};
use super::trace::{Kind, Trace, Tracer, WORLD};
use crate::history::{Effect, History, OfferRecord, Probed};
use crate::plan::strikes;
use crate::system::Offered;

/// The events of the probe's catalogue, counted per place.
const EVENT_NAMES: [&str; 18] = [
    "entered",
    "processed",
    "filtered",
    "produced",
    "granted",
    "settled",
    "sink.acked",
    "dropped",
    "dead_lettered",
    "committed",
    "synced",
    "recovered",
    "refused",
    "asserted",
    "admitted",
    "confirmed",
    "joined",
    "left",
];

/// Takes down what happens in one world. Shared by the world, its hosts' environments and the system's own endpoints.
pub struct Recorder {
    pub(crate) seed: KeyedSeed,
    pub(crate) time: WorldTime,
    hosts: OnceLock<Hosts>,
    inner: Mutex<Inner>,
}

pub(crate) struct Inner {
    tracer: Tracer,
    pub(crate) history: History,
    /// A host, its places, and how often each event happened there.
    counts: Vec<BTreeMap<Place, [u64; EVENT_NAMES.len()]>>,
    pub(crate) sinks: Sinks,
    /// What becomes of an entry's next offer, and how many were answered in the system's place so far.
    stolen: BTreeMap<String, (Option<Offered>, u64)>,
    pub(crate) lies: Lies,
    /// Nodes that panic, as `host.node`: over which share of packets, in parts per million, and how often they did.
    panics: BTreeMap<String, (Option<u32>, u64)>,
    /// Sources on machines that took another's place, and behind which number of the load they count from 1.
    counts_behind: BTreeMap<(HostIndex, Place), u64>,
}

impl Recorder {
    /// A recorder for one run of `seed`. With `keep_trace` the trace's records stay in memory (36 bytes each), to diff.
    #[must_use]
    pub fn new(seed: u64, keep_trace: bool) -> Arc<Recorder> {
        let tracer = Tracer::new(keep_trace);
        let inner = Inner {
            tracer,
            history: History::default(),
            counts: Vec::new(),
            sinks: Sinks::default(),
            stolen: BTreeMap::new(),
            lies: Lies::default(),
            panics: BTreeMap::new(),
            counts_behind: BTreeMap::new(),
        };
        Arc::new(Recorder {
            seed: KeyedSeed(seed),
            time: WorldTime::default(),
            hosts: OnceLock::new(),
            inner: inner.into(),
        })
    }

    /// The software of a host ends, if it has not.
    pub fn end(&self, host: HostIndex) {
        if self.hosts().is_up(host) {
            let at_ns = self.now_ns();
            let name = self.hosts().name(host).to_string();
            self.with_history(|history| history.ends.push((name, at_ns)));
        }
        self.hosts().end(host);
    }

    /// Virtual ns since the world's start.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.time.now_ns()
    }

    /// The same for who runs on `host`, or between steps; cheaper.
    pub(crate) fn now_on_ns(&self, host: HostIndex) -> u64 {
        self.hosts.get().map_or(0, |hosts| self.time.now_on_ns(hosts, host))
    }

    /// Waits until the software of `host` goes on, for who runs on `here`; at once where it does not stand still.
    pub(crate) async fn resumed(self: &Arc<Self>, host: HostIndex, here: HostIndex) {
        let recorder = self.clone();
        self.hosts().pause_of(host).wait_until(Arc::new(move || recorder.now_on_ns(here)), 0).await;
    }

    /// The endpoint `host.node` as one incarnation of its host sees it; made for each boot.
    ///
    /// # Panics
    /// When there is no such host, or before a world runs.
    #[must_use]
    pub fn endpoint(self: &Arc<Self>, endpoint: &str, host: &str, incarnation: u64) -> Endpoint {
        let index = self.hosts().index(host).unwrap_or_else(|| panic!("there is no host {host}"));
        Endpoint::new(self.clone(), endpoint, index, incarnation)
    }

    /// An effect became visible at `endpoint` now. Sabotages of that sink apply; liveness of a host doesn't: see
    /// [`Recorder::endpoint`].
    pub fn effect(&self, endpoint: &str, packet_id: &str, key: Option<&str>, content: Bytes) {
        self.effect_by(endpoint, endpoint, packet_id, key, content);
    }

    /// As [`Recorder::effect`], by the sink `name`, whose effects are recorded as those of `told_as`.
    pub(crate) fn effect_by(&self, name: &str, told_as: &str, packet_id: &str, key: Option<&str>, content: Bytes) {
        let mut inner = self.lock();
        let at_ns = self.now_ns();
        let effect = Effect {
            endpoint: told_as.to_owned(),
            at_ns,
            packet_id: packet_id.to_owned(),
            key: key.map(str::to_owned),
            content,
        };
        for effect in inner.sinks.pass(name, effect) {
            inner.visible(Effect { at_ns, ..effect });
        }
    }

    /// The system itself reported a loss, with its exact range.
    pub fn reported_lost(&self, host: &str, what: String) {
        self.lock().history.reported_lost.push((host.to_owned(), what));
    }

    /// How often `event` (a name of the probe's catalogue) happened at `place` on `host`; 0 for what isn't known.
    #[must_use]
    pub fn count(&self, host: &str, place: &str, event: &str) -> u64 {
        let Some(host) = self.hosts.get().and_then(|hosts| hosts.index(host)) else { return 0 };
        let Some(event) = EVENT_NAMES.iter().position(|name| *name == event) else { return 0 };
        self.lock().counts[host].get(place).map_or(0, |counts| counts[event])
    }

    /// The world begins; once only.
    pub(crate) fn begin(&self, hosts: Hosts) {
        self.lock().counts.resize(hosts.len(), BTreeMap::new());
        assert!(self.hosts.set(hosts).is_ok(), "a recorder serves one world");
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        self.hosts.get().expect("the world begins before anything boots in it")
    }

    /// A probe for one incarnation.
    pub(crate) fn probe(self: &Arc<Self>, host: HostIndex, incarnation: u64) -> Arc<dyn Probe> {
        Arc::new(HostProbe { recorder: self.clone(), host, incarnation })
    }

    pub(crate) fn trace(&self, host: HostIndex, kind: Kind, a: u64, b: u64) {
        let at_ns = self.now_ns();
        self.lock().tracer.record(at_ns, host as u16, kind as u16, a, b);
    }

    pub(crate) fn trace_world(&self, kind: Kind, a: u64, b: u64) {
        self.trace(usize::from(WORLD), kind, a, b);
    }

    /// Sets down the load's events before the first is offered, in order of intended arrival.
    pub(crate) fn plan_offers(&self, offers: Vec<OfferRecord>) {
        self.lock().history.offers = offers;
    }

    /// Sabotage: the next offer of the entry gets `answer` and is never handed over; `None` disarms it.
    pub(crate) fn set_steal(&self, entry: &str, answer: Option<Offered>) {
        self.lock().stolen.entry(entry.to_owned()).or_default().0 = answer;
    }

    /// How many offers of the entry were answered in the system's place.
    pub(crate) fn stolen(&self, entry: &str) -> u64 {
        self.lock().stolen.get(entry).map_or(0, |(_, hits)| *hits)
    }

    /// The answer to this offer of the entry, where the system is not to get it.
    pub(crate) fn steal(&self, entry: &str) -> Option<Offered> {
        let mut inner = self.lock();
        let (answer, hits) = inner.stolen.get_mut(entry)?;
        *hits += u64::from(answer.is_some());
        answer.take()
    }

    /// From now on the node panics over that share of packets, in parts per million; `None` ends it.
    pub(crate) fn set_panics(&self, node: &str, ratio_ppm: Option<u32>) {
        self.lock().panics.entry(node.to_owned()).or_default().0 = ratio_ppm;
    }

    /// How often the node was made to panic.
    pub(crate) fn panics(&self, node: &str) -> u64 {
        self.lock().panics.get(node).map_or(0, |(_, hits)| *hits)
    }

    /// Whether the node is to panic over this packet now; counts it when it is.
    pub(crate) fn panics_over(&self, node: &str, packet_id: &str) -> bool {
        let mut inner = self.lock();
        let Some((Some(ratio_ppm), hits)) = inner.panics.get_mut(node) else { return false };
        let key = [xxh3_64(node.as_bytes()), xxh3_64(packet_id.as_bytes())];
        let panics = strikes(self.seed.draw("node.panic", &key), *ratio_ppm);
        *hits += u64::from(panics);
        if panics {
            inner.history.struck.push((node.to_owned(), packet_id.to_owned()));
        }
        panics
    }

    /// How often the machine of a host was replaced.
    pub(crate) fn replaced(&self, host: &str) -> usize {
        self.lock().history.wiped.iter().filter(|(wiped, _)| wiped == host).count()
    }

    /// A source counts its entries from 1 behind that number of the load. What enters by it is recorded by the load's number.
    pub(crate) fn counts_behind(&self, host: &str, node: &str, before: u64) {
        if let Some(host) = self.hosts().index(host).filter(|_| before > 0) {
            self.lock().counts_behind.insert((host, node.into()), before);
        }
    }

    /// Sabotage: the host's probe tells what never was.
    pub(crate) fn set_lie(&self, host: &str, lie: Lie, on: bool) {
        if let Some(host) = self.hosts().index(host) {
            self.lock().lies.set(host, lie, on);
        }
    }

    /// How many lies of that kind the host's probe has told.
    pub(crate) fn lies(&self, host: &str, lie: Lie) -> u64 {
        self.hosts().index(host).map_or(0, |host| self.lock().lies.hits(host, lie))
    }

    /// The offer at `at` of the plan is handed over once more.
    pub(crate) fn offered(&self, host: HostIndex, at: usize) {
        let mut inner = self.lock();
        let offer = &mut inner.history.offers[at];
        offer.attempts += 1;
        let (seq, attempts) = (offer.seq, offer.attempts);
        inner.tracer.record(self.now_on_ns(host), host as u16, Kind::Offered as u16, seq.0, attempts.into());
    }

    /// The system answered the offer at `at`.
    pub(crate) fn answered(&self, host: HostIndex, at: usize, answer: &Offered) {
        let mut inner = self.lock();
        let now = self.now_on_ns(host);
        let offer = &mut inner.history.offers[at];
        let code = match answer {
            Offered::Accepted => {
                offer.accepted_ns = Some(now);
                0
            }
            Offered::Rejected { reason } => {
                offer.rejected = Some(reason.clone());
                1
            }
            Offered::Indeterminate => 2,
        };
        let seq = offer.seq;
        inner.tracer.record(now, host as u16, Kind::Answered as u16, seq.0, code);
    }

    /// Software ended by panic or error.
    pub(crate) fn exited(&self, host: HostIndex, code: i32, message: String) {
        let now = self.now_ns();
        self.trace(host, Kind::Exit, code as u64, 0);
        let name = self.hosts().name(host).to_string();
        self.lock().history.exits.push((name, now, message));
    }

    /// Changes the history directly; for what only the world knows.
    pub(crate) fn with_history<R>(&self, change: impl FnOnce(&mut History) -> R) -> R {
        change(&mut self.lock().history)
    }

    /// Takes out all that was recorded.
    pub(crate) fn finish(&self) -> (History, Trace) {
        let mut inner = self.lock();
        let history = std::mem::take(&mut inner.history);
        (history, inner.tracer.finish())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    pub(crate) fn visible(&mut self, effect: Effect) {
        let place = xxh3_64(effect.endpoint.as_bytes()) ^ xxh3_64(effect.packet_id.as_bytes()).rotate_left(1);
        self.tracer.record(effect.at_ns, WORLD, Kind::Effect as u16, place, xxh3_64(&effect.content));
        self.history.effects.push(effect);
    }

    /// Traces and counts a probe event.
    fn count(&mut self, host: HostIndex, at_ns: u64, event: &Event) {
        let number = number(&event.what);
        let kind = Kind::Event as u16 | (number as u16) << 8;
        self.tracer.record(at_ns, host as u16, kind, event.seq.0, xxh3_64(event.place.as_bytes()));
        let counts = &mut self.counts[host];
        match counts.get_mut(&event.place) {
            Some(counts) => counts[number] += 1,
            None => {
                let mut first = [0; EVENT_NAMES.len()];
                first[number] = 1;
                counts.insert(event.place.clone(), first);
            }
        }
    }
}

struct HostProbe {
    recorder: Arc<Recorder>,
    host: HostIndex,
    incarnation: u64,
}

impl Probe for HostProbe {
    fn on(&self, events: &[Event]) {
        let hosts = self.recorder.hosts();
        if !hosts.is_live(self.host, self.incarnation) {
            return;
        }
        let name = hosts.name(self.host);
        let mut inner = self.recorder.lock();
        // Read under the lock: where hosts are threads, the history is in order of time all the same.
        let at_ns = self.recorder.now_on_ns(self.host);
        if inner.lies.panics(self.host) {
            drop(inner);
            panic!("sabotage: the probe broke");
        }
        let inner = &mut *inner;
        let probed = |inner: &mut Inner, mut event: Event| {
            if event.what == What::Entered && !inner.counts_behind.is_empty() {
                let before = inner.counts_behind.get(&(self.host, event.place.clone()));
                event.seq = Seq(event.seq.0 + before.copied().unwrap_or(0));
            }
            inner.count(self.host, at_ns, &event);
            inner.history.events.push(Probed { at_ns, host: name.clone(), incarnation: self.incarnation, event });
        };
        for event in events {
            if inner.lies.hides(self.host, &event.place, &event.what) {
                continue;
            }
            probed(inner, event.clone());
            for what in inner.lies.behind(self.host, &event.place, &event.what) {
                let seq = Seq(event.seq.0 + lies::ahead(&what));
                probed(inner, Event { what, seq, ..event.clone() });
            }
        }
    }
}

/// The event's place in [`EVENT_NAMES`].
fn number(what: &What) -> usize {
    match what {
        What::Entered => 0,
        What::Processed => 1,
        What::Filtered => 2,
        What::Produced => 3,
        What::Granted { .. } => 4,
        What::Settled { .. } => 5,
        What::SinkAcked => 6,
        What::Dropped { .. } => 7,
        What::DeadLettered { .. } => 8,
        What::Committed => 9,
        What::Synced => 10,
        What::Recovered => 11,
        What::Refused { .. } => 12,
        What::Asserted { .. } => 13,
        What::Admitted { .. } => 14,
        What::Confirmed => 15,
        What::Joined { .. } => 16,
        What::Left { .. } => 17,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What) -> Event {
        Event { what, place: "uplink".into(), identity: None, seq: Seq(1), attempt: 1 }
    }

    #[test]
    fn a_stale_probe_is_inert() {
        let recorder = Recorder::new(1, false);
        recorder.begin(Hosts::new(["edge".to_owned()]));
        let first = recorder.hosts().boot(0);
        let probe = recorder.probe(0, first);
        probe.on(&[event(What::Committed), event(What::Settled { took_effect: true })]);
        recorder.hosts().end(0);
        probe.on(&[event(What::Committed)]);
        recorder.hosts().boot(0);
        probe.on(&[event(What::Committed)]);
        assert_eq!(recorder.count("edge", "uplink", "committed"), 1);
        assert_eq!(recorder.count("edge", "uplink", "settled"), 1);
        assert_eq!(recorder.count("edge", "nowhere", "settled") + recorder.count("hub", "uplink", "settled"), 0);
        assert_eq!(recorder.finish().0.events.len(), 2);
    }

    #[test]
    fn counted_names_are_the_catalogue() {
        let reason: Place = "r".into();
        let all = [
            What::Entered,
            What::Processed,
            What::Filtered,
            What::Produced,
            What::Granted { to: None },
            What::Joined { member: reason.clone(), generation: 1 },
            What::Left { member: reason.clone() },
            What::Settled { took_effect: false },
            What::SinkAcked,
            What::Dropped { reason: reason.clone() },
            What::DeadLettered { reason: reason.clone() },
            What::Committed,
            What::Synced,
            What::Recovered,
            What::Refused { reason: reason.clone() },
            What::Asserted { id: "a", held: true },
            What::Confirmed,
        ];
        for what in all {
            assert_eq!(EVENT_NAMES[number(&what)], what.name());
        }
    }
}
