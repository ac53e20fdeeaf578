//! The pipelines of docs/ci.md: each is YAML, and each of its commands runs, one after the other, as a CI system would run them.
#![expect(clippy::disallowed_methods, reason = "tests make real folders and run the binary")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::project::Project;

const PAGE: &str = include_str!("../../docs/ci.md");
const MANIFEST: &str = include_str!("../../Cargo.toml");
/// What the pipelines take from others.
const ACTIONS: [&str; 4] =
    ["actions/checkout@v4", "actions/cache@v4", "actions/upload-artifact@v4", "actions/download-artifact@v4"];

/// The texts of all blocks of a kind.
fn blocks(kind: &str) -> Vec<&'static str> {
    let opened = PAGE.split("```").skip(1).step_by(2);
    opened.filter_map(|block| block.strip_prefix(kind)?.strip_prefix('\n')).collect()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {at} of {value}"))
}

fn list<'a>(value: &'a Value, at: &str) -> &'a [Value] {
    value.pointer(at).and_then(Value::as_array).unwrap_or_else(|| panic!("no list at {at} of {value}"))
}

/// A clone that was built: the binary lies where a build leaves it, and `cargo` takes nothing but the command that makes it.
struct Clone(Project);

impl Clone {
    fn new() -> Clone {
        let clone = Clone(Project::new());
        clone.program("bin/cargo", "test \"$*\" = \"build --release\"");
        let binary = clone.path("target/release/seaworthy");
        fs::create_dir_all(binary.parent().expect("it lies in a folder")).expect("a temporary directory takes folders");
        symlink(env!("CARGO_BIN_EXE_seaworthy"), binary).expect("it takes a link");
        clone.0.said("gate --accept first", 0);
        clone
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.0.path().join(path)
    }

    fn program(&self, path: &str, script: &str) {
        self.0.write(path, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// What a script says that ends well.
    #[track_caller]
    fn said(&self, script: &str) -> String {
        let search = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", script]).current_dir(self.0.0.path()).env("PATH", search);
        let output = shell.env("GITHUB_STEP_SUMMARY", self.path("step.md")).output().expect("there is a shell");
        let [out, err] = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        assert!(output.status.success(), "{script}: {out}{err}");
        out
    }

    /// What is to be kept is there.
    #[track_caller]
    fn has_kept(&self, path: &str) {
        assert!(self.path(path).exists(), "{path} is not there");
    }

    /// A job's steps, for one value of its matrix.
    fn job(&self, job: &Value, value: &Value) {
        for step in list(job, "/steps") {
            let filled = |at: &str| text(step, at).replace("${{ matrix.shard }}", &value.to_string());
            if step.get("run").is_some() {
                let script = filled("/run");
                assert!(!script.contains("${{"), "{script}");
                self.said(&script);
                continue;
            }
            let action = text(step, "/uses");
            assert!(ACTIONS.contains(&action), "{action}");
            if action.contains("upload") {
                let path = filled("/with/path");
                ["result.json", "report.html"].iter().for_each(|file| self.has_kept(&format!("{path}/{file}")));
                assert!(path.contains('/') || filled("/with/name") == path, "{path} comes back under its name");
            }
        }
    }
}

#[test]
fn the_workflows_run_from_their_first_job_to_their_last() {
    let mut workflows = 0;
    for workflow in blocks("yaml").into_iter().map(yaml).filter(|yaml| yaml.get("jobs").is_some()) {
        let clone = Clone::new();
        let mut jobs: Vec<&Value> = workflow["jobs"].as_object().expect("jobs by name").values().collect();
        jobs.sort_by_key(|job| job.get("needs").is_some());
        for job in jobs {
            let values = job.pointer("/strategy/matrix/shard").and_then(Value::as_array).cloned();
            values.unwrap_or(vec![Value::Null]).iter().for_each(|value| clone.job(job, value));
        }
        let summary = clone.0.read("step.md");
        assert!(summary.contains("PASS") && summary.contains("report.html"), "{summary}");
        workflows += 1;
    }
    assert_eq!(workflows, 2);
}

#[test]
fn the_other_pipeline_runs_on_the_oldest_compiler_that_is_promised() {
    let pipelines: Vec<Value> =
        blocks("yaml").into_iter().map(yaml).filter(|yaml| yaml.get("jobs").is_none()).collect();
    let [pipeline] = &pipelines[..] else { panic!("{pipelines:?}") };
    let version = text(pipeline, "/seaworthy/image").trim_start_matches("rust:");
    assert!(MANIFEST.contains(&format!("\nrust-version = \"{version}\"\n")), "{version}");
    let clone = Clone::new();
    list(pipeline, "/seaworthy/script").iter().for_each(|line| drop(clone.said(text(line, ""))));
    list(pipeline, "/seaworthy/artifacts/paths").iter().for_each(|path| clone.has_kept(text(path, "")));
    clone.has_kept(text(pipeline, "/seaworthy/artifacts/reports/junit"));
}

#[test]
fn the_shell_script_tells_the_exit_codes_apart() {
    let [script] = blocks("sh")[..] else { panic!("one script") };
    let clone = Clone::new();
    assert!(clone.said(script).ends_with("released\n"));
    fs::remove_file(clone.path("target/release/seaworthy")).expect("it is a link");
    for (code, told) in [(3, "works, but worse"), (4, "proved nothing"), (1, "not released"), (5, "not released")] {
        clone.program("target/release/seaworthy", &format!("exit {code}"));
        // It says what that means, and ends with it.
        let said = clone.said(&format!("( {script} ) || test $? = {code}"));
        assert!(said.starts_with(told), "{code}: {said}");
        clone.said(&format!("! ( {script} )"));
    }
}
