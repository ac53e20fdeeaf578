//! Endpoints that the harness owns: the outside systems' memory, and the faults and sabotages of the sinks before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::env::{Clock, Fut, Seed};
use xxhash_rust::xxh3::xxh3_64;

use super::hosts::HostIndex;
use super::recorder::Recorder;
use crate::history::Effect;
use crate::plan::{Dist, strikes};

/// How often a stuck sink looks whether it is free again, ns of its host's clock.
const STUCK_LOOK_NS: u64 = 10_000_000;

/// A deliberate breach at a sink. Each strikes one effect and is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// The next effect never becomes visible, though the sink said so.
    Lose,
    /// The next effect becomes visible twice.
    Duplicate,
    /// The next keyed effect becomes visible only after the one of the same key behind it.
    Reorder,
    /// The next effect's last byte is changed.
    Corrupt,
    /// An effect of an event that nobody offered follows the next one.
    Unexpected,
}

/// What goes wrong at the sinks, by endpoint.
#[derive(Default)]
pub(crate) struct Sinks(BTreeMap<String, Sink>);

#[derive(Default)]
struct Sink {
    delay: Option<Dist>,
    /// Which share of batches it refuses as unavailable, in parts per million, and how many it has.
    errors_ppm: Option<u32>,
    errors: u64,
    /// Which share of packets it refuses for good, and how often it has.
    rejects_ppm: Option<u32>,
    rejects: u64,
    stuck: bool,
    breaches: Vec<Breach>,
    /// The effect that a reorder keeps back.
    kept: Option<Effect>,
    hits: u64,
}

impl Sinks {
    /// What becomes visible now that the sink `name` wrote `effect`.
    pub fn pass(&mut self, name: &str, effect: Effect) -> Vec<Effect> {
        let Some(sink) = self.0.get_mut(name) else { return vec![effect] };
        if let Some(kept) = sink.kept.take_if(|kept| kept.key == effect.key) {
            return vec![effect, kept];
        }
        let applies = |breach: &Breach| *breach != Breach::Reorder || effect.key.is_some();
        let Some(next) = sink.breaches.iter().position(applies) else { return vec![effect] };
        sink.hits += 1;
        match sink.breaches.remove(next) {
            Breach::Lose => vec![],
            Breach::Duplicate => vec![effect.clone(), effect],
            Breach::Reorder => {
                sink.kept = Some(effect);
                vec![]
            }
            Breach::Corrupt => vec![Effect { content: corrupt(&effect.content), ..effect }],
            Breach::Unexpected => {
                let packet_id = format!("{}?", effect.packet_id);
                vec![effect.clone(), Effect { packet_id, ..effect }]
            }
        }
    }
}

fn corrupt(content: &Bytes) -> Bytes {
    let mut bytes = content.to_vec();
    match bytes.last_mut() {
        Some(last) => *last ^= 1,
        None => bytes.push(b'?'),
    }
    bytes.into()
}

/// What goes wrong at one sink; set by the fault driver.
pub(crate) struct SinkControls<'a> {
    recorder: &'a Recorder,
    endpoint: &'a str,
}

impl Recorder {
    /// The controls of the sink `host.node`.
    pub(crate) fn sink<'a>(&'a self, endpoint: &'a str) -> SinkControls<'a> {
        SinkControls { recorder: self, endpoint }
    }
}

impl SinkControls<'_> {
    fn with<R>(&self, change: impl FnOnce(&mut Sink) -> R) -> R {
        change(self.recorder.lock().sinks.0.entry(self.endpoint.to_owned()).or_default())
    }

    /// Each batch takes longer by a draw.
    pub fn set_delay(&self, delay: Option<Dist>) {
        self.with(|sink| sink.delay = delay);
    }

    /// That share of batches, in parts per million, is refused: the sink is unavailable.
    pub fn set_errors(&self, ratio_ppm: Option<u32>) {
        self.with(|sink| sink.errors_ppm = ratio_ppm);
    }

    /// How many batches were refused.
    pub fn errors(&self) -> u64 {
        self.with(|sink| sink.errors)
    }

    /// That share of packets, in parts per million, is refused for good.
    pub fn set_rejects(&self, ratio_ppm: Option<u32>) {
        self.with(|sink| sink.rejects_ppm = ratio_ppm);
    }

    /// How often a packet was refused for good.
    pub fn rejects(&self) -> u64 {
        self.with(|sink| sink.rejects)
    }

    /// No batch ends while this holds.
    pub fn set_stuck(&self, stuck: bool) {
        self.with(|sink| sink.stuck = stuck);
    }

    /// Arms a breach, or disarms it where it has not struck yet; what a reorder still keeps back becomes visible.
    pub fn set_breach(&self, breach: Breach, on: bool) {
        let kept = self.with(|sink| {
            sink.breaches.retain(|armed| *armed != breach);
            if on {
                sink.breaches.push(breach);
            }
            sink.kept.take_if(|_| !on)
        });
        if let Some(kept) = kept {
            let at_ns = self.recorder.now_ns();
            self.recorder.lock().visible(Effect { at_ns, ..kept });
        }
    }

    /// How often something went wrong here.
    pub fn hits(&self) -> u64 {
        self.with(|sink| sink.hits)
    }
}

/// A recording endpoint as one incarnation of its host sees it. That of an older incarnation is inert.
#[derive(Clone)]
pub struct Endpoint {
    recorder: Arc<Recorder>,
    name: Arc<str>,
    /// The name that its effects go by.
    told_as: Arc<str>,
    host: HostIndex,
    incarnation: u64,
}

impl Endpoint {
    pub(crate) fn new(recorder: Arc<Recorder>, name: &str, host: HostIndex, incarnation: u64) -> Endpoint {
        Endpoint { recorder, name: name.into(), told_as: name.into(), host, incarnation }
    }

    /// Records its effects as those of another endpoint: the two are one for whoever looks on.
    #[must_use]
    pub fn told_as(self, name: &str) -> Endpoint {
        Endpoint { told_as: name.into(), ..self }
    }

    /// Waits as long as the sink takes longer than usual; a sink awaits it before each batch's effects.
    #[must_use = "the wait is the delay"]
    pub fn hold(&self, clock: &Arc<dyn Clock>) -> Fut<'static, ()> {
        let (endpoint, clock) = (self.clone(), clock.clone());
        Box::pin(async move {
            let now = endpoint.recorder.now_ns();
            let delay = endpoint.controls().with(|sink| {
                sink.hits += u64::from(sink.delay.is_some());
                sink.delay
            });
            if let Some(delay) = delay {
                let draw = endpoint.recorder.seed.draw("sink.slow", &[xxh3_64(endpoint.name.as_bytes()), now]);
                clock.sleep(delay.draw(draw)).await;
            }
            while endpoint.controls().with(|sink| {
                sink.hits += u64::from(sink.stuck);
                sink.stuck
            }) {
                clock.sleep(STUCK_LOOK_NS).await;
            }
        })
    }

    /// Whether the outside system is unavailable for the batch that is written now; a sink asks before each batch's effects.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        let key = [xxh3_64(self.name.as_bytes()), self.recorder.now_ns()];
        let draw = || self.recorder.seed.draw("sink.error", &key);
        self.controls().with(|sink| {
            let struck = sink.errors_ppm.is_some_and(|ppm| strikes(draw(), ppm));
            sink.errors += u64::from(struck);
            struck
        })
    }

    /// Whether the outside system refuses the packet now, and for good: always the same ones, while the fault lasts.
    #[must_use]
    pub fn is_rejected(&self, packet_id: &str) -> bool {
        let key = [xxh3_64(self.told_as.as_bytes()), xxh3_64(packet_id.as_bytes())];
        let draw = || self.recorder.seed.draw("sink.reject", &key);
        let struck = self.controls().with(|sink| {
            let struck = sink.rejects_ppm.is_some_and(|ppm| strikes(draw(), ppm));
            sink.rejects += u64::from(struck);
            struck
        });
        if struck {
            let packet = (self.name.to_string(), packet_id.to_owned());
            self.recorder.with_history(|history| history.struck.push(packet));
        }
        struck
    }

    /// The effect became visible now.
    pub fn effect(&self, packet_id: &str, key: Option<&str>, content: Bytes) {
        if self.recorder.hosts().is_live(self.host, self.incarnation) {
            self.recorder.effect_by(&self.name, &self.told_as, packet_id, key, content);
        }
    }

    fn controls(&self) -> SinkControls<'_> {
        self.recorder.sink(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(breach: Breach, expected: &[(&str, &str)]) {
        let recorder = Recorder::new(1, false);
        recorder.sink("hub.out").set_breach(breach, true);
        for (id, content) in [("a", "0"), ("b", "0"), ("c", "0")] {
            recorder.effect("hub.out", id, Some("key"), Bytes::copy_from_slice(content.as_bytes()));
        }
        assert_eq!(recorder.sink("hub.out").hits(), 1);
        let effects = recorder.finish().0.effects;
        let seen: Vec<(&str, &str)> =
            effects.iter().map(|e| (&*e.packet_id, std::str::from_utf8(&e.content).unwrap())).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn each_breach_strikes_once() {
        check(Breach::Lose, &[("b", "0"), ("c", "0")]);
        check(Breach::Duplicate, &[("a", "0"), ("a", "0"), ("b", "0"), ("c", "0")]);
        check(Breach::Reorder, &[("b", "0"), ("a", "0"), ("c", "0")]);
        check(Breach::Corrupt, &[("a", "1"), ("b", "0"), ("c", "0")]);
        check(Breach::Unexpected, &[("a", "0"), ("a?", "0"), ("b", "0"), ("c", "0")]);
    }

    #[test]
    fn what_a_reorder_keeps_back_comes_at_the_heal() {
        let recorder = Recorder::new(1, false);
        recorder.sink("hub.out").set_breach(Breach::Reorder, true);
        recorder.effect("hub.out", "a", Some("key"), Bytes::new());
        assert_eq!(recorder.with_history(|history| history.effects.len()), 0);
        recorder.sink("hub.out").set_breach(Breach::Reorder, false);
        assert_eq!(recorder.with_history(|history| history.effects.len()), 1);
    }
}
