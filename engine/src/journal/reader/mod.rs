//! Reads a journal beside its writer: takes no lock, writes nothing, holds a few pieces of one segment at a time.
//!
//! It gives every frame that counts, in order, and what it finds wrong, at its place. The rules are those of an opening
//! (`docs/journal.md`), but nothing is repaired and nobody is in the way: where the writer is still at work, or gives a
//! segment back, the reader looks again before it calls anything damaged, and ends where the journal ends.

mod finding;
mod footers;
mod inventory;
pub(super) mod salvage;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::footer::{Footer, Wanted};
use super::frame::{self, At, Found, HEADER, Header, SECTOR};
use super::record::{Record, RecordError};
use super::segment::{self, Sector};
use super::{Lsn, checkpoint};
use crate::env::{Disk, Open};
pub use finding::Finding;
use footers::Check;
use inventory::Start;
use window::Window;

/// Largest frame that is looked at. A journal's frames are at most a quarter of its segments, too, where that is known.
const FRAME_BYTES_MAX: u64 = 64 << 20;
/// What a repair calls the files into which it moves what is damaged.
pub(super) const QUARANTINE: &str = "quarantine-";
/// The end of such a file's name while it is being written.
pub(super) const PARTIAL: &str = ".partial";

/// Why a journal can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such directory.
    #[error("could not find a data directory there")]
    Missing,
    /// A directory without a journal.
    #[error("could not find a journal there: no file is a segment of one")]
    NoJournal,
    /// Written by a later version.
    #[error(
        "could not read the journal: `{name}` has format version {found}, this binary reads up to {supported}; use the release that wrote it"
    )]
    Version {
        /// The file.
        name: String,
        /// Its version.
        found: u16,
        /// What this binary reads.
        supported: u16,
    },
    /// The disk failed.
    #[error("could not {what}")]
    Io {
        /// What was tried.
        what: String,
        /// The disk's answer.
        source: io::Error,
    },
}

impl ReadError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> ReadError {
        move |source| ReadError::Io { what: what.into(), source }
    }
}

/// What comes next in a journal.
#[derive(Debug)]
pub enum Step {
    /// A frame that counts.
    Frame(Frame),
    /// What a segment holds of which not all is given: see [`Reader::only`].
    Footer(Box<Footer>),
    /// Something that is wrong, or worth a word.
    Finding(Finding),
}

/// A frame with its records, which are read when somebody asks.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where it stands.
    pub at: At,
    /// Its header.
    pub header: Header,
    /// Its records, encoded.
    pub body: Bytes,
}

impl Frame {
    /// Its records with their LSNs; small state has none. Ends behind the first that can't be read.
    pub fn records(&self) -> impl Iterator<Item = Result<(Option<Lsn>, Record), RecordError>> {
        let (mut body, mut next, is_state) = (self.body.clone(), self.header.base, self.header.is_state);
        std::iter::from_fn(move || {
            if body.is_empty() {
                return None;
            }
            let lsn = (!is_state).then_some(next);
            next = Lsn(next.0 + 1);
            let record = Record::decode(&mut body);
            if record.is_err() {
                body.clear();
            }
            Some(record.map(|record| (lsn, record)))
        })
    }
}

/// A segment that is being read.
struct Current {
    number: u64,
    start: Start,
    window: Window,
    offset: u64,
}

/// Reads one journal from its oldest frame to its end.
pub struct Reader {
    disk: Arc<dyn Disk>,
    process: String,
    journal: Option<u128>,
    waiting: BTreeMap<u64, Start>,
    current: Option<Current>,
    /// The segment read last, or being read.
    number: u64,
    /// The first of the segments that were begun since the last look: numbers between were given back meanwhile.
    begun: Option<u64>,
    next: Lsn,
    epoch: u64,
    findings: VecDeque<Finding>,
    /// Where a cut was told: asked again there, a reader has nothing new to say.
    cut: Option<At>,
    /// Segments and offsets of what a repair has moved away.
    quarantined: BTreeSet<(u64, u64)>,
    segments: u64,
    bytes: u64,
    wanted: Option<Wanted>,
    verifies: bool,
    /// What the checkpoints knew to be durable before anything was read; `None` once it was held against the end.
    proven: Option<Lsn>,
    check: Option<Check>,
    /// Of the segment that was begun last, to be told.
    footer: Option<Box<Footer>>,
}

impl Reader {
    /// Looks at what is in the data directory of `disk`.
    ///
    /// # Errors
    /// No directory, no journal in it, a later format version, or a failing disk.
    pub async fn open(disk: Arc<dyn Disk>) -> Result<Reader, ReadError> {
        let mut reader = Reader {
            disk,
            process: String::new(),
            journal: None,
            waiting: BTreeMap::new(),
            current: None,
            number: 0,
            begun: None,
            next: Lsn(0),
            epoch: 0,
            findings: VecDeque::new(),
            cut: None,
            quarantined: BTreeSet::new(),
            segments: 0,
            bytes: 0,
            wanted: None,
            verifies: false,
            proven: None,
            check: None,
            footer: None,
        };
        // Before the segments: a writer may be at work.
        let proofs = checkpoint::proofs(&*reader.disk).await;
        reader.waiting = reader.inventory(true).await?;
        let ours = proofs.iter().filter(|proof| reader.journal.is_none_or(|journal| journal == proof.journal));
        reader.proven = ours.map(|proof| proof.stand.next).max();
        let Some(first) = reader.waiting.first_key_value() else { return Err(ReadError::NoJournal) };
        (reader.number, reader.next) = (*first.0, first.1.base);
        Ok(reader)
    }

    /// The process whose journal it is; empty when no header is left to tell.
    #[must_use]
    pub fn process(&self) -> &str {
        &self.process
    }

    /// Segments in use that were read, the one being read included.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.segments
    }

    /// Bytes of the frames that were read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The LSN that comes next.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// The next frame or finding; `None` at the journal's end, as it is now. Asked again later, it goes on from there.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn next(&mut self) -> Result<Option<Step>, ReadError> {
        loop {
            if let Some(finding) = self.findings.pop_front() {
                return Ok(Some(Step::Finding(finding)));
            }
            if let Some(footer) = self.footer.take() {
                return Ok(Some(Step::Footer(footer)));
            }
            let Some(mut current) = self.current.take() else {
                if self.begin().await? {
                    continue;
                }
                // All that it knew of may have been given back meanwhile.
                self.extend().await?;
                if self.waiting.is_empty() {
                    self.check_end(At { segment: self.number, offset: SECTOR });
                    return Ok(self.findings.pop_front().map(Step::Finding));
                }
                continue;
            };
            let step = self.advance(&mut current).await?;
            match step {
                Advance::Frame(frame) => {
                    self.current = Some(current);
                    return Ok(Some(Step::Frame(frame)));
                }
                Advance::Again => self.current = Some(current),
                Advance::End => {
                    self.check_ends(&mut current).await?;
                    if self.waiting.is_empty() {
                        // The journal may go on in a segment that was begun meanwhile.
                        self.extend().await?;
                    }
                }
                Advance::Rest => {
                    self.check_end(At { segment: current.number, offset: current.offset });
                    self.current = Some(current);
                    return Ok(self.findings.pop_front().map(Step::Finding));
                }
            }
        }
    }

    /// Begins the next segment; false when there is none.
    async fn begin(&mut self) -> Result<bool, ReadError> {
        let Some((number, start)) = self.waiting.pop_first() else { return Ok(false) };
        let what = format!("read {}", segment::name(number));
        let gone = match self.disk.open(&segment::name(number), Open::Read).await {
            Ok(file) => {
                let window = Window::open(file).await.map_err(ReadError::io(&what))?;
                let mut current = Current { number, start, window, offset: SECTOR };
                if self.is_same(&mut current).await? {
                    self.enter(&current);
                    self.check_begins(&current);
                    let passed = self.pass_over(&mut current).await?;
                    let whole = passed.as_ref().is_some_and(|(_, whole)| *whole);
                    self.footer = passed.map(|(footer, _)| Box::new(footer));
                    self.current = (!whole).then_some(current);
                    return Ok(true);
                }
                current.start
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => start,
            Err(error) => return Err(ReadError::io(what)(error)),
        };
        self.recycled(number, gone.base);
        Ok(true)
    }

    fn enter(&mut self, current: &Current) {
        let (number, base) = (current.number, current.start.base);
        if base > self.next && (!current.start.beheaded || number > self.number + 1) {
            // What came before this segment was durable when it began.
            if self.begun == Some(number) {
                let given_back = self.number + 1..number;
                self.findings.extend(given_back.map(|segment| Finding::Recycled { segment }));
            } else if number > self.number + 1 {
                let segments = (self.number + 1, number - 1);
                self.findings.push_back(Finding::Missing { segments, lost: self.next..base });
            }
            self.next = base;
        }
        if current.start.journal.is_none() {
            let quarantined = self.quarantined.contains(&(number, 0));
            let last = self.waiting.is_empty() && !current.start.beheaded;
            self.findings.push_back(Finding::Headless { segment: number, last, quarantined });
        }
        self.number = number;
        self.epoch = self.epoch.max(current.start.epoch);
        self.segments += 1;
    }

    /// A segment that its writer gave back held nothing that anybody needs.
    fn recycled(&mut self, number: u64, base: Lsn) {
        self.findings.push_back(Finding::Recycled { segment: number });
        self.number = number;
        // What comes next is told by the segment behind it.
        self.next = self.waiting.first_key_value().map_or(self.next.max(base), |(_, next)| next.base);
    }

    async fn advance(&mut self, current: &mut Current) -> Result<Advance, ReadError> {
        let found = current.look().await?;
        if let Some(frame) = self.take(current, found) {
            return Ok(Advance::Frame(frame));
        }
        // Perhaps the writer has just been here.
        current.window.forget();
        if !self.is_same(current).await? {
            self.recycled(current.number, self.next);
            return Ok(Advance::End);
        }
        let found = current.look().await?;
        let hint = match &found {
            Found::Bad(hint) => *hint,
            Found::Frame(..) | Found::Nothing => None,
        };
        if let Some(frame) = self.take(current, found) {
            return Ok(Advance::Frame(frame));
        }
        if self.waiting.is_empty() {
            self.extend().await?;
            if !self.waiting.is_empty() {
                // The writer has gone on to another segment: first it may have filled this one.
                current.window.forget();
                return Ok(Advance::Again);
            }
        }
        self.gap(current, hint).await
    }

    fn take(&mut self, current: &mut Current, found: Found) -> Option<Frame> {
        let Found::Frame(header, body) = found else { return None };
        if !self.counts(&header) {
            return None;
        }
        let at = At { segment: current.number, offset: current.offset };
        if header.base > self.next {
            let quarantined = false;
            self.damaged(Finding::Damaged { at, bytes: 0, lost: self.next..header.base, quarantined });
        }
        self.check_frame(at, &header, &body);
        current.offset += header.padded();
        self.bytes += header.padded();
        (self.next, self.epoch) = (header.end(), header.epoch);
        Some(Frame { at, header, body })
    }

    fn counts(&self, frame: &Header) -> bool {
        let until = self.waiting.first_key_value().map(|(_, next)| next.base);
        frame.counts(self.epoch, self.next, until)
    }

    /// Nothing that counts stands here. Is there anything behind it?
    async fn gap(&mut self, current: &mut Current, hint: Option<Header>) -> Result<Advance, ReadError> {
        let at = At { segment: current.number, offset: current.offset };
        let is_last = self.waiting.is_empty();
        let quarantined = self.quarantined.contains(&(at.segment, at.offset));
        let Behind { first, marked, end } = self.behind(current, is_last).await?;
        current.window.forget();
        if !self.is_same(current).await? {
            self.recycled(current.number, self.next);
            return Ok(Advance::End);
        }
        if let Some((offset, frame)) = first {
            let marked = if is_last { marked } else { marked.max(frame.base) };
            let confirmed = marked >= frame.base && (frame.base > self.next || marked > self.next || !is_last);
            if confirmed {
                let lost = self.next..frame.base;
                self.damaged(Finding::Damaged { at, bytes: offset - at.offset, lost, quarantined });
                self.next = frame.base;
                current.offset = offset;
                return Ok(Advance::Again);
            }
            if marked > self.next {
                let lost = self.next..marked;
                self.damaged(Finding::Damaged { at, bytes: offset - at.offset, lost, quarantined });
                self.next = marked;
            }
            self.cut(at, (end > self.next).then_some(end));
            return Ok(Advance::Rest);
        }
        if !is_last {
            // The segment behind it says where it begins: what is missing up to there was durable.
            let behind = self.waiting.first_key_value().map(|(number, start)| (*number, start.base, start.beheaded));
            if let Some((number, base, false)) = behind
                && number == current.number + 1
                && base > self.next
            {
                let bytes = current.window.size - at.offset.min(current.window.size);
                self.damaged(Finding::Damaged { at, bytes, lost: self.next..base, quarantined });
                self.next = base;
            }
            return Ok(Advance::End);
        }
        if let Some(hint) = hint {
            let to = (hint.base == self.next && hint.count < 1 << 24).then(|| hint.end());
            self.cut(at, to);
        }
        Ok(Advance::Rest)
    }

    fn damaged(&mut self, finding: Finding) {
        self.check_breaks();
        self.findings.push_back(finding);
    }

    /// Says where the end was never confirmed, once.
    fn cut(&mut self, at: At, to: Option<Lsn>) {
        if self.cut != Some(at) {
            self.cut = Some(at);
            self.findings.push_back(Finding::Cut { at, from: self.next, to });
        }
    }

    /// What counts behind `current.offset`, as far as it must be known.
    async fn behind(&self, current: &mut Current, is_last: bool) -> Result<Behind, ReadError> {
        let (start, mut behind) = (current.offset, Behind { first: None, marked: Lsn(0), end: Lsn(0) });
        current.offset += SECTOR;
        while current.offset + SECTOR <= current.window.size {
            let found = current.look().await?;
            if let Found::Frame(frame, _) = found
                && self.counts(&frame)
            {
                behind.first = behind.first.or(Some((current.offset, frame)));
                behind.marked = behind.marked.max(frame.durable_upto);
                behind.end = behind.end.max(frame.end());
                current.offset += frame.padded();
                let known = behind.first.is_some_and(|(_, first)| !is_last || behind.marked > first.base);
                if known {
                    break;
                }
            } else {
                current.offset += SECTOR;
            }
        }
        current.offset = start;
        Ok(behind)
    }

    /// Whether the file still is the segment that it was.
    async fn is_same(&self, current: &mut Current) -> Result<bool, ReadError> {
        let what = format!("read {}", segment::name(current.number));
        let start = current.window.aside(0, 2 * SECTOR).await.map_err(ReadError::io(what))?;
        Ok(match segment::decode(current.number, &start) {
            Sector::Header(header) => header.base == current.start.base && header.epoch == current.start.epoch,
            Sector::Version(_) => false,
            Sector::Unused => current.start.journal.is_none(),
        })
    }

    /// Looks for segments that were begun since.
    async fn extend(&mut self) -> Result<(), ReadError> {
        let found = std::mem::take(&mut self.findings);
        let newest = self.waiting.last_key_value().map_or(self.number, |(number, _)| *number);
        let now = self.inventory(false).await?;
        // What is in the directory was told at the start.
        self.findings = found;
        self.waiting.extend(now.into_iter().filter(|(number, _)| *number > newest));
        self.begun = self.waiting.range(newest + 1..).next().map(|(number, _)| *number).or(self.begun);
        Ok(())
    }
}

/// The frame that stands at a place; `None` where there is none any more.
///
/// # Errors
/// When the disk fails.
pub async fn frame_at(disk: &dyn Disk, at: At) -> Result<Option<Frame>, ReadError> {
    let name = segment::name(at.segment);
    let file = match disk.open(&name, Open::Read).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::io(format!("open {name}"))(error)),
    };
    let window = Window::open(file).await.map_err(ReadError::io(format!("read {name}")))?;
    let mut current = Current { number: at.segment, start: Start::headless(), window, offset: at.offset };
    Ok(match current.look().await? {
        Found::Frame(header, body) => Some(Frame { at, header, body }),
        Found::Nothing | Found::Bad(_) => None,
    })
}

/// How far a look into a segment came.
enum Advance {
    Frame(Frame),
    /// There is more in this segment.
    Again,
    /// This segment is done.
    End,
    /// The journal ends here, as it is now.
    Rest,
}

struct Behind {
    first: Option<(u64, Header)>,
    marked: Lsn,
    end: Lsn,
}

impl Current {
    /// What stands at `offset`.
    async fn look(&mut self) -> Result<Found, ReadError> {
        let what = |current: &Current| format!("read {} at {}", segment::name(current.number), current.offset);
        let sector = self.window.read(self.offset, SECTOR).await.map_err(ReadError::io(what(self)))?;
        if sector.len() < HEADER {
            return Ok(Found::Nothing);
        }
        let claimed = frame::claimed(&sector).unwrap_or_default();
        // The file may be shorter than the segment was.
        let size = self.start.header.as_ref().map_or(0, |header| header.size);
        let most = if size > 0 { size / 4 } else { self.window.size - self.offset };
        let limit = FRAME_BYTES_MAX.min(most);
        let bytes = if claimed > SECTOR && claimed <= limit {
            self.window.read(self.offset, claimed).await.map_err(ReadError::io(what(self)))?
        } else {
            sector
        };
        Ok(frame::parse(At { segment: self.number, offset: self.offset }, &bytes))
    }
}
