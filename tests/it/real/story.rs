//! The reference process graph in a directory of its own, with the quakes as they are or many laps of them.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes write real files; a failure is the test\'s"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::reader::{self, Expected, Repeats};
use super::run::seaworthy;

const HOUR_MS: i64 = 3_600_000;

/// Where a run of the reference graph happens.
pub(crate) struct Story {
    dir: TempDir,
    pub(crate) expected: Expected,
}

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name)).unwrap()
}

#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the reference graph has no `{from}` any more");
    text.replace(from, to)
}

impl Story {
    /// The quakes, `laps` times over, each lap with new ids and later times, replayed within about `replay_ms`.
    pub(crate) fn new(laps: i64, replay_ms: i64) -> Story {
        let quakes: Vec<Value> = shipped("data/quakes.ndjson").lines().map(|line| line.parse().unwrap()).collect();
        let time = |quake: &Value| quake["time"].as_i64().unwrap();
        let span = time(quakes.last().unwrap()) - time(&quakes[0]);
        let lap_ms = (span / HOUR_MS + 2) * HOUR_MS;
        let mut all = Vec::new();
        for lap in 0..laps {
            all.extend(quakes.iter().cloned().map(|mut quake| {
                if lap > 0 {
                    quake["id"] = format!("{}#{lap}", quake["id"].as_str().unwrap()).into();
                    quake["time"] = (time(&quake) + lap * lap_ms).into();
                }
                quake
            }));
        }
        let speed = (time(all.last().unwrap()) - time(&all[0])) as f64 / replay_ms as f64;
        let edge = replaced(&shipped("graphs/edge.yaml"), "../data/quakes.ndjson", "quakes.ndjson");
        let edge = replaced(&edge, "time: time}", &format!("time: time, replay: {{speed: {speed:.1}}}}}"));
        let lines: String = all.iter().map(|quake| format!("{quake}\n")).collect();
        let dir = tempfile::tempdir().unwrap();
        let files = [("edge.yaml", edge), ("hub.yaml", shipped("graphs/hub.yaml"))];
        for (name, text) in
            files.into_iter().chain([("edge_hub.yaml", shipped("graphs/edge_hub.yaml")), ("quakes.ndjson", lines)])
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let expected = Expected::of(&all);
        assert_eq!(expected.quakes(), 996 * usize::try_from(laps).unwrap(), "the quakes with mag >= 1");
        Story { dir, expected }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `run` on the process graph, with journals under `data`.
    pub(crate) fn command(&self) -> Command {
        let mut command = seaworthy();
        command.arg("run").arg(self.path("edge_hub.yaml")).arg("--data-dir").arg(self.path("data"));
        command
    }

    /// Checks both sinks, which are in `out`.
    #[track_caller]
    pub(crate) fn check_sinks(&self, out: &Path) -> Repeats {
        let raw = self.expected.check_raw(&reader::lines(&out.join("raw.ndjson")));
        let windows = self.expected.check_windows(&reader::lines(&out.join("windows.ndjson")));
        Repeats { raw, windows }
    }
}
