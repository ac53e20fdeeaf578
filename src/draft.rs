//! Scenarios written for a graph: a load for each of its sources, and room for faults. What `new scenario` prints, and
//! what `storm` puts its faults into.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

use seaworthy_engine::graph::{PlannedNode, Role};
use seaworthy_engine::process::{PlannedProcess, ProcessPlan};

/// A scenario without faults.
pub(crate) struct Draft<'a> {
    /// One sentence.
    pub why: &'a str,
    /// The graph's file.
    pub graph: &'a str,
    /// The folder that the scenario is to be saved in: its paths are relative to it.
    pub folder: &'a str,
    /// How long the load lasts.
    pub duration: &'a str,
    /// Events a second of each source.
    pub rate: u32,
    /// Whether the load is what the sources themselves read, where a scenario can.
    pub reads: bool,
}

impl Draft<'_> {
    /// The text, up to the faults.
    pub(crate) fn text(&self, plan: &ProcessPlan) -> String {
        let graph = relative(self.folder, self.graph);
        let mut text = format!(
            "why   = {}\ngraph = {}\nsim   = {{ duration = {}, warmup = \"1s\" }}\n",
            quoted(self.why),
            quoted(&graph),
            quoted(self.duration)
        );
        // Two sources that read one file would bring events of equal names, which nobody could tell apart.
        let mut read = BTreeSet::new();
        for process in &plan.processes {
            for node in process.plan.nodes.iter().filter(|node| node.role == Role::Source) {
                let (host, id) = (&process.id, &node.id);
                let content = self.content(process, node, &mut read);
                let _ =
                    write!(text, "\n[load.{host}_{id}]\ninto = \"{host}.{id}\"\nrate = \"{}/s\"\n{content}", self.rate);
            }
        }
        text
    }

    /// What the source itself reads, where that is wanted and a scenario can; else something made up.
    fn content(&self, process: &PlannedProcess, node: &PlannedNode, read: &mut BTreeSet<String>) -> String {
        let config = |key: &str| node.config.get(key).and_then(serde_json::Value::as_str);
        let rows =
            config("path").filter(|_| self.reads && node.plugin == "std:ndjson_source" && config("id") == Some("id"));
        let rows = rows.map(|rows| Path::new(&process.path).parent().unwrap_or(Path::new("")).join(rows));
        let rows = rows.map(|rows| relative(self.folder, &rows.to_string_lossy()));
        let Some(rows) = rows.filter(|rows| read.insert(rows.clone())) else {
            return "json = { key = \"key(12)\", value = \"uniform(0, 100)\" }   # what your source brings\nkey  = \"key\"\n"
                .to_owned();
        };
        let key = config("key").map(|key| format!("key = {}\n", quoted(key))).unwrap_or_default();
        format!("rows = {}\nrepeat = true\n{key}", quoted(&rows))
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The way from one folder to a file, where both are written from the same place.
fn relative(folder: &str, file: &str) -> String {
    let (from, to) = (plain(folder), plain(file));
    if from.is_absolute() != to.is_absolute() || from.starts_with("..") {
        return to.to_string_lossy().into_owned();
    }
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(Component::ParentDir, from.components().count() - shared);
    let way: PathBuf = up.chain(to.components().skip(shared)).collect();
    way.to_string_lossy().into_owned()
}

/// A path without steps back and forth, so that a folder that is not there yet is in nobody's way.
pub(crate) fn plain(path: &str) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_leads_up_and_down() {
        assert_eq!(relative("storm", "graphs/a.yaml"), "../graphs/a.yaml");
        assert_eq!(relative("a/storm", "a/b/../c.yaml"), "../c.yaml");
        assert_eq!(relative("", "a.yaml"), "a.yaml");
        assert_eq!(relative("/x/storm", "/x/a.yaml"), "../a.yaml");
        assert_eq!(relative("storm", "/x/a.yaml"), "/x/a.yaml");
    }
}
