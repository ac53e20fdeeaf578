//! Real processes on a real disk: killed, starved of room, cut off, and given what is wrong.
//!
//! Every check here reads sinks and journals with code of its own ([`reader`], [`frames`]), never with the engine's.
//! A SIGKILL leaves the page cache alone, so none of this tests fsync: the simulated power cut does that.

mod bad_input;
mod bench;
mod changed_graph;
mod channels;
mod dead_letters;
mod frames;
mod full_disk;
mod hostile;
mod keys;
mod kill_loop;
mod network;
mod own_node;
mod peer;
mod queue;
mod queue_footers;
mod queue_fuzz;
mod queue_journal;
mod reader;
mod report;
mod run;
mod sharing;
mod story;
mod tls;

/// How many rounds a test goes, from the environment: `cargo ci real` goes more.
#[expect(clippy::disallowed_methods, reason = "how long to test is the environment's to say")]
fn count(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not `{text}`")),
        Err(_) => default,
    }
}

/// Says, where `cargo ci` finds it, what this machine refuses.
fn not_run(name: &str, why: &str) {
    let why: Vec<&str> = why.split_whitespace().collect();
    eprintln!("NOT RUN {name}: {}", why.join(" "));
}
