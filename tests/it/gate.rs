//! The gate, compare, merge and report through the command, on small scenarios in a folder of their own.
#![expect(clippy::disallowed_methods, reason = "tests make real folders and run the binary")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A project with two quick scenarios.
struct Project(TempDir);

impl Project {
    fn new() -> Project {
        let dir = tempfile::tempdir().expect("tests have a temporary directory");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let to = dir.path().join("scenarios");
        for folder in ["graphs", "data"] {
            fs::create_dir_all(to.join(folder)).expect("a temporary directory takes folders");
            for entry in fs::read_dir(from.join(folder)).expect("the tree is whole") {
                let path = entry.expect("the tree is whole").path();
                if path.is_file() {
                    fs::copy(&path, to.join(folder).join(path.file_name().expect("a file has a name")))
                        .expect("it is copied");
                }
            }
        }
        let project = Project(dir);
        project.scenario(
            "crash",
            "[faults.crash]\nkind = \"host.crash\"\non = \"lab\"\nat = \"1s\"\n",
            "\"latency.p95 @all\" = \"<= 5s\"",
        );
        project.scenario(
            "cut",
            "[faults.cut]\nkind = \"net.cut\"\non = \"edge<->hub\"\nat = \"1s\"\nfor = \"500ms\"\n",
            "\"lost\" = \"== 0\"",
        );
        project
    }

    fn scenario(&self, id: &str, faults: &str, expect: &str) {
        let text = format!(
            "why = \"{id}\"\ngraph = \"graphs/nn_1_2.yaml\"\nseeds = {{ pr = \"1..2\", release = \"1..4\" }}\nsim = {{ duration = \"3s\", warmup = \"500ms\" }}\n\
             load = {{ into = \"edge.feed\", rate = \"50/s\", json = {{ net = \"key(3)\", mag = \"uniform(1, 6)\" }}, key = \"net\" }}\n\n{faults}\n[expect]\n{expect}\n"
        );
        self.write(&format!("scenarios/{id}.toml"), &text);
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a temporary directory takes folders");
        fs::write(path, text).expect("it takes a small file");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Changes a JSON file.
    fn change(&self, path: &str, change: impl Fn(&mut Value)) {
        let mut value: Value = serde_json::from_str(&self.read(path)).expect("it is JSON");
        change(&mut value);
        self.write(path, &value.to_string());
    }

    #[track_caller]
    fn said(&self, arguments: &str, code: i32) -> String {
        self.said_by(&mut Command::new(env!("CARGO_BIN_EXE_seaworthy")), arguments, code)
    }

    #[track_caller]
    fn said_by(&self, command: &mut Command, arguments: &str, code: i32) -> String {
        let output = command
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .expect("the binary is built with its tests");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments}: {out}{err}");
        format!("{out}{err}")
    }
}

#[test]
fn a_sound_build_passes_and_is_equal_to_itself() {
    let project = Project::new();
    let told = project.said("gate", 0);
    for part in [
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
    project.said("gate --accept first", 0);
    assert!(project.read("ci/baseline.json.log").contains("first"));
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
    for (arguments, told) in [
        ("gate --corpus nosuch", "nosuch"),
        ("gate --waivers nosuch.toml", "nosuch.toml"),
        ("gate --out scenarios/cut.toml/x", "name another folder"),
    ] {
        let said = project.said(arguments, 74);
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
    project.write("scenarios/corpus/cut.jsonl", "{\"plan\": 7}\n");
    assert!(project.said("gate", 2).contains("cut.jsonl:1: not a line of a corpus"));
}

#[test]
fn what_is_worse_than_the_baseline_is_a_regression_and_what_is_unlike_proves_nothing() {
    let project = Project::new();
    project.said("gate --accept first", 0);
    let sound = project.read("ci/baseline.json");
    // The baseline was faster than this build is.
    project.change("ci/baseline.json", |base| {
        base["scenarios"][0]["phases"]["all"]["latency_ms"]["p50"] = json!({"v": 0.5})
    });
    let told = project.said("gate", 3);
    assert!(told.contains("WORSE compare") && told.contains("latency.p50 @all"), "{told}");
    project.write("ci/baseline.json", &sound);
    project.change("ci/baseline.json", |base| base["scenarios"][0]["hash"] = "0badf00d".into());
    assert!(project.said("gate", 4).contains("NOT COMPARABLE crash"));
    project.change("ci/baseline.json", |base| base["schema"] = "seaworthy.result/v9".into());
    assert!(project.said("gate", 2).contains("seaworthy.result/v9"));
    project.write("ci/baseline.json", &sound[..sound.len() / 2]);
    assert!(project.said("gate", 2).contains("not a result"));
    assert!(project.said("gate --baseline nowhere.json", 2).contains("nowhere.json"));
}

#[test]
fn a_looser_expectation_needs_a_waiver_that_has_not_ended() {
    let project = Project::new();
    project.said("gate --accept first", 0);
    let path = "scenarios/crash.toml";
    project.write(path, &project.read(path).replace("<= 5s", "<= 8s"));
    let told = project.said("gate", 2);
    assert!(told.contains("LOOSENED crash latency.p95 @all <= 5s → <= 8s"), "{told}");
    let waiver = |until: &str| {
        format!(
            "[[waiver]]\nscenario = \"crash\"\nwhat = \"latency.p95 @all\"\nowner = \"kim\"\nuntil = \"{until}\"\nwhy = \"w\"\n"
        )
    };
    project.write("ci/waivers.toml", &waiver("2999-12-31"));
    assert!(project.said("gate", 0).contains("waived: crash"));
    project.write("ci/waivers.toml", &waiver("2001-12-31"));
    assert!(project.said("gate", 2).contains("ended on 2001-12-31"));
}

#[test]
fn shards_merge_to_the_whole_byte_for_byte_and_a_missing_one_is_told() {
    let project = Project::new();
    for id in ["a", "b", "c", "d"] {
        project.scenario(id, "[faults.stop]\nkind = \"host.stop\"\non = \"hub\"\nat = \"1s\"\n", "\"lost\" = \"== 0\"");
    }
    project.said("gate --out whole", 0);
    for shard in 1..=3 {
        project.said(&format!("gate --shard {shard}/3 --out s{shard}"), 0);
    }
    project.said("merge s3 s1 s2 --out merged", 0);
    assert_eq!(project.read("merged/result.json"), project.read("whole/result.json"));
    assert!(project.said("merge s1 s3 --out less", 4).contains("shards are missing: 2/3"));
    // Another shard could be missing, and nobody would know.
    assert!(project.said("merge s1 s2 whole", 2).contains("whole: it is no shard"));
    assert!(project.said("merge s1/result.json s3/result.json", 4).contains("shards are missing: 2/3"));
    project.said("gate --shard 4/3", 2);
}

#[test]
fn what_is_never_reached_proves_nothing_and_what_cannot_be_written_is_the_environment() {
    let project = Project::new();
    project.scenario("idle", "", "\"lost\" = \"== 0\"\n\n[[sometimes]]\nthat = \"edge.uplink.backlog > 40000\"");
    let told = project.said("gate", 4);
    assert!(told.contains("VOID  coverage") && told.contains("idle: never reached in 2 seeds"), "{told}");
    project.write("file", "");
    assert!(project.said("gate scenarios/cut.toml --out file/out", 74).contains("could not write"));
    project.write("scenarios/broken.toml", "why = 7\n");
    project.said("gate", 2);
    fs::create_dir(project.0.path().join("empty")).expect("a temporary directory takes folders");
    assert!(project.said("gate empty", 4).contains("there is no scenario"));
    project.said("gate nowhere", 2);
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
    let shedding = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/shedding.toml");
    let shedding = fs::read_to_string(shedding).expect("the tree is whole");
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
}
