//! The runtime: one engine runs one process of a graph, on the current-thread runtime that it is started in.
//!
//! ```text
//!  source ──► inbox ► node ──► inbox ► sink
//!  channel ─┘         │ stateful: outputs go through the journal   every end of a branch ─► Tx ─► journal ─► acker
//!                     └► channel end: outbox in the journal ─► lane ─► the channel's host
//! ```
//! What is absent: nothing here decides what a packet means, retries a node, or knows that it is simulated.

mod desk;
mod dispatch;
mod error;
mod hosted;
mod inbox;
mod inputs;
mod lanes;
mod member;
mod orphans;
mod places;
mod shared;
mod stages;
mod tree;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use tokio::task::JoinSet;

use crate::channel::dedup;
use crate::env::{Disk, Env};
use crate::graph::{Plan, PlannedNode, Role};
use crate::journal::letter::Runtime;
use crate::journal::record::{Name, Settle};
use crate::journal::{Intent, Journal, JournalOptions, Record, Recovery};
use crate::lane;
use crate::lane::near::Near;
use crate::lane::take::{self, Desk, Seat};
use crate::node::{Acks, Node, NodeContext, Registry, Sink, Source};
use crate::packet::Epoch;
use crate::process::ChannelPlan;
use crate::reachable;
use dispatch::Dispatcher;
use hosted::Hosted;
use inbox::Inbox;
use inputs::{Numbers, channel_name, is_channel, source_name, stage_name, taken_name};
use member::Taken;
use places::{brings_in, groups, incarnation, input_name, taken_by};
use shared::{Shared, panic_text};
use stages::{ChannelTask, Durable, NodeTask, SinkTask};
use tree::{Done, Input, Limits};

pub use error::EngineError;
pub use inputs::channel_name as journal_channel;
pub use orphans::{Kept, Orphan, orphans, park_all};
pub use places::kept;

/// Replaces a node by something of the caller's: how a harness puts its own load and endpoints into a graph.
pub enum StandIn {
    /// Instead of a source.
    Source(Box<dyn Source>),
    /// Instead of a sink.
    Sink(Box<dyn Sink>),
    /// Around a node: what its plugin builds, each time that it does, goes through this first.
    Around(Around),
}

/// What [`StandIn::Around`] makes of a node.
pub type Around = Arc<dyn Fn(Box<dyn Node>) -> Box<dyn Node> + Send + Sync>;

/// What an engine is started from. Plain data and a fresh `Env`: nothing crosses a crash but the disk.
pub struct EngineOptions {
    /// The machine.
    pub env: Env,
    /// The files beside the graph, for sources and sinks.
    pub files: Arc<dyn Disk>,
    /// The graph of this process.
    pub plan: Plan,
    /// The channels that it has an end of.
    pub channels: Vec<ChannelPlan>,
    /// The plugins.
    pub registry: Registry,
    /// Nodes to be replaced, by id.
    pub stand_ins: BTreeMap<String, StandIn>,
    /// Bounds of the journal.
    pub journal: JournalOptions,
    /// Most trees of one input that may be unsettled at a time.
    pub in_flight_max: usize,
    /// Moves what the graph has no place for to the dead letters, instead of refusing to start.
    pub park: bool,
}

/// A running engine. Dropping it ends its tasks at once, as a crash would.
pub struct Engine {
    shared: Arc<Shared>,
    tasks: JoinSet<(Kind, Result<(), EngineError>)>,
    work_left: usize,
    recovery: Recovery,
    channels_in: usize,
    /// The channels that live here, by id.
    channels: BTreeMap<String, Near>,
}

/// A hold on a running engine from outside; never keeps it alive.
#[derive(Clone)]
pub struct Handle {
    shared: Weak<Shared>,
    channels_in: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Ends when its inputs have ended.
    Work,
    /// Never ends by itself.
    Service,
}

type Task = futures_util::future::BoxFuture<'static, Result<(), EngineError>>;

impl Engine {
    /// Opens the journal and starts every node.
    ///
    /// # Errors
    /// A journal that can't be opened, a node that can't be built or restored.
    pub async fn start(options: EngineOptions) -> Result<Engine, EngineError> {
        let (journal, recovery) = Journal::open(&options.env, options.journal.clone()).await?;
        let (shared, acker) = Shared::new(options.env.clone(), &options.plan, &options.registry, journal);
        let process = &options.plan.process;
        let channels_in = options.channels.iter().filter(|channel| brings_in(channel, process)).count();
        (0..channels_in).for_each(|_| shared.entry_begins());
        let nodes = &options.plan.nodes;
        let inputs = nodes.iter().filter_map(|node| input_name(node, process, &options.channels)).count();
        let stage_bytes = nodes.iter().map(|node| node.id.len()).max().unwrap_or(0);
        let limits = Limits::of(options.in_flight_max, options.journal.segment_bytes, inputs, stage_bytes);
        let mut builder = Builder {
            shared: shared.clone(),
            epoch: Epoch(recovery.epoch),
            incarnation: incarnation(&recovery, &shared.journal),
            forgetful: recovery.cut.is_some(),
            hosted: BTreeMap::new(),
            seats: Vec::new(),
            work: Vec::new(),
            services: Vec::new(),
            inputs: Vec::new(),
            limits,
            channels: BTreeMap::new(),
        };
        let groups = groups(&options.plan, &options.channels);
        let here = Runtime::here(shared.process.clone(), options.plan.graph_hash);
        let kept = kept(&options.plan, &options.channels);
        orphans::settle(&options.env, &shared.journal, &here, &kept, options.park).await?;
        Builder::declare(&shared.journal, groups).await?;
        builder.build(options)?;
        let Builder { work, inputs, mut services, channels, .. } = builder;
        assert!(shared.inputs.set(inputs).is_ok(), "inputs are set once, here");
        services.push(acker.run().boxed());
        let journal = shared.journal.clone();
        services.push(async move { Err(journal.stopped().await.into()) }.boxed());
        let mut tasks = JoinSet::new();
        let work_left = work.len();
        let all = work
            .into_iter()
            .map(|task| (Kind::Work, task))
            .chain(services.into_iter().map(|task| (Kind::Service, task)));
        for (kind, task) in all {
            tasks.spawn(async move {
                let outcome = AssertUnwindSafe(task).catch_unwind().await;
                (kind, outcome.unwrap_or_else(|panic| Err(EngineError::Panic(panic_text(&*panic, "a task panicked")))))
            });
        }
        Ok(Engine { shared, tasks, work_left, recovery, channels_in, channels })
    }

    /// What opening the journal found.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// A channel that lives here, for whoever embeds the engine; its leased groups can be joined.
    #[must_use]
    pub fn channel(&self, id: &str) -> Option<Near> {
        self.channels.get(id).cloned()
    }

    /// A hold from outside.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::downgrade(&self.shared), channels_in: self.channels_in }
    }

    /// Runs until nothing more can come in and everything is delivered, or until it is stopped and what is in flight has
    /// ended; then closes the journal.
    ///
    /// # Errors
    /// The first thing that makes going on impossible.
    pub async fn run(mut self) -> Result<(), EngineError> {
        let handle = self.handle();
        let shared = self.shared.clone();
        let quiet = async {
            shared.entries_ended().await;
            while !handle.quiet() {
                shared.env.clock.sleep(QUIET_LOOK_NS).await;
            }
            shared.stop();
        };
        let overdue = async {
            shared.stopped().await;
            shared.env.clock.sleep(STOP_NS).await;
        };
        tokio::pin!(quiet, overdue);
        let mut ended_quietly = false;
        // With its inputs a process may end all its work long before its lanes have handed over what is in the outbox.
        while self.work_left > 0 || !shared.is_stopping() {
            tokio::select! {
                biased;
                ended = self.tasks.join_next() => match ended.expect("the services are tasks that never end") {
                    Ok((Kind::Work, Ok(()))) => self.work_left -= 1,
                    Ok((Kind::Service, Ok(()))) => {}
                    Ok((_, Err(error))) => return Err(error),
                    Err(error) => return Err(EngineError::Panic(error.to_string())),
                },
                () = &mut quiet, if !ended_quietly => ended_quietly = true,
                () = shared.stopped(), if self.work_left == 0 => {}
                () = &mut overdue => {
                    reachable!(&*shared.env.probe, "runtime.stop_gave_up", "a stop that waited long enough for what was in flight");
                    let in_flight: usize = shared.inputs().iter().map(|input| input.in_flight()).sum();
                    tracing::warn!(process = %shared.process, in_flight, "stopped before what was in flight could end: the next start goes on with it");
                    break;
                }
            }
        }
        // The lanes end first, or they would see a journal that is closed under them and cry.
        self.tasks.shutdown().await;
        // What the last branches submitted becomes durable before the lock is given back.
        tokio::select! {
            biased;
            () = shared.journal.close() => {}
            () = shared.env.clock.sleep(CLOSE_NS) => {
                tracing::warn!(process = %shared.process, "stopped though the disk has not answered: the next start finds what it holds");
            }
        }
        Ok(())
    }
}

/// How long what is in flight has to end when the engine is asked to stop. A full disk or a sink that is gone may hold it for
/// ever; whoever asked kills a process that takes much longer. What hasn't ended by then is begun again at the next start.
const STOP_NS: u64 = 5_000_000_000;

/// How long the disk has to take what is left then.
const CLOSE_NS: u64 = 2_000_000_000;

/// How often to look whether all is delivered, once nothing more comes in.
const QUIET_LOOK_NS: u64 = 20_000_000;

impl Handle {
    /// True when nothing is in flight: no open tree, no packet in a channel, nothing waiting to be written. An engine
    /// that is gone is not quiet.
    #[must_use]
    pub fn quiet(&self) -> bool {
        let Some(shared) = self.shared.upgrade() else { return false };
        let still = shared.journal.is_idle() && shared.inputs().iter().all(|input| input.in_flight() == 0);
        still && shared.journal.image(|image| image.channels().all(|(_, packets)| packets.backlog() == 0))
    }

    /// Packets of a channel that are committed and not settled here; `None` when the engine is gone or has no such channel.
    #[must_use]
    pub fn backlog(&self, channel: &str) -> Option<u64> {
        let shared = self.shared.upgrade()?;
        shared.journal.image(|image| {
            // Asked between any two steps of a simulation: the few names are compared in place.
            let mut channels = image.channels().filter(|(name, _)| is_channel(name, channel));
            channels.next().map(|(_, packets)| packets.backlog())
        })
    }

    /// Trees of all inputs that are not settled durably; `None` when the engine is gone.
    #[must_use]
    pub fn in_flight(&self) -> Option<usize> {
        let shared = self.shared.upgrade()?;
        Some(shared.inputs().iter().map(|input| input.in_flight()).sum())
    }

    /// Begins no more trees; what is in flight goes on to its end, or for 5 s, and `run` then returns, 2 s later at most.
    pub fn stop(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.stop();
        }
    }

    /// Says that the channels' producers will send nothing more: once all is delivered, `run` returns.
    pub fn finish(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.finish(self.channels_in);
        }
    }

    /// True while something still holds the engine's root: after a crash it must be false.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.shared.strong_count() > 0
    }
}

struct Builder {
    shared: Arc<Shared>,
    epoch: Epoch,
    /// Of the numbers that channels have here.
    incarnation: u64,
    /// The journal may have lost its newest packets, with their numbers.
    forgetful: bool,
    hosted: BTreeMap<String, Arc<Hosted>>,
    /// The groups that this process takes its share of.
    seats: Vec<Taken>,
    work: Vec<Task>,
    services: Vec<Task>,
    inputs: Vec<Arc<Input>>,
    /// What may be open of each.
    limits: Limits,
    /// The channels that live here, by id.
    channels: BTreeMap<String, Near>,
}

impl Builder {
    /// Makes every group known to the journal, so that it keeps what a group has yet to take.
    async fn declare(journal: &Journal, mut groups: Vec<(Name, Name)>) -> Result<(), EngineError> {
        groups.retain(|(input, group)| !journal.image(|image| image.has_group(input, group)));
        if groups.is_empty() {
            return Ok(());
        }
        let declare = |(input, group)| Record::Settle(Settle { input, group, seqs: Vec::new(), position: None });
        let commit = journal.append(groups.into_iter().map(declare).collect(), Intent::Drain).await?;
        commit.wait().await?;
        Ok(())
    }

    fn build(&mut self, mut options: EngineOptions) -> Result<(), EngineError> {
        let nodes = std::mem::take(&mut options.plan.nodes);
        let process = options.plan.process.clone();
        let hosted: Vec<&ChannelPlan> = options.channels.iter().filter(|channel| channel.host == process).collect();
        let keys_max = dedup::keys_max(options.journal.segment_bytes) / hosted.len().max(1);
        let host = |plan: &&ChannelPlan| {
            (plan.id.clone(), Arc::new(Hosted::new(&self.shared, plan, keys_max, self.forgetful)))
        };
        self.hosted = hosted.iter().map(host).collect();
        let inputs: Vec<Name> = nodes.iter().filter_map(|node| input_name(node, &process, &options.channels)).collect();
        let inbox = |node: &PlannedNode| {
            let done = self.shared.journal.image(|image| Done::of(&node.id, &inputs, image));
            Inbox::new(&node.id, node.inbox, done)
        };
        let inboxes: Vec<Arc<Inbox>> = nodes.iter().map(inbox).collect();
        for (node, inbox) in nodes.iter().zip(&inboxes) {
            let outputs: Vec<Arc<Inbox>> = node.outputs.iter().map(|to| inboxes[*to].clone()).collect();
            outputs.iter().for_each(|inbox| inbox.join());
            self.node(node, Wiring { inbox: inbox.clone(), outputs }, &mut options)?;
        }
        self.lanes(&options);
        Ok(())
    }

    fn node(&mut self, node: &PlannedNode, wiring: Wiring, options: &mut EngineOptions) -> Result<(), EngineError> {
        let context = NodeContext {
            env: options.env.clone(),
            files: options.files.clone(),
            process: options.plan.process.clone(),
            node: node.id.to_string(),
        };
        let (shared, name) = (self.shared.clone(), node.id.clone());
        let Wiring { inbox, outputs } = wiring;
        let (plugin, config) = (node.plugin.clone(), node.config.clone());
        match &node.role {
            Role::Source => {
                let source = match options.stand_ins.remove(&*name) {
                    Some(StandIn::Source(source)) => source,
                    _ => options.registry.build_source(&plugin, &context, config)?,
                };
                let input = self.input(source_name(&name), name.clone(), Intent::Produce, source.acks());
                self.shared.entry_begins();
                self.work.push(inputs::source(shared, name, source, input, outputs).boxed());
            }
            Role::ChannelIn { channel } => {
                let process = &options.plan.process;
                let (plan, group) = taken_by(process, channel, &options.channels);
                let id: Name = group.id.as_str().into();
                if !plan.is_leased(group) {
                    let input = self.input(channel_name(channel), id, Intent::Drain, None);
                    self.work.push(inputs::channel(shared, name, input, outputs).boxed());
                    return Ok(());
                }
                let credits =
                    plan.options.max_ack_pending.min(u32::try_from(options.in_flight_max).unwrap_or(u32::MAX));
                let taken_name = taken_name(channel);
                let position = shared.journal.image(|image| image.cursor(&taken_name, &id).position);
                // Where deliveries are counted, what is in hand must not run out of time and be given up.
                let extend_ns = plan.options.max_deliver.map(|_| plan.options.ack_wait_ns / 3);
                let taken = Taken::new(&shared, channel, &id, credits, &position, extend_ns);
                let acks: Arc<dyn Acks> = Arc::new(taken.clone());
                let input = shared
                    .journal
                    .image(|image| Input::new(taken_name, id, Intent::Drain, self.limits, image, Some(acks)));
                let input = Arc::new(input.shared());
                self.inputs.push(input.clone());
                self.seats.push(taken.clone());
                self.work.push(member::run(shared, name, input, taken, outputs).boxed());
            }
            Role::Node | Role::StatefulNode => {
                let registry = options.registry.clone();
                let around = match options.stand_ins.remove(&*name) {
                    Some(StandIn::Around(around)) => Some(around),
                    _ => None,
                };
                let rebuild: stages::Rebuild = Box::new(move || {
                    let built = registry.build_node(&plugin, &context, config.clone())?;
                    Ok(if let Some(around) = &around { around(built) } else { built })
                });
                let mut built = rebuild()?;
                let durable = (node.role == Role::StatefulNode).then(|| self.durable(&name));
                let outputs = match &durable {
                    Some(durable) => {
                        built
                            .restore(&durable.state)
                            .map_err(|error| EngineError::Restore { node: name.to_string(), error })?;
                        let input = self.input(durable.channel.clone(), name.clone(), Intent::Drain, None);
                        self.work.push(inputs::channel(shared.clone(), name.clone(), input, outputs).boxed());
                        Vec::new()
                    }
                    None => outputs,
                };
                self.work.push(NodeTask { shared, name, node: built, rebuild, durable, inbox, outputs }.run().boxed());
            }
            Role::ChannelOut { channel } => {
                let into = match self.hosted.get(channel) {
                    Some(hosted) => stages::Into::Hosted(hosted.clone()),
                    None => {
                        let channel = channel_name(channel);
                        let numbers = self.numbers(&channel);
                        stages::Into::Outbox { channel, numbers }
                    }
                };
                self.work.push(ChannelTask { shared, name, into, inbox }.run().boxed());
            }
            Role::Sink => {
                let sink = match options.stand_ins.remove(&*name) {
                    Some(StandIn::Sink(sink)) => sink,
                    _ => options.registry.build_sink(&plugin, &context, config)?,
                };
                self.work.push(SinkTask { shared, name, sink, inbox }.run().boxed());
            }
        }
        Ok(())
    }

    fn input(&mut self, name: Name, group: Name, intent: Intent, acks: Option<Arc<dyn Acks>>) -> Arc<Input> {
        let input = self.shared.journal.image(|image| Input::new(name, group, intent, self.limits, image, acks));
        let input = Arc::new(input);
        self.inputs.push(input.clone());
        input
    }

    fn numbers(&self, channel: &str) -> Numbers {
        Numbers::after(self.shared.journal.image(|image| image.last_given(channel)))
    }

    fn durable(&self, node: &str) -> Durable {
        let channel = stage_name(node);
        let (numbers, state) = (self.numbers(&channel), self.shared.journal.image(|image| image.state(node)));
        Durable { channel, numbers, state }
    }

    /// One lane a host that this process sends to, one a group that it takes its share of, and one server for all that come.
    fn lanes(&mut self, options: &EngineOptions) {
        let process = options.plan.process.clone();
        let mut peers: BTreeMap<String, Vec<Arc<dyn lane::Outbox>>> = BTreeMap::new();
        let mut inlets: Vec<Arc<dyn lane::Inlet>> = Vec::new();
        let mut desks: Vec<Arc<dyn Desk>> = Vec::new();
        for channel in &options.channels {
            if let Some(hosted) = self.hosted.get(&channel.id) {
                let inlet: Arc<dyn lane::Inlet> = Arc::new(lanes::JournalInlet::new(hosted, channel));
                let first_desk = desks.len();
                for group in channel.groups.iter().filter(|group| channel.is_leased(group)) {
                    let (desk, dispatcher) = Dispatcher::new(&self.shared, channel, group, self.incarnation);
                    desks.push(desk);
                    self.services.push(async move { match dispatcher.run().await? {} }.boxed());
                }
                let near = Near::new(&inlet, desks[first_desk..].to_vec());
                self.channels.insert(channel.id.clone(), near);
                inlets.push(inlet);
            } else if channel.is_producer(&process) {
                let outbox = lanes::JournalOutbox::new(&self.shared.journal, channel, self.epoch);
                peers.entry(channel.host.clone()).or_default().push(Arc::new(outbox));
            }
        }
        for (peer, outboxes) in peers {
            let (env, process) = (options.env.clone(), process.clone());
            self.services.push(async move { match lane::client::run(env, peer, process, outboxes).await {} }.boxed());
        }
        for seat in std::mem::take(&mut self.seats) {
            self.seat(seat, &process, &desks, options);
        }
        if !inlets.is_empty() {
            let env = options.env.clone();
            let serve = async move { match lane::server::run(env, process, inlets, desks).await? {} };
            self.services.push(serve.boxed());
        }
    }

    /// Joins a seat to its desk, here or over a lane.
    fn seat(&mut self, seat: Taken, process: &str, desks: &[Arc<dyn Desk>], options: &EngineOptions) {
        let (plan, _) = taken_by(process, seat.channel(), &options.channels);
        let (env, process, peer) = (options.env.clone(), process.to_owned(), plan.host.clone());
        let of_seat = |desk: &&Arc<dyn Desk>| desk.channel() == seat.channel() && desk.group() == seat.group();
        let desk = desks.iter().find(of_seat).cloned();
        let seat: Arc<dyn Seat> = Arc::new(seat);
        let service = match desk {
            Some(desk) => async move { match take::here(seat, desk, &process).await? {} }.boxed(),
            None => async move { match take::client::run(env, peer, process, seat).await {} }.boxed(),
        };
        self.services.push(service);
    }
}

struct Wiring {
    inbox: Arc<Inbox>,
    outputs: Vec<Arc<Inbox>>,
}
