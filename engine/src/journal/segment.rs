//! Segments: the files of a journal, their names and their header sector.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::frame::SECTOR;
use super::{Lsn, footer};

/// Format version that this code writes. It reads all from 1 on.
pub const VERSION: u16 = 3;
const MAGIC: &[u8; 8] = b"SWJOURNL";
/// Where size and footer are: the last bytes before the checksum.
const SIZE_AT: usize = SECTOR as usize - 4 - 16 - 8;
/// Longest process name that a header holds, bytes.
pub const PROCESS_MAX: usize = 200;

/// The first sector of a segment. Frames follow from byte 512.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Format version of the segment.
    pub version: u16,
    /// Which journal it belongs to; drawn once, at its creation.
    pub journal: u128,
    /// Its number, also in its name: a renamed copy of another doesn't pass.
    pub number: u64,
    /// The opening that began it.
    pub epoch: u64,
    /// LSN of its first record.
    pub base: Lsn,
    /// Checksum of the last frame of the segment before it.
    pub prev: u32,
    /// Its size in bytes; 0 before version 3, and in a stub.
    pub size: u64,
    /// Hash of the footer of the segment before it; 0 where that has none.
    pub footer: u128,
    /// The process whose journal this is.
    pub process: String,
}

impl SegmentHeader {
    /// Where its room for frames ends, and its footer begins; `None` where it gets none.
    #[must_use]
    pub fn footer_at(&self) -> Option<u64> {
        let at = footer::place(self.size);
        (at < self.size).then_some(at)
    }
}

/// What a first sector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sector {
    /// A header of a segment in use.
    Header(SegmentHeader),
    /// A spare, or a header that was never whole.
    Unused,
    /// A header of a format version that this code can't read.
    Version(u16),
}

/// The file name of segment `number`.
#[must_use]
pub fn name(number: u64) -> String {
    format!("seg-{number:012}.swj")
}

/// The number in a segment's file name; `None` when it is no such name.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".swj")?;
    if digits.len() != 12 { None } else { digits.parse().ok() }
}

impl SegmentHeader {
    /// The header as one sector.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        assert!(
            self.process.len() <= PROCESS_MAX,
            "process name `{}` is longer than {PROCESS_MAX} bytes",
            self.process
        );
        let mut out = BytesMut::with_capacity(SECTOR as usize);
        out.put_slice(MAGIC);
        out.put_u16_le(self.version);
        out.put_u16_le(self.process.len() as u16);
        out.put_u32_le(self.prev);
        out.put_u128_le(self.journal);
        out.put_u64_le(self.number);
        out.put_u64_le(self.epoch);
        out.put_u64_le(self.base.0);
        out.put_slice(self.process.as_bytes());
        out.resize(SIZE_AT, 0);
        out.put_u64_le(self.size);
        out.put_u128_le(self.footer);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out.freeze()
    }
}

/// Reads the first sector of segment `number`.
#[must_use]
pub fn decode(number: u64, sector: &Bytes) -> Sector {
    match header(sector) {
        // A recycled segment still wears its old header.
        Sector::Header(header) if header.number != number => Sector::Unused,
        found => found,
    }
}

/// Reads a first sector, of whichever segment it is.
pub(super) fn header(sector: &Bytes) -> Sector {
    if sector.len() < SECTOR as usize || &sector[..8] != MAGIC {
        return Sector::Unused;
    }
    let (body, crc) = sector.split_at(SECTOR as usize - 4);
    let mut at = Bytes::copy_from_slice(&body[8..]);
    let version = at.get_u16_le();
    if crc32c::crc32c(body).to_le_bytes() != crc[..4] {
        return Sector::Unused;
    }
    if !(1..=VERSION).contains(&version) {
        return Sector::Version(version);
    }
    let process = at.get_u16_le() as usize;
    let prev = at.get_u32_le();
    let journal = at.get_u128_le();
    let number = at.get_u64_le();
    let epoch = at.get_u64_le();
    let base = Lsn(at.get_u64_le());
    if process > PROCESS_MAX {
        return Sector::Unused;
    }
    let process = String::from_utf8_lossy(&at[..process]).into_owned();
    // Zeros before version 3.
    let mut last = &body[SIZE_AT..];
    let (size, footer) = (last.get_u64_le(), last.get_u128_le());
    Sector::Header(SegmentHeader { version, journal, number, epoch, base, prev, size, footer, process })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SegmentHeader {
        let process = "edge".into();
        SegmentHeader {
            version: VERSION,
            journal: 9,
            number: 3,
            epoch: 2,
            base: Lsn(77),
            prev: 5,
            size: 8192,
            footer: 8,
            process,
        }
    }

    #[test]
    fn a_header_is_read_back_under_its_own_number_only() {
        let header = sample();
        let sector = header.encode();
        assert_eq!(sector.len(), 512);
        assert_eq!(decode(3, &sector), Sector::Header(header));
        assert_eq!(decode(4, &sector), Sector::Unused);
        assert_eq!(number(&name(3)), Some(3));
        assert_eq!(number("seg-3.swj"), None);
    }

    #[test]
    fn another_version_is_told_apart_from_damage() {
        let mut sector = sample().encode().to_vec();
        sector[8] = 9;
        assert_eq!(decode(3, &Bytes::from(sector.clone())), Sector::Unused, "a flipped version is damage");
        let crc = crc32c::crc32c(&sector[..508]).to_le_bytes();
        sector[508..].copy_from_slice(&crc);
        assert_eq!(decode(3, &Bytes::from(sector)), Sector::Version(9));
    }
}
