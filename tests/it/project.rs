//! A project of two quick scenarios in a folder of its own, in which the command runs.
#![expect(clippy::disallowed_methods, reason = "tests make real folders and run the binary")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// A project with two quick scenarios.
pub(crate) struct Project(pub(crate) TempDir);

impl Project {
    pub(crate) fn new() -> Project {
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

    pub(crate) fn scenario(&self, id: &str, faults: &str, expect: &str) {
        let text = format!(
            "why = \"{id}\"\ngraph = \"graphs/nn_1_2.yaml\"\nseeds = {{ pr = \"1..2\", release = \"1..4\" }}\nsim = {{ duration = \"3s\", warmup = \"500ms\" }}\n\
             load = {{ into = \"edge.feed\", rate = \"50/s\", json = {{ net = \"key(3)\", mag = \"uniform(1, 6)\" }}, key = \"net\" }}\n\n{faults}\n[expect]\n{expect}\n"
        );
        self.write(&format!("scenarios/{id}.toml"), &text);
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a temporary directory takes folders");
        fs::write(path, text).expect("it takes a small file");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Changes a JSON file.
    pub(crate) fn change(&self, path: &str, change: impl Fn(&mut Value)) {
        let mut value: Value = serde_json::from_str(&self.read(path)).expect("it is JSON");
        change(&mut value);
        self.write(path, &value.to_string());
    }

    /// Every file of a gate that did not pass says so.
    #[track_caller]
    pub(crate) fn all_say(&self, dir: &str, verdict: &str, step: &str) {
        let of = |file: &str| self.read(&format!("{dir}/{file}"));
        let result: Value = serde_json::from_str(&of("result.json")).expect("it is JSON");
        assert_eq!(result["verdict"], verdict);
        assert!(!of("junit.xml").contains("failures=\"0\" errors=\"0\">\n    <testsuite"), "{}", of("junit.xml"));
        assert!(of("junit.xml").contains(step), "{step}: {}", of("junit.xml"));
        assert!(of("metrics.prom").contains("seaworthy_all_passed 0\n"), "{}", of("metrics.prom"));
        assert!(!of("report.html").contains("<h1><span class=\"chip pass"), "{}", of("report.html"));
        assert!(of("summary.md").contains("report.html"), "{}", of("summary.md"));
    }

    #[track_caller]
    pub(crate) fn said(&self, arguments: &str, code: i32) -> String {
        self.said_by(&mut Command::new(env!("CARGO_BIN_EXE_seaworthy")), arguments, code)
    }

    #[track_caller]
    pub(crate) fn said_by(&self, command: &mut Command, arguments: &str, code: i32) -> String {
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
