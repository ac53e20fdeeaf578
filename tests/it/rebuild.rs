//! `gate --rebuild` where the older build can be had: a repository of its own, whose program is so small that it is built in a second.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::project::Project;

/// A harness that hands over a result, with the p50 that its engine has.
const HARNESS: &str = r#"fn main() {
    let words: Vec<String> = std::env::args().collect();
    assert!(["gate", "scenarios", "--tier", "pr", "--seeds-only"].iter().all(|word| words.iter().any(|is| is == word)));
    let out = &words[words.iter().position(|word| word == "--out").expect("it is told where to write") + 1];
    let result = std::fs::read_to_string("made.json").expect("it is there").replace("424242", engine::P50_MS);
    std::fs::create_dir_all(out).and_then(|()| std::fs::write(format!("{out}/result.json"), result)).expect("it is written");
}
"#;

/// A repository in which the gate has run once.
struct Repository {
    project: Project,
    p50_ms: Value,
}

impl Repository {
    fn new() -> Repository {
        let project = Project::new();
        project.said("gate --no-baseline", 0);
        project.write("made.json", &project.read("out/gate/result.json"));
        let place = "/scenarios/0/phases/all/latency_ms/p50";
        let made: Value = serde_json::from_str(&project.read("made.json")).expect("it is JSON");
        let p50_ms = made.pointer(&format!("{place}/v")).expect("it can be told").clone();
        project.change("made.json", |file| *file.pointer_mut(place).expect("it was there") = json!({"v": 424_242}));
        let package = |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        let root = format!("{}[dependencies]\nengine = {{ path = \"engine\" }}\n[workspace]\n", package("seaworthy"));
        for (path, text) in [
            ("Cargo.toml", root.as_str()),
            ("engine/Cargo.toml", &package("engine")),
            (".gitignore", "target\nout\nCargo.lock\n"),
        ] {
            project.write(path, text);
        }
        let repository = Repository { project, p50_ms };
        repository.git("init --quiet");
        repository
    }

    #[track_caller]
    fn git(&self, arguments: &str) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@t"]).args(arguments.split(' '));
        let output = git.current_dir(self.project.0.path()).output().expect("git is there");
        assert!(output.status.success(), "{arguments}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn commit(&self, tag: &str, p50_ms: &str, harness: &str) {
        self.project.write("engine/src/lib.rs", &format!("pub const P50_MS: &str = \"{p50_ms}\";\n"));
        self.project.write("src/main.rs", harness);
        self.git("add .");
        self.git(&format!("commit --quiet -m {tag}"));
        self.git(&format!("tag {tag}"));
    }
}

#[test]
fn an_older_engine_is_built_under_the_harness_of_today_and_compared_with() {
    let repository = Repository::new();
    let now = repository.p50_ms.to_string();
    // No harness but that of HEAD can be built.
    repository.commit("quick", "0.5", "no program");
    repository.commit("same", &now, "no program");
    repository.commit("late", "99999", HARNESS);
    let same = repository.project.said("gate --rebuild same", 0);
    assert!(same.contains("pass  compare"), "{same}");
    let worse = repository.project.said("gate --rebuild quick --annotations", 3);
    assert!(worse.contains("WORSE compare") && worse.contains(&format!("latency.p50 @all 0.5 → {now}")), "{worse}");
    repository.project.all_say("out/gate", "regressed", "compare");
    assert!(repository.project.read("out/gate/report.html").contains("against the baseline"));
    let renamed = repository.project.0.path().join("out/worthy");
    fs::copy(env!("CARGO_BIN_EXE_seaworthy"), &renamed).expect("a program can be copied");
    let other = repository.project.said_by(&mut Command::new(renamed), "gate --rebuild same", 2);
    assert!(other.contains("no program called `worthy`"), "{other}");
    // A second checkout doesn't stay, nor does a change of the first.
    assert_eq!(repository.git("worktree list").lines().count(), 1);
    assert_eq!(repository.git("status --porcelain"), "");
}
