//! Producers: numbers, epochs, and who may speak at all.

use std::collections::BTreeSet;

use seaworthy_engine::channel::kind::{ChannelError, Joining, PUBLISH_BYTES_MAX, PUBLISH_PACKETS_MAX};
use seaworthy_engine::packet::{Epoch, Seq};

use crate::kit::{Breach, Item, Setting, holds, items, same, texts};

pub(super) async fn stored_once_in_order(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 1).await?;
    let mut van = setting.open("van", 1).await?;
    edge.send(&items(&["a", "b"])).await?;
    van.send(&items(&["x"])).await?;
    edge.send(&items(&["c"])).await?;
    let mut ann = setting.join("ann", 16).await?;
    let taken = ann.take(4).await?;
    same("what came", texts(&taken), ["a", "b", "x", "c"])?;
    holds("the channel's numbers grow", taken.is_sorted_by(|one, next| one.seq < next.seq))?;
    holds("all of it is a first delivery", taken.iter().all(|one| one.delivery == 1))?;
    same("the bytes of b", &taken[1].packet, &Item::new("b").encode("edge", 1, Seq(2)))?;
    ann.ack(&taken).await?;
    ann.quiet(12).await
}

pub(super) async fn repeats_are_left_out(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&items(&["a", "b", "c"])).await?;
    let held = edge.publish(2, &items(&["b", "c", "d"])).await?;
    same("held after a batch that overlaps", held.ok(), Some(Seq(4)))?;
    let held = edge.publish(1, &items(&["a"])).await?;
    same("held after a repeat", held.ok(), Some(Seq(4)))?;
    let mut ann = setting.join("ann", 16).await?;
    let taken = ann.take(4).await?;
    same("what came", texts(&taken), ["a", "b", "c", "d"])?;
    ann.ack(&taken).await?;
    ann.quiet(4).await
}

pub(super) async fn gaps_are_refused(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&items(&["a"])).await?;
    match edge.publish(3, &items(&["c"])).await? {
        Err(ChannelError::OutOfSequence { found, expected }) => {
            same("what came and what comes next", (found, expected), (Seq(3), Seq(2)))?;
        }
        other => return Err(Breach::new(format!("3 came after 1, and was answered {other:?}"))),
    }
    // A gap may have ended the hold.
    let mut edge = setting.open("edge", 1).await?;
    same("held", edge.last(), Seq(1))?;
    edge.send(&items(&["b"])).await?;
    let mut ann = setting.join("ann", 16).await?;
    let taken = ann.take(2).await?;
    same("what came", texts(&taken), ["a", "b"])?;
    ann.quiet(4).await
}

pub(super) async fn repeats_after_the_ack_are_left_out(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&items(&["a", "b"])).await?;
    let mut ann = setting.join("ann", 16).await?;
    let mut dot = setting.try_join(audit()).await?.map_err(|error| Breach::new(error.to_string()))?;
    for hand in [&mut ann, &mut dot] {
        let taken = hand.take(2).await?;
        hand.ack(&taken).await?;
    }
    same("held after a repeat", edge.publish(1, &items(&["a", "b"])).await?.ok(), Some(Seq(2)))?;
    ann.quiet(4).await?;
    dot.quiet(4).await
}

/// The group of one.
pub(super) fn audit() -> Joining {
    Joining { group: "audit".to_owned(), member: "dot".to_owned(), credits: 16, holding: BTreeSet::new() }
}

pub(super) async fn publishes_fly(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 1).await?;
    edge.send_each(&items(&["a", "b", "c", "d", "e"])).await?;
    let mut ann = setting.join("ann", 16).await?;
    let taken = ann.take(5).await?;
    same("what came", texts(&taken), ["a", "b", "c", "d", "e"])?;
    ann.quiet(4).await
}

pub(super) async fn too_much_is_refused(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 1).await?;
    let many = vec![Item::new("a"); PUBLISH_PACKETS_MAX + 1];
    let refused = edge.publish(1, &many).await?;
    holds("one packet more than may come at a time", matches!(refused, Err(ChannelError::TooLarge { .. })))?;
    let wide = vec![Item::new(&"b".repeat(PUBLISH_BYTES_MAX / 2)); 3];
    let refused = edge.publish(1, &wide).await?;
    holds("more bytes than may come at a time", matches!(refused, Err(ChannelError::TooLarge { .. })))?;
    edge.send(&items(&["c"])).await?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.collect(4).await?), ["c"])
}

pub(super) async fn producers_are_apart(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 7).await?;
    edge.send(&items(&["a"])).await?;
    let mut van = setting.open("van", 1).await?;
    same("held of the other", van.last(), Seq(0))?;
    van.send(&items(&["x", "y"])).await?;
    edge.send(&items(&["b"])).await?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.take(4).await?), ["a", "x", "y", "b"])
}

pub(super) async fn strangers_are_turned_away(setting: &mut Setting) -> Result<(), Breach> {
    let opened = setting.try_open("nobody", 1).await?;
    holds("a producer without a link is a stranger", matches!(opened.err(), Some(ChannelError::Stranger { .. })))?;
    for (group, member) in [("crew", "dot"), ("crew", "nobody"), ("nobody", "ann")] {
        let (group, member) = (group.to_owned(), member.to_owned());
        let what = format!("{member} is a stranger to the group {group}");
        let joined = setting.try_join(Joining { group, member, credits: 1, holding: BTreeSet::new() }).await?;
        holds(&what, matches!(joined.err(), Some(ChannelError::Stranger { .. })))?;
    }
    Ok(())
}

pub(super) async fn new_epochs_fence_old_ones(setting: &mut Setting) -> Result<(), Breach> {
    let mut old = setting.open("edge", 1).await?;
    old.send(&items(&["a"])).await?;
    let mut new = setting.open("edge", 2).await?;
    same("held when the new epoch opened", new.last(), Seq(1))?;
    match old.publish(2, &items(&["stale"])).await? {
        Err(ChannelError::Fenced { .. } | ChannelError::Closed | ChannelError::Failed(_)) => {}
        other => return Err(Breach::new(format!("the old epoch published, and was answered {other:?}"))),
    }
    new.send(&items(&["b"])).await?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.take(2).await?), ["a", "b"])?;
    ann.quiet(4).await
}

pub(super) async fn old_epochs_do_not_open(setting: &mut Setting) -> Result<(), Breach> {
    setting.open("edge", 2).await?;
    match setting.try_open("edge", 1).await? {
        Err(ChannelError::Fenced { epoch, current }) => {
            same("the epoch that came and the one that holds", (epoch, current), (Epoch(1), Epoch(2)))
        }
        Err(other) => Err(Breach::new(format!("an old epoch was refused as {other:?}"))),
        Ok(_) => Err(Breach::new("an old epoch opened")),
    }
}

pub(super) async fn numbers_count_on(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&items(&["a", "b"])).await?;
    let mut edge = setting.open("edge", 5).await?;
    same("held when the new epoch opened", edge.last(), Seq(2))?;
    // What the old epoch left in an outbox, under its old identity.
    let left = Item::new("c").encode("edge", 1, Seq(3));
    let again = vec![Item::new("b").encode("edge", 1, Seq(2)), left.clone()];
    same("held after it", edge.publish_bytes(2, again).await?.ok(), Some(Seq(3)))?;
    let mut ann = setting.join("ann", 16).await?;
    let taken = ann.take(3).await?;
    same("what came", texts(&taken), ["a", "b", "c"])?;
    same("the bytes of c", &taken[2].packet, &left)?;
    ann.quiet(4).await
}

pub(super) async fn an_epoch_opens_again(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 3).await?;
    edge.send(&items(&["a"])).await?;
    drop(edge);
    let mut edge = setting.open("edge", 3).await?;
    same("held", edge.last(), Seq(1))?;
    edge.send(&items(&["b"])).await?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.take(2).await?), ["a", "b"])
}
