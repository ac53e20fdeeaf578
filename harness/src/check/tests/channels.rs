//! Channels and order: each check on a breach of its own.

use seaworthy_engine::observe::Holder;

use super::*;

#[test]
fn order_is_judged_with_repeats_taken_out() {
    trips(|history| history.effects.push(effect("hub.raw", 6 * S, "q1", "10")), &[]);
    trips(
        |history| {
            history.effects[1].at_ns = 5 * S;
            history.effects.swap(1, 3);
        },
        &[("order.key", "q3 of key k at hub.raw 5.000 s, after q4, which is younger")],
    );
}

#[test]
fn a_channel_keeps_its_invariants() {
    let add = |what, pseq, seq| {
        move |history: &mut History| history.events.push(probed("hub", 6 * S, what, "uplink", pseq, seq))
    };
    trips(
        add(What::Committed, 2, 9),
        &[
            (
                "channel.committed_once",
                "hub.uplink committed 0000000000000007.1.2 as 9 at 6.000 s: that packet was there",
            ),
            (
                "channel.producer_order",
                "hub.uplink committed packet 2 of 0000000000000007 as 9 at 6.000 s, after its 3",
            ),
        ],
    );
    let admitted = |epoch| What::Admitted { producer: "edge".into(), epoch: Epoch(epoch) };
    trips(
        |history| {
            for epoch in [2, 3, 2] {
                history.events.push(probed("hub", 6 * S, admitted(epoch), "uplink", 3, 3));
            }
        },
        &[("channel.fenced", "hub.uplink took packets of edge in epoch 2 at 6.000 s, after some in 3")],
    );
    trips(
        add(What::Committed, 9, 2),
        &[(
            "channel.committed_once",
            "hub.uplink committed 0000000000000007.1.9 as 2 at 6.000 s: that number was there",
        )],
    );
    trips(
        |history| {
            add(What::Committed, 9, 2)(history);
            history.rotted.push(("hub".into(), BTreeSet::from(["q2".to_owned()])));
        },
        &[],
    );
    trips(
        add(settled(), 3, 3),
        &[("channel.settled_once", "hub.uplink 3 settled 4.000 s, and took effect again 6.000 s")],
    );
    trips(add(What::Settled { took_effect: false }, 3, 3), &[]);
    let refused = |reason: &str| What::Refused { reason: reason.into() };
    let twice = |reason: &'static str, incarnation| {
        move |history: &mut History| {
            history.events.push(probed("hub", 6 * S, refused("dedup.duplicate"), "uplink", 9, 0));
            let again = probed("hub", 7 * S, refused(reason), "uplink", 9, 0);
            history.events.push(Probed { incarnation, ..again });
        }
    };
    trips(twice("lane.duplicate", 1), &[]);
    trips(twice("dedup.duplicate", 2), &[]);
    trips(
        twice("dedup.conflict", 1),
        &[(
            "channel.refused_once",
            "hub.uplink refused 0000000000000007.1.9 6.000 s, and again 7.000 s: dedup.conflict",
        )],
    );
    trips(
        add(What::Granted { to: None }, 3, 3),
        &[
            ("channel.deliveries", "hub.uplink 3 handed out 2 times at 6.000 s, 1 allowed"),
            ("channel.floor", "hub.uplink 3 settled 4.000 s, yet handed out 6.000 s"),
        ],
    );
    let restarted = |incarnation| {
        move |history: &mut History| {
            history.events.push(probed("hub", 6 * S, What::Granted { to: None }, "uplink", 4, 4));
            let again = probed("hub", 7 * S, What::Granted { to: None }, "uplink", 4, 4);
            history.events.push(Probed { incarnation, ..again });
        }
    };
    trips(restarted(2), &[]);
    trips(restarted(1), &[("channel.deliveries", "hub.uplink 4 handed out 2 times at 7.000 s, 1 allowed")]);
    trips(|history| history.events.push(probed("edge", 6 * S, What::Committed, "uplink", 1, 1)), &[]);
}

#[test]
fn a_leased_packet_has_one_holder_and_only_it_settles() {
    let events = |steps: &[(u64, What)]| {
        let steps: Vec<Probed> = steps
            .iter()
            .map(|(incarnation, what)| Probed {
                incarnation: *incarnation,
                ..probed("hub", 6 * S, what.clone(), "pool", 1, 1)
            })
            .collect();
        move |history: &mut History| history.events.extend(steps)
    };
    let ended = |reason: &str| What::Refused { reason: reason.into() };
    let dead = |reason: &str| What::DeadLettered { reason: reason.into() };
    trips(events(&[(1, What::Granted { to: None }), (1, settled())]), &[]);
    for reason in ["lease.expired", "lease.retry", "lease.member_gone"] {
        trips(
            events(&[
                (1, What::Granted { to: None }),
                (1, ended(reason)),
                (1, What::Granted { to: None }),
                (1, settled()),
            ]),
            &[],
        );
    }
    trips(events(&[(1, What::Granted { to: None }), (2, What::Granted { to: None }), (2, settled())]), &[]);
    let twice = "hub.pool 1 leased 6.000 s, and again 6.000 s";
    trips(events(&[(1, What::Granted { to: None }), (1, What::Granted { to: None })]), &[("channel.one_lease", twice)]);
    let fenced = [(1, What::Granted { to: None }), (1, ended("lease.fenced")), (1, What::Granted { to: None })];
    trips(events(&fenced), &[("channel.one_lease", twice)]);
    let unheld = "hub.pool 1 settled 6.000 s, and nobody held it";
    trips(
        events(&[(1, What::Granted { to: None }), (1, ended("lease.expired")), (1, settled())]),
        &[("channel.held", unheld)],
    );
    trips(events(&[(1, What::Granted { to: None }), (2, settled())]), &[("channel.held", unheld)]);
    let buried =
        [(1, What::Granted { to: None }), (1, ended("lease.expired")), (1, dead("policy.rejected")), (1, settled())];
    trips(events(&buried), &[]);
    let often: Vec<(u64, What)> =
        (0..3).flat_map(|_| [(1, What::Granted { to: None }), (1, ended("lease.expired"))]).collect();
    trips(events(&often), &[("channel.deliveries", "hub.pool 1 handed out 3 times at 6.000 s, 2 allowed")]);
    let given_up = |times| {
        let again = [(1, What::Granted { to: None }), (1, ended("lease.expired"))];
        let end = [(1, dead("attempts.exhausted")), (1, settled())];
        std::iter::repeat_n(again, times).flatten().chain(end).collect::<Vec<_>>()
    };
    trips(events(&given_up(2)), &[]);
    trips(events(&given_up(1)), &[("channel.given_up", "hub.pool 1 given up at 6.000 s, handed out 1 times of 2")]);
}

#[test]
fn a_lease_runs_out_once_its_time_is_over() {
    let expired = |after_ns, incarnation| {
        move |history: &mut History| {
            let expired = What::Refused { reason: "lease.expired".into() };
            let expired = Probed { incarnation, ..probed("hub", 5 * S + after_ns, expired, "patient", 1, 1) };
            history.events.extend([probed("hub", 5 * S, What::Granted { to: None }, "patient", 1, 1), expired]);
        }
    };
    trips(expired(S - S / 20, 1), &[]);
    trips(expired(S / 2, 2), &[]);
    trips(expired(S / 2, 1), &[("channel.ack_wait", "hub.patient 1 leased 5.000 s, and ran out 5.500 s, too soon")]);
}

#[test]
fn what_ran_out_waits_before_it_is_handed_out_again() {
    let again = |after_ns, incarnation| {
        move |history: &mut History| {
            let granted = |at_ns| probed("hub", at_ns, What::Granted { to: None }, "patient", 1, 1);
            let expired = probed("hub", 6 * S, What::Refused { reason: "lease.expired".into() }, "patient", 1, 1);
            let next = Probed { incarnation, ..granted(6 * S + after_ns) };
            history.events.extend([granted(5 * S), expired, next]);
        }
    };
    trips(again(S / 10, 1), &[]);
    trips(again(0, 2), &[]);
    let soon = "hub.patient 1 ran out 6.000 s, and was handed out again 6.050 s, too soon";
    trips(again(S / 20, 1), &[("channel.backoff", soon)]);
}

#[test]
fn a_parked_key_stays_parked() {
    let events = |more: &'static [(u64, &'static str)]| {
        move |history: &mut History| {
            let entered = (1..=3).map(|seq| probed("edge", S, What::Entered, "feed", seq, seq));
            let dead = |reason: &str| What::DeadLettered { reason: reason.into() };
            let expired = What::Refused { reason: "lease.expired".into() };
            let told = more.iter().flat_map(|(seq, what)| {
                let whats = match *what {
                    "granted" => vec![What::Granted { to: None }],
                    "poison" => vec![expired.clone(), dead("attempts.exhausted"), settled()],
                    reason => vec![dead(reason), settled()],
                };
                whats.into_iter().map(|what| probed("hub", 6 * S, what, "lot", *seq, *seq))
            });
            history.events.extend(entered.chain(told));
        }
    };
    trips(events(&[(1, "granted"), (1, "poison"), (2, "ordering.blocked"), (3, "ordering.blocked")]), &[]);
    let granted = "hub.lot 2 of key k handed out 6.000 s, parked 6.000 s with 1";
    trips(events(&[(1, "granted"), (1, "poison"), (2, "granted")]), &[("channel.parked", granted)]);
    let alone = "hub.lot 2 given up 6.000 s for its key k, of which no packet was poison";
    trips(events(&[(2, "ordering.blocked")]), &[("channel.parked", alone)]);
    let untold = |history: &mut History| {
        events(&[(1, "granted"), (2, "ordering.blocked")])(history);
        history.letters.push(Letter {
            host: "hub".into(),
            identity: Identity::Entered { producer: ProducerId(7), epoch: Epoch(1), pseq: Seq(1) },
            packet_id: "q1".into(),
            key: Some("k".into()),
            content: Bytes::from_static(b"10"),
            seq: Some(Seq(1)),
            class: Class::AttemptsExhausted.name().into(),
            node: "lot".into(),
            attempts: 1,
        });
    };
    trips(untold, &[]);
}

#[test]
fn an_inbox_drops_the_oldest() {
    let events = |handled: u64| {
        move |history: &mut History| {
            let dropped = What::Dropped { reason: "inbox.drop_oldest".into() };
            history.events.push(probed("hub", 6 * S, dropped, "short", 9, 9));
            history.events.extend((1..=handled).map(|seq| probed("hub", 6 * S, What::Processed, "short", seq, seq)));
        }
    };
    trips(events(2), &[]);
    let third =
        "hub.short handled 3 at 6.000 s, older than 9, which was dropped as the oldest; more than its 2 in hand";
    trips(events(3), &[("shed.oldest", third)]);
}

#[test]
fn what_was_given_up_keeps_no_order() {
    let mut history = well();
    history.effects[1].at_ns = 5 * S;
    history.effects.swap(1, 3);
    assert_eq!(breaches(order::judge, &history, &plan()), 1);
    history.dead_letters.push(buried("q3", "attempts.exhausted"));
    assert_eq!(breaches(order::judge, &history, &plan()), 0);
}

#[test]
fn a_group_holds_no_more_than_declared() {
    let events = |steps: &'static [(u64, u64, bool)]| {
        move |history: &mut History| {
            let step = |(incarnation, seq, granted): &(u64, u64, bool)| {
                let what = if *granted { What::Granted { to: None } } else { settled() };
                Probed { incarnation: *incarnation, ..probed("hub", 6 * S, what, "pool", *seq, *seq) }
            };
            history.events.extend(steps.iter().map(step));
        }
    };
    trips(events(&[(1, 1, true), (1, 2, true), (1, 1, false), (1, 3, true)]), &[]);
    trips(events(&[(1, 1, true), (1, 2, true), (2, 3, true), (2, 1, true)]), &[]);
    let third = "hub.pool 3 handed out 6.000 s, with 2 others that are held: 2 may be";
    trips(events(&[(1, 1, true), (1, 2, true), (1, 3, true)]), &[("channel.pending", third)]);
}

#[test]
fn what_a_restarted_member_held_is_free_when_it_is_back() {
    let granted = || What::Granted { to: Some(Holder { member: "lab".into(), lease: 1 }) };
    let history = |ends_ns: Ns, freed: bool| {
        move |history: &mut History| {
            history.ends.push(("lab".into(), ends_ns));
            let at = |at_ns: Ns, what: What, seq: u64| probed("hub", at_ns, what, "patient", seq, seq);
            history.events.extend([at(6 * S, granted(), 1), at(6 * S, granted(), 2), at(6 * S, settled(), 2)]);
            if freed {
                history.events.push(at(7 * S, What::Refused { reason: "lease.member_gone".into() }, 1));
            }
            history.events.extend([at(7 * S, granted(), 3), at(7 * S, granted(), 4)]);
            history.events.extend([at(7 * S + 1, settled(), 3), at(7 * S + 1, settled(), 4)]);
        }
    };
    trips(history(6 * S + 1, true), &[]);
    trips(history(5 * S, false), &[]);
    let held = "hub.patient 1 handed to lab 6.000 s, which ended 6.000 s, and not free when that settles 3 7.000 s";
    trips(history(6 * S + 1, false), &[("channel.freed", held)]);
}

#[test]
fn a_later_join_begins_a_greater_generation() {
    let joined = |generation| What::Joined { member: "lab".into(), generation };
    let joins = |second: u64| {
        move |history: &mut History| {
            history.events.push(probed("hub", 6 * S, joined(3), "patient", 0, 0));
            let again = probed("hub", 7 * S, joined(second), "patient", 0, 0);
            history.events.push(Probed { incarnation: 2, ..again });
        }
    };
    trips(joins(4), &[]);
    let again = "hub.patient generation 3 began 7.000 s as lab joined, after 3";
    trips(joins(3), &[("channel.generations", again)]);
}
