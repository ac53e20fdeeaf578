//! Weaker durabilities: what a power cut costs stays within the declared window, and is said.

use seaworthy_engine::env::Clock;
use seaworthy_engine::journal::{Durability, Journal, JournalOptions, Recovery};
use seaworthy_engine::packet::Seq;
use seaworthy_harness::sim::clock::SimClock;

use super::machine::{env, run};
use super::world::{World, options};

/// How the machine ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Crash,
    PowerCut,
    Close,
}

/// Submits a packet every 3 ms until `ms`, then ends. Gives how many packets were confirmed before the last `window_ms`, how
/// many were in all, how many are there after a new start, and what that found.
async fn play(seed: u64, durability: Durability, ms: u64, window_ms: u64, end: End) -> (u64, u64, u64, Recovery) {
    let options = JournalOptions { durability, ..options() };
    let mut world = World::new(seed, options.clone(), None).await;
    let mut confirmed: Vec<u64> = Vec::new();
    for step in 0..ms / 3 {
        world.submit(1, 300, step % 9 == 8, 0);
        world.pass(3).await;
        confirmed.resize(world.confirmed, (world.now)());
    }
    match end {
        End::Crash => world.disk.crash(),
        End::PowerCut => world.disk.power_cut(true),
        End::Close => {
            world.journal.close().await;
            world.disk.power_cut(true);
        }
    }
    let old = (world.now)().saturating_sub(window_ms * 1_000_000);
    let before = confirmed.iter().filter(|at| **at <= old).count() as u64;
    let env = env(world.disk.boot(), world.seed.clone(), world.now.clone());
    let (journal, recovery) = Journal::open(&env, options).await.expect("it opens");
    let there = journal.image(|image| image.channel("channel/c").map_or(Seq(0), |packets| packets.last)).0;
    (before, confirmed.len() as u64, there, recovery)
}

fn says_window(recovery: &Recovery) -> bool {
    recovery.lines().iter().any(|line| line.starts_with("loss window: durability was "))
}

#[test]
fn an_interval_costs_no_more_than_its_window() {
    run(async {
        let mut lost = 0;
        for seed in 0..60 {
            let interval = Durability::Interval { ms: 20 };
            // A sync takes well below 2 ms on this disk.
            let (before, all, there, recovery) = play(seed, interval, 120 + seed, 22, End::PowerCut).await;
            assert!(there >= before, "seed {seed}: {before} packets were older than the window, {there} are there");
            assert!(says_window(&recovery) && recovery.lost.is_empty(), "{recovery:?}");
            assert!(recovery.synced < recovery.next || there < all, "{recovery:?}");
            lost += all.saturating_sub(there);
        }
        assert!(lost > 60, "only {lost} packets were lost: this proves nothing");
    });
}

#[test]
fn a_crash_costs_nothing_and_a_clean_end_leaves_no_window() {
    run(async {
        for durability in [Durability::Interval { ms: 50 }, Durability::Os] {
            let (_, all, there, recovery) = play(1, durability, 150, 0, End::Crash).await;
            assert!(there >= all, "{there} of {all} are there");
            assert!(says_window(&recovery), "{recovery:?}");
            let (_, all, there, recovery) = play(1, durability, 150, 0, End::Close).await;
            assert!(there >= all, "{there} of {all} are there");
            assert_eq!((recovery.closed, recovery.lines()), (true, vec![]));
        }
    });
}

#[test]
fn the_system_s_own_pace_loses_what_it_says_it_may() {
    run(async {
        let (_, all, there, recovery) = play(5, Durability::Os, 150, 0, End::PowerCut).await;
        assert!(there < all && says_window(&recovery), "{there} of {all}: {recovery:?}");
        let (_, all, there, recovery) = play(5, Durability::Sync, 150, 0, End::PowerCut).await;
        assert!(there >= all && !says_window(&recovery), "{there} of {all}: {recovery:?}");
    });
}

/// What others are told of: a power cut takes none of it, and they never wait long for it.
#[test]
fn what_is_synced_for_others_survives_whatever_the_durability() {
    run(async {
        for durability in [Durability::Interval { ms: 30_000 }, Durability::Os, Durability::Interval { ms: 20 }] {
            let mut beyond = 0;
            for seed in 0..40 {
                let options = JournalOptions { durability, ..options() };
                let mut world = World::new(seed, options.clone(), None).await;
                for _ in 0..10 + seed {
                    world.submit(1, 300, false, 0);
                    world.pass(1).await;
                }
                let begun = (world.now)();
                let journal = world.journal.clone();
                let mut told = journal.read_synced("channel/c", Seq(1), 1000, 1 << 20).await.expect("the disk is well");
                let waited_ms = ((world.now)() - begun) / 1_000_000;
                assert!(waited_ms <= 7, "{durability}: {waited_ms} ms for the first");
                for _ in 0..seed % 7 {
                    world.submit(1, 300, false, 0);
                    world.pass(1).await;
                }
                // Whoever reads on sees only what is synced by now, which for some seeds is nothing new.
                let last = told.last().expect("it waits for one").0;
                let soon = (world.now)() + 1_000_000;
                tokio::select! {
                    biased;
                    more = journal.read_synced("channel/c", last.next(), 1000, 1 << 20) => {
                        told.extend(more.expect("the disk is well"));
                    }
                    () = SimClock::new(world.now.clone(), 0).sleep_until(soon) => {}
                }
                let all = journal.image(|image| image.channel("channel/c").map_or(Seq(0), |packets| packets.last)).0;
                world.disk.power_cut(true);
                let env = env(world.disk.boot(), world.seed.clone(), world.now.clone());
                let (journal, _) = Journal::open(&env, options).await.expect("it opens");
                let there = journal.image(|image| image.channel("channel/c").map_or(Seq(0), |packets| packets.last));
                let last = told.last().expect("it waits for one").0;
                assert!(there >= last, "{durability}, seed {seed}: {last} was told of, {there} is there");
                beyond += all.saturating_sub(there.0);
            }
            assert!(beyond > 20, "{durability}: only {beyond} were lost: this proves nothing");
        }
    });
}

#[test]
fn an_interval_that_nobody_waits_for_spares_the_medium() {
    run(async {
        let options = JournalOptions { durability: Durability::Interval { ms: 500 }, ..options() };
        let mut world = World::new(1, options, None).await;
        let before = world.journal.wear().syncs;
        // Pauses that are long enough for a mark.
        for _ in 0..100 {
            world.submit(1, 60, true, 0);
            world.pass(40).await;
        }
        let syncs = world.journal.wear().syncs - before;
        // Two each half second, and some for segments.
        assert!(syncs <= 2 * 8 + 8, "{syncs} syncs in 4 s");
    });
}

#[test]
fn wear_counts_what_is_written() {
    run(async {
        let mut world = World::new(1, options(), None).await;
        let before = world.disk.counts();
        let wear = world.journal.wear();
        assert_eq!((wear.payload_bytes, wear.amplification()), (0, None));
        for _ in 0..40 {
            world.submit(2, 500, true, 0);
            world.pass(3).await;
        }
        let (wear, after) = (world.journal.wear(), world.disk.counts());
        let packets = world.journal.image(|image| image.channel("channel/c").map_or(0, |packets| packets.last.0));
        assert!(packets >= 60 && wear.payload_bytes == packets * 500, "{packets} packets: {wear:?}");
        let opening = wear.written_bytes - (after.written_bytes - before.written_bytes);
        assert!(opening <= 2 * options().segment_bytes, "{opening} bytes before the first packet");
        assert!(wear.amplification().is_some_and(|bytes| (1.0..5.0).contains(&bytes)), "{wear}");
        assert!(wear.syncs >= 40 && wear.syncs <= after.syncs && wear.syncs_an_hour() > 0.0, "{wear}");
    });
}
