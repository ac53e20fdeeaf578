//! Checks the faults of a file: kind, target, parameters, and when they happen.

use super::address::Target;
use super::atlas;
use super::check::Checker;
use super::error::{ScenarioError, Span, span};
use super::kinds::{self, ALL, Kind, On};
use super::model::{Effect, Fault, Schedule, Sim};
use super::shape::{Named, Share, Text};
use super::spec::FaultText;
use super::value::{self, MS, SECOND, nearest, show_duration};
use crate::plan::{Action, DiskOp, Dist, Link, Ns};

/// How often a fault may repeat, and how many cuts a flap may come to.
const REPEAT_MAX: u64 = 1_000;
const CUTS_MAX: u64 = 10_000;
/// Most bytes that a read or write moves under `net.short_io`, unless the file says otherwise.
const SHORT_BYTES: u64 = 256;
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

struct FaultChecker<'c, 'a, 't> {
    checker: &'c mut Checker<'a>,
    id: &'t Text,
    text: &'t FaultText,
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
        let given: [(&str, Option<Span>); 12] = [
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
    fn dist(&mut self, key: &str, text: &Text) -> Option<Dist> {
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

    fn ratio_ppm(&mut self) -> Option<u32> {
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

    fn effect(&mut self, kind: Kind, target: &Target) -> Option<Effect> {
        let text = self.text;
        match (kind.on, target) {
            (On::Link, Target::Link(link)) => self.link_effect(kind, link.clone()),
            (On::Links, of) => {
                let host = if let Target::Host(host) = of { Some(host.as_str()) } else { None };
                let links = self.checker.world.links(host);
                if links.is_empty() {
                    let help = "name a host that shares a channel with another one";
                    self.checker.contradiction("there is no link to cut", &text.on.at, help);
                    return None;
                }
                Some(Effect::Swizzle { links })
            }
            (On::Hosts, _) => {
                let hosts = self.checker.world.hosts.clone();
                let up = match &text.up {
                    Some(up) => self.dist("up", up)?,
                    None => Dist::Constant { ns: SECOND },
                };
                Some(Effect::Rolling { hosts, restart_ns: self.restart()?, up })
            }
            (On::Channel, channel) => self.channel_action(kind, target_name(channel)).map(Effect::Act),
            (_, place) => {
                let name = target_name(place);
                let action = if kind.id.starts_with("sabotage.") {
                    let breach = kind.id.trim_start_matches("sabotage.").to_owned();
                    Some(Action::Sabotage { breach, on: name })
                } else if kind.on == On::Host {
                    self.host_action(kind, name)
                } else {
                    self.node_action(kind, name)
                };
                action.map(Effect::Act)
            }
        }
    }

    fn wanted_dist(&mut self, key: &str, text: Option<&Text>) -> Option<Dist> {
        self.dist(key, text.expect("keys() saw to what the kind needs"))
    }

    fn speed(&mut self) -> Option<u64> {
        let text = self.text.rate.as_ref().expect("keys() saw to what the kind needs");
        self.checker.value("rate", text, value::speed)
    }

    fn link_effect(&mut self, kind: Kind, link: Link) -> Option<Effect> {
        let text = self.text;
        let action = match kind.id {
            "net.cut" => Action::NetCut { link },
            "net.flap" => {
                let down = self.wanted_dist("down", text.down.as_ref());
                let up = self.wanted_dist("up", text.up.as_ref());
                return Some(Effect::Flap { link, down: down?, up: up? });
            }
            "net.latency" => Action::NetLatency { link, add: self.wanted_dist("add", text.add.as_ref())? },
            "net.loss" => Action::NetLoss { link, ratio_ppm: self.ratio_ppm()? },
            "net.bandwidth" => Action::NetBandwidth { link, bytes_per_s: self.speed()? },
            "net.reset" => Action::NetReset { link },
            "net.half_open" => Action::NetHalfOpen { link },
            "net.short_io" => {
                let bytes = match &text.bytes {
                    Some(bytes) => self.checker.value("bytes", bytes, value::bytes)?,
                    None => SHORT_BYTES,
                };
                Action::NetShortIo { link, bytes: u32::try_from(bytes).unwrap_or(u32::MAX).max(1) }
            }
            other => unreachable!("the table puts `{other}` on a link, and every such kind has an arm"),
        };
        Some(Effect::Act(action))
    }

    fn channel_action(&mut self, kind: Kind, channel: String) -> Option<Action> {
        let text = self.text;
        Some(match kind.id {
            "ack.delay" => Action::AckDelay { channel, add: self.wanted_dist("add", text.add.as_ref())? },
            "ack.duplicate" => Action::AckDuplicate { channel, ratio_ppm: self.ratio_ppm()? },
            "ack.reorder" => Action::AckReorder { channel, ratio_ppm: self.ratio_ppm()? },
            "ack.lose" => Action::AckLose { channel, ratio_ppm: self.ratio_ppm()? },
            "delivery.duplicate" => Action::DeliveryDuplicate { channel, ratio_ppm: self.ratio_ppm()? },
            sabotage => Action::Sabotage { breach: sabotage.trim_start_matches("sabotage.").to_owned(), on: channel },
        })
    }

    fn host_action(&mut self, kind: Kind, host: String) -> Option<Action> {
        let text = self.text;
        let by = text.by.as_ref();
        let wanted = "keys() saw to what the kind needs";
        Some(match kind.id {
            "disk.full" => Action::DiskFull { host },
            "disk.quota" => {
                let bytes = text.bytes.as_ref().expect(wanted);
                Action::DiskQuota { host, bytes: self.checker.value("bytes", bytes, value::bytes)? }
            }
            "disk.latency" => Action::DiskLatency { host, add: self.wanted_dist("add", text.add.as_ref())? },
            "disk.stall" => Action::DiskStall { host },
            "disk.throttle" => Action::DiskThrottle { host, bytes_per_s: self.speed()? },
            "disk.eio" => Action::DiskEio { host, op: self.op()?, ratio_ppm: self.ratio_ppm()? },
            "disk.torn" => Action::DiskTorn { host },
            "disk.rot" => Action::DiskRot { host },
            "disk.lying_sync" => Action::DiskLyingSync { host },
            "host.crash" => Action::HostCrash { host, restart_ns: self.restart()? },
            "host.power_cut" => Action::HostPowerCut { host, restart_ns: self.restart()? },
            "host.stop" => Action::HostStop { host, restart_ns: self.restart()? },
            "host.pause" => Action::HostPause { host },
            "host.wipe" => Action::HostWipe { host, restart_ns: self.restart()? },
            "host.restart_storm" => self.storm(host)?,
            "host.mixed_versions" => Action::HostMixedVersions { host },
            "clock.skew" => {
                Action::ClockSkew { host, by_ns: self.checker.value("by", by.expect(wanted), value::signed_duration)? }
            }
            "clock.drift" => {
                Action::ClockDrift { host, ppm: self.checker.value("by", by.expect(wanted), value::drift)? }
            }
            "clock.step" => {
                Action::ClockStep { host, by_ns: self.checker.value("by", by.expect(wanted), value::signed_duration)? }
            }
            "cpu.starve" => Action::CpuStarve { host, ratio_ppm: self.ratio_ppm()? },
            other => unreachable!("the table puts `{other}` on a host, and every such kind has an arm"),
        })
    }

    fn node_action(&mut self, kind: Kind, name: String) -> Option<Action> {
        let text = self.text;
        Some(match kind.id {
            "node.slow" => Action::NodeSlow { node: name, add: self.wanted_dist("add", text.add.as_ref())? },
            "node.panic" => Action::NodePanic { node: name, ratio_ppm: self.ratio_ppm()? },
            "load.poison" => Action::LoadPoison { source: name, ratio_ppm: self.ratio_ppm()? },
            "load.burst" => Action::LoadBurst { source: name },
            "sink.slow" => Action::SinkSlow { sink: name, add: self.wanted_dist("add", text.add.as_ref())? },
            "sink.error" => Action::SinkError { sink: name, ratio_ppm: self.ratio_ppm()? },
            other => unreachable!("the table puts `{other}` on a node, and every such kind has an arm"),
        })
    }

    fn storm(&mut self, host: String) -> Option<Action> {
        let text = self.text;
        let operation = text.operation.as_ref().map(|count| count.value);
        let up = match (&text.up, operation) {
            (Some(up), None) => self.dist("up", up)?,
            (None, Some(1..)) => Dist::Constant { ns: 0 },
            _ => {
                let help = "write `up = \"2s\"`, or `operation = 7` to go down at the seventh operation of the disk";
                self.checker.contradiction("a storm goes by `up` or by `operation`", &text.kind.at, help);
                return None;
            }
        };
        let down = match &text.down {
            Some(down) => self.dist("down", down)?,
            None => Dist::Constant { ns: SECOND / 5 },
        };
        Some(Action::HostRestartStorm { host, up, down, power: text.power.unwrap_or(false), operation })
    }

    fn op(&mut self) -> Option<DiskOp> {
        let op = self.text.op.as_ref()?;
        match op.value.as_str() {
            "read" => Some(DiskOp::Read),
            "write" => Some(DiskOp::Write),
            "sync" => Some(DiskOp::Sync),
            other => {
                let help = "write \"read\", \"write\" or \"sync\"".to_owned();
                let message = format!("`{other}` is not a disk operation");
                self.checker.errors.push(ScenarioError::BadValue { message, at: span(&op.at), help });
                None
            }
        }
    }

    fn restart(&mut self) -> Option<Ns> {
        let Some(text) = &self.text.restart else { return Some(SECOND) };
        self.checker.value("restart", text, value::duration)
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

/// How the plan writes a target that is not a link.
fn target_name(target: &Target) -> String {
    match target {
        Target::Host(name) | Target::Channel(name) => name.clone(),
        Target::Node(node) => format!("{}.{}", node.host, node.node),
        Target::Link(link) => format!("{}<->{}", link.a, link.b),
        Target::All => ALL.to_owned(),
    }
}
