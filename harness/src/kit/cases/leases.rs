//! Groups, leases, generations and floors; what a member may say.

use std::collections::BTreeSet;

use seaworthy_engine::channel::kind::Outcome;
use seaworthy_engine::packet::Seq;

use super::producers::audit;
use crate::kit::{Answer, Breach, Hand, Setting, holds, items, same, texts};

/// Publishes these packets.
async fn sent(setting: &Setting, texts: &[&str]) -> Result<(), Breach> {
    setting.open("edge", 1).await?.send(&items(texts)).await
}

async fn audited(setting: &Setting) -> Result<Hand, Breach> {
    setting.try_join(audit()).await?.map_err(|error| Breach::new(format!("dot could not join: {error}")))
}

/// A breach unless a settle was fenced, with the lease still held or not.
fn fenced(what: &str, answer: &Answer, seq: Seq, still_held: bool) -> Result<(), Breach> {
    same(what, (answer.settled.contains(&seq), answer.fenced.get(&seq)), (false, Some(&still_held)))
}

pub(super) async fn groups_each_see_everything(setting: &mut Setting) -> Result<(), Breach> {
    sent(setting, &["a", "b", "c"]).await?;
    let mut ann = setting.join("ann", 16).await?;
    let taken = ann.take(3).await?;
    ann.ack(&taken).await?;
    let mut dot = audited(setting).await?;
    let seen = dot.take(3).await?;
    same("what the other group saw", &texts(&seen), &texts(&taken))?;
    dot.ack(&seen).await?;
    ann.quiet(4).await?;
    dot.quiet(4).await
}

pub(super) async fn members_compete(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 2).await?;
    let mut ben = setting.join("ben", 2).await?;
    sent(setting, &["a", "b", "c", "d", "e", "f", "g", "h"]).await?;
    let mut all = Vec::new();
    for _ in 0..2 {
        for hand in [&mut ann, &mut ben] {
            let taken = hand.take(2).await?;
            all.extend(taken.iter().map(|one| one.text.clone()));
            hand.ack(&taken).await?;
        }
    }
    all.sort_unstable();
    same("what both got together", all, ["a", "b", "c", "d", "e", "f", "g", "h"])?;
    ann.quiet(4).await?;
    ben.quiet(4).await
}

pub(super) async fn groups_settle_apart(setting: &mut Setting) -> Result<(), Breach> {
    sent(setting, &["a", "b"]).await?;
    let mut ann = setting.join("ann", 16).await?;
    let taken = ann.take(2).await?;
    ann.ack(&taken).await?;
    holds("the group's own floor moved", ann.floor() >= taken[1].seq)?;
    let dot = audited(setting).await?;
    holds("the other group's floor is below what it did not settle", dot.floor() < taken[0].seq)
}

pub(super) async fn held_packets_are_nobody_elses(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    let taken = ann.take(1).await?;
    let mut ben = setting.join("ben", 16).await?;
    ben.quiet(5).await?;
    ann.ack(&taken).await?;
    ben.quiet(12).await
}

pub(super) async fn expired_leases_are_delivered_again(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    let start_ns = setting.now();
    sent(setting, &["a"]).await?;
    let first = ann.one().await?;
    let again = ann.one().await?;
    same("what came, and how often", (again.text.as_str(), again.delivery), ("a", 2))?;
    same("its bytes", &again.packet, &first.packet)?;
    holds("another lease holds it", again.lease != first.lease)?;
    holds("not before ack_wait", setting.beats_since(start_ns) >= 8)?;
    ann.ack(&[again]).await?;
    ann.quiet(12).await
}

pub(super) async fn the_dead_are_inherited(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    ann.one().await?;
    let mut ben = setting.join("ben", 16).await?;
    drop(ann);
    let again = ben.one().await?;
    same("what came, and how often", (again.text.as_str(), again.delivery), ("a", 2))?;
    ben.ack(&[again]).await
}

pub(super) async fn stale_leases_settle_nothing(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    let first = ann.one().await?;
    let second = ann.one().await?;
    let answer = ann.ask(ann.generation(), first.lease, first.seq, Outcome::Ack).await?;
    fenced("an ack under a lease that has ended", &answer, first.seq, false)?;
    // It was not settled: its lease ends, and it comes again.
    let third = ann.one().await?;
    same("what came, and how often", (third.text.as_str(), third.delivery), ("a", 3))?;
    holds("each under another lease", third.lease != second.lease)?;
    ann.ack(&[third]).await
}

pub(super) async fn only_holders_settle(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    let held = ann.one().await?;
    let mut ben = setting.join("ben", 16).await?;
    let answer = ben.ask(ben.generation(), held.lease, held.seq, Outcome::Ack).await?;
    fenced("an ack by who doesn't hold it", &answer, held.seq, false)?;
    // It was not settled: the holder goes, and it comes again.
    drop(ann);
    let again = ben.one().await?;
    same("what came, and how often", (again.text.as_str(), again.delivery), ("a", 2))?;
    ben.ack(&[again]).await
}

pub(super) async fn settles_repeat(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a", "b"]).await?;
    let taken = ann.take(2).await?;
    // The second first: it is known as settled above the floor, too.
    ann.ack(&taken[1..]).await?;
    ann.ack(&taken[1..]).await?;
    ann.ack(&taken[..1]).await?;
    ann.ack(&taken).await?;
    ann.quiet(12).await
}

pub(super) async fn settles_are_judged_one_by_one(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 2).await?;
    sent(setting, &["a", "b", "c"]).await?;
    let taken = ann.take(2).await?;
    same("one lease holds what comes together", taken[0].lease, taken[1].lease)?;
    let (held, next) = ([taken[0].seq, taken[1].seq], taken[1].seq.next());
    let all = [held[0], held[1], next];
    let answer = ann.ask_all(ann.generation(), taken[0].lease, &all, Outcome::Ack).await?;
    same("what was settled", answer.settled, BTreeSet::from(held))?;
    same("what was fenced", answer.fenced.into_keys().collect::<Vec<_>>(), [next])?;
    same("what came then", ann.one().await?.text.as_str(), "c")
}

pub(super) async fn the_future_is_not_settled(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 1).await?;
    sent(setting, &["a", "b"]).await?;
    let first = ann.one().await?;
    let next = first.seq.next();
    let answer = ann.ask(ann.generation(), first.lease, next, Outcome::Ack).await?;
    fenced("an ack of what comes next", &answer, next, false)?;
    ann.ack(&[first]).await?;
    same("what came then", ann.one().await?.text.as_str(), "b")
}

pub(super) async fn who_forgot_frees(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    ann.one().await?;
    let start_ns = setting.now();
    let mut ann = setting.join("ann", 16).await?;
    let again = ann.one().await?;
    same("what came, and how often", (again.text.as_str(), again.delivery), ("a", 2))?;
    holds("it did not wait for the lease to end", setting.beats_since(start_ns) < 4)?;
    ann.ack(&[again]).await
}

pub(super) async fn who_holds_on_goes_on(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    let held = ann.one().await?;
    drop(ann);
    let mut ann = setting.join_with("ann", 16, BTreeSet::from([(held.lease, held.seq)])).await?;
    ann.quiet(4).await?;
    ann.ack(&[held]).await?;
    ann.quiet(12).await
}

pub(super) async fn what_is_over_is_told(setting: &mut Setting) -> Result<(), Breach> {
    // More than a member may let wait otherwise.
    let holding: BTreeSet<(u64, Seq)> = (1..=1_500).map(|number| (1_000_000 + number, Seq(number))).collect();
    let mut ann = setting.join_with("ann", 16, holding.clone()).await?;
    sent(setting, &["a"]).await?;
    let taken = ann.one().await?;
    same("what ann was told is over", ann.over(), holding)?;
    ann.ack(&[taken]).await?;
    ann.quiet(4).await
}

pub(super) async fn newer_sessions_end_older(setting: &mut Setting) -> Result<(), Breach> {
    let mut older = setting.join("ann", 16).await?;
    let mut newer = setting.join("ann", 16).await?;
    older.closed().await?;
    sent(setting, &["a"]).await?;
    same("what came to the newer", newer.one().await?.text.as_str(), "a")
}

pub(super) async fn credits_bound(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 2).await?;
    sent(setting, &["a", "b", "c", "d"]).await?;
    let taken = ann.collect(3).await?;
    same("what came at first", texts(&taken), ["a", "b"])?;
    ann.ack(&taken[..1]).await?;
    same("what came after an ack", texts(&ann.collect(3).await?), ["c"])
}

pub(super) async fn max_ack_pending_bounds(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    let mut ben = setting.join("ben", 16).await?;
    sent(setting, &["a", "b", "c", "d", "e"]).await?;
    let (first, second) = (ann.collect(2).await?, ben.collect(2).await?);
    same("how many are under lease", first.len() + second.len(), 3)?;
    let (holder, held) = if first.is_empty() { (&mut ben, second) } else { (&mut ann, first) };
    holder.ack(&held[..1]).await?;
    let more = ann.collect(2).await?.len() + ben.collect(2).await?.len();
    same("how many came after an ack", more, 1)
}

pub(super) async fn generations_grow(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    let first = ann.generation();
    let ben = setting.join("ben", 16).await?;
    holds("a join begins a greater generation", ben.generation() > first)?;
    let heard = ann.beyond(first).await?;
    same("what the other member heard", heard, ben.generation())?;
    drop(ben);
    let ben = setting.join("ben", 16).await?;
    holds("so does one of who was here before", ben.generation() > heard)?;
    ann.beyond(heard).await.map(drop)
}

pub(super) async fn stale_generations_settle_nothing(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    let held = ann.one().await?;
    let before = ann.generation();
    let _ben = setting.join("ben", 1).await?;
    ann.beyond(before).await?;
    let answer = ann.ask(before, held.lease, held.seq, Outcome::Reject).await?;
    fenced("a rejection in an older generation", &answer, held.seq, true)?;
    let answer = ann.ask(ann.generation(), held.lease, held.seq, Outcome::Ack).await?;
    holds("said in the new generation, it took effect", answer.settled.contains(&held.seq))?;
    setting.letters(0).await.map(drop)
}

pub(super) async fn floors_follow_settles(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a", "b", "c"]).await?;
    let taken = ann.take(3).await?;
    holds("nothing is settled at first", ann.floor() < taken[0].seq)?;
    ann.ack(&taken[2..]).await?;
    holds("what is settled behind a gap moves no floor", ann.floor() < taken[0].seq)?;
    ann.ack(&taken[..1]).await?;
    holds("the floor covers the first, not the second", (taken[0].seq..taken[1].seq).contains(&ann.floor()))?;
    ann.ack(&taken[1..2]).await?;
    holds("the floor covers all three", ann.floor() >= taken[2].seq)
}

pub(super) async fn floors_only_grow(setting: &mut Setting) -> Result<(), Breach> {
    let mut told: Vec<Seq> = Vec::new();
    sent(setting, &["a", "b", "c", "d"]).await?;
    for _ in 0..4 {
        let mut ann = setting.join("ann", 1).await?;
        let taken = ann.one().await?;
        ann.ack(&[taken]).await?;
        told.extend(&ann.floors);
    }
    holds(&format!("floors only grow: {told:?}"), told.is_sorted())
}

pub(super) async fn retries_wait(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    let taken = ann.one().await?;
    let start_ns = setting.now();
    ann.tell(&taken, Outcome::Retry { delay_ns: Some(setting.beats(5)) }).await?;
    let again = ann.one().await?;
    let waited = setting.beats_since(start_ns);
    same("what came, and how often", (again.text.as_str(), again.delivery), ("a", 2))?;
    holds(&format!("it waited for the 5 beats that were asked for, not for {waited}"), (5..7).contains(&waited))?;
    ann.ack(&[again]).await?;
    ann.quiet(12).await
}

pub(super) async fn retries_come_at_once(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    let taken = ann.one().await?;
    let start_ns = setting.now();
    ann.tell(&taken, Outcome::Retry { delay_ns: Some(0) }).await?;
    let again = ann.one().await?;
    same("what came, and how often", (again.text.as_str(), again.delivery), ("a", 2))?;
    holds("it did not wait for the channel's backoff", setting.beats_since(start_ns) < 4)
}

pub(super) async fn retries_back_off(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    let mut taken = ann.one().await?;
    let mut waits = Vec::new();
    for _ in 0..3 {
        let start_ns = setting.now();
        ann.tell(&taken, Outcome::Retry { delay_ns: None }).await?;
        taken = ann.one().await?;
        waits.push(setting.beats_since(start_ns));
    }
    let grows = waits.is_sorted_by(|one, next| one < next);
    holds(&format!("waits of 4 beats and more, each longer: {waits:?}"), grows && waits[0] >= 4)
}

pub(super) async fn extensions_hold(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    let held = ann.one().await?;
    let mut ben = setting.join("ben", 16).await?;
    ann.beyond(ann.generation()).await?;
    for _ in 0..4 {
        ben.quiet(4).await?;
        ann.tell(&held, Outcome::Extend).await?;
    }
    ann.ack(&[held]).await?;
    ann.quiet(6).await?;
    ben.quiet(6).await
}

pub(super) async fn extensions_end(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    sent(setting, &["a"]).await?;
    let held = ann.one().await?;
    ann.quiet(5).await?;
    ann.tell(&held, Outcome::Extend).await?;
    let start_ns = setting.now();
    let again = ann.one().await?;
    same("what came, and how often", (again.text.as_str(), again.delivery), ("a", 2))?;
    holds("not before ack_wait from the extension on", setting.beats_since(start_ns) >= 7)
}
