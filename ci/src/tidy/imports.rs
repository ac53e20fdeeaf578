//! Rules about who may know whom.

use std::collections::{BTreeMap, BTreeSet};

use super::rust::{code_only, ident, line_of, split_tests, words};
use super::{Finding, Lint};
use crate::tree::File;

/// A crate of the workspace, and what it must not name.
pub(super) struct Crate {
    /// Its folder; empty for the root package.
    pub(super) folder: &'static str,
    /// Packages that it must not depend on.
    pub(super) never: &'static [&'static str],
}

/// The import table: engine and reports know nothing of ours, the harness knows both, the root knows all three.
pub(super) const CRATES: [Crate; 5] = [
    Crate { folder: "engine", never: &["seaworthy", "seaworthy-harness", "seaworthy-reports", "ci", "turmoil"] },
    Crate { folder: "reports", never: &["seaworthy", "seaworthy-engine", "seaworthy-harness", "ci"] },
    Crate { folder: "harness", never: &["seaworthy", "ci"] },
    Crate { folder: "ci", never: &["seaworthy", "seaworthy-engine", "seaworthy-harness", "seaworthy-reports"] },
    Crate { folder: "", never: &["ci"] },
];

pub(super) const LINTS: &[Lint] = &[
    Lint {
        name: "import_table",
        find: import_table,
        bad: &[
            &[("engine/src/a.rs", "use turmoil::Sim;\n")],
            &[("reports/src/a.rs", "fn a() { seaworthy_engine::packet::new(); }\n")],
            &[("harness/tests/a.rs", "use seaworthy::main;\n")],
            &[("ci/src/a.rs", "use seaworthy_reports::run;\n")],
        ],
        good: &[&[
            ("engine/src/a.rs", "// unlike turmoil\nuse crate::turmoil_free;\nconst A: &str = \"turmoil\";\n"),
            ("harness/src/a.rs", "use seaworthy_engine::env::Env;\nuse turmoil::Sim;\n"),
            ("tests/it/a.rs", "use seaworthy_harness::scenario;\nuse seaworthy::main;\n"),
        ]],
    },
    Lint {
        name: "import_cycle",
        find: import_cycle,
        bad: &[
            &[
                ("engine/src/graph/mod.rs", "use crate::journal::Lsn;\n"),
                ("engine/src/journal/frame.rs", "use crate::{env, node::{self, Node}};\n"),
                ("engine/src/node.rs", "use super::graph::Graph;\n"),
            ],
            &[("src/a.rs", "fn a() { crate::b::b() }\n"), ("src/b.rs", "fn b() { crate::a::a() }\n")],
        ],
        good: &[&[
            ("engine/src/a/mod.rs", "use crate::b::B;\nmod inner;\n"),
            ("engine/src/a/inner.rs", "use super::A;\n"),
            ("engine/src/b.rs", "pub struct B;\n#[cfg(test)]\nmod tests { use crate::a::A; }\n"),
            ("harness/src/b.rs", "use crate::a::A;\n"),
        ]],
    },
];

/// The crate that a path belongs to.
pub(super) fn crate_of(path: &str) -> &'static Crate {
    let inside = |known: &&Crate| path.strip_prefix(known.folder).is_some_and(|rest| rest.starts_with('/'));
    CRATES.iter().find(inside).unwrap_or(&CRATES[CRATES.len() - 1])
}

fn import_table(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let code = code_only(&file.text);
        for package in crate_of(&file.path).never {
            let path = format!("{}::", package.replace('-', "_"));
            let outside = |at: &usize| !code[..*at].ends_with("::");
            for at in words(&code, &path).filter(outside) {
                found.push(Finding::new(file, line_of(&code, at), format!("must not know `{package}`")));
            }
        }
    }
    found
}

/// Who imports whom, between the top-level modules of one crate, with the file that says so.
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a File>>;

fn import_cycle(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for known in &CRATES {
        let src = if known.folder.is_empty() { "src/".to_owned() } else { format!("{}/src/", known.folder) };
        let inside: Vec<(&File, &str)> = files
            .iter()
            .filter_map(|file| Some((file, file.path.strip_prefix(&src)?.strip_suffix(".rs")?)))
            .filter(|(_, path)| !path.split('/').any(|part| part.ends_with("tests")))
            .collect();
        let modules: BTreeSet<&str> = inside.iter().map(|(_, path)| module(path)).collect();
        let mut graph = Graph::new();
        for (file, path) in &inside {
            for name in imported(file, path) {
                let target = modules.get(name.as_str()).filter(|target| **target != module(path));
                if let Some(target) = target {
                    graph.entry(module(path)).or_default().insert(target, file);
                }
            }
        }
        found.extend(cycles(&graph));
    }
    found
}

/// The top-level module of a path below `src/`; the root is no module.
fn module(path: &str) -> &str {
    match path.split('/').next() {
        Some("lib" | "main") | None => "",
        Some(first) => first,
    }
}

/// The top-level names that a file's own code (tests aside) takes from its crate.
fn imported(file: &File, path: &str) -> BTreeSet<String> {
    let code = split_tests(&code_only(&file.text)).0;
    let mut names = BTreeSet::new();
    let at_top = !path.contains('/') || path.ends_with("/mod") && path.matches('/').count() == 1;
    let roots: &[&str] = if at_top { &["crate::", "super::"] } else { &["crate::"] };
    for root in roots {
        for at in words(&code, root) {
            let after = code[at + root.len()..].trim_start();
            match after.strip_prefix('{') {
                Some(list) => names.extend(heads(list)),
                None => _ = names.insert(ident(after).to_owned()),
            }
        }
    }
    names
}

/// The first identifier of each entry of a `{…}` list, without what is nested.
fn heads(list: &str) -> Vec<String> {
    let (mut depth, mut fresh, mut heads) = (0, true, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                heads.push(ident(&list[at..]).to_owned());
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

/// One finding a circle, at a file that closes it.
fn cycles(graph: &Graph) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for start in graph.keys() {
        visit(graph, start, &mut Vec::new(), &mut done, &mut found);
    }
    found
}

fn visit<'a>(
    graph: &Graph<'a>,
    at: &'a str,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
    found: &mut Vec<Finding>,
) {
    if done.contains(at) {
        return;
    }
    path.push(at);
    for (next, file) in graph.get(at).into_iter().flatten() {
        match path.iter().position(|module| module == next) {
            Some(from) => {
                let circle = [&path[from..], &[next]].concat().join(" → ");
                found.push(Finding::new(file, 0, format!("closes a circle of imports: {circle}")));
            }
            None => visit(graph, next, path, done, found),
        }
    }
    path.pop();
    done.insert(at);
}
