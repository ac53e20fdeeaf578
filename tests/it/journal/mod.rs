//! The journal against a model: random transactions, crashes, power cuts, full and failing disks, on the simulated disk.

mod checkpoint;
mod copy;
mod durability;
mod every_op;
mod machine;
mod sample;
mod std_files;
mod world;

use machine::{env, run};
use proptest::prelude::*;
use seaworthy_engine::journal::{Durability, Journal, JournalError, JournalOptions};
use seaworthy_engine::packet::Seq;
use world::{Act, World, options};

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (1u8..6, 1u16..900, any::<bool>(), 0u8..5)
            .prop_map(|(packets, size, settle, key)| Act::Submit { packets, size, settle, key }),
        2 => (2u8..40).prop_map(|every| Act::Pin { every }),
        4 => any::<bool>().prop_map(|newest| Act::Drain { newest }),
        6 => (0u8..40).prop_map(Act::Wait),
        2 => Just(Act::Crash),
        3 => any::<bool>().prop_map(|torn| Act::PowerCut { torn }),
        1 => Just(Act::Close),
        1 => (1u8..200).prop_map(Act::FullFor),
        1 => Just(Act::EioSync),
        1 => Just(Act::EioWrite),
    ]
}

fn durability() -> impl Strategy<Value = Durability> {
    prop_oneof![
        4 => Just(Durability::Sync),
        1 => (1u32..60).prop_map(|ms| Durability::Interval { ms }),
        1 => Just(Durability::Os),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn what_was_confirmed_survives_and_nothing_is_split(
        seed in any::<u64>(),
        durability in durability(),
        segments_max in prop_oneof![3 => Just(1u64 << 20), 1 => 3u64..8],
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        run(async {
            let bytes_max = segments_max * options().segment_bytes;
            let options = JournalOptions { durability, bytes_max, ..options() };
            let mut world = World::new(seed, options, None).await;
            for act in acts {
                world.act(act).await;
            }
            world.end().await;
        });
    }
}

#[test]
fn rot_in_confirmed_data_is_reported_exactly() {
    run(async {
        let mut world = World::new(1, options(), None).await;
        for _ in 0..4 {
            world.submit(2, 100, false, 0);
            world.pass(50).await;
        }
        assert_eq!(world.confirmed, 4);
        // The first frames are the header, the epoch, and a mark after each transaction: rot the second transaction.
        let bytes = world.disk.snapshot()["seg-000000000001.swj"].clone();
        let frames: Vec<usize> = (0..bytes.len()).step_by(512).filter(|at| bytes[*at..].starts_with(b"SWF1")).collect();
        let second =
            frames.iter().filter(|at| bytes[**at + 12] == 3).nth(1).expect("two transactions of three records");
        world.disk.crash();
        assert!(world.disk.rot("seg-000000000001.swj", *second as u64 + 100), "there is something to rot");
        let env = env(world.disk.boot(), world.seed.clone(), world.now.clone());
        let (journal, recovery) = Journal::open(&env, options()).await.expect("a rotten journal opens");
        let lost: Vec<_> = recovery.lost.iter().map(|range| (range.start.0, range.end.0)).collect();
        assert_eq!(lost, [(3, 6)]);
        assert_eq!(recovery.lines(), ["lost.reported 3..6 (confirmed records that the disk destroyed)"]);
        let last = journal.image(|image| image.channel("channel/c").map(|packets| packets.last));
        assert_eq!(last, Some(Seq(8)), "what came after the rot is still there");
    });
}

#[test]
fn a_second_opener_is_turned_away() {
    run(async {
        let world = World::new(1, options(), None).await;
        let env = env(world.disk.boot(), world.seed.clone(), world.now.clone());
        drop(Journal::open(&env, options()).await.expect("the old incarnation's lock went with it"));
        let again = Journal::open(&env, options()).await;
        assert!(matches!(again, Err(JournalError::Locked)), "{again:?}");
    });
}

#[test]
fn foreign_files_and_other_processes_are_refused() {
    run(async {
        let world = World::new(1, options(), None).await;
        world.journal.close().await;
        let disk = world.disk.boot();
        let env = env(disk.clone(), world.seed.clone(), world.now.clone());
        let other = Journal::open(&env, JournalOptions { process: "hub".into(), ..options() }).await;
        assert!(matches!(&other, Err(JournalError::Foreign { .. })), "{other:?}");
        disk.open("notes.txt", seaworthy_engine::env::Open::Create).await.expect("there is room");
        let foreign = Journal::open(&env, options()).await;
        assert!(matches!(&foreign, Err(JournalError::Foreign { name, .. }) if name == "notes.txt"), "{foreign:?}");
    });
}
