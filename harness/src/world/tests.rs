//! The world around the toy system: every fault over tens of seeds, twice each.

use std::collections::BTreeMap;

use bytes::Bytes;
use seaworthy_engine::node::Draft;
use seaworthy_engine::packet::{ContentType, Kind, Seq};

use super::toy::Toy;
use super::{SeedOutcome, WorldOptions, run_seed};
use crate::load::LoadEvent;
use crate::plan::{Action, DiskOp, Dist, Link, Ns, Plan, Start, Step};
use crate::sim::recorder::Recorder;
use crate::sim::trace::first_difference;

const MS: Ns = 1_000_000;
const SECOND: Ns = 1_000 * MS;

fn link(one_way: bool) -> Link {
    Link { a: "edge".into(), b: "hub".into(), one_way }
}

fn step(at_ns: Ns, for_ns: Option<Ns>, action: Action) -> Step {
    Step { fault: "f".into(), start: Start::At { at_ns }, for_ns, action }
}

fn workload(per_second: u64, duration_ns: Ns) -> Vec<LoadEvent> {
    let event = |i| LoadEvent {
        entry: "edge.feed".into(),
        seq: Seq(i + 1),
        intended_ns: i * SECOND / per_second,
        draft: Draft {
            packet_id: format!("p{}", i + 1).into(),
            ts: 0,
            kind: Kind::Event,
            source_id: "toy".into(),
            key: None,
            content_type: ContentType::Bytes,
            payload: Bytes::new(),
            meta: BTreeMap::new(),
        },
    };
    (0..per_second * duration_ns / SECOND).map(event).collect()
}

struct Run {
    seed: u64,
    steps: Vec<Step>,
    duration_ns: Ns,
    leak: bool,
    panic_at: u64,
}

impl Run {
    fn new(steps: Vec<Step>) -> Run {
        Run { seed: 1, steps, duration_ns: 6 * SECOND, leak: false, panic_at: 0 }
    }

    fn go(&self) -> SeedOutcome {
        let recorder = Recorder::new(self.seed, true);
        let toy = Toy::new(&recorder, self.leak, self.panic_at);
        let plan = Plan { seed: self.seed, steps: self.steps.clone(), ..Plan::default() };
        let options = WorldOptions {
            duration_ns: self.duration_ns,
            gauges: vec!["edge.pending".into()],
            backlog: "edge.pending".into(),
            trigger: Box::new(|when, gauges| {
                let (what, least) = when.split_once(" > ").unwrap();
                let value = gauges.gauge(what).unwrap_or_else(|| gauges.count("hub", "log", what));
                value > least.parse().unwrap()
            }),
            ..WorldOptions::new(recorder)
        };
        run_seed(Box::new(toy), &plan, workload(100, self.duration_ns), options)
    }
}

/// Each number visible at least once, first in order, and everything accepted.
#[track_caller]
fn nothing_lost(outcome: &SeedOutcome) {
    let history = &outcome.history;
    assert_eq!(outcome.violations, []);
    assert!(history.drained, "not drained by {} ms: {:?}", history.end_ns / MS, history.exits);
    let mut seen: Vec<u64> = Vec::new();
    for effect in history.effects.iter().filter(|effect| effect.endpoint == "hub.out") {
        let seq = std::str::from_utf8(&effect.content).unwrap().parse().unwrap();
        if !seen.contains(&seq) {
            seen.push(seq);
        }
    }
    assert_eq!(seen, (1..=history.offers.len() as u64).collect::<Vec<_>>());
    assert!(history.offers.iter().all(|offer| offer.accepted_ns.is_some() && offer.attempts > 0));
}

/// Runs seeds of a plan, each twice: nothing is lost, each step had an effect, and the traces agree.
#[track_caller]
fn check(seeds: u64, steps: &[Step]) -> Vec<SeedOutcome> {
    let mut outcomes: Vec<SeedOutcome> = Vec::new();
    for seed in 1..=seeds {
        let run = Run { seed, ..Run::new(steps.to_vec()) };
        let outcome = run.go();
        nothing_lost(&outcome);
        assert_eq!(outcome.history.applied.len(), steps.len(), "seed {seed}");
        assert!(
            outcome.history.applied.iter().all(|applied| applied.hits > 0),
            "seed {seed}: {:?}",
            outcome.history.applied
        );
        let again = run.go();
        assert_eq!(first_difference(&outcome.trace.records, &again.trace.records), None, "seed {seed}");
        assert_eq!(outcome.trace.hash, again.trace.hash);
        outcomes.push(outcome);
    }
    outcomes
}

/// The longest time between two effects, ns.
fn longest_gap(outcome: &SeedOutcome) -> Ns {
    outcome.history.effects.windows(2).map(|pair| pair[1].at_ns - pair[0].at_ns).max().unwrap()
}

#[test]
fn without_faults_everything_passes_at_the_floor() {
    let outcome = &check(2, &[])[0];
    for (effect, offer) in outcome.history.effects.iter().zip(&outcome.history.offers).skip(20) {
        let latency = effect.at_ns - offer.intended_ns;
        assert!((MS..4 * MS).contains(&latency), "{} took {latency} ns", effect.packet_id);
    }
}

#[test]
fn a_cut_stalls_and_resumes() {
    for one_way in [false, true] {
        let steps = [step(2 * SECOND, Some(1500 * MS), Action::NetCut { link: link(one_way) })];
        for outcome in check(4, &steps) {
            let gap = longest_gap(&outcome);
            assert!((1490 * MS..1600 * MS).contains(&gap), "{gap}");
            assert_eq!(outcome.history.effects.len(), outcome.history.offers.len(), "one connection, so no repeats");
        }
    }
}

#[test]
fn a_cut_of_the_way_back_holds_acks_only() {
    let back = Link { a: "hub".into(), b: "edge".into(), one_way: true };
    let outcome = &check(2, &[step(2 * SECOND, Some(1500 * MS), Action::NetCut { link: back })])[0];
    assert!(longest_gap(outcome) < 20 * MS);
    let worst = outcome.history.offers.iter().map(|offer| offer.accepted_ns.unwrap() - offer.intended_ns).max();
    assert!(worst.unwrap() > 1400 * MS);
}

#[test]
fn a_long_cut_times_out_and_reconnects() {
    let steps = [step(2 * SECOND, Some(25 * SECOND), Action::NetCut { link: link(false) })];
    let outcome = Run { duration_ns: 30 * SECOND, ..Run::new(steps.to_vec()) }.go();
    nothing_lost(&outcome);
    let broken: Vec<u64> = outcome.trace.records.iter().filter(|r| r.kind == 16).map(|r| r.at_ns / SECOND).collect();
    assert_eq!(broken, [22, 27], "the sender at its timeout, the listener when it hears of it");
}

#[test]
fn latency_delays_and_keeps_order() {
    let add = Dist::Uniform { from_ns: 5 * MS, to_ns: 80 * MS };
    let steps = [step(SECOND, Some(3 * SECOND), Action::NetLatency { link: link(false), add })];
    let outcomes = check(4, &steps);
    assert_ne!(outcomes[0].trace.hash, outcomes[1].trace.hash, "seeds differ");
    assert!(outcomes.iter().all(|outcome| outcome.history.effects.len() == outcome.history.offers.len()));
}

#[test]
fn resets_break_both_ends() {
    let steps: Vec<Step> =
        (1..5).map(|i| step(i * SECOND + 3 * MS, None, Action::NetReset { link: link(false) })).collect();
    for outcome in check(4, &steps) {
        assert_eq!(outcome.trace.records.iter().filter(|r| r.kind == 16).count(), 8);
    }
}

#[test]
fn disks_fail_and_come_back() {
    let slow = Dist::Lognormal { p50_ns: 5 * MS, p99_ns: 100 * MS };
    check(4, &[step(SECOND, Some(SECOND), Action::DiskLatency { host: "hub".into(), add: slow })]);
    check(4, &[step(SECOND, Some(SECOND), Action::DiskFull { host: "hub".into() })]);
    for op in [DiskOp::Write, DiskOp::Sync] {
        let eio = Action::DiskEio { host: "hub".into(), op, ratio_ppm: 200_000 };
        for outcome in check(4, &[step(SECOND, Some(2 * SECOND), eio)]) {
            assert!(
                outcome.history.exits.iter().all(|(host, _, message)| host == "hub" && message.starts_with("exit 74"))
            );
        }
    }
}

#[test]
fn crashes_lose_nothing_and_leave_nothing_behind() {
    for host in ["edge", "hub"] {
        let crash = |at| step(at, None, Action::HostCrash { host: host.into(), restart_ns: 700 * MS });
        for outcome in check(12, &[crash(SECOND + 7 * MS), crash(3 * SECOND + 1300 * 1_000)]) {
            assert!(longest_gap(&outcome) >= 700 * MS);
            assert!(outcome.history.effects.len() <= outcome.history.offers.len() + 4);
        }
    }
}

#[test]
fn power_cuts_tear_the_disk_and_leave_peers_in_the_dark() {
    for host in ["edge", "hub"] {
        let torn = step(0, None, Action::DiskTorn { host: host.into() });
        let cut = step(2 * SECOND, None, Action::HostPowerCut { host: host.into(), restart_ns: 500 * MS });
        for outcome in check(12, &[torn, cut]) {
            assert!(longest_gap(&outcome) >= 500 * MS);
        }
    }
}

#[test]
fn a_restart_storm_passes() {
    for power in [false, true] {
        let storm = Action::HostRestartStorm {
            host: "hub".into(),
            up: Dist::Uniform { from_ns: MS, to_ns: 400 * MS },
            down: Dist::Uniform { from_ns: 5 * MS, to_ns: 200 * MS },
            power,
            operation: None,
        };
        for outcome in check(12, &[step(SECOND, Some(4 * SECOND), storm)]) {
            assert!(outcome.history.applied[0].hits > 8, "{:?}", outcome.history.applied);
        }
    }
}

#[test]
fn a_slow_sink_and_a_stuck_one() {
    let add = Dist::Constant { ns: 30 * MS };
    check(2, &[step(SECOND, Some(SECOND), Action::SinkSlow { sink: "hub.out".into(), add })]);
    let stuck = Action::Sabotage { breach: "stuck_sink".into(), on: "hub.out".into() };
    let outcome = &check(2, &[step(SECOND, Some(SECOND), stuck)])[0];
    assert!(longest_gap(outcome) >= 990 * MS);
}

#[test]
fn a_sabotage_without_an_end_outlives_the_heal() {
    let stuck = Action::Sabotage { breach: "stuck_sink".into(), on: "hub.out".into() };
    let outcome = Run::new(vec![step(5 * SECOND, None, stuck)]).go();
    assert!(!outcome.history.drained && outcome.history.effects.len() < outcome.history.offers.len());
}

#[test]
fn a_swallowed_offer_is_accepted_and_never_seen() {
    let swallow = Action::Sabotage { breach: "swallow_offer".into(), on: "edge.feed".into() };
    // The last event: the toy takes no gap.
    let outcome = Run::new(vec![step(5985 * MS, None, swallow)]).go();
    let history = &outcome.history;
    assert!(history.offers.iter().all(|offer| offer.accepted_ns.is_some()));
    assert_eq!((history.effects.len() + 1, history.applied[0].hits), (history.offers.len(), 1));
}

#[test]
fn a_lost_effect_is_missed() {
    let lose = Action::Sabotage { breach: "lose_effect".into(), on: "hub.out".into() };
    let outcome = Run::new(vec![step(SECOND, None, lose)]).go();
    assert_eq!(outcome.history.effects.len() + 1, outcome.history.offers.len());
    assert_eq!(outcome.history.applied[0].hits, 1);
}

#[test]
fn triggers_fire_on_gauges_and_counts() {
    let crash = Action::HostCrash { host: "hub".into(), restart_ns: 100 * MS };
    let cut = step(2 * SECOND, Some(SECOND), Action::NetCut { link: link(false) });
    let when = |when: &str| Step { start: Start::When { when: when.into() }, ..step(0, None, crash.clone()) };
    let outcome =
        Run::new(vec![cut, when("edge.pending > 50"), when("committed > 100"), when("committed > 9999")]).go();
    nothing_lost(&outcome);
    let applied = &outcome.history.applied;
    assert_eq!(applied.iter().map(|a| a.step).collect::<Vec<_>>(), [2, 0, 1], "the last never held");
    assert!((2500 * MS..2530 * MS).contains(&applied[2].from_ns), "{applied:?}");
    assert_eq!(applied[2].gauges, [("edge.pending".to_owned(), 51)]);
}

/// How the connections ended that crashed incarnations of the edge had leaked.
#[track_caller]
fn ghosts(down: impl Fn(Ns) -> Step, expected: &[&str]) {
    let outcome = Run { leak: true, ..Run::new(vec![down(2 * SECOND), down(4 * SECOND)]) }.go();
    nothing_lost(&outcome);
    assert!(outcome.history.events.iter().all(|probed| &*probed.event.place == "log"), "a ghost was heard");
    let ended: Vec<(&[u8], Ns)> = outcome
        .history
        .effects
        .iter()
        .filter(|effect| effect.endpoint == "hub.ghost")
        .map(|effect| (&*effect.content, effect.at_ns / MS))
        .collect();
    let at: Vec<&[u8]> = ended.iter().map(|(how, _)| *how).collect();
    assert_eq!(at, expected.iter().map(|how| how.as_bytes()).collect::<Vec<_>>(), "{ended:?}");
}

#[test]
fn ghosts_of_an_older_incarnation_are_inert() {
    let host = || "edge".to_owned();
    // The kernel of a killed process closes its connections; the ghosts, which live on, add no byte and no FIN.
    ghosts(
        |at| step(at, None, Action::HostCrash { host: host(), restart_ns: 100 * MS }),
        &["end after 0", "end after 0"],
    );
    ghosts(|at| step(at, None, Action::HostPowerCut { host: host(), restart_ns: 100 * MS }), &[]);
}

#[test]
fn a_panic_ends_the_seed_with_its_host() {
    let outcome = Run { panic_at: 100, ..Run::new(vec![]) }.go();
    assert_eq!(outcome.violations.len(), 1);
    let violation = &outcome.violations[0];
    assert_eq!(violation.check, "engine.panic");
    assert!(violation.message.starts_with("hub: ") && violation.message.contains("told to break"), "{violation:?}");
    assert!(!outcome.history.drained);
}

#[test]
fn a_minute_at_200_a_second() {
    let recorder = Recorder::new(1, false);
    let toy = Toy::new(&recorder, false, 0);
    let plan = Plan { seed: 1, ..Plan::default() };
    let outcome = run_seed(Box::new(toy), &plan, workload(200, 60 * SECOND), WorldOptions::new(recorder));
    assert_eq!(outcome.history.effects.len(), 12_000);
    assert!(outcome.history.drained);
}
