//! Opening a journal: what is there, what is gone, and which of the two nobody can tell.
//!
//! A frame says up to which LSN all was durable when it was built (`durable_upto`), so a bad frame below a later
//! frame's mark is confirmed data that the medium destroyed: reported as lost, exactly. A bad frame above all marks was
//! never confirmed: cut, and reported as indeterminate. Before anything new is written behind a cut, a frame of a new
//! epoch takes its place durably, so that a stale frame behind it, of an older epoch, never counts again.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::commit::{Active, state_bodies, state_frames_bytes};
use super::frame::{self, At, Found, Header, SECTOR};
use super::image::Image;
use super::read::Files;
use super::reader::QUARANTINE;
use super::record::{Opened, Quarantined, Record};
use super::segment::{self, Sector, SegmentHeader};
use super::spare::{self, Made};
use super::{JournalError, JournalOptions, Lsn, Recovery};
use crate::env::{Env, Open};
use crate::observe::{Event, What};
use crate::packet::Seq;

pub(super) struct Opening {
    pub(super) image: Image,
    pub(super) files: Files,
    pub(super) active: Active,
    pub(super) segments: BTreeSet<u64>,
    pub(super) spare: Option<u64>,
    pub(super) recovery: Recovery,
    pub(super) lock: Box<dyn Send + Sync>,
}

const LOCK: &str = "LOCK";

pub(super) async fn open(env: &Env, options: &JournalOptions) -> Result<Opening, JournalError> {
    let lock = env.disk.lock(LOCK).await.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => JournalError::Locked,
        _ => JournalError::io("lock the data directory")(error),
    })?;
    let inventory = inventory(env, options).await?;
    let mut scan = Scan::new();
    let mut files = Files::default();
    let mut tail = Bytes::new();
    let last = inventory.used.len().saturating_sub(1);
    for (index, header) in inventory.used.iter().enumerate() {
        let file = spare::open(env, header.number).await?;
        let size = file.len().await.map_err(JournalError::io("read a segment's length"))?;
        let size = usize::try_from(size).expect("a segment fits in memory");
        let bytes =
            file.read_at(0, size).await.map_err(JournalError::io(format!("read {}", segment::name(header.number))))?;
        scan.segment(header, &bytes, index == last)?;
        tail = bytes.slice((scan.known_durable as usize)..(scan.offset as usize));
        files.open.insert(header.number, file);
    }
    let mut recovery = scan.recovery;
    recovery.next = scan.next;
    recovery.epoch = scan.epoch + 1;
    recovery.created = inventory.used.is_empty();
    let mut spare = inventory.spare;
    let mut segments: BTreeSet<u64> = inventory.used.iter().map(|header| header.number).collect();
    let journal = inventory.used.first().map_or_else(|| draw_id(env), |header| header.journal);
    let mut active = match inventory.used.last() {
        Some(header) => Active {
            file: files.open[&header.number].clone(),
            number: header.number,
            size: files.open[&header.number].len().await.map_err(JournalError::io("read a segment's length"))?,
            offset: scan.offset,
            prev: scan.prev,
            epoch: recovery.epoch,
            journal,
        },
        None => create_first(env, options, journal, recovery.epoch, &mut spare).await?,
    };
    segments.insert(active.number);
    if !tail.is_empty() {
        // What we just read may never have reached the disk: it can come from the page cache that a killed process, or a
        // failed sync, left behind. From here on we build on it, so it is written again.
        let write = active.file.write_sync(scan.known_durable, vec![tail]);
        write.await.map_err(JournalError::io("make the recovered tail durable"))?;
        env.disk.sync_dir("").await.map_err(JournalError::io("make the segments' names durable"))?;
    }
    let mut records =
        vec![Record::Opened(Opened { epoch: recovery.epoch, version: env!("CARGO_PKG_VERSION").to_owned() })];
    records.extend(
        recovery.lost.iter().map(|range| Record::Quarantined(Quarantined { from: range.start, to: range.end })),
    );
    let begun = begin_epoch(env, options, &mut active, &mut spare, &scan.image, &records, recovery.next).await?;
    if begun {
        segments.insert(active.number);
    }
    files.open.insert(active.number, active.file.clone());
    let mut image = scan.image;
    for record in records {
        image.apply(At { segment: active.number, offset: active.offset }, record);
    }
    image.keep_tail(options.tail_bytes_max);
    if spare.is_none() && spare::create(env, active.number + 1, options.segment_bytes).await? == Made::Spare {
        spare = Some(active.number + 1);
    }
    let place = options.process.as_str().into();
    env.probe.on(&[Event { what: What::Recovered, place, identity: None, seq: Seq(recovery.next.0), attempt: 0 }]);
    for line in recovery.lines() {
        tracing::warn!(process = options.process, "{line}");
    }
    Ok(Opening { image, files, active, segments, spare, recovery, lock })
}

fn draw_id(env: &Env) -> u128 {
    let word = |index| u128::from(env.seed.draw("journal.id", &[env.clock.unix_ns().cast_unsigned(), index]));
    word(0) << 64 | word(1)
}

struct Inventory {
    /// Segments in use, ascending.
    used: Vec<SegmentHeader>,
    spare: Option<u64>,
}

/// What is in the directory. Refuses what doesn't belong there before anything is written.
async fn inventory(env: &Env, options: &JournalOptions) -> Result<Inventory, JournalError> {
    let mut used: Vec<SegmentHeader> = Vec::new();
    let mut unused = Vec::new();
    for name in env.disk.list("").await.map_err(JournalError::io("list the data directory"))? {
        // A file system's own directory, on a mount point.
        if name == LOCK || name == "lost+found" || name.starts_with(QUARANTINE) {
            continue;
        }
        let Some(number) = segment::number(&name) else {
            return Err(JournalError::Foreign { name, why: "no journal writes a file of that name".into() });
        };
        let file = env.disk.open(&name, Open::Read).await.map_err(JournalError::io(format!("open {name}")))?;
        let start = file.read_at(0, 2 * SECTOR as usize).await.map_err(JournalError::io(format!("read {name}")))?;
        match segment::decode(number, &start) {
            Sector::Header(header) => {
                if let Some(first) = used.first()
                    && first.journal != header.journal
                {
                    return Err(JournalError::Foreign { name, why: "it is a segment of another journal".into() });
                }
                if header.process != options.process {
                    let why = format!("it is a journal of process `{}`, this is `{}`", header.process, options.process);
                    return Err(JournalError::Foreign { name, why });
                }
                used.push(header);
            }
            Sector::Version(found) => return Err(JournalError::Version { name, found, supported: segment::VERSION }),
            Sector::Unused => unused.push((number, headless(number, &start))),
        }
    }
    // A segment whose header rotted still counts: its first frame says what the header said.
    let journal = used.first().map(|header| header.journal);
    let mut spares = Vec::new();
    for (number, first) in unused {
        match first {
            Some(frame) => used.push(SegmentHeader {
                journal: journal.unwrap_or_default(),
                number,
                epoch: frame.epoch,
                base: frame.base,
                prev: frame.prev,
                process: options.process.clone(),
            }),
            None => spares.push(number),
        }
    }
    used.sort_by_key(|header| header.number);
    let newest = used.last().map_or(0, |header| header.number);
    let mut spare = None;
    for number in spares {
        // A spare always carries the next number; anything else is what a crash left of a removal.
        if number == newest + 1 && spare::create(env, number, options.segment_bytes).await? == Made::Spare {
            spare = Some(number);
        } else if number != newest + 1 {
            spare::remove(env, &segment::name(number)).await?;
        }
    }
    Ok(Inventory { used, spare })
}

fn headless(number: u64, start: &Bytes) -> Option<Header> {
    if start.len() < 2 * SECTOR as usize {
        return None;
    }
    match frame::parse(At { segment: number, offset: SECTOR }, &start.slice(SECTOR as usize..)) {
        Found::Frame(header, _) => Some(header),
        Found::Nothing | Found::Bad(_) => None,
    }
}

async fn create_first(
    env: &Env,
    options: &JournalOptions,
    journal: u128,
    epoch: u64,
    spare: &mut Option<u64>,
) -> Result<Active, JournalError> {
    let number = spare.take().unwrap_or(1);
    if spare::create(env, number, options.segment_bytes).await? == Made::NoRoom {
        return Err(JournalError::NoRoom { bytes: options.segment_bytes });
    }
    let file = spare::open(env, number).await?;
    let size = file.len().await.map_err(JournalError::io("read a segment's length"))?;
    let first = SegmentHeader { journal, number, epoch, base: Lsn(0), prev: 0, process: options.process.clone() };
    file.write_sync(0, vec![first.encode()]).await.map_err(JournalError::io("begin the first segment"))?;
    Ok(Active { file, number, size, offset: SECTOR, prev: 0, epoch, journal })
}

/// Writes the new epoch durably, in the active segment or, when that is at its end, in the spare. Waits for room if it
/// must, and says so. True when a segment was begun.
async fn begin_epoch(
    env: &Env,
    options: &JournalOptions,
    active: &mut Active,
    spare: &mut Option<u64>,
    image: &Image,
    records: &[Record],
    next: Lsn,
) -> Result<bool, JournalError> {
    let time = env.clock.unix_ns();
    // The whole small state, each time: a crash may have left this segment without the state that should begin it, and
    // the segments before it are given back on the strength of that state.
    let mut state = records.to_vec();
    state.extend(image.snapshot());
    let bodies = state_bodies(&state, options.frame_bytes_max);
    let needed = state_frames_bytes(&bodies, options)?;
    let rotate = needed > active.left();
    let mut bufs = Vec::new();
    if rotate {
        let number = loop {
            if let Some(number) = spare.take() {
                break number;
            }
            let number = active.number + 1;
            if spare::create(env, number, options.segment_bytes).await? == Made::Spare {
                break number;
            }
            tracing::warn!(
                process = options.process,
                bytes = options.segment_bytes,
                "the disk is full: waiting for room to open the journal"
            );
            let (reason, place) = ("journal.full".into(), options.process.as_str().into());
            env.probe.on(&[Event { what: What::Refused { reason }, place, identity: None, seq: Seq(0), attempt: 0 }]);
            env.clock.sleep(options.full_retry_ns).await;
        };
        let (following, first) = active.follow(env, &options.process, number, next).await?;
        bufs.push(first);
        *active = following;
    }
    let start = if rotate { 0 } else { active.offset };
    bufs.extend(active.state_frames(next, time, bodies));
    active.file.write_sync(start, bufs).await.map_err(JournalError::io("begin a new epoch"))?;
    Ok(rotate)
}

struct Scan {
    image: Image,
    recovery: Recovery,
    next: Lsn,
    epoch: u64,
    prev: u32,
    /// Where the next frame goes in the segment scanned last.
    offset: u64,
    /// Up to here the segment scanned last is known to be durable, by what later frames say.
    known_durable: u64,
    /// Frames with records behind `known_durable`: their end, and where they end.
    unknown: VecDeque<(Lsn, u64)>,
    begun: bool,
}

impl Scan {
    fn new() -> Self {
        Scan {
            image: Image::new(0),
            recovery: Recovery::default(),
            next: Lsn(0),
            epoch: 0,
            prev: 0,
            offset: SECTOR,
            known_durable: 0,
            unknown: VecDeque::new(),
            begun: false,
        }
    }

    fn lose(&mut self, range: Range<Lsn>) {
        assert!(range.start < range.end, "an empty loss {range:?}");
        self.next = range.end;
        self.recovery.lost.push(range);
    }

    fn segment(&mut self, header: &SegmentHeader, bytes: &Bytes, is_last: bool) -> Result<(), JournalError> {
        if !self.begun {
            (self.begun, self.next) = (true, header.base);
        }
        if header.base > self.next {
            // What came before this segment was durable when it began.
            self.lose(self.next..header.base);
        }
        self.epoch = self.epoch.max(header.epoch);
        self.offset = SECTOR;
        self.known_durable = 0;
        self.unknown.clear();
        loop {
            let at = At { segment: header.number, offset: self.offset };
            let rest = bytes.slice((self.offset as usize).min(bytes.len())..);
            let found = frame::parse(at, &rest);
            if let Found::Frame(frame, body) = &found
                && frame.epoch >= self.epoch
                && frame.base >= self.next
            {
                if frame.base > self.next {
                    self.lose(self.next..frame.base);
                }
                self.take(at, frame, body.clone())?;
                continue;
            }
            match self.look_ahead(at, bytes, is_last) {
                Some(resume) => self.offset = resume,
                None => {
                    if is_last && self.recovery.cut.is_none() {
                        self.recovery.cut = match found {
                            Found::Nothing => None,
                            // A frame of an epoch that was cut before: known, and no news.
                            Found::Frame(..) => None,
                            Found::Bad(hint) => Some((
                                self.next,
                                hint.filter(|h| h.base == self.next && h.count < 1 << 24).map(|h| h.end()),
                            )),
                        };
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Nothing valid stands at `at`. Is there anything behind it? Gives where to go on, if anywhere.
    fn look_ahead(&mut self, at: At, bytes: &Bytes, is_last: bool) -> Option<u64> {
        let mut first: Option<(u64, Header)> = None;
        let (mut marked, mut end) = (Lsn(0), Lsn(0));
        let mut offset = at.offset + SECTOR;
        while offset + SECTOR <= bytes.len() as u64 {
            let found = frame::parse(At { offset, ..at }, &bytes.slice(offset as usize..));
            if let Found::Frame(frame, _) = found
                && frame.epoch >= self.epoch
                && frame.base >= self.next
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
        if marked >= frame.base && frame.base > self.next {
            self.lose(self.next..frame.base);
            return Some(offset);
        }
        if marked >= frame.base && frame.base == self.next && (marked > self.next || !is_last) {
            // Only a frame without numbered records is gone: a mark, or small state that later frames supersede.
            return Some(offset);
        }
        if marked > self.next {
            self.lose(self.next..marked);
        }
        self.recovery.cut = Some((self.next, (end > self.next).then_some(end)));
        None
    }

    fn take(&mut self, at: At, frame: &Header, mut body: Bytes) -> Result<(), JournalError> {
        let mut count = 0;
        while !body.is_empty() {
            let record = Record::decode(&mut body).map_err(|error| {
                // The checksum is right, so these are the writer's own bytes: another version's, or a bug.
                let source = io::Error::new(io::ErrorKind::InvalidData, error);
                JournalError::io(format!("read a record of segment {} at {}", at.segment, at.offset))(source)
            })?;
            self.image.apply(at, record);
            count += 1;
        }
        assert!(frame.is_state || count == frame.count, "a frame of {} records says {}", count, frame.count);
        self.recovery.records += u64::from(count);
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
}
