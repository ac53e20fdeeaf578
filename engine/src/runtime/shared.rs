//! What all tasks of an engine share: the journal, where packets go next, and who hears that a transaction is durable.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::EngineError;
use super::inbox::{Inbox, Turned};
use super::tree::{Input, Item, Settled, Tx};
use crate::env::{Env, Work};
use crate::graph::Plan;
use crate::journal::letter::{DeadLetter, Failed, Origin, Runtime};
use crate::journal::record::Name;
use crate::journal::{Commit, Journal, Record};
use crate::node::{Class, NodeError, Registry};
use crate::observe::{Event, Place, What};
use crate::packet::Seq;
use crate::reachable;

/// Most packets that a task handles between two looks around.
pub const BATCH: usize = 256;
/// Most bytes that are read from a channel at a time.
pub(crate) const READ_BYTES: usize = 1 << 20;
/// Most transactions whose durability is waited for at a time.
const COMMITS_MAX: usize = 1024;

pub(crate) struct Shared {
    pub(crate) env: Env,
    pub(crate) process: Name,
    /// What dead letters say of this process.
    runtime: Runtime,
    /// Each node's plugin and its version.
    plugins: BTreeMap<Name, (String, String)>,
    pub(crate) journal: Journal,
    pub(crate) inputs: OnceLock<Vec<Arc<Input>>>,
    commits: mpsc::Sender<(Commit, Settled)>,
    stopping: AtomicBool,
    /// Entries that may still bring something in from outside: running sources, and channels until `finish`.
    entries: AtomicUsize,
    finished: AtomicBool,
    changed: Notify,
}

/// How often something was tried before it was given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tried {
    pub(crate) times: u32,
    /// When first, monotonic ns; `None` for now.
    pub(crate) since: Option<u64>,
}

impl Tried {
    pub(crate) const NEVER: Tried = Tried { times: 0, since: None };
    pub(crate) const ONCE: Tried = Tried { times: 1, since: None };
}

/// Resolves transactions in order, and tells inputs what is settled.
pub(crate) struct Acker(mpsc::Receiver<(Commit, Settled)>);

impl Shared {
    pub(crate) fn new(env: Env, plan: &Plan, registry: &Registry, journal: Journal) -> (Arc<Self>, Acker) {
        let (commits, receiver) = mpsc::channel(COMMITS_MAX);
        let plugin = |name: &str| (name.to_owned(), registry.version_of(name).to_owned());
        let process: Name = plan.process.as_str().into();
        let shared = Shared {
            env,
            process: process.clone(),
            runtime: Runtime::here(process, plan.graph_hash),
            plugins: plan.nodes.iter().map(|node| (node.id.clone(), plugin(&node.plugin))).collect(),
            journal,
            inputs: OnceLock::new(),
            commits,
            stopping: AtomicBool::new(false),
            entries: AtomicUsize::new(0),
            finished: AtomicBool::new(false),
            changed: Notify::new(),
        };
        (Arc::new(shared), Acker(receiver))
    }

    pub(crate) fn inputs(&self) -> &[Arc<Input>] {
        self.inputs.get().map_or(&[], Vec::as_slice)
    }

    /// Asks the inputs to begin no more trees.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Counts an entry, before it runs.
    pub(crate) fn entry_begins(&self) {
        self.entries.fetch_add(1, Ordering::Relaxed);
    }

    /// An entry will bring in nothing more.
    pub(crate) fn entry_ended(&self) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// The channels will bring in nothing more. Saying so again changes nothing.
    pub(crate) fn finish(&self, channels: usize) {
        if !self.finished.swap(true, Ordering::Relaxed) {
            (0..channels).for_each(|_| self.entry_ended());
        }
    }

    /// Largest payload that may enter or be made: a packet and its dead letter fit a frame of the journal.
    pub(crate) fn payload_bytes_max(&self) -> usize {
        self.journal.frame_bytes_max() / 2
    }

    /// What may stand beside a payload at most: names, key and `meta`.
    pub(crate) fn beside_bytes_max(&self) -> usize {
        self.payload_bytes_max() / 4
    }

    /// Completes once `stop` was called.
    pub(crate) async fn stopped(&self) {
        self.until(Shared::is_stopping).await;
    }

    /// Completes once no entry is left.
    pub(crate) async fn entries_ended(&self) {
        self.until(|shared| shared.entries.load(Ordering::Relaxed) == 0).await;
    }

    async fn until(&self, holds: impl Fn(&Shared) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change falls between the two.
            changed.as_mut().enable();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn emit(&self, events: &[Event]) {
        if !events.is_empty() {
            self.env.probe.on(events);
        }
    }

    /// No events yet of what happens to packets at `place`.
    pub(crate) fn events(&self, place: &Place) -> Events {
        Events { place: place.clone(), heard: self.env.probe.hears(), made: Vec::new() }
    }

    /// Submits a transaction, waiting for room; returns once it is queued, not once it is durable.
    pub(crate) async fn commit(&self, tx: Tx) -> Result<(), EngineError> {
        if tx.is_empty() {
            return Ok(());
        }
        loop {
            if let Some(input) = tx.crowded() {
                self.journal.room(input.gaps_bytes(), input.intent).await?;
                if let Some(record) = input.settle_gaps() {
                    let commit =
                        self.journal.submit(vec![record], input.intent).expect("room() saw room, in this very step");
                    let _ = self.commits.send((commit, Vec::new())).await;
                }
            } else if self.journal.has_room(tx.bytes_max(), tx.intent()).is_ok() {
                break;
            } else {
                reachable!(
                    &*self.env.probe,
                    "runtime.waited_for_room",
                    "a transaction that had to wait for room in the journal"
                );
                self.journal.room(tx.bytes_max(), tx.intent()).await?;
            }
        }
        // From here to the submit nothing awaits: settles reach the journal in the order in which floors moved.
        let (records, intent, settled) = tx.finish();
        if records.is_empty() {
            // Branches that wrote nothing, of trees that are still open.
            return Ok(());
        }
        let commit =
            self.journal.submit(records, intent).expect("room() saw room for at least as much, in this very step");
        // The acker ends only with the engine, which then drops this task too.
        let _ = self.commits.send((commit, settled)).await;
        Ok(())
    }

    /// True when a transaction nears a frame's size: it is to be committed before it grows on.
    pub(crate) fn is_large(&self, tx: &Tx) -> bool {
        tx.bytes() >= self.journal.frame_bytes_max() / 4
    }

    /// The dead letter of a packet that `node` failed on, as often as `tried` says.
    pub(crate) fn dead_letter(&self, node: &Name, item: &Item, error: NodeError, tried: Tried) -> Record {
        tracing::warn!(process = %self.process, node = %node, packet = %item.packet.packet_id, class = error.class.name(), "{}", error.message);
        let source = Origin { input: item.tree.input().name.clone(), seq: item.tree.seq() };
        let plugin = self.plugins.get(node).cloned().unwrap_or_default();
        self.letter(node, plugin, item.packet.encode(), Some(source), error, tried)
    }

    /// The dead letter of a packet that a channel doesn't take, or gives up.
    pub(crate) fn refused_letter(
        &self,
        channel: &Name,
        packet: Bytes,
        source: Option<Origin>,
        error: NodeError,
        tried: Tried,
    ) -> Record {
        self.letter(channel, <_>::default(), packet, source, error, tried)
    }

    fn letter(
        &self,
        node: &Name,
        plugin: (String, String),
        packet: Bytes,
        source: Option<Origin>,
        error: NodeError,
        tried: Tried,
    ) -> Record {
        let last = self.env.clock.unix_ns();
        let first = tried.since.map_or(last, |since| {
            let ago = self.env.clock.mono().saturating_sub(since);
            last.saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX))
        });
        let failed =
            Failed { packet, source, node: node.clone(), plugin, error, attempts: tried.times, tried: (first, last) };
        Record::DeadLetter(DeadLetter::new(failed, self.runtime.clone()))
    }

    /// Ends the branches that a full inbox turned away, as its node's: whoever sent them may have other branches of the same
    /// packets, and those go on after a crash.
    async fn turn_away(
        &self,
        inbox: &Inbox,
        turned: Vec<(Item, Turned)>,
        tx: &mut Tx,
        events: &mut Events,
    ) -> Result<(), EngineError> {
        let node = &inbox.node;
        for (item, why) in turned {
            let dropped = match why {
                Turned::DropNew => Some("inbox.drop_new"),
                Turned::DropOldest => Some("inbox.drop_oldest"),
                Turned::Error => None,
            };
            let letter = match dropped {
                Some(reason) => {
                    events.push_at(node, What::Dropped { reason: reason.into() }, &item);
                    Vec::new()
                }
                None => {
                    let message = format!("the inbox of `{node}` is full (inbox_overflow: error)");
                    vec![self.dead_letter(node, &item, NodeError::new(Class::Unknown, message), Tried::NEVER)]
                }
            };
            tx.end(node, item, letter);
            if self.is_large(tx) {
                self.commit(std::mem::take(tx)).await?;
            }
        }
        Ok(())
    }

    /// Begins the way of what entered at `node`, and commits what ended there at once.
    pub(crate) async fn hand_on(
        &self,
        node: &Name,
        outputs: &[Arc<Inbox>],
        items: Vec<Item>,
        mut tx: Tx,
    ) -> Result<(), EngineError> {
        let mut events = self.events(node);
        self.charge(node, &items).await;
        self.fan_out(node, outputs, items, &mut tx, &mut events).await?;
        self.emit(&events);
        self.commit(tx).await
    }

    /// Pays for what `node` does with a batch.
    pub(crate) async fn charge(&self, node: &Name, items: &[Item]) {
        let bytes = items.iter().map(|item| item.packet.payload.len() as u64).sum();
        let count = u32::try_from(items.len()).expect("a batch is bounded");
        if let Some(debt) = self.env.cpu.charge(Work::Node(node), count, bytes) {
            debt.await;
        }
    }

    /// Hands items to every outgoing edge; the items' branches are forked as needed. With no edge, the branches end.
    pub(crate) async fn fan_out(
        &self,
        node: &Name,
        outputs: &[Arc<Inbox>],
        items: Vec<Item>,
        tx: &mut Tx,
        events: &mut Events,
    ) -> Result<(), EngineError> {
        let Some((last, others)) = outputs.split_last() else {
            for item in items {
                tx.end(node, item, Vec::new());
            }
            return Ok(());
        };
        items.iter().for_each(|item| item.tree.fork(others.len()));
        for inbox in others {
            self.put(inbox, items.clone(), tx, events).await?;
        }
        self.put(last, items, tx, events).await
    }

    /// Puts items into an inbox; the branches of those that it needs no more, or turns away, end here.
    async fn put(
        &self,
        inbox: &Inbox,
        mut items: Vec<Item>,
        tx: &mut Tx,
        events: &mut Events,
    ) -> Result<(), EngineError> {
        for item in inbox.take_done(&mut items) {
            tx.end(&inbox.node, item, Vec::new());
            if self.is_large(tx) {
                self.commit(std::mem::take(tx)).await?;
            }
        }
        let turned = inbox.push(items).await;
        self.turn_away(inbox, turned, tx, events).await
    }
}

/// What a caught panic said, or `silent` where it said nothing that is text.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send), silent: &str) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or(silent).to_owned()
}

/// Events of packets at one place, made for whoever hears them.
pub(crate) struct Events {
    place: Place,
    heard: bool,
    made: Vec<Event>,
}

impl Events {
    /// It happened to that packet.
    #[inline]
    pub(crate) fn push(&mut self, what: What, item: &Item) {
        self.push_delivery(what, item, 0);
    }

    /// It happened to that packet at its how many-th delivery.
    #[inline]
    pub(crate) fn push_delivery(&mut self, what: What, item: &Item, attempt: u32) {
        if self.heard {
            self.made.push(of_item(&self.place, what, item, attempt));
        }
    }

    /// It happened to that packet at another place.
    fn push_at(&mut self, place: &Place, what: What, item: &Item) {
        if self.heard {
            self.made.push(of_item(place, what, item, 0));
        }
    }
}

impl std::ops::Deref for Events {
    type Target = [Event];
    fn deref(&self) -> &[Event] {
        &self.made
    }
}

#[inline]
fn of_item(place: &Place, what: What, item: &Item, attempt: u32) -> Event {
    Event { what, place: place.clone(), identity: Some(item.packet.identity), seq: item.tree.seq(), attempt }
}

/// An event without a packet.
pub(crate) fn plain(what: What, place: &Place) -> Event {
    Event { what, place: place.clone(), identity: None, seq: Seq(0), attempt: 0 }
}

impl Acker {
    pub(crate) async fn run(mut self) -> Result<(), EngineError> {
        while let Some((commit, settled)) = self.0.recv().await {
            commit.wait().await?;
            for (input, seqs) in settled {
                input.settled(&seqs);
            }
        }
        Ok(())
    }
}
