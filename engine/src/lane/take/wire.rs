//! What members and desks say, as messages of the protocol and back. What can't be right is refused here.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Seat, Settle, ToMember};
use crate::channel::lease::Outcome;
use crate::lane::LaneError;
use crate::lane::protocol::v1::{self, from_desk};
use crate::lane::protocol::{NAME_BYTES_MAX, PROTOCOL, TOKEN_BYTES_MAX};
use crate::packet::Seq;

/// Most packets that one message names.
const SEQS_MAX: u64 = 1 << 16;
/// Longest reason of a rejection that is kept, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// Numbers as ranges, in their order.
fn ranges(seqs: &[Seq]) -> Vec<v1::Range> {
    let mut ranges: Vec<v1::Range> = Vec::new();
    for seq in seqs {
        match ranges.last_mut() {
            Some(last) if last.to + 1 == seq.0 => last.to = seq.0,
            _ => ranges.push(v1::Range { from: seq.0, to: seq.0 }),
        }
    }
    ranges
}

fn seqs(ranges: &[v1::Range]) -> Result<Vec<Seq>, LaneError> {
    let mut count = 0u64;
    for range in ranges {
        let size = range.to.checked_sub(range.from).filter(|_| range.from > 0 && range.to < u64::MAX);
        count +=
            size.ok_or(LaneError::Protocol("a range of packets is upside down"))?.saturating_add(1).min(SEQS_MAX + 1);
        if count > SEQS_MAX {
            return Err(LaneError::Protocol("a message names too many packets"));
        }
    }
    Ok(ranges.iter().flat_map(|range| range.from..=range.to).map(Seq).collect())
}

pub(super) fn join(process: &str, token: Bytes, seat: &dyn Seat) -> v1::Join {
    let mut holding: Vec<(u64, Vec<Seq>)> = Vec::new();
    for (lease, seq) in seat.joining() {
        match holding.last_mut() {
            Some((last, seqs)) if *last == lease => seqs.push(seq),
            _ => holding.push((lease, vec![seq])),
        }
    }
    v1::Join {
        protocol: Some(PROTOCOL),
        process: process.to_owned(),
        channel: seat.channel().to_owned(),
        group: seat.group().to_owned(),
        credits: seat.credits(),
        holding: holding.into_iter().map(|(lease, seqs)| v1::Holding { lease, ranges: ranges(&seqs) }).collect(),
        token,
    }
}

pub(super) fn check_join(join: &v1::Join) -> Result<(), LaneError> {
    crate::lane::protocol::agree_to_take(join.protocol)?;
    let named = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    if ![&join.process, &join.channel, &join.group].into_iter().all(|name| named(name)) {
        return Err(LaneError::Protocol("a name is empty or too long"));
    }
    if join.token.len() > TOKEN_BYTES_MAX {
        return Err(LaneError::Protocol("an access token is too long"));
    }
    if join.credits == 0 {
        return Err(LaneError::Protocol("a member without credits"));
    }
    Ok(())
}

pub(super) fn holding(holding: &[v1::Holding]) -> Result<BTreeSet<(u64, Seq)>, LaneError> {
    let mut named = 0;
    let mut all = BTreeSet::new();
    for held in holding {
        let seqs = seqs(&held.ranges)?;
        named += seqs.len() as u64;
        if named > SEQS_MAX {
            return Err(LaneError::Protocol("a message names too many packets"));
        }
        all.extend(seqs.into_iter().map(|seq| (held.lease, seq)));
    }
    Ok(all)
}

/// A settle as messages, none of which names too many packets.
pub(super) fn settles(settle: &Settle) -> Vec<v1::Settle> {
    let mut seqs = settle.seqs.clone();
    seqs.sort_unstable();
    let (outcome, delay_ns) = match settle.outcome {
        Outcome::Ack => (v1::Outcome::Ack, 0),
        Outcome::Reject => (v1::Outcome::Reject, 0),
        // Without a delay the wire says 0: none at all is the shortest there is.
        Outcome::Retry { delay_ns } => (v1::Outcome::Retry, delay_ns.map_or(0, |ns| ns.max(1))),
        Outcome::Extend => (v1::Outcome::Extend, 0),
    };
    let message = |seqs: &[Seq]| v1::Settle {
        generation: settle.generation,
        lease: settle.lease,
        ranges: ranges(seqs),
        outcome: outcome.into(),
        delay_ns,
        reason: settle.reason.clone(),
    };
    seqs.chunks(4096).map(message).collect()
}

pub(super) fn settle(settle: v1::Settle) -> Result<Settle, LaneError> {
    let outcome = match settle.outcome() {
        v1::Outcome::Ack => Outcome::Ack,
        v1::Outcome::Reject => Outcome::Reject,
        v1::Outcome::Retry => Outcome::Retry { delay_ns: (settle.delay_ns > 0).then_some(settle.delay_ns) },
        v1::Outcome::Extend => Outcome::Extend,
        v1::Outcome::Unspecified => return Err(LaneError::Protocol("an outcome that this version does not know")),
    };
    let mut reason = settle.reason;
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    let seqs = seqs(&settle.ranges)?;
    Ok(Settle { generation: settle.generation, lease: settle.lease, seqs, outcome, reason })
}

pub(super) fn to_member(message: ToMember, process: &str) -> from_desk::Message {
    match message {
        ToMember::Joined { generation, incarnation, floor } => from_desk::Message::Joined(v1::Joined {
            protocol: PROTOCOL.max,
            process: process.to_owned(),
            generation,
            incarnation,
            floor: floor.0,
        }),
        ToMember::Granted { lease, packets } => {
            let delivery = |(seq, delivery, packet): (Seq, u32, _)| v1::Delivery { seq: seq.0, delivery, packet };
            from_desk::Message::Granted(v1::Granted { lease, packets: packets.into_iter().map(delivery).collect() })
        }
        ToMember::Settled { lease, seqs, floor, around } => {
            let around = around.into_iter().map(|(from, to)| v1::Range { from: from.0, to: to.0 }).collect();
            from_desk::Message::Settled(v1::Settled { lease, ranges: ranges(&seqs), floor: floor.0, around })
        }
        ToMember::Fenced { generation, still_held, lease, seqs } => {
            from_desk::Message::Fenced(v1::Fenced { generation, lease, ranges: ranges(&seqs), still_held })
        }
        ToMember::Generation { generation } => from_desk::Message::Generation(v1::Generation { generation }),
    }
}

/// A floor that a channel could reach.
fn floor(floor: u64) -> Result<Seq, LaneError> {
    if floor > u64::MAX / 2 {
        return Err(LaneError::Protocol("a floor that no channel reaches"));
    }
    Ok(Seq(floor))
}

pub(super) fn joined(joined: &v1::Joined) -> Result<ToMember, LaneError> {
    let (generation, incarnation, floor) = (joined.generation, joined.incarnation, floor(joined.floor)?);
    Ok(ToMember::Joined { generation, incarnation, floor })
}

pub(super) fn granted(granted: v1::Granted) -> Result<ToMember, LaneError> {
    if granted.packets.iter().any(|delivery| delivery.seq == 0 || delivery.seq == u64::MAX) {
        return Err(LaneError::Protocol("sequence numbers begin at 1 and do not wrap"));
    }
    let packets = granted.packets.into_iter().map(|one| (Seq(one.seq), one.delivery, one.packet)).collect();
    Ok(ToMember::Granted { lease: granted.lease, packets })
}

pub(super) fn settled(settled: &v1::Settled) -> Result<ToMember, LaneError> {
    let range = |range: &v1::Range| {
        let (from, to) = (floor(range.from)?, floor(range.to)?);
        if from == Seq(0) || from > to {
            Err(LaneError::Protocol("a range that begins behind its end"))
        } else {
            Ok((from, to))
        }
    };
    let seqs = seqs(&settled.ranges)?;
    if settled.around.len() > seqs.len() {
        return Err(LaneError::Protocol("more is settled around packets than there are packets"));
    }
    let around = settled.around.iter().map(range).collect::<Result<_, _>>()?;
    Ok(ToMember::Settled { lease: settled.lease, seqs, floor: floor(settled.floor)?, around })
}

pub(super) fn fenced(fenced: &v1::Fenced) -> Result<ToMember, LaneError> {
    let (generation, still_held) = (fenced.generation, fenced.still_held);
    Ok(ToMember::Fenced { generation, still_held, lease: fenced.lease, seqs: seqs(&fenced.ranges)? })
}

pub(super) fn generation(generation: v1::Generation) -> ToMember {
    ToMember::Generation { generation: generation.generation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settles_come_back_as_they_were() {
        for outcome in [Outcome::Ack, Outcome::Reject, Outcome::Retry { delay_ns: Some(7) }, Outcome::Extend] {
            let seqs = vec![Seq(1), Seq(2), Seq(3), Seq(9)];
            let said = Settle { generation: 3, lease: 5, seqs, outcome, reason: "no".into() };
            let messages = settles(&said);
            assert_eq!(messages[0].ranges.len(), 2);
            assert_eq!(settle(messages[0].clone()).unwrap(), said);
        }
    }

    #[test]
    fn what_is_settled_around_comes_as_it_was_told() {
        let around = vec![(Seq(3), Seq(9)), (Seq(20), Seq(20))];
        let told = ToMember::Settled { lease: 5, seqs: vec![Seq(4), Seq(20)], floor: Seq(1), around };
        let from_desk::Message::Settled(message) = to_member(told.clone(), "hub") else { panic!("not said") };
        assert_eq!(settled(&message).unwrap(), told);
        let ranges = vec![v1::Range { from: 4, to: 4 }];
        assert!(settled(&v1::Settled { ranges, ..message.clone() }).is_err(), "two ranges around one packet");
        for (from, to) in [(0, 3), (5, 4), (1, u64::MAX)] {
            let bad = v1::Settled { around: vec![v1::Range { from, to }], ..message.clone() };
            assert!(settled(&bad).is_err(), "{from} to {to}");
        }
    }

    #[test]
    fn what_names_too_much_or_nonsense_is_refused_without_being_unfolded() {
        let range = |from, to| vec![v1::Range { from, to }];
        for bad in [range(5, 4), range(0, 3), range(1, u64::MAX), range(1, u64::MAX - 1), range(1, SEQS_MAX + 1)] {
            assert!(seqs(&bad).is_err(), "{bad:?}");
            let many = v1::Settle { ranges: bad, outcome: v1::Outcome::Ack.into(), ..v1::Settle::default() };
            assert!(settle(many).is_err());
        }
        assert!(settle(v1::Settle { ranges: range(1, 1), ..v1::Settle::default() }).is_err(), "no outcome");
        let twice = [range(1, SEQS_MAX), range(1, SEQS_MAX)].map(|ranges| v1::Holding { lease: 1, ranges });
        assert_eq!(holding(&twice[..1]).unwrap().len() as u64, SEQS_MAX);
        assert!(holding(&twice).is_err(), "naming the same again is as much work");
        let long = "ä".repeat(REASON_BYTES_MAX);
        let rejected = v1::Settle {
            ranges: range(1, 1),
            outcome: v1::Outcome::Reject.into(),
            reason: long,
            ..v1::Settle::default()
        };
        assert!(settle(rejected).unwrap().reason.len() <= REASON_BYTES_MAX);
    }
}
