//! The rules of process graphs, by example: texts in, findings with their places or a plan out.

use super::*;
use crate::graph::test_registry;
use crate::load::{Loaded, Planned, load_any};
use crate::process::{OnPoison, Order};

const PROCESS: &str = "\
version: 1
processes:
  - {id: edge, graph: edge.yaml}
  - {id: hub, graph: g/hub.yaml}
channels:
  - {id: uplink, kind: journal, require_ack: true}
links:
  - {producer: edge, consumer: hub, channel: uplink}
";
const EDGE: &str = "\
version: 2
nodes:
  - {id: feed, kind: source, plugin: \"t:source\", config: {path: a}}
  - {id: up, kind: sink, plugin: \"std:channel\", config: {channel: uplink}}
edges: [{from: feed, to: up}]
";
const HUB: &str = "\
version: 2
nodes:
  - {id: up, kind: source, plugin: \"std:channel\", config: {channel: uplink}}
  - {id: out, kind: sink, plugin: \"t:sink\"}
edges: [{from: up, to: out}]
";

fn load(process: &str, edge: &str, hub: &str, phase: Phase) -> Loaded {
    let read = |path: &str| match path {
        "dir/p.yaml" => Ok(process.to_owned()),
        "dir/edge.yaml" => Ok(edge.to_owned()),
        "dir/g/hub.yaml" => Ok(hub.to_owned()),
        "dir/broken.yaml" => Err(io::Error::other("the disk is on fire")),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    load_any("dir/p.yaml", &read, &test_registry(), phase)
}

/// `expected` holds `(code, file, line)` of each finding, in the order of files and lines; a `?` marks what refuses nothing.
#[track_caller]
fn check_errors(process: &str, edge: &str, hub: &str, expected: &[(&str, &str, usize)]) {
    let loaded = load(process, edge, hub, Phase::Check);
    let name = |found: &Diagnostic| format!("{}{}", if found.is_error() { "" } else { "?" }, found.code());
    let line = |found: &Diagnostic| found.line_column().map_or(0, |(line, _)| line);
    let got: Vec<_> =
        loaded.diagnostics.iter().map(|found| (name(found), found.file().to_owned(), line(found))).collect();
    let got: Vec<_> = got.iter().map(|(code, file, line)| (code.as_str(), file.as_str(), *line)).collect();
    assert_eq!(got, expected, "{:#?}", loaded.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(loaded.planned.is_none(), loaded.is_refused());
}

#[test]
fn a_good_file_gives_a_plan() {
    check_errors(PROCESS, EDGE, HUB, &[]);
    let Some(Planned::Processes(plan)) = load(PROCESS, EDGE, HUB, Phase::Run).planned else { panic!("no plan") };
    assert_eq!(plan.processes.iter().map(|process| &process.id).collect::<Vec<_>>(), ["edge", "hub"]);
    assert_eq!(plan.processes[0].plan.nodes[1].role, crate::graph::Role::ChannelOut { channel: "uplink".into() });
    assert_eq!(plan.processes[1].plan.nodes[0].role, crate::graph::Role::ChannelIn { channel: "uplink".into() });
    let [uplink] = plan.channels.as_slice() else { panic!("{:?}", plan.channels) };
    assert_eq!((uplink.id.as_str(), uplink.host.as_str()), ("uplink", "hub"));
    assert_eq!(uplink.producers, ["edge"]);
    assert_eq!(uplink.groups, [GroupPlan { id: "hub".into(), members: vec!["hub".into()] }]);
    assert_eq!(uplink.options, ChannelOptions::default());
    assert!(!uplink.is_leased(&uplink.groups[0]), "a file with one link means what it always meant");
}

#[test]
fn the_words_of_the_origin_are_understood() {
    let origin = PROCESS.replace("kind: journal, require_ack: true", "kind: sqlite_queue, path: q.db");
    check_errors(
        &origin,
        EDGE,
        HUB,
        &[("?process::alias", "dir/p.yaml", 6), ("?process::path_unused", "dir/p.yaml", 6)],
    );
    check_errors(&PROCESS.replace("ack: true", "ack: false"), EDGE, HUB, &[("?process::always_acks", "dir/p.yaml", 6)]);
}

#[test]
fn names_and_keys() {
    check_errors(&PROCESS.replace("version: 1", "version: 2"), EDGE, HUB, &[("process::version", "dir/p.yaml", 1)]);
    check_errors(
        &PROCESS.replace("kind: journal", "kind: kafka"),
        EDGE,
        HUB,
        &[("process::unknown_kind", "dir/p.yaml", 6)],
    );
    check_errors(&PROCESS.replace("require_ack", "require_akc"), EDGE, HUB, &[("yaml::unknown_key", "dir/p.yaml", 6)]);
    check_errors(
        &PROCESS.replace("require_ack: true", "profile: inproc_any"),
        EDGE,
        HUB,
        &[("process::profile", "dir/p.yaml", 6)],
    );
    check_errors(
        &PROCESS.replace("consumer: hub", "consumer: hubb"),
        EDGE,
        HUB,
        &[("process::unlinked_end", "dir/g/hub.yaml", 3), ("process::unknown_process", "dir/p.yaml", 8)],
    );
    let twice = PROCESS.replace("  - {id: hub", "  - {id: edge, graph: edge.yaml}\n  - {id: hub");
    check_errors(&twice, EDGE, HUB, &[("process::duplicate_id", "dir/p.yaml", 4)]);
}

#[test]
fn graphs_are_found_beside_the_file() {
    check_errors(&PROCESS.replace("g/hub", "hub"), EDGE, HUB, &[("process::graph_unreadable", "dir/p.yaml", 4)]);
    let broken = load(&PROCESS.replace("g/hub", "broken"), EDGE, HUB, Phase::Run);
    assert!(broken.diagnostics[0].is_outside(), "a disk on fire is not the file's fault");
    assert!(!load(&PROCESS.replace("g/hub", "hub"), EDGE, HUB, Phase::Run).diagnostics[0].is_outside());
}

#[test]
fn ends_and_links_belong_together() {
    let no_link = &PROCESS[..PROCESS.find("links").expect("it has links")];
    check_errors(
        no_link,
        EDGE,
        HUB,
        &[
            ("process::unlinked_end", "dir/edge.yaml", 4),
            ("process::unlinked_end", "dir/g/hub.yaml", 3),
            ("process::unlinked_channel", "dir/p.yaml", 6),
        ],
    );
    check_errors(
        PROCESS,
        &EDGE.replace("channel: uplink", "channel: downlink"),
        HUB,
        &[("process::unlinked_end", "dir/edge.yaml", 4), ("process::missing_end", "dir/p.yaml", 8)],
    );
    let second = EDGE.replace("edges: [", "  - {id: up2, kind: sink, plugin: \"std:channel\", config: {channel: uplink}}\nedges: [{from: feed, to: up2}, ");
    check_errors(PROCESS, &second, HUB, &[("process::second_end", "dir/edge.yaml", 5)]);
    // Errors of the graphs show beside those of the file.
    let two = [("process::graph_unreadable", "dir/p.yaml", 4), ("yaml::unknown_key", "dir/p.yaml", 6)];
    let bad = PROCESS.replace("g/hub", "hub").replace("require_ack", "ack");
    check_errors(
        &bad,
        &EDGE.replace("t:source", "t:sauce"),
        HUB,
        &[&[("graph::unknown_plugin", "dir/edge.yaml", 3)], &two[..]].concat(),
    );
}

/// Two producers, two groups, of which one has two members; kept by a process of its own.
const MANY: &str = "\
version: 1
processes:
  - {id: edge, graph: edge.yaml}
  - {id: van, graph: edge.yaml}
  - {id: hub, graph: g/hub.yaml}
  - {id: lab, graph: g/hub.yaml}
  - {id: lab2, graph: g/hub.yaml}
channels:
  - {id: uplink, kind: journal, host: hub, order: strict, max_deliver: 5, on_poison: park_key, ack_wait: 5s}
links:
  - {producer: edge, consumer: hub, channel: uplink}
  - {producer: van, consumer: lab, channel: uplink, group: labs}
  - {producer: van, consumer: lab2, channel: uplink, group: labs}
";

#[test]
fn links_with_one_group_compete() {
    check_errors(MANY, EDGE, HUB, &[]);
    let Some(Planned::Processes(plan)) = load(MANY, EDGE, HUB, Phase::Run).planned else { panic!("no plan") };
    let uplink = &plan.channels[0];
    assert_eq!(uplink.producers, ["edge", "van"]);
    let group = |id: &str, members: &[&str]| GroupPlan {
        id: id.into(),
        members: members.iter().map(|member| (*member).into()).collect(),
    };
    assert_eq!(uplink.groups, [group("hub", &["hub"]), group("labs", &["lab", "lab2"])]);
    let options = ChannelOptions {
        order: Order::Strict,
        max_deliver: Some(5),
        on_poison: OnPoison::ParkKey,
        ack_wait_ns: 5_000_000_000,
        ..ChannelOptions::default()
    };
    assert_eq!(uplink.options, options);
    assert!(uplink.is_remote("van") && uplink.is_remote("lab2") && !uplink.is_remote("hub"));
    assert!(uplink.is_leased(&uplink.groups[0]), "deliveries are counted");
}

#[test]
fn a_channel_with_many_links_says_all_that_it_must() {
    check_errors(&MANY.replace("host: hub, ", ""), EDGE, HUB, &[("process::host_needed", "dir/p.yaml", 9)]);
    let twice = format!("{MANY}  - {{producer: van, consumer: lab2, channel: uplink, group: labs}}\n");
    check_errors(&twice, EDGE, HUB, &[("process::repeated_link", "dir/p.yaml", 14)]);
    let two = format!("{MANY}  - {{producer: edge, consumer: lab2, channel: uplink}}\n");
    check_errors(&two, EDGE, HUB, &[("process::two_groups", "dir/p.yaml", 14)]);
    let round = PROCESS.replace("producer: edge", "producer: hub");
    let found = load(&round, EDGE, HUB, Phase::Check).diagnostics;
    assert!(found.iter().any(|found| found.code() == "process::not_in_this_version"), "{found:?}");
    check_errors(&PROCESS.replace("require_ack: true", "host: edge"), EDGE, HUB, &[]);
}

#[test]
fn options_that_make_no_sense() {
    let with = |options: &str| PROCESS.replace("require_ack: true", options);
    for (options, code) in [
        ("order: random", "process::unknown_word"),
        ("ack_wait: soon", "process::no_time"),
        ("backoff: 400d", "process::no_time"),
        ("max_deliver: 0", "process::no_count"),
        ("max_ack_pending: many", "process::no_count"),
        ("on_poison: park_key", "process::no_poison"),
        ("on_poison: block_key, max_deliver: 2, order: none", "process::no_keys"),
        ("backoff: 20s", "process::backoff"),
    ] {
        check_errors(&with(options), EDGE, HUB, &[(code, "dir/p.yaml", 6)]);
    }
}

#[test]
fn a_file_of_neither_kind_is_told_apart() {
    check_errors("version: 1\nproceses: []\n", EDGE, HUB, &[("file::unknown_kind", "dir/p.yaml", 2)]);
    check_errors("hello", EDGE, HUB, &[("file::unknown_kind", "dir/p.yaml", 1)]);
    let alone = load(EDGE, EDGE, HUB, Phase::Run);
    assert_eq!(alone.diagnostics[0].code(), "graph::channel_alone");
}

proptest::proptest! {
    #[test]
    fn damaged_files_never_panic(at in 0usize..300, cut in 0usize..40, paste in "[ -~\n]{0,12}") {
        let mut text = PROCESS.to_owned();
        let at = at.min(text.len());
        text.replace_range(at..(at + cut).min(PROCESS.len()), &paste);
        let loaded = load(&text, EDGE, HUB, Phase::Run);
        proptest::prop_assert_eq!(loaded.planned.is_none(), loaded.is_refused());
    }
}

#[test]
fn what_a_hosts_lanes_cannot_carry_is_refused() {
    let file = |edges: usize, channels: usize| {
        let list = |what: &str, lines: Vec<String>| format!("{what}:\n  - {}\n", lines.join("\n  - "));
        let edge = |n: usize| format!("{{id: e{n}, graph: edge.yaml}}");
        let processes = (0..edges).map(edge).chain([String::from("{id: hub, graph: g/hub.yaml}")]);
        let channel = |n: usize| format!("{{id: c{n}, kind: journal}}");
        let links = (0..edges).flat_map(|e| (0..channels).map(move |c| (e, c)));
        let links = links.map(|(e, c)| format!("{{producer: e{e}, consumer: hub, channel: c{c}}}"));
        let lists = [
            list("processes", processes.collect()),
            list("channels", (0..channels).map(channel).collect()),
            list("links", links.collect()),
        ];
        format!("version: 1\n{}", lists.concat())
    };
    let ends = |kind: &str, rest: &str, channels: usize| {
        let end = |n| format!("  - {{id: n{n}, kind: {kind}, plugin: \"std:channel\", config: {{channel: c{n}}}}}\n");
        let nodes: String = (0..channels).map(end).collect();
        let edge = |n| {
            if kind == "sink" {
                format!("  - {{from: feed, to: n{n}}}\n")
            } else {
                format!("  - {{from: n{n}, to: out}}\n")
            }
        };
        let edges: String = (0..channels).map(edge).collect();
        format!("version: 2\nnodes:\n{nodes}  - {rest}\nedges:\n{edges}")
    };
    let check = |edges, channels, expected: &[(&str, &str, usize)]| {
        let edge = ends("sink", "{id: feed, kind: source, plugin: \"t:source\", config: {path: a}}", channels);
        let hub = ends("source", "{id: out, kind: sink, plugin: \"t:sink\"}", channels);
        check_errors(&file(edges, channels), &edge, &hub, expected);
    };
    check(64, 1, &[]);
    check(65, 1, &[("process::too_many_connections", "dir/p.yaml", 68)]);
    check(1, 64, &[]);
    check(1, 65, &[("process::too_many_channels", "dir/p.yaml", 3)]);
}

#[test]
fn packets_that_would_go_round_between_processes_are_named() {
    let back = PROCESS
        .replace("links:", "  - {id: downlink, kind: journal}\nlinks:")
        .replace("channel: uplink}\n", "channel: uplink}\n  - {producer: hub, consumer: edge, channel: downlink}\n");
    let end = |id: &str, kind: &str, channel: &str| {
        format!("  - {{id: {id}, kind: {kind}, plugin: \"std:channel\", config: {{channel: {channel}}}}}\n")
    };
    let with = |graph: &str, node: &str, edge: &str| graph.replace("edges: [", &format!("{node}edges: [{edge}, "));
    let hub = with(HUB, &end("down", "sink", "downlink"), "{from: up, to: down}");
    let edge = |to: &str| {
        let sink = "  - {id: out, kind: sink, plugin: \"t:sink\"}\n";
        with(
            EDGE,
            &format!("{}{sink}", end("down", "source", "downlink")),
            &format!("{{from: down, to: {to}}}, {{from: feed, to: out}}"),
        )
    };
    // What came back ends there, or goes up again.
    check_errors(&back, &edge("out"), &hub, &[]);
    check_errors(&back, &edge("up"), &hub, &[("process::cycle", "dir/p.yaml", 7)]);
    let loaded = load(&back, &edge("up"), &hub, Phase::Check);
    assert_eq!(
        loaded.diagnostics[0].to_string(),
        "packets go round in a circle: downlink -> uplink -> downlink: not in this version"
    );
}
