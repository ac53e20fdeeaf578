//! What a host holds and how its software ends: each check on a breach of its own.

use super::*;

#[test]
fn an_opening_goes_on_no_earlier_than_what_was_durable() {
    let steps = |recovered: u64| {
        move |history: &mut History| {
            let at = |at_ns, what, lsn| probed("hub", at_ns, what, "hub", 1, lsn);
            history.events.extend([at(6 * S, What::Synced, 9), at(7 * S, What::Recovered, recovered)]);
        }
    };
    trips(steps(9), &[]);
    trips(steps(12), &[]);
    let less = "the journal of hub had all below 9 durable 6.000 s, and goes on at 8 when opened 7.000 s";
    trips(steps(8), &[("journal.recovered", less)]);
    trips(
        |history| {
            steps(1)(history);
            history.wiped.push(("hub".into(), BTreeSet::new()));
        },
        &[],
    );
}

#[test]
fn a_journal_that_no_fault_spoilt_is_sound() {
    let spoilt = |unless: Option<Unless>| {
        move |history: &mut History| {
            history.unsound.push(Unsound {
                host: "hub".into(),
                at_ns: S,
                what: "seg-000000000001.swj is missing".into(),
                unless,
            });
        }
    };
    let missing = [("journal.sound", "the journal of hub: seg-000000000001.swj is missing")];
    trips(spoilt(None), &missing);
    trips(spoilt(Some(Unless::Fell)), &missing);
    trips(spoilt(Some(Unless::Full)), &missing);
    // Before the end all is still at work.
    trips(spoilt(Some(Unless::Busy)), &[]);
    let fell = |unless: Option<Unless>| {
        move |history: &mut History| {
            spoilt(unless)(history);
            history.ends.push(("hub".into(), 5 * S));
        }
    };
    trips(fell(Some(Unless::Fell)), &[]);
    trips(fell(None), &missing);
    trips(fell(Some(Unless::Full)), &missing);
    trips(
        |history| {
            spoilt(None)(history);
            history.rotted.push(("hub".into(), BTreeSet::new()));
        },
        &[],
    );
}

#[test]
fn a_dead_letter_says_what_happened() {
    let letter = |node: &str, class: Class, attempts| Letter {
        host: "hub".into(),
        identity: Identity::Entered { producer: ProducerId(7), epoch: Epoch(1), pseq: Seq(4) },
        packet_id: "q4".into(),
        key: Some("k".into()),
        content: Bytes::from_static(b"13"),
        seq: Some(Seq(4)),
        class: class.name().into(),
        node: node.into(),
        attempts,
    };
    let sink = |attempts| letter("raw", Class::SinkPermanent, attempts);
    let refused = |history: &mut History| {
        let reason = Class::SinkUnavailable.name().into();
        history.events.push(probed("hub", 5 * S, What::Refused { reason }, "raw", 4, 4));
    };
    trips(|history| history.letters.push(sink(1)), &[]);
    let more = [("dead_letter.record", "the dead letter of q4 (hub.raw) counts 2 tries, there were 1")];
    trips(|history| history.letters.push(sink(2)), &more);
    trips(
        |history| {
            refused(history);
            history.letters.push(sink(2));
        },
        &[],
    );
    trips(
        |history| history.letters.extend([sink(1), sink(1)]),
        &[("dead_letter.record", "the dead letter of q4 (hub.raw) is there twice")],
    );
    let pool = |attempts| letter("pool", Class::AttemptsExhausted, attempts);
    let granted = |history: &mut History| {
        history.events.push(probed("hub", 5 * S, What::Granted { to: None }, "pool", 4, 4));
    };
    let given_up = |attempts| {
        move |history: &mut History| {
            granted(history);
            history.letters.push(pool(attempts));
        }
    };
    trips(given_up(1), &[]);
    trips(given_up(2), &[("dead_letter.record", "the dead letter of q4 (hub.pool) counts 2 tries, there were 1")]);
}

#[test]
fn bounds_trip_once_for_each_stretch() {
    let mut history = well();
    history.backlog = vec![(S, 10), (2 * S, 11), (3 * S, 15), (4 * S, 9), (5 * S, 12)];
    history.disk_used = vec![("hub".into(), S, 100), ("edge".into(), S, 5000), ("hub".into(), 2 * S, 101)];
    let limits =
        Limits { backlog_max: Some(10), disk_bytes_max: [("hub".to_owned(), 100)].into(), ..Limits::default() };
    let found = violations(&history, &limits, &Declared::default());
    let found: Vec<String> = found.iter().map(|found| format!("{}: {}", found.check, found.message)).collect();
    assert_eq!(
        found,
        [
            "bounds.backlog: 15 packets inside, over 10, from 2.000 s",
            "bounds.disk: hub holds 101 bytes, over 100, from 2.000 s",
            "bounds.backlog: 12 packets inside, over 10, from 5.000 s",
        ]
    );
}

#[test]
fn a_panic_and_an_error_that_no_fault_explains_are_violations() {
    trips(
        |history| {
            history.exits.push(("hub".into(), S, "panic: index out of bounds".into()));
            history.exits.push(("hub".into(), S, "exit 74: could not sync".into()));
        },
        &[
            ("engine.ended", "hub at 1.000 s: exit 74: could not sync"),
            ("engine.panic", "hub at 1.000 s: panic: index out of bounds"),
        ],
    );
}

#[test]
fn a_disk_that_fails_explains_an_error_there_and_a_while_after() {
    let ended = |host: &str, at_ns| {
        let mut history = well();
        history.applied[0].from_ns = S;
        history.applied[0].to_ns = 2 * S;
        history.exits.push((host.into(), at_ns, "exit 74: could not sync".into()));
        let mut plan = plan();
        plan.steps[0].action =
            Action::DiskEio { host: "hub".into(), op: crate::plan::DiskOp::Sync, ratio_ppm: 1_000_000 };
        breaches(exits::ended, &history, &plan)
    };
    let found =
        [ended("hub", S - 1), ended("hub", S), ended("hub", 12 * S), ended("hub", 12 * S + 1), ended("edge", S)];
    assert_eq!(found, [1, 0, 0, 1, 1]);
}
