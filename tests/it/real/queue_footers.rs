//! Footers of sealed segments: what they let a reader pass over, and what is said of one that is wrong.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real files read and write them; a failure is the test\'s"
)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use bytes::Bytes;
use seaworthy_engine::journal::footer::{Footer, FooterFound, Wanted};
use seaworthy_engine::journal::reader::{Finding, Reader, Step};
use seaworthy_engine::journal::record::Record;
use seaworthy_engine::journal::segment::{self, Sector, SegmentHeader};
use seaworthy_engine::journal::{Intent, Lsn};
use seaworthy_engine::packet::key_of;

use super::queue_journal::{Sample, append, disk, open, settle};

/// LSN, time and key of each packet that is given, and the bytes that were read for it.
async fn packets(sample: &Sample, wanted: Option<Wanted>) -> (BTreeMap<Lsn, (i64, String)>, u64) {
    let mut reader = Reader::open(disk(&sample.dir())).await.unwrap();
    if let Some(wanted) = wanted {
        reader = reader.only(wanted);
    }
    let mut found = BTreeMap::new();
    while let Some(step) = reader.next().await.unwrap() {
        let Step::Frame(frame) = step else { continue };
        for record in frame.records() {
            if let (Some(lsn), Record::Append { packet, .. }) = record.unwrap() {
                found.insert(lsn, (frame.header.time, key_of(&packet).unwrap().to_owned()));
            }
        }
    }
    (found, reader.bytes())
}

#[tokio::test]
async fn what_is_wanted_is_given_whole_and_little_else_is_read() {
    let sample = Sample::new(900).await;
    let (all, whole) = packets(&sample, None).await;
    assert_eq!(all.len(), 900);
    let (middle, last) = (*all.keys().nth(450).unwrap(), *all.keys().nth(880).unwrap());
    let (middle_time, last_time) = (all[&middle].0, all[&last].0);
    let any = Wanted::default;
    let cases = [
        (Wanted { from: middle, ..any() }, 60),
        (Wanted { from: last, ..any() }, 20),
        (Wanted { since: middle_time, ..any() }, 60),
        (Wanted { since: last_time, ..any() }, 20),
        (Wanted { until: middle_time, ..any() }, 70),
        (Wanted { key: Some("k3".into()), ..any() }, 60),
        (Wanted { key: Some("k99".into()), ..any() }, 30),
        (Wanted { key: Some("k3".into()), from: last, ..any() }, 20),
        (Wanted { name: Some("channel/down".into()), ..any() }, 30),
        (Wanted { name: Some("channel/up".into()), ..any() }, 100),
    ];
    for (wanted, percent) in cases {
        let fits = |lsn: Lsn, (time, key): &(i64, String)| {
            lsn >= wanted.from
                && (wanted.since..wanted.until).contains(time)
                && wanted.key.as_ref().is_none_or(|wanted| wanted == key)
                && wanted.name.as_deref().is_none_or(|name| name == "channel/up")
        };
        let expected: Vec<Lsn> = all.iter().filter(|(lsn, it)| fits(**lsn, it)).map(|(lsn, _)| *lsn).collect();
        let (given, read) = packets(&sample, Some(wanted.clone())).await;
        let given: Vec<Lsn> = given.iter().filter(|(lsn, it)| fits(**lsn, it)).map(|(lsn, _)| *lsn).collect();
        assert_eq!(given, expected, "{wanted:?}");
        assert!(read * 100 <= whole * percent, "{read} of {whole} bytes were read for {wanted:?}");
    }
}

fn fsck(sample: &Sample, more: &[&str]) -> (Option<i32>, String) {
    let seaworthy = env!("CARGO_BIN_EXE_seaworthy");
    let output = Command::new(seaworthy).args(["queue", "fsck"]).arg(sample.dir()).args(more).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn header(sample: &Sample, number: u64) -> SegmentHeader {
    let bytes = Bytes::from(fs::read(sample.path(&segment::name(number))).unwrap());
    let Sector::Header(header) = segment::decode(number, &bytes) else { panic!("segment {number} has a header") };
    header
}

/// Changes bytes of a segment's file.
fn change(sample: &Sample, number: u64, at: u64, with: impl FnOnce(&mut [u8])) {
    let path = sample.path(&segment::name(number));
    let mut bytes = fs::read(&path).unwrap();
    with(&mut bytes[at as usize..]);
    fs::write(path, bytes).unwrap();
}

/// What is found of key `k3`, of which there are 40 packets.
async fn found(sample: &Sample) -> usize {
    let wanted = Wanted { key: Some("k3".into()), ..Wanted::default() };
    let (found, _) = packets(sample, Some(wanted)).await;
    found.values().filter(|(_, key)| key == "k3").count()
}

#[track_caller]
fn check(sample: &Sample, code: i32, expected: &str) {
    let (ended, said) = fsck(sample, &[]);
    assert_eq!(ended, Some(code), "{said}");
    assert!(said.contains(expected), "{said}");
}

#[tokio::test]
async fn a_torn_footer_costs_nothing_and_is_not_believed() {
    let sample = Sample::new(900).await;
    check(&sample, 0, "clean");
    let at = header(&sample, 2).footer_at().unwrap();
    change(&sample, 2, at, |bytes| bytes[40] ^= 4);
    check(&sample, 0, &format!("seg-000000000002.swj at {at}: the footer is damaged; nobody reads it"));
    assert_eq!(found(&sample).await, 40);
    let before = fs::read(sample.path(&segment::name(2))).unwrap();
    assert_eq!(fsck(&sample, &["--repair"]).0, Some(0));
    assert_eq!(fs::read(sample.path(&segment::name(2))).unwrap(), before, "there is nothing to repair");
    change(&sample, 2, at, |bytes| bytes[..512].fill(0));
    assert!(!fsck(&sample, &[]).1.contains("footer"), "one that was never written is no news");
    assert_eq!(found(&sample).await, 40);
}

/// A footer with the right checksum, in segment 1 of a journal in which all is found with and without it.
async fn forged(forge: impl FnOnce(&mut Footer)) {
    let sample = Sample::new(900).await;
    let at = header(&sample, 1).footer_at().unwrap();
    let bytes = Bytes::from(fs::read(sample.path(&segment::name(1))).unwrap()).slice(at as usize..);
    let FooterFound::Footer(mut footer) = Footer::decode(1, &bytes) else { panic!("segment 1 has a footer") };
    forge(&mut footer);
    let forged = footer.encode();
    change(&sample, 1, at, |bytes| bytes[..forged.len()].copy_from_slice(&forged));
    check(&sample, 0, "nobody");
    assert_eq!(found(&sample).await, 40);
    let from = Wanted { from: Lsn(700), ..Wanted::default() };
    let (given, _) = packets(&sample, Some(from)).await;
    assert_eq!(given.keys().filter(|lsn| **lsn >= Lsn(700)).count(), 201);
    // And where the next header vouches for it, it still can't lead outside.
    let vouched = SegmentHeader { footer: footer.hash(), ..header(&sample, 2) }.encode();
    change(&sample, 2, 0, |bytes| bytes[..512].copy_from_slice(&vouched));
    let (_, read) = packets(&sample, Some(Wanted { from: Lsn(700), ..Wanted::default() })).await;
    assert!(read > 0);
}

#[tokio::test]
async fn a_forged_footer_leads_nowhere() {
    forged(|footer| footer.lsns.1 = Lsn(1 << 50)).await;
    forged(|footer| footer.places.iter_mut().for_each(|place| place.2 = u64::MAX)).await;
    forged(|footer| footer.places.iter_mut().for_each(|place| place.0 = Lsn(u64::MAX))).await;
    forged(|footer| footer.segment = 7).await;
}

#[tokio::test]
async fn frames_that_are_not_those_behind_which_the_next_segment_was_begun_are_told() {
    let sample = Sample::new(900).await;
    let exchanged = SegmentHeader { footer: 1, ..header(&sample, 3) }.encode();
    change(&sample, 3, 0, |bytes| bytes[..exchanged.len()].copy_from_slice(&exchanged));
    check(&sample, 1, "one of the two was exchanged");
    assert_eq!(found(&sample).await, 40);
}

/// A size that no file has, in a header with the right checksum.
#[tokio::test]
async fn a_header_that_lies_of_its_size_costs_no_memory() {
    let sample = Sample::new(900).await;
    let huge = SegmentHeader { size: 1 << 62, ..header(&sample, 3) }.encode();
    change(&sample, 3, 0, |bytes| bytes[..huge.len()].copy_from_slice(&huge));
    assert_eq!(found(&sample).await, 40);
    assert!(fsck(&sample, &[]).0.is_some());
}

/// The writer gives back all that the reader knows of while it reads.
#[tokio::test]
async fn a_reader_goes_on_where_all_that_it_knew_of_was_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path()).await;
    let hand_in = async |records| {
        journal.append(records, Intent::Drain).await.unwrap().wait().await.unwrap();
    };
    hand_in(vec![settle(1, 0)]).await;
    for seq in 1..=600 {
        hand_in(vec![append(seq)]).await;
    }
    let mut reader = Reader::open(disk(dir.path())).await.unwrap();
    assert!(matches!(reader.next().await.unwrap(), Some(Step::Frame(_))));
    hand_in(vec![settle(1, 600)]).await;
    for seq in 601..=1800 {
        hand_in(vec![append(seq), settle(seq, seq)]).await;
    }
    let mut recycled = 0;
    while let Some(step) = reader.next().await.unwrap() {
        recycled += u64::from(matches!(step, Step::Finding(Finding::Recycled { .. })));
    }
    assert!(recycled > 3, "{recycled} segments were given back");
    assert_eq!(reader.next_lsn(), Lsn(1 + 600 + 1 + 2 * 1200));
    journal.close().await;
}
