//! Tests of the scenario format at its border: text in, errors with their lines or a plan out.
#![expect(clippy::disallowed_methods, reason = "tests read the repository's own scenarios and pages")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use seaworthy_engine::journal::Durability;

use crate::load::{Rows, workload};
use crate::plan::{Action, Dist, Plan, Start};

/// The reference graph, in names.
fn world() -> World {
    let node = |host: &str, node: &str, source, sink| WorldNode {
        host: host.into(),
        node: node.into(),
        source,
        sink,
        handles: !source && !sink,
        stateful: node == "by_net",
        plugin_is_here: !matches!(node, "model" | "far"),
    };
    World {
        hosts: vec!["edge".into(), "hub".into()],
        nodes: vec![
            node("edge", "feed", true, false),
            node("edge", "strong", false, false),
            node("edge", "up", false, false),
            node("hub", "up", false, false),
            node("hub", "by_net", false, false),
            node("hub", "windows", false, true),
            node("hub", "raw", false, true),
            node("edge", "model", false, false),
            node("hub", "far", false, true),
        ],
        channels: vec![WorldChannel {
            id: "uplink".into(),
            host: "hub".into(),
            producers: vec!["edge".into()],
            consumers: vec!["hub".into()],
        }],
    }
}

const HEAD: &str = r#"why = "a test"
graph = "g.yaml"
load = { into = "edge.feed", rate = "200/s", rows = "q.ndjson", repeat = true }
"#;

fn read(text: &str) -> Result<Scenario, Box<ScenarioErrors>> {
    load(&Sources::new("scenarios/test.toml", text), &world())
}

#[track_caller]
fn good(text: &str) -> Scenario {
    read(text).unwrap_or_else(|errors| panic!("{}", render(&errors)))
}

/// Checks that `text` has exactly these errors: code and line.
#[track_caller]
fn check_errors(text: &str, expected: &[(&str, u32)]) {
    let found = read(text).expect_err("the text should have errors").places();
    let expected: Vec<(String, u32)> =
        expected.iter().map(|(code, line)| (format!("scenario::{code}"), *line)).collect();
    assert_eq!(found, expected);
}

/// Checks the errors of [`HEAD`] plus `rest`, whose first line is 1.
#[track_caller]
fn check_rest(rest: &str, expected: &[(&str, u32)]) {
    let expected: Vec<(&str, u32)> = expected.iter().map(|(code, line)| (*code, line + 3)).collect();
    check_errors(&format!("{HEAD}{rest}"), &expected);
}

fn render(errors: &ScenarioErrors) -> String {
    let mut out = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none()).with_width(120);
    handler.render_report(&mut out, errors).expect("a string takes all text");
    out
}

#[test]
fn the_smallest_scenario_has_the_documented_defaults() {
    let scenario = good(HEAD);
    assert_eq!(scenario.id, "test");
    assert_eq!(scenario.sim, Sim { duration_ns: 60_000_000_000, warmup_ns: 5_000_000_000, tick_ns: 1_000_000 });
    assert_eq!((scenario.seeds.pr, scenario.seeds.release), (Seeds { from: 1, to: 8 }, Seeds { from: 1, to: 64 }));
    assert_eq!(scenario.loads[0].arrival, Arrival::Constant(200.0));
    assert_eq!(scenario.path("q.ndjson"), PathBuf::from("scenarios/q.ndjson"));
    let wanted = GraphWanted { path: "scenarios/g.yaml".into(), stand_ins: Vec::new() };
    assert_eq!(graph_wanted(&Sources::new("scenarios/test.toml", HEAD)), Some(wanted));
    assert!(compile(&scenario, 1).steps.is_empty());
}

#[test]
fn what_a_disk_may_forget_must_be_all_that_is_to_know() {
    let weak = "engine = { durability = \"interval:200\" }\n";
    let scenario = good(&format!("{HEAD}{weak}"));
    assert_eq!(scenario.engine.durability, Some(Durability::Interval { ms: 200 }));
    check_rest("engine = { durability = \"interval:0\" }\n", &[("bad_value", 1)]);
    let os = good(&format!("{HEAD}engine = {{ durability = \"os\" }}\n"));
    assert_eq!(os.engine.durability, Some(Durability::Os));
    let text = format!("{HEAD}{weak}");
    let refused = |change: fn(&mut World)| {
        let mut world = world();
        change(&mut world);
        load(&Sources::new("scenarios/test.toml", &text), &world).err().map(|errors| errors.places())
    };
    let contradiction = Some(vec![("scenario::contradiction".to_owned(), 4)]);
    assert_eq!(refused(|world| world.nodes[1].stateful = true), contradiction, "a window where the load enters");
    assert_eq!(refused(|world| world.nodes[1].sink = true), contradiction, "a sink there, and a window elsewhere");
    assert_eq!(refused(|_| ()), None);
}

#[test]
fn a_stand_in_says_what_a_node_costs_and_gives() {
    let text = r#"[stand_in."edge.model"]
service = "uniform(1ms, 3ms)"
output  = 2.5
bytes   = "100"
"#;
    let scenario = good(&format!("{HEAD}{text}"));
    let expected = StandIn {
        node: "edge.model".into(),
        service: Some(Dist::Uniform { from_ns: 1_000_000, to_ns: 3_000_000 }),
        output_ppm: 2_500_000,
        content: Some(Made::Bytes(Size { from: 100, to: 100 })),
    };
    assert_eq!(scenario.stand_ins, [expected]);
    let plain = good(&format!("{HEAD}[stand_in.\"edge.model\"]"));
    let expected = StandIn { node: "edge.model".into(), service: None, output_ppm: 1_000_000, content: None };
    assert_eq!(plain.stand_ins, [expected]);
    assert_ne!(hash(&scenario, &[]), hash(&plain, &[]), "what stands in is part of what runs");
    let wanted =
        graph_wanted(&Sources::new("scenarios/test.toml", &format!("{HEAD}{text}"))).map(|graph| graph.stand_ins);
    assert_eq!(wanted, Some(vec!["edge.model".to_owned()]));
}

#[test]
fn a_stand_in_is_for_a_node_that_is_not_here() {
    check_rest("[stand_in.\"edge.nobody\"]", &[("unknown_target", 1)]);
    check_rest("[stand_in.\"edge\"]", &[("wrong_target", 1)]);
    check_rest("[stand_in.\"edge.uplink\"]", &[("wrong_target", 1)]);
    check_rest("[stand_in.\"edge.strong\"]\noutput = 0.5", &[("contradiction", 1)]);
    check_rest("[stand_in.\"hub.far\"]\noutput = 0.5", &[("contradiction", 1)]);
    check_rest("[stand_in.\"edge.model\"]\noutput = -1", &[("bad_value", 2)]);
    check_rest("[stand_in.\"edge.model\"]\noutput = 101", &[("bad_value", 2)]);
    check_rest("[stand_in.\"edge.model\"]\noutput = nan", &[("wrong_type", 2)]);
    check_rest("[stand_in.\"edge.model\"]\noutput = \"all\"", &[("bad_value", 2)]);
    check_rest("[stand_in.\"edge.model\"]\nservice = \"8\"", &[("bad_value", 2)]);
    check_rest("[stand_in.\"edge.model\"]\nbytes = \"9\"\njson = { a = 1 }", &[("contradiction", 2)]);
    check_rest("[stand_in.\"edge.model\"]\ncosts = \"8ms\"", &[("unknown_key", 2)]);
}

#[test]
fn what_is_missing_or_unknown_is_said_at_its_line_all_at_once() {
    check_errors("", &[("missing_key", 1), ("missing_key", 1), ("missing_key", 1)]);
    check_errors("why = \"x\"\ngraph = [", &[("syntax", 2)]);
    check_errors("why = \"a\"\nwhy = \"b\"", &[("syntax", 2)]);
    check_errors(
        "why = 7\ngraf = \"g.yaml\"\nload = { into = \"edge.feed\" }",
        &[("missing_key", 1), ("wrong_type", 1), ("unknown_key", 2), ("missing_key", 3), ("missing_key", 3)],
    );
    check_rest("policies = \"p.toml\"", &[("not_in_this_version", 1)]);
    check_errors(
        "why = \"\"\ngraph = \"g\"\nload = { into = \"edge.feed\", rate = \"1/s\", bytes = \"8\" }",
        &[("bad_value", 1)],
    );
}

#[test]
fn loads_are_checked() {
    let load =
        |load: &str, expected: &[(&str, u32)]| check_errors(&format!("why = \"x\"\ngraph = \"g\"\n{load}"), expected);
    load("load = { into = \"edge.fed\", rate = \"200\", rows = \"q\" }", &[("unknown_target", 3), ("bad_value", 3)]);
    load("load = { into = \"hub.raw\", rate = \"200/s\", rows = \"q\" }", &[("not_a_source", 3)]);
    load("load = { into = \"edge\", rate = \"200/s\", rows = \"q\" }", &[("not_a_source", 3)]);
    load(
        "load = { into = \"edge.feed\", rate = \"1/s\", arrival = \"poisson(1/s)\", rows = \"q\", bytes = \"8\" }",
        &[("contradiction", 3), ("contradiction", 3)],
    );
    load(
        "[load.a]\ninto = \"edge.feed\"\narrival = \"trace(speed = 600)\"\nbytes = \"uniform(9, 5)\"\n[load.b]\ninto = \"edge.feed\"\nrate = \"1/s\"\nbytes = \"9\"",
        &[("bad_value", 6)],
    );
    load(
        "[load.a]\ninto = \"edge.feed\"\nrate = \"1/s\"\nbytes = \"8\"\nkey = \"net\"\n[load.b]\ninto = \"edge.feed\"\narrival = \"trace(speed = 6)\"\njson = { mag = \"uniform(0, 6)\", net = \"kee(3)\" }",
        &[("contradiction", 7), ("bad_value", 11)],
    );
    load("load = \"200/s\"", &[("wrong_type", 3)]);
    load("load = { into = \"edge.feed\", arrival = \"stages(0/s for 5s)\", rows = \"q\" }", &[("bad_value", 3)]);
}

#[test]
fn time_and_seeds_are_checked() {
    check_rest("sim = { tick = \"100us\" }", &[("tick", 1)]);
    check_rest("sim = { tick = \"1.5ms\", warmup = \"2min\" }", &[("tick", 1), ("contradiction", 1)]);
    check_rest("sim = { duration = \"0s\" }", &[("zero_length", 1)]);
    check_rest("seeds = { pr = \"8..1\", release = \"many\" }", &[("bad_value", 1), ("bad_value", 1)]);
    check_rest(
        "promise = { delivery = \"exactly-once\", ordering = \"some\", idempotent = [\"edge.feed\"], drops = { \"policy.shed\" = \"<= 5ms\" } }",
        &[("not_in_this_version", 1), ("bad_value", 1), ("wrong_target", 1), ("bad_expectation", 1), ("bad_limit", 1)],
    );
}

#[test]
fn faults_need_a_known_kind_and_a_target_of_its_sort() {
    check_rest("[faults.a]\nkind = \"host.carsh\"\non = \"hub\"\nat = \"1s\"", &[("unknown_kind", 2)]);
    check_rest(
        "[faults.a]\nkind = \"disk.lying_sync\"\non = \"hub\"\nat = \"1s\"\n\
         [faults.b]\nkind = \"host.power_cut\"\non = \"hub\"\nat = \"2s\"",
        &[("contradiction", 6)],
    );
    check_rest("[faults.a]\nkind = \"host.wipe\"\non = \"hub\"\nat = \"1s\"", &[("contradiction", 2)]);
    check_rest("[faults.a]\nkind = \"host.crash\"\non = \"hubb\"\nat = \"1s\"", &[("unknown_target", 3)]);
    check_rest("[faults.a]\nkind = \"host.crash\"\non = \"edge<->hub\"\nat = \"1s\"", &[("wrong_target", 3)]);
    check_rest(
        "[faults.a]\nkind = \"sink.slow\"\non = \"hub.by_net\"\nat = \"1s\"\nadd = \"5ms\"",
        &[("wrong_target", 3)],
    );
    check_rest("[faults.a]\nkind = \"net.cut\"\non = \"edge->hub:uplink\"\nat = \"1s\"", &[("not_in_this_version", 3)]);
    check_rest("[faults.a]\nkind = \"net.cut\"\non = \"edge.uplink\"\nat = \"1s\"", &[("wrong_target", 3)]);
    check_rest("[faults.a]\nkind = \"net.cut\"\non = \"hub<->hub\"\nat = \"1s\"", &[("contradiction", 3)]);
    check_rest(
        "[faults.a]\nkind = \"ack.delay\"\non = \"hub->edge:uplink\"\nat = \"1s\"",
        &[("missing_key", 2), ("unknown_target", 3)],
    );
    check_rest(
        "[faults.a]\nkind = \"disk.eio\"\non = \"hub\"\nat = \"1s\"\nop = \"chew\"\nratio = 0\nup = \"1s\"",
        &[("bad_value", 5), ("unknown_key", 7)],
    );
}

#[test]
fn a_sabotage_is_refused_outside_must_fail() {
    let text = format!("{HEAD}[faults.a]\nkind = \"sabotage.lose_effect\"\non = \"hub.raw\"\nat = \"1s\"");
    check_errors(&text, &[("sabotage_outside", 5)]);
    let scenario = load(&Sources::new("scenarios/must_fail/a.toml", &text), &world()).expect("allowed there");
    let sabotage = Action::Sabotage { breach: "lose_effect".into(), on: "hub.raw".into() };
    assert_eq!(compile(&scenario, 1).steps[0].action, sabotage);
}

#[test]
fn faults_begin_once_and_end_within_the_run() {
    let cut = |schedule: &str, expected: &[(&str, u32)]| {
        check_rest(&format!("[faults.a]\nkind = \"net.cut\"\non = \"edge<->hub\"\n{schedule}"), expected)
    };
    cut("", &[("no_schedule", 1)]);
    cut("at = \"1s\"\nwhen = \"edge.uplink.backlog > 3\"", &[("contradiction", 5)]);
    cut("at = \"61s\"", &[("after_end", 4)]);
    cut("at = \"59s\"\nfor = \"8s\"", &[("after_end", 4)]);
    cut("within = \"10s..70s\"", &[("after_end", 4)]);
    cut("within = \"10s..14s\"\nfor = \"uniform(1s, 5s)\"", &[("contradiction", 4)]);
    cut("within = \"10s..20s\"\nfor = \"3s\"\nrepeat = 4", &[("contradiction", 4), ("contradiction", 4)]);
    cut("at = \"10s\"\nfor = \"0s\"", &[("zero_length", 5)]);
    cut("at = \"10s\"\nfor = \"lognormal(p50 = 1s, p99 = 2s)\"", &[("bad_value", 5)]);
    cut("at = \"10s\"\nfor = \"3s\"\nrepeat = 2", &[("missing_key", 6)]);
    cut("at = \"10s\"\nfor = \"3s\"\nrepeat = 2\nevery = \"2s\"", &[("contradiction", 4)]);
    cut("at = \"10s\"\nevery = \"2s\"", &[("contradiction", 5)]);
    cut("at = \"10s\"\nrepeat = 0", &[("contradiction", 5)]);
    cut("at = \"10s\"\nchance = 0", &[("bad_value", 5)]);
    cut("when = \"edge.uplink.backlog > 3\"\nrepeat = 2", &[("not_in_this_version", 4)]);
    cut(
        "when = \"edge.uplink.backlogg > 3 && count(hub.raw.sink.akced) > 1\"",
        &[("bad_expression", 4), ("bad_expression", 4)],
    );
    cut(
        "when = \"hub.raw.backlog > 3 || count(hub.rew.sink.acked) > 1\"",
        &[("wrong_target", 4), ("unknown_target", 4)],
    );
    check_rest(
        "[faults.a]\nkind = \"net.flap\"\non = \"edge<->hub\"\nat = \"1s\"\ndown = \"1ms\"\nup = \"1ms\"",
        &[("contradiction", 2)],
    );
}

#[test]
fn expectations_are_checked() {
    let fault = "[faults.cut]\nkind = \"net.cut\"\non = \"edge<->hub\"\nat = \"10s\"\nfor = \"2s\"\n";
    check_rest(
        &format!(
            "{fault}[expect]\n\"latency.p98\" = \"<= 1s\"\n\"lost\" = \"0\"\n\"recovery(cat).steady\" = \"<= 6s\"\n\"recovery(cut).steady\" = \"<= 6\"\nlatency.p99 = \"<= 6s\""
        ),
        &[
            ("bad_expectation", 7),
            ("bad_limit", 8),
            ("unknown_fault", 9),
            ("bad_limit", 10),
            ("wrong_type", 11),
            ("bad_expectation", 11),
        ],
    );
    check_rest(
        "[[sometimes]]\nthat = \"at(crash).backlog > 200\"\n[[sometimes]]\nthis = 1",
        &[("unknown_fault", 2), ("missing_key", 3), ("unknown_key", 4)],
    );
    let scenario =
        good(&format!("{HEAD}{fault}[expect]\n\"recovery(cut).steady p95\" = \"<= 6s\"\n\"drop.ratio\" = \"<= 0.1%\""));
    let places: Vec<(&str, u32, f64)> =
        scenario.expect.iter().map(|found| (found.text.as_str(), found.line, found.limit.value)).collect();
    assert_eq!(places, [("recovery(cut).steady p95", 10, 6e9), ("drop.ratio", 11, 0.001)]);
}

#[test]
fn diagnostics_read_well() {
    let errors = |rest: &str| render(&read(&format!("{HEAD}{rest}")).expect_err("broken"));
    insta::assert_snapshot!(
        "unknown_kind",
        errors("[faults.crash]\nkind = \"host.carsh\"\non = \"hub\"\nat = \"1s\"\n")
    );
    insta::assert_snapshot!(
        "unknown_target",
        errors("[faults.crash]\nkind = \"host.crash\"\non = \"hbu\"\nat = \"1s\"\n")
    );
    insta::assert_snapshot!(
        "expectation",
        errors("[expect]\n\"latency.p99 @noon\" = \"<= 400\"\n\"duplicate.ratio\" = \"<= 5ms\"\n")
    );
    insta::assert_snapshot!(
        "trigger",
        errors("[faults.cut]\nkind = \"net.cut\"\non = \"edge<->hub\"\nwhen = \"edge.uplink.backlog > 200ms\"\n")
    );
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every scenario of the repository: its path from the root, and its text.
fn scenarios() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["scenarios", "scenarios/deep", "scenarios/must_fail"] {
        let entries = std::fs::read_dir(repository().join(folder)).expect("the repository has the folder");
        for entry in entries.map(|entry| entry.expect("a readable folder").path()) {
            if entry.extension().is_some_and(|extension| extension == "toml") {
                let name = entry.file_name().expect("a file has a name").to_string_lossy().into_owned();
                found.push((format!("{folder}/{name}"), std::fs::read_to_string(&entry).expect("a readable scenario")));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_scenario_of_the_repository_compiles_for_64_seeds() {
    let found = scenarios();
    assert!(found.len() >= 20, "only {} scenarios", found.len());
    let mut sabotaged = std::collections::BTreeSet::new();
    let read = |path: &str| std::fs::read_to_string(repository().join(path));
    let all = found.iter().flat_map(|(path, _)| crate::run::Prepared::variants(path, &read).expect("it can be read"));
    for path in &all.collect::<Vec<String>>() {
        let mut registry = seaworthy_engine::node::Registry::new();
        seaworthy_engine::nodes::register(&mut registry);
        let prepared = crate::run::Prepared::read(path, &read, &registry);
        let prepared = prepared.unwrap_or_else(|error| panic!("{path}: {error}"));
        let scenario = prepared.scenario().clone();
        assert!(repository().join(scenario.path(&scenario.graph)).is_file(), "{path}: no {}", scenario.graph);
        assert!(scenario.sim.duration_ns <= 60_000_000_000, "{path} is too long");
        let mut steps = 0;
        for seed in scenario.seeds.release.iter() {
            let plan = compile(&scenario, seed);
            steps += plan.steps.len();
            for step in &plan.steps {
                let Start::At { at_ns } = step.start else { continue };
                assert!(at_ns + step.for_ns.unwrap_or(0) <= scenario.sim.duration_ns, "{path} seed {seed}: {step:?}");
                assert!(at_ns.is_multiple_of(scenario.sim.tick_ns), "{path} seed {seed}: {step:?}");
                if let Action::Sabotage { breach, .. } = &step.action {
                    sabotaged.insert(format!("sabotage.{breach}"));
                }
            }
        }
        assert_eq!(steps == 0, ["smoke", "poison"].contains(&&*scenario.id), "{path}: {steps} steps");
    }
    let known: std::collections::BTreeSet<String> = kinds::SABOTAGES.iter().map(|kind| kind.id.to_owned()).collect();
    assert_eq!(sabotaged, known, "each sabotage has a file in must_fail/");
}

#[test]
fn every_fault_kind_has_a_scenario() {
    let text: String = scenarios().into_iter().map(|(_, text)| text).collect();
    for kind in kinds::FAULTS {
        assert!(text.contains(&format!("= \"{}\"", kind.id)), "no scenario has {}", kind.id);
    }
}

#[test]
fn the_page_names_every_kind_and_every_key_and_its_examples_load() {
    let page = std::fs::read_to_string(repository().join("docs/scenario.md")).expect("the page is there");
    for kind in kinds::FAULTS.iter().chain(&kinds::SABOTAGES) {
        assert!(page.contains(&format!("`{}`", kind.id)), "docs/scenario.md doesn't name {}", kind.id);
    }
    let mut examples = 0;
    for block in page.split("```toml\n").skip(1) {
        let text = block.split("```").next().expect("a split has a first part");
        if text.contains("why") {
            let sources = |path: &str| {
                let mut sources = Sources::new(path, text);
                if let Some(base) = sources.wanted() {
                    let text = std::fs::read_to_string(repository().join(&base)).expect("it extends a real one");
                    sources.extend(base, &text);
                }
                sources
            };
            let variants = sources("scenarios/page.toml").variants();
            let own = vec!["scenarios/page.toml".to_owned()];
            for path in if variants.is_empty() { own } else { variants } {
                load(&sources(&path), &world()).unwrap_or_else(|errors| panic!("{}", render(&errors)));
                examples += 1;
            }
        }
    }
    assert!(examples >= 6, "the page shows {examples} whole scenarios");
    let schema = schema();
    let sections = schema["$defs"].as_object().expect("a schema has definitions").values().chain([&schema]);
    for key in sections.filter_map(|section| section["properties"].as_object()).flat_map(|keys| keys.keys()) {
        assert!(page.contains(&format!("`{key}`")), "docs/scenario.md doesn't say what `{key}` is");
    }
}

#[test]
fn the_schema_file_is_the_types() {
    let file =
        std::fs::read_to_string(repository().join("docs/schema/scenario.v1.schema.json")).expect("the schema is there");
    let now = format!("{:#}\n", schema());
    let differ = file
        .lines()
        .zip(now.lines())
        .position(|(a, b)| a != b)
        .unwrap_or(file.lines().count().min(now.lines().count()));
    assert!(
        file == now,
        "line {} differs:\n- {}\n+ {}\nto update: cargo run -p seaworthy-harness --example scenario_schema > docs/schema/scenario.v1.schema.json",
        differ + 1,
        file.lines().nth(differ).unwrap_or("(end)"),
        now.lines().nth(differ).unwrap_or("(end)"),
    );
}

#[test]
fn the_hash_is_of_what_runs() {
    let fault = "[faults.cut]\nkind = \"net.cut\"\non = \"edge<->hub\"\nat = \"10s\"\nfor = \"2s\"\n";
    let of = |text: &str| hash(&good(text), &["graph"]);
    let base = of(&format!("{HEAD}{fault}"));
    assert_eq!(
        base,
        of(&format!("# a comment\n{HEAD}sim = {{ duration = \"1min\" }}\n{fault}[expect]\nlost = \"== 0\"\n")
            .replace("a test", "another why"))
    );
    assert_eq!(base, of(&format!("{HEAD}{fault}").replace("\"2s\"", "\"2000ms\"")));
    assert_ne!(base, of(&format!("{HEAD}{fault}").replace("\"2s\"", "\"3s\"")));
    assert_ne!(base, of(&format!("{HEAD}{fault}").replace("200/s", "201/s")));
    assert_ne!(base, hash(&good(&format!("{HEAD}{fault}")), &["another graph"]));
}

const FAULTS: [&str; 4] = [
    "[faults.flap]\nkind = \"net.flap\"\non = \"edge<->hub\"\nwithin = \"5s..50s\"\nfor = \"uniform(10s, 20s)\"\ndown = \"uniform(1s, 3s)\"\nup = \"lognormal(p50 = 1s, p99 = 4s)\"\n",
    "[faults.crash]\nkind = \"host.crash\"\non = \"hub\"\nwhen = \"edge.uplink.backlog > 200\"\nchance = 0.5\n",
    "[faults.slow]\nkind = \"disk.latency\"\non = \"edge\"\nwithin = \"10s..50s\"\nfor = \"uniform(1s, 5s)\"\nadd = \"5ms\"\nchance = \"50%\"\nrepeat = 3\n",
    "[faults.reset]\nkind = \"net.reset\"\non = \"edge->hub\"\nat = \"9s\"\nrepeat = 3\nevery = \"4s\"\nchance = 0.7\n",
];

fn plan_of(faults: &[&str], seed: u64) -> Plan {
    compile(&good(&format!("{HEAD}{}", faults.concat())), seed)
}

#[test]
fn a_plan_survives_being_written() {
    for seed in 1..20 {
        let plan = plan_of(&FAULTS, seed);
        let text = serde_json::to_string_pretty(&plan).expect("a plan is JSON");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("its own JSON"), plan);
    }
    let scenario = good(&format!("{HEAD}{}", FAULTS.concat()));
    insta::assert_snapshot!("timeline", timeline(&scenario, &compile(&scenario, 2)));
}

#[test]
fn chance_is_what_it_says() {
    let on = (1..=400).filter(|seed| !plan_of(&FAULTS[1..2], *seed).steps.is_empty()).count();
    assert!((160..240).contains(&on), "half of 400 seeds, not {on}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compile_is_pure_and_no_fault_moves_another(seed: u64, picked in proptest::bits::u8::masked(15), extra in 0usize..4) {
        let of = |mask: u8| -> Vec<&str> { (0..4).filter(|index| mask & (1 << index) != 0).map(|index| FAULTS[index]).collect() };
        let plan = plan_of(&of(picked), seed);
        prop_assert_eq!(&plan, &plan_of(&of(picked), seed));
        let more = plan_of(&of(picked | (1 << extra)), seed);
        let mut kept = more.steps;
        if picked & (1 << extra) == 0 {
            let name = FAULTS[extra].split(['.', ']']).nth(1).expect("a header");
            kept.retain(|step| step.fault != name);
        }
        prop_assert_eq!(plan.steps, kept);
    }

    #[test]
    fn no_text_panics_the_parser(text in "\\PC{0,200}") {
        let _ = read(&text).map(|scenario| compile(&scenario, 1));
    }

    #[test]
    fn no_value_panics_the_parser(value in "[a-z0-9.<>=&|()@%/ ,é+:-]{0,40}", key in 0usize..20) {
        let keys = ["at", "within", "when", "for", "add", "up", "down", "restart", "on", "op", "kind"];
        let quoted = toml::Value::String(value).to_string();
        let text = match key {
            0..=10 => format!("{HEAD}[faults.a]\n{}{} = {quoted}\n", FAULT_BASE.iter().filter(|(name, _)| *name != keys[key]).map(|(_, line)| *line).collect::<String>(), keys[key]),
            11 => format!("{HEAD}[expect]\n{quoted} = \"== 0\""),
            12 => format!("{HEAD}[expect]\nlost = {quoted}"),
            13 => format!("{HEAD}[[sometimes]]\nthat = {quoted}"),
            14 => format!("{HEAD}[seeds]\npr = {quoted}"),
            15 => format!("{HEAD}[sim]\nduration = {quoted}"),
            16 => HEAD.replace("\"200/s\"", &quoted),
            17 => HEAD.replace("\"edge.feed\"", &quoted),
            18 => HEAD.replace("rate = \"200/s\"", &format!("arrival = {quoted}")),
            _ => HEAD.replace("rows = \"q.ndjson\", repeat = true", &format!("bytes = {quoted}")),
        };
        let read = read(&text);
        if let Err(errors) = &read {
            prop_assert!(!errors.errors.is_empty());
            render(errors);
        }
        let _ = read.map(|scenario| timeline(&scenario, &compile(&scenario, 1)));
    }
}

const FAULT_BASE: [(&str, &str); 3] =
    [("kind", "kind = \"net.cut\"\n"), ("on", "on = \"edge<->hub\"\n"), ("at", "at = \"10s\"\n")];

fn quakes() -> BTreeMap<String, Rows> {
    let text = std::fs::read_to_string(repository().join("scenarios/data/quakes.ndjson")).expect("the data is there");
    BTreeMap::from([("q.ndjson".to_owned(), Rows::parse("quakes.ndjson", &text).expect("good rows"))])
}

#[test]
fn rows_repeat_under_new_names_and_later_times() {
    let head = HEAD.replace("repeat = true", "repeat = true, key = \"net\"");
    let events = workload(&good(&head), 1, &quakes()).expect("a load");
    assert_eq!(events.len(), 12_000);
    let ids: std::collections::BTreeSet<&str> = events.iter().map(|event| event.draft.packet_id.as_str()).collect();
    assert_eq!(ids.len(), 12_000);
    let (first, lap) = (&events[0], &events[1707]);
    assert_eq!((first.entry.as_str(), first.seq.0, first.intended_ns), ("edge.feed", 1, 0));
    assert_eq!(
        (first.draft.packet_id.as_str(), first.draft.key.as_deref(), first.draft.ts),
        ("uw61345682", Some("uw"), 1_517_363_399_650_000_000)
    );
    assert_eq!((lap.draft.packet_id.as_str(), lap.draft.key.as_deref()), ("uw61345682#1", Some("uw")));
    let payload: serde_json::Value = serde_json::from_slice(&lap.draft.payload).expect("JSON");
    assert_eq!(payload["id"], "uw61345682#1");
    assert_eq!(payload["time"], serde_json::json!(lap.draft.ts / 1_000_000));
    assert!(
        events.windows(2).all(|pair| pair[0].draft.ts <= pair[1].draft.ts),
        "the file is in order of time, and so are its laps"
    );
    let once = workload(&good(&HEAD.replace(", repeat = true", "")), 1, &quakes()).expect("a load");
    assert_eq!((once.len(), once[0].draft.key.as_deref()), (1707, None));
}

#[test]
fn templates_bytes_and_traces_make_events() {
    let with = |load: &str| good(&format!("why = \"x\"\ngraph = \"g\"\nload = {{ into = \"edge.feed\", {load} }}"));
    let json = with(
        "arrival = \"poisson(100/s)\", json = { net = \"key(3)\", mag = \"uniform(0, 6)\", kind = \"quake\", n = 7 }, key = \"net\"",
    );
    let events = workload(&json, 5, &BTreeMap::new()).expect("a load");
    for event in &events {
        let payload: serde_json::Value = serde_json::from_slice(&event.draft.payload).expect("JSON");
        assert!(["k0", "k1", "k2"].contains(&payload["net"].as_str().expect("a name")));
        assert_eq!(payload["net"].as_str(), event.draft.key.as_deref());
        assert!((0.0..=6.0).contains(&payload["mag"].as_f64().expect("a number")));
        assert_eq!((&payload["kind"], &payload["n"]), (&"quake".into(), &7.into()));
    }
    let again = workload(&json, 5, &BTreeMap::new()).expect("a load");
    assert!(
        events.iter().zip(&again).all(|(a, b)| (a.intended_ns, &a.draft.payload) == (b.intended_ns, &b.draft.payload))
    );
    let bytes =
        workload(&with("rate = \"10/s\", bytes = \"uniform(200, 2000)\""), 5, &BTreeMap::new()).expect("a load");
    let sizes: std::collections::BTreeSet<usize> = bytes.iter().map(|event| event.draft.payload.len()).collect();
    assert!(sizes.len() > 100 && sizes.iter().all(|size| (200..=2000).contains(size)));
    let trace =
        workload(&with("arrival = \"trace(speed = 60000)\", rows = \"q.ndjson\""), 5, &quakes()).expect("a load");
    // 604 million ms of quakes, 60,000 times faster, are 10 s.
    assert_eq!((trace.len(), trace[0].intended_ns), (1707, 0));
    assert!((10_000_000_000..10_100_000_000).contains(&trace[1706].intended_ns), "{}", trace[1706].intended_ns);
    assert!(workload(&good(HEAD), 1, &BTreeMap::new()).is_err(), "rows that were not read");
    let none = BTreeMap::from([("q.ndjson".to_owned(), Rows::parse("q", "").expect("an empty file"))]);
    assert!(workload(&good(HEAD), 1, &none).is_err(), "a load of nothing");
}

#[test]
fn a_row_that_is_no_event_says_where() {
    use crate::load::RowsError;
    let line = |text: &str| match Rows::parse("q", text).expect_err(text) {
        RowsError::NotJson { line, .. }
        | RowsError::BadId { line, .. }
        | RowsError::DuplicateId { line, .. }
        | RowsError::BadTime { line, .. } => line,
    };
    assert_eq!(line("{\"id\":1}\n[1]"), 2);
    assert_eq!(line("{\"id\":1}\n\n{\"id\":\"1\"}"), 3);
    assert_eq!(line("{\"time\":1}"), 1);
    assert_eq!(line("{\"id\":\"a#1\"}"), 1);
    assert_eq!(line("{\"id\":\"a\",\"time\":\"noon\"}"), 1);
}
