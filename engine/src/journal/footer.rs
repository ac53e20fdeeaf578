//! Footers: what a sealed segment holds, so that a reader can pass over it, or begin in the middle of it.
//!
//! A footer lies behind the frames, at [`place`], and is written when the next segment is begun, whose header names its
//! hash. It is made of nothing but the segment's frames, so whoever reads them all can make it again: it is never needed, and
//! one that a crash kept from being written is simply not there.
//!
//! Layout, little-endian:
//! ```text
//!  0  magic    4   "SWFT"
//!  4  crc      u32 CRC32C of the segment's number (u64), then of what follows
//!  8  length   u32 of the body
//! 12  zeros    4
//! 16  body     postcard of `Footer`
//! ```

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::Lsn;
use super::frame::{Header, SECTOR};
use super::record::{Name, Record};
use super::segment::SegmentHeader;
use crate::packet::{Seq, key_of};

pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"SWFT");
const HEAD: usize = 16;
/// A segment's part that is kept for its footer, and the least and the most that a footer takes.
const PART: u64 = 128;
const BYTES_MIN: u64 = 1024;
const BYTES_MAX: u64 = 128 << 10;
/// A smaller segment has no room to give away.
const SEGMENT_BYTES_MIN: u64 = 8 << 10;
/// Places are at least so far apart, bytes.
const PLACE_EVERY: u64 = 64 << 10;
/// Most bytes that the encoding of a place takes.
const PLACE_BYTES: u64 = 25;
/// Bits that a key sets in the filter.
const KEY_BITS: usize = 4;

/// Where the footer of a segment of so many bytes begins, and the room for frames ends.
pub(super) fn place(size: u64) -> u64 {
    if size < SEGMENT_BYTES_MIN {
        return size;
    }
    size - (size / PART).next_multiple_of(SECTOR).clamp(BYTES_MIN, BYTES_MAX)
}

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// The journal.
    pub journal: u128,
    /// The segment's number.
    pub segment: u64,
    /// Hash of the footer before, as the segment's header has it; 0 where there was none.
    pub before: u128,
    /// Its first LSN, and the one after its last.
    pub lsns: (Lsn, Lsn),
    /// The times of its frames, unix ns: the least and the greatest. The first is above the second where there is no frame.
    pub times: (i64, i64),
    /// Frames with records.
    pub frames: u64,
    /// Every so often, a frame: its first LSN, the greatest time of all frames before it, and its offset.
    pub places: Vec<(Lsn, i64, u64)>,
    /// Channels, inputs and nodes that its records are about.
    pub names: BTreeMap<Name, Held>,
    /// More of them than fit: a name that is not in `names` may be there all the same.
    pub more_names: bool,
    /// The packets' keys.
    pub keys: Filter,
}

/// What a segment holds of a channel, input or node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Records about it.
    pub records: u64,
    /// The first and the last packet that entered it here; 0 and 0 where none did.
    pub entered: (Seq, Seq),
}

/// A set of keys that may say yes to a few more, and never no to one that is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter(Vec<u8>);

impl Filter {
    /// Bytes, and the bits in them, that a key sets.
    fn bits(&self, key: &str) -> [(usize, u8); KEY_BITS] {
        let (hash, all) = (xxh3_64(key.as_bytes()), self.0.len() as u64 * 8);
        let step = hash >> 32 | 1;
        std::array::from_fn(|index| {
            let bit = hash.wrapping_add(step.wrapping_mul(index as u64)) % all;
            ((bit / 8) as usize, 1 << (bit % 8))
        })
    }

    fn add(&mut self, key: &str) {
        for (byte, bit) in self.bits(key) {
            self.0[byte] |= bit;
        }
    }

    /// False when no packet has this key.
    #[must_use]
    pub fn may_have(&self, key: &str) -> bool {
        self.0.is_empty() || self.bits(key).into_iter().all(|(byte, bit)| self.0[byte] & bit != 0)
    }
}

/// What a reader looks for. Whatever fits is given; a segment that can't hold any of it is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Records from this LSN on.
    pub from: Lsn,
    /// Frames of this time or later, unix ns.
    pub since: i64,
    /// Frames before this time, unix ns.
    pub until: i64,
    /// Packets of this key.
    pub key: Option<String>,
    /// Records about this channel, input or node.
    pub name: Option<Name>,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted { from: Lsn(0), since: i64::MIN, until: i64::MAX, key: None, name: None }
    }
}

impl Footer {
    /// False when the segment holds nothing of what is wanted.
    #[must_use]
    pub fn may_hold(&self, wanted: &Wanted) -> bool {
        let named = |name: &Name| self.more_names || self.names.contains_key(name);
        self.lsns.1 > wanted.from
            && self.times.1 >= wanted.since
            && self.times.0 < wanted.until
            && wanted.key.as_deref().is_none_or(|key| self.keys.may_have(key))
            && wanted.name.as_ref().is_none_or(named)
    }

    /// The last place before which nothing is wanted: LSN and offset of a frame.
    #[must_use]
    pub fn start(&self, wanted: &Wanted) -> Option<(Lsn, u64)> {
        let early = |(lsn, before, _): &&(Lsn, i64, u64)| *lsn <= wanted.from || *before < wanted.since;
        let behind = self.places.iter().take_while(early).last()?;
        Some((behind.0, behind.2))
    }

    /// What the next segment's header says of it.
    #[must_use]
    pub fn hash(&self) -> u128 {
        xxh3_128(&self.body())
    }

    fn body(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a footer holds only types that postcard can write")
    }

    /// What stands behind the segment's frames.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let body = self.body();
        let mut out = BytesMut::with_capacity(HEAD + body.len());
        out.put_u32_le(MAGIC);
        out.put_u32_le(0);
        out.put_u32_le(u32::try_from(body.len()).expect("a footer is a small part of a segment"));
        out.put_u32_le(0);
        out.put_slice(&body);
        let crc = checksum(self.segment, &out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out.resize(out.len().next_multiple_of(SECTOR as usize), 0);
        out.freeze()
    }

    /// Reads the footer of `segment` from the bytes behind its frames.
    #[must_use]
    pub fn decode(segment: u64, bytes: &Bytes) -> FooterFound {
        if bytes.len() < HEAD {
            return FooterFound::None;
        }
        let mut head = bytes.slice(..HEAD);
        let (magic, crc, len) = (head.get_u32_le(), head.get_u32_le(), head.get_u32_le() as usize);
        if magic != MAGIC {
            let is_empty = bytes[..bytes.len().min(SECTOR as usize)].iter().all(|byte| *byte == 0);
            return if is_empty { FooterFound::None } else { FooterFound::Damaged };
        }
        let Some(body) = bytes.get(HEAD..HEAD + len) else { return FooterFound::Damaged };
        let footer = || postcard::from_bytes::<Footer>(body).ok();
        if checksum(segment, &bytes[8..HEAD + len]) == crc {
            return footer().map_or(FooterFound::Damaged, FooterFound::Footer);
        }
        // A recycled segment still wears the footer of an earlier life.
        match footer() {
            Some(old) if old.segment < segment && checksum(old.segment, &bytes[8..HEAD + len]) == crc => {
                FooterFound::None
            }
            _ => FooterFound::Damaged,
        }
    }
}

/// What lies behind the frames of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FooterFound {
    /// Its footer.
    Footer(Footer),
    /// Nothing that was written in this life of the segment.
    None,
    /// Bytes that are no footer.
    Damaged,
}

fn checksum(segment: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&segment.to_le_bytes()), bytes)
}

/// A footer that grows with its segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digest {
    footer: Footer,
    /// Bytes that its names may still take.
    names_left: u64,
    /// Bytes from one place to the next.
    place_every: u64,
    /// No place before this offset.
    next_place: u64,
}

impl Digest {
    /// Of a segment that begins; `None` where it gets no footer.
    pub(super) fn begin(header: &SegmentHeader) -> Option<Digest> {
        let room = header.size - header.footer_at()?;
        // Half for the keys, a quarter for the places, an eighth for the names, the rest for what has a fixed size.
        let footer = Footer {
            journal: header.journal,
            segment: header.number,
            before: header.footer,
            lsns: (header.base, header.base),
            times: (i64::MAX, i64::MIN),
            frames: 0,
            places: Vec::new(),
            names: BTreeMap::new(),
            more_names: false,
            keys: Filter(vec![0; room as usize / 2]),
        };
        let place_every = PLACE_EVERY.max(header.size / (room / 4 / PLACE_BYTES));
        Some(Digest { footer, names_left: room / 8, place_every, next_place: 0 })
    }

    /// A frame stands at `offset`.
    pub(super) fn frame(&mut self, offset: u64, header: &Header, records: &[Record]) {
        if header.count == 0 {
            return;
        }
        let footer = &mut self.footer;
        if offset >= self.next_place {
            footer.places.push((header.base, footer.times.1, offset));
            self.next_place = offset + self.place_every;
        }
        footer.lsns.1 = header.end();
        footer.times = (footer.times.0.min(header.time), footer.times.1.max(header.time));
        footer.frames += 1;
        for record in records {
            match record {
                Record::Append { channel, seq, packet } => {
                    self.note(channel, Some(*seq));
                    self.key(packet);
                }
                Record::Moved { channel, packet, .. } => {
                    self.note(channel, None);
                    self.key(packet);
                }
                Record::DeadLetter(letter) | Record::MovedLetter(letter) => {
                    self.note(&letter.failure.node, None);
                    self.key(&letter.packet);
                }
                Record::Settle(settle) => self.note(&settle.input, None),
                Record::Put(put) => self.note(&put.node, None),
                _ => {}
            }
        }
    }

    fn key(&mut self, packet: &[u8]) {
        if let Some(key) = key_of(packet) {
            self.footer.keys.add(key);
        }
    }

    fn note(&mut self, name: &Name, entered: Option<Seq>) {
        // A name's length and its numbers, beside itself.
        const NUMBERS: u64 = 32;
        let names = &mut self.footer.names;
        let held = match names.get_mut(name) {
            Some(held) => held,
            None if name.len() as u64 + NUMBERS <= self.names_left => {
                self.names_left -= name.len() as u64 + NUMBERS;
                names.entry(name.clone()).or_default()
            }
            None => {
                self.footer.more_names = true;
                return;
            }
        };
        held.records += 1;
        if let Some(seq) = entered {
            held.entered = (if held.entered.0 == Seq(0) { seq } else { held.entered.0 }, seq);
        }
    }

    /// The footer, as far as the segment goes.
    pub(super) fn footer(&self) -> &Footer {
        &self.footer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::segment;
    use crate::packet::{ContentType, Fields, Identity, Kind, Packet};

    const SIZE: u64 = 1 << 20;

    fn header() -> SegmentHeader {
        let process = "edge".into();
        let (version, size, footer) = (segment::VERSION, SIZE, 11);
        SegmentHeader { version, journal: 9, number: 3, epoch: 2, base: Lsn(100), prev: 5, size, footer, process }
    }

    fn append(seq: u64, key: &str) -> Record {
        let fields = Fields {
            identity: Identity::Derived(u128::from(seq)),
            packet_id: format!("p{seq}").into(),
            ts: 5,
            kind: Kind::Event,
            source_id: "s".into(),
            key: Some(key.into()),
            content_type: ContentType::Json,
            payload: Bytes::from_static(b"{}"),
            meta: Default::default(),
        };
        Record::Append { channel: "channel/up".into(), seq: Seq(seq), packet: Packet::from(fields).encode() }
    }

    /// A segment with `frames` frames of one packet, each 4 KiB long and a second after the one before.
    fn digest(frames: u64) -> Digest {
        let mut digest = Digest::begin(&header()).expect("a segment of this version has a footer");
        for index in 0..frames {
            let (base, time) = (Lsn(100 + index), 1000 + i64::try_from(index).expect("small"));
            let header = Header {
                crc: 0,
                len: 4096,
                count: 1,
                prev: 0,
                is_state: false,
                epoch: 2,
                base,
                durable_upto: base,
                time,
                segment: 3,
            };
            digest.frame(512 + 4096 * index, &header, &[append(index + 1, &format!("k{index}"))]);
        }
        digest
    }

    #[test]
    fn a_footer_fits_behind_the_frames_and_is_read_back_in_its_own_segment_only() {
        let digest = digest(250);
        let footer = digest.footer();
        let bytes = footer.encode();
        assert!(place(SIZE) + bytes.len() as u64 <= SIZE, "{} bytes", bytes.len());
        assert_eq!(Footer::decode(3, &bytes), FooterFound::Footer(footer.clone()));
        assert_eq!(Footer::decode(4, &bytes), FooterFound::None, "a recycled segment wears an old footer");
        assert_eq!(Footer::decode(2, &bytes), FooterFound::Damaged, "a footer of a later segment");
        assert_eq!(Footer::decode(3, &Bytes::from(vec![0; 8192])), FooterFound::None);
        assert_eq!((SegmentHeader { size: 0, ..header() }).footer_at(), None, "an older segment has none");
        assert_eq!((SegmentHeader { size: 4096, ..header() }).footer_at(), None, "nor has a tiny one");
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = digest(3).footer().encode();
        let len = HEAD + u32::from_le_bytes(bytes[8..12].try_into().expect("four")) as usize;
        for bit in (0..len * 8).step_by(7) {
            let mut torn = bytes.to_vec();
            torn[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(Footer::decode(3, &torn.into()), FooterFound::Footer(_)), "bit {bit} flipped unseen");
        }
    }

    #[track_caller]
    fn check(wanted: Wanted, held: bool, start: Option<(u64, u64)>) {
        let digest = digest(100);
        let footer = digest.footer();
        assert_eq!(footer.may_hold(&wanted), held, "{wanted:?}");
        assert_eq!(footer.start(&wanted), start.map(|(lsn, offset)| (Lsn(lsn), offset)), "{wanted:?}");
    }

    #[test]
    fn what_is_wanted_is_found_and_what_is_not_there_passed_over() {
        let any = Wanted::default;
        check(any(), true, None);
        check(Wanted { from: Lsn(150), ..any() }, true, Some((148, 512 + 48 * 4096)));
        check(Wanted { from: Lsn(200), ..any() }, false, Some((196, 512 + 96 * 4096)));
        check(Wanted { since: 1099, ..any() }, true, Some((196, 512 + 96 * 4096)));
        check(Wanted { since: 1100, ..any() }, false, Some((196, 512 + 96 * 4096)));
        check(Wanted { until: 1000, ..any() }, false, None);
        check(Wanted { until: 1001, ..any() }, true, None);
        check(Wanted { key: Some("k99".into()), ..any() }, true, None);
        check(Wanted { key: Some("other".into()), ..any() }, false, None);
        check(Wanted { name: Some("channel/up".into()), ..any() }, true, None);
        check(Wanted { name: Some("channel/down".into()), ..any() }, false, None);
    }

    #[test]
    fn more_names_than_fit_are_said_to_be_there() {
        let mut digest = digest(1);
        for index in 0..1000 {
            digest.note(&format!("node{index}").into(), None);
        }
        let footer = digest.footer();
        let bytes = footer.encode();
        assert!(footer.more_names && place(SIZE) + bytes.len() as u64 <= SIZE);
        assert!(footer.may_hold(&Wanted { name: Some("node999".into()), ..Wanted::default() }));
        assert_eq!(footer.names[&*Name::from("channel/up")].entered, (Seq(1), Seq(1)));
    }
}
