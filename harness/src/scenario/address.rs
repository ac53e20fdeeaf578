//! Addresses: what a load, a fault or a condition is about, and whether the world has it.

use std::collections::BTreeSet;

use super::error::{ScenarioError, Span, span};
use super::value::nearest;
use crate::plan::Link;

/// A node of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldNode {
    /// Its host (the process).
    pub host: String,
    /// Its id in that process's graph.
    pub node: String,
    /// Whether a load can enter by it.
    pub source: bool,
    /// Whether it is a sink whose endpoint the harness owns.
    pub sink: bool,
    /// Whether it handles packets: neither source nor sink, nor a channel's end.
    pub handles: bool,
    /// Whether it keeps state between packets.
    pub stateful: bool,
    /// Whether this binary holds its plugin; else something must stand in for it.
    pub plugin_is_here: bool,
}

/// A durable channel of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldChannel {
    /// Its id.
    pub id: String,
    /// The host that it lives with.
    pub host: String,
    /// The hosts that write to it.
    pub producers: Vec<String>,
    /// The hosts that read from it.
    pub consumers: Vec<String>,
}

impl WorldChannel {
    /// Whether it begins, lives or ends at `host`.
    fn touches(&self, host: &str) -> bool {
        self.host == host || self.producers.iter().chain(&self.consumers).any(|end| end == host)
    }

    /// Whether it goes from `a` to `b`, by way of its host or at one of its sides.
    fn leads(&self, a: &str, b: &str) -> bool {
        let ends = |hosts: &[String], host: &str| self.host == host || hosts.iter().any(|end| end == host);
        ends(&self.producers, a) && ends(&self.consumers, b)
    }
}

/// What addresses are checked against: the graph, in names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Hosts.
    pub hosts: Vec<String>,
    /// Nodes of all hosts.
    pub nodes: Vec<WorldNode>,
    /// Channels between hosts.
    pub channels: Vec<WorldChannel>,
}

/// An address as written, before the world is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `edge`
    Host(String),
    /// `edge.feed` or `edge.uplink`: a node of a host, or a channel at one of its ends.
    Dotted(String, String),
    /// `edge<->hub` or `edge->hub`
    Link(Link),
    /// `edge->hub:uplink`
    Lane(Link, String),
}

/// What an address turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host.
    Host(String),
    /// A node, and whether it is a source or a sink.
    Node(WorldNode),
    /// A channel, by its id.
    Channel(String),
    /// A link between two hosts.
    Link(Link),
    /// All hosts, or all links.
    All,
}

impl Target {
    /// In words, with an article.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self {
            Target::Host(_) => "a host",
            Target::Node(node) if node.source => "a source",
            Target::Node(node) if node.sink => "a sink",
            Target::Node(_) => "a node",
            Target::Channel(_) => "a channel",
            Target::Link(_) => "a link",
            Target::All => "everything",
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

impl Address {
    /// Reads an address; `None` when the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Address> {
        let name = |part: &str| Some(part.trim()).filter(|part| is_name(part)).map(str::to_owned);
        if let Some((a, b)) = text.split_once("<->") {
            return Some(Address::Link(Link { a: name(a)?, b: name(b)?, one_way: false }));
        }
        if let Some((a, rest)) = text.split_once("->") {
            let (b, lane) = rest.split_once(':').map_or((rest, None), |(b, lane)| (b, Some(lane)));
            let link = Link { a: name(a)?, b: name(b)?, one_way: true };
            return Some(match lane {
                Some(lane) => Address::Lane(link, name(lane)?),
                None => Address::Link(link),
            });
        }
        match text.split_once('.') {
            Some((host, place)) => Some(Address::Dotted(name(host)?, name(place)?)),
            None => Some(Address::Host(name(text)?)),
        }
    }
}

impl World {
    /// The links that channels use, those of one host or all, each once, in order of their hosts' names.
    pub(super) fn links(&self, of: Option<&str>) -> Vec<Link> {
        let ends = |channel: &WorldChannel| {
            let hosts = channel.producers.iter().chain(&channel.consumers).filter(|host| **host != channel.host);
            let pair = |host: &String| {
                if *host < channel.host {
                    (host.clone(), channel.host.clone())
                } else {
                    (channel.host.clone(), host.clone())
                }
            };
            hosts.map(pair).collect::<Vec<_>>()
        };
        let pairs: BTreeSet<(String, String)> = self.channels.iter().flat_map(ends).collect();
        let wanted = pairs.into_iter().filter(|(a, b)| of.is_none_or(|host| a == host || b == host));
        wanted.map(|(a, b)| Link { a, b, one_way: false }).collect()
    }

    /// The channels that leave a host, each by one address.
    pub(super) fn lanes(&self) -> Vec<String> {
        let leaves = |channel: &&WorldChannel| {
            channel.producers.iter().chain(&channel.consumers).any(|host| *host != channel.host)
        };
        let address = |channel: &WorldChannel| Some(format!("{}.{}", channel.producers.first()?, channel.id));
        self.channels.iter().filter(leaves).filter_map(address).collect()
    }

    /// Whether what that address of [`World::lanes`] names has a producer on another host than its own.
    pub(super) fn is_fed_from_afar(&self, lane: &str) -> bool {
        let named = |channel: &&WorldChannel| lane.split_once('.').is_some_and(|(_, id)| channel.id == id);
        let remote = |channel: &WorldChannel| channel.producers.iter().any(|host| *host != channel.host);
        self.channels.iter().find(named).is_some_and(remote)
    }

    /// Whether a host keeps what others rely on: a channel that lives there.
    pub(super) fn keeps(&self, host: &str) -> bool {
        self.channels.iter().any(|channel| channel.host == host)
    }

    fn unknown(&self, what: &'static str, name: &str, known: Vec<String>, at: &Span) -> ScenarioError {
        let help = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("the graph has no {what}"),
            None => format!("the graph has {}", known.join(", ")),
        };
        ScenarioError::UnknownTarget { what, name: name.to_owned(), at: span(at), help }
    }

    fn host(&self, name: &str, at: &Span) -> Result<(), ScenarioError> {
        if self.hosts.iter().any(|host| host == name) {
            return Ok(());
        }
        Err(self.unknown("host", name, self.hosts.clone(), at))
    }

    fn link(&self, link: &Link, at: &Span) -> Result<(), ScenarioError> {
        self.host(&link.a, at)?;
        self.host(&link.b, at)?;
        if link.a == link.b {
            let message = format!("a link needs two hosts, not `{}` twice", link.a);
            let help = "name two hosts, such as \"edge<->hub\"".to_owned();
            return Err(ScenarioError::Contradiction { message, at: span(at), help });
        }
        Ok(())
    }

    /// What `text` is in this world.
    ///
    /// # Errors
    /// Not an address, or one of something that the world doesn't have.
    pub fn find(&self, text: &str, at: &Span) -> Result<Target, ScenarioError> {
        let address = Address::parse(text).ok_or_else(|| ScenarioError::BadValue {
            message: format!("`{text}` is not an address"),
            at: span(at),
            help: "write `host`, `host.node`, `host.channel`, `a<->b`, `a->b` or `a->b:channel`".to_owned(),
        })?;
        match address {
            Address::Host(host) => self.host(&host, at).map(|()| Target::Host(host)),
            Address::Link(link) => self.link(&link, at).map(|()| Target::Link(link)),
            Address::Lane(link, channel) => {
                self.link(&link, at)?;
                let between = |found: &&WorldChannel| found.leads(&link.a, &link.b);
                let known: Vec<String> =
                    self.channels.iter().filter(between).map(|channel| channel.id.clone()).collect();
                if known.contains(&channel) {
                    return Ok(Target::Channel(channel));
                }
                Err(self.unknown("channel", &channel, known, at))
            }
            Address::Dotted(host, place) => {
                self.host(&host, at)?;
                // A channel's end is a node too, often of the same name: the channel is what addresses are about.
                if self.has_channel(&host, &place) {
                    return Ok(Target::Channel(place));
                }
                if let Some(node) = self.nodes.iter().find(|node| node.host == host && node.node == place) {
                    return Ok(Target::Node(node.clone()));
                }
                let nodes = self.nodes.iter().filter(|node| node.host == host).map(|node| node.node.clone());
                let channels = self.channels.iter().filter(|channel| self.has_channel(&host, &channel.id));
                let known =
                    nodes.chain(channels.map(|channel| channel.id.clone())).map(|place| format!("{host}.{place}"));
                Err(self.unknown("node or channel", text, known.collect(), at))
            }
        }
    }

    /// Whether `channel` begins, lives or ends at `host`.
    #[must_use]
    pub fn has_channel(&self, host: &str, channel: &str) -> bool {
        self.channels.iter().any(|found| found.id == channel && found.touches(host))
    }

    /// Addresses of the nodes that `want` picks, as `host.node`.
    pub(super) fn nodes_where(&self, want: impl Fn(&WorldNode) -> bool) -> Vec<String> {
        self.nodes.iter().filter(|node| want(node)).map(|node| format!("{}.{}", node.host, node.node)).collect()
    }
}

#[cfg(test)]
impl World {
    /// One host with a source and a sink, for the tests of this folder.
    pub(super) fn of_one_host() -> World {
        let node = |node: &str, source, sink| {
            let (host, node) = ("edge".to_owned(), node.to_owned());
            WorldNode { host, node, source, sink, handles: false, stateful: false, plugin_is_here: true }
        };
        let nodes = vec![node("feed", true, false), node("raw", false, true)];
        World { hosts: vec!["edge".to_owned()], nodes, channels: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let link = |one_way| Link { a: "edge-1".into(), b: "hub".into(), one_way };
        assert_eq!(Address::parse("edge-1"), Some(Address::Host("edge-1".into())));
        assert_eq!(Address::parse("edge-1.feed"), Some(Address::Dotted("edge-1".into(), "feed".into())));
        assert_eq!(Address::parse("edge-1<->hub"), Some(Address::Link(link(false))));
        assert_eq!(Address::parse("edge-1 -> hub"), Some(Address::Link(link(true))));
        assert_eq!(Address::parse("edge-1->hub:up"), Some(Address::Lane(link(true), "up".into())));
        for bad in ["", ".", "a.b.c", "a->", "->b", "a<->b:c", "a b", "a->b:"] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }
}
