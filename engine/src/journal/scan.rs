//! Scanning a journal: which of its frames count, and what the places between them mean. Pure; fed with segments in order.
//!
//! A frame says up to which LSN all was durable when it was built (`durable_upto`), so a bad frame below a later
//! frame's mark is confirmed data that the medium destroyed: lost, exactly. A bad frame above all marks was never
//! confirmed: cut, and indeterminate. Each frame also names the checksum of the one before it, so a whole frame that
//! follows another than the last one read marks a gap like a bad one.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::checkpoint::{Checkpoint, Stand};
use super::footer::Digest;
use super::frame::{self, At, Found, Header, SECTOR};
use super::image::Image;
use super::record::Record;
use super::report::{Breach, Gap, Outcome};
use super::segment::{self, SegmentHeader};
use super::{JournalError, Lsn, Recovery};

/// What was read of a segment: from an offset to its end.
pub(super) struct Piece {
    pub(super) from: u64,
    pub(super) bytes: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }

    fn at(&self, offset: u64) -> Bytes {
        let skip = usize::try_from(offset - self.from).expect("a segment fits in memory");
        self.bytes.slice(skip.min(self.bytes.len())..)
    }

    /// The bytes from one offset to another.
    pub(super) fn part(&self, from: u64, to: u64) -> Bytes {
        // The file may end within the padding of its last frame.
        let len = to.min(self.end()).saturating_sub(from);
        self.at(from).slice(..usize::try_from(len).expect("a segment fits in memory"))
    }
}

/// Small state of which not all frames were read yet. It counts once it is whole: a torn one says less than what it
/// was made from.
struct Gathering {
    frames_left: u32,
    records: Vec<Record>,
}

/// A scan on its way.
pub(super) struct Scan {
    pub(super) image: Image,
    pub(super) recovery: Recovery,
    pub(super) next: Lsn,
    pub(super) epoch: u64,
    /// Checksum of the last frame that counted.
    pub(super) prev: u32,
    /// Where the next segment begins, whose header is the last word on it: what lies above was cut before that.
    until: Option<Lsn>,
    /// Where the next frame goes in the segment scanned last.
    pub(super) offset: u64,
    /// Up to here the segment scanned last is known to be durable, by what later frames say.
    pub(super) known_durable: u64,
    /// Frames with records behind `known_durable`: their end, and where they end.
    unknown: VecDeque<(Lsn, u64)>,
    begun: bool,
    /// The next frame lies behind a gap: it may follow any other.
    gap: bool,
    /// The last frame passes over a segment that is gone: what follows may follow any other.
    over: bool,
    gathering: Option<Gathering>,
    /// The last frame says that the journal was closed in good order.
    pub(super) closed: bool,
    /// Below this LSN everything was synced, by the word of the frames.
    pub(super) synced: Lsn,
    /// From where on the small state is known; `None` until a whole one was read.
    state_from: Option<Lsn>,
    first: Lsn,
    /// Format version of the segment that is scanned.
    version: u16,
    /// Its footer, made again from its frames.
    pub(super) digest: Option<Digest>,
}

impl Scan {
    pub(super) fn new() -> Self {
        Scan {
            image: Image::new(0),
            recovery: Recovery::default(),
            next: Lsn(0),
            epoch: 0,
            prev: 0,
            until: None,
            offset: SECTOR,
            known_durable: 0,
            unknown: VecDeque::new(),
            begun: false,
            gap: false,
            over: false,
            gathering: None,
            closed: false,
            synced: Lsn(0),
            state_from: None,
            first: Lsn(0),
            version: segment::VERSION,
            digest: None,
        }
    }

    /// A scan of what follows a checkpoint.
    pub(super) fn behind(checkpoint: Checkpoint) -> Self {
        let Stand { crc, end, next, epoch, .. } = checkpoint.stand;
        Scan {
            image: checkpoint.image,
            digest: checkpoint.digest,
            next,
            epoch,
            prev: crc,
            offset: end,
            // A checkpoint is written once all that it stands on is durable.
            known_durable: end,
            synced: next,
            begun: true,
            state_from: Some(next),
            first: next,
            ..Scan::new()
        }
    }

    /// Before which LSN the small state is gone, if it is.
    pub(super) fn state_lost(&self) -> Option<Lsn> {
        (self.begun && self.state_from.is_none()).then_some(self.first)
    }

    fn lose(&mut self, range: Range<Lsn>) -> Outcome {
        assert!(range.start < range.end, "an empty loss {range:?}");
        self.next = range.end;
        self.recovery.lost.push(range.clone());
        Outcome::Lost(range)
    }

    fn note(&mut self, at: At, next: Lsn, breach: Breach, outcome: Outcome) {
        self.recovery.gaps.push(Gap { at, next, breach, outcome });
    }

    /// The segment `header` begins where the last one ended. Was that the end?
    fn begin(&mut self, header: &SegmentHeader) {
        let at = At { segment: header.number, offset: 0 };
        if !self.begun {
            (self.begun, self.next, self.first) = (true, header.base, header.base);
            // Before the first record there is no state.
            self.state_from = (header.base == Lsn(0)).then_some(header.base);
        } else if header.base > self.next {
            // What came before this segment was durable when it began.
            let next = self.next;
            let outcome = self.lose(next..header.base);
            self.note(at, next, Breach::Missing, outcome);
        } else if header.prev != self.prev && !self.over {
            self.note(at, self.next, Breach::Missing, Outcome::Unnumbered);
        }
        self.prev = header.prev;
        self.version = header.version;
        self.epoch = self.epoch.max(header.epoch);
        self.synced = self.synced.max(header.base);
        self.offset = SECTOR;
        self.known_durable = 0;
        self.unknown.clear();
        self.gap = false;
        self.gathering = None;
    }

    /// Scans the next segment, of which `piece` is all; the one behind it begins at `until`.
    pub(super) fn segment(
        &mut self,
        header: &SegmentHeader,
        piece: &Piece,
        until: Option<Lsn>,
    ) -> Result<(), JournalError> {
        self.begin(header);
        self.digest = Digest::begin(header);
        self.until = until;
        self.frames(header.number, piece, until.is_none())
    }

    /// Scans on in the segment of the checkpoint; `piece` begins behind the frame that it stands on.
    pub(super) fn rest(
        &mut self,
        header: &SegmentHeader,
        piece: &Piece,
        until: Option<Lsn>,
    ) -> Result<(), JournalError> {
        self.version = header.version;
        self.until = until;
        self.frames(header.number, piece, until.is_none())
    }

    /// Everything below `proven` was durable once. What the scan didn't reach of it is lost.
    pub(super) fn prove(&mut self, at: At, proven: Lsn) {
        if proven > self.next {
            let next = self.next;
            let outcome = self.lose(next..proven);
            self.note(at, next, Breach::Missing, outcome);
            self.recovery.cut = None;
        }
    }

    fn frames(&mut self, segment: u64, piece: &Piece, is_last: bool) -> Result<(), JournalError> {
        loop {
            let at = At { segment, offset: self.offset };
            let found = frame::parse(at, &piece.at(self.offset));
            let breach = match &found {
                Found::Frame(frame, body) if self.counts(frame) => {
                    if self.gap || frame.prev == self.prev {
                        if frame.base > self.next {
                            // An earlier opening knew of this loss, and went on behind it.
                            let next = self.next;
                            let outcome = self.lose(next..frame.base);
                            self.note(at, next, Breach::Missing, outcome);
                        }
                        self.take(at, frame, body.clone())?;
                        continue;
                    }
                    Breach::Unchained
                }
                // A frame of an epoch that was cut before: known, and no news.
                Found::Nothing | Found::Frame(..) => Breach::Missing,
                Found::Bad(_) => Breach::Damaged,
            };
            if let Some(resume) = self.look_ahead(at, piece, is_last, breach) {
                (self.offset, self.gap, self.gathering) = (resume, true, None);
                continue;
            }
            // A frame of which the first sector never arrived can't be told from what an earlier life left there, or from zeros. It
            // was not confirmed in `sync`, and nothing that follows it was; else the loss window tells of it. So that is no
            // cut: in a recycled segment every clean end would be one.
            if let Found::Bad(Some(hint)) = found
                && is_last
                && self.recovery.cut.is_none()
            {
                let end = (hint.base == self.next && hint.count < 1 << 24).then(|| hint.end());
                self.recovery.cut = Some((self.next, end));
                self.note(at, self.next, breach, Outcome::Cut);
            }
            return Ok(());
        }
    }

    fn counts(&self, frame: &Header) -> bool {
        frame.counts(self.epoch, self.next, self.until)
    }

    /// No frame counts at `at`. Is there anything behind it? Gives where to go on, if anywhere.
    fn look_ahead(&mut self, at: At, piece: &Piece, is_last: bool, breach: Breach) -> Option<u64> {
        let mut first: Option<(u64, Header)> = None;
        let (mut marked, mut end) = (Lsn(0), Lsn(0));
        let mut offset = if breach == Breach::Unchained { at.offset } else { at.offset + SECTOR };
        while offset + SECTOR <= piece.end() {
            let found = frame::parse(At { offset, ..at }, &piece.at(offset));
            if let Found::Frame(frame, _) = found
                && self.counts(&frame)
            {
                first = first.or(Some((offset, frame)));
                marked = marked.max(frame.durable_upto);
                end = end.max(frame.end());
                offset += frame.padded();
            } else {
                offset += SECTOR;
            }
        }
        let (offset, frame) = first?;
        if !is_last {
            marked = marked.max(frame.base);
        }
        let next = self.next;
        if marked >= frame.base && frame.base > next {
            let outcome = self.lose(next..frame.base);
            self.note(at, next, breach, outcome);
            return Some(offset);
        }
        if marked >= frame.base && frame.base == next && (marked > next || !is_last) {
            // Only a frame without numbered records is gone: a mark, or small state.
            self.note(at, next, breach, Outcome::Unnumbered);
            return Some(offset);
        }
        if marked > next {
            let outcome = self.lose(next..marked);
            self.note(at, next, breach, outcome);
        }
        self.recovery.cut = Some((self.next, (end > self.next).then_some(end)));
        self.note(at, self.next, breach, Outcome::Cut);
        None
    }

    fn take(&mut self, at: At, frame: &Header, mut body: Bytes) -> Result<(), JournalError> {
        let mut records = Vec::new();
        while !body.is_empty() {
            records.push(Record::decode(&mut body).map_err(|error| {
                // The checksum is right, so these are the writer's own bytes: another version's, or a bug.
                let source = io::Error::new(io::ErrorKind::InvalidData, error);
                JournalError::io(format!("read a record of segment {} at {}", at.segment, at.offset))(source)
            })?);
        }
        let count = records.len();
        assert!(frame.is_state || count == frame.count as usize, "a frame of {count} records says {}", frame.count);
        self.recovery.records += count as u64;
        if let Some(digest) = &mut self.digest {
            digest.frame(at.offset, frame, &records);
        }
        let closed = matches!(records[..], [Record::Closed]);
        if closed {
            self.gathering = None;
        } else if frame.is_state {
            self.state(at, frame.base, records);
        } else {
            self.gathering = None;
            for record in records {
                self.image.apply(at, record);
            }
        }
        (self.gap, self.closed, self.over) = (false, closed, frame.passes_over());
        self.synced = self.synced.max(frame.durable_upto);
        self.next = frame.end();
        self.epoch = frame.epoch;
        self.prev = frame.crc;
        self.offset = at.offset + frame.padded();
        if frame.count > 0 {
            self.unknown.push_back((frame.end(), self.offset));
        }
        while self.unknown.front().is_some_and(|(end, _)| *end <= frame.durable_upto) {
            self.known_durable = self.unknown.pop_front().expect("front() saw one").1;
        }
        Ok(())
    }

    /// A frame of small state: the first of several, or the next.
    fn state(&mut self, at: At, base: Lsn, records: Vec<Record>) {
        let mut gathering = match (records.first(), self.gathering.take()) {
            (Some(Record::Snapshot(snapshot)), _) => Gathering { frames_left: snapshot.frames, records: Vec::new() },
            (_, Some(gathering)) => gathering,
            (_, None) => {
                // In version 1 each frame added to what was known. Since version 2 it is the rest of one without a beginning.
                if self.version == 1 {
                    for record in records {
                        self.image.apply(at, record);
                    }
                    self.state_from = self.state_from.or(Some(base));
                }
                return;
            }
        };
        gathering.records.extend(records);
        gathering.frames_left = gathering.frames_left.saturating_sub(1);
        if gathering.frames_left > 0 {
            self.gathering = Some(gathering);
            return;
        }
        self.image.replace_state(at, gathering.records);
        self.state_from = self.state_from.or(Some(base));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::{Put, Snapshot};
    use bytes::BytesMut;

    const SEGMENT: u64 = 3;

    /// Writes a segment frame by frame, as the commit task does.
    struct Pen {
        bytes: Vec<u8>,
        prev: u32,
        epoch: u64,
        next: Lsn,
    }

    impl Pen {
        fn new() -> Pen {
            Pen { bytes: vec![0; 512], prev: 7, epoch: 1, next: Lsn(10) }
        }

        fn frame(&mut self, count: u32, is_state: bool, records: &[Record]) -> &mut Pen {
            let mut body = BytesMut::new();
            records.iter().for_each(|record| record.encode(&mut body));
            let at = At { segment: SEGMENT, offset: self.bytes.len() as u64 };
            let (epoch, base) = (self.epoch, self.next);
            let (prev, durable_upto) = (self.prev, base);
            let header =
                Header { crc: 0, len: 0, count, prev, is_state, epoch, base, durable_upto, time: 0, segment: 0 };
            let (bufs, header) = frame::build(at, &header, body.freeze());
            self.bytes.extend(bufs.concat());
            (self.prev, self.next) = (header.crc, header.end());
            self
        }

        fn put(&mut self, key: u8) -> &mut Pen {
            self.frame(1, false, &[put(key)])
        }

        fn state(&mut self, frames: u32, keys: &[u8]) -> &mut Pen {
            let snapshot = [Record::Snapshot(Snapshot { frames })];
            let keys = keys.iter().map(|key| put(*key));
            self.frame(0, true, &snapshot.into_iter().chain(keys).collect::<Vec<_>>())
        }

        fn mark(&mut self) -> &mut Pen {
            self.frame(0, false, &[])
        }

        /// Makes a sector what it is on a fresh disk.
        fn wipe(&mut self, frame: usize) -> &mut Pen {
            self.bytes[512 * (frame + 1)..512 * (frame + 2)].fill(0);
            self
        }
    }

    fn put(key: u8) -> Record {
        let key = Bytes::from(vec![key]);
        Record::Put(Put { node: "n".into(), key: key.clone(), value: Some(key) })
    }

    /// Scans what was written as the last segment; every frame takes one sector.
    #[track_caller]
    fn check(pen: &Pen, keys: &[u8], gaps: &[(usize, Breach, Outcome)], cut: Option<(u64, Option<u64>)>) -> Scan {
        let mut bytes = pen.bytes.clone();
        bytes.resize(bytes.len() + 4096, 0);
        let header = SegmentHeader {
            version: segment::VERSION,
            journal: 1,
            number: SEGMENT,
            epoch: 1,
            base: Lsn(10),
            prev: 7,
            size: 0,
            footer: 0,
            process: "edge".into(),
        };
        let mut scan = Scan::new();
        let piece = Piece { from: 0, bytes: bytes.into() };
        scan.segment(&header, &piece, None).expect("the frames hold records");
        let found: Vec<u8> = scan.image.state("n").keys().map(|key| key[0]).collect();
        assert_eq!(found, keys);
        let place = |gap: &Gap| (usize::try_from(gap.at.offset / 512).expect("small") - 1, gap.breach);
        let found: Vec<_> = scan.recovery.gaps.iter().map(|gap| (place(gap), gap.outcome.clone())).collect();
        let expected: Vec<_> = gaps.iter().map(|(at, breach, outcome)| ((*at, *breach), outcome.clone())).collect();
        assert_eq!(found, expected);
        assert_eq!(scan.recovery.cut.map(|(from, to)| (from.0, to.map(|to| to.0))), cut);
        scan
    }

    #[test]
    fn frames_that_follow_each_other_count() {
        let scan = check(Pen::new().state(1, &[1]).put(2).put(3).mark(), &[1, 2, 3], &[], None);
        assert_eq!((scan.next, scan.state_lost()), (Lsn(12), None));
    }

    #[test]
    fn a_gap_says_what_it_was() {
        let mut pen = Pen::new();
        pen.state(1, &[1]).put(2).mark().put(3).mark().wipe(2);
        check(&pen, &[1, 2, 3], &[(2, Breach::Missing, Outcome::Unnumbered)], None);
        pen.wipe(1);
        check(&pen, &[1, 3], &[(1, Breach::Missing, Outcome::Lost(Lsn(10)..Lsn(11)))], None);
        pen.bytes[512 * 4 + 70] ^= 1;
        check(&pen, &[1], &[(1, Breach::Missing, Outcome::Lost(Lsn(10)..Lsn(12)))], None);
    }

    /// Two openings of one epoch: the first wrote more state, and lost the beginning of it to a power cut.
    #[test]
    fn a_remnant_of_the_same_epoch_does_not_count() {
        let mut first = Pen::new();
        first.state(1, &[1]).state(2, &[2]).frame(0, true, &[put(3)]);
        let mut second = Pen::new();
        second.state(1, &[1]).state(1, &[4]);
        second.bytes.extend_from_slice(&first.bytes[512 * 3..]);
        check(&second, &[4], &[(2, Breach::Unchained, Outcome::Cut)], Some((10, None)));
    }

    #[test]
    fn only_what_names_this_segment_is_a_torn_tail() {
        let mut pen = Pen::new();
        pen.state(1, &[1]).put(2).put(3);
        let torn = pen.bytes.len() - 512;
        pen.bytes[torn + 70] ^= 1;
        check(&pen, &[1, 2], &[(2, Breach::Damaged, Outcome::Cut)], Some((11, Some(12))));
        pen.bytes[torn] ^= 1;
        check(&pen, &[1, 2], &[(2, Breach::Damaged, Outcome::Cut)], Some((11, Some(12))));
        pen.bytes[torn..].fill(b'x');
        check(&pen, &[1, 2], &[], None);
    }

    #[test]
    fn state_counts_when_it_is_whole_and_replaces_what_was() {
        let mut pen = Pen::new();
        pen.state(1, &[1]).put(2).state(2, &[3]);
        check(&pen, &[1, 2], &[], None);
        pen.frame(0, true, &[put(4)]);
        check(&pen, &[3, 4], &[], None);
    }

    #[test]
    fn destroyed_state_is_reported_until_another_makes_up_for_it() {
        let mut pen = Pen::new();
        pen.state(1, &[1]).put(2).put(3).wipe(0);
        let scan = check(&pen, &[2, 3], &[(0, Breach::Missing, Outcome::Unnumbered)], None);
        assert_eq!(scan.state_lost(), Some(Lsn(10)));
        pen.state(1, &[1, 2, 3]);
        let scan = check(&pen, &[1, 2, 3], &[(0, Breach::Missing, Outcome::Unnumbered)], None);
        assert_eq!(scan.state_lost(), None);
    }
}
