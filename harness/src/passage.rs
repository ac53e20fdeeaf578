//! How packets passed through the channels of a run: for each, when every host wrote it, handed it out and settled it, and
//! what of that can't be right. Told from a run's lines, for a person who looks for a cause.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::plan::Ns;
use crate::story::{Line, made_of};

/// One packet's way through one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Passage {
    /// The channel, as events name it: `channel/uplink`, `stage/by_net`.
    pub channel: String,
    /// The packet's name.
    pub packet: String,
    /// What each host, and there each group, did with it, in the order in which they first had to do with it.
    pub stops: Vec<Stop>,
    /// What can't be right, in words; `None` where nothing stands out.
    pub odd: Option<String>,
}

/// What one host did with a packet, for one of the channel's groups or for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// The host.
    pub host: String,
    /// The group, where the channel has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its number there.
    pub number: u64,
    /// When it was durable there, virtual ns.
    pub committed_ns: Option<Ns>,
    /// When it was handed out, each time.
    pub granted_ns: Vec<Ns>,
    /// To whom, where packets are leased: each member once, the first first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub granted_to: Vec<String>,
    /// When it was settled there: with a producer, when the channel's host had acked it.
    pub settled_ns: Option<Ns>,
    /// When a rule ended it, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<(Ns, String)>,
}

impl Stop {
    /// `hub #2: committed 7.047 granted never settled 7.048`; `handed_out` says whether anything is there.
    fn text(&self, handed_out: bool) -> String {
        let seconds = |ns: Ns| format!("{:.3}", ns as f64 / 1e9);
        let or_never = |ns: Option<Ns>| ns.map_or_else(|| "never".to_owned(), seconds);
        let mut parts = Vec::new();
        if self.group.is_none() {
            parts.push(format!("committed {}", or_never(self.committed_ns)));
        }
        if handed_out {
            let times = match *self.granted_ns {
                [] => "never".to_owned(),
                [once] => seconds(once),
                [first, .., last] => {
                    format!("{} times, {} to {}", self.granted_ns.len(), seconds(first), seconds(last))
                }
            };
            let to = match &self.granted_to[..] {
                [] => String::new(),
                members => format!(" (to {})", members.join(", ")),
            };
            parts.push(format!("granted {times}{to}"));
        }
        parts.push(format!("settled {}", or_never(self.settled_ns)));
        if let Some((at_ns, how)) = &self.ended {
            parts.push(format!("{how} {}", seconds(*at_ns)));
        }
        let group = self.group.as_ref().map_or_else(String::new, |group| format!("@{group}"));
        format!("{}{group} #{}: {}", self.host, self.number, parts.join(" "))
    }
}

impl Passage {
    /// Whether it is of that packet, or of one that was made of it.
    #[must_use]
    pub fn is_about(&self, packet: &str) -> bool {
        made_of(&self.packet, packet)
    }

    /// Which of `lines` are about it without naming the packet: settles, and the lane's batch that it came in with.
    pub fn unnamed<'a>(&'a self, lines: &'a [Line]) -> impl Iterator<Item = usize> + 'a {
        let stops = move |line: &'a Line| {
            let (channel, group) = place(&line.place);
            let here = move |stop: &&Stop| Some(&stop.host) == line.host.as_ref() && stop.group.as_deref() == group;
            self.stops.iter().filter(move |_| channel == self.channel).filter(here)
        };
        let numbered =
            move |line: &'a Line| line.what != "admitted" && stops(line).any(|stop| Some(stop.number) == line.number);
        let named = lines.iter().enumerate().filter(move |(_, line)| line.packet.is_none() && numbered(line));
        let came_in = self.stops.iter().filter_map(|producer| {
            let from = format!("from {},", producer.host);
            let with_it = |line: &Line| {
                let of_channel = line.what == "admitted" && line.place == self.channel && line.more.starts_with(&from);
                of_channel && line.number.is_some_and(|last| last >= producer.number)
            };
            lines.iter().position(with_it)
        });
        named.map(|(at, _)| at).chain(came_in)
    }

    /// The passage in one line, `all` of the same channel being there to compare with.
    #[must_use]
    pub fn text(&self, all: &[Passage]) -> String {
        let handed_out = |stop: &Stop| {
            let same = |other: &&Stop| other.host == stop.host && other.group == stop.group;
            let mut others = all.iter().filter(|passage| passage.channel == self.channel);
            others.any(|passage| passage.stops.iter().filter(same).any(|stop| !stop.granted_ns.is_empty()))
        };
        let stops: Vec<String> = self.stops.iter().map(|stop| stop.text(handed_out(stop))).collect();
        let odd = self.odd.as_ref().map_or_else(String::new, |odd| format!("  <- {odd}"));
        format!("{} {}  {}{odd}", self.channel, self.packet, stops.join(" | "))
    }
}

/// A channel and its group, of a place.
fn place(place: &str) -> (&str, Option<&str>) {
    place.split_once('@').map_or((place, None), |(channel, group)| (channel, Some(group)))
}

/// A host's place and its group in the channel.
type Column = (String, Option<String>);

/// All passages of a run, in order of their first commit. A number that a replaced machine gives again is another passage.
#[must_use]
pub fn passages(lines: &[Line]) -> Vec<Passage> {
    let mut all: Vec<Passage> = Vec::new();
    let mut of_packet: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut of_number: BTreeMap<(&str, &str, u64), usize> = BTreeMap::new();
    let mut handing: BTreeSet<(String, Column)> = BTreeSet::new();
    let mut refused: BTreeSet<(&str, &str)> = BTreeSet::new();
    for line in lines.iter().filter(|line| !line.is_undone()) {
        let Some(host) = &line.host else { continue };
        let (channel, group) = place(&line.place);
        let group = group.map(str::to_owned);
        if !channel.starts_with("channel/") && !channel.starts_with("stage/") {
            continue;
        }
        if let ("refused" | "dropped" | "dead_lettered", Some(packet)) = (&*line.what, &line.packet) {
            refused.insert((channel, packet));
        }
        let Some(number) = line.number else { continue };
        let at = match (&*line.what, &line.packet) {
            // A commit that a crash cut off from its event shows when it is handed out.
            ("committed" | "granted", Some(packet)) => {
                let at = *of_packet.entry((channel, packet)).or_insert_with(|| {
                    let (channel, packet) = (channel.to_owned(), packet.clone());
                    all.push(Passage { channel, packet, stops: Vec::new(), odd: None });
                    all.len() - 1
                });
                of_number.insert((channel, host, number), at);
                at
            }
            ("settled" | "dropped" | "dead_lettered", _) => match of_number.get(&(channel, &**host, number)) {
                Some(at) => *at,
                None => continue,
            },
            _ => continue,
        };
        let stops = &mut all[at].stops;
        let there = stops.iter().position(|stop| stop.host == *host && stop.group == group && stop.number == number);
        let stop = there.unwrap_or_else(|| {
            let (host, group) = (host.clone(), group.clone());
            stops.push(Stop {
                host,
                group,
                number,
                committed_ns: None,
                granted_ns: Vec::new(),
                granted_to: Vec::new(),
                settled_ns: None,
                ended: None,
            });
            stops.len() - 1
        });
        let stop = &mut stops[stop];
        match &*line.what {
            "committed" => _ = stop.committed_ns.get_or_insert(line.at_ns),
            "granted" => {
                handing.insert((channel.to_owned(), (host.clone(), group)));
                stop.granted_ns.push(line.at_ns);
                if let Some(member) = line.to.as_ref().filter(|member| !stop.granted_to.contains(member)) {
                    stop.granted_to.push(member.clone());
                }
            }
            "settled" => _ = stop.settled_ns.get_or_insert(line.at_ns),
            what => stop.ended = Some((line.at_ns, format!("{what} {}", line.more).trim_end().to_owned())),
        }
    }
    for passage in &mut all {
        let refused = refused.contains(&(&*passage.channel, &*passage.packet));
        passage.odd = odd(passage, &handing, refused);
    }
    all
}

/// What can't be right about a passage.
fn odd(passage: &Passage, handing: &BTreeSet<(String, Column)>, refused: bool) -> Option<String> {
    let columns = || handing.iter().filter(|(channel, _)| *channel == passage.channel).map(|(_, column)| column);
    let settled = passage.stops.iter().filter(|stop| stop.ended.is_none());
    for (stop, settled_ns) in settled.filter_map(|stop| Some((stop, stop.settled_ns?))) {
        if columns().any(|(host, group)| *host == stop.host && *group == stop.group) {
            if stop.granted_ns.first().is_none_or(|granted_ns| *granted_ns > settled_ns) {
                return Some(format!("{} settled it and had not handed it out", stop.host));
            }
            continue;
        }
        // Where nothing is handed out it waits to be sent: what settles it is the ack of the channel's host.
        let Some((host, _)) = columns().find(|(host, _)| *host != stop.host).filter(|_| !refused) else { continue };
        let mut there = passage.stops.iter().filter(|other| other.host == *host).peekable();
        let never = there.peek().is_none();
        let late = there.filter_map(|other| other.committed_ns).min().is_some_and(|durable_ns| durable_ns > settled_ns);
        if stop.group.is_none() && (never || late) {
            return Some(format!("{} heard that {host} has it durably, and it had not", stop.host));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::UNDONE;

    fn line(at_ns: Ns, host: &str, what: &str, number: u64, packet: Option<&str>) -> Line {
        Line {
            at_ns: at_ns * 1_000_000,
            host: Some(host.to_owned()),
            what: what.to_owned(),
            place: "channel/uplink".to_owned(),
            packet: packet.map(str::to_owned),
            number: Some(number),
            to: None,
            more: String::new(),
        }
    }

    /// Packet p is number 4 at the edge and 2 at the hub, q came before it.
    fn lines() -> Vec<Line> {
        vec![
            line(1, "hub", "committed", 1, Some("q")),
            line(2, "hub", "granted", 1, Some("q")),
            line(3, "edge", "committed", 4, Some("p")),
            line(4, "hub", "committed", 2, Some("p")),
            line(5, "hub", "granted", 2, Some("p")),
            line(6, "edge", "settled", 4, None),
            line(7, "hub", "settled", 2, None),
        ]
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Vec<Line>), told: &str) {
        let mut lines = lines();
        change(&mut lines);
        lines.sort_by_key(|line| line.at_ns);
        let all = passages(&lines);
        let passage = all.iter().find(|passage| passage.is_about("p")).expect("p was committed");
        assert_eq!(passage.text(&all), told);
    }

    #[test]
    fn a_passage_names_each_host_and_what_can_not_be_right() {
        let edge = "channel/uplink p  edge #4: committed 0.003 settled 0.006";
        check(|_| {}, &format!("{edge} | hub #2: committed 0.004 granted 0.005 settled 0.007"));
        check(
            |lines| drop(lines.remove(4)),
            &format!(
                "{edge} | hub #2: committed 0.004 granted never settled 0.007  <- hub settled it and had not handed it out"
            ),
        );
        let early = "edge heard that hub has it durably, and it had not";
        check(
            |lines| lines[5].at_ns = 3_500_000,
            &format!(
                "channel/uplink p  edge #4: committed 0.003 settled 0.004 | hub #2: committed 0.004 granted 0.005 settled 0.007  <- {early}"
            ),
        );
        check(
            |lines| lines.retain(|line| line.host.as_deref() == Some("edge") || line.number == Some(1)),
            &format!("{edge}  <- {early}"),
        );
    }

    #[test]
    fn what_the_host_refused_may_be_acked_and_a_named_drop_explains_a_settle() {
        let gone = |lines: &mut Vec<Line>| {
            lines.retain(|line| line.host.as_deref() == Some("edge") || line.number == Some(1));
            lines.push(Line {
                number: None,
                more: "dedup.duplicate".into(),
                ..line(4, "hub", "refused", 0, Some("p"))
            });
        };
        check(gone, "channel/uplink p  edge #4: committed 0.003 settled 0.006");
        let edge = "channel/uplink p  edge #4: committed 0.003 settled 0.006";
        let shed =
            |lines: &mut Vec<Line>| lines[4] = Line { more: "too old".into(), ..line(5, "hub", "dropped", 2, None) };
        check(shed, &format!("{edge} | hub #2: committed 0.004 granted never settled 0.007 dropped too old 0.005"));
    }

    #[test]
    fn who_held_it_is_told_once_and_what_was_undone_is_not() {
        let edge = "channel/uplink p  edge #4: committed 0.003 settled 0.006";
        let leased = |lines: &mut Vec<Line>| {
            let to = |at, member: &str| Line { to: Some(member.into()), ..line(at, "hub", "granted", 2, Some("p")) };
            lines[4] = to(5, "lab");
            lines.extend([to(6, "lab2"), to(6, "lab")]);
        };
        check(
            leased,
            &format!("{edge} | hub #2: committed 0.004 granted 3 times, 0.005 to 0.006 (to lab, lab2) settled 0.007"),
        );
        let undone = |lines: &mut Vec<Line>| {
            lines.push(Line { more: UNDONE.into(), ..line(1, "edge", "committed", 1, Some("p")) });
        };
        check(undone, &format!("{edge} | hub #2: committed 0.004 granted 0.005 settled 0.007"));
    }

    /// Its number is the host's, and no packet's.
    #[test]
    fn a_lane_that_rests_is_everybodys_business() {
        let refused = |more: &str| Line { more: more.to_owned(), ..line(9, "edge", "refused", 1, None) };
        assert!(refused("lane.forgot").is_of_the_world() && !refused("lease.expired").is_of_the_world());
        assert!(line(9, "hub", "recovered", 7, None).is_of_the_world());
    }

    #[test]
    fn settles_and_the_batch_that_it_came_in_are_its_own() {
        let mut lines = lines();
        lines.insert(3, Line { more: "from edge, epoch 1".into(), ..line(4, "hub", "admitted", 5, None) });
        let all = passages(&lines);
        let passage = all.iter().find(|passage| passage.is_about("p")).expect("p was committed");
        let mut unnamed: Vec<&str> = passage.unnamed(&lines).map(|at| lines[at].what.as_str()).collect();
        unnamed.sort_unstable();
        assert_eq!(unnamed, ["admitted", "settled", "settled"]);
    }
}
