//! What happened in a run, as lines that a person can follow: one a thing, in order of virtual time, with names in place of
//! numbers. What `debug` prints, `trace diff` compares and `history.jsonl` holds.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_engine::assert::{self, Assertion, Claim};
use seaworthy_engine::observe::{Holder, What};
use seaworthy_engine::packet::{Identity, Seq};
use serde::Serialize;

use crate::history::History;
use crate::outside;
use crate::plan::{Ns, Plan};
use crate::run::Judged;
use crate::scenario::World;
use crate::sim::trace::{Kind, Record, WORLD};
use crate::undone;

/// Nodes on the way of a packet, at most: what is made of it further on keeps its number alone.
const GENERATIONS: usize = 8;
/// Outputs of one node for one packet whose names are known, at most.
const OUTPUTS: u32 = 4;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Virtual ns since the world's start.
    pub at_ns: Ns,
    /// The host; `None` for the world itself and what is outside.
    pub host: Option<String>,
    /// What, in a word: `accepted`, `committed`, `fault`, `down`.
    pub what: String,
    /// Node, channel, sink or fault.
    pub place: String,
    /// The packet's name: that of the event that entered, with the nodes behind it.
    pub packet: Option<String>,
    /// Its number at that place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Whom it was handed to, where packets are leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// More of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub more: String,
}

impl Line {
    /// Whether it is about the world rather than about a packet: faults, hosts, phases, disks, openings, the lanes themselves.
    #[must_use]
    pub fn is_of_the_world(&self) -> bool {
        let of_a_host = self.what == "recovered" || self.what == "refused" && self.more.starts_with("lane.");
        self.packet.is_none() && (self.number.is_none() || of_a_host)
    }

    /// Whether it did not happen after all.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        self.more == UNDONE
    }

    /// Whether it says that an assertion which must always hold did: there are many, and they say little.
    #[must_use]
    pub fn is_of_course(&self) -> bool {
        self.what == "asserted" && self.more.is_empty()
    }

    /// Whether it is about that packet, or one that was made of it.
    #[must_use]
    pub fn is_about(&self, packet: &str) -> bool {
        self.packet.as_ref().is_some_and(|name| made_of(name, packet))
    }

    /// The line as text, without its time: `hub    committed  channel/uplink #12  quakes-7`.
    #[must_use]
    pub fn text(&self) -> String {
        let host = self.host.as_deref().unwrap_or("-");
        let number = self.number.map_or_else(String::new, |number| format!(" #{number}"));
        let packet = self.packet.as_deref().unwrap_or("");
        let text =
            format!("{host:<8} {:<14} {:<26} {packet}  {}", self.what, format!("{}{number}", self.place), self.more);
        text.trim_end().to_owned()
    }
}

/// Whether `name` is that packet, or one that nodes made of it.
pub(crate) fn made_of(name: &str, packet: &str) -> bool {
    name == packet || name.strip_prefix(packet).is_some_and(|rest| rest.starts_with(" > "))
}

/// What a line says of what was undone.
pub(crate) const UNDONE: &str = "undone: it was not synced, and the disk forgot it";

/// Where a host was at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostState {
    /// The host.
    pub host: String,
    /// Which incarnation, from 1; `None` while it is down.
    pub incarnation: Option<u64>,
    /// Since when, virtual ns.
    pub since_ns: Ns,
    /// Bytes on its disk at the last sample.
    pub disk_bytes: u64,
}

/// Everything that happened in a run of `plan`, in order of time. Hosts and their incarnations come from the trace, so they are
/// missing where it was not kept.
#[must_use]
pub fn lines(world: &World, plan: &Plan, judged: &Judged) -> Vec<Line> {
    let history = &judged.history;
    let names = names(world, history);
    let assertions: BTreeMap<&str, &Assertion> =
        assert::catalogue().into_iter().map(|assertion| (assertion.id, assertion)).collect();
    let line = |at_ns, host: Option<&str>, what: &str, place: &str| Line {
        at_ns,
        host: host.map(str::to_owned),
        what: what.to_owned(),
        place: place.to_owned(),
        packet: None,
        number: None,
        to: None,
        more: String::new(),
    };
    let mut lines = Vec::new();
    for offer in &history.offers {
        let about = |line: Line| Line { packet: Some(offer.packet_id.to_string()), number: Some(offer.seq.0), ..line };
        let host = offer.entry.split_once('.').map(|(host, _)| host);
        lines.push(about(line(offer.intended_ns, host, "due", &offer.entry)));
        if let Some(at_ns) = offer.accepted_ns {
            let more = if offer.attempts > 1 { format!("at the {}. attempt", offer.attempts) } else { String::new() };
            lines.push(Line { more, ..about(line(at_ns, host, "accepted", &offer.entry)) });
        }
    }
    let undone = undone::undone(history);
    for (at, probed) in history.events.iter().enumerate() {
        let event = &probed.event;
        let more = match &event.what {
            _ if undone.contains(&at) => UNDONE.to_owned(),
            What::Dropped { reason } | What::Refused { reason } => reason.to_string(),
            What::Asserted { id, held } => match assertions.get(id) {
                Some(Assertion { says, .. }) if !held => format!("it does not hold: {says}"),
                Some(Assertion { claim: Claim::Always, .. }) | None => String::new(),
                Some(Assertion { says, .. }) => (*says).to_owned(),
            },
            // A source's entries are no packets of the journal, and what a member took lies with its host.
            What::Settled { took_effect: false }
                if !["source/", "taken/"].iter().any(|of| event.place.starts_with(of)) =>
            {
                "had been settled before".to_owned()
            }
            What::Recovered if event.seq == Seq(0) => "a new journal: none was found".to_owned(),
            What::Recovered => "goes on at this LSN".to_owned(),
            What::Confirmed | What::Synced => "up to this LSN".to_owned(),
            What::Admitted { producer, epoch } => format!("from {producer}, epoch {}", epoch.0),
            What::Joined { member, generation } => format!("{member}, generation {generation}"),
            What::Left { member } => member.to_string(),
            What::Granted { to: Some(Holder { member, lease }) } => {
                format!("to {member}, lease {lease}, delivery {}", event.attempt)
            }
            _ if event.attempt > 1 => format!("delivery {}", event.attempt),
            _ => String::new(),
        };
        let to = match &event.what {
            What::Granted { to: Some(holder) } => Some(holder.member.to_string()),
            _ => None,
        };
        lines.push(Line {
            packet: event
                .identity
                .map(|identity| names.get(&identity).cloned().unwrap_or_else(|| identity.to_string())),
            number: (event.seq != Seq(0)).then_some(event.seq.0),
            to,
            more,
            ..line(probed.at_ns, Some(&probed.host), event.what.name(), &event.place)
        });
    }
    for effect in &history.effects {
        let (host, _) = effect.endpoint.split_once('.').unwrap_or((&effect.endpoint, ""));
        lines.push(Line {
            packet: Some(effect.packet_id.clone()),
            more: format!("{} bytes", effect.content.len()),
            ..line(effect.at_ns, Some(host), "visible", &effect.endpoint)
        });
    }
    for applied in &history.applied {
        let of = |what: &str, at_ns| Line {
            more: plan
                .steps
                .get(applied.step)
                .map_or_else(String::new, |step| format!("{} {}", step.action.kind(), step.action.on())),
            ..line(at_ns, None, what, &applied.fault)
        };
        lines.push(of("fault", applied.from_ns));
        let healed = of("heal", applied.to_ns);
        lines.push(Line { more: format!("{}, felt {} times", healed.more, applied.hits), ..healed });
    }
    for fact in &history.disk {
        lines.push(Line { more: fact.what.clone(), ..line(fact.at_ns, Some(&fact.host), "disk", "") });
    }
    for (host, at_ns, message) in &history.exits {
        lines.push(Line { more: message.clone(), ..line(*at_ns, Some(host), "ended", "") });
    }
    for violation in &judged.violations {
        lines.push(Line {
            more: violation.message.clone(),
            ..line(violation.at_ns, None, "VIOLATION", &violation.check)
        });
    }
    for record in &judged.trace.records {
        let host = world.hosts.get(usize::from(record.host)).map(String::as_str);
        // The harness's own hosts, such as a proxy, are no part of the story, and differ with the faults.
        if host.is_none() && record.host != WORLD {
            continue;
        }
        let told = |what: &str, more: String| Line { more, ..line(record.at_ns, host, what, "") };
        match record {
            Record { kind, a, .. } if *kind == Kind::Boot as u16 => lines.push(told("up", format!("incarnation {a}"))),
            Record { kind, a, .. } if *kind == Kind::Down as u16 => {
                let how = ["killed", "power cut", "ended"].get(*a as usize).copied().unwrap_or("down");
                lines.push(told("down", how.to_owned()));
            }
            Record { kind, a, host, .. } if *kind == Kind::Phase as u16 && *host == WORLD => {
                let phase = ["load", "drain", "stop"].get(*a as usize).copied().unwrap_or("end");
                lines.push(told("phase", phase.to_owned()));
            }
            _ => {}
        }
    }
    // Stable: what happened at one instant stays in the order of its kind.
    lines.sort_by_key(|line| line.at_ns);
    lines
}

/// Where each host was at `at_ns`.
#[must_use]
pub fn hosts_at(world: &World, judged: &Judged, at_ns: Ns) -> Vec<HostState> {
    let state = |(index, host): (usize, &String)| {
        let mut state = HostState { host: host.clone(), incarnation: None, since_ns: 0, disk_bytes: 0 };
        let records = judged.trace.records.iter().filter(|record| usize::from(record.host) == index);
        for record in records.take_while(|record| record.at_ns <= at_ns) {
            if record.kind == Kind::Boot as u16 {
                (state.incarnation, state.since_ns) = (Some(record.a), record.at_ns);
            } else if record.kind == Kind::Down as u16 && state.incarnation.is_some() {
                (state.incarnation, state.since_ns) = (None, record.at_ns);
            }
        }
        let mut samples =
            judged.history.disk_used.iter().filter(|(of, sampled_ns, _)| of == host && *sampled_ns <= at_ns);
        state.disk_bytes = samples.next_back().map_or(0, |(.., bytes)| *bytes);
        state
    };
    world.hosts.iter().enumerate().map(state).collect()
}

/// The packets that a message names, by the names that the load stamped; at most `most`.
#[must_use]
pub fn named_in(message: &str, history: &History, most: usize) -> Vec<String> {
    let known: BTreeSet<&str> = history.offers.iter().map(|offer| &*offer.packet_id).collect();
    let words =
        message.split(|c: char| c.is_whitespace() || "(),;".contains(c)).map(|word| word.trim_end_matches([':', '.']));
    let mut named: Vec<String> = Vec::new();
    for word in words.filter(|word| known.contains(word)) {
        if !named.iter().any(|name| name == word) && named.len() < most {
            named.push(word.to_owned());
        }
    }
    named
}

/// Names of the packets of a run: those of the load, and what nodes made of them as `NAME > NODE`.
fn names(world: &World, history: &History) -> BTreeMap<Identity, String> {
    let seen: BTreeSet<Identity> = history.events.iter().filter_map(|probed| probed.event.identity).collect();
    let mut names = BTreeMap::new();
    let mut fresh: Vec<(Identity, String)> =
        outside::entered(history).map(|(identity, offer)| (identity, offer.packet_id.to_string())).collect();
    let nodes: Vec<String> =
        world.nodes.iter().filter(|node| node.handles).map(|node| format!("{}.{}", node.host, node.node)).collect();
    for _ in 0..GENERATIONS {
        let mut next = Vec::new();
        for (identity, name) in fresh {
            if names.insert(identity, name.clone()).is_some() {
                continue;
            }
            for node in &nodes {
                let made = (0..OUTPUTS).map(|index| identity.derive(node, index)).filter(|made| seen.contains(made));
                next.extend(made.map(|made| (made, format!("{name} > {node}"))));
            }
        }
        fresh = next;
    }
    names
}
