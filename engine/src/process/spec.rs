//! A process graph as its file says it, with places.

use crate::graph::diagnostic::{At, Findings, SourceFile};
use crate::graph::spec::Profile;
use crate::graph::yaml::{Fields, Tree, Value};

use super::options::{self, ChannelOptions};
use super::problem::ProcessProblem;

/// The version that process graph files carry.
pub const PROCESS_VERSION: u64 = 1;
/// More processes, channels or links are refused.
const ENTRIES_MAX: usize = 256;

/// A process as written. What could not be read is empty, and has been reported.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// Its id.
    pub id: At<String>,
    /// The path of its graph, relative to this file.
    pub graph: At<String>,
}

/// A channel as written.
#[derive(Clone, Debug)]
pub struct ChannelSpec {
    /// Its id.
    pub id: At<String>,
    /// The process that it lives with, when that is written.
    pub host: Option<At<String>>,
    /// How it hands out its packets.
    pub options: ChannelOptions,
}

/// A link as written: who produces into a channel, who consumes from it.
#[derive(Clone, Debug)]
pub struct LinkSpec {
    /// The producing process.
    pub producer: At<String>,
    /// The consuming process.
    pub consumer: At<String>,
    /// The channel.
    pub channel: At<String>,
    /// The group of consumers that share the channel's packets, when it is written.
    pub group: Option<At<String>>,
}

/// A process graph file, read but not yet checked.
#[derive(Clone, Debug)]
pub struct ProcessGraphSpec {
    /// The file.
    pub file: SourceFile,
    /// The processes, in the file's order.
    pub processes: Vec<ProcessSpec>,
    /// The channels, in the file's order.
    pub channels: Vec<ChannelSpec>,
    /// The links, in the file's order.
    pub links: Vec<LinkSpec>,
}

impl ProcessGraphSpec {
    /// Reads a process graph; goes on after an error. `None` when the file is no mapping at all.
    pub(crate) fn read(tree: &Tree, findings: &mut Findings) -> Option<ProcessGraphSpec> {
        let fields = Fields::of(tree, "a process graph", &["version", "processes", "channels", "links"], findings)?;
        if let Some(version) = fields.need("version", findings)
            && version.value != Value::Number(PROCESS_VERSION.into())
        {
            findings.add(version.span, ProcessProblem::Version);
        }
        let processes = fields.need("processes", findings);
        Some(ProcessGraphSpec {
            file: findings.file.clone(),
            processes: read_all("processes", processes, findings, read_process),
            channels: read_all("channels", fields.get("channels"), findings, read_channel),
            links: read_all("links", fields.get("links"), findings, read_link),
        })
    }
}

fn read_all<T>(
    what: &'static str,
    tree: Option<&Tree>,
    findings: &mut Findings,
    read: fn(&Tree, &mut Findings) -> Option<T>,
) -> Vec<T> {
    let all = tree.map_or(&[][..], |tree| tree.list(what, findings));
    if let Some(first) = all.get(ENTRIES_MAX) {
        findings.add(first.span, ProcessProblem::TooMany { what, count: all.len(), max: ENTRIES_MAX });
    }
    all.iter().take(ENTRIES_MAX).filter_map(|entry| read(entry, findings)).collect()
}

fn needed(fields: &Fields<'_>, key: &'static str, findings: &mut Findings) -> At<String> {
    let text = fields.need(key, findings).and_then(|value| value.text(key, findings));
    text.unwrap_or(At { value: String::new(), span: fields.span })
}

fn needed_id(fields: &Fields<'_>, findings: &mut Findings) -> At<String> {
    let id = fields.need("id", findings).and_then(|value| value.id("id", findings));
    id.unwrap_or(At { value: String::new(), span: fields.span })
}

fn read_process(tree: &Tree, findings: &mut Findings) -> Option<ProcessSpec> {
    let fields = Fields::of(tree, "a process", &["id", "graph"], findings)?;
    Some(ProcessSpec { id: needed_id(&fields, findings), graph: needed(&fields, "graph", findings) })
}

fn read_channel(tree: &Tree, findings: &mut Findings) -> Option<ChannelSpec> {
    let keys = [&["id", "kind", "require_ack", "host", "path", "profile"][..], &options::KEYS].concat();
    let fields = Fields::of(tree, "a channel", &keys, findings)?;
    let id = needed_id(&fields, findings);
    let kind = needed(&fields, "kind", findings);
    match kind.value.as_str() {
        "journal" | "" => {}
        "sqlite_queue" => findings.note(kind.span, ProcessProblem::Alias),
        other => findings.add(kind.span, ProcessProblem::UnknownKind { kind: other.to_owned() }),
    }
    if let Some(path) = fields.get("path").and_then(|path| path.text("path", findings)) {
        findings.note(path.span, ProcessProblem::PathUnused);
    }
    if let Some(ack) = fields.get("require_ack")
        && ack.boolean("require_ack", findings) == Some(false)
    {
        findings.note(ack.span, ProcessProblem::AlwaysAcks);
    }
    if let Some(profile) = fields.get("profile").and_then(|profile| Profile::parse(profile, findings))
        && profile.value == Profile::InprocAny
    {
        findings.add(profile.span, ProcessProblem::Profile);
    }
    let host = fields.get("host").and_then(|host| host.text("host", findings));
    Some(ChannelSpec { id, host, options: ChannelOptions::read(&fields, findings) })
}

fn read_link(tree: &Tree, findings: &mut Findings) -> Option<LinkSpec> {
    let fields = Fields::of(tree, "a link", &["producer", "consumer", "channel", "group"], findings)?;
    Some(LinkSpec {
        producer: needed(&fields, "producer", findings),
        consumer: needed(&fields, "consumer", findings),
        channel: needed(&fields, "channel", findings),
        group: fields.get("group").and_then(|group| group.id("group", findings)),
    })
}
