//! Frames: one commit each, checksummed so that a stale or moved frame never passes for a fresh one.
//!
//! Layout, little-endian, at a 512 B boundary of its segment:
//! ```text
//!  0  magic         u32   "SWF1"
//!  4  crc           u32   CRC32C of bytes 8..len, seeded with segment number and offset
//!  8  len           u32   header and body, without padding
//! 12  count         u32   records; 0 is a mark
//! 16  prev          u32   crc of the frame before
//! 20  kind          u32   0 records, 1 small state (its records have no LSN, and count is 0)
//! 24  epoch         u64   grows at each open
//! 32  base          u64   LSN of the first record
//! 40  durable_upto  u64   all LSNs below were durable when this frame was built
//! 48  time          i64   unix ns
//! 56  segment       u64   number of the segment that it was written to
//! 64  records
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Lsn, footer};

/// Bytes before the records.
pub const HEADER: usize = 64;
/// What a disk writes at once; frames begin at multiples of it.
pub const SECTOR: u64 = 512;
const MAGIC: u32 = u32::from_le_bytes(*b"SWF1");

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its checksum.
    pub crc: u32,
    /// Header and body in bytes, without padding.
    pub len: u32,
    /// Records in it.
    pub count: u32,
    /// Checksum of the frame before it.
    pub prev: u32,
    /// True for small state: records without LSNs, `count` is 0.
    pub is_state: bool,
    /// The opening that wrote it.
    pub epoch: u64,
    /// LSN of its first record.
    pub base: Lsn,
    /// All LSNs below were durable when it was built.
    pub durable_upto: Lsn,
    /// When it was built, unix ns.
    pub time: i64,
    /// The segment that it was written to.
    pub segment: u64,
}

impl Header {
    /// LSN after its last record.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn(self.base.0 + u64::from(self.count))
    }

    /// True when, at `offset`, it shows that its segment is in use though the header is gone.
    #[must_use]
    pub fn begins(&self, offset: u64) -> bool {
        offset == SECTOR || self.count > 0 || !self.is_state
    }

    /// True when it counts behind all below `next` in `epoch`, in a segment that ends at `until` where another follows. Not so what
    /// an opening cut: of an older epoch, or above where the next segment begins.
    #[must_use]
    pub fn counts(&self, epoch: u64, next: Lsn, until: Option<Lsn>) -> bool {
        self.epoch >= epoch && self.base >= next && until.is_none_or(|until| self.end() <= until)
    }

    /// True for the frame of a stub: it stands for all the records of a segment that is gone, and follows no frame.
    #[must_use]
    pub fn passes_over(&self) -> bool {
        self.is_state && self.count > 0
    }

    /// The LSN at which segment `number` began, of which nothing before this frame, at `offset`, is left.
    #[must_use]
    pub fn segment_base(&self, number: u64, offset: u64) -> Lsn {
        match number {
            _ if offset == SECTOR => self.base,
            1 => Lsn(0),
            _ => self.base.min(self.durable_upto),
        }
    }

    /// Bytes that it takes in its segment.
    #[must_use]
    pub fn padded(&self) -> u64 {
        u64::from(self.len).next_multiple_of(SECTOR)
    }
}

/// Where a frame is or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct At {
    /// Segment number.
    pub segment: u64,
    /// Bytes from its start.
    pub offset: u64,
}

fn checksum(at: At, head: &[u8], body: &[u8]) -> u32 {
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&at.segment.to_le_bytes());
    seed[8..].copy_from_slice(&at.offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&seed), head), body)
}

/// Builds a frame for `at`; gives its buffers, padded to whole sectors, and its checksum. `header.crc`, `len` and
/// `segment` are filled in here.
///
/// # Panics
/// When `at` is not at a sector.
#[must_use]
pub fn build(at: At, header: &Header, body: Bytes) -> (Vec<Bytes>, Header) {
    assert!(at.offset.is_multiple_of(SECTOR), "a frame at {at:?} is not at a sector");
    let len = u32::try_from(HEADER + body.len()).expect("a frame is below 4 GiB");
    let mut head = BytesMut::with_capacity(HEADER);
    head.put_u32_le(MAGIC);
    head.put_u32_le(0);
    head.put_u32_le(len);
    head.put_u32_le(header.count);
    head.put_u32_le(header.prev);
    head.put_u32_le(u32::from(header.is_state));
    head.put_u64_le(header.epoch);
    head.put_u64_le(header.base.0);
    head.put_u64_le(header.durable_upto.0);
    head.put_i64_le(header.time);
    head.put_u64_le(at.segment);
    let crc = checksum(at, &head[8..], &body);
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    let padding = u64::from(len).next_multiple_of(SECTOR) as usize - len as usize;
    const ZEROS: &[u8] = &[0; SECTOR as usize];
    let bufs = vec![head.freeze(), body, Bytes::from_static(&ZEROS[..padding])];
    (bufs, Header { crc, len, segment: at.segment, ..*header })
}

/// The length that a frame at the start of `sector` would have; `None` where none begins.
#[must_use]
pub fn claimed(sector: &Bytes) -> Option<u64> {
    let mut head = sector.get(..12)?;
    let magic = head.get_u32_le();
    head.advance(4);
    (magic == MAGIC).then(|| u64::from(head.get_u32_le()))
}

/// What stands at a place in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole, valid frame with its records.
    Frame(Header, Bytes),
    /// Never written in this life of the segment: zero, or a frame of an earlier life.
    Nothing,
    /// Something that is not a valid frame. The header, as far as it can be read, is a hint and nothing more.
    Bad(Option<Header>),
}

/// Reads what stands at the start of `bytes`, which lie at `at` in their segment and reach to its end.
#[must_use]
pub fn parse(at: At, bytes: &Bytes) -> Found {
    if bytes.len() < HEADER {
        return Found::Nothing;
    }
    let mut head = bytes.slice(..HEADER);
    let magic = head.get_u32_le();
    let crc = head.get_u32_le();
    let len = head.get_u32_le();
    let count = head.get_u32_le();
    let prev = head.get_u32_le();
    let is_state = head.get_u32_le() == 1;
    let epoch = head.get_u64_le();
    let base = Lsn(head.get_u64_le());
    let durable_upto = Lsn(head.get_u64_le());
    let time = head.get_i64_le();
    let segment = head.get_u64_le();
    let header = Header { crc, len, count, prev, is_state, epoch, base, durable_upto, time, segment };
    if magic == footer::MAGIC {
        return Found::Nothing;
    }
    if magic != MAGIC {
        let sector = &bytes[..bytes.len().min(SECTOR as usize)];
        // A header that rotted still names its segment, and what an earlier life left does not.
        let hint = (segment == at.segment).then_some(header);
        return if sector.iter().all(|b| *b == 0) { Found::Nothing } else { Found::Bad(hint) };
    }
    let whole = len as usize;
    if whole < HEADER || whole > bytes.len() {
        return if segment == at.segment { Found::Bad(Some(header)) } else { Found::Nothing };
    }
    if checksum(at, &bytes[8..HEADER], &bytes[HEADER..whole]) != crc {
        // A recycled segment is full of frames of its earlier lives: those say so themselves.
        return if segment == at.segment { Found::Bad(Some(header)) } else { Found::Nothing };
    }
    Found::Frame(header, bytes.slice(HEADER..whole))
}

/// The frame that a segment without a header begins with, and its offset; `None` where the file is no segment in use. Where
/// the start is destroyed, it is the first frame left that is no small state: a spare has none of its number, and a segment that a
/// power cut kept from being begun has no other.
#[must_use]
pub fn first_of(segment: u64, bytes: &Bytes) -> Option<(u64, Header)> {
    (SECTOR..bytes.len() as u64).step_by(SECTOR as usize).find_map(|offset| {
        let found = parse(At { segment, offset }, &bytes.slice(offset as usize..));
        let Found::Frame(frame, _) = found else { return None };
        frame.begins(offset).then_some((offset, frame))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: At, body: &'static [u8]) -> (Bytes, Header) {
        let header = Header {
            crc: 0,
            len: 0,
            count: 3,
            prev: 7,
            is_state: false,
            epoch: 2,
            base: Lsn(100),
            durable_upto: Lsn(90),
            time: 5,
            segment: 0,
        };
        let (bufs, header) = build(at, &header, Bytes::from_static(body));
        (Bytes::from(bufs.concat()), header)
    }

    #[test]
    fn a_frame_is_read_back_where_it_was_written_and_nowhere_else() {
        let at = At { segment: 4, offset: 1024 };
        let (bytes, header) = sample(at, b"records");
        assert_eq!(bytes.len(), 512);
        assert_eq!(parse(at, &bytes), Found::Frame(header, Bytes::from_static(b"records")));
        assert_eq!(parse(At { segment: 5, ..at }, &bytes), Found::Nothing, "a stale frame of a recycled segment");
        assert_eq!(parse(At { offset: 1536, ..at }, &bytes), Found::Bad(Some(header)), "a misdirected frame");
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let at = At { segment: 4, offset: 1024 };
        let (bytes, header) = sample(at, b"records");
        for bit in 0..(header.len as usize * 8) {
            let mut torn = bytes.to_vec();
            torn[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(at, &Bytes::from(torn)), Found::Frame(..)), "bit {bit} flipped unseen");
        }
    }
}
