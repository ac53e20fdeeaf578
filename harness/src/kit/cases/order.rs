//! Order: none, by key, strict.

use seaworthy_engine::channel::kind::Outcome;

use crate::kit::{Breach, Item, Setting, Taken, holds, items, same, texts};

/// Packets `k1`, `k2` … of the key that their first letter is; those that begin with `x` have none.
fn keyed(names: &[&str]) -> Vec<Item> {
    let item = |name: &&str| match name.get(..1) {
        Some("x") | None => Item::new(name),
        Some(key) => Item::new(name).key(key),
    };
    names.iter().map(item).collect()
}

/// Those of a key.
fn of<'a>(taken: &'a [Taken], key: &str) -> Vec<&'a str> {
    texts(taken).into_iter().filter(|text| text.starts_with(key)).collect()
}

pub(super) async fn unordered_packets_flow(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&keyed(&["k1"])).await?;
    let first = ann.one().await?;
    ann.tell(&first, Outcome::Retry { delay_ns: Some(setting.beats(20)) }).await?;
    edge.send(&keyed(&["k2", "k3"])).await?;
    same("what came while k1 waited", texts(&ann.collect(4).await?), ["k2", "k3"])
}

pub(super) async fn a_key_is_one_members(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    let mut ben = setting.join("ben", 16).await?;
    setting.open("edge", 1).await?.send(&keyed(&["k1", "m1", "k2", "m2", "k3", "m3"])).await?;
    let (first, second) = (ann.collect(3).await?, ben.collect(3).await?);
    for key in ["k", "m"] {
        let all: Vec<String> = (1..4).map(|n| format!("{key}{n}")).collect();
        let (ann, ben) = (of(&first, key), of(&second, key));
        let whole = ann.is_empty() && ben == all || ben.is_empty() && ann == all;
        holds(&format!("one member has all of {key}, in order: {ann:?} and {ben:?}"), whole)?;
    }
    Ok(())
}

pub(super) async fn a_key_waits_for_its_first(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 1).await?;
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&keyed(&["k1"])).await?;
    let first = ann.one().await?;
    let mut ben = setting.join("ben", 16).await?;
    edge.send(&keyed(&["k2", "m1", "x"])).await?;
    same("what another member got meanwhile", texts(&ben.collect(4).await?), ["m1", "x"])?;
    ann.ack(&[first]).await?;
    let (one, other) = (ann.collect(2).await?, ben.collect(2).await?);
    same("what came once the first was acked", texts(&[one, other].concat()), ["k2"])
}

pub(super) async fn a_key_comes_again_in_order(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    setting.open("edge", 1).await?.send(&keyed(&["k1", "k2", "k3"])).await?;
    let taken = ann.take(3).await?;
    same("what came", texts(&taken), ["k1", "k2", "k3"])?;
    ann.tell(&taken[0], Outcome::Retry { delay_ns: Some(setting.beats(2)) }).await?;
    let answer = ann.ask(ann.generation(), taken[1].lease, taken[1].seq, Outcome::Ack).await?;
    holds("the later ones went with it", answer.fenced.contains_key(&taken[1].seq))?;
    let again = ann.take(3).await?;
    same("what came again", texts(&again), ["k1", "k2", "k3"])?;
    ann.ack(&again).await?;
    ann.quiet(12).await
}

pub(super) async fn other_keys_flow(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    let mut edge = setting.open("edge", 1).await?;
    edge.send(&keyed(&["k1"])).await?;
    let first = ann.one().await?;
    ann.tell(&first, Outcome::Retry { delay_ns: Some(setting.beats(20)) }).await?;
    edge.send(&keyed(&["k2", "m1", "x"])).await?;
    let others = ann.collect(6).await?;
    same("what came while k waited", texts(&others), ["m1", "x"])?;
    ann.ack(&others).await?;
    same("what came of k", texts(&ann.take(2).await?), ["k1", "k2"])
}

pub(super) async fn strict_is_one_line(setting: &mut Setting) -> Result<(), Breach> {
    let mut ann = setting.join("ann", 16).await?;
    let mut ben = setting.join("ben", 16).await?;
    setting.open("edge", 1).await?.send(&items(&["a", "b", "c"])).await?;
    let (first, second) = (ann.collect(3).await?, ben.collect(3).await?);
    let (holder, taken) = if first.is_empty() { (&mut ben, &second) } else { (&mut ann, &first) };
    same("what one of them got", texts(taken), ["a", "b", "c"])?;
    holds("the other got nothing", first.is_empty() || second.is_empty())?;
    holder.tell(&taken[0], Outcome::Retry { delay_ns: Some(setting.beats(5)) }).await?;
    holder.quiet(4).await?;
    let (first, second) = (ann.collect(5).await?, ben.collect(1).await?);
    same("what came again", texts(&[first, second].concat()), ["a", "b", "c"])
}
