//! SIGKILL at random moments while the quakes are replayed; the supervisor restarts what died.
#![expect(clippy::disallowed_methods, reason = "tests of real processes wait for real")]

use std::time::Duration;

use rustix::process::Signal;
use seaworthy_reports::read::parse;
use seaworthy_reports::result::Verdict;
use xxhash_rust::xxh3::xxh3_64;

use super::run::{Running, signal, until};
use super::story::Story;
use super::{count, frames};

/// Kills in one run of the graph; more are done in further runs.
const KILLS_A_ROUND: u64 = 40;
/// Events of the input.
const QUAKES: u64 = 1_707;
/// Longest time between a child's start and its death.
const LIFE_MS_MAX: u64 = 500;
/// So large that no segment is recycled: the journal then still holds every packet.
const SEGMENT_BYTES: &str = "33554432";
const TARGETS: [&[&str]; 3] = [&["edge"], &["hub"], &["edge", "hub"]];

/// The `n`-th kill: whom, and how long after all are up.
fn kill(n: u64) -> (&'static [&'static str], u64) {
    let draw = xxh3_64(&n.to_le_bytes());
    (TARGETS[(draw % 3) as usize], draw / 3 % LIFE_MS_MAX)
}

#[test]
fn kill_loop() {
    let kills = count("SEAWORTHY_KILLS", 10);
    let mut done = 0;
    while done < kills {
        let began = done;
        done = round(done, kills.min(done + KILLS_A_ROUND));
        assert!(done > began, "the input ended before the first kill");
    }
}

/// One run of the graph with kills `from..to`, as many as come before its input ends; gives the next.
fn round(from: u64, to: u64) -> u64 {
    let lives: u64 = (from..to).map(|n| kill(n).1 + 350).sum();
    let story = Story::new(1, i64::try_from(lives + 500).expect("a round lasts minutes at most"));
    let mut command = story.command();
    command.args(["--segment-bytes", SEGMENT_BYTES, "--report"]).arg(story.path("report.json"));
    let mut running = Running::start(command);
    let mut next = from;
    let mut deaths = 0;
    while next < to {
        let (targets, life_ms) = kill(next);
        let is_up = |running: &Running| targets.iter().all(|process| running.child(process).is_some());
        until(&mut running, "all that is to be killed", |running| running.has_ended() || is_up(running));
        std::thread::sleep(Duration::from_millis(life_ms));
        let pids: Vec<u32> = targets.iter().filter_map(|process| running.child(process)).collect();
        if running.has_ended() || running.has_said("run | edge: ") {
            break;
        }
        pids.iter().for_each(|pid| signal(*pid, Signal::KILL));
        deaths += pids.len();
        next += 1;
        // The supervisor has seen it, so that the next kill meets another incarnation.
        let gone =
            |running: &Running| targets.iter().zip(&pids).all(|(process, pid)| running.child(process) != Some(*pid));
        until(&mut running, "the supervisor's word of the kill", |running| running.has_ended() || gone(running));
    }
    assert_eq!(running.code(), Some(0), "{}", running.said());
    let repeats = story.check_sinks(&story.path("out"));
    let file = parse(&std::fs::read_to_string(story.path("report.json")).expect("it wrote its report"));
    let file = file.expect("its report is a result");
    let all = &file.scenarios[0].phases["all"];
    // What the sinks hold and what the run's own ledger says of it.
    assert_eq!((file.verdict, all.lost_all(), all.unresolved), (Verdict::Pass, 0, 0), "{:?}", file.scenarios[0].seeds);
    assert_eq!(all.offered, QUAKES, "{all:?}");
    let journal = frames::read(&story.path("data/hub"));
    let stored = journal.check_once("channel/uplink");
    assert_eq!(stored, story.expected.quakes(), "packets in the hub's journal");
    let restarts = running.times_said("killed by signal 9 (restart");
    eprintln!(
        "kill_loop: kills {from}..{next} ended {deaths} processes, {restarts} restarts; 0 of {stored} quakes lost; repeats: {} \
         raw, {} windows; the hub's journal holds each identity once ({} frames)",
        repeats.raw, repeats.windows, journal.frames
    );
    eprintln!(
        "kill_loop: a SIGKILL leaves the page cache alone, so this does not test fsync: the simulated power cut does"
    );
    assert!(restarts > 0 && restarts <= deaths, "{restarts} restarts after {deaths} deaths\n{}", running.said());
    next
}
