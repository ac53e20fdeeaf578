//! The tasks where trees begin: sources, channel ends, and the durable outputs of stateful nodes.

use std::sync::Arc;

use super::EngineError;
use super::inbox::Inbox;
use super::shared::{BATCH, READ_BYTES, Shared, Tried, event};
use super::tree::{Input, Item, Tx};
use crate::journal::record::Name;
use crate::node::{Class, Entry, NodeError, Resume, Source};
use crate::observe::What;
use crate::packet::{Epoch, Identity, Packet, ProducerId, Seq};

/// The producer that a source node is.
#[must_use]
pub fn producer(process: &str, node: &str) -> ProducerId {
    ProducerId(xxhash_rust::xxh3::xxh3_64(format!("{process}\0{node}").as_bytes()))
}

/// Runs a source until its input ends or the engine stops.
pub(crate) async fn source(
    shared: Arc<Shared>,
    node: Name,
    mut source: Box<dyn Source>,
    input: Arc<Input>,
    outputs: Vec<Arc<Inbox>>,
) -> Result<(), EngineError> {
    let cursor = input.cursor();
    let failed = |error: NodeError| EngineError::Source { node: node.to_string(), error };
    source.start(Resume { floor: cursor.floor, position: cursor.position.clone() }).await.map_err(failed)?;
    let producer = producer(&shared.process, &node);
    let payload_bytes_max = shared.payload_bytes_max();
    loop {
        let entries = tokio::select! {
            biased;
            () = shared.stopped() => break,
            entries = async {
                let room = input.room().await.min(BATCH);
                source.next(room).await
            } => entries.map_err(failed)?,
        };
        let Some(entries) = entries else { break };
        let (mut tx, mut events) = (Tx::default(), Vec::with_capacity(entries.len()));
        let mut items = Vec::with_capacity(entries.len());
        let mut known = Vec::new();
        for Entry { seq, draft, position } in entries {
            if cursor.has(seq) {
                // Settled before the restart: whoever offers it again may forget it.
                known.push(seq);
                continue;
            }
            // The numbering goes on across restarts, so the identity does too: one epoch a journal's life.
            let identity = Identity::Entered { producer, epoch: Epoch(1), pseq: seq };
            let item = Item { packet: draft.into_packet(identity), tree: input.begin(seq, Some(position)) };
            events.push(event(What::Entered, &node, &item));
            if item.packet.payload.len() > payload_bytes_max {
                let message =
                    format!("a payload of {} bytes; at most {payload_bytes_max} enter", item.packet.payload.len());
                let mut fields = item.packet.fields().clone();
                fields.payload = bytes::Bytes::new();
                let cut = Item { packet: fields.into(), tree: item.tree.clone() };
                let letter = shared.dead_letter(&node, &cut, NodeError::new(Class::SizeExceeded, message), Tried::ONCE);
                tx.end(&node, &cut, vec![letter]);
                continue;
            }
            items.push(item);
        }
        if let (Some(acks), false) = (&input.acks, known.is_empty()) {
            acks.settled(&known);
        }
        shared.emit(&events);
        shared.hand_on(&node, &outputs, items, tx).await?;
    }
    outputs.iter().for_each(|inbox| inbox.leave());
    shared.entry_ended();
    Ok(())
}

/// Hands a durable channel's packets to the nodes behind it, from where its group stands.
pub(crate) async fn channel(
    shared: Arc<Shared>,
    node: Name,
    input: Arc<Input>,
    outputs: Vec<Arc<Inbox>>,
) -> Result<(), EngineError> {
    let cursor = input.cursor();
    let mut next = cursor.floor.next();
    loop {
        let packets = tokio::select! {
            biased;
            () = shared.stopped() => break,
            packets = async {
                let room = input.room().await.min(BATCH);
                shared.journal.read(&input.name, next, room, READ_BYTES).await
            } => packets?,
        };
        let mut events = Vec::with_capacity(packets.len());
        let mut items = Vec::with_capacity(packets.len());
        for (seq, encoded) in packets {
            next = seq.next();
            if cursor.has(seq) {
                continue;
            }
            let packet = stored_packet(&input, seq, &encoded)?;
            let item = Item { packet, tree: input.begin(seq, None) };
            let mut granted = event(What::Granted, &input.name, &item);
            granted.attempt = 1;
            events.push(granted);
            items.push(item);
        }
        shared.emit(&events);
        shared.hand_on(&node, &outputs, items, Tx::default()).await?;
    }
    outputs.iter().for_each(|inbox| inbox.leave());
    Ok(())
}

/// The packet that a channel stores under that number.
pub(super) fn stored_packet(input: &Input, seq: Seq, encoded: &[u8]) -> Result<Packet, EngineError> {
    Packet::decode(encoded).map_err(|error| EngineError::Decode {
        channel: input.name.to_string(),
        seq,
        why: error.to_string(),
    })
}

/// The journal's name for a source's input.
pub(crate) fn source_name(node: &str) -> Name {
    format!("source/{node}").into()
}

/// The journal's name for a channel.
#[must_use]
pub fn channel_name(channel: &str) -> Name {
    format!("channel/{channel}").into()
}

/// The journal's name for what this process took from a channel as a member of a group.
pub(crate) fn taken_name(channel: &str) -> Name {
    format!("taken/{channel}").into()
}

/// Whether `name` is the journal's name for `channel`.
pub(crate) fn is_channel(name: &str, channel: &str) -> bool {
    name.strip_prefix("channel/") == Some(channel)
}

/// The journal's name for the durable outputs of a stateful node.
pub(crate) fn stage_name(node: &str) -> Name {
    format!("stage/{node}").into()
}

/// Numbers for the next packets of a channel that this process writes.
#[derive(Clone)]
pub(crate) struct Numbers(Seq);

impl Numbers {
    pub(crate) fn after(last: Seq) -> Self {
        Numbers(last)
    }

    pub(crate) fn next(&mut self) -> Seq {
        self.0 = self.0.next();
        self.0
    }
}
