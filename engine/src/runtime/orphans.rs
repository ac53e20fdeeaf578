//! A changed graph over old data: what the journal holds that the graph has no place for, and its way to the dead letters.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;

use super::EngineError;
use crate::env::Env;
use crate::journal::image::Image;
use crate::journal::letter::{DeadLetter, Failed, Origin, Runtime};
use crate::journal::record::{Name, Put, Retired, Settle};
use crate::journal::{Intent, Journal, JournalOptions, Record};
use crate::node::{Class, Draft, NodeError};
use crate::packet::{ContentType, Identity, Kind, Seq};

/// Most packets, and about as many bytes, that one transaction parks.
const PARK_PACKETS: usize = 256;

/// What a graph takes from and keeps, in the journal's words.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Inputs, and the groups that take from them.
    pub(super) groups: BTreeSet<(Name, Name)>,
    /// Nodes that keep state.
    pub(super) stateful: BTreeSet<Name>,
}

/// Something in a journal that the graph has no place for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// Packets that nobody takes any more.
    Packets {
        /// `channel/ID` or `stage/NODE`.
        input: Name,
        /// Who took them.
        group: Name,
        /// How many are not settled.
        pending: u64,
    },
    /// How far a source had read that is gone. A source of another name would begin anew.
    Position {
        /// The source.
        node: Name,
        /// Its last settled entry.
        floor: Seq,
    },
    /// State of a node that is gone, or keeps none any more.
    State {
        /// The node.
        node: Name,
        /// Its keys.
        keys: u64,
    },
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |count: u64, one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
        match self {
            Orphan::Packets { input, group, pending } => match input.strip_prefix("stage/") {
                Some(node) => write!(f, "{} that node `{node}` made and nobody took", many(*pending, "packet")),
                None => {
                    let channel = input.strip_prefix("channel/").unwrap_or(input);
                    write!(f, "{} of channel `{channel}` for `{group}`", many(*pending, "packet"))
                }
            },
            Orphan::Position { node, floor } => write!(f, "the position of source `{node}` (entry {floor})"),
            Orphan::State { node, keys } => write!(f, "the state of node `{node}` ({})", many(*keys, "key")),
        }
    }
}

/// Orphans as part of a sentence.
pub(super) fn list(orphans: &[Orphan]) -> String {
    orphans.iter().map(Orphan::to_string).collect::<Vec<_>>().join(", ")
}

/// What `image` holds that has no place in `kept`, sorted by kind and name.
#[must_use]
pub fn orphans(image: &Image, kept: &Kept) -> Vec<Orphan> {
    let mut found = Vec::new();
    for (input, group, cursor) in gone(image, kept) {
        let pending = image.pending(&input, &group);
        match input.strip_prefix("source/") {
            Some(node) if cursor > Seq(0) => found.push(Orphan::Position { node: node.into(), floor: cursor }),
            _ if pending > 0 => found.push(Orphan::Packets { input, group, pending }),
            _ => {}
        }
    }
    let states = image.stateful().filter(|(node, _)| !kept.stateful.contains(*node));
    found.extend(states.map(|(node, keys)| Orphan::State { node: node.clone(), keys: keys as u64 }));
    found
}

/// Groups that the graph doesn't have, with their floors.
fn gone(image: &Image, kept: &Kept) -> Vec<(Name, Name, Seq)> {
    let groups = image.groups().map(|(input, group, cursor)| (input.clone(), group.clone(), cursor.floor));
    groups.filter(|(input, group, _)| !kept.groups.contains(&(input.clone(), group.clone()))).collect()
}

/// Makes journal and graph fit. What nobody needs of groups that are gone is forgotten; what somebody may is refused, or
/// with `park` moved to the dead letters, each step one transaction.
///
/// # Errors
/// [`EngineError::Orphans`] without `park`, and a journal that stops.
pub(super) async fn settle(
    env: &Env,
    journal: &Journal,
    here: &Runtime,
    kept: &Kept,
    park: bool,
) -> Result<(), EngineError> {
    let parker = Parker { env, journal, here };
    let found = journal.image(|image| orphans(image, kept));
    if !found.is_empty() && !park {
        return Err(EngineError::Orphans(found));
    }
    for orphan in &found {
        tracing::warn!("parked among the dead letters: {orphan}");
        if let Orphan::State { node, .. } = orphan {
            parker.state(node).await?;
        }
    }
    for (input, group, floor) in journal.image(|image| gone(image, kept)) {
        if input.starts_with("source/") {
            if floor > Seq(0) {
                parker.position(&input, &group, floor).await?;
            }
        } else {
            parker.packets(&input, &group).await?;
        }
        let retired = Record::Retired(Retired { input, group });
        journal.append(vec![retired], Intent::Drain).await?.wait().await?;
    }
    Ok(())
}

/// Moves all that the journal in `env.disk` holds to its own dead letters: its process is gone.
///
/// # Errors
/// A journal that can't be opened, or stops.
pub async fn park_all(env: &Env, options: JournalOptions) -> Result<(), EngineError> {
    let process: Name = options.process.as_str().into();
    let (journal, _) = Journal::open(env, options).await?;
    let here = Runtime::here(process, 0);
    settle(env, &journal, &here, &Kept::default(), true).await?;
    journal.close().await;
    Ok(())
}

/// Moves what has no place to the dead letters.
struct Parker<'a> {
    env: &'a Env,
    journal: &'a Journal,
    here: &'a Runtime,
}

impl Parker<'_> {
    async fn packets(&self, input: &Name, group: &Name) -> Result<(), EngineError> {
        let why = format!("parked: the graph no longer takes {input} as {group}");
        let journal = self.journal;
        let mut from = journal.image(|image| image.cursor(input, group).floor.next());
        while journal.image(|image| image.pending(input, group)) > 0 {
            let packets = journal.read(input, from, PARK_PACKETS, journal.frame_bytes_max() / 4).await?;
            let cursor = journal.image(|image| image.cursor(input, group));
            let mut tx = Vec::new();
            let mut seqs = Vec::new();
            for (seq, packet) in packets {
                from = seq.next();
                if cursor.has(seq) {
                    continue;
                }
                let source = Some(Origin { input: input.clone(), seq });
                tx.push(self.letter(input, packet, source, why.clone()));
                seqs.push((seq, seq));
            }
            if !seqs.is_empty() {
                tx.push(Record::Settle(Settle { input: input.clone(), group: group.clone(), seqs, position: None }));
                journal.append(tx, Intent::Drain).await?.wait().await?;
            }
        }
        Ok(())
    }

    async fn state(&self, node: &Name) -> Result<(), EngineError> {
        for (key, value) in self.journal.image(|image| image.state(node)) {
            let name = format!("state/{node}/{}", String::from_utf8_lossy(&key));
            let why = format!("parked: the graph no longer has a node `{node}` that keeps state");
            let put = Record::Put(Put { node: node.clone(), key, value: None });
            let tx = vec![self.control(node, name, value, why), put];
            self.journal.append(tx, Intent::Drain).await?.wait().await?;
        }
        Ok(())
    }

    async fn position(&self, input: &Name, node: &Name, floor: Seq) -> Result<(), EngineError> {
        let position = self.journal.image(|image| image.cursor(input, node).position);
        let why = format!("parked: the graph no longer has a source `{node}`; all up to entry {floor} was settled");
        let tx = vec![self.control(node, format!("position/{node}"), position, why)];
        self.journal.append(tx, Intent::Drain).await?.wait().await?;
        Ok(())
    }

    /// A dead letter for what was no packet.
    fn control(&self, node: &Name, name: String, payload: Bytes, message: String) -> Record {
        let identity = Identity::Derived(xxhash_rust::xxh3::xxh3_128(name.as_bytes()));
        let draft = Draft {
            packet_id: name.into(),
            ts: self.env.clock.unix_ns(),
            kind: Kind::Control,
            source_id: (&**node).into(),
            key: None,
            content_type: ContentType::Bytes,
            payload,
            meta: std::collections::BTreeMap::new(),
        };
        self.letter(node, draft.into_packet(identity).encode(), None, message)
    }

    fn letter(&self, node: &Name, packet: Bytes, source: Option<Origin>, message: String) -> Record {
        let now = self.env.clock.unix_ns();
        let error = NodeError::new(Class::Unknown, message);
        let (node, plugin, tried) = (node.clone(), <_>::default(), (now, now));
        let failed = Failed { packet, source, node, plugin, error, attempts: 0, tried };
        Record::DeadLetter(DeadLetter::new(failed, self.here.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::frame::At;

    fn image() -> Image {
        let at = At { segment: 1, offset: 512 };
        let mut image = Image::new(0);
        let settle = |input: &str, group: &str, seqs: &[(u64, u64)]| {
            let seqs = seqs.iter().map(|(from, to)| (Seq(*from), Seq(*to))).collect();
            Record::Settle(Settle { input: input.into(), group: group.into(), seqs, position: None })
        };
        let append =
            |seq| Record::Append { channel: "channel/up".into(), seq: Seq(seq), packet: Bytes::from_static(b"p") };
        let put = |value| Record::Put(Put { node: "w".into(), key: Bytes::from_static(b"k"), value });
        let records = [
            settle("channel/up", "hub", &[]),
            settle("channel/up", "lab", &[]),
            append(1),
            append(2),
            append(3),
            settle("channel/up", "hub", &[(1, 2)]),
            settle("channel/up", "lab", &[(1, 3)]),
            settle("source/feed", "feed", &[(1, 9)]),
            put(Some(Bytes::from_static(b"v"))),
        ];
        records.into_iter().for_each(|record| {
            image.apply(at, record);
        });
        image
    }

    #[track_caller]
    fn check(groups: &[(&str, &str)], stateful: &[&str], expected: &[&str]) {
        let groups = groups.iter().map(|(input, group)| ((*input).into(), (*group).into())).collect();
        let kept = Kept { groups, stateful: stateful.iter().map(|node| (*node).into()).collect() };
        let found: Vec<String> = orphans(&image(), &kept).iter().map(Orphan::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_has_no_place_is_named() {
        let all = [("channel/up", "hub"), ("channel/up", "lab"), ("source/feed", "feed")];
        check(&all, &["w"], &[]);
        check(&all, &[], &["the state of node `w` (1 key)"]);
        check(&[all[0], all[2]], &["w"], &[]);
        check(&[all[1], all[2]], &["w"], &["1 packet of channel `up` for `hub`"]);
        check(&all[..2], &["w"], &["the position of source `feed` (entry 9)"]);
    }

    #[test]
    fn a_retired_group_frees_what_only_it_needed() {
        let mut image = image();
        let at = At { segment: 1, offset: 1024 };
        let retired = Record::Retired(Retired { input: "channel/up".into(), group: "hub".into() });
        image.apply(at, retired);
        assert_eq!(image.channel("channel/up").map(|packets| packets.backlog()), Some(0));
        assert!(!image.has_group("channel/up", "hub"));
    }
}
