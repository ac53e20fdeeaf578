//! The conformance kit of channels: every kind passes what it promises, and every case can fail.

mod sabotage;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sabotage::{Sabotage, Spoiled};
use seaworthy_engine::channel::kind::{Channel, ChannelError, Promise};
use seaworthy_engine::channel::memory::{Memory, MemoryLimits};
use seaworthy_engine::journal::Durability;
use seaworthy_engine::packet::{Epoch, Seq};
use seaworthy_harness::kit::kinds::{InJournal, InMemory, Machine, VirtualMachine};
use seaworthy_harness::kit::{self, CASES, Case, Item, Kind, Outcome};

/// Runs a test in virtual time.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime needs nothing from the machine").block_on(test);
}

/// Sees that a kind passes all that it promises, and that so many cases are beyond that.
#[track_caller]
fn check(kind: &dyn Kind, not_promised: usize) {
    let caller = std::panic::Location::caller();
    run(async {
        let report = kit::run(kind).await;
        println!("{report}");
        assert!(report.failed().is_empty(), "{caller}: {report}");
        let beyond = report.outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::NotPromised(_))).count();
        assert_eq!(beyond, not_promised, "{caller}: {report}");
    });
}

#[test]
fn memory() {
    // Nothing in it outlives its keeper.
    check(&InMemory, CASES.iter().filter(|case| case.needs.contains(&Promise::Durable)).count());
}

#[test]
fn journal() {
    check(&InJournal::here(), 0);
}

#[test]
fn journal_behind_a_lane() {
    check(&InJournal::behind_a_lane(), 0);
}

/// Weaker durabilities weaken nothing of a channel: what its users hear is synced.
#[test]
fn journal_that_confirms_before_it_syncs() {
    for durability in [Durability::Interval { ms: 100 }, Durability::Interval { ms: 5_000 }, Durability::Os] {
        check(&InJournal::here().confirmed("journal, confirmed early", durability), 0);
        check(&InJournal::behind_a_lane().confirmed("journal behind a lane, confirmed early", durability), 0);
    }
}

#[test]
fn one_run_is_as_the_next() {
    let outcomes = || {
        let mut found = BTreeMap::new();
        run(async {
            let report = kit::run(&InJournal::behind_a_lane()).await;
            found.insert(report.kind.clone(), report.to_string());
        });
        found
    };
    assert_eq!(outcomes(), outcomes());
}

/// Each sabotage, and exactly the cases that it trips.
const SABOTAGES: &[(Sabotage, &[&str])] = &[
    (Sabotage::Nothing, &[]),
    (
        Sabotage::DeliversOnceMore,
        &[
            "deliveries_are_bounded",
            "retries_are_deliveries",
            "the_key_goes_on",
            "parked_keys_are_dead_letters",
            "blocked_keys_stand",
            "crashes_count_as_deliveries",
            "blocked_keys_stay_blocked",
        ],
    ),
    (
        Sabotage::NeverGivesUp,
        &[
            "deliveries_are_bounded",
            "retries_are_deliveries",
            "dead_letters_move_the_floor",
            "the_key_goes_on",
            "parked_keys_are_dead_letters",
            "blocked_keys_stand",
            "crashes_count_as_deliveries",
            "parked_keys_stay_parked",
            "blocked_keys_stay_blocked",
        ],
    ),
    (
        Sabotage::KeepsNoOrder,
        &[
            "parked_keys_are_dead_letters",
            "blocked_keys_stand",
            "a_key_waits_for_its_first",
            "a_key_comes_again_in_order",
            "other_keys_flow",
            "strict_is_one_line",
            "parked_keys_stay_parked",
            "blocked_keys_stay_blocked",
        ],
    ),
    (
        Sabotage::OnlyBuries,
        &["parked_keys_are_dead_letters", "blocked_keys_stand", "parked_keys_stay_parked", "blocked_keys_stay_blocked"],
    ),
    (
        Sabotage::LeasesLastLong,
        &[
            "expired_leases_are_delivered_again",
            "the_dead_are_inherited",
            "stale_leases_settle_nothing",
            "only_holders_settle",
            "extensions_end",
            "deliveries_are_bounded",
            "last_deliveries_may_settle",
            "dead_letters_move_the_floor",
            "the_key_goes_on",
            "parked_keys_are_dead_letters",
            "blocked_keys_stand",
            "leases_end_with_a_crash",
            "parked_keys_stay_parked",
            "blocked_keys_stay_blocked",
        ],
    ),
    (
        Sabotage::LeasesEndEarly,
        &[
            "gaps_are_refused",
            "publishes_fly",
            "too_much_is_refused",
            "new_epochs_fence_old_ones",
            "numbers_count_on",
            "late_retries_are_left_out",
            "conflicts_are_dead_letters",
            "conflicts_change_nothing",
            "keys_end_with_the_horizon",
            "no_packet_is_a_dead_letter",
            "held_packets_are_nobody_elses",
            "expired_leases_are_delivered_again",
            "who_holds_on_goes_on",
            "credits_bound",
            "max_ack_pending_bounds",
            "extensions_hold",
            "extensions_end",
            "unordered_packets_flow",
            "a_key_is_one_members",
            "a_key_waits_for_its_first",
            "other_keys_flow",
            "strict_is_one_line",
            "packets_outlive_a_crash",
            "numbers_outlive_a_crash",
            "settles_outlive_a_crash",
            "parked_keys_stay_parked",
            "blocked_keys_stay_blocked",
            "all_outlives_a_stop",
        ],
    ),
    (Sabotage::PendingIsUnbounded, &["max_ack_pending_bounds"]),
    (Sabotage::KeysAreForgottenSoon, &["keys_outlive_the_ack", "keys_end_with_the_horizon"]),
    (Sabotage::KeysAreKeptForever, &["keys_end_with_the_horizon"]),
    (
        Sabotage::ChangesPackets,
        &[
            "stored_once_in_order",
            "numbers_count_on",
            "conflicts_are_dead_letters",
            "rejections_are_dead_letters",
            "deliveries_are_bounded",
        ],
    ),
    (
        Sabotage::StoresRepeats,
        &[
            "repeats_are_left_out",
            "repeats_after_the_ack_are_left_out",
            "numbers_count_on",
            "numbers_outlive_a_crash",
            "all_outlives_a_stop",
        ],
    ),
    (Sabotage::TakesGaps, &["gaps_are_refused", "publishes_fly"]),
    (Sabotage::TakesOneAtATime, &["publishes_fly"]),
    (Sabotage::TakesTooMuch, &["too_much_is_refused"]),
    (Sabotage::JudgesTogether, &["settles_are_judged_one_by_one"]),
    (Sabotage::SharesNumbers, &["stored_once_in_order", "producers_are_apart"]),
    (Sabotage::WelcomesStrangers, &["strangers_are_turned_away"]),
    (Sabotage::OpensOldEpochs, &["old_epochs_do_not_open", "epochs_outlive_a_crash", "all_outlives_a_stop"]),
    (Sabotage::PublishesInOldEpochs, &["new_epochs_fence_old_ones"]),
    (
        Sabotage::ForgetsKeys,
        &[
            "late_retries_are_left_out",
            "keys_outlive_the_ack",
            "conflicts_are_dead_letters",
            "conflicts_change_nothing",
            "keys_end_with_the_horizon",
            "business_keys_outlive_a_crash",
        ],
    ),
    (Sabotage::ForgetsKeysAtTheAck, &["keys_outlive_the_ack", "business_keys_outlive_a_crash"]),
    (Sabotage::ForgetsKeysAtARestart, &["business_keys_outlive_a_crash"]),
    (
        Sabotage::MergesConflicts,
        &["conflicts_are_dead_letters", "conflicts_change_nothing", "business_keys_outlive_a_crash"],
    ),
    (
        Sabotage::LosesPackets,
        &[
            "stored_once_in_order",
            "repeats_are_left_out",
            "publishes_fly",
            "too_much_is_refused",
            "numbers_count_on",
            "groups_each_see_everything",
            "members_compete",
            "settles_are_judged_one_by_one",
            "credits_bound",
            "floors_follow_settles",
            "floors_only_grow",
            "strict_is_one_line",
            "packets_outlive_a_crash",
            "numbers_outlive_a_crash",
            "settles_outlive_a_crash",
            "all_outlives_a_stop",
        ],
    ),
    (
        Sabotage::MergesGroups,
        &["repeats_after_the_ack_are_left_out", "groups_each_see_everything", "groups_settle_apart"],
    ),
    (
        Sabotage::SharesLeases,
        &[
            "repeats_after_the_ack_are_left_out",
            "groups_each_see_everything",
            "members_compete",
            "groups_settle_apart",
            "held_packets_are_nobody_elses",
            "the_dead_are_inherited",
            "only_holders_settle",
            "max_ack_pending_bounds",
            "stale_generations_settle_nothing",
            "extensions_hold",
            "a_key_is_one_members",
            "a_key_waits_for_its_first",
            "strict_is_one_line",
        ],
    ),
    (Sabotage::IgnoresCredits, &["settles_are_judged_one_by_one", "the_future_is_not_settled", "credits_bound"]),
    (Sabotage::IgnoresHolding, &["who_holds_on_goes_on", "what_is_over_is_told"]),
    (Sabotage::AssumesHolding, &["who_forgot_frees"]),
    (Sabotage::LetsSessionsLinger, &["newer_sessions_end_older", "leases_end_with_a_crash"]),
    (
        Sabotage::ReversesGrants,
        &[
            "stored_once_in_order",
            "repeats_are_left_out",
            "gaps_are_refused",
            "publishes_fly",
            "producers_are_apart",
            "new_epochs_fence_old_ones",
            "numbers_count_on",
            "an_epoch_opens_again",
            "conflicts_change_nothing",
            "no_packet_is_a_dead_letter",
            "credits_bound",
            "floors_follow_settles",
            "rejections_are_dead_letters",
            "unordered_packets_flow",
            "a_key_is_one_members",
            "a_key_waits_for_its_first",
            "a_key_comes_again_in_order",
            "other_keys_flow",
            "strict_is_one_line",
            "packets_outlive_a_crash",
            "numbers_outlive_a_crash",
            "all_outlives_a_stop",
        ],
    ),
    (Sabotage::TakesStaleLeases, &["stale_leases_settle_nothing", "leases_end_with_a_crash"]),
    (Sabotage::TakesAnyones, &["only_holders_settle"]),
    (Sabotage::TakesTheFuture, &["the_future_is_not_settled"]),
    (Sabotage::TakesStaleGenerations, &["stale_generations_settle_nothing"]),
    (Sabotage::RefusesRepeats, &["settles_repeat", "rejections_repeat"]),
    (Sabotage::IgnoresExtensions, &["extensions_hold", "extensions_end"]),
    (
        Sabotage::IgnoresRetries,
        &["retries_wait", "retries_come_at_once", "a_key_comes_again_in_order", "other_keys_flow"],
    ),
    (Sabotage::RetriesAtOnce, &["retries_wait", "retries_back_off", "unordered_packets_flow", "other_keys_flow"]),
    (Sabotage::IgnoresDelays, &["retries_wait", "retries_come_at_once", "unordered_packets_flow", "other_keys_flow"]),
    (Sabotage::AcksRejections, &["rejections_are_dead_letters", "rejections_repeat", "dead_letters_outlive_a_crash"]),
    (
        Sabotage::GenerationsStand,
        &["generations_grow", "stale_generations_settle_nothing", "extensions_hold", "generations_outlive_a_crash"],
    ),
    (Sabotage::FloorRunsAhead, &["floors_follow_settles"]),
    (Sabotage::FloorFallsBack, &["floors_only_grow", "dead_letters_move_the_floor", "floors_outlive_a_crash"]),
    (Sabotage::FloorIsShared, &["groups_settle_apart"]),
    (
        Sabotage::BuriesNothing,
        &[
            "conflicts_are_dead_letters",
            "conflicts_change_nothing",
            "no_packet_is_a_dead_letter",
            "rejections_are_dead_letters",
            "rejections_repeat",
            "deliveries_are_bounded",
            "retries_are_deliveries",
            "dead_letters_move_the_floor",
            "the_key_goes_on",
            "parked_keys_are_dead_letters",
            "business_keys_outlive_a_crash",
            "crashes_count_as_deliveries",
            "dead_letters_outlive_a_crash",
            "parked_keys_stay_parked",
        ],
    ),
    (
        Sabotage::ForgetsAll,
        &[
            "packets_outlive_a_crash",
            "numbers_outlive_a_crash",
            "epochs_outlive_a_crash",
            "business_keys_outlive_a_crash",
            "settles_outlive_a_crash",
            "floors_outlive_a_crash",
            "generations_outlive_a_crash",
            "leases_end_with_a_crash",
            "crashes_count_as_deliveries",
            "dead_letters_outlive_a_crash",
            "parked_keys_stay_parked",
            "blocked_keys_stay_blocked",
            "all_outlives_a_stop",
        ],
    ),
    (Sabotage::ForgetsDeliveriesInACrash, &["crashes_count_as_deliveries"]),
];

#[test]
fn each_sabotage_trips_the_cases_that_it_breaks() {
    let mut wrong = Vec::new();
    for (sabotage, expected) in SABOTAGES {
        run(async {
            let report = kit::run(&Spoiled(*sabotage)).await;
            if report.failed() != *expected {
                wrong.push(format!("(Sabotage::{sabotage:?}, &{:?}),\n{report}", report.failed()));
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_is_tripped_by_some_sabotage() {
    let tripped: BTreeSet<&str> = SABOTAGES.iter().flat_map(|(_, cases)| cases.iter().copied()).collect();
    let never: Vec<&str> = CASES.iter().map(|case| case.name).filter(|name| !tripped.contains(name)).collect();
    assert!(never.is_empty(), "cases that were never seen to fail: {never:?}");
}

#[test]
fn a_channel_in_memory_refuses_what_it_has_no_room_for() {
    run(async {
        let limits = MemoryLimits { packets_max: 3, bytes_max: 1 << 20 };
        let memory = Memory::new(&VirtualMachine::new().guest(), &kit::plan(kit::options(1_000_000)), limits);
        let mut edge = memory.open("edge", Epoch(1)).await.expect("edge has a link");
        let packets = |from: u64, count: u64| -> Vec<Bytes> {
            (from..from + count).map(|n| Item::new("a").encode("edge", 1, Seq(n))).collect()
        };
        assert_eq!(edge.publish(Seq(1), packets(1, 2)).await.ok(), Some(Seq(2)));
        let full = edge.publish(Seq(3), packets(3, 2)).await;
        assert!(matches!(full, Err(ChannelError::Full)), "{full:?}");
        let garbage = edge.publish(Seq(3), vec![Bytes::from_static(b"no packet")]).await;
        assert_eq!(garbage.ok(), Some(Seq(3)), "nothing of what was refused was stored");
        let full = edge.publish(Seq(4), packets(4, 1)).await;
        assert!(matches!(full, Err(ChannelError::Full)), "a dead letter counts until it is taken: {full:?}");
        assert_eq!(memory.take_dead_letters().len(), 1);
        assert_eq!(edge.publish(Seq(4), packets(4, 1)).await.ok(), Some(Seq(4)));
    });
}

/// The page shows every case as it is, and which kinds promise it.
#[test]
fn the_page_tells_every_case() {
    let page = include_str!("../../../docs/channels.md");
    let row = |case: &Case| {
        let needs: Vec<&str> = case.needs.iter().map(|need| need.name()).collect();
        let memory = if case.needs.contains(&Promise::Durable) { "not promised" } else { "yes" };
        format!("| `{}` | {} | {} | {memory} | yes | yes |", case.name, case.says, needs.join(", "))
    };
    let missing: Vec<String> = CASES.iter().map(row).filter(|row| !page.lines().any(|line| line == row)).collect();
    assert!(missing.is_empty(), "docs/channels.md lacks\n{}", missing.join("\n"));
}
