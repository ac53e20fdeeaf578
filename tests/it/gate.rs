//! The gate, compare, merge and report through the command, on small scenarios in a folder of their own.
#![expect(clippy::disallowed_methods, reason = "tests make real folders and run the binary")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::project::Project;

#[test]
fn a_sound_build_passes_and_is_equal_to_itself() {
    let project = Project::new();
    let told = project.said("gate --no-baseline", 0);
    for part in [
        "none  compare       without a baseline, as was asked for",
        "pass  lint",
        "pass  determinism",
        "pass  corpus",
        "pass  seeds",
        "pass  coverage",
        "PASS      report: out/gate/report.html",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    for file in [
        "result.json",
        "summary.md",
        "junit.xml",
        "metrics.prom",
        "report.html",
        "cut/latency.hlog",
        "cut/timeline.json",
    ] {
        assert!(!project.read(&format!("out/gate/{file}")).is_empty(), "{file}");
    }
    let without = project.said("gate", 4);
    assert!(without.contains("VOID  compare       there is no baseline"), "{without}");
    project.all_say("out/gate", "void", "there is no baseline");
    project.said("gate --accept first", 0);
    assert!(project.read("ci/baseline.json.log").contains(": first"));
    let again = project.said("gate", 0);
    assert!(again.contains("pass  compare"), "{again}");
    let same = project.said("compare ci/baseline.json out/gate", 0);
    assert!(
        same.contains("equivalent") && same.contains("0 worse, 0 same, 0 better") && same.contains("2 without a p99"),
        "{same}"
    );
    assert!(project.said("report out/gate --baseline ci/baseline.json", 0).contains("report.html"));
    assert!(project.read("out/gate/report.html").contains("against the baseline"));
    assert!(project.said("gate --estimate", 0).contains("core-s in all"));
    // A release runs the baseline's seeds and more, alone or in shards.
    let release = project.said("gate --tier release --out release", 0);
    assert!(release.contains("pass  compare") && release.contains("over the baseline's seeds: 4 of 8"), "{release}");
    for shard in [1, 2] {
        project.said(&format!("gate --tier release --shard {shard}/2 --out r{shard}"), 0);
    }
    project.said("merge r1 r2 --out whole", 0);
    assert_eq!(project.read("whole/result.json"), project.read("release/result.json"));
    assert!(project.said("gate --tier release --accept more", 2).contains("--baseline"));
    project.said("gate --tier release --accept more --baseline ci/release.json", 0);
    project.said("gate --tier release --baseline ci/release.json", 0);
    let fewer = project.said("gate --baseline ci/release.json", 2);
    assert!(fewer.contains("LOOSENED crash seeds 4 → 2 of them"), "{fewer}");
}

#[test]
fn a_baseline_that_nobody_accepted_is_refused() {
    let project = Project::new();
    project.said("gate --accept first", 0);
    let sound = project.read("ci/baseline.json");
    // The baseline was slower than it was.
    project.change("ci/baseline.json", |base| {
        base["scenarios"][0]["phases"]["all"]["latency_ms"]["p50"] = json!({"v": 4000})
    });
    let told = project.said("gate", 2);
    assert!(told.contains("not the baseline that was accepted") && told.contains("--accept"), "{told}");
    assert!(project.said("gate --baseline ci/baseline.json", 2).contains("not the baseline that was accepted"));
    let log = project.read("ci/baseline.json.log");
    project.write("ci/baseline.json", &sound);
    project.write("ci/baseline.json.log", "unknown: no hash\n");
    assert!(project.said("gate", 2).contains("baseline::unaccepted"));
    fs::remove_file(project.0.path().join("ci/baseline.json.log")).expect("it is there");
    assert!(project.said("gate", 2).contains("baseline::unaccepted"));
    project.write("ci/baseline.json.log", &log);
    fs::remove_file(project.0.path().join("ci/baseline.json")).expect("it is there");
    assert!(project.said("gate", 2).contains("baseline::unaccepted"));
    project.said("gate --accept again", 0);
    project.said("gate", 0);
    assert_eq!(project.read("ci/baseline.json.log").lines().count(), 2);
}

#[test]
fn an_empty_or_hollow_baseline_holds_nothing() {
    let project = Project::new();
    project.said("gate --accept first", 0);
    let with = |change: &dyn Fn(&mut Value)| {
        project.write("base.json", &project.read("ci/baseline.json"));
        project.change("base.json", change);
    };
    with(&|base| base["scenarios"] = json!([]));
    let empty = project.said("gate --baseline base.json", 4);
    assert!(empty.contains("the baseline is of no scenario"), "{empty}");
    assert!(project.said("gate --baseline base.json --shard 1/2 --out s", 4).contains("of no scenario"));
    for hollow in ["phases", "seeds"] {
        let nothing = if hollow == "phases" { json!({}) } else { json!([]) };
        with(&|base| base["scenarios"][0][hollow] = nothing.clone());
        assert!(project.said("gate --baseline base.json", 2).contains("is missing"), "{hollow}");
    }
    for hollow in ["recovery", "waterfalls"] {
        with(&|base| base["scenarios"][0][hollow] = json!([]));
        assert!(project.said("gate --baseline base.json", 4).contains("NOT COMPARABLE crash"), "{hollow}");
    }
    with(&|base| drop(base["scenarios"].as_array_mut().expect("a list").remove(0)));
    let half = project.said("gate --baseline base.json", 0);
    assert!(half.contains("1 of 2 scenarios have no baseline"), "{half}");
    with(&|base| {
        for (at, id) in ["x", "y"].into_iter().enumerate() {
            base["scenarios"][at]["id"] = id.into();
        }
    });
    let others = project.said("gate --baseline base.json", 4);
    assert!(others.contains("no scenario in common") && !others.contains("LOOSENED"), "{others}");
}

#[test]
fn instructions_are_counted_where_there_is_a_counter() {
    let project = Project::new();
    let mut without = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    let told = project.said_by(without.env("PATH", "/nowhere"), "sim scenarios/cut.toml --seed 1 --instructions", 74);
    assert!(told.contains("apt install valgrind"), "{told}");
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("NOT RUN instructions: there is no valgrind");
        return;
    }
    for out in ["one", "two"] {
        let told = project.said(&format!("sim scenarios/cut.toml --seed 1 --instructions --out {out}"), 0);
        assert!(told.contains("instructions an event (seed 1, the simulation in it)"), "{told}");
    }
    let same = project.said("compare one/cut two/cut", 0);
    assert!(same.contains("equivalent"), "{same}");
    project.change("two/cut/result.json", |file| {
        let counted = &mut file["scenarios"][0]["seeds"][0]["instructions"];
        let more = counted.as_u64().expect("it was counted") * 103 / 100;
        *counted = more.into();
    });
    let worse = project.said("compare one/cut two/cut", 3);
    assert!(worse.contains("instructions/event (seed 1)"), "{worse}");
}

#[test]
fn what_is_named_must_be_there_and_what_is_gone_is_missed_in_shards_too() {
    let project = Project::new();
    project.said("gate --accept first", 0);
    for (arguments, code, told) in [
        ("gate --corpus nosuch", 2, "nosuch"),
        ("gate --waivers nosuch.toml", 2, "nosuch.toml"),
        ("gate --baseline nosuch.json", 2, "nosuch.json"),
        ("gate --out scenarios/cut.toml/x", 74, "name another folder"),
    ] {
        let said = project.said(arguments, code);
        assert!(said.contains(told), "{arguments}: {said}");
    }
    fs::remove_file(project.0.path().join("scenarios/cut.toml")).expect("it is there");
    for shard in ["1/2", "2/2"] {
        let said = project.said(&format!("gate --shard {shard} --out out/{}", &shard[..1]), 2);
        assert!(said.contains("LOOSENED") && said.contains("cut"), "{said}");
    }
}

#[test]
fn one_broken_promise_fails_with_its_smallest_plan() {
    let project = Project::new();
    let sabotage = "[faults.bad]\nkind = \"sabotage.lose_effect\"\non = \"hub.raw\"\nat = \"1s\"\n";
    project.scenario("must_fail/bad", &sabotage.replace("graphs", "../graphs"), "\"lost\" = \"== 0\"");
    let path = "scenarios/must_fail/bad.toml";
    project.write(path, &project.read(path).replace("graphs/", "../graphs/"));
    let told = project.said("gate scenarios scenarios/must_fail/bad.toml", 1);
    for part in ["FAIL  seeds", "smallest plan: 1 fault, 1 packet", "why: seaworthy debug", "FAIL bad"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let kept = format!("{}/scenarios/corpus", project.0.path().display());
    project.said(&format!("explore {path} --first --corpus {kept} --budget 60"), 1);
    let corpus = project.said("gate scenarios scenarios/must_fail/bad.toml", 1);
    assert!(corpus.contains("FAIL  corpus"), "{corpus}");
    project.all_say("out/gate", "fail", "corpus bad");
    project.write("scenarios/corpus/cut.jsonl", "{\"plan\": 7}\n");
    assert!(project.said("gate", 2).contains("cut.jsonl:1: not a line of a corpus"));
}

#[test]
fn what_is_worse_than_the_baseline_is_a_regression_and_what_is_unlike_proves_nothing() {
    let project = Project::new();
    project.said("gate --accept first", 0);
    let sound = project.read("ci/baseline.json");
    // The baseline was faster than this build is.
    project.write("base.json", &sound);
    project.change("base.json", |base| base["scenarios"][0]["phases"]["all"]["latency_ms"]["p50"] = json!({"v": 0.5}));
    let told = project.said("gate --baseline base.json --annotations", 3);
    for part in ["WORSE compare", "latency.p50 @all", "::error file=scenarios/crash.toml,line=1,title=crash::compare: "]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    // How long it took is the machine's, and how many assertions the code has is the code's.
    let lines = told.lines().filter(|line| !line.contains(" assertions in the code "));
    let lines = lines.map(|line| line.split(" scenarios in ").next().unwrap_or(line));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r"
    pass  lint          2 scenarios, 0 notes
    pass  determinism   the first seed of each is the same in a second process, elsewhere
    pass  corpus        0 known failures, none is back
    pass  seeds         4 seeds of 2
          PASS crash  2 seeds x 3 s   lost 0  dup 0  replay 0   least margin 99 % of latency.p95 @all
          PASS cut  2 seeds x 3 s   lost 0  dup 0  replay 0
    pass  coverage      every fault acted, every [[sometimes]] was reached
    WORSE compare       worse than the baseline
          REGRESSED      crash  112 figures; seeds 0 worse, 0 same, 0 better, 2 without a p99
            worse latency.p50 @all                 0.5 → 3  +2.5
          equivalent     cut  112 figures; seeds 0 worse, 0 same, 0 better, 2 without a p99
          worse than the base
    WORSE than the baseline      report: out/gate/report.html
    ::error file=scenarios/crash.toml,line=1,title=crash::compare: latency.p50 @all 0.5 → 3
    ");
    project.all_say("out/gate", "regressed", "compare");
    project.said("report out/gate --baseline base.json", 0);
    // The shards of it are no better than the whole.
    for shard in 1..=3 {
        let mut gate = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
        gate.args(["gate", "--baseline", "base.json", "--shard", &format!("{shard}/3"), "--out", &format!("s{shard}")]);
        gate.current_dir(project.0.path()).output().expect("the binary is built with its tests");
    }
    let merged = project.said("merge s2 s1 s3 --out merged", 3);
    assert!(merged.contains("latency.p50 @all") && merged.contains("WORSE"), "{merged}");
    assert_eq!(project.read("merged/result.json"), project.read("out/gate/result.json"));
    project.all_say("merged", "regressed", "compare");
    for file in ["cut/latency.hlog", "crash/timeline.json"] {
        assert_eq!(project.read(&format!("merged/{file}")), project.read(&format!("out/gate/{file}")));
    }
    project.write("base.json", &sound);
    project.change("base.json", |base| base["scenarios"][0]["hash"] = "0badf00d".into());
    assert!(project.said("gate --baseline base.json", 4).contains("NOT COMPARABLE crash"));
    project.all_say("out/gate", "void", "compare");
    project.change("base.json", |base| base["schema"] = "seaworthy.result/v9".into());
    assert!(project.said("gate --baseline base.json", 2).contains("seaworthy.result/v9"));
    project.write("base.json", &sound[..sound.len() / 2]);
    assert!(project.said("gate --baseline base.json", 2).contains("not a result"));
}

#[test]
fn a_looser_expectation_needs_a_waiver_that_has_not_ended() {
    let project = Project::new();
    project.said("gate --accept first", 0);
    let path = "scenarios/crash.toml";
    project.write(path, &project.read(path).replace("<= 5s", "<= 8s"));
    let told = project.said("gate", 2);
    assert!(told.contains("LOOSENED crash latency.p95 @all <= 5s → <= 8s"), "{told}");
    project.all_say("out/gate", "fail", "LOOSENED latency.p95 @all");
    assert!(project.said("compare ci/baseline.json out/gate", 2).contains("LOOSENED"));
    let waiver = |until: &str| {
        format!(
            "[[waiver]]\nscenario = \"crash\"\nwhat = \"latency.p95 @all\"\nowner = \"kim\"\nuntil = \"{until}\"\nwhy = \"w\"\n"
        )
    };
    project.write("ci/waivers.toml", &waiver("2999-12-31"));
    assert!(project.said("gate", 0).contains("waived: crash"));
    project.write("ci/waivers.toml", &format!("{}to = \"<= 7s\"\n", waiver("2999-12-31")));
    assert!(project.said("gate", 2).contains("a waiver that nothing needs: crash latency.p95 @all of kim"));
    project.write("ci/waivers.toml", &format!("{}to = \"<= 8s\"\n", waiver("2999-12-31")));
    project.said("gate", 0);
    project.write("ci/waivers.toml", &waiver("2001-12-31"));
    assert!(project.said("gate", 2).contains("ended on 2001-12-31"));
    fs::remove_file(project.0.path().join("ci/waivers.toml")).expect("it is there");
    // What is promised, and what must be reached, is held as well.
    project.write(path, &project.read(path).replace("<= 8s", "< 4s"));
    project.said("gate", 0);
    project.write(path, &format!("promise = {{ ordering = \"none\" }}\n{}", project.read(path)));
    assert!(project.said("gate", 2).contains("LOOSENED crash promise.ordering per_key → none"));
}

#[test]
fn a_baseline_of_another_version_is_no_base_and_can_be_replaced() {
    let project = Project::new();
    project.said("gate --accept first", 0);
    project.change("ci/baseline.json", |base| base["semantics"] = 1.into());
    project.said("gate", 2);
    let told = project.said("gate --accept newer", 0);
    assert!(told.contains("not compared with: its semantics are 1"), "{told}");
    assert!(project.said("gate", 0).contains("pass  compare"));
}

#[test]
fn with_a_waiver_a_scenario_may_go_and_so_may_seeds() {
    let project = Project::new();
    project.said("gate --accept first", 0);
    let waiver = |what: &str| {
        format!(
            "[[waiver]]\nscenario = \"cut\"\nwhat = \"{what}\"\nowner = \"kim\"\nuntil = \"2999-12-31\"\nwhy = \"w\"\n"
        )
    };
    let cut = project.read("scenarios/cut.toml");
    assert!(cut.contains("pr = \"1..2\""), "{cut}");
    project.write("scenarios/cut.toml", &cut.replace("pr = \"1..2\"", "pr = \"1..1\""));
    assert!(project.said("gate", 2).contains("LOOSENED cut seeds 2 → 1 of them"));
    project.write("ci/waivers.toml", &waiver("seeds"));
    let told = project.said("gate", 0);
    assert!(told.contains("waived: cut seeds") && told.contains("can't be told: cut"), "{told}");
    fs::remove_file(project.0.path().join("scenarios/cut.toml")).expect("it is there");
    assert!(project.said("gate", 2).contains("LOOSENED cut scenario run → gone"));
    project.write("ci/waivers.toml", &waiver("scenario"));
    assert!(project.said("gate", 0).contains("waived: cut scenario run → gone"));
    project.said("gate --accept retired", 0);
    fs::remove_file(project.0.path().join("ci/waivers.toml")).expect("it is there");
    project.said("gate", 0);
}

#[test]
fn shards_merge_to_the_whole_byte_for_byte_and_a_missing_one_is_told() {
    let project = Project::new();
    for id in ["a", "b", "c", "d"] {
        project.scenario(id, "[faults.stop]\nkind = \"host.stop\"\non = \"hub\"\nat = \"1s\"\n", "\"lost\" = \"== 0\"");
    }
    project.said("gate --accept first", 0);
    project.said("gate --out whole", 0);
    for shard in 1..=3 {
        project.said(&format!("gate --shard {shard}/3 --out s{shard}"), 0);
    }
    project.said("merge s3 s1 s2 --out merged", 0);
    for file in ["result.json", "junit.xml", "metrics.prom", "comparison.json", "report.html"] {
        assert_eq!(project.read(&format!("merged/{file}")), project.read(&format!("whole/{file}")), "{file}");
    }
    assert!(project.read("merged/report.html").contains("against the baseline"));
    assert!(project.said("merge s1 s3 --out less", 4).contains("shards are missing: 2/3"));
    // Another shard could be missing, and nobody would know.
    assert!(project.said("merge s1 s2 whole", 2).contains("whole: it is no shard"));
    assert!(project.said("merge s1/result.json s3/result.json", 4).contains("shards are missing: 2/3"));
    assert!(project.said("merge s1 s2 s2 s3", 2).contains("it is shard 2 as s2 is"));
    project.write("s0/result.json", &project.read("s1/result.json"));
    project.write("s0/shard.json", "{\"shard\": 0, \"of\": 0, \"tier\": \"pr\"}");
    assert!(project.said("merge s0", 2).contains("there is no shard 0 of 0"));
    project.write("s0/shard.json", "{\"shard\": 1, \"of\": 1, \"tier\": \"pr\"}");
    project.change("s0/result.json", |file| file["scenarios"] = json!([]));
    assert!(project.said("merge s0", 4).contains("no scenario in any shard"));
    project.write("s0/result.json", &project.read("whole/result.json"));
    project.change("s0/result.json", |file| file["scenarios"][0]["seeds"][0]["verdict"] = "fail".into());
    assert!(project.said("merge s0", 2).contains("verdict of seed 1 is fail"));
    // A release's shard beside those of a pull request.
    project.said("gate --tier release --shard 2/3 --out s2", 0);
    assert!(project.said("merge s1 s2 s3", 2).contains("of different tiers"));
    project.write("s3/shard.json", "{\"shard\": 3, \"of\": 3}");
    assert!(project.said("merge s3", 2).contains("`tier`"));
    project.said("gate --shard 4/3", 2);
}

#[test]
fn what_is_never_reached_proves_nothing_and_what_cannot_be_written_is_the_environment() {
    let project = Project::new();
    project.scenario("idle", "", "\"lost\" = \"== 0\"\n\n[[sometimes]]\nthat = \"edge.uplink.backlog > 40000\"");
    let told = project.said("gate", 4);
    assert!(told.contains("VOID  coverage") && told.contains("idle: never reached in 2 seeds"), "{told}");
    project.scenario(
        "late",
        "[faults.cut]\nkind = \"net.cut\"\non = \"edge<->hub\"\nwhen = \"edge.uplink.backlog > 40000\"\n",
        "\"lost\" = \"== 0\"",
    );
    let missed = project.said("gate scenarios/late.toml --out late", 4);
    assert!(
        missed.contains("in seed 1 edge.uplink.backlog > 40000 never held: edge.uplink.backlog was 0 to"),
        "{missed}"
    );
    fs::remove_file(project.0.path().join("scenarios/late.toml")).expect("it is there");
    project.all_say("out/gate", "void", "never reached");
    project.said("gate --shard 1/1 --out whole", 4);
    project.said("merge whole --out merged", 4);
    project.write("file", "");
    assert!(project.said("gate scenarios/cut.toml --out file/out", 74).contains("could not write"));
    project.write("scenarios/broken.toml", "why = 7\n");
    assert!(project.said("gate --annotations", 2).contains("::error title=seaworthy::seaworthy gate ended with 2"));
    assert!(project.read("out/gate/junit.xml").contains("failures=\"1\""));
    fs::create_dir(project.0.path().join("empty")).expect("a temporary directory takes folders");
    assert!(project.said("gate empty", 4).contains("there is no scenario"));
    project.said("gate nowhere", 2);
}

#[test]
fn what_an_earlier_gate_left_is_not_taken_for_this_ones() {
    let project = Project::new();
    let there = |path: &str| project.0.path().join(path).exists();
    project.said("gate --no-baseline", 0);
    project.write("out/gate/mine.txt", "kept");
    project.said("sim scenarios/cut.toml --seed 1 --out out/gate/sim", 0);
    project.said("gate --estimate", 0);
    assert!(there("out/gate/result.json") && there("out/gate/cut/timeline.json"));
    project.write("scenarios/broken.toml", "why = 7\n");
    project.said("gate", 2);
    for gone in ["result.json", "metrics.prom", "report.html", "cut", "crash"] {
        assert!(!there(&format!("out/gate/{gone}")), "{gone}");
    }
    for file in ["summary.md", "junit.xml"] {
        let told = project.read(&format!("out/gate/{file}"));
        assert!(told.contains("seaworthy gate ended with 2 before it had a result"), "{told}");
    }
    assert!(there("out/gate/mine.txt") && there("out/gate/sim/cut/result.json"), "what is not a gate's stays");
    fs::remove_file(project.0.path().join("scenarios/broken.toml")).expect("it is there");
    for (arguments, code) in
        [("gate --baseline nosuch.json", 2), ("gate --waivers nosuch", 2), ("gate --corpus nosuch", 2)]
    {
        project.said("gate --no-baseline --shard 1/1", 0);
        project.said(arguments, code);
        assert!(!there("out/gate/result.json") && !there("out/gate/shard.json"), "{arguments}");
    }
    // A scenario that is gone leaves nothing behind either.
    project.said("gate --no-baseline", 0);
    project.said("gate --no-baseline scenarios/cut.toml", 0);
    assert!(there("out/gate/cut/timeline.json") && !there("out/gate/crash"));
    // And so with shards, of which none may suffer.
    for shard in [1, 2] {
        project.said(&format!("gate --no-baseline --shard {shard}/2 --out s{shard}"), 0);
    }
    project.said("merge s1 s2 --out whole", 0);
    project.said("merge s1 --out whole", 4);
    assert!(!there("whole/result.json") && project.read("whole/summary.md").contains("merge ended with 4"));
    project.said("merge s1 --out s1", 4);
    project.said("merge s1 s2 --out whole", 0);
}

#[test]
fn a_page_is_made_again_as_it_was_and_of_nothing_that_is_broken() {
    let project = Project::new();
    let sabotage = "[faults.bad]\nkind = \"sabotage.lose_effect\"\non = \"hub.raw\"\nat = \"1s\"\n";
    project.scenario("must_fail/bad", sabotage, "\"lost\" = \"== 0\"");
    let path = "scenarios/must_fail/bad.toml";
    project.write(path, &project.read(path).replace("graphs/", "../graphs/"));
    project.said(&format!("gate {path} scenarios/cut.toml"), 1);
    let page = project.read("out/gate/report.html");
    assert!(page.contains("seaworthy debug scenarios/must_fail/bad.toml --seed 1") && page.contains("<details open"));
    project.write("out/gate/report.html", "");
    project.said("report out/gate", 0);
    assert_eq!(project.read("out/gate/report.html"), page);
    project.said("report out/gate/result.json", 0);
    let timeline = project.read("out/gate/bad/timeline.json");
    let other = project.read("out/gate/cut/timeline.json");
    let log = project.read("out/gate/bad/latency.hlog");
    let lines: Vec<&str> = log.lines().collect();
    let at_a_line = format!("{}\n", lines[..lines.len() - 2].join("\n"));
    for (file, sound, broken) in [
        ("latency.hlog", &log, at_a_line.as_str()),
        ("latency.hlog", &log, "garbage\n"),
        ("latency.hlog", &log, ""),
        ("latency.hlog", &log, &log[..log.len() - 20]),
        ("timeline.json", &timeline, "garbage\n"),
        ("timeline.json", &timeline, &timeline[..timeline.len() / 2]),
        ("timeline.json", &timeline, &other),
        ("timeline.json", &timeline, &timeline.replace("timeline/v1", "timeline/v9")),
    ] {
        let place = format!("out/gate/bad/{file}");
        project.write(&place, broken);
        let told = project.said("report out/gate", 2);
        assert!(told.contains("files::unusable") && told.contains(&place), "{told}");
        project.write(&place, sound);
    }
    assert_eq!(project.read("out/gate/report.html"), page, "a page that can't be made again stays");
    let place = project.0.path().join("out/gate/bad/latency.hlog");
    fs::write(&place, [0xff, 0xfe]).expect("it takes a small file");
    project.said("report out/gate", 2);
    fs::remove_file(&place).expect("it is there");
    fs::create_dir(&place).expect("a temporary directory takes folders");
    project.said("report out/gate", 74);
    fs::remove_dir(&place).expect("it is empty");
    project.said("report out/gate", 0);
    project.said("report nosuch", 2);
}

#[test]
fn an_older_build_that_cannot_be_had_is_told() {
    let project = Project::new();
    let told = project.said("gate --rebuild v1", 2);
    assert!(told.contains("could not rebuild `v1`") && told.contains("not a git repository"), "{told}");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=t", "-c", "user.email=t@t"]).args(arguments);
        assert!(command.current_dir(project.0.path()).status().expect("git is there").success(), "{arguments:?}");
    };
    project.write("engine/lib.rs", "");
    project.write(".gitignore", "target\nout\n");
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "first"]);
    assert!(project.said("gate --rebuild v1", 2).contains("could not rebuild `v1`"));
    assert!(project.said("gate --rebuild HEAD --rebuild-path nowhere", 2).contains("nowhere"));
    // No project that cargo could build is as unlike today's as can be.
    let told = project.said("gate --rebuild HEAD", 2);
    assert!(told.contains("does not build under today's harness") && told.contains("its API differs"), "{told}");
    project.said("gate --rebuild HEAD --accept why", 2);
}

#[test]
fn a_fault_that_never_acts_proves_nothing() {
    let project = Project::new();
    let late = "[faults.late]\nkind = \"host.crash\"\non = \"lab\"\nwhen = \"edge.uplink.backlog > 40000\"\n";
    let cut = "[faults.cut]\nkind = \"net.cut\"\non = \"edge<->hub\"\nat = \"1s\"\nfor = \"500ms\"\n";
    project.scenario("idle", &format!("{late}\n{cut}"), "\"lost\" = \"== 0\"");
    assert!(project.said("sim scenarios/idle.toml", 4).contains("late took effect in no seed"));
}

#[test]
fn a_rule_that_drops_more_than_was_promised_fails_and_an_unknown_one_is_refused() {
    let project = Project::new();
    let shedding = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/deep/shedding.toml");
    let shedding = fs::read_to_string(shedding).expect("the tree is whole").replace("\"../", "\"");
    project.write("scenarios/drops.toml", &shedding.replace("<= 60%", "<= 1%"));
    let told = project.said("sim scenarios/drops.toml --seed 1", 1);
    assert!(told.contains("inbox.drop_new dropped") && told.contains("promised are <= 1%"), "{told}");
    project.write("scenarios/drops.toml", &shedding.replace("inbox.drop_new", "policy.shed"));
    assert!(project.said("check scenarios/drops.toml", 2).contains("no rule is called `policy.shed`"));
}

#[test]
fn what_fails_or_can_no_longer_be_told_is_worse_and_a_base_of_nothing_is_no_base() {
    let project = Project::new();
    project.said("sim scenarios/cut.toml --seeds 1..8 --out out", 0);
    let result = "out/cut/result.json";
    let changed = |to: &str, change: &dyn Fn(&mut Value)| {
        project.write(to, &project.read(result));
        project.change(to, change);
    };
    changed("failed.json", &|file| {
        let seed = &mut file["scenarios"][0]["seeds"][3];
        seed["verdict"] = "fail".into();
        seed["violations"] = json!([{"check": "lost", "message": "m", "at_ms": 1}]);
        file["scenarios"][0]["verdict"] = "fail".into();
        file["verdict"] = "fail".into();
    });
    let told = project.said(&format!("compare {result} failed.json"), 3);
    assert!(told.contains("failed seeds"), "{told}");
    changed("gone.json", &|file| {
        file["scenarios"][0]["phases"]["all"]["latency_ms"]["p50"] = json!({"na": "n < 2"});
    });
    assert!(project.said(&format!("compare {result} gone.json"), 3).contains("latency.p50 @all"));
    changed("none.json", &|file| file["scenarios"] = json!([]));
    project.said(&format!("compare none.json {result}"), 4);
    changed("negative.json", &|file| {
        file["scenarios"][0]["recovery"][0]["steady_from_heal_ms"]["p95"] = json!({"v": -1});
    });
    assert!(project.said(&format!("compare {result} negative.json"), 2).contains("recovery(cut).steady"));
    // On fresh seeds: no p99 anywhere proves nothing, and a few that are late are too few.
    assert!(project.said(&format!("compare {result} {result} --fresh"), 4).contains("no seed has a p99"));
    for (name, late) in [("usual.json", 0), ("late.json", 2)] {
        changed(name, &|file| {
            for at in 0..8 {
                file["scenarios"][0]["seeds"][at]["p99_ms"] = json!({"v": if at < late { 5100 } else { 100 }});
            }
        });
    }
    let told = project.said("compare usual.json late.json --fresh", 0);
    assert!(told.contains("INCONCLUSIVE") && told.contains("not all of it can be told"), "{told}");
    assert!(!told.contains("no regression"), "{told}");
    // What is not of the same is void for whoever asks.
    changed("other.json", &|file| file["scenarios"][0]["id"] = "other".into());
    changed("wall.json", &|file| file["time"] = "wall".into());
    for other in ["other.json", "wall.json"] {
        let told = project.said(&format!("compare {other} {result}"), 4);
        assert!(told.contains("NOT COMPARABLE") && !told.contains("LOOSENED"), "{told}");
        project.said(&format!("report out/cut --baseline {other}"), 4);
    }
    // No figure has more decimals than it needs.
    changed("slow.json", &|file| {
        file["scenarios"][0]["phases"]["all"]["latency_ms"]["max"] = json!({"v": 9123.3019});
    });
    let told = project.said(&format!("compare {result} slow.json"), 3);
    assert!(told.contains("→ 9123.302  +"), "{told}");
}

#[test]
fn a_node_that_is_2_ms_slower_is_found_by_its_name_and_by_how_much() {
    let project = Project::new();
    for (name, packet_ns) in [("one", 1_000_000), ("two", 3_000_000)] {
        let cost = format!("measured = \"2026-01-01\"\n[nodes.\"edge.strong\"]\npacket_ns = {packet_ns}\nkib_ns = 0\n");
        project.write("scenarios/node.cpu.toml", &cost);
        project.write(
            "scenarios/node.toml",
            "why = \"w\"\ngraph = \"graphs/edge_hub.yaml\"\ncpu = \"node.cpu.toml\"\nsim = { duration = \"10s\", warmup = \"1s\" }\n\
             load = { into = \"edge.feed\", rate = \"50/s\", rows = \"data/quakes.ndjson\", repeat = true, key = \"net\" }\n\
             [expect]\n\"lost\" = \"== 0\"\n",
        );
        project.said(&format!("sim scenarios/node.toml --seeds 1..2 --out {name}"), 0);
    }
    // As if the node itself had changed: what it was measured to cost is part of what runs.
    let one: Value = serde_json::from_str(&project.read("one/node/result.json")).expect("it is JSON");
    project.change("two/node/result.json", |two| two["scenarios"][0]["hash"] = one["scenarios"][0]["hash"].clone());
    let told = project.said("compare one/node two/node", 3);
    let stage = told.lines().find(|line| line.contains("worse stage ")).unwrap_or_else(|| panic!("{told}"));
    assert!(stage.contains("edge.strong mean @hub.raw"), "{told}");
    let by: f64 = stage.rsplit('+').next().and_then(|by| by.trim().parse().ok()).expect("how much");
    assert!((1.9..2.2).contains(&by), "{told}");
}

#[test]
fn one_packet_lost_in_one_seed_of_64_fails_the_gate() {
    let project = Project::new();
    let lost =
        "[faults.bad]\nkind = \"sabotage.lose_effect\"\non = \"hub.raw\"\nat = \"1s\"\nfor = \"20ms\"\nchance = 0.03\n";
    project.scenario("must_fail/bad", lost, "\"lost\" = \"== 0\"");
    let path = "scenarios/must_fail/bad.toml";
    project.write(path, &project.read(path).replace("graphs/", "../graphs/").replace("1..2", "1..64"));
    let told = project.said(&format!("gate {path}"), 1);
    let result: Value = serde_json::from_str(&project.read("out/gate/result.json")).expect("it is JSON");
    let seeds = result["scenarios"][0]["seeds"].as_array().expect("a list");
    let losing = seeds.iter().filter(|seed| seed["verdict"] == "fail").count();
    assert_eq!((seeds.len(), losing, &result["scenarios"][0]["phases"]["all"]["lost"]), (64, 1, &json!(1)), "{told}");
}
