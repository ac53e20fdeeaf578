//! What is given up: rejections, too many deliveries, and what becomes of a poison's key.

use seaworthy_engine::channel::kind::Outcome;
use seaworthy_engine::packet::Seq;
use seaworthy_engine::process::{ChannelOptions, OnPoison, Order};

use crate::kit::{Breach, Hand, Item, Setting, Taken, holds, items, same};

/// Order by key, two deliveries at most, leases of four beats.
pub(super) fn keyed(options: &mut ChannelOptions, beat_ns: u64, on_poison: OnPoison) {
    (options.order, options.on_poison) = (Order::Key, on_poison);
    (options.max_deliver, options.ack_wait_ns) = (Some(2), 4 * beat_ns);
}

fn packet(name: &str) -> Item {
    Item::new(name).key(name.get(..1).unwrap_or_default())
}

/// Publishes `p1`, `p2` and `q1`, and lets `p1` be delivered as often as may be. The rest of its key is as it was.
pub(super) async fn poisoned(setting: &Setting, ann: &mut Hand) -> Result<Taken, Breach> {
    setting.open("edge", 1).await?.send(&["p1", "p2", "q1"].map(packet)).await?;
    let taken = ann.take(3).await?;
    let q1: Vec<Taken> = taken.iter().filter(|one| one.text == "q1").cloned().collect();
    ann.ack(&q1).await?;
    let p1 = ann.one().await?;
    same("what came again, and how often", (p1.text.as_str(), p1.delivery), ("p1", 2))?;
    Ok(p1)
}

pub(super) async fn rejections_are_dead_letters(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 1).await?.send(&items(&["a", "b"])).await?;
    let taken = ann.take(2).await?;
    ann.settle(&taken[0], Outcome::Reject).await?;
    ann.ack(&taken[1..]).await?;
    let letters = setting.letters(1).await?;
    same("its class", letters[0].class.as_str(), "policy.rejected")?;
    same("its reason", letters[0].reason.as_str(), "the seal is broken")?;
    same("its bytes", &letters[0].packet, &Item::new("a").encode("edge", 1, Seq(1)))?;
    ann.quiet(12).await
}

pub(super) async fn rejections_repeat(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 1).await?.send(&items(&["a", "b"])).await?;
    let taken = ann.take(2).await?;
    // The second: it is known as settled above the floor, too.
    ann.settle(&taken[1], Outcome::Reject).await?;
    ann.settle(&taken[1], Outcome::Reject).await?;
    ann.ack(&taken[..1]).await?;
    ann.settle(&taken[1], Outcome::Reject).await?;
    setting.letters(1).await.map(drop)
}

pub(super) async fn deliveries_are_bounded(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 1).await?.send(&items(&["a"])).await?;
    for delivery in 1..4 {
        same("the how many-th delivery", ann.one().await?.delivery, delivery)?;
    }
    let letters = setting.letters(1).await?;
    same("its class", letters[0].class.as_str(), "attempts.exhausted")?;
    same("its bytes", &letters[0].packet, &Item::new("a").encode("edge", 1, Seq(1)))?;
    ann.quiet(12).await?;
    setting.letters(1).await.map(drop)
}

pub(super) async fn retries_are_deliveries(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 1).await?.send(&items(&["a"])).await?;
    for delivery in 1..3 {
        let taken = ann.one().await?;
        same("the how many-th delivery", taken.delivery, delivery)?;
        ann.tell(&taken, Outcome::Retry { delay_ns: Some(setting.beats(1)) }).await?;
    }
    same("its class", setting.letters(1).await?[0].class.as_str(), "attempts.exhausted")?;
    ann.quiet(12).await
}

pub(super) async fn last_deliveries_may_settle(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 1).await?.send(&items(&["a"])).await?;
    ann.one().await?;
    let last = ann.one().await?;
    same("the how many-th delivery", last.delivery, 2)?;
    ann.ack(&[last]).await?;
    ann.quiet(12).await?;
    setting.letters(0).await.map(drop)
}

pub(super) async fn dead_letters_move_the_floor(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 1).await?.send(&items(&["a", "b"])).await?;
    let taken = ann.take(2).await?;
    ann.ack(&taken[1..]).await?;
    same("the how many-th delivery", ann.one().await?.delivery, 2)?;
    setting.letters(1).await?;
    let ann = setting.join("ann", 16).await?;
    holds("the floor covers what was given up", ann.floor() >= taken[1].seq)
}

pub(super) async fn the_key_goes_on(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    poisoned(setting, &mut ann).await?;
    let next = ann.one().await?;
    same("what came of the key", next.text.as_str(), "p2")?;
    ann.ack(&[next]).await?;
    same("its class", setting.letters(1).await?[0].class.as_str(), "attempts.exhausted")
}

pub(super) async fn parked_keys_are_dead_letters(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    poisoned(setting, &mut ann).await?;
    let letters = setting.letters(2).await?;
    let classes: Vec<&str> = letters.iter().map(|letter| letter.class.as_str()).collect();
    same("what the key came to", classes, ["attempts.exhausted", "ordering.blocked"])?;
    setting.open("edge", 1).await?.send(&["p3", "q2"].map(packet)).await?;
    let q2 = ann.one().await?;
    same("what came then", q2.text.as_str(), "q2")?;
    ann.ack(&[q2]).await?;
    ann.quiet(12).await?;
    let letters = setting.letters(3).await?;
    same("what a later packet of the key came to", letters[2].class.as_str(), "ordering.blocked")
}

pub(super) async fn blocked_keys_stand(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    let p1 = poisoned(setting, &mut ann).await?;
    ann.quiet(12).await?;
    setting.open("edge", 1).await?.send(&["p3", "q2"].map(packet)).await?;
    let q2 = ann.one().await?;
    same("what came then", q2.text.as_str(), "q2")?;
    ann.ack(&[q2]).await?;
    ann.quiet(12).await?;
    setting.letters(0).await?;
    holds("the floor is below what stands", setting.join("ann", 16).await?.floor() < p1.seq)
}
