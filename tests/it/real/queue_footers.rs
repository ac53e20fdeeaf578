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
use seaworthy_engine::journal::Lsn;
use seaworthy_engine::journal::footer::{Footer, FooterFound, Wanted};
use seaworthy_engine::journal::reader::{Reader, Step};
use seaworthy_engine::journal::record::Record;
use seaworthy_engine::journal::segment::{self, Sector, SegmentHeader};
use seaworthy_engine::packet::key_of;

use super::queue_journal::{Sample, disk};

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

#[tokio::test]
async fn a_damaged_footer_costs_nothing_and_is_put_away() {
    let sample = Sample::new(900).await;
    assert_eq!(fsck(&sample, &[]).0, Some(0));
    let at = header(&sample, 2).footer_at().unwrap();
    change(&sample, 2, at, |bytes| bytes[40] ^= 4);
    let (code, said) = fsck(&sample, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("seg-000000000002.swj at {at}: the footer is damaged")), "{said}");
    let wanted = Wanted { key: Some("k3".into()), ..Wanted::default() };
    let (found, _) = packets(&sample, Some(wanted)).await;
    assert_eq!(found.values().filter(|(_, key)| key == "k3").count(), 40, "no segment is passed over on its word");
    let (code, said) = fsck(&sample, &["--repair"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("moved into quarantine-2-{at}-footer")), "{said}");
    assert_eq!(fsck(&sample, &[]).0, Some(0), "it is gone, and the next segment's header agrees with the frames");
}

#[tokio::test]
async fn a_footer_that_belongs_to_other_frames_is_told() {
    let sample = Sample::new(900).await;
    // The footer of segment 1, as if it were that of segment 2: with the right checksum, and wrong.
    let at = header(&sample, 1).footer_at().unwrap();
    let bytes = Bytes::from(fs::read(sample.path(&segment::name(1))).unwrap()).slice(at as usize..);
    let FooterFound::Footer(footer) = Footer::decode(1, &bytes) else { panic!("segment 1 has a footer") };
    let stolen = Footer { segment: 2, ..footer }.encode();
    change(&sample, 2, at, |bytes| bytes[..stolen.len()].copy_from_slice(&stolen));
    let (code, said) = fsck(&sample, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the footer says something else than the frames"), "{said}");
    assert!(said.contains("is not the one that the next segment was begun behind"), "{said}");
}

#[tokio::test]
async fn a_segment_that_was_begun_behind_another_footer_is_told() {
    let sample = Sample::new(900).await;
    let exchanged = SegmentHeader { footer: 1, ..header(&sample, 3) }.encode();
    change(&sample, 3, 0, |bytes| bytes[..exchanged.len()].copy_from_slice(&exchanged));
    let (code, said) = fsck(&sample, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("seg-000000000002.swj"), "{said}");
    assert!(said.contains("one of the two was exchanged"), "{said}");
}
