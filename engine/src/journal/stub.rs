//! Stubs: what stands in the place of segments between others that nobody needs, so that their files can be spares although an
//! older segment is still needed. A header without a size, and for each segment a frame of small state without a record
//! that passes over its numbers. The file of the next stub is made while there is room: a full disk takes no new one.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::active::header;
use super::frame::{self, At, Found, SECTOR};
use super::segment::{self, Sector, SegmentHeader};
use super::spare::{self, Made};
use super::{JournalError, Lsn};
use crate::env::{Disk, Env, File, Open};

/// Size of a stub's file: it has a sector for each of 127 segments.
pub(super) const BYTES: u64 = 64 << 10;
/// The number in the name of the next stub's file: no segment will ever have it.
pub(super) const NEXT: u64 = 999_999_999_999;

/// A stub in its place.
pub(super) struct Stub {
    number: u64,
    pub(super) file: Arc<dyn File>,
    epoch: u64,
    /// The LSN behind all that it passes over.
    pub(super) end: Lsn,
    /// Where its next frame goes.
    offset: u64,
    /// Checksum of its last frame.
    prev: u32,
}

impl Stub {
    /// A stub that passes over nothing yet, as its header says.
    fn begin(file: Arc<dyn File>, header: &SegmentHeader) -> Stub {
        let SegmentHeader { number, epoch, base, prev, .. } = *header;
        Stub { number, file, epoch, end: base, offset: SECTOR, prev }
    }

    /// Reads the stub that a file is, whatever its name; `None` where it is none.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) async fn read(file: Arc<dyn File>) -> io::Result<Option<(SegmentHeader, Stub)>> {
        let Sector::Header(header) = segment::header(&file.read_at(0, SECTOR as usize).await?) else { return Ok(None) };
        if !is(&header) {
            return Ok(None);
        }
        let bytes = file.read_at(0, BYTES as usize).await?;
        let mut stub = Stub::begin(file, &header);
        while let Found::Frame(frame, _) =
            frame::parse(stub.at(), &bytes.slice(bytes.len().min(stub.offset as usize)..))
            && frame.passes_over()
            && frame.base == stub.end
        {
            stub.passed(&frame);
        }
        Ok((stub.offset > SECTOR).then_some((header, stub)))
    }

    fn at(&self) -> At {
        At { segment: self.number, offset: self.offset }
    }

    fn passed(&mut self, frame: &frame::Header) {
        (self.end, self.prev, self.offset) = (frame.end(), frame.crc, self.offset + SECTOR);
    }

    /// True when it can pass over the segment that begins at `base`, too.
    pub(super) fn takes(&self, base: Lsn) -> bool {
        self.end == base && self.offset + SECTOR <= BYTES
    }

    /// Passes over all below `end`, durably; `begun` is what stands before its first frame.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) async fn pass(&mut self, end: Lsn, time: i64, begun: Option<Bytes>) -> Result<(), JournalError> {
        let count = u32::try_from(end.0 - self.end.0).expect("a segment holds fewer than 4 G records");
        let hole = frame::Header { prev: self.prev, epoch: self.epoch, ..header(self.end, end, count, true, time) };
        let (bufs, hole) = frame::build(self.at(), &hole, Bytes::new());
        let at = if begun.is_some() { 0 } else { self.offset };
        let written = self.file.write_sync(at, begun.into_iter().chain(bufs).collect()).await;
        written.map_err(JournalError::io(format!("pass over segments in {}", segment::name(self.number))))?;
        self.passed(&hole);
        Ok(())
    }
}

/// True for the header of a stub.
pub(super) fn is(header: &SegmentHeader) -> bool {
    header.version >= 3 && header.size == 0
}

/// Makes the file of the next stub, if there is room for it. True when it is there.
///
/// # Errors
/// When the disk fails.
pub(super) async fn prepare(env: &Env) -> Result<bool, JournalError> {
    Ok(spare::create(env, NEXT, BYTES).await? == Made::Spare)
}

/// Begins the stub of segment `number`, whose records end at `end`, in the file that was made for it. It has no place yet: see
/// [`put`]. `None` where the segment's header can't be read.
///
/// # Errors
/// When the disk fails.
pub(super) async fn begin(
    env: &Env,
    (number, file): (u64, &Arc<dyn File>),
    end: Lsn,
) -> Result<Option<Stub>, JournalError> {
    let sector = file.read_at(0, SECTOR as usize).await.map_err(JournalError::unread(&segment::name(number)))?;
    let Sector::Header(of) = segment::decode(number, &sector) else { return Ok(None) };
    let header = SegmentHeader { version: segment::VERSION, size: 0, ..of };
    let mut stub = Stub::begin(spare::open(env, NEXT).await?, &header);
    stub.pass(end, env.clock.unix_ns(), Some(header.encode())).await?;
    Ok(Some(stub))
}

/// Gives a stub that was begun the place of segment `number`, whose own file has left it.
///
/// # Errors
/// When the disk fails.
pub(super) async fn put(env: &Env, number: u64) -> Result<Arc<dyn File>, JournalError> {
    let name = segment::name(number);
    let renamed = env.disk.rename(&segment::name(NEXT), &name).await;
    renamed.map_err(JournalError::io(format!("put a stub in the place of {name}")))?;
    env.disk.sync_dir("").await.map_err(JournalError::io("make a stub's name durable"))?;
    spare::open(env, number).await
}

/// A stub that a crash left beside its place, between the segments of the numbers `used`, ascending. Another is what is left of an
/// earlier life.
///
/// # Errors
/// When the disk fails.
pub(super) async fn beside(
    disk: &dyn Disk,
    used: impl DoubleEndedIterator<Item = u64> + Clone,
) -> io::Result<Option<SegmentHeader>> {
    let file = match disk.open(&segment::name(NEXT), Open::Read).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (oldest, newest) = (used.clone().next(), used.clone().next_back());
    let lies_between =
        |number| oldest < Some(number) && Some(number) < newest && !used.clone().any(|one| one == number);
    Ok(Stub::read(file).await?.map(|(header, _)| header).filter(|header| lies_between(header.number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::rig::{options, run};

    fn segment(number: u64) -> SegmentHeader {
        let (version, base, prev, size) = (2, Lsn(77), 5, 1 << 17);
        SegmentHeader { version, journal: 9, number, epoch: 2, base, prev, size, footer: 8, process: "edge".into() }
    }

    #[test]
    fn a_stub_passes_over_segments_one_after_the_other() {
        run(async |rig| {
            let (env, disk) = (rig.env(), rig.disk());
            assert!(prepare(&env).await.unwrap());
            let file = disk.open(&segment::name(3), Open::Create).await.unwrap();
            file.write_sync(0, vec![segment(3).encode()]).await.unwrap();
            let mut stub = begin(&env, (3, &file), Lsn(100)).await.unwrap().unwrap();
            assert!(beside(&*disk, [2, 5].into_iter()).await.unwrap().is_some());
            for used in [&[2, 3, 5][..], &[4, 5], &[2]] {
                assert!(beside(&*disk, used.iter().copied()).await.unwrap().is_none());
            }
            stub.file = put(&env, 3).await.unwrap();
            assert!(stub.takes(Lsn(100)) && !stub.takes(Lsn(99)));
            stub.pass(Lsn(130), 4, None).await.unwrap();
            let (header, again) =
                Stub::read(disk.open(&segment::name(3), Open::Read).await.unwrap()).await.unwrap().unwrap();
            assert_eq!(header, SegmentHeader { version: segment::VERSION, size: 0, ..segment(3) });
            assert_eq!((again.end, again.offset, again.prev), (Lsn(130), 3 * SECTOR, stub.prev));
            for lsn in 131..256 {
                assert!(stub.takes(Lsn(lsn - 1)), "{lsn}");
                stub.pass(Lsn(lsn), 4, None).await.unwrap();
            }
            assert!(!stub.takes(Lsn(255)), "it has no room for another");
            rig.room(1);
            assert!(!prepare(&env).await.unwrap());
            assert!(options().segment_bytes > BYTES);
        });
    }
}
