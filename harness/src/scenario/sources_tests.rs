//! Scenarios that extend others, and combinations of a matrix: what comes of them, and where their errors are.

use std::collections::BTreeMap;

use super::*;

const BASE: &str = r#"why = "a base"
graph = "graphs/g.yaml"
load = { into = "edge.feed", rate = "200/s", rows = "data/q.ndjson", repeat = true }
sim = { duration = "30s" }

[faults.crash]
kind = "host.crash"
on = "edge"
at = "10s"
restart = "2s"

[expect]
"latency.p99 @all" = "<= 20ms"
"duplicate.ratio" = "== 0"
"#;

/// Files by path; the first is the scenario.
fn sources(path: &str, files: &[(&str, &str)]) -> Sources {
    let texts: BTreeMap<&str, &str> = files.iter().copied().collect();
    let mut sources = Sources::new(path, texts[Sources::file_of(path)]);
    while let Some(wanted) = sources.wanted() {
        let text = texts[wanted.as_str()];
        sources.extend(wanted, text);
    }
    sources
}

#[track_caller]
fn good(path: &str, files: &[(&str, &str)]) -> Scenario {
    load(&sources(path, files), &World::of_one_host()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The errors as code and place, and as they are shown.
#[track_caller]
fn wrong(path: &str, files: &[(&str, &str)]) -> (Vec<(String, u32)>, String) {
    let errors = load(&sources(path, files), &World::of_one_host()).expect_err("it has errors");
    let mut shown = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none()).with_width(120);
    handler.render_report(&mut shown, &*errors).expect("a string takes all text");
    (errors.places(), shown)
}

#[test]
fn what_a_scenario_says_itself_goes_over_what_it_extends() {
    let own = r#"extends = "base/base.toml"
why = "longer away, twice"
load = { rate = "50/s" }
[faults.crash]
restart = "9s"
[faults.pause]
kind = "host.pause"
on = "edge"
at = "3s"
for = "1s"
[expect]
"duplicate.ratio" = false
"#;
    let scenario = good("s/own.toml", &[("s/own.toml", own), ("s/base/base.toml", BASE)]);
    assert_eq!((scenario.id.as_str(), scenario.why.as_str()), ("own", "longer away, twice"));
    assert_eq!(scenario.sim.duration_ns, 30_000_000_000, "inherited");
    assert_eq!(scenario.loads[0].arrival, Arrival::Constant(50.0));
    assert_eq!(
        scenario.path(&scenario.graph),
        PathBuf::from("s/base/graphs/g.yaml"),
        "relative to where it is written"
    );
    assert_eq!(scenario.rows(), ["base/data/q.ndjson"]);
    let faults: Vec<(&str, u32)> = scenario.faults.iter().map(|fault| (fault.id.as_str(), fault.line)).collect();
    assert_eq!(faults, [("pause", 7), ("crash", 1)], "what is inherited has the line of `extends`");
    let restart = scenario.faults.iter().find_map(|fault| fault.effect.own_length());
    assert_eq!(restart, Some(9_000_000_000));
    let expected: Vec<&str> = scenario.expect.iter().map(|objective| objective.text.as_str()).collect();
    assert_eq!(expected, ["latency.p99 @all"]);
}

#[test]
fn a_fault_of_another_kind_shares_nothing_with_the_one_that_it_replaces() {
    let own =
        "extends = \"base.toml\"\n[faults.crash]\nkind = \"host.pause\"\non = \"edge\"\nat = \"3s\"\nfor = \"1s\"\n";
    let scenario = good("own.toml", &[("own.toml", own), ("base.toml", BASE)]);
    assert_eq!(scenario.faults.len(), 1);
    assert_eq!(scenario.faults[0].effect.own_length(), None);
}

#[test]
fn errors_are_in_the_file_that_has_them() {
    let base = BASE.replace("at = \"10s\"", "at = \"10\"");
    let own = "extends = \"base.toml\"\nsim = { warmup = \"2\" }\n";
    let (places, shown) = wrong("s/own.toml", &[("s/own.toml", own), ("s/base.toml", &base)]);
    assert_eq!(places, [("scenario::bad_value".to_owned(), 2), ("scenario::bad_value".to_owned(), 9)]);
    assert!(shown.contains("s/own.toml:2:18") && shown.contains("s/base.toml:9:6"), "{shown}");

    let (places, shown) = wrong("own.toml", &[("own.toml", "extends = \"base.toml\"\n"), ("base.toml", "why = [\n")]);
    assert_eq!(places[0].0, "scenario::syntax");
    assert!(shown.contains("base.toml:"), "{shown}");
}

#[test]
fn nothing_extends_itself_and_no_chain_is_long() {
    let (places, shown) =
        wrong("a.toml", &[("a.toml", "extends = \"b.toml\"\n"), ("b.toml", "extends = \"a.toml\"\n")]);
    assert_eq!(places, [("scenario::contradiction".to_owned(), 1)]);
    assert!(shown.contains("b.toml:1"), "{shown}");
    let texts: Vec<(String, String)> =
        (0..12).map(|n| (format!("{n}.toml"), format!("extends = \"{}.toml\"\n", n + 1))).collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(wrong("0.toml", &files).0, [("scenario::contradiction".to_owned(), 1)]);
    let (places, _) = wrong("a.toml", &[("a.toml", "extends = 7\n")]);
    assert_eq!(places, [("scenario::bad_value".to_owned(), 1)]);
}

const MATRIX: &str = r#"extends = "base.toml"
[matrix]
"load.rate" = ["50/s", "400/s"]
"faults.crash.restart" = ["1s", "4s"]
"expect.latency.p99 @all" = ["<= 20ms"]
"#;

#[test]
fn a_matrix_is_a_scenario_for_each_combination() {
    let files = [("m.toml", MATRIX), ("base.toml", BASE)];
    let all = sources("m.toml", &files).variants();
    assert_eq!(all, ["m.toml#50_s+1s+20ms", "m.toml#50_s+4s+20ms", "m.toml#400_s+1s+20ms", "m.toml#400_s+4s+20ms"]);
    let hashes: std::collections::BTreeSet<String> = all.iter().map(|path| hash(&good(path, &files), &[])).collect();
    assert_eq!(hashes.len(), 4);
    let last = good(&all[3], &files);
    assert_eq!(last.id, "m.400_s+4s+20ms");
    assert_eq!(last.loads[0].arrival, Arrival::Constant(400.0));
    assert_eq!(last.faults[0].effect.own_length(), Some(4_000_000_000));
    assert_eq!(last.expect[0].line, 5, "its limit comes from the matrix");
    assert!(sources("base.toml", &[("base.toml", BASE)]).variants().is_empty());
}

#[test]
fn large_files_marks_and_odd_names_are_read() {
    let padding = format!("# {}\n", "x".repeat(70_000));
    let own = format!("{padding}extends = \"base.toml\"\n");
    let marked = format!("\u{feff}{BASE}");
    assert_eq!(good("a#b/own.toml", &[("a#b/own.toml", &own), ("a#b/base.toml", &marked)]).faults.len(), 1);
    let same = "extends = \"base.toml\"\n[faults.crash]\nkind = \"host.crash\"\nrestart = \"7s\"\n";
    let scenario = good("own.toml", &[("own.toml", same), ("base.toml", BASE)]);
    assert_eq!(scenario.faults[0].effect.own_length(), Some(7_000_000_000), "the same kind is merged");
    let base = format!("{BASE}[matrix]\n\"load.rows\" = [\"data/q.ndjson\"]\ngraph = [\"g.yaml\"]\n");
    let files = [("own.toml", "extends = \"s/base.toml\"\n"), ("s/base.toml", base.as_str())];
    let paths = sources("own.toml", &files).variants();
    let scenario = good(&paths[0], &files);
    assert_eq!((scenario.graph.as_str(), scenario.rows()), ("s/g.yaml", vec!["s/data/q.ndjson"]));
}

#[test]
fn a_coarse_one_is_another_scenario() {
    let files = [("m.toml", MATRIX), ("base.toml", BASE)];
    let coarse = good("base.toml#coarse", &files);
    assert_eq!((coarse.id.as_str(), coarse.sim.tick_ns), ("base.coarse", 10_000_000));
    assert_ne!(hash(&coarse, &[]), hash(&good("base.toml", &files), &[]));
    let variants = sources("m.toml#coarse", &files).variants();
    assert_eq!(variants[0], "m.toml#50_s+1s+20ms#coarse");
    let one = good(&variants[0], &files);
    assert_eq!((one.id.as_str(), one.sim.tick_ns), ("m.50_s+1s+20ms.coarse", 10_000_000));
    assert_eq!(
        wrong("base.toml#coarse", &[("base.toml", "sim = 7\n")]).0.len(),
        4,
        "what is in the way is told as ever"
    );
}

#[test]
fn a_matrix_that_is_wrong_says_where() {
    let at = |rest: &str, path: &str| {
        let own = format!("extends = \"base.toml\"\n{rest}");
        wrong(path, &[("m.toml", &own), ("base.toml", BASE)])
    };
    let (places, shown) = at("[matrix]\n\"load.rate\" = [\"1/s\", \"9/s\"]", "m.toml");
    assert_eq!(places, [("scenario::many_variants".to_owned(), 3)]);
    assert!(shown.contains("m.toml#1_s") && shown.contains("#9_s"), "{shown}");
    let (places, shown) = at("[matrix]\n\"load.rate\" = [\"1/s\", \"9/s\"]", "m.toml#5_s");
    assert_eq!(places, [("scenario::unknown_variant".to_owned(), 3)]);
    assert!(shown.contains("known here: 1_s, 9_s"), "{shown}");
    assert_eq!(at("", "m.toml#5_s").0[0].0, "scenario::unknown_variant");
    // A value that can't be read is wrong where it stands.
    assert_eq!(
        at("[matrix]\n\"load.rate\" = [\n\"1/s\",\n\"fast\"]", "m.toml#fast").0,
        [("scenario::bad_value".to_owned(), 5)]
    );
    assert_eq!(at("[matrix]\n\"load.speed\" = [\"1/s\"]", "m.toml#1_s").0, [("scenario::unknown_key".to_owned(), 3)]);
    for (rest, line) in [
        ("matrix = 7", 2),
        ("[matrix]", 2),
        ("[matrix]\n\"load.rate\" = \"1/s\"", 3),
        ("[matrix]\n\"load.rate\" = []", 3),
        ("[matrix]\n\"load.rate\" = [\"1/s\", \"1 s\"]", 3),
        ("[matrix]\n\"why.not\" = [\"x\"]", 3),
        ("[matrix]\nwhy = [\"coarse\", \"x\"]", 3),
        ("[matrix]\nwhy = [\"é\"]", 3),
        ("[matrix]\nextends = [\"x\"]", 3),
        ("[matrix]\n\"load.rate\" = [\"1/s\"]\nload.rate = [\"2/s\"]", 4),
    ] {
        assert_eq!(at(rest, "m.toml#x").0, [("scenario::bad_value".to_owned(), line)], "{rest}");
    }
    let many: Vec<String> = (0..65).map(|n| format!("\"{n}s\"")).collect();
    let (places, shown) = at(&format!("[matrix]\n\"sim.duration\" = [{}]", many.join(",")), "m.toml");
    assert_eq!(places, [("scenario::bad_value".to_owned(), 3)]);
    assert!(shown.contains("a matrix of 65 scenarios"), "{shown}");
}
