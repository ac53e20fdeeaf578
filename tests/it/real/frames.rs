//! An independent reader of journals, written from the format that `engine/src/journal/{segment,frame,record}.rs` document.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes read real files; a failure is the test\'s"
)]

use std::fs;
use std::path::Path;

const SECTOR: usize = 512;

/// What a journal's frames hold.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Channel, number and identity of each stored packet.
    pub(crate) appends: Vec<(String, u64, String)>,
    /// Node, class and message of each dead letter.
    pub(crate) dead_letters: Vec<(String, String, String)>,
    /// Frames that were read.
    pub(crate) frames: usize,
}

/// CRC32C (Castagnoli), a bit at a time.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Reads all segments of a data directory whose process is not running.
pub(crate) fn read(dir: &Path) -> Journal {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let mut journal = Journal::default();
    let (mut prev, mut epoch) = (None, 0);
    for name in names.iter().filter(|name| name.starts_with("seg-")) {
        let number: u64 = name["seg-".len()..].trim_end_matches(".swj").parse().unwrap();
        let bytes = fs::read(dir.join(name)).unwrap();
        if bytes.len() < SECTOR || &bytes[..8] != b"SWJOURNL" || u64_at(&bytes, 32) != number {
            continue; // A spare.
        }
        assert_eq!(crc32c(&bytes[..SECTOR - 4]), u32_at(&bytes, SECTOR - 4), "the header of {name}");
        let begins_after = u32_at(&bytes, 12);
        assert!(prev.is_none_or(|prev| prev == begins_after), "{name} does not follow the segment before it");
        prev = Some(begins_after);
        let mut at = SECTOR;
        while let Some((crc, len)) = frame(&bytes, number, at) {
            if prev != Some(u32_at(&bytes, at + 16)) || u64_at(&bytes, at + 24) < epoch {
                break; // A stale frame behind a cut.
            }
            (prev, epoch) = (Some(crc), u64_at(&bytes, at + 24));
            journal.records(&bytes[at + 64..at + len]);
            journal.frames += 1;
            at += len.next_multiple_of(SECTOR);
        }
    }
    journal
}

/// Checksum and length of the frame at `at`, if a valid one stands there.
fn frame(bytes: &[u8], segment: u64, at: usize) -> Option<(u32, usize)> {
    if at + 64 > bytes.len() || &bytes[at..at + 4] != b"SWF1" {
        return None;
    }
    let (crc, len) = (u32_at(bytes, at + 4), u32_at(bytes, at + 8) as usize);
    let body = bytes.get(at + 8..at + len)?;
    let covered = [&segment.to_le_bytes()[..], &(at as u64).to_le_bytes()[..], body].concat();
    (crc32c(&covered) == crc).then_some((crc, len))
}

impl Journal {
    fn records(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let len = u32_at(bytes, 0) as usize;
            let (tag, mut body) = (bytes[4], &bytes[5..4 + len]);
            bytes = &bytes[4 + len..];
            match tag {
                1 => {
                    let name = 1 + body[0] as usize;
                    let channel = String::from_utf8(body[1..name].to_vec()).unwrap();
                    let seq = u64_at(body, name);
                    body = &body[name + 8..];
                    self.appends.push((channel, seq, identity(&mut body)));
                }
                // Written, or copied forward.
                14 | 25 => {
                    identity(&mut body);
                    let packet = usize::try_from(varint(&mut body)).unwrap();
                    // The packet, and the hash of its payload.
                    body = &body[packet + 32..];
                    if varint(&mut body) == 1 {
                        text(&mut body);
                        varint(&mut body);
                    }
                    let class = text(&mut body);
                    varint(&mut body);
                    let node = text(&mut body);
                    let (_plugin, _version) = (text(&mut body), text(&mut body));
                    self.dead_letters.push((node, class, text(&mut body)));
                }
                _ => {}
            }
        }
    }

    /// Asserts that no identity is stored twice in `channel`, nor a number; gives how many packets are.
    #[track_caller]
    pub(crate) fn check_once(&self, channel: &str) -> usize {
        let mine: Vec<_> = self.appends.iter().filter(|(name, ..)| name == channel).collect();
        let mut seen = std::collections::BTreeMap::new();
        for (_, seq, identity) in &mine {
            let before = seen.insert(identity, seq);
            assert_eq!(before, None, "{identity} is stored again as number {seq}");
        }
        let numbers: Vec<u64> = mine.iter().map(|(_, seq, _)| *seq).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "numbers of {channel} go back");
        mine.len()
    }
}

/// Postcard: an unsigned integer, seven bits a byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> u128 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u128::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

/// Postcard: a length, then UTF-8.
fn text(bytes: &mut &[u8]) -> String {
    let len = usize::try_from(varint(bytes)).unwrap();
    let (text, rest) = bytes.split_at(len);
    *bytes = rest;
    String::from_utf8(text.to_vec()).unwrap()
}

/// Postcard: 0 and producer, epoch, number; or 1 and a hash.
fn identity(bytes: &mut &[u8]) -> String {
    match varint(bytes) {
        0 => format!("{:016x}.{}.{}", varint(bytes), varint(bytes), varint(bytes)),
        1 => format!("{:032x}", varint(bytes)),
        other => panic!("an identity of kind {other}"),
    }
}

mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnoli_s() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    #[should_panic(expected = "is stored again")]
    fn a_second_copy_is_seen() {
        let append = |seq| ("channel/uplink".to_owned(), seq, "x.1.1".to_owned());
        Journal { appends: vec![append(1), append(2)], ..Journal::default() }.check_once("channel/uplink");
    }
}
