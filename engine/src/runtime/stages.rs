//! The tasks in which packets are handled: nodes, stateful nodes, channel ends and sinks.

use std::collections::BTreeMap;
use std::iter::once_with;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;

use super::EngineError;
use super::hosted::Hosted;
use super::inbox::Inbox;
use super::inputs::Numbers;
use super::shared::{BATCH, Shared, Tried, panic_text};
use super::tree::{Item, Tree, Tx};
use crate::journal::Record;
use crate::journal::record::{Name, Put};
use crate::node::{Class, Emitted, Node, NodeError, Output, RegistryError, Sink};
use crate::observe::What;
use crate::packet::Packet;
use crate::reachable;

/// Builds a node anew: after a panic nobody knows what is left of the old one.
pub(crate) type Rebuild = Box<dyn Fn() -> Result<Box<dyn Node>, RegistryError> + Send>;

/// Where a stateful node's outputs are stored before they go on.
pub(crate) struct Durable {
    /// `stage/NODE`.
    pub(crate) channel: Name,
    pub(crate) numbers: Numbers,
    /// The node's state, as the journal has it or will have it.
    pub(crate) state: BTreeMap<Bytes, Bytes>,
}

/// A node and all that its task needs.
pub(crate) struct NodeTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: Name,
    pub(crate) node: Box<dyn Node>,
    pub(crate) rebuild: Rebuild,
    pub(crate) durable: Option<Durable>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) outputs: Vec<Arc<Inbox>>,
}

impl NodeTask {
    pub(crate) async fn run(mut self) -> Result<(), EngineError> {
        while let Some(items) = self.inbox.take(BATCH).await {
            self.shared.charge(&self.name, &items).await;
            let (mut tx, mut events) = (Tx::of(items.len()), self.shared.events(&self.name));
            let (mut out, mut onward) = (Output::default(), Vec::with_capacity(items.len()));
            for item in items {
                out.clear();
                match self.call(&item.packet, &mut out)? {
                    Ok(()) if self.durable.is_some() => {
                        events.push(What::Processed, &item);
                        let records = self.records(&item.packet, &mut out);
                        tx.end(&self.name, item, records);
                    }
                    Ok(()) => {
                        events.push(What::Processed, &item);
                        if out.packets.is_empty() {
                            events.push(What::Filtered, &item);
                            tx.end(&self.name, item, Vec::new());
                            continue;
                        }
                        let (Item { packet: input, tree }, outputs) = (item, out.packets.len());
                        tree.fork(outputs - 1);
                        let mut branches = std::iter::repeat_n(tree, outputs);
                        each_output(&self.name, input, &mut out, |packet| {
                            let tree = branches.next().expect("there is a branch for each output");
                            // `push` would copy it once more: it has to have it at hand where memory ends.
                            onward.extend(once_with(|| Item { packet, tree }));
                        });
                    }
                    Err(error) => {
                        let letter = self.shared.dead_letter(&self.name, &item, error, Tried::ONCE);
                        tx.end(&self.name, item, vec![letter]);
                    }
                }
                if self.shared.is_large(&tx) {
                    self.shared.commit(std::mem::take(&mut tx)).await?;
                }
            }
            self.shared.emit(&events);
            // What ended here is committed before what goes on may wait for room behind it.
            self.shared.commit(tx).await?;
            let (mut tx, mut events) = (Tx::default(), self.shared.events(&self.name));
            self.shared.fan_out(&self.name, &self.outputs, onward, &mut tx, &mut events).await?;
            self.shared.emit(&events);
            self.shared.commit(tx).await?;
        }
        self.outputs.iter().for_each(|inbox| inbox.leave());
        Ok(())
    }

    /// Calls the node. The outer error ends the engine, the inner one makes a dead letter.
    fn call(&mut self, packet: &Packet, out: &mut Output) -> Result<Result<(), NodeError>, EngineError> {
        let called = std::panic::catch_unwind(AssertUnwindSafe(|| self.node.process(packet, out)));
        match called {
            Ok(Ok(())) if self.durable.is_none() && !out.state.is_empty() => {
                let message = "the plugin wrote state, but is registered without (Registry::stateful)";
                Ok(Err(NodeError::new(Class::Unknown, message)))
            }
            Ok(Ok(())) => match self.too_large(out) {
                // The node has moved on, the packet has not: it forgets what it did.
                Some(error) if self.durable.is_some() => {
                    self.node = self.reborn()?;
                    Ok(Err(error))
                }
                Some(error) => Ok(Err(error)),
                None => Ok(Ok(())),
            },
            Ok(Err(error)) => Ok(Err(error)),
            Err(panic) => {
                self.node = self.reborn()?;
                Ok(Err(NodeError::new(Class::PluginPanic, panic_text(&*panic, "the node panicked"))))
            }
        }
    }

    /// Outputs and state changes that no frame of the journal can hold.
    fn too_large(&self, out: &Output) -> Option<NodeError> {
        let limit = self.shared.payload_bytes_max();
        let made = |(_, emitted): &(_, Emitted)| match emitted {
            // What goes beside a payload has room of its own, up to a bound.
            Emitted::New(draft) => {
                let beside = draft.beside_bytes().saturating_sub(self.shared.beside_bytes_max());
                draft.payload.len() + beside
            }
            Emitted::Pass(_) => 0,
        };
        let sizes = out.packets.iter().map(made);
        // A stateful node's outputs and state are one transaction; other outputs go their ways alone.
        let bytes = if self.durable.is_some() {
            let state = out.state.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len));
            sizes.chain(state).sum()
        } else {
            sizes.max().unwrap_or(0)
        };
        let message = || format!("the node made {bytes} bytes of it; at most {limit} fit");
        (bytes > limit).then(|| NodeError::new(Class::SizeExceeded, message()))
    }

    fn reborn(&self) -> Result<Box<dyn Node>, EngineError> {
        reachable!(&*self.shared.env.probe, "node.made_anew", "a node that was made anew after a panic");
        let mut node = (self.rebuild)()?;
        if let Some(durable) = &self.durable {
            node.restore(&durable.state)
                .map_err(|error| EngineError::Restore { node: self.name.to_string(), error })?;
        }
        Ok(node)
    }

    /// What a stateful node did with a packet, as records.
    fn records(&mut self, packet: &Packet, out: &mut Output) -> Vec<Record> {
        let durable = self.durable.as_mut().expect("only stateful nodes turn their outputs into records");
        let mut records = Vec::with_capacity(out.state.len() + out.packets.len());
        for (key, value) in out.state.drain(..) {
            match &value {
                Some(value) => durable.state.insert(key.clone(), value.clone()),
                None => durable.state.remove(&key),
            };
            records.push(Record::Put(Put { node: self.name.clone(), key, value }));
        }
        each_output(&self.name, packet.clone(), out, |packet| {
            let (channel, seq) = (durable.channel.clone(), durable.numbers.next());
            records.push(Record::Append { channel, seq, packet: packet.encode() });
        });
        records
    }
}

/// Hands over the packets that `node` made of `input`, in order.
fn each_output(node: &str, input: Packet, out: &mut Output, mut take: impl FnMut(Packet)) {
    let (identity, mut input) = (input.identity, Some(input));
    // Taken from the end they are not copied on their way.
    let outputs = &mut out.packets;
    outputs.reverse();
    for index in 0.. {
        let Some((_, emitted)) = outputs.pop() else { break };
        take(match emitted {
            Emitted::Pass(packet) => packet,
            Emitted::New(draft) => {
                let fields = draft.into_fields(identity.derive(node, index));
                // The last one may stand where the input stood.
                match input.take_if(|_| outputs.is_empty()) {
                    Some(input) => input.replaced(fields),
                    None => fields.into(),
                }
            }
        });
    }
}

/// Writes packets into a durable channel, in order of arrival.
pub(crate) struct ChannelTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: Name,
    pub(crate) into: Into,
    pub(crate) inbox: Arc<Inbox>,
}

/// Where a channel's end writes to.
pub(crate) enum Into {
    /// The outbox in this journal; a lane takes it to the channel's host.
    Outbox {
        /// `channel/ID`.
        channel: Name,
        /// The numbers of this producer.
        numbers: Numbers,
    },
    /// The channel itself: it lives here.
    Hosted(Arc<Hosted>),
}

impl ChannelTask {
    pub(crate) async fn run(mut self) -> Result<(), EngineError> {
        while let Some(items) = self.inbox.take(BATCH).await {
            self.shared.charge(&self.name, &items).await;
            let mut tx = Tx::of(items.len());
            for item in items {
                match &mut self.into {
                    Into::Outbox { channel, numbers } => {
                        let (channel, seq) = (channel.clone(), numbers.next());
                        let append = Record::Append { channel, seq, packet: item.packet.encode() };
                        tx.end(&self.name, item, vec![append]);
                    }
                    Into::Hosted(hosted) => tx.publish(&self.name, item, hosted),
                }
                if self.shared.is_large(&tx) {
                    self.shared.commit(std::mem::take(&mut tx)).await?;
                }
            }
            self.shared.commit(tx).await?;
        }
        Ok(())
    }
}

/// Hands packets to a sink, and tries again for as long as it is unavailable.
pub(crate) struct SinkTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: Name,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) inbox: Arc<Inbox>,
}

/// True when the sink can't take a packet now.
fn is_refusal(result: &Result<(), NodeError>) -> bool {
    matches!(result, Err(error) if error.class == Class::SinkUnavailable)
}

const RETRY_FIRST_NS: u64 = 50_000_000;
const RETRY_CAP_NS: u64 = 2_000_000_000;

impl SinkTask {
    pub(crate) async fn run(mut self) -> Result<(), EngineError> {
        while let Some(items) = self.inbox.take(BATCH).await {
            self.shared.charge(&self.name, &items).await;
            let mut tx = Tx::of(items.len());
            let (mut packets, mut trees): (Vec<Packet>, Vec<Tree>) =
                items.into_iter().map(|Item { packet, tree }| (packet, tree)).unzip();
            let mut wait = RETRY_FIRST_NS;
            // Of the first of them.
            let mut tried = Tried::ONCE;
            while !packets.is_empty() {
                let asked = self.shared.env.clock.mono();
                let results = self.sink.write(&packets).await;
                assert!(
                    results.len() <= packets.len(),
                    "sink `{}` answered {} for {}",
                    self.name,
                    results.len(),
                    packets.len()
                );
                let mut events = self.shared.events(&self.name);
                let refused = results.iter().position(is_refusal);
                let unavailable = refused.is_some() || results.is_empty();
                let ended = refused.unwrap_or(results.len());
                let branches = packets.drain(..ended).zip(trees.drain(..ended));
                for ((packet, tree), result) in branches.zip(results) {
                    let item = Item { packet, tree };
                    match result {
                        Ok(()) => {
                            events.push(What::SinkAcked, &item);
                            tx.end(&self.name, item, Vec::new());
                        }
                        Err(error) => {
                            let letter = self.shared.dead_letter(&self.name, &item, error, tried);
                            tx.end(&self.name, item, vec![letter]);
                            if self.shared.is_large(&tx) {
                                self.shared.commit(std::mem::take(&mut tx)).await?;
                            }
                        }
                    }
                    tried = Tried::ONCE;
                }
                if refused.is_some() {
                    let first = Item { packet: packets[0].clone(), tree: trees[0].clone() };
                    events.push(What::Refused { reason: Class::SinkUnavailable.name().into() }, &first);
                }
                self.shared.emit(&events);
                self.shared.commit(std::mem::take(&mut tx)).await?;
                if unavailable {
                    tried.times += 1;
                    tried.since.get_or_insert(asked);
                    self.shared.env.clock.sleep(wait).await;
                    wait = (wait * 2).min(RETRY_CAP_NS);
                } else {
                    wait = RETRY_FIRST_NS;
                }
            }
            self.shared.commit(tx).await?;
        }
        Ok(())
    }
}
