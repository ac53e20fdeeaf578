//! Copying forward, and keeping for replays: what little is needed of an old segment doesn't hold up the others.

use seaworthy_engine::journal::{Journal, JournalOptions, segment};

use super::machine::{env, frames, run};
use super::world::{Act, World, options};

fn segments(world: &World) -> usize {
    world.disk.snapshot().keys().filter(|name| segment::number(name).is_some()).count()
}

/// Some 600 packets in 50 segments' worth, of which each 97th, and a dead letter now and then, are never settled.
async fn pinned(options: JournalOptions) -> (World, usize) {
    let mut world = World::new(3, options, None).await;
    let mut most = 0;
    for round in 0..150 {
        world.submit(4, 900, false, round % 5);
        world.pass(3).await;
        if round % 10 == 9 {
            world.act(Act::Pin { every: 97 }).await;
            world.pass(3).await;
        }
        most = most.max(segments(&world));
    }
    (world, most)
}

#[test]
fn a_pin_is_copied_and_the_rest_recycled() {
    run(async {
        let (mut world, most) = pinned(options()).await;
        let written = world.journal.wear().written_bytes / options().segment_bytes;
        assert!(written > 40 && most <= 14, "{most} segments at most, {written} written");
        let wear = world.journal.wear();
        assert!(wear.amplification().is_some_and(|bytes| bytes < 4.0), "{wear}");
        // All that was pinned is still there, in order, and stays there.
        world.end().await;
        world.end().await;
    });
}

#[test]
fn what_replays_may_ask_for_is_kept_while_there_is_room() {
    run(async {
        let kept = JournalOptions { retain_bytes: 30 * options().segment_bytes, ..options() };
        let (world, most) = pinned(kept.clone()).await;
        assert!((30..36).contains(&most), "{most} segments at most");
        world.disk.crash();
        let env = env(world.disk.boot(), world.seed.clone(), world.now.clone());
        let (journal, _) = Journal::open(&env, kept).await.expect("it opens");
        drop(journal);
        let kept = JournalOptions { retain_ns: 100_000_000, ..options() };
        let (world, most) = pinned(kept).await;
        assert!((8..30).contains(&most), "{most} segments at most");
        // The oldest frame is of 100 ms ago or so.
        let newest = frames(&world.disk.snapshot()).iter().map(|(_, header, _)| header.time).max();
        assert!(newest.is_some());
    });
}
