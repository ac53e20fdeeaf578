//! What a checked fault does: its kind, its target and its parameters as the plan's own words.

use super::address::Target;
use super::check_fault::FaultChecker;
use super::error::{ScenarioError, span};
use super::kinds::{ALL, Kind, On};
use super::model::Effect;
use super::shape::Text;
use super::value::{self, SECOND};
use crate::plan::{Action, DiskOp, Dist, Link, Ns};

/// Most bytes that a read or write moves under `net.short_io`, unless the file says otherwise.
const SHORT_BYTES: u64 = 256;
impl FaultChecker<'_, '_, '_> {
    pub(super) fn effect(&mut self, kind: Kind, target: &Target) -> Option<Effect> {
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
            "publish.delay" => Action::PublishDelay { channel, add: self.wanted_dist("add", text.add.as_ref())? },
            "publish.duplicate" => Action::PublishDuplicate { channel, ratio_ppm: self.ratio_ppm()? },
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
            "disk.rot" => Action::DiskRot { host, newest: text.newest.unwrap_or(false) },
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
            "sink.reject" => Action::SinkReject { sink: name, ratio_ppm: self.ratio_ppm()? },
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
