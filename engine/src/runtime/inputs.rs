//! The tasks where trees begin: sources, channel ends, and the durable outputs of stateful nodes.

use std::collections::BTreeMap;
use std::iter::once_with;
use std::sync::Arc;

use bytes::Bytes;

use super::EngineError;
use super::inbox::Inbox;
use super::shared::{BATCH, READ_BYTES, Shared, Tried};
use super::tree::{Input, Item, Tx};
use crate::journal::record::Name;
use crate::node::{Class, Entry, NodeError, Resume, Source};
use crate::observe::What;
use crate::packet::{Epoch, Fields, Identity, Packet, ProducerId, Seq, SmolStr};

/// Characters of a name that the dead letter of a packet that is too large keeps.
const NAME_CHARS_KEPT: usize = 64;

/// The producer that a source node is. It counts in its journal: on another one, the same numbers are other packets.
fn producer(process: &str, node: &str, journal: Option<u128>) -> ProducerId {
    let journal = journal.map(|journal| format!("\0{journal:032x}")).unwrap_or_default();
    ProducerId(xxhash_rust::xxh3::xxh3_64(format!("{process}\0{node}{journal}").as_bytes()))
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
    let (floor, position, above) = (cursor.floor, cursor.position.clone(), cursor.above().collect());
    source.start(Resume { floor, position, above }).await.map_err(failed)?;
    let producer = producer(&shared.process, &node, shared.journal.counts_apart());
    let payload_bytes_max = shared.payload_bytes_max();
    let beside_bytes_max = shared.beside_bytes_max();
    loop {
        let entries = tokio::select! {
            biased;
            () = shared.stopped() => break,
            entries = async {
                let room = input.room(&shared.journal).await.min(BATCH);
                source.next(room).await
            } => entries.map_err(failed)?,
        };
        let Some(mut entries) = entries else { break };
        // Settled before the restart: whoever offers them again may forget them.
        let known: Vec<Seq> = entries.extract_if(.., |entry| cursor.has(entry.seq)).map(|entry| entry.seq).collect();
        let (mut tx, mut events) = (Tx::default(), shared.events(&node));
        let mut items = Vec::with_capacity(entries.len());
        let trees = input.begin(entries.iter_mut().map(|entry| (entry.seq, Some(std::mem::take(&mut entry.position)))));
        let mut trees = trees.into_iter();
        for Entry { seq, draft, .. } in entries {
            let tree = trees.next().expect("there is a tree for each entry");
            // The numbering goes on across restarts, so the identity does too: one epoch a journal's life.
            let identity = Identity::Entered { producer, epoch: Epoch(1), pseq: seq };
            let item = Item { packet: draft.into_packet(identity), tree };
            events.push(What::Entered, &item);
            let (payload, beside) = (item.packet.payload.len(), item.packet.beside_bytes());
            if payload > payload_bytes_max || beside > beside_bytes_max {
                let message = format!(
                    "a payload of {payload} bytes, and {beside} of names, key and meta; at most {payload_bytes_max} and {beside_bytes_max} enter"
                );
                let cut = Item { packet: cut(item.packet.fields()).into(), tree: item.tree };
                let letter = shared.dead_letter(&node, &cut, NodeError::new(Class::SizeExceeded, message), Tried::ONCE);
                tx.end(&node, cut, vec![letter]);
                if shared.is_large(&tx) {
                    shared.commit(std::mem::take(&mut tx)).await?;
                }
                continue;
            }
            // `push` would copy it once more: it has to have it at hand where memory ends.
            let Item { packet, tree } = item;
            items.extend(once_with(|| Item { packet, tree }));
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

/// What the dead letter of a packet that is too large keeps: no payload, and of the rest the beginning.
fn cut(fields: &Fields) -> Fields {
    let short = |text: &SmolStr| SmolStr::from_iter(text.chars().take(NAME_CHARS_KEPT));
    Fields {
        packet_id: short(&fields.packet_id),
        source_id: short(&fields.source_id),
        key: fields.key.as_ref().map(short),
        payload: Bytes::new(),
        meta: BTreeMap::new(),
        ..fields.clone()
    }
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
        let mut packets = tokio::select! {
            biased;
            () = shared.stopped() => break,
            packets = async {
                let room = input.room(&shared.journal).await.min(BATCH);
                shared.journal.read(&input.name, next, room, READ_BYTES).await
            } => packets?,
        };
        next = packets.last().map_or(next, |(seq, _)| seq.next());
        packets.retain(|(seq, _)| !cursor.has(*seq));
        let mut events = shared.events(&input.name);
        let items = stored_items(&input, packets)?;
        items.iter().for_each(|item| events.push_delivery(What::Granted { to: None }, item, 1));
        shared.emit(&events);
        shared.hand_on(&node, &outputs, items, Tx::default()).await?;
    }
    outputs.iter().for_each(|inbox| inbox.leave());
    Ok(())
}

/// Begins a tree with each packet that a channel stores.
pub(super) fn stored_items(input: &Arc<Input>, stored: Vec<(Seq, Bytes)>) -> Result<Vec<Item>, EngineError> {
    let trees = input.begin(stored.iter().map(|(seq, _)| (*seq, None)));
    let item = |((seq, encoded), tree): (&(Seq, Bytes), _)| match Packet::decode(encoded) {
        Ok(packet) => Ok(Item { packet, tree }),
        Err(error) => {
            let (channel, why) = (input.name.to_string(), error.to_string());
            Err(EngineError::Decode { channel, seq: *seq, why })
        }
    };
    stored.iter().zip(trees).map(item).collect()
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
