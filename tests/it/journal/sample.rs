//! Journals that earlier versions wrote, kept under `tests/it/data/`: today's reader gives exactly what went in.
//!
//! A sample is what [`play`] leaves on a disk. A new format version fails its test once and says where its sample lies,
//! to be committed; an old sample is never made again.
#![expect(clippy::disallowed_methods, reason = "samples are files of the source tree")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::env::{Clock, Disk, Open};
use seaworthy_engine::journal::image::Image;
use seaworthy_engine::journal::letter::DeadLetter;
use seaworthy_engine::journal::record::{Applied, Producer, Put, Quarantined, Record, Retired, Settle};
use seaworthy_engine::journal::{Intent, Journal, JournalError, JournalOptions, Lsn, frame::At, segment};
use seaworthy_engine::packet::{Epoch, Identity, ProducerId, Seq};
use seaworthy_harness::sim::Now;
use seaworthy_harness::sim::clock::SimClock;
use seaworthy_harness::sim::disk::{DiskOptions, SimDisk};
use seaworthy_harness::sim::seed::KeyedSeed;

use super::machine::{env, frames, letter, now, run};

const UP: &str = "channel/up";
/// The transaction that the medium destroys: in the last segment of the first opening.
const DESTROYED: usize = 29;
/// Transactions before the first crash.
const FIRST: usize = 32;

fn options() -> JournalOptions {
    JournalOptions { segment_bytes: 8 << 10, frame_bytes_max: 2 << 10, ..JournalOptions::new("edge") }
}

fn settle(input: &str, group: &str, seqs: &[(u64, u64)], position: Option<&'static [u8]>) -> Record {
    let seqs = seqs.iter().map(|(from, to)| (Seq(*from), Seq(*to))).collect();
    Record::Settle(Settle {
        input: input.into(),
        group: group.into(),
        seqs,
        position: position.map(Bytes::from_static),
    })
}

fn put(key: &'static [u8], value: Option<&'static [u8]>) -> Record {
    let value = value.map(Bytes::from_static);
    Record::Put(Put { node: "window".into(), key: Bytes::from_static(key), value })
}

/// Packet `seq` of the sample: as long as its number asks for.
fn packet(seq: u64) -> Bytes {
    Bytes::from(vec![u8::try_from(seq % 251).expect("below 251"); 200 + usize::try_from(seq).expect("small") * 7])
}

/// What goes into a sample, a transaction each: every kind of record, over several segments.
fn story() -> Vec<Vec<Record>> {
    let mut txs = vec![
        vec![settle(UP, "hub", &[], None), settle(UP, "audit", &[], None)],
        vec![settle("source/feed", "feed", &[(1, 3)], Some(b"line 3")), put(b"seen", Some(b"3"))],
        vec![put(b"open", Some(b"yes")), put(b"gone", Some(b"soon"))],
    ];
    for seq in 1..=40 {
        let mut tx = vec![Record::Append { channel: UP.into(), seq: Seq(seq), packet: packet(seq) }];
        let (channel, producer) = (UP.into(), "edge".into());
        tx.push(Record::Producer(Producer { channel, producer, epoch: Epoch(2), last: Seq(seq) }));
        match seq {
            8 => tx.push(settle(UP, "hub", &[(1, 7)], None)),
            9 => tx.push(settle(UP, "audit", &[(1, 6)], None)),
            12 => tx.push(put(b"gone", None)),
            20 => tx.push(settle(UP, "hub", &[(8, 12), (15, 15), (18, 19)], None)),
            21 => tx.push(Record::Retired(Retired { input: UP.into(), group: "audit".into() })),
            24 => {
                let letter = letter(packet(24), 1_700_000_000_000_000_000);
                tx.push(Record::DeadLetter(DeadLetter { identity: Identity::Derived(24), ..letter }));
            }
            30 => tx.push(Record::Applied(Applied {
                stage: "window".into(),
                input: "source/feed".into(),
                root: Seq(5),
                packet: Identity::Entered { producer: ProducerId(7), epoch: Epoch(1), pseq: Seq(5) },
            })),
            36 => tx.push(settle("source/feed", "feed", &[(4, 4), (7, 9)], Some(b"line 4"))),
            _ => {}
        }
        txs.push(tx);
    }
    txs
}

/// Leaves a sample on an empty disk: two openings, a destroyed frame between them, and no clean end.
async fn play(disk: &SimDisk, seed: &Arc<KeyedSeed>, now: Now) {
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(now.clone(), 0));
    let txs = story();
    let machine = env(disk.boot(), seed.clone(), now.clone());
    let (journal, _) = Journal::open(&machine, options()).await.expect("an empty disk has room");
    for tx in &txs[..FIRST] {
        let commit = journal.append(tx.clone(), Intent::Produce).await.expect("the disk works");
        commit.wait().await.expect("the disk works");
    }
    // The mark that says the last one was durable.
    clock.sleep(1_000_000_000).await;
    disk.crash();
    let mut at = None;
    for (found, _, records) in frames(&disk.snapshot()) {
        if records == txs[DESTROYED] {
            at = Some(found);
        }
    }
    let at = at.expect("the destroyed transaction is there before it is destroyed");
    assert!(disk.rot(&segment::name(at.segment), at.offset + 100), "there is something to rot");
    let booted = disk.boot();
    for slot in ["checkpoint-a.swc", "checkpoint-b.swc"] {
        // An opening doesn't read what lies before a checkpoint.
        let _ = booted.remove(slot).await;
    }
    let machine = env(booted, seed.clone(), now);
    let (journal, _) = Journal::open(&machine, options()).await.expect("a rotten journal opens");
    for tx in &txs[FIRST..] {
        let commit = journal.append(tx.clone(), Intent::Produce).await.expect("the disk works");
        commit.wait().await.expect("the disk works");
    }
    disk.crash();
}

fn folder(version: u16) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/data/journal_v{version}"))
}

fn load(version: u16) -> BTreeMap<String, Bytes> {
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("a sample's folder can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        (name, Bytes::from(std::fs::read(path).expect("a sample's file can be read")))
    };
    let entries = std::fs::read_dir(folder(version)).expect("the sample is committed");
    entries.map(file).filter(|(name, _)| !name.ends_with(".md")).collect()
}

async fn place(disk: &Arc<dyn Disk>, files: &BTreeMap<String, Bytes>) {
    for (name, bytes) in files {
        let file = disk.open(name, Open::Create).await.expect("the disk is empty");
        file.write_sync(0, vec![bytes.clone()]).await.expect("the disk has room");
    }
}

/// What the story adds up to: `lost` is where the destroyed records stood.
fn model(lost: (u64, u64)) -> Image {
    let mut model = Image::new(0);
    for (index, tx) in story().into_iter().enumerate().filter(|(index, _)| *index != DESTROYED) {
        let at = At { segment: index as u64 + 1, offset: 512 };
        for record in tx {
            model.apply(at, record);
        }
    }
    let range = Quarantined { from: Lsn(lost.0), to: Lsn(lost.1) };
    model.apply(At { segment: 1, offset: 512 }, Record::Quarantined(range));
    model
}

/// Opens a sample and compares all that it holds with the story.
async fn check(files: &BTreeMap<String, Bytes>) {
    let (seed, now) = (Arc::new(KeyedSeed(1)), now());
    let disk = SimDisk::new(DiskOptions::new("edge", 4 << 20), seed.clone(), now.clone());
    let booted = disk.boot();
    place(&booted, files).await;
    let machine = env(booted, seed, now);
    let (journal, recovery) = Journal::open(&machine, options()).await.expect("a sample opens");
    let before: usize = story()[..DESTROYED].iter().map(Vec::len).sum();
    let lost = (before as u64, (before + story()[DESTROYED].len()) as u64);
    let model = model(lost);
    let total: usize = story().iter().map(Vec::len).sum();
    assert_eq!((recovery.next.0, recovery.cut), (total as u64, None));
    journal.image(|image| {
        assert_eq!(image.snapshot(), model.snapshot());
        assert_eq!(image.channel(UP).map(|c| c.backlog()), model.channel(UP).map(|c| c.backlog()));
        let letters = |image: &Image| -> Vec<_> {
            image.dead_letters().iter().map(|l| (l.identity, l.node.clone(), l.class.clone())).collect()
        };
        assert_eq!(letters(image), letters(&model));
    });
    let mut next = Seq(1);
    while let Some((seq, _)) = model.channel(UP).and_then(|packets| packets.next(next)) {
        let read = journal.read(UP, seq, 1, 1 << 20).await.expect("the sample's packets can be read");
        assert_eq!(read, [(seq, packet(seq.0))]);
        next = seq.next();
    }
}

#[test]
fn every_version_s_sample_reads_as_it_was_written() {
    for version in 1..=segment::VERSION {
        run(async move { check(&load(version)).await });
    }
}

#[test]
fn this_version_has_a_sample() {
    if folder(segment::VERSION).exists() {
        return;
    }
    let made = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("journal_v{}", segment::VERSION));
    std::fs::create_dir_all(&made).expect("the build's directory takes files");
    let into = made.clone();
    run(async move {
        let (seed, now) = (Arc::new(KeyedSeed(7)), now());
        let disk = SimDisk::new(DiskOptions::new("edge", 4 << 20), seed.clone(), now.clone());
        play(&disk, &seed, now).await;
        for (name, bytes) in disk.snapshot().into_iter().filter(|(name, _)| name != "LOCK") {
            std::fs::write(into.join(name), bytes).expect("the build's directory takes files");
        }
    });
    panic!("format version {} has no sample: look at {} and commit it", segment::VERSION, made.display());
}

#[test]
fn a_later_version_is_refused_by_name() {
    run(async {
        let mut files = load(1);
        let name = files.keys().next_back().expect("a sample has segments").clone();
        let used = files.keys().rfind(|name| files[*name].starts_with(b"SWJOURNL")).unwrap_or(&name).clone();
        let mut bytes = files[&used].to_vec();
        bytes[8..10].copy_from_slice(&(segment::VERSION + 1).to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..508]).to_le_bytes();
        bytes[508..512].copy_from_slice(&crc);
        files.insert(used.clone(), bytes.into());
        let (seed, now) = (Arc::new(KeyedSeed(1)), now());
        let disk = SimDisk::new(DiskOptions::new("edge", 4 << 20), seed.clone(), now.clone());
        let booted = disk.boot();
        place(&booted, &files).await;
        let opened = Journal::open(&env(booted, seed, now), options()).await;
        let Err(JournalError::Version { name, found, supported }) = opened else { panic!("{opened:?}") };
        assert_eq!((name, found, supported), (used, segment::VERSION + 1, segment::VERSION));
    });
}
