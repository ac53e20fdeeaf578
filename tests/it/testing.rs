//! Scenarios as tests of a Rust project.

use seaworthy_reports::result::Verdict;

#[test]
fn a_scenario_is_a_test_in_one_line() {
    seaworthy_harness::scenario("scenarios/nn_1_2.toml").seeds(1..=8).run().assert_pass();
}

/// Which of two ways is faster matters to a window, and a small segment can't hold all that is half done: with other faults than its
/// own this scenario may fail, so nobody explores around it.
#[test]
fn a_window_counts_what_comes_by_two_ways_twice_and_no_more() {
    seaworthy_harness::scenario("scenarios/narrow/diamond.toml").seeds(1..=8).run().assert_pass();
}

/// With segments as small as an explorer draws them, fewer keys are remembered than this needs.
#[test]
fn all_business_keys_are_known_again_after_a_restart() {
    seaworthy_harness::scenario("scenarios/narrow/keys_many.toml").seeds(1..=4).run().assert_pass();
}

#[test]
fn a_failure_says_what_broke_and_how_to_see_it_again() {
    let ran = seaworthy_harness::scenario("scenarios/must_fail/lose_effect.toml").seeds(1..=2).jobs(1).run();
    assert_eq!(ran.verdict(), Verdict::Fail);
    for part in [
        "FAIL lose_effect",
        "again: seaworthy sim",
        "smallest plan: 1 fault, 1 packet",
        "\"schema\":\"seaworthy.plan/v1\"",
    ] {
        assert!(ran.report().contains(part), "{part}: {}", ran.report());
    }
    let failed = std::panic::catch_unwind(|| ran.assert_pass()).expect_err("it failed");
    let message = failed.downcast_ref::<String>().expect("the report is its message");
    assert!(message.contains("FAIL lose_effect"), "{message}");
}

#[test]
#[should_panic(expected = "could not run scenarios/nowhere.toml")]
fn a_file_that_is_not_there_fails_the_test() {
    let _ = seaworthy_harness::scenario("scenarios/nowhere.toml").run();
}
