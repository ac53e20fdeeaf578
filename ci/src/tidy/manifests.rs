//! Rules about manifests and cargo's configuration.

use toml::{Table, Value};

use super::imports::{CRATES, crate_of};
use super::{Finding, Lint};
use crate::tree::File;

pub(super) const LINTS: &[Lint] = &[
    Lint {
        name: "manifest_imports",
        find: manifest_imports,
        bad: &[
            &[("engine/Cargo.toml", "[dependencies]\nturmoil.workspace = true\n")],
            &[("reports/Cargo.toml", "[dev-dependencies]\nseaworthy-engine.workspace = true\n")],
            &[("ci/Cargo.toml", "[target.'cfg(unix)'.dependencies]\nseaworthy-reports.workspace = true\n")],
            &[("engine/Cargo.toml", "[build-dependencies]\nx = { package = \"turmoil\", workspace = true }\n")],
            &[("surprise/Cargo.toml", "[package]\nname = \"surprise\"\n")],
        ],
        good: &[&[
            ("engine/Cargo.toml", "[dependencies]\ntokio.workspace = true\n"),
            ("harness/Cargo.toml", "[dependencies]\nseaworthy-engine.workspace = true\nturmoil.workspace = true\n"),
        ]],
    },
    Lint {
        name: "dependency_reason",
        find: dependency_reason,
        bad: &[
            &[("Cargo.toml", "[workspace.dependencies]\n# streams\na = \"1\"\nb = \"1\"\n")],
            &[("Cargo.toml", "[workspace.dependencies]\n#\na = \"1\"\n")],
            &[("engine/Cargo.toml", "[dependencies]\ntokio = \"1\"\n")],
        ],
        good: &[&[
            (
                "Cargo.toml",
                "[workspace.dependencies]\nours = { path = \"ours\" }\n# streams\na = { version = \"1\" }\n",
            ),
            ("engine/Cargo.toml", "[dependencies]\na.workspace = true\n"),
        ]],
    },
    Lint {
        name: "lints_inherited",
        find: lints_inherited,
        bad: &[
            &[("engine/Cargo.toml", "[package]\nname = \"x\"\n")],
            &[("Cargo.toml", "[package]\nname = \"x\"\n[lints]\nworkspace = false\n")],
        ],
        good: &[&[("ci/Cargo.toml", "[package]\nname = \"x\"\n[lints]\nworkspace = true\n")]],
    },
    Lint {
        name: "rustflags",
        find: rustflags,
        bad: &[
            &[("Cargo.toml", "")],
            &[(".cargo/config.toml", "[build]\nrustflags = [\"-g\"]\n")],
            &[(".cargo/config.toml", "[build]\n# rustflags = [\"--cfg\", \"tokio_unstable\"]\n")],
        ],
        good: &[&[(".cargo/config.toml", "[build]\nrustflags = [\"--cfg\", \"tokio_unstable\"]\n")]],
    },
];

/// Each manifest, parsed; one that can't be parsed is cargo's to refuse.
fn manifests(files: &[File]) -> impl Iterator<Item = (&File, Table)> {
    files
        .iter()
        .filter(|file| file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml"))
        .filter_map(|file| Some((file, file.text.parse().ok()?)))
}

/// Name, package and declaration of everything that a package depends on.
fn dependencies(manifest: &Table) -> Vec<(&str, &str, &Value)> {
    const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let places = std::iter::once(manifest).chain(targets.filter_map(Value::as_table));
    places
        .flat_map(|place| TABLES.iter().filter_map(|name| place.get(*name)?.as_table()))
        .flatten()
        .map(|(name, value)| (name.as_str(), value.get("package").and_then(Value::as_str).unwrap_or(name), value))
        .collect()
}

/// The import table, in manifests.
fn manifest_imports(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, manifest) in manifests(files) {
        let folder = file.path.trim_end_matches("Cargo.toml").trim_end_matches('/');
        if !CRATES.iter().any(|known| known.folder == folder) {
            found.push(Finding::new(file, 0, "a crate that the import table doesn't know"));
        }
        let never = crate_of(&file.path).never;
        for (name, package, _) in dependencies(&manifest) {
            if never.contains(&package) {
                found.push(Finding::new(file, line_with(&file.text, name), format!("must not depend on `{package}`")));
            }
        }
    }
    found
}

/// A dependency is declared once, in the root, below a line that says why.
fn dependency_reason(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, manifest) in manifests(files) {
        for (name, _, value) in dependencies(&manifest) {
            if value.get("workspace").and_then(Value::as_bool) != Some(true) {
                let what = format!("`{name}` must be declared in the root manifest, with a reason");
                found.push(Finding::new(file, line_with(&file.text, name), what));
            }
        }
        let lines: Vec<&str> = file.text.lines().collect();
        let declared = manifest.get("workspace").and_then(|workspace| workspace.get("dependencies"));
        for (name, value) in declared.and_then(Value::as_table).into_iter().flatten() {
            let line = line_with(&file.text, name);
            let above = line.checked_sub(2).and_then(|at| lines.get(at)).and_then(|line| line.strip_prefix('#'));
            if value.get("path").is_none() && above.is_none_or(|reason| reason.trim().is_empty()) {
                found.push(Finding::new(
                    file,
                    line,
                    format!("`{name}` needs a line above it that says why it is here"),
                ));
            }
        }
    }
    found
}

/// The line, from 1, that declares `name`; 0 if none begins with it.
fn line_with(text: &str, name: &str) -> usize {
    let declares = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '=', '.']));
    text.lines().position(declares).map_or(0, |at| at + 1)
}

/// Every crate obeys the lints of the workspace.
fn lints_inherited(files: &[File]) -> Vec<Finding> {
    let inherits =
        |manifest: &Table| manifest.get("lints").and_then(|lints| lints.get("workspace")?.as_bool()) == Some(true);
    manifests(files)
        .filter(|(_, manifest)| manifest.contains_key("package") && !inherits(manifest))
        .map(|(file, _)| Finding::new(file, 0, "`[lints] workspace = true` is missing"))
        .collect()
}

/// Without tokio's seeded scheduler no run can be repeated.
fn rustflags(files: &[File]) -> Vec<Finding> {
    const PATH: &str = ".cargo/config.toml";
    let config = files.iter().find(|file| file.path == PATH);
    let set = config.and_then(|file| file.text.parse::<Table>().ok()).is_some_and(|config| {
        let flags = config.get("build").and_then(|build| build.get("rustflags")?.as_array());
        let flags: Vec<&str> = flags.into_iter().flatten().filter_map(Value::as_str).collect();
        flags.windows(2).any(|pair| pair == ["--cfg", "tokio_unstable"])
    });
    let what = "build.rustflags must hold \"--cfg\", \"tokio_unstable\"".to_owned();
    if set { Vec::new() } else { vec![Finding { path: PATH.to_owned(), line: 0, what }] }
}
