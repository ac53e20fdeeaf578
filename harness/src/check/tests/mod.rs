//! Each check trips on a handmade breach of its own, and none of them on a history without one; the ledger's words, and its
//! balance for any mix of answers and effects.

mod channels;
mod hosts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use seaworthy_engine::journal::Durability;
use seaworthy_engine::node::Class;
use seaworthy_engine::observe::{Event, What};
use seaworthy_engine::packet::{Epoch, Identity, ProducerId, Seq};
use seaworthy_reports::phases::Phase;
use seaworthy_reports::pool::Pool;
use seaworthy_reports::run::{Answer, Fate};

use super::*;
use crate::figures::{SeedFacts, seed_run};
use crate::history::{Applied, Buried, DiskFact, Effect, Letter, Probed, Unless, Unsound};
use crate::ledger::{Declared, LedgerError, answers, join, taking_part};
use crate::outside;
use crate::plan::{Action, Start, Step, Tuning};
use crate::reference::tests::{events, flow};
use crate::reference::{Expected, evaluate};
use crate::undone;

const S: Ns = 1_000_000_000;

/// q1 visible and folded into k@0 · q2 filtered · q3 visible, closes k@0 · q4 visible, its window stays open.
const LOAD: [(&str, i64, &str); 4] = [("q1", 1, "10"), ("q2", 2, "3"), ("q3", 11, "12"), ("q4", 12, "13")];

fn offers(rows: &[(&str, i64, &str)]) -> Vec<OfferRecord> {
    let offer = |(at, (id, ..)): (usize, &(&str, i64, &str))| OfferRecord {
        entry: "edge.feed".into(),
        seq: Seq(at as u64 + 1),
        packet_id: (*id).into(),
        key: Some("k".into()),
        intended_ns: (at as u64 + 1) * S,
        accepted_ns: Some((at as u64 + 1) * S + 1_000_000),
        rejected: None,
        attempts: 1,
    };
    rows.iter().enumerate().map(offer).collect()
}

fn effect(endpoint: &str, at_ns: Ns, packet_id: &str, content: &str) -> Effect {
    let content = Bytes::copy_from_slice(content.as_bytes());
    Effect { endpoint: endpoint.into(), at_ns, packet_id: packet_id.into(), key: Some("k".into()), content }
}

fn probed(host: &str, at_ns: Ns, what: What, place: &str, pseq: u64, seq: u64) -> Probed {
    let identity = Identity::Entered { producer: ProducerId(7), epoch: Epoch(1), pseq: Seq(pseq) };
    let event = Event { what, place: place.into(), identity: Some(identity), seq: Seq(seq), attempt: 1 };
    Probed { at_ns, host: host.into(), incarnation: 1, event }
}

fn settled() -> What {
    What::Settled { took_effect: true }
}

/// All goes well, with a power cut of the hub at 2.5 s.
fn well() -> History {
    let mut events = vec![probed("hub", 2 * S, What::SinkAcked, "raw", 1, 1)];
    for seq in 1..=3 {
        let at = (seq + 1) * S;
        let step = |what| probed("hub", at, what, "uplink", seq, seq);
        events.extend([step(What::Committed), step(What::Granted { to: None }), step(settled())]);
    }
    History {
        offers: offers(&LOAD),
        effects: vec![
            effect("hub.raw", 2 * S, "q1", "10"),
            effect("hub.raw", 4 * S, "q3", "12"),
            effect("hub.sums", 4 * S + 1, "k@0", "1"),
            effect("hub.raw", 5 * S, "q4", "13"),
        ],
        events,
        applied: vec![Applied {
            fault: "cut".into(),
            step: 0,
            from_ns: 2_500_000_000,
            to_ns: 3 * S,
            hits: 1,
            gauges: vec![],
        }],
        disk: vec![DiskFact {
            host: "hub".into(),
            at_ns: 2_500_000_000,
            what: "power cut lost 3 dirty sectors".into(),
        }],
        load_end_ns: 5 * S,
        end_ns: 8 * S,
        drained: true,
        ..History::default()
    }
}

fn plan() -> Plan {
    let action = Action::HostPowerCut { host: "hub".into(), restart_ns: S / 2 };
    let step = Step { fault: "cut".into(), start: Start::At { at_ns: 2_500_000_000 }, for_ns: None, action };
    Plan { seed: 1, steps: vec![step], ..Plan::default() }
}

fn expected(history: &History) -> Expected {
    expected_but(history, &Declared::default())
}

fn expected_but(history: &History, declared: &Declared) -> Expected {
    let taking_part = taking_part(history, declared);
    let taken = events(&LOAD).into_iter().filter(|event| taking_part.contains(&(event.entry.clone(), event.seq)));
    evaluate(&mut flow(), taken.collect())
}

fn violations(history: &History, limits: &Limits, declared: &Declared) -> Vec<Violation> {
    let ledger = join(history, &expected_but(history, declared), declared).unwrap();
    let at = |channel: &str, leased| {
        let (host, channel) = ("hub".into(), channel.into());
        ChannelAt { host, channel, one_way: true, leased }
    };
    let channels = [
        at("uplink", None),
        at(
            "pool",
            Some(Leased { max_deliver: Some(2), ack_wait_ns: 0, backoff_ns: 0, pending: Some(2), parks: false }),
        ),
        at(
            "patient",
            Some(Leased { max_deliver: None, ack_wait_ns: S, backoff_ns: S / 10, pending: None, parks: false }),
        ),
        at("lot", Some(Leased { max_deliver: Some(1), ack_wait_ns: 0, backoff_ns: 0, pending: None, parks: true })),
    ];
    let undone = undone::undone(history);
    let inboxes = [InboxAt { host: "hub".into(), node: "short".into(), max: 2 }];
    let (undone, plan) = (&undone, &plan());
    let case = Case { history, undone, ledger: &ledger, plan, limits, channels: &channels, inboxes: &inboxes };
    judge_all(&case, &[])
}

/// How many breaches one check finds where there are neither channels nor inboxes.
fn breaches(judge: Judge, history: &History, plan: &Plan) -> usize {
    let ledger = join(history, &expected(history), &Declared::default()).unwrap();
    let (undone, limits) = (BTreeSet::new(), Limits::default());
    let case = Case { history, undone: &undone, ledger: &ledger, plan, limits: &limits, channels: &[], inboxes: &[] };
    judge(&case).len()
}

fn buried(packet_id: &str, class: &str) -> Buried {
    let [host, packet_id, class, node] = ["hub", packet_id, class, "raw"].map(str::to_owned);
    Buried { host, packet_id, class, node }
}

/// The checks that `breach` trips, and what they say.
#[track_caller]
fn trips(breach: impl FnOnce(&mut History), wanted: &[(&str, &str)]) {
    let mut history = well();
    breach(&mut history);
    let found = violations(&history, &Limits::default(), &Declared::default());
    let mut found: Vec<(&str, &str)> =
        found.iter().map(|found| (found.check.as_str(), found.message.as_str())).collect();
    found.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn a_good_history_trips_nothing() {
    trips(|_| {}, &[]);
}

#[test]
fn every_check_has_a_name_of_its_own() {
    assert_eq!(names().collect::<BTreeSet<_>>().len(), CHECKS.len());
}

#[test]
fn a_lost_packet_names_the_power_cut_between() {
    trips(
        |history| drop(history.effects.remove(0)),
        &[
            (
                "durability",
                "q1 accepted 1.001 s, hub power cut 2.500 s, not at hub.raw; disk: power cut lost 3 dirty sectors 2.500 s",
            ),
            ("lost", "q1 (edge.feed 1) accepted 1.001 s, never visible at hub.raw"),
            ("probe.contradiction", "hub.raw confirmed its packet number 1 at 2.000 s, but holds 0"),
        ],
    );
}

#[test]
fn a_missing_window_loses_what_was_folded_into_it() {
    trips(
        |history| drop(history.effects.remove(2)),
        &[
            (
                "durability",
                "q1 accepted 1.001 s, hub power cut 2.500 s, not at hub.sums; disk: power cut lost 3 dirty sectors 2.500 s",
            ),
            ("lost", "q1 (edge.feed 1) accepted 1.001 s, k@0 is missing, never visible at hub.sums"),
            ("lost", "q3 (edge.feed 3) accepted 3.001 s, k@0 is missing, never visible at hub.sums"),
        ],
    );
}

#[test]
fn what_is_missing_while_the_world_is_not_quiet_is_unresolved() {
    trips(
        |history| {
            history.effects.pop();
            history.drained = false;
        },
        &[("unresolved", "q4, due 4.000 s, is not at hub.raw when the world ends 8.000 s")],
    );
    trips(|history| history.drained = false, &[("unresolved", "still not quiet when the world ends 8.000 s")]);
}

#[test]
fn effects_that_nobody_expected_are_named() {
    trips(
        |history| {
            history.effects.push(effect("hub.raw", 6 * S, "q2", "3"));
            history.effects.push(effect("hub.raw", 7 * S, "q4", "14"));
        },
        &[
            ("unexpected", "q2 at hub.raw 6.000 s: nobody expected it here"),
            (
                "unexpected",
                "q4 at hub.raw 7.000 s: its content is not what was expected: around byte 1 it holds `14`, expected was `13`",
            ),
        ],
    );
}

#[test]
fn declared_ends_are_not_lost_but_counted() {
    trips(
        |history| {
            history.effects.pop();
            history.dead_letters.push(buried("q4", "sink.permanent"));
        },
        &[("dead_lettered", "q4 is a dead letter on hub: sink.permanent")],
    );
    trips(
        |history| {
            history.effects.pop();
            history.offers[3].accepted_ns = None;
            history.offers[3].rejected = Some("journal.full".into());
        },
        &[("rejected", "q4, due 4.000 s, rejected at edge.feed: journal.full")],
    );
    trips(
        |history| history.reported_lost.push(("hub".into(), "records 100..120".into())),
        &[("lost.reported", "hub reported lost, though no fault destroyed it: records 100..120")],
    );
    let mut history = well();
    history.effects.pop();
    let names = || BTreeSet::from(["q4".to_owned()]);
    let by_rule = || BTreeMap::from([("q4".to_owned(), "inbox.drop_new".to_owned())]);
    let declared = |declared: Declared| {
        let found = violations(&history, &Limits::default(), &declared);
        found.iter().map(|found| format!("{}: {}", found.check, found.message)).collect::<Vec<_>>()
    };
    let shed = declared(Declared { shed: by_rule(), ..Declared::default() });
    assert_eq!(shed, ["shed: q4, due 4.000 s, dropped by inbox.drop_new before hub.raw"]);
    let window = declared(Declared { lost_window: names(), ..Declared::default() });
    assert_eq!(window, ["lost.window: q4 accepted 4.001 s, gone with what edge had not synced, not at hub.raw"]);
}

#[test]
fn a_window_is_what_was_gone_not_synced_and_young_when_its_host_ended() {
    let lost = |change: &dyn Fn(&mut History, &mut Plan)| {
        // q1 to q4 are accepted at 1.001 s to 4.001 s; from q2 on all is gone, the power went at 4.2 s.
        let mut history = well();
        history.gone = (2..=4).map(|seq| ("edge.feed".into(), Seq(seq))).collect();
        history.forgot = vec![("edge".into(), 4_200_000_000)];
        history.ends = history.forgot.clone();
        let durability = Some(Durability::Interval { ms: 1_200 });
        let mut plan = Plan { engine: Tuning { durability, ..Tuning::default() }, ..Plan::default() };
        change(&mut history, &mut plan);
        outside::declared(&history, &plan).lost_window.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(lost(&|_, _| {}), ["q3", "q4"], "q2 was older than the interval");
    assert_eq!(lost(&|history, _| history.gone.clear()), [""; 0], "all is there");
    assert_eq!(lost(&|history, _| history.forgot.clear()), [""; 0], "no disk forgot anything");
    assert_eq!(lost(&|history, _| history.forgot[0].0 = "hub".into()), [""; 0]);
    assert_eq!(lost(&|_, plan| plan.engine = Tuning::default()), [""; 0], "commits are synced");
    let synced = |history: &mut History, _: &mut Plan| {
        history.events.push(probed("edge", 3_500_000_000, What::Synced, "edge", 1, 9));
    };
    assert_eq!(lost(&synced), ["q4"]);
    let os = |_: &mut History, plan: &mut Plan| plan.engine.durability = Some(Durability::Os);
    assert_eq!(lost(&os), ["q2", "q3", "q4"], "its window is as long as nobody syncs");
    let os_synced = |history: &mut History, plan: &mut Plan| {
        os(history, plan);
        synced(history, plan);
    };
    assert_eq!(lost(&os_synced), ["q4"]);
    // Killed long before: what counts is how old it was then.
    assert_eq!(lost(&|history, _| history.forgot[0].1 = 9 * S), ["q3", "q4"]);
    let slow = |_: &mut History, plan: &mut Plan| {
        let action = Action::HostPause { host: "edge".into() };
        plan.steps.push(Step { fault: "slow".into(), start: Start::At { at_ns: S }, for_ns: None, action });
    };
    assert_eq!(lost(&slow), ["q2", "q3", "q4"]);
}

#[test]
fn a_budget_is_met_or_exceeded_by_what_lies_beyond() {
    let mut history = well();
    history.dead_letters = (0..3).map(|at| buried(&format!("x{at}"), "unknown")).collect();
    let over = |dead_lettered| {
        violations(&history, &Limits { dead_lettered, ..Limits::default() }, &Declared::default()).len()
    };
    assert_eq!((over(Some(0)), over(Some(2)), over(Some(3)), over(None)), (3, 1, 0, 0));
}

#[test]
fn a_check_lists_a_hundred_and_counts_the_rest() {
    let mut history = well();
    history.effects.extend((0..130).map(|at| effect("hub.raw", 6 * S + at, &format!("x{at}"), "1")));
    let found = violations(&history, &Limits::default(), &Declared::default());
    assert_eq!(found.len(), 101);
    assert_eq!((found[100].check.as_str(), found[100].message.as_str()), ("unexpected", "and 30 more"));
}

#[test]
fn an_event_that_was_never_answered_is_recovered_once_it_is_seen() {
    let mut history = well();
    history.offers[3].accepted_ns = None;
    assert_eq!(answers(&history)[3], Answer::Recovered);
    let ledger = join(&history, &expected(&history), &Declared::default()).unwrap();
    assert_eq!(ledger.sinks[0].rows[3].fate, Fate::Visible);
    history.effects.pop();
    assert_eq!(answers(&history)[3], Answer::Indeterminate);
    let ledger = join(&history, &expected(&history), &Declared::default()).unwrap();
    assert_eq!(ledger.sinks[0].rows[3].fate, Fate::NotTaken);
}

#[test]
fn books_that_do_not_balance_are_the_harness_s_own_error() {
    let history = well();
    let mut expected = expected(&history);
    expected.events.remove(&(Arc::from("edge.feed"), Seq(2)));
    let error = join(&history, &expected, &Declared::default()).unwrap_err();
    assert!(matches!(error, LedgerError::TakingPart { seq: Seq(2), evaluated: false, .. }), "{error}");
    let mut stray = well();
    stray.effects[0].endpoint = "hub.nowhere".into();
    let error = join(&stray, &self::expected(&stray), &Declared::default()).unwrap_err();
    assert_eq!(error, LedgerError::Endpoint("hub.nowhere".into()));
    let mut twice = well();
    twice.offers.push(twice.offers[0].clone());
    let error = join(&twice, &self::expected(&twice), &Declared::default()).unwrap_err();
    assert!(matches!(error, LedgerError::Offer { seq: Seq(1), .. }), "{error}");
}

#[test]
fn the_figures_of_a_seed_follow_the_ledger() {
    let mut history = well();
    history.effects.push(effect("hub.raw", 6 * S, "q1", "10"));
    history.events.push(probed("hub", S, What::Refused { reason: "lane.duplicate".into() }, "uplink", 1, 0));
    let ledger = join(&history, &expected(&history), &Declared::default()).unwrap();
    let run = seed_run(SeedFacts { seed: 1, ..SeedFacts::default() }, &history, &ledger, &[]);
    let mut pool = Pool::default();
    pool.add(&run);
    let all = pool.phase(&Phase::All).unwrap().to_result();
    assert_eq!((all.offered, all.accepted, all.visible, all.absorbed, all.folded, all.lost), (4, 4, 3, 1, 0, 0));
    // Five copies, of which one is a repeat; three packets over the channel and four effects, of which two came again.
    assert_eq!((all.duplicate_ratio, all.replay_ratio), (0.2, 0.285714));
    assert_eq!(run.faults.len(), 1);
}

/// What one offer of a random history came to at the border, and its copies at `hub.raw` with true and false content.
fn answered() -> impl Strategy<Value = (u8, u8, u8)> {
    (0_u8..4, 0_u8..3, 0_u8..2)
}

proptest! {
    #[test]
    fn conservation_holds_whatever_happens(
        rows in prop::collection::vec((8_u64..14, 0_i64..60, answered()), 0..40),
        sums in prop::collection::vec(0_i64..60, 0..6),
        dead in prop::collection::btree_set(0_usize..40, 0..4),
        drained: bool,
    ) {
        let mut history = History { drained, end_ns: 99 * S, ..History::default() };
        let load: Vec<(String, i64, String)> =
            rows.iter().enumerate().map(|(at, (number, ts, _))| (format!("q{at}"), *ts, number.to_string())).collect();
        let load: Vec<(&str, i64, &str)> = load.iter().map(|(id, ts, number)| (id.as_str(), *ts, number.as_str())).collect();
        history.offers = offers(&load);
        for (at, (_, _, (answer, copies, strays))) in rows.iter().enumerate() {
            let offer = &mut history.offers[at];
            match answer {
                0 => offer.accepted_ns = None,
                1 => (offer.accepted_ns, offer.rejected) = (None, Some("full".into())),
                _ => {}
            }
            let (id, _, number) = load[at];
            history.effects.extend((0..*copies).map(|_| effect("hub.raw", 5 * S, id, number)));
            history.effects.extend((0..*strays).map(|_| effect("hub.raw", 6 * S, id, "stray")));
        }
        history.effects.extend(sums.iter().map(|start| effect("hub.sums", 7 * S, &format!("k@{}", start - start % 10), "1")));
        history.dead_letters = dead.iter().map(|at| buried(&format!("q{at}"), "unknown")).collect();

        let taking_part = taking_part(&history, &Declared::default());
        let taken = events(&load).into_iter().filter(|event| taking_part.contains(&(event.entry.clone(), event.seq)));
        let expected = evaluate(&mut flow(), taken.collect());
        let ledger = join(&history, &expected, &Declared::default()).expect("the books balance");
        for account in &ledger.sinks {
            let count = |fate| account.rows.iter().filter(|row| row.fate == fate).count();
            let ended = [Fate::Visible, Fate::Absorbed, Fate::Folded, Fate::DeadLettered, Fate::Unresolved, Fate::Lost];
            prop_assert_eq!(taking_part.len(), ended.into_iter().map(count).sum::<usize>());
            prop_assert_eq!(history.offers.len() - taking_part.len(), count(Fate::NotTaken));
            let ruled_out = if drained { Fate::Unresolved } else { Fate::Lost };
            prop_assert_eq!(count(ruled_out), 0);
            for row in &account.rows {
                prop_assert_eq!(row.fate == Fate::Visible, row.visible_ns.is_some());
                prop_assert!(row.fate != Fate::Visible || row.copies >= row.expected);
            }
        }
        let mut pool = Pool::default();
        pool.add(&seed_run(SeedFacts::default(), &history, &ledger, &[]));
        let all = pool.phase(&Phase::All).expect("`all` is always there").to_result();
        prop_assert_eq!(all.offered, all.accepted + all.rejected + all.indeterminate);
        let ends = all.visible + all.absorbed + all.folded + all.dead_lettered + all.unresolved + all.lost;
        prop_assert_eq!(all.accepted + all.recovered, ends);
    }
}
