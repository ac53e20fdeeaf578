//! The active segment: where the next frame goes, and the frames of small state that begin it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::checkpoint::Stand;
use super::footer::Digest;
use super::frame::{self, At, Header};
use super::record::{Record, Snapshot};
use super::segment::{self, SegmentHeader};
use super::spare;
use super::{JournalError, JournalOptions, Lsn};
use crate::env::{Env, File, Io};

/// The segment that is being written.
pub(super) struct Active {
    pub(super) file: Arc<dyn File>,
    pub(super) number: u64,
    pub(super) size: u64,
    /// Where the room for frames ends.
    pub(super) end: u64,
    /// Its footer to be.
    pub(super) digest: Option<Digest>,
    /// Where the next frame goes.
    pub(super) offset: u64,
    /// The last frame, where one was written since the journal was opened.
    pub(super) last: Option<At>,
    /// Checksum of the last frame.
    pub(super) prev: u32,
    pub(super) epoch: u64,
    pub(super) journal: u128,
    /// Its format version.
    pub(super) version: u16,
}

impl Active {
    /// Room left, in bytes.
    pub(super) fn left(&self) -> u64 {
        // A file that was cut short may end within the padding of its last frame.
        self.end.saturating_sub(self.offset)
    }

    /// The last frame, as one to stand on; `next` is the LSN after it.
    pub(super) fn stand(&self, next: Lsn) -> Stand {
        let at = self.last.expect("an opening writes a frame, and a segment begins with one");
        Stand { at, crc: self.prev, end: self.offset, next, epoch: self.epoch }
    }

    /// A segment that begins with `header`.
    pub(super) fn begin(file: Arc<dyn File>, size: u64, header: &SegmentHeader) -> Active {
        // A file that was cut short has no room for a footer.
        let digest = Digest::begin(header).filter(|_| size >= header.size);
        let end = header.footer_at().unwrap_or(size).min(size);
        let SegmentHeader { version, journal, number, epoch, prev, .. } = *header;
        Active { file, number, size, end, digest, offset: frame::SECTOR, last: None, prev, epoch, journal, version }
    }

    /// Goes on in the spare `number`, whose first record will be `base`. Nothing is written: gives the header sector, to be
    /// written from byte 0 together with the small state. This segment's footer is to be written with [`Active::seal`].
    pub(super) async fn follow(
        &self,
        env: &Env,
        process: &str,
        number: u64,
        base: Lsn,
    ) -> Result<(Active, Bytes), JournalError> {
        let Active { prev, epoch, journal, .. } = *self;
        let footer = self.digest.as_ref().map_or(0, |digest| digest.footer().hash());
        let file = spare::open(env, number).await?;
        let size = file.len().await.map_err(JournalError::io("read a segment's length"))?;
        let (version, process) = (segment::VERSION, process.to_owned());
        let header = SegmentHeader { version, journal, number, epoch, base, prev, size, footer, process };
        Ok((Active::begin(file, size, &header), header.encode()))
    }

    /// Writes the footer behind the last frame that this segment will have, and gives its length. Not synced: a power cut may
    /// take it, or a part of it.
    pub(super) fn seal(&self) -> Option<(u64, Io<()>)> {
        let bytes = self.digest.as_ref()?.footer().encode();
        Some((bytes.len() as u64, self.file.write_at(self.end, vec![bytes])))
    }

    /// Builds the frames of small state that come next, each with `base` as its LSN, and moves on past them.
    pub(super) fn state_frames(&mut self, base: Lsn, time: i64, bodies: Vec<Bytes>) -> Vec<Bytes> {
        bodies.into_iter().flat_map(|body| self.frame(header(base, base, 0, true, time), body).1).collect()
    }

    /// Builds the frame that comes next, and moves on past it.
    pub(super) fn frame(&mut self, header: Header, body: Bytes) -> (At, Vec<Bytes>) {
        let at = At { segment: self.number, offset: self.offset };
        let (bufs, header) = frame::build(at, &Header { prev: self.prev, epoch: self.epoch, ..header }, body);
        (self.last, self.prev) = (Some(at), header.crc);
        self.offset += header.padded();
        assert!(self.offset <= self.end, "a frame ends at {}, the room for frames at {}", self.offset, self.end);
        (at, bufs)
    }
}

/// A header with what every frame of this moment has in common.
pub(super) fn header(base: Lsn, durable_upto: Lsn, count: u32, is_state: bool, time: i64) -> Header {
    Header { crc: 0, len: 0, count, prev: 0, is_state, epoch: 0, base, durable_upto, time, segment: 0 }
}

/// Packs records into frame bodies of `limit` bytes at most.
fn bodies(records: &[Record], limit: usize) -> Vec<Bytes> {
    let mut bodies = Vec::new();
    let mut body = BytesMut::new();
    for record in records {
        if !body.is_empty() && body.len() + record.size() > limit {
            bodies.push(body.split().freeze());
        }
        record.encode(&mut body);
    }
    if !body.is_empty() {
        bodies.push(body.freeze());
    }
    bodies
}

/// Packs small state into frame bodies; the first says how many there are.
pub(super) fn state_bodies(records: &[Record], frame_bytes_max: usize) -> Vec<Bytes> {
    let snapshot = |frames| Record::Snapshot(Snapshot { frames });
    let mut bodies = bodies(records, frame_bytes_max - frame::HEADER - snapshot(0).size());
    let mut first = BytesMut::new();
    snapshot(u32::try_from(bodies.len().max(1)).expect("state fits half a segment")).encode(&mut first);
    match bodies.first_mut() {
        Some(body) => {
            first.extend_from_slice(body);
            *body = first.freeze();
        }
        None => bodies.push(first.freeze()),
    }
    bodies
}

/// Bytes that a frame with this body takes.
pub(super) fn padded(body: &Bytes) -> u64 {
    ((frame::HEADER + body.len()) as u64).next_multiple_of(frame::SECTOR)
}

/// Bytes that state frames take, one sector to spare.
///
/// # Errors
/// `StateTooLarge` when they would fill more than half a segment.
pub(super) fn state_frames_bytes(bodies: &[Bytes], options: &JournalOptions) -> Result<u64, JournalError> {
    let bytes = bodies.iter().map(padded).sum::<u64>() + frame::SECTOR;
    let limit = options.segment_bytes / 2;
    if bytes > limit { Err(JournalError::StateTooLarge { bytes, limit }) } else { Ok(bytes) }
}
