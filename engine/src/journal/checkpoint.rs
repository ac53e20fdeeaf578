//! Checkpoints: what a journal adds up to at one of its frames, so that an opening needs to read only what follows.
//!
//! There are two slots, written in turn, each whole and synced, so that one is always good. A checkpoint names the frame
//! that it stands on, with its checksum: it counts only where that frame is there. It is never needed: without one, an
//! opening reads everything.
//!
//! Layout, little-endian; the first sector, then the body:
//! ```text
//!   0  magic       8   "SWCHKPNT"
//!   8  version     u16 2
//!  10  zeros       6
//!  16  journal     u128
//!  32  generation  u64  even ones in slot a, odd ones in slot b
//!  40  segment     u64  the frame that it stands on
//!  48  offset      u64
//!  56  frame crc   u32
//!  60  body crc    u32
//!  64  end         u64  where that frame ends in its segment
//!  72  next        u64  the LSN after it
//!  80  epoch       u64  of that frame
//!  88  body        u64  length in bytes
//! 508  crc         u32  of bytes 0 to 507
//! body: length of the records (u64), the small state as records, the index and the segment's digest (postcard)
//! ```

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::active::Active;
use super::footer::Digest;
use super::frame::{At, SECTOR};
use super::image::Image;
use super::record::Record;
use super::{JournalError, Lsn, is_full};
use crate::env::{Disk, Env, File, Open};

/// The two files.
pub(super) const SLOTS: [&str; 2] = ["checkpoint-a.swc", "checkpoint-b.swc"];
/// An opening reads at most so much: what was written since the older checkpoint, if the newer one is gone, and the rest of
/// the segment.
const SCAN_BYTES_MAX: u64 = 32 << 20;
/// Segments so large that they fill that alone have a checkpoint as often as this.
const EVERY_MIN: u64 = 4 << 20;
/// A larger checkpoint is not written: reading it would cost more than it saves.
const BODY_BYTES_MAX: usize = 64 << 20;
const MAGIC: &[u8; 8] = b"SWCHKPNT";
const VERSION: u16 = 2;

/// The frame that a checkpoint stands on, and what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    pub(super) at: At,
    /// The frame's checksum.
    pub(super) crc: u32,
    /// Where the next frame goes in the same segment.
    pub(super) end: u64,
    pub(super) next: Lsn,
    pub(super) epoch: u64,
}

/// A checkpoint that was read.
pub(super) struct Checkpoint {
    pub(super) journal: u128,
    pub(super) generation: u64,
    pub(super) stand: Stand,
    pub(super) image: Image,
    /// Of the segment that it stands in, up to there.
    pub(super) digest: Option<Digest>,
}

fn encode(active: &Active, generation: u64, stand: &Stand, image: &Image) -> (Bytes, Bytes) {
    let mut records = BytesMut::new();
    image.snapshot().iter().for_each(|record| record.encode(&mut records));
    let mut body = BytesMut::new();
    body.put_u64_le(records.len() as u64);
    body.put_slice(&records);
    let mut writer = body.writer();
    postcard::to_io(&(image.index(), &active.digest), &mut writer)
        .expect("an index holds only types that postcard can write");
    let body = writer.into_inner().freeze();
    let mut head = BytesMut::with_capacity(SECTOR as usize);
    head.put_slice(MAGIC);
    head.put_u16_le(VERSION);
    head.put_bytes(0, 6);
    head.put_u128_le(active.journal);
    head.put_u64_le(generation);
    head.put_u64_le(stand.at.segment);
    head.put_u64_le(stand.at.offset);
    head.put_u32_le(stand.crc);
    head.put_u32_le(crc32c::crc32c(&body));
    head.put_u64_le(stand.end);
    head.put_u64_le(stand.next.0);
    head.put_u64_le(stand.epoch);
    head.put_u64_le(body.len() as u64);
    head.resize(SECTOR as usize - 4, 0);
    let crc = crc32c::crc32c(&head);
    head.put_u32_le(crc);
    (head.freeze(), body)
}

/// What a slot's first sector says, whether or not the body is good: all up to there was durable once.
pub(super) struct Proof {
    pub(super) journal: u128,
    generation: u64,
    pub(super) stand: Stand,
    body_crc: u32,
    body_len: u64,
}

/// Reads a slot's first sector; `None` when it is torn, rotten, empty or of another version.
fn proof(mut head: Bytes) -> Option<Proof> {
    if head.len() < SECTOR as usize {
        return None;
    }
    let (fields, crc) = head.split_at(SECTOR as usize - 4);
    if !fields.starts_with(MAGIC) || crc32c::crc32c(fields).to_le_bytes() != crc[..4] {
        return None;
    }
    head.advance(MAGIC.len());
    if head.get_u16_le() != VERSION {
        return None;
    }
    head.advance(6);
    let (journal, generation) = (head.get_u128_le(), head.get_u64_le());
    let at = At { segment: head.get_u64_le(), offset: head.get_u64_le() };
    let (crc, body_crc) = (head.get_u32_le(), head.get_u32_le());
    let (end, next, epoch) = (head.get_u64_le(), Lsn(head.get_u64_le()), head.get_u64_le());
    let body_len = head.get_u64_le();
    Some(Proof { journal, generation, stand: Stand { at, crc, end, next, epoch }, body_crc, body_len })
}

/// Reads a slot; `None` where it proves nothing, or its body is torn or rotten.
fn decode(mut bytes: Bytes) -> Option<Checkpoint> {
    let head = bytes.split_to(bytes.len().min(SECTOR as usize));
    let Proof { journal, generation, stand, body_crc, body_len } = proof(head)?;
    let len = usize::try_from(body_len).ok().filter(|len| *len >= 8 && *len <= bytes.len())?;
    let mut body = bytes.split_to(len);
    if crc32c::crc32c(&body) != body_crc {
        return None;
    }
    let records_len = usize::try_from(body.get_u64_le()).ok().filter(|len| *len <= body.len())?;
    let mut records = body.split_to(records_len);
    let mut snapshot = Vec::new();
    while !records.is_empty() {
        snapshot.push(Record::decode(&mut records).ok()?);
    }
    let (index, digest) = postcard::from_bytes(&body).ok()?;
    let image = Image::restore(index, snapshot);
    Some(Checkpoint { journal, generation, stand, image, digest })
}

/// The good ones among the two slots, newest first. One that can't be read is none.
pub(super) async fn read(env: &Env) -> Vec<Checkpoint> {
    let mut good = Vec::new();
    for name in SLOTS {
        let Ok(file) = env.disk.open(name, Open::Read).await else { continue };
        let Ok(bytes) = file.read_at(0, SECTOR as usize + BODY_BYTES_MAX).await else { continue };
        good.extend(decode(bytes));
    }
    good.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.generation));
    good
}

/// What the slots prove, also those that were voided.
pub(super) async fn proofs(disk: &dyn Disk) -> Vec<Proof> {
    let mut proofs = Vec::new();
    for name in SLOTS {
        let Ok(file) = disk.open(name, Open::Read).await else { continue };
        let Ok(bytes) = file.read_at(0, SECTOR as usize).await else { continue };
        proofs.extend(proof(bytes));
    }
    proofs
}

/// Destroys both bodies, durably: the next opening reads everything. What was durable once is still proven.
///
/// # Errors
/// When the disk fails.
pub(super) async fn void(disk: &Arc<dyn Disk>) -> io::Result<()> {
    for name in SLOTS {
        match disk.open(name, Open::Write).await {
            // The length of the records, larger than any body.
            Ok(file) => file.write_sync(SECTOR, vec![Bytes::from_static(&[0xff; 8])]).await?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes checkpoints, each into the slot that holds the older one.
pub(super) struct Writer {
    /// Of the next checkpoint.
    generation: u64,
    files: [Option<Arc<dyn File>>; 2],
    /// Bytes of frames since the last checkpoint.
    since: u64,
    every: u64,
}

impl Writer {
    /// `newest` is the highest generation that was read, `since` the bytes that an opening read behind it.
    pub(super) fn new(newest: Option<u64>, since: u64, segment_bytes: u64) -> Writer {
        let generation = newest.map_or(0, |newest| newest + 1);
        let every = (SCAN_BYTES_MAX.saturating_sub(segment_bytes) / 2).max(EVERY_MIN).min(2 * segment_bytes);
        Writer { generation, files: [None, None], since, every }
    }

    pub(super) fn wrote(&mut self, bytes: u64) {
        self.since += bytes;
    }

    /// One is due: the newest may stand in a segment that is gone.
    pub(super) fn want(&mut self) {
        self.since = self.every;
    }

    pub(super) fn is_due(&self) -> bool {
        self.since >= self.every
    }

    /// Takes a checkpoint, for [`Writer::write`]. All frames up to `stand` must be durable.
    pub(super) fn take(&mut self, active: &Active, stand: &Stand, image: &Image) -> Option<(Bytes, Bytes)> {
        self.since = 0;
        let (head, body) = encode(active, self.generation, stand, image);
        (body.len() <= BODY_BYTES_MAX).then_some((head, body))
    }

    /// Writes what was taken. On a full disk nothing is written, and the same slot is tried next time: the other one is the
    /// good one.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) async fn write(&mut self, env: &Env, (head, body): (Bytes, Bytes)) -> Result<u64, JournalError> {
        let slot = usize::from(!self.generation.is_multiple_of(2));
        let bytes = (head.len() + body.len()) as u64;
        let written = async {
            let file = match &self.files[slot] {
                Some(file) => file.clone(),
                None => {
                    let file = env.disk.open(SLOTS[slot], Open::CreateOrWrite).await?;
                    env.disk.sync_dir("").await?;
                    self.files[slot].insert(file).clone()
                }
            };
            file.write_sync(0, vec![head, body]).await
        };
        match written.await {
            Ok(()) => {
                self.generation += 1;
                Ok(bytes)
            }
            Err(error) if is_full(&error) => {
                // A sync that failed took the handle with it.
                self.files[slot] = None;
                Ok(0)
            }
            Err(error) => Err(JournalError::io(format!("write {}", SLOTS[slot]))(error)),
        }
    }
}
