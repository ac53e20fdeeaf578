//! The lease table, by example and against a model of members that come, go, forget and forge.

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn options(order: Order) -> ChannelOptions {
    ChannelOptions {
        order,
        ack_wait_ns: 10 * SECOND,
        max_ack_pending: 4,
        backoff_ns: SECOND,
        backoff_max_ns: 3 * SECOND,
        ..ChannelOptions::default()
    }
}

fn leases(options: ChannelOptions) -> Leases {
    Leases::new(options, 0, BTreeSet::new())
}

fn join(leases: &mut Leases, member: &str, session: u64) {
    leases.join(&member.into(), session, 100, &BTreeSet::new(), 0);
}

/// `member: packets` for each member that got some.
fn granted(leases: &mut Leases, now_ns: u64) -> Vec<(String, Vec<u64>)> {
    let mut by: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for grant in leases.grant(now_ns, 100) {
        by.entry(grant.member.to_string()).or_default().push(grant.seq.0);
    }
    by.into_iter().collect()
}

fn got(member: &str, seqs: &[u64]) -> (String, Vec<u64>) {
    (member.to_owned(), seqs.to_vec())
}

fn ack(leases: &mut Leases, member: &str, lease: u64, seqs: &[u64]) -> Verdict {
    let seqs: Vec<Seq> = seqs.iter().map(|seq| Seq(*seq)).collect();
    leases.settle(member, 1, leases.generation(), (lease, &seqs), Outcome::Ack, 0)
}

#[test]
fn members_share_the_load_within_the_bound() {
    let mut leases = leases(options(Order::None));
    (1..=6).for_each(|seq| leases.offer(Seq(seq), None, 0, 1));
    assert_eq!(leases.room(), 2);
    assert!(granted(&mut leases, 0).is_empty(), "nobody is there");
    join(&mut leases, "hub", 1);
    join(&mut leases, "lab", 1);
    assert_eq!(granted(&mut leases, 0), [got("hub", &[1, 3]), got("lab", &[2, 4])]);
    assert_eq!(ack(&mut leases, "hub", 1, &[1, 2]).took, [Seq(1)], "2 is another's");
    assert_eq!(granted(&mut leases, 0), [got("hub", &[5])]);
}

#[test]
fn a_key_stays_with_its_holder_and_the_others_flow() {
    let mut leases = leases(ChannelOptions { max_deliver: Some(9), ..options(Order::Key) });
    [7, 7, 8, 7].iter().zip(1..).for_each(|(key, seq)| leases.offer(Seq(seq), Some(*key), 0, 1));
    join(&mut leases, "hub", 1);
    join(&mut leases, "lab", 1);
    assert_eq!(granted(&mut leases, 0), [got("hub", &[1, 2, 4]), got("lab", &[3])]);
    // 1 runs out of time, and takes what came behind it with it.
    leases.expire(10 * SECOND);
    let ended: Vec<u64> = leases.take_ended().iter().map(|ended| ended.seq.0).collect();
    assert_eq!(ended, [1, 2, 4, 3], "2 and 4 went with 1");
    assert!(granted(&mut leases, 10 * SECOND).is_empty(), "each waits for its backoff");
    // Delivered before: it goes alone, and its key waits for it.
    assert_eq!(granted(&mut leases, 11 * SECOND), [got("hub", &[3]), got("lab", &[1])]);
    ack(&mut leases, "lab", 2, &[1]);
    assert_eq!(granted(&mut leases, 11 * SECOND), [got("lab", &[2])]);
}

#[test]
fn strict_is_one_member_at_a_time() {
    let mut leases = leases(options(Order::Strict));
    (1..=3).for_each(|seq| leases.offer(Seq(seq), Some(seq), 0, 1));
    join(&mut leases, "hub", 1);
    join(&mut leases, "lab", 1);
    assert_eq!(granted(&mut leases, 0), [got("hub", &[1, 2, 3])]);
}

#[test]
fn only_the_live_lease_of_this_generation_settles() {
    let mut leases = leases(options(Order::None));
    leases.offer(Seq(1), None, 0, 1);
    join(&mut leases, "hub", 1);
    let old = leases.generation();
    let grant = leases.grant(0, 1).remove(0);
    // Its connection broke and it came back, still holding it.
    let holding = BTreeSet::from([(grant.lease, Seq(1))]);
    let generation = leases.join(&"hub".into(), 2, 100, &holding, 0);
    assert_eq!((generation, leases.take_ended()), (old + 1, vec![]));
    let mut settle = |session, generation, lease| {
        let verdict = leases.settle("hub", session, generation, (lease, &[Seq(1)]), Outcome::Ack, 0);
        verdict.took.len()
    };
    assert_eq!(settle(2, old, grant.lease), 0, "an old generation");
    assert_eq!(settle(1, generation, grant.lease), 0, "an old session");
    assert_eq!(settle(2, generation, grant.lease + 1), 0, "another lease");
    assert_eq!(settle(2, generation, grant.lease), 1);
    assert_eq!(settle(2, generation, grant.lease), 0, "settled already");
    // What it no longer knows of is free at once.
    leases.offer(Seq(2), None, 0, 1);
    leases.grant(0, 1);
    leases.join(&"hub".into(), 3, 100, &BTreeSet::new(), 0);
    assert_eq!(
        leases.take_ended().iter().map(|ended| (ended.seq, ended.why)).collect::<Vec<_>>(),
        [(Seq(2), Why::MemberGone)]
    );
    assert_eq!(leases.grant(0, 1)[0].delivery, 2);
}

#[test]
fn retry_waits_and_extend_prolongs() {
    let mut leases = leases(options(Order::None));
    leases.offer(Seq(1), None, 0, 1);
    join(&mut leases, "hub", 1);
    let lease = leases.grant(0, 1)[0].lease;
    let generation = leases.generation();
    let mut settle = |outcome, now| leases.settle("hub", 1, generation, (lease, &[Seq(1)]), outcome, now);
    settle(Outcome::Extend, 9 * SECOND);
    settle(Outcome::Retry { delay_ns: None }, 9 * SECOND);
    assert_eq!(leases.next_timer(), Some(10 * SECOND));
    assert!(leases.grant(9 * SECOND, 1).is_empty());
    assert_eq!(leases.grant(10 * SECOND, 1)[0].delivery, 2);
    leases.take_ended();
    leases.expire(19 * SECOND);
    assert!(leases.take_ended().is_empty());
    leases.expire(20 * SECOND);
    assert_eq!(leases.take_ended()[0].why, Why::Expired);
    assert_eq!(leases.next_timer(), Some(22 * SECOND), "the wait doubles");
}

#[test]
fn the_last_delivery_goes_alone() {
    let mut leases = leases(ChannelOptions { max_deliver: Some(3), ..options(Order::None) });
    (1..=3).for_each(|seq| leases.offer(Seq(seq), None, 2, 1));
    join(&mut leases, "hub", 1);
    assert_eq!(granted(&mut leases, 0), [got("hub", &[1])], "one of them kills: which one shows alone");
    // It did kill: the member comes back and knows of nothing.
    leases.join(&"hub".into(), 2, 100, &BTreeSet::new(), 0);
    assert_eq!(leases.spent(), [(Seq(1), Spent::Exhausted)]);
    leases.forget(Seq(1));
    assert_eq!(granted(&mut leases, 0), [got("hub", &[2])]);
}

#[test]
fn a_poisoned_key_is_parked_or_blocked() {
    let of = |on_poison| ChannelOptions { max_deliver: Some(1), on_poison, ..options(Order::Key) };
    let mut parking = leases(of(OnPoison::ParkKey));
    [7, 7, 8].iter().zip(1..).for_each(|(key, seq)| parking.offer(Seq(seq), Some(*key), u32::from(seq == 1), 1));
    assert_eq!(parking.spent(), [(Seq(1), Spent::Exhausted), (Seq(2), Spent::KeyParked)]);
    assert_eq!(parking.parked().iter().collect::<Vec<_>>(), [&7]);
    join(&mut parking, "hub", 1);
    assert_eq!(granted(&mut parking, 0), [got("hub", &[3])]);
    parking.offer(Seq(4), Some(7), 0, 1);
    assert_eq!(parking.spent().last(), Some(&(Seq(4), Spent::KeyParked)));

    let mut blocking = leases(of(OnPoison::BlockKey));
    [7, 7, 8].iter().zip(1..).for_each(|(key, seq)| blocking.offer(Seq(seq), Some(*key), u32::from(seq == 1), 1));
    join(&mut blocking, "hub", 1);
    assert_eq!(granted(&mut blocking, 0), [got("hub", &[3])]);
    assert!(blocking.spent().is_empty());
}

#[test]
fn a_blocked_key_leaves_the_window_to_the_others() {
    let options = ChannelOptions { max_deliver: Some(1), on_poison: OnPoison::BlockKey, ..options(Order::Key) };
    let mut leases = leases(options);
    leases.offer(Seq(1), Some(7), 1, 1);
    (2..=100).for_each(|seq| leases.offer(Seq(seq), Some(7), 0, 1));
    assert!(leases.is_standing(Seq(1)) && leases.is_standing(Seq(100)));
    assert_eq!(leases.room(), 8, "none of them takes part of what is looked at");
    leases.offer(Seq(101), Some(8), 0, 1);
    join(&mut leases, "hub", 1);
    assert_eq!(granted(&mut leases, 0), [got("hub", &[101])]);
    (1..=100).for_each(|seq| leases.forget(Seq(seq)));
    assert_eq!(leases.room(), 7);
}

#[test]
fn a_last_delivery_gets_its_turn_under_load() {
    let mut leases = leases(ChannelOptions { max_deliver: Some(2), ..options(Order::None) });
    leases.offer(Seq(2), None, 0, 1);
    join(&mut leases, "hub", 1);
    let busy = leases.grant(0, 1).remove(0);
    leases.offer(Seq(1), None, 1, 1);
    leases.offer(Seq(3), None, 0, 1);
    assert!(granted(&mut leases, 0).is_empty(), "3 would keep the member from ever holding nothing");
    ack(&mut leases, "hub", busy.lease, &[2]);
    assert_eq!(granted(&mut leases, 0), [got("hub", &[1])]);
}

#[derive(Clone, Debug)]
enum Action {
    Offer { key: Option<u64> },
    Join { member: usize, credits: usize, keeps: bool },
    Away { member: usize },
    Grant { max: usize },
    Settle { member: usize, pick: usize, outcome: u8, stale: bool },
    Wait { ns: u64 },
    Bury,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => proptest::option::of(0..3u64).prop_map(|key| Action::Offer { key }),
        1 => (0..3usize, 1..5usize, any::<bool>()).prop_map(|(member, credits, keeps)| Action::Join { member, credits, keeps }),
        1 => (0..3usize).prop_map(|member| Action::Away { member }),
        4 => (1..6usize).prop_map(|max| Action::Grant { max }),
        6 => (0..3usize, 0..8usize, 0..6u8, any::<bool>())
            .prop_map(|(member, pick, outcome, stale)| Action::Settle { member, pick, outcome, stale: stale && pick == 0 }),
        2 => (0..12 * SECOND).prop_map(|ns| Action::Wait { ns }),
        1 => Just(Action::Bury),
    ]
}

/// What the members believe to hold, and what was settled: kept beside the table, from its answers alone.
#[derive(Default)]
struct Model {
    keys: BTreeMap<u64, Option<u64>>,
    live: BTreeMap<u64, (usize, u64)>,
    ended: BTreeSet<u64>,
    deliveries: BTreeMap<u64, u32>,
    sessions: [u64; 3],
    present: [bool; 3],
    now: u64,
}

impl Model {
    /// What the table said has ended is held no more.
    fn ended(&mut self, leases: &mut Leases, names: &[&str]) {
        for Ended { seq, lease, member, .. } in leases.take_ended() {
            let holder = names.iter().position(|known| *known == &*member).unwrap();
            assert_eq!(self.live.remove(&seq.0), Some((holder, lease)));
        }
    }

    /// Later packets of a key never outlive an earlier one's release.
    fn release(&mut self, seq: u64, keyed: bool) {
        let key = self.keys[&seq];
        let outlives =
            |(other, _): (&u64, &(usize, u64))| keyed && key.is_some() && *other > seq && self.keys[other] == key;
        assert!(!self.live.contains_key(&seq) && !self.live.iter().any(outlives));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn one_holder_at_a_time_and_nothing_is_forgotten(
        actions in proptest::collection::vec(action(), 1..150),
        order in prop_oneof![Just(Order::None), Just(Order::Key), Just(Order::Strict)],
        max_deliver in proptest::option::of(1..4u32),
    ) {
        let options = ChannelOptions { max_deliver, ..options(order) };
        let (keyed, names) = (order != Order::None, ["hub", "lab", "van"]);
        let mut leases = leases(options.clone());
        let mut model = Model::default();
        let mut offered = 0u64;
        let member_of = |name: &str| names.iter().position(|known| *known == name).unwrap();
        for action in actions {
            match action {
                Action::Offer { key } => {
                    if leases.room() > 0 {
                        offered += 1;
                        leases.offer(Seq(offered), key, 0, 1);
                        model.keys.insert(offered, if order == Order::Strict { Some(0) } else { key });
                    }
                }
                Action::Join { member, credits, keeps } => {
                    model.sessions[member] += 1;
                    model.present[member] = true;
                    let mine = |(seq, (holder, lease)): (&u64, &(usize, u64))| (*holder == member).then_some((*lease, Seq(*seq)));
                    let holding: BTreeSet<(u64, Seq)> = if keeps { model.live.iter().filter_map(mine).collect() } else { BTreeSet::new() };
                    let before = leases.generation();
                    let held = model.live.len();
                    let generation = leases.join(&names[member].into(), model.sessions[member], credits, &holding, model.now);
                    prop_assert_eq!(generation, before + 1);
                    model.ended(&mut leases, &names);
                    prop_assert!(!keeps || model.live.len() == held);
                    prop_assert!(keeps || model.live.values().all(|(holder, _)| *holder != member));
                }
                Action::Away { member } => {
                    leases.away(names[member], model.sessions[member]);
                    model.present[member] = false;
                }
                Action::Grant { max } => {
                    for grant in leases.grant(model.now, max) {
                        let member = member_of(&grant.member);
                        prop_assert!(model.present[member]);
                        prop_assert_eq!(grant.session, model.sessions[member]);
                        let before = model.live.insert(grant.seq.0, (member, grant.lease));
                        prop_assert_eq!(before, None, "two live leases of {}", grant.seq);
                        prop_assert!(!model.ended.contains(&grant.seq.0));
                        let deliveries = model.deliveries.entry(grant.seq.0).or_default();
                        *deliveries += 1;
                        prop_assert_eq!(grant.delivery, *deliveries);
                        prop_assert!(max_deliver.is_none_or(|max| *deliveries <= max));
                        let key = model.keys[&grant.seq.0];
                        if keyed && key.is_some() {
                            for (other, (holder, _)) in model.live.iter().filter(|(other, _)| model.keys[other] == key) {
                                prop_assert_eq!(*holder, member, "one holder a key");
                                prop_assert!(*other <= grant.seq.0, "{} after {}", grant.seq, other);
                            }
                        }
                    }
                    prop_assert!(model.live.len() <= options.max_ack_pending as usize);
                    prop_assert_eq!(model.live.len(), leases.leased());
                }
                Action::Settle { member, pick, outcome, stale } => {
                    let Some((&seq, &(holder, lease))) = model.live.iter().nth(pick) else { continue };
                    let outcome = match outcome {
                        0 => Outcome::Retry { delay_ns: None },
                        1 => Outcome::Extend,
                        2 => Outcome::Reject,
                        _ => Outcome::Ack,
                    };
                    let generation = leases.generation() - u64::from(stale);
                    let verdict = leases.settle(names[member], model.sessions[member], generation, (lease, &[Seq(seq)]), outcome, model.now);
                    let may = holder == member && model.present[member] && !stale;
                    prop_assert_eq!(verdict.took.len(), usize::from(may));
                    prop_assert_eq!(verdict.not_held.len(), usize::from(!may));
                    match outcome {
                        _ if !may => {}
                        Outcome::Ack | Outcome::Reject => {
                            model.live.remove(&seq);
                            model.ended.insert(seq);
                        }
                        Outcome::Retry { .. } => {
                            model.ended(&mut leases, &names);
                            model.release(seq, keyed);
                        }
                        Outcome::Extend => {}
                    }
                }
                Action::Wait { ns } => {
                    model.now += ns;
                    leases.expire(model.now);
                    model.ended(&mut leases, &names);
                }
                Action::Bury => {
                    for (seq, why) in leases.spent() {
                        prop_assert_eq!(why, Spent::Exhausted);
                        prop_assert_eq!(Some(model.deliveries[&seq.0]), max_deliver);
                        leases.forget(seq);
                        model.ended.insert(seq.0);
                    }
                }
            }
        }
        // Whatever happened: with one good member, all ends.
        model.sessions[0] += 1;
        leases.join(&"hub".into(), model.sessions[0], 4, &BTreeSet::new(), model.now);
        for _ in 0..4 * offered + 40 {
            model.now += 11 * SECOND;
            leases.expire(model.now);
            for (seq, _) in leases.spent() {
                leases.forget(seq);
                model.ended.insert(seq.0);
            }
            for grant in leases.grant(model.now, 100) {
                if &*grant.member == "hub" {
                    let (session, generation) = (model.sessions[0], leases.generation());
                    leases.settle("hub", session, generation, (grant.lease, &[grant.seq]), Outcome::Ack, model.now);
                    model.ended.insert(grant.seq.0);
                }
            }
        }
        prop_assert_eq!(model.ended.len() as u64, offered, "left: {:?}", leases);
        prop_assert_eq!(leases.next_timer(), None);
    }
}

/// What waits to be handed out costs nobody a delivery, however long the host's disk takes.
#[test]
fn a_lease_has_all_its_time_from_when_it_is_handed_out() {
    let mut leases = leases(options(Order::None));
    join(&mut leases, "hub", 1);
    (1..=2).for_each(|seq| leases.offer(Seq(seq), None, 0, 1));
    let grants = leases.grant(0, 100);
    leases.hold_back(&grants);
    leases.expire(1_000 * SECOND);
    assert!(leases.take_ended().is_empty() && leases.next_timer().is_none());
    assert!(leases.hand_out(&grants[0], 1_000 * SECOND));
    leases.expire(1_010 * SECOND - 1);
    assert!(leases.is_held(Seq(1), grants[0].lease, "hub"));
    leases.expire(1_010 * SECOND);
    assert!(!leases.hand_out(&grants[0], 1_010 * SECOND), "it was over");
    assert!(leases.is_held(Seq(2), grants[1].lease, "hub"), "it was not handed out yet");
    // Its member comes again and knows of neither: only one was delivered.
    join(&mut leases, "hub", 2);
    assert!(!leases.hand_out(&grants[1], 1_010 * SECOND));
    assert_eq!([1, 2].map(|seq| leases.deliveries(Seq(seq)).0), [1, 0]);
}

#[test]
fn a_member_holds_no_more_bytes_than_fit() {
    let mut leases = leases(ChannelOptions { max_ack_pending: 100, ..options(Order::None) });
    (1..=4).for_each(|seq| leases.offer(Seq(seq), None, 0, HELD_BYTES_MAX / 2));
    leases.offer(Seq(5), None, 0, 5 * HELD_BYTES_MAX);
    join(&mut leases, "hub", 1);
    assert_eq!(granted(&mut leases, 0), [got("hub", &[1, 2])]);
    leases.forget(Seq(1));
    assert_eq!(granted(&mut leases, 0), [got("hub", &[3])]);
    leases.forget(Seq(2));
    leases.forget(Seq(3));
    assert_eq!(granted(&mut leases, 0), [got("hub", &[4, 5])], "one may be larger");
    leases.offer(Seq(6), None, 0, 1);
    assert!(granted(&mut leases, 0).is_empty());
    leases.forget(Seq(5));
    assert_eq!(granted(&mut leases, 0), [got("hub", &[6])]);
}
