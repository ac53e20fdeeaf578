//! Business keys, and what is no packet at all.

use bytes::Bytes;
use seaworthy_engine::packet::Seq;

use crate::kit::{Breach, Item, Setting, items, same, texts};

pub(super) async fn late_retries_are_left_out(setting: &mut Setting) -> Result<(), Breach> {
    let order = [Item::new("a").business("order-7")];
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&order).await?;
    edge.send(&order).await?;
    setting.open("van", 1).await?.send(&order).await?;
    let mut ann = setting.join("ann", 16).await?;
    let taken = ann.collect(4).await?;
    same("what came", texts(&taken), ["a"])?;
    setting.letters(0).await.map(drop)
}

pub(super) async fn keys_outlive_the_ack(setting: &mut Setting) -> Result<(), Breach> {
    let order = [Item::new("a").business("order-7")];
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&order).await?;
    let mut ann = setting.join("ann", 16).await?;
    let taken = ann.take(1).await?;
    ann.ack(&taken).await?;
    setting.sleep(10).await;
    edge.send(&order).await?;
    ann.quiet(4).await
}

pub(super) async fn conflicts_are_dead_letters(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&[Item::new("a").business("order-7")]).await?;
    let other = Item::new("other").business("order-7");
    edge.send(std::slice::from_ref(&other)).await?;
    let letters = setting.letters(1).await?;
    same("its class", letters[0].class.as_str(), "conflict")?;
    same("its bytes", &letters[0].packet, &other.encode("edge", 1, Seq(2)))?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.collect(4).await?), ["a"])
}

pub(super) async fn conflicts_change_nothing(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&[Item::new("a").business("order-7"), Item::new("other").business("order-7")]).await?;
    edge.send(&[Item::new("a").business("order-7"), Item::new("b").business("order-8")]).await?;
    setting.letters(1).await?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.collect(4).await?), ["a", "b"])
}

pub(super) async fn keys_end_with_the_horizon(setting: &mut Setting) -> Result<(), Breach> {
    let order = [Item::new("a").business("order-7")];
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&order).await?;
    setting.sleep(12).await;
    edge.send(&order).await?;
    setting.sleep(12).await;
    edge.send(&order).await?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.collect(4).await?), ["a", "a"])
}

pub(super) async fn no_packet_is_a_dead_letter(setting: &mut Setting) -> Result<(), Breach> {
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&items(&["a"])).await?;
    let garbage = Bytes::from_static(&[0xff; 40]);
    same("held after it", edge.publish_bytes(2, vec![garbage.clone()]).await?.ok(), Some(Seq(2)))?;
    same("held after what follows", edge.publish(3, &items(&["b"])).await?.ok(), Some(Seq(3)))?;
    let letters = setting.letters(1).await?;
    same("its class", letters[0].class.as_str(), "decode.failed")?;
    same("its bytes", &letters[0].packet, &garbage)?;
    let mut ann = setting.join("ann", 16).await?;
    same("what came", texts(&ann.collect(4).await?), ["a", "b"])
}
