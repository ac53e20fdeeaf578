//! Openings and readers of journals that something happened to: each a story that went wrong once.

use super::frame::{self, At, Found, Header, SECTOR};
use super::reader::{Finding, Reader, Step};
use super::record::{Put, Record, Settle};
use super::rig::{MS, Rig, append, declare, options, run, settled};
use super::{Durability, Full, Intent, Journal, JournalError, JournalOptions, Lsn, checkpoint, repair, segment, stub};
use crate::packet::Seq;
use bytes::Bytes;

/// The frames of a segment's file, stale ones of its number included.
fn frames(rig: &Rig, number: u64) -> Vec<(u64, Header)> {
    let bytes = Bytes::from(rig.bytes(&segment::name(number)));
    let at = |offset| frame::parse(At { segment: number, offset }, &bytes.slice(offset as usize..));
    let found = (SECTOR..bytes.len() as u64).step_by(512).filter_map(|offset| match at(offset) {
        Found::Frame(header, _) => Some((offset, header)),
        _ => None,
    });
    found.collect()
}

/// The numbers of its segments, spares and stubs.
fn segments(rig: &Rig) -> Vec<u64> {
    let numbers = rig.names().iter().filter_map(|name| segment::number(name)).collect::<Vec<_>>();
    numbers.into_iter().filter(|number| *number != stub::NEXT).collect()
}

/// Those of its stubs.
fn stubs(rig: &Rig) -> Vec<u64> {
    segments(rig).into_iter().filter(|number| rig.bytes(&segment::name(*number)).len() == 64 << 10).collect()
}

/// All that a reader says of a journal: findings, and LSNs of records.
async fn read(rig: &Rig) -> (Vec<Finding>, Vec<u64>) {
    let mut reader = Reader::open(rig.disk()).await.unwrap();
    let (mut findings, mut lsns) = (Vec::new(), Vec::new());
    while let Some(step) = reader.next().await.unwrap() {
        match step {
            Step::Finding(finding) => findings.push(finding),
            Step::Frame(frame) => lsns.extend(frame.header.base.0..frame.header.end().0),
            Step::Footer(_) => {}
        }
    }
    (findings, lsns)
}

/// A journal with a group, and packets 1 to `packets` of `size` bytes each in a frame of its own; closed.
async fn filled(rig: &Rig, packets: u64, size: usize) {
    let (journal, _) = rig.open().await.unwrap();
    declare(&journal).await;
    for seq in 1..=packets {
        append(&journal, seq, size).await;
    }
    journal.close().await;
}

fn wipe_start(rig: &Rig, number: u64) {
    rig.edit(number, |bytes| bytes[..4096].fill(0));
    for slot in checkpoint::SLOTS {
        rig.drop_file(slot);
    }
}

#[test]
fn a_destroyed_start_costs_only_what_was_in_it() {
    for (number, packets) in [(1, 30), (2, 300), (1, 300)] {
        run(|rig| async move {
            filled(&rig, packets, 1000).await;
            wipe_start(&rig, number);
            let left: Vec<_> = frames(&rig, number).into_iter().filter(|(_, frame)| frame.count > 0).collect();
            let (first, all) = (left[0].1.base.0, packets + 1);
            let before = if number == 1 { 0 } else { frames(&rig, 1).last().unwrap().1.end().0 };
            assert!(left.len() > 20 && first > before, "{} frames are left, from {first} on", left.len());
            let (findings, lsns) = read(&rig).await;
            assert_eq!(lsns, (0..before).chain(first..all).collect::<Vec<_>>());
            let lost = findings.iter().map(Finding::lost).filter(|lost| lost.start < lost.end).collect::<Vec<_>>();
            assert_eq!(lost, [Lsn(before)..Lsn(first)], "{findings:?}");
            let (_, recovery) = rig.open().await.unwrap();
            assert_eq!((recovery.lost, recovery.cut), (vec![Lsn(before)..Lsn(first)], None));
            assert_eq!(recovery.next, Lsn(all));
        });
    }
}

#[test]
fn a_destroyed_start_can_be_repaired() {
    run(|rig| async move {
        filled(&rig, 300, 1000).await;
        wipe_start(&rig, 2);
        rig.edit(2, |bytes| bytes[600] = 7);
        let (findings, moved) = repair::repair(&rig.disk()).await.unwrap();
        assert_eq!((findings.len(), moved.len()), (2, 2), "{findings:?}");
        let (again, moved) = repair::repair(&rig.disk()).await.unwrap();
        assert!(!again.iter().any(Finding::is_damage) && moved.is_empty(), "{again:?}");
    });
}

#[test]
fn a_block_that_cannot_be_read_is_told_and_repaired() {
    run(|rig| async move {
        let packets = 300;
        filled(&rig, packets, 1000).await;
        let all = frames(&rig, 2);
        let (offset, frame) = &all[all.len() / 2];
        rig.spoil(2, *offset as usize);
        // With them an opening would not have to read it.
        checkpoint::SLOTS.iter().for_each(|slot| rig.drop_file(slot));
        let refused = rig.open().await.map(drop);
        assert!(matches!(&refused, Err(JournalError::Unread { .. })), "it may be readable the next time: {refused:?}");
        let (findings, lsns) = read(&rig).await;
        let lost: Vec<_> = findings.iter().map(Finding::lost).filter(|lost| lost.start < lost.end).collect();
        let [gone] = &lost[..] else { panic!("{findings:?}") };
        assert!(gone.contains(&frame.base) && gone.end.0 - gone.start.0 < 9, "{gone:?}");
        let whole = (0..=packets).filter(|lsn| !gone.contains(&Lsn(*lsn))).collect::<Vec<_>>();
        assert_eq!(lsns, whole);
        let (_, moved) = repair::repair(&rig.disk()).await.unwrap();
        assert_eq!(moved.len(), 1, "{moved:?}");
        let (_, recovery) = rig.open().await.unwrap();
        assert_eq!((recovery.lost, recovery.next), (lost, Lsn(packets + 1)));
    });
}

#[test]
fn a_start_that_cannot_be_read_is_repaired_by_whole_blocks() {
    run(|rig| async move {
        filled(&rig, 300, 1000).await;
        checkpoint::SLOTS.iter().for_each(|slot| rig.drop_file(slot));
        rig.spoil(2, 0);
        let (_, moved) = repair::repair(&rig.disk()).await.unwrap();
        assert!(!moved.is_empty());
        let (again, moved) = repair::repair(&rig.disk()).await.unwrap();
        assert!(!again.iter().any(Finding::is_damage) && moved.is_empty(), "{again:?}");
        let (_, recovery) = rig.open().await.unwrap();
        assert_eq!((recovery.lost.len(), recovery.next), (1, Lsn(301)), "{:?}", recovery.lost);
    });
}

#[test]
fn the_destroyed_start_of_the_oldest_segment_is_said() {
    run(|rig| async move {
        filled(&rig, 300, 1000).await;
        rig.drop_file(&segment::name(1));
        wipe_start(&rig, 2);
        let first = frames(&rig, 2)[0].1.base;
        let (_, recovery) = rig.open().await.unwrap();
        assert_eq!((recovery.state_lost, recovery.next), (Some(first), Lsn(301)));
    });
}

#[test]
fn without_a_segment_in_use_nothing_is_removed() {
    run(|rig| async move {
        filled(&rig, 300, 1000).await;
        wipe_start(&rig, 2);
        let mut segments = segments(&rig);
        let spare = segment::name(segments.pop().unwrap());
        segments.into_iter().chain([stub::NEXT]).for_each(|number| rig.drop_file(&segment::name(number)));
        rig.log();
        let refused = rig.open().await.map(drop);
        assert!(matches!(&refused, Err(JournalError::Foreign { name, .. }) if *name == spare), "{refused:?}");
        assert_eq!(rig.log(), Vec::<String>::new());
    });
}

/// Not in `sync`, a torn frame can have whole ones behind it. The opening cuts them; the state that it writes has no room in that
/// segment.
#[test]
fn what_was_cut_stays_cut_when_the_opening_begins_a_segment() {
    run(|rig| async move {
        let os = JournalOptions { durability: Durability::Os, ..options() };
        let (journal, _) = Journal::open(&rig.env(), os.clone()).await.unwrap();
        declare(&journal).await;
        let value = Some(Bytes::from(vec![7; 14_000]));
        let put = Record::Put(Put { node: "n".into(), key: Bytes::from_static(b"k"), value });
        journal.append(vec![put], Intent::Produce).await.unwrap().wait().await.unwrap();
        for seq in 1..=70 {
            append(&journal, seq, 1000).await;
        }
        drop(journal);
        for slot in checkpoint::SLOTS {
            rig.drop_file(slot);
        }
        let last = frames(&rig, 1).into_iter().rfind(|(_, frame)| frame.count > 0).unwrap();
        assert_eq!((last.1.end(), frames(&rig, 2).len()), (Lsn(72), 0));
        let torn = frames(&rig, 1).into_iter().rfind(|(_, frame)| frame.base == Lsn(70)).unwrap();
        rig.edit(1, |bytes| bytes[torn.0 as usize + 600] ^= 1);
        let (journal, recovery) = Journal::open(&rig.env(), os.clone()).await.unwrap();
        assert_eq!((recovery.next, recovery.cut), (Lsn(70), Some((Lsn(70), Some(Lsn(72))))));
        assert!(!frames(&rig, 2).is_empty(), "the opening began a segment");
        append(&journal, 69, 500).await;
        append(&journal, 70, 500).await;
        journal.close().await;
        let (findings, lsns) = read(&rig).await;
        assert_eq!((findings, lsns), (vec![], (0..72).collect()));
        let (journal, recovery) = Journal::open(&rig.env(), os).await.unwrap();
        assert_eq!((recovery.lost, recovery.cut, recovery.next), (vec![], None, Lsn(72)));
        for seq in [69, 70] {
            let read = journal.read("channel/c", Seq(seq), 1, 1 << 20).await.unwrap();
            assert_eq!(read.iter().map(|(seq, packet)| (seq.0, packet.len())).collect::<Vec<_>>(), [(seq, 500)]);
        }
    });
}

#[test]
fn frames_of_a_shortened_file_are_read_like_others() {
    run(|rig| async move {
        let (journal, _) = rig.open().await.unwrap();
        declare(&journal).await;
        append(&journal, 1, 15_000).await;
        append(&journal, 2, 15_000).await;
        journal.close().await;
        let end = frames(&rig, 1).last().unwrap().0 + 512;
        for header in [true, false] {
            rig.edit(1, |bytes| bytes.truncate(end as usize));
            rig.edit(1, |bytes| bytes[0] ^= u8::from(!header));
            assert_eq!(read(&rig).await.1, [0, 1, 2]);
            let (findings, moved) = repair::repair(&rig.disk()).await.unwrap();
            assert_eq!((findings.len(), moved.len()), (usize::from(!header), 0), "{findings:?}");
        }
    });
}

#[test]
fn what_a_busy_writer_gave_back_is_not_missing() {
    run(|rig| async move {
        let (journal, _) = rig.open().await.unwrap();
        declare(&journal).await;
        let mut reader = Reader::open(rig.disk()).await.unwrap();
        let mut findings = Vec::new();
        let (mut seq, mut last) = (0, 0);
        for _ in 0..4 {
            for _ in 0..400 {
                seq += 1;
                append(&journal, seq, 1000).await;
                let settle = journal.append(vec![settled(seq)], Intent::Drain).await.unwrap();
                settle.wait().await.unwrap();
            }
            while let Some(step) = reader.next().await.unwrap() {
                match step {
                    Step::Finding(finding) => findings.push(finding),
                    Step::Frame(frame) => last = frame.header.end().0,
                    Step::Footer(_) => {}
                }
            }
            assert_eq!(last, journal.confirmed().0);
        }
        let recycled = findings.iter().filter(|finding| matches!(finding, Finding::Recycled { .. })).count();
        assert!(recycled > 4 && recycled == findings.len(), "{findings:?}");
    });
}

/// Fills a journal's room; the packets stay.
async fn fill_up(rig: &Rig, options: &JournalOptions) -> (Journal, u64) {
    rig.room(2 * options.segment_bytes + (16 << 10));
    let (journal, _) = Journal::open(&rig.env(), options.clone()).await.unwrap();
    declare(&journal).await;
    let mut seq = 0;
    while journal.has_room(2000, Intent::Produce).is_ok() {
        seq += 1;
        append(&journal, seq, 1000).await;
    }
    (journal, seq)
}

#[test]
fn room_is_looked_for_while_a_full_journal_is_drained() {
    run(|rig| async move {
        let (journal, last) = fill_up(&rig, &options()).await;
        let clock = rig.env().clock;
        clock.sleep(500 * MS).await;
        assert_eq!(journal.has_room(2000, Intent::Produce), Err(Full::Disk));
        rig.room(0);
        for seq in 1..last.min(10) {
            clock.sleep(50 * MS).await;
            journal.append(vec![settled(seq)], Intent::Drain).await.unwrap().wait().await.unwrap();
        }
        assert_eq!(journal.has_room(2000, Intent::Produce), Ok(()));
    });
}

#[test]
fn what_is_due_is_synced_before_a_spare_is_made() {
    run(|rig| async move {
        let options = JournalOptions { durability: Durability::Interval { ms: 20 }, ..options() };
        let (journal, _) = Journal::open(&rig.env(), options).await.unwrap();
        declare(&journal).await;
        rig.fill_ms(100);
        rig.log();
        let (mut seq, mut fills) = (0, 0);
        while fills < 2 {
            seq += 1;
            append(&journal, seq, 1000).await;
            rig.env().clock.sleep(3 * MS).await;
            let log = rig.log();
            for (index, _) in log.iter().enumerate().filter(|(_, call)| call.starts_with("fill")) {
                fills += 1;
                assert!(index > 0 && log[index - 1].starts_with("sync"), "{log:?}");
            }
        }
    });
}

#[test]
fn a_commit_task_that_panics_wakes_who_waits() {
    // In a write, and while it holds the state: channels don't go back.
    for (seq, in_write) in [(2, true), (1, false)] {
        run(|rig| async move {
            let (journal, _) = rig.open().await.unwrap();
            declare(&journal).await;
            append(&journal, 1, 10).await;
            let waits = tokio::spawn({
                let journal = journal.clone();
                async move { journal.stopped().await }
            });
            if in_write {
                rig.panic_at_write();
            }
            let (channel, packet) = ("channel/c".into(), Bytes::from_static(b"p"));
            let append = Record::Append { channel, seq: Seq(seq), packet };
            let commit = journal.submit(vec![append.clone()], Intent::Produce).unwrap();
            assert!(matches!(commit.wait().await, Err(JournalError::Stopped { .. })));
            assert!(matches!(waits.await.unwrap(), JournalError::Stopped { .. }));
            assert_eq!(journal.submit(vec![append], Intent::Produce).map(drop), Err(Full::Stopped));
        });
    }
}

#[test]
fn a_segment_that_is_too_small_becomes_no_spare() {
    run(|rig| async move {
        filled(&rig, 300, 1000).await;
        let larger = JournalOptions { segment_bytes: 256 << 10, frame_bytes_max: 64 << 10, ..options() };
        let (journal, recovery) = Journal::open(&rig.env(), larger.clone()).await.unwrap();
        let mut seq = recovery.next.0 - 1;
        journal.append(vec![settled(seq)], Intent::Drain).await.unwrap().wait().await.unwrap();
        for _ in 0..40 {
            seq += 1;
            append(&journal, seq, 60_000).await;
            journal.append(vec![settled(seq)], Intent::Drain).await.unwrap().wait().await.unwrap();
        }
        journal.close().await;
        let size = |number: &u64| rig.bytes(&segment::name(*number)).len() as u64;
        assert!(segments(&rig).iter().all(|number| size(number) >= larger.segment_bytes));
    });
}

#[test]
fn a_rotten_header_does_not_change_whose_journal_it_is() {
    run(|rig| async move {
        let wide = JournalOptions { segment_bytes: 1 << 20, ..options() };
        let (journal, recovery) = Journal::open(&rig.env(), wide.clone()).await.unwrap();
        declare(&journal).await;
        for seq in 1..=1200 {
            append(&journal, seq, 1000).await;
            journal.append(vec![settled(seq)], Intent::Drain).await.unwrap().wait().await.unwrap();
        }
        journal.close().await;
        let names = rig.names();
        assert!(names.iter().any(|name| name == checkpoint::SLOTS[0]), "{names:?}");
        for number in names.iter().filter_map(|name| segment::number(name)) {
            rig.edit(number, |bytes| bytes[0] ^= 1);
        }
        let (_, again) = Journal::open(&rig.env(), wide).await.unwrap();
        assert_eq!((again.journal, again.lost), (recovery.journal, vec![]));
        assert!(again.checkpoint.is_some() && recovery.journal != 0);
    });
}

#[test]
fn an_opening_writes_the_header_of_the_last_segment_again() {
    for never_written in [true, false] {
        run(|rig| async move {
            filled(&rig, 120, 1000).await;
            let used = |number: &u64| !frames(&rig, *number).is_empty();
            let last = segments(&rig).into_iter().rfind(used).unwrap();
            let spoil = |byte: &mut u8| *byte = if never_written { 0 } else { *byte ^ 1 };
            rig.edit(last, |bytes| bytes[..512].iter_mut().for_each(spoil));
            let (findings, before) = read(&rig).await;
            let damage = findings.iter().map(|finding| (finding.name(), finding.is_damage())).collect::<Vec<_>>();
            assert_eq!(damage, [("headless", false)]);
            let (journal, recovery) = rig.open().await.unwrap();
            assert_eq!((recovery.header_again, &recovery.lost), (Some(last), &vec![]));
            // On through its end, so that the next one follows.
            for seq in 121..=300 {
                append(&journal, seq, 1000).await;
            }
            journal.close().await;
            let (findings, after) = read(&rig).await;
            assert!(findings.is_empty() && after.starts_with(&before), "{findings:?}");
            let (_, again) = rig.open().await.unwrap();
            assert_eq!((again.header_again, again.journal, again.lost), (None, recovery.journal, vec![]));
        });
    }
}

#[test]
fn a_disk_that_says_it_has_no_room_is_left_alone() {
    run(|rig| async move {
        let (journal, _) = fill_up(&rig, &options()).await;
        rig.log();
        rig.env().clock.sleep(1000 * MS).await;
        assert!(!rig.log().iter().any(|call| call.starts_with("fill")));
        rig.room(0);
        rig.env().clock.sleep(300 * MS).await;
        assert_eq!(journal.has_room(2000, Intent::Produce), Ok(()));
    });
}

#[test]
fn an_end_that_is_gone_shows_by_the_checkpoints_also_after_a_repair() {
    run(|rig| async move {
        filled(&rig, 600, 1000).await;
        let last = *segments(&rig).last().unwrap();
        (last - 3..=last).for_each(|number| rig.drop_file(&segment::name(number)));
        rig.edit(1, |bytes| bytes[2 * 512 + 70] ^= 1);
        let (findings, _) = repair::repair(&rig.disk()).await.unwrap();
        let lost = findings.last().unwrap().lost();
        assert!(lost.start < lost.end, "{findings:?}");
        let (_, recovery) = rig.open().await.unwrap();
        assert_eq!((recovery.checkpoint, recovery.lost.last(), recovery.next), (None, Some(&lost), lost.end));
    });
}

/// Six segments' room in all.
fn narrow() -> JournalOptions {
    JournalOptions { bytes_max: 6 * options().segment_bytes, ..options() }
}

fn append_of(channel: &str, seq: u64) -> Record {
    Record::Append { channel: channel.into(), seq: Seq(seq), packet: Bytes::from_static(&[7; 64]) }
}

async fn settle(journal: &Journal, input: &str, seqs: &[u64]) {
    let seqs = seqs.iter().map(|seq| (Seq(*seq), Seq(*seq))).collect();
    let settle = Settle { input: input.into(), group: "g".into(), seqs, position: None };
    let tx = vec![Record::Settle(settle)];
    assert_eq!(journal.has_room(200, Intent::Drain), Ok(()), "no room to settle {tx:?}");
    journal.append(tx, Intent::Drain).await.unwrap().wait().await.unwrap();
}

/// A transaction of 50 small packets behind number `last` of channel `a`, and as many of channel `b`, in turn.
fn small_packets(last: &mut u64) -> Vec<Record> {
    *last += 50;
    (*last - 49..=*last).flat_map(|seq| [append_of("a", seq), append_of("b", seq)]).collect()
}

/// Fills it with small packets of channels `a` and `b`. Gives the last number of each.
async fn fill_with_small(journal: &Journal) -> u64 {
    settle(journal, "a", &[]).await;
    settle(journal, "b", &[]).await;
    let mut last = 0;
    bring_in_small(journal, &mut last).await;
    last
}

/// Fills it, and settles all of `a`, and of `b` what begins behind the oldest segment, which so stays heavy. Gives the first number
/// of `b` that is settled.
async fn drain_behind_the_oldest(journal: &Journal) -> u64 {
    let last = fill_with_small(journal).await;
    for seq in 1..=last {
        settle(journal, "a", &[seq]).await;
    }
    for seq in last / 3..=last {
        settle(journal, "b", &[seq]).await;
    }
    last / 3
}

#[test]
fn a_full_journal_of_small_packets_is_drained_one_at_a_time() {
    run(async |rig| {
        let (journal, _) = Journal::open(&rig.env(), narrow()).await.unwrap();
        let last = fill_with_small(&journal).await;
        for seq in 1..=last {
            settle(&journal, "a", &[seq]).await;
            settle(&journal, "b", &[seq]).await;
        }
        rig.env().clock.sleep(500 * MS).await;
        assert_eq!(journal.has_room(13_000, Intent::Produce), Ok(()));
    });
}

#[test]
fn a_full_journal_is_drained_though_the_oldest_packets_stay() {
    run(async |rig| {
        let (journal, _) = Journal::open(&rig.env(), narrow()).await.unwrap();
        let kept = drain_behind_the_oldest(&journal).await;
        rig.env().clock.sleep(500 * MS).await;
        assert_eq!(journal.has_room(13_000, Intent::Produce), Ok(()), "segments between others came free");
        journal.close().await;
        assert!(!stubs(&rig).is_empty());
        assert_eq!(read(&rig).await.0, [], "stubs are no finding");
        let (journal, recovery) = Journal::open(&rig.env(), narrow()).await.unwrap();
        assert_eq!(recovery.lines(), Vec::<String>::new());
        assert_eq!((recovery.lost.len(), recovery.gaps.len()), (0, 0));
        let first = journal.read("b", Seq(1), 10_000, 1 << 20).await.unwrap();
        assert_eq!(first[0].0, Seq(1));
        assert_eq!(journal.image(|image| (image.pending("a", "g"), image.pending("b", "g"))), (0, kept - 1));
        // What held them up goes, and the stubs with it.
        for seqs in (1..kept).collect::<Vec<_>>().chunks(100) {
            settle(&journal, "b", seqs).await;
        }
        rig.env().clock.sleep(500 * MS).await;
        assert_eq!(stubs(&rig), [0; 0]);
    });
}

#[test]
fn a_stub_that_a_crash_left_beside_its_place_is_put_there() {
    run(async |rig| {
        let (journal, _) = Journal::open(&rig.env(), narrow()).await.unwrap();
        drain_behind_the_oldest(&journal).await;
        journal.close().await;
        let stub = segment::name(stubs(&rig)[0]);
        let _ = rig.disk().remove(&segment::name(stub::NEXT)).await;
        rig.disk().rename(&stub, &segment::name(stub::NEXT)).await.unwrap();
        let found = read(&rig).await.0;
        assert!(found.iter().all(|finding| !finding.is_damage()), "{found:?}");
        let (journal, recovery) = Journal::open(&rig.env(), narrow()).await.unwrap();
        assert_eq!(recovery.lines(), Vec::<String>::new());
        assert!(rig.names().contains(&stub));
        journal.close().await;
    });
}

/// Small packets of channels `a` and `b` in turn, a hundred a frame, as long as they are taken.
async fn bring_in_small(journal: &Journal, last: &mut u64) {
    while journal.has_room(13_000, Intent::Produce) != Err(Full::Disk) {
        journal.append(small_packets(last), Intent::Produce).await.unwrap().wait().await.unwrap();
    }
}

#[test]
fn a_full_journal_is_drained_across_restarts() {
    for every in [37, 61, 150, 251, 400] {
        run(async |rig| {
            let (mut journal, _) = Journal::open(&rig.env(), narrow()).await.unwrap();
            let first = fill_with_small(&journal).await;
            let mut last = first;
            for seq in 1..=first {
                settle(&journal, "a", &[seq]).await;
                if seq % every == 0 {
                    journal.close().await;
                    journal = Journal::open(&rig.env(), narrow()).await.unwrap().0;
                    bring_in_small(&journal, &mut last).await;
                }
            }
        });
    }
}

#[test]
fn a_full_journal_of_three_segments_is_drained_whatever_the_newest_holds() {
    for frames in 0..=10 {
        run(async |rig| {
            let tiny = JournalOptions { bytes_max: 3 * options().segment_bytes, ..options() };
            let (journal, _) = Journal::open(&rig.env(), tiny).await.unwrap();
            let mut last = fill_with_small(&journal).await;
            // What moves on while the disk is full.
            for _ in 0..frames {
                journal.append(small_packets(&mut last), Intent::Drain).await.unwrap().wait().await.unwrap();
            }
            for channel in ["a", "b"] {
                for seq in 1..=last {
                    settle(&journal, channel, &[seq]).await;
                }
            }
        });
    }
}
