//! Checkpoints: an opening reads only what follows the newest one that can be trusted, and falls back where it can't.

use seaworthy_engine::env::{Disk, Open};
use seaworthy_engine::journal::{Gap, Journal, JournalError, Outcome, Recovery, segment};
use seaworthy_engine::packet::Seq;

use super::machine::{env, frames, run};
use super::world::{World, options};

const SLOTS: [&str; 2] = ["checkpoint-a.swc", "checkpoint-b.swc"];

/// A journal of some 200 KiB with a backlog, of which a group has settled the oldest part, after a crash.
async fn grown() -> World {
    let mut world = World::new(3, options(), None).await;
    for round in 0..60 {
        world.submit(4, 700, round == 7, round % 5);
        // As long as a new segment takes.
        world.pass(10).await;
    }
    world.disk.crash();
    world
}

/// Opens what `world` left, and gives it back with what the opening found.
async fn reopened(world: &World) -> Result<(Journal, Recovery), JournalError> {
    let env = env(world.disk.boot(), world.seed.clone(), world.now.clone());
    Journal::open(&env, options()).await
}

/// Overwrites a sector of a file with `byte`.
async fn scribble(disk: &dyn Disk, name: &str, at: u64, byte: u8) {
    let file = disk.open(name, Open::Write).await.expect("the file is there");
    file.write_sync(at, vec![vec![byte; 512].into()]).await.expect("the disk works");
}

/// How many bytes of frames there are in all.
fn written(world: &World) -> u64 {
    frames(&world.disk.snapshot()).iter().map(|(_, header, _)| header.padded()).sum()
}

#[test]
fn an_opening_reads_what_follows_the_newest_checkpoint() {
    run(async {
        let mut world = grown().await;
        let (_, recovery) = reopened(&world).await.expect("it opens");
        assert!(recovery.checkpoint.is_some_and(|generation| generation >= 3), "{recovery:?}");
        let bound = 2 * options().segment_bytes + u64::try_from(options().frame_bytes_max).expect("small");
        assert!(recovery.scanned_bytes <= bound && 2 * bound < written(&world), "{recovery:?}");
        world.reopen().await;
        world.end().await;
    });
}

#[test]
fn a_torn_slot_leaves_the_other_and_none_leaves_everything() {
    run(async {
        let mut world = grown().await;
        let (_, recovery) = reopened(&world).await.expect("it opens");
        let newest = recovery.checkpoint.expect("there are checkpoints");
        let disk = world.disk.boot();
        scribble(&*disk, SLOTS[usize::from(newest % 2 == 1)], 512, 7).await;
        let (_, recovery) = reopened(&world).await.expect("it opens");
        assert_eq!(recovery.checkpoint, Some(newest - 1));
        let disk = world.disk.boot();
        scribble(&*disk, SLOTS[usize::from(newest % 2 == 0)], 0, 0).await;
        let (_, recovery) = reopened(&world).await.expect("it opens");
        assert_eq!((recovery.checkpoint, recovery.lost, recovery.cut), (None, vec![], None));
        world.reopen().await;
        world.end().await;
    });
}

#[test]
fn a_checkpoint_of_another_journal_is_none_of_ours() {
    run(async {
        let (one, mut two) = (grown().await, World::new(4, options(), None).await);
        two.submit(3, 100, false, 1);
        two.pass(50).await;
        two.disk.crash();
        let files = one.disk.snapshot();
        let disk = two.disk.boot();
        for slot in SLOTS {
            let file = disk.open(slot, Open::Create).await.expect("a young journal has none");
            file.write_sync(0, vec![files[slot].clone()]).await.expect("there is room");
        }
        let (_, recovery) = reopened(&two).await.expect("it opens");
        assert_eq!((recovery.checkpoint, recovery.lost), (None, vec![]));
        two.reopen().await;
    });
}

#[test]
fn segments_that_are_gone_are_reported_lost_exactly() {
    run(async {
        // The newest ones: no frame says what stood there, but the checkpoint does.
        let world = grown().await;
        let (_, recovery) = reopened(&world).await.expect("it opens");
        let (next, used) = (recovery.next, world.disk.snapshot());
        let disk = world.disk.boot();
        let mut numbers: Vec<u64> = used.keys().filter_map(|name| segment::number(name)).collect();
        // The next stub's file is the last, and two are spares.
        numbers.pop();
        for number in &numbers[numbers.len() - 6..] {
            disk.remove(&segment::name(*number)).await.expect("it is there");
        }
        let (journal, recovery) = reopened(&world).await.expect("it opens");
        let [Gap { outcome: Outcome::Lost(lost), .. }] = &recovery.gaps[..] else { panic!("{recovery:?}") };
        assert!(lost.end <= next && lost.end == recovery.next, "lost {lost:?} of {next}");
        journal.image(|image| assert_eq!(image.quarantined(), [(lost.start, lost.end)]));
        // All of them: that is no journal to go on with, and no new one either.
        let world = grown().await;
        let disk = world.disk.boot();
        for name in world.disk.snapshot().keys().filter(|name| segment::number(name).is_some()) {
            disk.remove(name).await.expect("it is there");
        }
        let refused = reopened(&world).await;
        assert!(matches!(&refused, Err(JournalError::Foreign { name, .. }) if name == SLOTS[0]), "{refused:?}");
    });
}

/// Rot behind a checkpoint isn't seen by an opening. Whoever needs the packet sees it, and the next opening says what is lost.
#[test]
fn rot_that_a_reader_finds_is_reported_by_the_next_opening() {
    run(async {
        let world = grown().await;
        let (journal, recovery) = reopened(&world).await.expect("it opens");
        assert!(recovery.checkpoint.is_some());
        let (seq, at) = journal
            .image(|image| image.channel("channel/c").and_then(|packets| packets.next(Seq(1))))
            .expect("there is a backlog");
        let hit = frames(&world.disk.snapshot()).into_iter().find(|(found, ..)| *found == at).expect("it is there").1;
        assert!(world.disk.rot(&segment::name(at.segment), at.offset + 100), "there is something to rot");
        let read = journal.read("channel/c", seq, 1, 1).await;
        assert!(matches!(read, Err(JournalError::Io { .. })), "{read:?}");
        drop(journal);
        let (journal, recovery) = reopened(&world).await.expect("it opens");
        assert_eq!((recovery.checkpoint, recovery.lost), (None, vec![hit.base..hit.end()]));
        let next = journal.image(|image| image.channel("channel/c").and_then(|packets| packets.next(Seq(1))));
        assert!(next.is_some_and(|(next, _)| next > seq), "the journal goes on behind it");
    });
}
