//! What outlives the end of a channel's keeper.

use std::collections::BTreeSet;

use seaworthy_engine::channel::kind::{ChannelError, Outcome};
use seaworthy_engine::packet::Seq;

use super::poison::poisoned;
use crate::kit::{Breach, End, Item, Setting, holds, items, same, texts};

pub(super) async fn packets_outlive_a_crash(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&items(&["a", "b"])).await?;
    edge.send(&items(&["c"])).await?;
    setting.restart(End::Crash).await?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.take(3).await?), ["a", "b", "c"])?;
    ann.quiet(4).await
}

pub(super) async fn numbers_outlive_a_crash(setting: &mut Setting) -> Result<(), Breach> {
    setting.open("edge", 1).await?.send(&items(&["a", "b"])).await?;
    setting.restart(End::Crash).await?;
    let mut edge = setting.open("edge", 2).await?;
    same("held", edge.last(), Seq(2))?;
    same("held after a repeat", edge.publish(1, &items(&["a", "b", "c"])).await?.ok(), Some(Seq(3)))?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.take(3).await?), ["a", "b", "c"])?;
    ann.quiet(4).await
}

pub(super) async fn epochs_outlive_a_crash(setting: &mut Setting) -> Result<(), Breach> {
    setting.open("edge", 5).await?;
    setting.restart(End::Crash).await?;
    let opened = setting.try_open("edge", 4).await?;
    holds("an older epoch is fenced", matches!(opened.err(), Some(ChannelError::Fenced { .. })))?;
    setting.open("edge", 5).await.map(drop)
}

pub(super) async fn business_keys_outlive_a_crash(setting: &mut Setting) -> Result<(), Breach> {
    let order = [Item::new("a").business("order-7")];
    setting.open("edge", 1).await?.send(&order).await?;
    let mut ann = setting.join("ann", 16).await?;
    let taken = ann.take(1).await?;
    ann.ack(&taken).await?;
    setting.restart(End::Crash).await?;
    let mut edge = setting.open("edge", 2).await?;
    edge.send(&order).await?;
    edge.send(&[Item::new("other").business("order-7")]).await?;
    same("its class", setting.letters(1).await?[0].class.as_str(), "conflict")?;
    setting.join("ann", 16).await?.quiet(4).await
}

pub(super) async fn settles_outlive_a_crash(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 1).await?.send(&items(&["a", "b", "c"])).await?;
    let taken = ann.take(3).await?;
    ann.ack(&[taken[0].clone(), taken[2].clone()]).await?;
    setting.restart(End::Crash).await?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.collect(4).await?), ["b"])
}

pub(super) async fn floors_outlive_a_crash(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 1).await?.send(&items(&["a", "b"])).await?;
    let taken = ann.take(2).await?;
    ann.ack(&taken).await?;
    let floor = ann.floor();
    holds("the floor covers what is settled", floor >= taken[1].seq)?;
    setting.restart(End::Crash).await?;
    holds("the floor is no lower", setting.join("ann", 16).await?.floor() >= floor)
}

pub(super) async fn generations_outlive_a_crash(setting: &mut Setting) -> Result<(), Breach> {
    let mut last = 0;
    for _ in 0..3 {
        let ann = setting.join("ann", 16).await?;
        holds(&format!("{} is beyond {last}", ann.generation()), ann.generation() > last)?;
        last = ann.generation();
        setting.restart(End::Crash).await?;
    }
    Ok(())
}

pub(super) async fn leases_end_with_a_crash(setting: &mut Setting) -> Result<(), Breach> {
    let mut before = setting.join("ann", 16).await?;
    setting.open("edge", 1).await?.send(&items(&["a"])).await?;
    let held = before.one().await?;
    setting.restart(End::Crash).await?;
    before.closed().await?;
    let mut ann = setting.join_with("ann", 16, BTreeSet::from([(held.lease, held.seq)])).await?;
    let again = ann.one().await?;
    same("what came again", again.text.as_str(), "a")?;
    let answer = ann.ask(before.generation(), held.lease, held.seq, Outcome::Ack).await?;
    holds("an ack by what was known before is fenced", answer.fenced.contains_key(&held.seq))?;
    let third = ann.one().await?;
    same("what came once more, as it was not settled", third.text.as_str(), "a")?;
    ann.ack(&[third]).await
}

pub(super) async fn crashes_count_as_deliveries(setting: &mut Setting) -> Result<(), Breach> {
    setting.open("edge", 1).await?.send(&items(&["a"])).await?;
    for delivery in 1..3 {
        let mut ann = setting.join("ann", 16).await?;
        let taken = ann.one().await?;
        same("the how many-th delivery", (taken.text.as_str(), taken.delivery), ("a", delivery))?;
        setting.restart(End::Crash).await?;
    }
    let mut ann = setting.join("ann", 16).await?;
    ann.quiet(12).await?;
    same("its class", setting.letters(1).await?[0].class.as_str(), "attempts.exhausted")
}

pub(super) async fn dead_letters_outlive_a_crash(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 1).await?.send(&items(&["a"])).await?;
    let taken = ann.one().await?;
    ann.settle(&taken, Outcome::Reject).await?;
    setting.restart(End::Crash).await?;
    same("its class", setting.letters(1).await?[0].class.as_str(), "policy.rejected")?;
    setting.join("ann", 16).await?.quiet(4).await
}

pub(super) async fn parked_keys_stay_parked(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    poisoned(setting, &mut ann).await?;
    setting.letters(2).await?;
    setting.restart(End::Crash).await?;
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 2).await?.send(&[Item::new("p3").key("p"), Item::new("q2").key("q")]).await?;
    same("what came then", texts(&ann.collect(3).await?), ["q2"])?;
    same("what the key came to", setting.letters(3).await?[2].class.as_str(), "ordering.blocked")
}

pub(super) async fn blocked_keys_stay_blocked(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    poisoned(setting, &mut ann).await?;
    ann.quiet(12).await?;
    setting.restart(End::Crash).await?;
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 2).await?.send(&[Item::new("p3").key("p"), Item::new("q2").key("q")]).await?;
    same("what came then", texts(&ann.collect(3).await?), ["q2"])
}

pub(super) async fn all_outlives_a_stop(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 3).await?.send(&items(&["a", "b", "c"])).await?;
    let taken = ann.take(3).await?;
    ann.ack(&taken[..2]).await?;
    setting.restart(End::Stop).await?;
    holds("an older epoch is fenced", setting.try_open("edge", 2).await?.is_err())?;
    let mut edge = setting.open("edge", 4).await?;
    same("held", edge.last(), Seq(3))?;
    same("held after a repeat", edge.publish(3, &items(&["c", "d"])).await?.ok(), Some(Seq(4)))?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.collect(4).await?), ["c", "d"])
}
