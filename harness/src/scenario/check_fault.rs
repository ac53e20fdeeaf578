//! Checks the faults of a file: kind, target, parameters, and when they happen.

use super::address::Target;
use super::atlas;
use super::check::Checker;
use super::error::{ScenarioError, Span, span};
use super::kinds::{self, ALL, Kind, On};
use super::model::{Effect, Fault, Schedule, Sim};
use super::shape::{Named, Share, Text};
use super::spec::FaultText;
use super::value::{self, MS, nearest, show_duration};
use crate::plan::{Dist, Ns};

/// How often a fault may repeat, and how many cuts a flap may come to.
const REPEAT_MAX: u64 = 1_000;
const CUTS_MAX: u64 = 10_000;
/// Kinds that need a time: they come to several steps, or change the load before anything runs.
const TIMED_ONLY: [&str; 5] = ["net.flap", "net.swizzle", "host.rolling_restart", "load.poison", "load.burst"];

pub(super) fn faults(checker: &mut Checker<'_>, texts: Named<FaultText>, sim: Sim, may_sabotage: bool) -> Vec<Fault> {
    let read: Vec<(Text, FaultText)> = texts.0.into_iter().filter_map(|(id, text)| Some((id, text?))).collect();
    let one =
        |(id, text): &(Text, FaultText)| FaultChecker { checker: &mut *checker, id, text, sim }.fault(may_sabotage);
    let faults: Vec<Fault> = read.iter().filter_map(one).collect();
    if !may_sabotage {
        for unfair in atlas::unfair(&faults, checker.world) {
            let (_, text) = read.iter().find(|(id, _)| id.value == unfair.fault).expect("it is a fault of the file");
            checker.contradiction(unfair.why, &text.kind.at, unfair.help);
        }
    }
    faults
}

pub(super) struct FaultChecker<'c, 'a, 't> {
    pub(super) checker: &'c mut Checker<'a>,
    id: &'t Text,
    pub(super) text: &'t FaultText,
    sim: Sim,
}

impl FaultChecker<'_, '_, '_> {
    fn fault(mut self, may_sabotage: bool) -> Option<Fault> {
        let kind = self.kind()?;
        if kind.id.starts_with("sabotage.") && !may_sabotage {
            let (kind, at) = (kind.id.to_owned(), span(&self.text.kind.at));
            self.checker.errors.push(ScenarioError::SabotageOutside { kind, at });
        }
        let complete = self.keys(kind);
        let lasts = self.lasts();
        let schedule = self.schedule();
        let chance = self.share("chance", self.text.chance.as_ref(), 1.0);
        let target = self.target(kind);
        if !complete {
            return None;
        }
        let effect = self.effect(kind, &target?)?;
        let (lasts, schedule) = (lasts?, schedule?);
        self.fits(&schedule, lasts, &effect);
        let line = self.checker.line(&self.text.kind.at);
        Some(Fault { id: self.id.value.clone(), schedule, chance: chance?, lasts, effect, line })
    }

    fn kind(&mut self) -> Option<Kind> {
        let Text { value: id, at } = &self.text.kind;
        if let Some(kind) = kinds::find(id) {
            return Some(kind);
        }
        let known: Vec<&str> = kinds::FAULTS.iter().chain(&kinds::SABOTAGES).map(|kind| kind.id).collect();
        let help = match nearest(id, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("kinds are {}", known[..kinds::FAULTS.len()].join(", ")),
        };
        let error = ScenarioError::UnknownKind { kind: id.clone(), at: span(at), help };
        self.checker.errors.push(error);
        None
    }

    /// Whether every key that the kind needs is there; keys that it doesn't take are errors.
    fn keys(&mut self, kind: Kind) -> bool {
        let text = self.text;
        let at = |value: &Option<Text>| value.as_ref().map(|text| text.at.clone());
        let given: [(&str, Option<Span>); 13] = [
            ("for", at(&text.lasts)),
            ("add", at(&text.add)),
            ("rate", at(&text.rate)),
            ("bytes", at(&text.bytes)),
            ("by", at(&text.by)),
            ("operation", text.operation.as_ref().map(|count| count.at.0..count.at.1)),
            ("ratio", text.ratio.as_ref().map(|share| share.0.at.clone())),
            ("op", at(&text.op)),
            ("up", at(&text.up)),
            ("down", at(&text.down)),
            ("restart", at(&text.restart)),
            ("newest", text.newest.map(|_| text.kind.at.clone())),
            ("power", text.power.map(|_| text.kind.at.clone())),
        ];
        let mut complete = true;
        for (key, at) in given {
            let place = format!("a `{}`", kind.id);
            match at {
                Some(at) if !kind.needs.contains(&key) && !kind.takes.contains(&key) => {
                    let takes: Vec<&str> = kind.needs.iter().chain(kind.takes).copied().collect();
                    let help = if takes.is_empty() {
                        format!("`{}` takes no more than its schedule", kind.id)
                    } else {
                        format!("`{}` takes {}", kind.id, takes.join(", "))
                    };
                    self.checker.errors.push(ScenarioError::UnknownKey {
                        key: key.to_owned(),
                        place,
                        at: span(&at),
                        help,
                    });
                }
                None if kind.needs.contains(&key) => {
                    let example = match key {
                        "ratio" => "ratio = \"5%\"",
                        "rate" => "rate = \"2Mbit/s\"",
                        "bytes" => "bytes = \"8MiB\"",
                        "by" if kind.id == "clock.drift" => "by = \"200ppm\"",
                        "by" => "by = \"-90s\"",
                        "for" => "for = \"5s\"",
                        "op" => "op = \"sync\"",
                        "add" => "add = \"lognormal(p50 = 5ms, p99 = 200ms)\"",
                        "up" => "up = \"2s\"",
                        _ => "down = \"uniform(1s, 6s)\"",
                    };
                    let help = format!("add `{example}`");
                    self.checker.errors.push(ScenarioError::MissingKey {
                        key: key.to_owned(),
                        place,
                        at: span(&text.kind.at),
                        help,
                    });
                    complete = false;
                }
                _ => {}
            }
        }
        complete
    }

    fn target(&mut self, kind: Kind) -> Option<Target> {
        let on = &self.text.on;
        if on.value == ALL && matches!(kind.on, On::Links | On::Hosts) {
            return Some(Target::All);
        }
        let target = self.checker.keep(self.checker.world.find(&on.value, &on.at))?;
        let fits = match (&target, kind.on) {
            (Target::Link(_), On::Link) | (Target::Host(_), On::Host) | (Target::Channel(_), On::Channel) => true,
            (Target::Host(_), On::Links) => true,
            (Target::Node(node), On::Sink) => node.sink,
            (Target::Node(node), On::Node) => node.handles,
            (Target::Node(node), On::Source) => node.source,
            // The harness can cut one lane once a pair of hosts has several; today it has one.
            (Target::Channel(_), On::Link) if on.value.contains("->") => {
                let (link, _) = on.value.split_once(':').expect("a channel with an arrow is a lane, which has a colon");
                let (what, at) = (format!("`{}` on one lane", kind.id), span(&on.at));
                self.checker.errors.push(ScenarioError::NotInThisVersion {
                    what,
                    at,
                    help: format!("write \"{link}\""),
                });
                return None;
            }
            _ => false,
        };
        if !fits {
            self.checker.wrong_target(on, &target, &format!("`{}`", kind.id), kind.on.words());
        }
        fits.then_some(target)
    }

    /// `Some(None)` when the file doesn't say.
    fn lasts(&mut self) -> Option<Option<Dist>> {
        let Some(text) = &self.text.lasts else { return Some(None) };
        let dist = self.dist("for", text)?;
        if let Dist::Lognormal { .. } = dist {
            let help = "a fault must end before the run does; write \"5s\" or \"uniform(1s, 5s)\"".to_owned();
            let message = "`for` has no longest value".to_owned();
            self.checker.errors.push(ScenarioError::BadValue { message, at: span(&text.at), help });
            return None;
        }
        Some(Some(dist))
    }

    /// A distribution that is not always zero.
    pub(super) fn dist(&mut self, key: &str, text: &Text) -> Option<Dist> {
        let dist = self.checker.value(key, text, value::dist)?;
        if dist.max_ns() == Some(0) {
            let help = format!("write a time above 0 for `{key}`, or take the fault out");
            self.checker.errors.push(ScenarioError::ZeroLength { key: key.to_owned(), at: span(&text.at), help });
            return None;
        }
        Some(dist)
    }

    fn share(&mut self, key: &str, text: Option<&Share>, default: f64) -> Option<f64> {
        let Some(Share(text)) = text else { return Some(default) };
        let share = self.checker.value(key, text, value::share)?;
        if share == 0.0 {
            let help = "write a share above 0, or take the fault out".to_owned();
            let message = format!("`{key}` is 0: the fault would never do anything");
            self.checker.errors.push(ScenarioError::BadValue { message, at: span(&text.at), help });
            return None;
        }
        Some(share)
    }

    pub(super) fn ratio_ppm(&mut self) -> Option<u32> {
        let share = self.share("ratio", self.text.ratio.as_ref(), 1.0)?;
        Some(((share * 1e6).round() as u32).max(1))
    }

    fn schedule(&mut self) -> Option<Schedule> {
        let text = self.text;
        let repeat = self.repeat()?;
        let several = "`at`, `within` and `when` each say when it begins";
        match (&text.at_time, &text.within, &text.when) {
            (Some(at), None, None) => {
                let at_ns = self.checker.value("at", at, value::duration)?;
                let every_ns = match &text.every {
                    Some(every) => self.checker.value("every", every, value::duration)?,
                    None => 0,
                };
                Some(Schedule::At { at_ns, repeat, every_ns })
            }
            (None, Some(within), None) => {
                let (from_ns, to_ns) = self.checker.value("within", within, value::window)?;
                Some(Schedule::Within { from_ns, to_ns, repeat })
            }
            (None, None, Some(when)) => {
                self.checker.condition(when)?;
                if repeat > 1 || TIMED_ONLY.contains(&text.kind.value.as_str()) {
                    let what = if repeat > 1 {
                        "`repeat` with `when`".to_owned()
                    } else {
                        format!("a `{}` with `when`", text.kind.value)
                    };
                    let help = "write it with `at` or `within`".to_owned();
                    self.checker.errors.push(ScenarioError::NotInThisVersion { what, at: span(&when.at), help });
                    return None;
                }
                Some(Schedule::When { when: when.value.trim().to_owned() })
            }
            (None, None, None) => {
                let (fault, at) = (self.id.value.clone(), span(&self.id.at));
                self.checker.errors.push(ScenarioError::NoSchedule { fault, at });
                None
            }
            (_, Some(second), None) | (_, _, Some(second)) => {
                self.checker.contradiction(several, &second.at, "keep one of them");
                None
            }
        }
    }

    fn repeat(&mut self) -> Option<u64> {
        let repeat = self.text.repeat.map_or(1, |count| count.value);
        let at = self.text.repeat.map_or_else(|| self.id.at.clone(), |count| count.at.0..count.at.1);
        if repeat == 0 || repeat > REPEAT_MAX {
            let help = format!("write a number from 1 to {REPEAT_MAX}");
            self.checker.contradiction(format!("a fault can't happen {repeat} times"), &at, help);
            return None;
        }
        match (&self.text.every, &self.text.at_time) {
            (None, Some(_)) if repeat > 1 => {
                let (key, place) = ("every".to_owned(), format!("the repeated fault `{}`", self.id.value));
                let help = "add `every = \"10s\"`: from one beginning to the next".to_owned();
                self.checker.errors.push(ScenarioError::MissingKey { key, place, at: span(&at), help });
                None
            }
            (Some(every), at) if repeat == 1 || at.is_none() => {
                self.checker.contradiction(
                    "`every` goes with `at` and `repeat`",
                    &every.at,
                    "add them, or take `every` out",
                );
                None
            }
            _ => Some(repeat),
        }
    }

    /// Whether it fits into the run, and between its own repetitions.
    fn fits(&mut self, schedule: &Schedule, lasts: Option<Dist>, effect: &Effect) {
        let length = effect.own_length().or_else(|| lasts.and_then(|dist| dist.max_ns()));
        let text = self.text;
        let end_help =
            format!("the run lasts {}; begin earlier, or raise sim.duration", show_duration(self.sim.duration_ns));
        let (start, at, gap, repeat) = match (schedule, &text.at_time, &text.within) {
            (Schedule::At { at_ns, repeat, every_ns }, Some(at), _) => {
                (at_ns + every_ns.saturating_mul(repeat - 1), &at.at, *every_ns, *repeat)
            }
            (Schedule::Within { from_ns, to_ns, repeat }, _, Some(within)) => {
                let part = (to_ns - from_ns) / repeat;
                if *to_ns > self.sim.duration_ns {
                    self.after_end("may begin", *to_ns, &within.at, end_help);
                    return;
                }
                if length.is_some_and(|length| length > part) {
                    let message = format!(
                        "it may last {}, but each part of its window is {}",
                        show_duration(length.unwrap_or(0)),
                        show_duration(part)
                    );
                    self.checker.contradiction(
                        message,
                        &within.at,
                        "a fault ends inside its window: widen `within`, shorten `for`, or repeat less often",
                    );
                }
                (*from_ns, &within.at, part, *repeat)
            }
            _ => return self.flap_fits(effect, length),
        };
        if start >= self.sim.duration_ns {
            self.after_end("begins", start, at, end_help);
        } else if length.is_some_and(|length| start + length > self.sim.duration_ns) {
            self.after_end("may end", start + length.unwrap_or(0), at, end_help);
        }
        if repeat > 1 && length.is_none_or(|length| length > gap) {
            self.checker.contradiction(
                "it may still last when it begins again",
                at,
                "add `for`, or leave more time between",
            );
        }
        self.flap_fits(effect, length);
    }

    fn after_end(&mut self, what: &str, time: Ns, at: &Span, help: String) {
        let (fault, when) = (self.id.value.clone(), format!("{what} at {}", show_duration(time)));
        self.checker.errors.push(ScenarioError::AfterEnd { fault, when, at: span(at), help });
    }

    fn flap_fits(&mut self, effect: &Effect, length: Option<Ns>) {
        let Effect::Flap { down, up, .. } = effect else { return };
        let cycle = (down.median_ns() + up.median_ns()).max(MS);
        let cuts = length.unwrap_or(self.sim.duration_ns) / cycle;
        if cuts > CUTS_MAX {
            let help = "lengthen `down` or `up`, or shorten `for`";
            self.checker.contradiction(
                format!("the flap comes to {cuts} cuts, more than {CUTS_MAX}"),
                &self.text.kind.at,
                help,
            );
        }
    }
}
