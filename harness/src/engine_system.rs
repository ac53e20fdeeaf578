//! The engine as the first user of [`System`]: its processes as hosts, the load in place of its sources, recording
//! endpoints in place of its sinks. It has no back door: what it uses, any caller of the engine can.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use seaworthy_engine::env::{Clock, Env, Fut};
use seaworthy_engine::graph::Role;
use seaworthy_engine::journal::JournalOptions;
use seaworthy_engine::node::{Acks, Class, Draft, Entry, Node, NodeError, Output, Registry, Resume, Sink, Source};
use seaworthy_engine::packet::{Packet, Seq};
use seaworthy_engine::process::{ChannelPlan, PlannedProcess, ProcessPlan};
use seaworthy_engine::runtime::{Engine, EngineOptions, Handle, StandIn};
use tokio::sync::{Notify, oneshot};

use crate::fault::lane_proxy::{LaneProxy, ProxyFaults};
use crate::members::Members;
use crate::plan::Tuning;
use crate::sim::net::Route;
use crate::sim::recorder::Recorder;
use crate::sim::sink::Endpoint;
use crate::system::{Boot, BootError, HostSpec, Offer, Offered, System};

/// Disk of each simulated host, bytes.
const DISK_BYTES: u64 = 64 << 20;

/// Processes of the engine, in a world.
pub struct EngineSystem {
    recorder: Arc<Recorder>,
    plan: Arc<ProcessPlan>,
    members: Members,
    registry: Registry,
    /// What the load offers, by `host.node`; lives outside of any host.
    intakes: BTreeMap<String, Arc<Intake>>,
    handles: Arc<Mutex<BTreeMap<String, Handle>>>,
    /// How what has no handle, or none yet, is asked to stop.
    stops: Mutex<BTreeMap<String, Arc<Notify>>>,
    proxies: Vec<Proxy>,
    tuning: Tuning,
    payload_bytes_max: u64,
    /// Of a real machine; the process is put in. In a simulation the tuning says.
    journal: Option<JournalOptions>,
    /// Nodes that a fault makes panic, as `host.node`.
    panicking: BTreeSet<String>,
}

struct Proxy {
    host: String,
    stands_for: String,
    faults: Arc<ProxyFaults>,
}

impl EngineSystem {
    /// The processes of `plan`, with `entries` (as `host.node`) fed by the load.
    #[must_use]
    pub fn new(
        recorder: Arc<Recorder>,
        plan: Arc<ProcessPlan>,
        members: Members,
        registry: Registry,
        entries: &BTreeSet<String>,
    ) -> Self {
        let intakes = entries.iter().map(|entry| (entry.clone(), Arc::new(Intake::default()))).collect();
        EngineSystem {
            recorder,
            plan,
            members,
            registry,
            intakes,
            handles: Arc::default(),
            stops: Mutex::default(),
            proxies: Vec::new(),
            tuning: Tuning::default(),
            payload_bytes_max: 0,
            journal: None,
            panicking: BTreeSet::new(),
        }
    }

    /// Lets these nodes panic where a fault says so; no other node is touched.
    #[must_use]
    pub fn with_panicking(self, panicking: BTreeSet<String>) -> Self {
        EngineSystem { panicking, ..self }
    }

    /// Makes journals so that can hold payloads of so many bytes.
    #[must_use]
    pub fn with_tuning(self, tuning: Tuning, payload_bytes_max: u64) -> Self {
        EngineSystem { tuning, payload_bytes_max, ..self }
    }

    /// Lets the sources end behind these numbers of the load, by `host.node`.
    #[must_use]
    pub fn with_ends(self, last: &BTreeMap<String, Seq>) -> Self {
        for (entry, intake) in &self.intakes {
            intake.state().last = Some(last.get(entry).copied().unwrap_or(Seq(0)));
        }
        self
    }

    /// Makes journals as on a real machine.
    #[must_use]
    pub fn with_journal(self, journal: JournalOptions) -> Self {
        EngineSystem { journal: Some(journal), ..self }
    }

    fn journal(&self, host: &str) -> JournalOptions {
        if let Some(journal) = &self.journal {
            return JournalOptions { process: host.to_owned(), ..journal.clone() };
        }
        let frame_bytes = self.tuning.frame_bytes(self.payload_bytes_max);
        JournalOptions {
            segment_bytes: self.tuning.segment_bytes(frame_bytes),
            frame_bytes_max: usize::try_from(frame_bytes).expect("a frame fits in memory"),
            queue_bytes_max: 1 << 20,
            tail_bytes_max: 1 << 20,
            durability: self.tuning.durability(),
            retain_ns: self.tuning.retain_ns.unwrap_or(0),
            retain_bytes: self.tuning.retain_bytes.unwrap_or(0),
            ..JournalOptions::new(host)
        }
    }

    /// Puts a peer in the middle of every lane, for the faults of acks; gives the routes that lead there.
    pub fn with_proxies(&mut self, faults: &Arc<ProxyFaults>) -> Vec<Route> {
        let hosts: BTreeSet<&str> = self.plan.channels.iter().map(|channel| channel.host.as_str()).collect();
        let name = |host: &str| format!("{host}-proxy");
        self.proxies = hosts
            .iter()
            .map(|host| Proxy { host: name(host), stands_for: (*host).to_owned(), faults: faults.clone() })
            .collect();
        let mut routes: BTreeSet<(&str, &str)> = BTreeSet::new();
        for channel in &self.plan.channels {
            let ends = self.plan.processes.iter().filter(|process| channel.is_remote(&process.id));
            routes.extend(ends.map(|process| (process.id.as_str(), channel.host.as_str())));
        }
        let route = |(from, to): (&str, &str)| Route { from: from.to_owned(), to: to.to_owned(), via: name(to) };
        routes.into_iter().map(route).collect()
    }

    fn process(&self, host: &str) -> &PlannedProcess {
        self.plan
            .processes
            .iter()
            .find(|process| process.id == host)
            .expect("the world boots only hosts that it was given")
    }

    fn load(&self, entry: &str, intake: &Arc<Intake>) -> LoadSource {
        LoadSource { recorder: self.recorder.clone(), entry: entry.into(), intake: intake.clone() }
    }

    fn handles(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Handle>> {
        self.handles.lock().expect("no code panics while it holds the handles")
    }

    fn stops(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Notify>>> {
        self.stops.lock().expect("no code panics while it holds the stops")
    }

    fn options(&self, boot: &Boot) -> EngineOptions {
        let process = self.process(&boot.host);
        let mut stand_ins = BTreeMap::new();
        for node in &process.plan.nodes {
            let address = format!("{}.{}", boot.host, node.id);
            if let Some(intake) = self.intakes.get(&address) {
                stand_ins.insert(node.id.to_string(), StandIn::Source(Box::new(self.load(&address, intake))));
            }
            if self.panicking.contains(&address) {
                let (recorder, address) = (self.recorder.clone(), address.clone());
                let around = move |inner| {
                    let (recorder, address) = (recorder.clone(), address.clone());
                    Box::new(FaultyNode { inner, recorder, address }) as Box<dyn Node>
                };
                stand_ins.insert(node.id.to_string(), StandIn::Around(Arc::new(around)));
            }
            if node.role == Role::Sink {
                let endpoint = self.recorder.endpoint(&address, &boot.host, boot.incarnation);
                let endpoint = endpoint.told_as(&format!("{}.{}", self.members.told_as(&boot.host), node.id));
                let sink = RecordingSink { endpoint, clock: boot.env.clock.clone() };
                stand_ins.insert(node.id.to_string(), StandIn::Sink(Box::new(sink)));
            }
        }
        EngineOptions {
            env: boot.env.clone(),
            files: boot.env.disk.clone(),
            plan: process.plan.clone(),
            channels: ChannelPlan::of(&boot.host, &self.plan.channels),
            registry: self.registry.clone(),
            stand_ins,
            journal: self.journal(&boot.host),
            in_flight_max: self.tuning.in_flight(),
            park: false,
        }
    }
}

impl System for EngineSystem {
    fn hosts(&self) -> Vec<HostSpec> {
        let spec = |name: &str| HostSpec { name: name.to_owned(), disk_bytes: DISK_BYTES, cores: 1 };
        let processes = self.plan.processes.iter().map(|process| spec(&process.id));
        processes.chain(self.proxies.iter().map(|proxy| spec(&proxy.host))).collect()
    }

    fn boot(&self, boot: Boot) -> Fut<'static, Result<(), BootError>> {
        let host = boot.host.clone();
        let failed = move |message: String, exit: i32| BootError { host: host.clone(), message, exit };
        let asked = Arc::new(Notify::new());
        self.stops().insert(boot.host.clone(), asked.clone());
        if let Some(proxy) = self.proxies.iter().find(|proxy| proxy.host == boot.host) {
            let Env { clock, net, seed, .. } = boot.env;
            let proxy = LaneProxy {
                listen: net.clone(),
                listen_as: proxy.stands_for.clone(),
                connect: net,
                onward: proxy.stands_for.clone(),
                clock,
                seed,
                faults: proxy.faults.clone(),
            };
            return Box::pin(async move {
                tokio::select! {
                    biased;
                    ended = proxy.run() => match ended {
                        Ok(never) => match never {},
                        Err(error) => Err(failed(error.to_string(), 74)),
                    },
                    () = asked.notified() => Ok(()),
                }
            });
        }
        if let Some(old) = self.handles().remove(&boot.host) {
            assert!(!old.is_alive(), "{}: something of the last incarnation's engine outlived its crash", boot.host);
        }
        let options = self.options(&boot);
        let (handles, recorder) = (self.handles.clone(), self.recorder.clone());
        Box::pin(async move {
            let error =
                |error: seaworthy_engine::runtime::EngineError| failed(error.to_string(), i32::from(error.exit_code()));
            let engine = tokio::select! {
                biased;
                engine = Engine::start(options) => engine.map_err(&error)?,
                () = asked.notified() => return Ok(()),
            };
            handles
                .lock()
                .expect("no code panics while it holds the handles")
                .insert(boot.host.clone(), engine.handle());
            for range in &engine.recovery().lost {
                recorder.reported_lost(&boot.host, format!("records {}..{}", range.start, range.end));
            }
            engine.run().await.map_err(&error)
        })
    }

    fn stop(&self, host: &str) {
        match self.handles().get(host) {
            Some(handle) => handle.stop(),
            None => self.stops().get(host).expect("what is asked to stop was booted").notify_one(),
        }
    }

    fn offer(&self, _: &Env, offer: Offer) -> Fut<'static, Offered> {
        let intake = self.intakes.get(&format!("{}.{}", offer.host, offer.entry)).cloned();
        let intake = intake.expect("the load enters only where it was said to");
        Box::pin(async move { intake.offer(offer.seq, offer.draft).await })
    }

    fn quiet(&self) -> bool {
        let handles = self.handles();
        // One that ended by itself had nothing left to do, or the ledger will tell.
        let is_quiet = |handle: &Handle| handle.quiet() || self.tuning.ends && !handle.is_alive();
        let all = self.plan.processes.iter().all(|process| handles.get(&process.id).is_some_and(is_quiet));
        all && self.intakes.values().all(|intake| intake.is_empty())
    }

    /// `host.channel.backlog`, or `backlog`: that of all channels together.
    fn gauge(&self, address: &str) -> Option<u64> {
        let handles = self.handles();
        if address == "backlog" {
            let of = |channel: &ChannelPlan| {
                let ends: BTreeSet<&String> = channel.producers.iter().chain([&channel.host]).collect();
                ends.into_iter().filter_map(|host| handles.get(host)?.backlog(&channel.id)).sum::<u64>()
            };
            return Some(self.plan.channels.iter().map(of).sum());
        }
        let (place, gauge) = address.rsplit_once('.')?;
        let (host, channel) = place.split_once('.')?;
        if gauge == "backlog" { handles.get(host)?.backlog(channel) } else { None }
    }
}

/// What the load offers to one source, outside of any host.
#[derive(Default)]
struct Intake {
    state: Mutex<Offers>,
    arrived: Notify,
}

#[derive(Default)]
struct Offers {
    /// Not yet taken by the engine.
    queue: BTreeMap<Seq, Draft>,
    /// Taken, and not settled.
    taken: BTreeMap<Seq, Draft>,
    /// Settled above such as are not: a source goes on behind the floor, and brings them again.
    above: BTreeMap<Seq, Draft>,
    /// Without an answer.
    waiting: BTreeMap<Seq, oneshot::Sender<Offered>>,
    /// Given back at a restart, not yet offered again. Nothing behind them goes in before them.
    returned: BTreeSet<Seq>,
    /// Answered as accepted, and not known to be there by a later incarnation's word.
    accepted: BTreeSet<Seq>,
    /// The last number that was offered.
    newest: Seq,
    /// The last number that there is, where the source ends behind it.
    last: Option<Seq>,
    /// How many machines were replaced so far, and the last number that was not for the one that is there now: its source counts
    /// from 1 behind it.
    replaced: usize,
    before: u64,
}

impl Offers {
    /// The number of an entry as its source counts, and back.
    fn here(&self, seq: Seq) -> Seq {
        Seq(seq.0.saturating_sub(self.before))
    }

    fn of_load(&self, here: Seq) -> Seq {
        Seq(here.0 + self.before)
    }
}

impl Intake {
    fn state(&self) -> std::sync::MutexGuard<'_, Offers> {
        self.state.lock().expect("no code panics while it holds an intake")
    }

    fn is_empty(&self) -> bool {
        let state = self.state();
        state.queue.is_empty() && state.waiting.is_empty() && state.returned.is_empty()
    }

    async fn offer(&self, seq: Seq, draft: Draft) -> Offered {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state();
            state.returned.remove(&seq);
            state.newest = state.newest.max(seq);
            state.queue.insert(seq, draft);
            state.waiting.insert(seq, answer);
        }
        self.arrived.notify_one();
        answered.await.unwrap_or(Offered::Indeterminate)
    }

    /// A new incarnation begins, on the how many-th other machine: nobody will answer what the last one took. Gives what that one
    /// accepted, and this one does not have, and the number behind which its source counts from 1.
    fn restart(&self, resume: &Resume, replaced: usize) -> (Vec<Seq>, u64) {
        let state = &mut *self.state();
        let is_other = std::mem::replace(&mut state.replaced, replaced) < replaced;
        let before = state.before;
        let has = |seq: Seq| !is_other && resume.has(Seq(seq.0.saturating_sub(before)));
        let gone = std::mem::take(&mut state.accepted).into_iter().filter(|seq| !has(*seq)).collect();
        // A source goes on behind its position, which is to be that of the floor: what it passes over it never brings again, and
        // has told its feeder so.
        let position = resume.position.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
        let position = if is_other { Seq(0) } else { Seq(position + before) };
        for (seq, answer) in std::mem::take(&mut state.waiting) {
            if seq > position || has(seq) {
                state.returned.insert(seq);
            } else {
                let _ = answer.send(Offered::Accepted);
            }
        }
        state.queue.clear();
        state.taken.clear();
        let above = std::mem::take(&mut state.above).into_iter();
        state.queue.extend(above.filter(|(seq, _)| *seq > position && has(*seq)));
        if is_other {
            state.before = state.returned.first().map_or(state.newest.0, |first| first.0 - 1);
        }
        (gone, state.before)
    }

    /// Whether nothing comes any more.
    fn is_over(&self) -> bool {
        let state = self.state();
        let is_read = state.queue.is_empty() && state.returned.is_empty();
        is_read && state.last.is_some_and(|last| state.newest >= last)
    }

    fn take(&self, max: usize) -> Vec<Entry> {
        let mut state = self.state();
        let mut entries = Vec::new();
        while entries.len() < max
            && let Some((seq, _)) = state.queue.first_key_value()
            && state.returned.first().is_none_or(|returned| seq < returned)
        {
            let (seq, draft) = state.queue.pop_first().expect("first_key_value() saw one");
            state.taken.insert(seq, draft.clone());
            let seq = state.here(seq);
            entries.push(Entry { seq, draft, position: Bytes::copy_from_slice(&seq.0.to_le_bytes()) });
        }
        entries
    }
}

impl Acks for Intake {
    fn settled(&self, seqs: &[Seq]) {
        let mut state = self.state();
        for here in seqs {
            let seq = state.of_load(*here);
            if let Some(answer) = state.waiting.remove(&seq) {
                state.accepted.insert(seq);
                // The load may have gone; its history keeps what it knew.
                let _ = answer.send(Offered::Accepted);
            }
            let draft = state.taken.remove(&seq);
            state.above.extend(draft.map(|draft| (seq, draft)));
        }
        let first = [state.taken.keys().next(), state.returned.first(), state.queue.keys().next()];
        match first.into_iter().flatten().min().copied() {
            Some(open) => state.above = state.above.split_off(&open),
            None => state.above.clear(),
        }
    }
}

/// In place of a source: brings in what the load offers.
struct LoadSource {
    recorder: Arc<Recorder>,
    /// As `host.node`.
    entry: Arc<str>,
    intake: Arc<Intake>,
}

impl Source for LoadSource {
    fn start(&mut self, resume: Resume) -> Fut<'_, Result<(), NodeError>> {
        let (host, node) = self.entry.split_once('.').expect("an entry is host.node");
        let (gone, before) = self.intake.restart(&resume, self.recorder.replaced(host));
        self.recorder.counts_behind(host, node, before);
        if !gone.is_empty() {
            let gone = gone.into_iter().map(|seq| (self.entry.clone(), seq));
            self.recorder.with_history(|history| history.gone.extend(gone));
        }
        Box::pin(async { Ok(()) })
    }

    fn next(&mut self, max: usize) -> Fut<'_, Result<Option<Vec<Entry>>, NodeError>> {
        Box::pin(async move {
            loop {
                let arrived = self.intake.arrived.notified();
                let entries = self.intake.take(max);
                if !entries.is_empty() {
                    return Ok(Some(entries));
                }
                if self.intake.is_over() {
                    return Ok(None);
                }
                arrived.await;
            }
        })
    }

    fn acks(&self) -> Option<Arc<dyn Acks>> {
        Some(self.intake.clone())
    }
}

/// Around a node: panics where a fault says so, and is the node otherwise.
struct FaultyNode {
    inner: Box<dyn Node>,
    recorder: Arc<Recorder>,
    address: String,
}

impl Node for FaultyNode {
    fn process(&mut self, packet: &Packet, out: &mut Output) -> Result<(), NodeError> {
        if self.recorder.panics_over(&self.address, &packet.packet_id) {
            panic!("a fault: {} panics over {}", self.address, packet.packet_id);
        }
        self.inner.process(packet, out)
    }

    fn restore(&mut self, state: &BTreeMap<Bytes, Bytes>) -> Result<(), NodeError> {
        self.inner.restore(state)
    }
}

/// In place of a sink: what it writes becomes visible at an endpoint of the harness.
struct RecordingSink {
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
}

impl Sink for RecordingSink {
    fn write<'a>(&'a mut self, batch: &'a [Packet]) -> Fut<'a, Vec<Result<(), NodeError>>> {
        Box::pin(async move {
            self.endpoint.hold(&self.clock).await;
            if self.endpoint.is_unavailable() {
                let refused = NodeError::new(Class::SinkUnavailable, "the outside system is unavailable (a fault)");
                return vec![Err(refused); batch.len()];
            }
            let write = |packet: &Packet| {
                if self.endpoint.is_rejected(&packet.packet_id) {
                    return Err(NodeError::new(Class::SinkPermanent, "the outside system refuses it (a fault)"));
                }
                self.endpoint.effect(&packet.packet_id, packet.key.as_deref(), packet.payload.clone());
                Ok(())
            };
            batch.iter().map(write).collect()
        })
    }
}
