//! Seeds that failed once, run again each time: the scenario, the seed, and what was wrong.
#![expect(clippy::disallowed_methods, reason = "tests read the repository's own scenarios")]

use seaworthy_harness::run::Prepared;

/// A dialler lost its power between its SYN and its first word, and the simulated listener waited for that word for ever.
const LISTENER_WAITS_FOR_THE_DEAD: [(&str, u64); 9] = [
    ("nn_2_1", 800),
    ("nn_3_3", 232),
    ("nn_3_3", 571),
    ("nn_3_3", 593),
    ("nn_3_3", 617),
    ("nn_3_3", 1799),
    ("nn_3_3", 1993),
    ("nn_3_3", 2038),
    ("nn_3_3", 2423),
];

#[test]
fn seeds_that_failed_once_pass() {
    for (scenario, seed) in LISTENER_WAITS_FOR_THE_DEAD {
        let path = format!("{}/scenarios/{scenario}.toml", env!("CARGO_MANIFEST_DIR"));
        let prepared = Prepared::read(&path, &|path| std::fs::read_to_string(path), &seaworthy::std_registry());
        let prepared = prepared.unwrap_or_else(|error| panic!("{path}: {error}"));
        let judged = prepared.run_seed(seed, false).expect("the books balance");
        assert!(judged.violations.is_empty(), "{scenario} seed {seed}: {:?}", judged.violations.first());
    }
}
