//! Packets, as cases send and take them.

use std::collections::BTreeMap;

use bytes::Bytes;
use seaworthy_engine::packet::{
    BUSINESS_KEY, ContentType, Epoch, Fields, Glance, Identity, Kind, Packet, ProducerId, Seq,
};
use xxhash_rust::xxh3::xxh3_64;

/// A packet to be: its text, which is how cases know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    text: String,
    key: Option<String>,
    business: Option<String>,
}

impl Item {
    /// A packet that carries this text.
    #[must_use]
    pub fn new(text: &str) -> Item {
        Item { text: text.to_owned(), key: None, business: None }
    }

    /// Ordered by this key.
    #[must_use]
    pub fn key(self, key: &str) -> Item {
        Item { key: Some(key.to_owned()), ..self }
    }

    /// Known to its sender by this business key.
    #[must_use]
    pub fn business(self, key: &str) -> Item {
        Item { business: Some(key.to_owned()), ..self }
    }

    /// The packet, as the how many-th of a producer's it entered in an epoch.
    #[must_use]
    pub fn encode(&self, producer: &str, epoch: u64, pseq: Seq) -> Bytes {
        let producer = ProducerId(xxh3_64(producer.as_bytes()));
        let fields = Fields {
            identity: Identity::Entered { producer, epoch: Epoch(epoch), pseq },
            packet_id: self.text.as_str().into(),
            ts: 0,
            kind: Kind::Event,
            source_id: "kit".into(),
            key: self.key.as_deref().map(Into::into),
            content_type: ContentType::Bytes,
            payload: Bytes::copy_from_slice(self.text.as_bytes()),
            meta: self.business.iter().map(|key| (BUSINESS_KEY.to_owned(), key.clone())).collect::<BTreeMap<_, _>>(),
        };
        Packet::from(fields).encode()
    }
}

/// Plain packets with these texts.
#[must_use]
pub fn items(texts: &[&str]) -> Vec<Item> {
    texts.iter().map(|text| Item::new(text)).collect()
}

/// A packet that a member was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number in the channel.
    pub seq: Seq,
    /// The lease.
    pub lease: u64,
    /// The how many-th delivery.
    pub delivery: u32,
    /// What it carries; empty for what is no packet.
    pub text: String,
    /// All of it.
    pub packet: Bytes,
}

impl Taken {
    pub(super) fn new(lease: u64, (seq, delivery, packet): &(Seq, u32, Bytes)) -> Taken {
        let text = |glance: Glance<'_>| String::from_utf8_lossy(glance.payload).into_owned();
        let text = Glance::at(packet).map_or(String::new(), text);
        Taken { seq: *seq, lease, delivery: *delivery, text, packet: packet.clone() }
    }
}

/// The texts of what was taken.
#[must_use]
pub fn texts(taken: &[Taken]) -> Vec<&str> {
    taken.iter().map(|one| one.text.as_str()).collect()
}
