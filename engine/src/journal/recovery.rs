//! Opening a journal: what is there, what is gone, and which of the two nobody can tell.
//!
//! What the frames say is found out by [`Scan`]; here they are read, and the journal is made ready to go on. Before anything
//! new is written behind a cut, a frame of a new epoch takes its place durably, so that a stale frame behind it, of an
//! older epoch, never counts again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::active::{Active, state_bodies, state_frames_bytes};
use super::checkpoint::{self, Checkpoint, Proof, Stand};
use super::frame::{self, At, Found, Header, SECTOR};
use super::image::Image;
use super::read::Files;
use super::reader::QUARANTINE;
use super::record::{Opened, Quarantined, Record};
use super::scan::{Piece, Scan};
use super::segment::{self, Sector, SegmentHeader};
use super::spare::{self, Made};
use super::stub::{self, Stub};
use super::{JournalError, JournalOptions, Lsn, Recovery, SPARES, Wear};
use crate::env::{Env, File, Open};
use crate::observe::{Event, What};
use crate::packet::Seq;
use crate::{reachable, sometimes};

pub(super) struct Opening {
    pub(super) image: Image,
    pub(super) files: Files,
    pub(super) active: Active,
    pub(super) segments: BTreeMap<u64, Lsn>,
    /// Those of them that are but stubs.
    pub(super) stubs: BTreeMap<u64, Stub>,
    pub(super) next_stub: bool,
    pub(super) spares: u64,
    /// There was no room for those that are missing.
    pub(super) full: bool,
    pub(super) checkpoints: checkpoint::Writer,
    pub(super) wear: Wear,
    pub(super) recovery: Recovery,
    pub(super) lock: Box<dyn Send + Sync>,
}

const LOCK: &str = "LOCK";

pub(super) async fn open(env: &Env, options: &JournalOptions) -> Result<Opening, JournalError> {
    let lock = env.disk.lock(LOCK).await.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => JournalError::Locked,
        _ => JournalError::io("lock the data directory")(error),
    })?;
    let mut inventory = read_inventory(env, options).await?;
    let used = inventory.used.iter().map(|header| header.number);
    let beside = if inventory.next_stub { stub::beside(&*env.disk, used).await } else { Ok(None) };
    if let Some(stub) = beside.map_err(JournalError::unread(&segment::name(stub::NEXT)))? {
        stub::put(env, stub.number).await?;
        inventory = read_inventory(env, options).await?;
    }
    let files = open_all(env, &inventory.used).await?;
    let checkpoints = checkpoint::read(env).await;
    let proofs = checkpoint::proofs(&*env.disk).await;
    if inventory.used.is_empty() && !proofs.is_empty() {
        let why = "it is a checkpoint, and its segments are gone".to_owned();
        return Err(JournalError::Foreign { name: checkpoint::SLOTS[0].to_owned(), why });
    }
    if let Some(number) = inventory.unused.iter().find(|number| inventory.used.is_empty() && **number != 1) {
        // Only the first segment of a new journal can be without a frame and without others.
        let why = "it is a segment that can't be read, and no other is in use".to_owned();
        return Err(JournalError::Foreign { name: segment::name(*number), why });
    }
    let newest = checkpoints.first().map(|checkpoint| checkpoint.generation);
    inventory.name(&files, &checkpoints).await?;
    let Scanned { scan, tail, bytes, checkpoint } = scan_all(&inventory, &files, checkpoints, &proofs).await?;
    let checkpoints = checkpoint::Writer::new(newest, bytes, options.segment_bytes);
    // How many records the destroyed start of the oldest segment held, nobody can tell.
    let first = inventory.used.first().filter(|_| checkpoint.is_none());
    let start_lost = first.filter(|first| first.number != 1).and_then(|first| inventory.beheaded.get(&first.number));
    let state_lost = scan.state_lost().max(start_lost.copied());
    let (closed, synced, durability) = (scan.closed, scan.synced, scan.image.durability());
    let mut recovery = scan.recovery;
    (recovery.closed, recovery.synced, recovery.durability) = (closed, synced, durability);
    recovery.state_lost = state_lost;
    (recovery.checkpoint, recovery.scanned_bytes) = (checkpoint, bytes);
    recovery.next = scan.next;
    recovery.epoch = scan.epoch + 1;
    recovery.journal = inventory.used.first().map_or_else(|| draw_id(env), |header| header.journal);
    recovery.created = inventory.used.is_empty();
    // Nothing is removed before all that may be refused was looked at.
    let mut spares = tidy(env, options, &inventory).await?;
    let mut segments: BTreeMap<u64, Lsn> = inventory.used.iter().map(|header| (header.number, header.base)).collect();
    let journal = recovery.journal;
    let mut active = match inventory.used.last() {
        Some(header) => {
            let file = files[&header.number].clone();
            let size = file.len().await.map_err(JournalError::io("read a segment's length"))?;
            let again = inventory.header_again(&file, size, scan.offset).await?;
            recovery.header_again = again.as_ref().map(|header| header.number);
            let begun = Active::begin(file, size, again.as_ref().unwrap_or(header));
            let (offset, prev, epoch) = (scan.offset, scan.prev, recovery.epoch);
            Active { offset, prev, epoch, digest: begun.digest.and(scan.digest), ..begun }
        }
        None => {
            spares = spares.saturating_sub(1);
            create_first(env, options, journal, recovery.epoch).await?
        }
    };
    segments.entry(active.number).or_insert(recovery.next);
    let mut wear = Wear::default();
    if !tail.is_empty() {
        wear.wrote_synced(tail.len() as u64);
        // What we just read may never have reached the disk: it can come from the page cache that a killed process, or a
        // failed sync, left behind. From here on we build on it, so it is written again.
        let write = active.file.write_sync(scan.known_durable, vec![tail]);
        write.await.map_err(JournalError::io("make the recovered tail durable"))?;
        env.disk.sync_dir("").await.map_err(JournalError::io("make the segments' names durable"))?;
    }
    let mut image = scan.image;
    let here = At { segment: active.number, offset: active.offset };
    // Also the small state that is gone: members of groups must not take its numbers for those that they know.
    let state = recovery.state_lost.map(|lsn| Lsn(0)..lsn);
    for range in recovery.lost.iter().cloned().chain(state) {
        image.apply(here, Record::Quarantined(Quarantined { from: range.start, to: range.end }));
    }
    image.apply(here, Record::Durable(options.durability));
    let mut state =
        vec![Record::Opened(Opened { epoch: recovery.epoch, version: env!("CARGO_PKG_VERSION").to_owned() })];
    state.extend(image.snapshot());
    let (begun, bytes) = begin_epoch(env, options, &mut active, &mut spares, &state, recovery.next).await?;
    wear.wrote_synced(bytes);
    if begun {
        segments.insert(active.number, recovery.next);
    }
    let mut files = Files::of(files);
    files.open.insert(active.number, active.file.clone());
    image.keep_tail(options.tail_bytes_max);
    image.synced();
    // The second is made later: nobody should have to wait for it. But where there may be no room for it, an opening must not let
    // in what belongs to those who drain.
    if spares == 0 && spare::create(env, active.number + 1, options.segment_bytes).await? == Made::Spare {
        spares = 1;
        wear.wrote_synced(options.segment_bytes);
    }
    let with_next = (segments.len() - inventory.stubs.len()) as u64 + spares + 1;
    let fits = with_next * options.segment_bytes <= options.bytes_max;
    let has_room = |free: io::Result<u64>| free.is_ok_and(|free| free >= options.segment_bytes);
    let full = spares < SPARES && !recovery.created && !(fits && has_room(env.disk.free_bytes().await));
    let full = full || spares == 0;
    let probe = &*env.probe;
    sometimes!(probe, "recovery.checkpoint", recovery.checkpoint.is_some(), "an opening that began at a checkpoint");
    sometimes!(probe, "recovery.cut", recovery.cut.is_some(), "an opening that cut off what was never confirmed");
    sometimes!(probe, "recovery.lost", !recovery.lost.is_empty(), "an opening that reported records as lost");
    sometimes!(probe, "recovery.next_segment", begun, "an opening whose small state found no room in the last segment");
    let place = options.process.as_str().into();
    env.probe.on(&[Event { what: What::Recovered, place, identity: None, seq: Seq(recovery.next.0), attempt: 0 }]);
    for line in recovery.lines() {
        tracing::warn!(process = options.process, "{line}");
    }
    let Inventory { stubs, next_stub, .. } = inventory;
    Ok(Opening { image, files, active, segments, stubs, next_stub, spares, full, checkpoints, wear, recovery, lock })
}

/// A scan that is over.
struct Scanned {
    scan: Scan,
    /// What was read at the end of the last segment and is not known to be durable.
    tail: Bytes,
    /// Bytes from where the scan began to where it ended.
    bytes: u64,
    /// The generation of the checkpoint that it began at.
    checkpoint: Option<u64>,
}

/// The segments in use, open, by number.
type Segments = BTreeMap<u64, Arc<dyn File>>;

async fn open_all(env: &Env, used: &[SegmentHeader]) -> Result<Segments, JournalError> {
    let mut files = BTreeMap::new();
    for header in used {
        files.insert(header.number, spare::open(env, header.number).await?);
    }
    Ok(files)
}

/// Scans from the newest checkpoint that can be trusted, or everything.
async fn scan_all(
    inventory: &Inventory,
    files: &Segments,
    checkpoints: Vec<Checkpoint>,
    proofs: &[Proof],
) -> Result<Scanned, JournalError> {
    let used = &inventory.used;
    let Some(journal) = used.first().map(|header| header.journal) else {
        return Ok(Scanned { scan: Scan::new(), tail: Bytes::new(), bytes: 0, checkpoint: None });
    };
    let ours = checkpoints.into_iter().filter(|checkpoint| checkpoint.journal == journal);
    // What any of them stood on was durable once, whether or not it is still there, or the checkpoint is.
    let proven = proofs.iter().filter(|proof| proof.journal == journal).map(|proof| proof.stand);
    let proven = proven.max_by_key(|stand| stand.next);
    // With a segment missing in between, what was lost shows in a full scan only.
    let follows = |two: &[SegmentHeader]| match inventory.stubs.get(&two[0].number) {
        Some(stub) => stub.end == two[1].base,
        None => two[0].number + 1 == two[1].number,
    };
    let whole = used.windows(2).all(follows);
    for checkpoint in ours.filter(|_| whole) {
        if !stands(files, &checkpoint.stand).await? {
            continue;
        }
        let mut scanned = scan(inventory, files, Some(checkpoint)).await?;
        let is_gone = |segment| segment < used[0].number || inventory.stubs.contains_key(&segment);
        if scanned.scan.image.live_segments().any(is_gone) {
            // It needs a segment that is gone.
            continue;
        }
        prove(&mut scanned.scan, proven);
        return Ok(scanned);
    }
    let mut scanned = scan(inventory, files, None).await?;
    prove(&mut scanned.scan, proven);
    Ok(scanned)
}

fn prove(scan: &mut Scan, proven: Option<Stand>) {
    if let Some(stand) = proven {
        scan.epoch = scan.epoch.max(stand.epoch);
        scan.prove(stand.at, stand.next);
    }
}

/// True when the frame that a checkpoint stands on is there.
async fn stands(files: &Segments, stand: &Stand) -> Result<bool, JournalError> {
    let Some(file) = files.get(&stand.at.segment).filter(|_| stand.end > stand.at.offset) else { return Ok(false) };
    let len = usize::try_from(stand.end - stand.at.offset).expect("a frame fits in memory");
    let read = file.read_at(stand.at.offset, len).await;
    let bytes = read.map_err(JournalError::unread(&segment::name(stand.at.segment)))?;
    Ok(matches!(frame::parse(stand.at, &bytes), Found::Frame(header, _) if header.crc == stand.crc))
}

async fn scan(
    Inventory { used, beheaded, .. }: &Inventory,
    files: &Segments,
    checkpoint: Option<Checkpoint>,
) -> Result<Scanned, JournalError> {
    let stand = checkpoint.as_ref().map(|checkpoint| checkpoint.stand);
    let generation = checkpoint.as_ref().map(|checkpoint| checkpoint.generation);
    let scan = checkpoint.map_or_else(Scan::new, Scan::behind);
    let mut scanned = Scanned { scan, tail: Bytes::new(), bytes: 0, checkpoint: generation };
    for (index, header) in used.iter().enumerate() {
        let from = match stand {
            Some(stand) if header.number < stand.at.segment => continue,
            Some(stand) if header.number == stand.at.segment => stand.end,
            _ => 0,
        };
        let piece = read_from(&files[&header.number], header.number, from).await?;
        let scan = &mut scanned.scan;
        // Where a start is destroyed, its first frame tells what is missing.
        let follows = index > 0 && beheaded.contains_key(&header.number);
        let (base, prev) = if follows { (scan.next, scan.prev) } else { (header.base, header.prev) };
        let header = &SegmentHeader { base, prev, ..header.clone() };
        let until = used.get(index + 1).map(|next| next.base);
        if from == 0 { scan.segment(header, &piece, until) } else { scan.rest(header, &piece, until) }?;
        scanned.bytes += scan.offset - from;
        scanned.tail = piece.part(scan.known_durable, scan.offset);
    }
    Ok(scanned)
}

async fn read_from(file: &Arc<dyn File>, number: u64, from: u64) -> Result<Piece, JournalError> {
    let size = file.len().await.map_err(JournalError::io("read a segment's length"))?;
    let len = usize::try_from(size.saturating_sub(from)).expect("a segment fits in memory");
    let read = file.read_at(from, len).await;
    let bytes = read.map_err(JournalError::unread(&segment::name(number)))?;
    Ok(Piece { from, bytes })
}

/// The last 32 bits of the id of a journal whose numbers are known by it: of each one since releases tell it.
const COUNTS_APART: u128 = 0x5357_4a32;

/// Whether a journal was created by a release that tells others which journal it is.
pub(super) fn counts_apart(id: u128) -> bool {
    id & 0xffff_ffff == COUNTS_APART
}

fn draw_id(env: &Env) -> u128 {
    let word = |index| u128::from(env.seed.draw("journal.id", &[env.clock.unix_ns().cast_unsigned(), index]));
    (word(0) << 64 | word(1)) << 32 | COUNTS_APART
}

struct Inventory {
    /// Segments in use, ascending.
    used: Vec<SegmentHeader>,
    /// The last of them begins with a frame, and has no header: a power cut took that part of the write, or it rotted.
    unheaded: bool,
    /// Those of them whose start is destroyed, with the LSN of the first frame that is left.
    beheaded: BTreeMap<u64, Lsn>,
    /// Those of them that are but stubs.
    stubs: BTreeMap<u64, Stub>,
    /// The file of the next stub is there.
    next_stub: bool,
    /// Files of a segment's name without a frame.
    unused: Vec<u64>,
}

impl Inventory {
    /// Writes the header that the last segment should have and has not; gives it. `None` where it has one, or nobody knows what it
    /// said. What footer the segment before was to get, nobody knows any more: none is named. The segment is of `size` bytes, and
    /// its frames end at `end`.
    async fn header_again(
        &self,
        file: &Arc<dyn File>,
        size: u64,
        end: u64,
    ) -> Result<Option<SegmentHeader>, JournalError> {
        let Some(last) = self.used.last().filter(|last| self.unheaded && last.journal != 0) else { return Ok(None) };
        let header = SegmentHeader { size, ..last.clone() };
        // An older release may have begun it, or gone on in it up to where the footer would be.
        let is_ours = self.used.iter().all(|header| header.version == segment::VERSION);
        if !is_ours || !size.is_multiple_of(SECTOR) || end > header.footer_at().unwrap_or(size) {
            return Ok(None);
        }
        let write = file.write_sync(0, vec![header.encode()]);
        write.await.map_err(JournalError::io("write the header of the last segment again"))?;
        Ok(Some(header))
    }

    /// Gives the segments the journal's id where no header is left to tell: a checkpoint knows it whose frame is there.
    async fn name(&mut self, files: &Segments, checkpoints: &[Checkpoint]) -> Result<(), JournalError> {
        if self.used.iter().any(|header| header.journal != 0) {
            return Ok(());
        }
        for checkpoint in checkpoints {
            if stands(files, &checkpoint.stand).await? {
                self.used.iter_mut().for_each(|header| header.journal = checkpoint.journal);
                break;
            }
        }
        Ok(())
    }
}

/// What is in the directory. Refuses what doesn't belong there; nothing is written.
async fn read_inventory(env: &Env, options: &JournalOptions) -> Result<Inventory, JournalError> {
    let mut used: Vec<SegmentHeader> = Vec::new();
    let (mut headless, mut unused, mut stubs) = (Vec::new(), Vec::new(), BTreeMap::<u64, Stub>::new());
    let mut next_stub = false;
    for name in env.disk.list("").await.map_err(JournalError::io("list the data directory"))? {
        // A file system's own directory, on a mount point.
        let checkpoint = checkpoint::SLOTS.contains(&name.as_str());
        if name == LOCK || name == "lost+found" || checkpoint || name.starts_with(QUARANTINE) {
            continue;
        }
        let Some(number) = segment::number(&name) else {
            return Err(JournalError::Foreign { name, why: "no journal writes a file of that name".into() });
        };
        if number == stub::NEXT {
            next_stub = true;
            continue;
        }
        let file = env.disk.open(&name, Open::Read).await.map_err(JournalError::io(format!("open {name}")))?;
        let start = file.read_at(0, SECTOR as usize).await.map_err(JournalError::unread(&name))?;
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
                if stub::is(&header) {
                    let read = Stub::read(spare::open(env, number).await?).await.map_err(JournalError::unread(&name));
                    stubs.extend(read?.map(|(_, stub)| (number, stub)));
                }
                used.push(header);
            }
            Sector::Version(found) => return Err(JournalError::Version { name, found, supported: segment::VERSION }),
            Sector::Unused => match frame::first_of(number, &read_from(&file, number, 0).await?.bytes) {
                Some((offset, frame)) => headless.push((number, offset, frame)),
                None => unused.push(number),
            },
        }
    }
    // A segment whose header rotted still counts: its first frame says what the header said.
    let journal = used.first().map(|header| header.journal).unwrap_or_default();
    let (mut beheaded, mut begun) = (BTreeMap::new(), 0);
    for (number, offset, frame) in headless {
        if offset == SECTOR && !frame.passes_over() {
            begun = begun.max(number);
        }
        if offset > SECTOR {
            beheaded.insert(number, frame.base);
        }
        let (base, Header { epoch, prev, .. }) = (frame.segment_base(number, offset), frame);
        let (version, process) = (segment::VERSION, options.process.clone());
        used.push(SegmentHeader { version, journal, number, epoch, base, prev, size: 0, footer: 0, process });
    }
    used.sort_by_key(|header| header.number);
    // A crash may have left one that a stub stands for already.
    let is_stood_for = |header: &SegmentHeader| {
        stubs.range(..header.number).next_back().is_some_and(|(_, stub)| header.base < stub.end)
    };
    unused.extend(used.extract_if(.., |header| is_stood_for(header)).map(|header| header.number));
    let unheaded = used.last().is_some_and(|header| header.number == begun);
    Ok(Inventory { used, unheaded, beheaded, stubs, next_stub, unused })
}

/// Completes the spares, of whatever is without a frame, and removes the rest. Gives how many spares there are.
async fn tidy(env: &Env, options: &JournalOptions, inventory: &Inventory) -> Result<u64, JournalError> {
    let newest = inventory.used.last().map_or(0, |header| header.number);
    let mut unused: BTreeSet<u64> = inventory.unused.iter().copied().collect();
    let mut spares = 0;
    while spares < SPARES {
        // Spares always carry the next numbers. What a crash left of a removal will do, too: a full disk may give no other.
        let next = newest + spares + 1;
        let Some(number) = unused.take(&next).or_else(|| unused.pop_first()) else { break };
        if number != next {
            spare::recycle(env, number, next).await?;
        }
        if spare::complete(env, next, options.segment_bytes).await? == Made::Spare {
            spares += 1;
        }
    }
    for number in unused {
        spare::remove(env, &segment::name(number)).await?;
    }
    if spares > 0 {
        env.disk.sync_dir("").await.map_err(JournalError::io("make the names of spares durable"))?;
    }
    Ok(spares)
}

async fn create_first(env: &Env, options: &JournalOptions, journal: u128, epoch: u64) -> Result<Active, JournalError> {
    let number = 1;
    if spare::create(env, number, options.segment_bytes).await? == Made::NoRoom {
        return Err(JournalError::NoRoom { bytes: options.segment_bytes });
    }
    let file = spare::open(env, number).await?;
    let size = file.len().await.map_err(JournalError::io("read a segment's length"))?;
    let (version, process) = (segment::VERSION, options.process.clone());
    let first = SegmentHeader { version, journal, number, epoch, base: Lsn(0), prev: 0, size, footer: 0, process };
    file.write_sync(0, vec![first.encode()]).await.map_err(JournalError::io("begin the first segment"))?;
    Ok(Active::begin(file, size, &first))
}

/// Writes the new epoch durably, in the active segment or, when that is at its end, in the spare. Waits for room if it
/// must, and says so. Gives whether a segment was begun, and how many bytes were written.
async fn begin_epoch(
    env: &Env,
    options: &JournalOptions,
    active: &mut Active,
    spares: &mut u64,
    state: &[Record],
    next: Lsn,
) -> Result<(bool, u64), JournalError> {
    let time = env.clock.unix_ns();
    // The whole small state, each time: a crash may have left this segment without the state that should begin it, and
    // the segments before it are given back on the strength of that state.
    let bodies = state_bodies(state, options.frame_bytes_max);
    let needed = state_frames_bytes(&bodies, options)?;
    // A segment keeps the format in which it was begun.
    let rotate = needed > active.left() || active.version < segment::VERSION;
    let (mut bufs, mut left) = (Vec::new(), None);
    if rotate {
        let number = active.number + 1;
        while *spares == 0 {
            if spare::create(env, number, options.segment_bytes).await? == Made::Spare {
                *spares = 1;
                break;
            }
            reachable!(&*env.probe, "recovery.no_room", "an opening that had to wait for room");
            tracing::warn!(
                process = options.process,
                bytes = options.segment_bytes,
                "the disk is full: waiting for room to open the journal"
            );
            let (reason, place) = ("journal.full".into(), options.process.as_str().into());
            env.probe.on(&[Event { what: What::Refused { reason }, place, identity: None, seq: Seq(0), attempt: 0 }]);
            env.clock.sleep(options.full_retry_ns).await;
        }
        *spares -= 1;
        let (following, first) = active.follow(env, &options.process, number, next).await?;
        bufs.push(first);
        left = Some(std::mem::replace(active, following));
    }
    let start = if rotate { 0 } else { active.offset };
    bufs.extend(active.state_frames(next, time, bodies));
    active.file.write_sync(start, bufs).await.map_err(JournalError::io("begin a new epoch"))?;
    // Only now is it certain that no frame follows in that segment.
    if let Some((_, written)) = left.as_ref().and_then(Active::seal) {
        written.await.map_err(JournalError::io("write a segment's footer"))?;
    }
    Ok((rotate, active.offset - start))
}
