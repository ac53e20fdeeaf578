//! Rules about scenarios and the glossary.

use std::collections::BTreeSet;

use toml::Table;

use super::{Finding, Lint};
use crate::tree::File;

pub(super) const LINTS: &[Lint] = &[
    Lint {
        name: "glossary",
        find: glossary,
        bad: &[
            &[("docs/glossary.md", "- **host**: a machine\n- **seed**: a number\n- **Host**: again\n")],
            &[("docs/glossary.md", "# Glossary\n")],
            &[("docs/glossary.md", "- **host** a machine\n")],
            &[("README.md", "# Seaworthy\n")],
        ],
        good: &[&[("docs/glossary.md", "# Words\n\n- **host**: a machine\n- **seed**: a number\n")]],
    },
    Lint {
        name: "scenario_why",
        find: scenario_why,
        bad: &[
            &[("scenarios/a.toml", "graph = \"g.yaml\"\n")],
            &[("scenarios/a.toml", "why = \" \"\n")],
            &[("scenarios/deep/a.toml", "graph = \"g.yaml\"\n")],
            &[("scenarios/must_fail/a.toml", "# trips: lost\ngraph = \"g.yaml\"\n")],
            &[("scenarios/must_fail/a.toml", "why = \"it loses\"\n")],
        ],
        good: &[&[
            ("scenarios/a.toml", "why = \"a cut loses nothing\"\n"),
            ("scenarios/must_fail/a.toml", "# trips: lost\nwhy = \"it loses\"\n"),
            ("scenarios/policies/a.toml", "[policy.uplink]\n"),
        ]],
    },
];

/// One line a word, each word once.
fn glossary(files: &[File]) -> Vec<Finding> {
    const PATH: &str = "docs/glossary.md";
    let missing = |what: &str| vec![Finding { path: PATH.to_owned(), line: 0, what: what.to_owned() }];
    let Some(file) = files.iter().find(|file| file.path == PATH) else { return missing("is missing") };
    let mut found = Vec::new();
    let mut words = BTreeSet::new();
    for (at, line) in file.text.lines().enumerate().filter(|(_, line)| line.starts_with("- ")) {
        let entry = line.strip_prefix("- **").and_then(|rest| rest.split_once("**: "));
        match entry {
            None => found.push(Finding::new(file, at + 1, "must read `- **word**: meaning`")),
            Some((word, _)) if !words.insert(word.to_lowercase()) => {
                found.push(Finding::new(file, at + 1, format!("`{word}` is there twice")));
            }
            Some(_) => {}
        }
    }
    if words.is_empty() && found.is_empty() { missing("holds no word") } else { found }
}

/// A scenario says why it is there; a sabotage also says what it trips.
fn scenario_why(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        let Some(name) = file.path.strip_prefix("scenarios/").filter(|name| name.ends_with(".toml")) else { continue };
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !["", "deep", "must_fail"].contains(&folder) {
            continue;
        }
        let table = file.text.parse::<Table>().unwrap_or_default();
        if table.get("why").and_then(|why| why.as_str()).is_none_or(|why| why.trim().is_empty()) {
            found.push(Finding::new(file, 0, "a scenario must say `why = \"…\"`"));
        }
        if folder == "must_fail" && !file.text.starts_with("# trips: ") {
            found.push(Finding::new(file, 1, "a sabotage must start with `# trips: CHECK`"));
        }
    }
    found
}
