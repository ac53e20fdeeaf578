//! Rules about what Rust files say.

use super::rust::{code_only, line_of, split_tests, words};
use super::{Finding, Lint};
use crate::tree::File;

pub(super) const LINTS: &[Lint] = &[
    Lint {
        name: "file_doc",
        find: file_doc,
        bad: &[
            &[("engine/src/a.rs", "use std::io;\n")],
            &[("ci/src/a.rs", "//!\nfn a() {}\n")],
            &[("ci/src/a.rs", "//! \nfn a() {}\n")],
        ],
        good: &[&[("engine/src/a.rs", "//! Does a thing.\n")]],
    },
    Lint {
        name: "undone",
        find: undone,
        bad: &[
            &[("src/a.rs", concat!("//! A.\n// TO", "DO: more\n"))],
            &[("scenarios/a.toml", concat!("# FIX", "ME\n"))],
            &[("src/a.rs", "//! A.\nfn a() { todo!() }\n")],
            &[("src/a.rs", "//! A.\nfn a() { dbg!(1); }\n")],
            &[("tests/it/a.rs", "//! A.\n#[ignore = \"slow\"]\nfn a() {}\n")],
        ],
        good: &[&[("src/a.rs", "//! A.\nfn mastodon() { ignore(\"todo!\") }\n")]],
    },
    Lint {
        name: "engine_statics",
        find: engine_statics,
        bad: &[
            &[("engine/src/a.rs", "static A: u8 = 0;\n")],
            &[("engine/src/a.rs", "thread_local! { }\n")],
            &[("engine/src/a.rs", "fn f() {\n    static ONCE: OnceLock<u8> = OnceLock::new();\n}\n")],
        ],
        good: &[&[
            ("engine/src/a.rs", "const A: &'static str = \"static\";\nstruct P { at: OnceLock<u8> } // static\n"),
            ("src/a.rs", "static A: u8 = 0;\n"),
        ]],
    },
    Lint {
        name: "select_biased",
        find: select_biased,
        bad: &[
            &[("engine/src/a.rs", "async fn a() { tokio::select! { _ = b => {} } }\n")],
            &[("harness/src/a.rs", "async fn a() { select! {\n    _ = b => {}\n    biased;\n} }\n")],
        ],
        good: &[&[(
            "engine/src/a.rs",
            "async fn a() { tokio::select! {\n    // why\n    biased;\n    _ = b => {} } }\n",
        )]],
    },
    Lint {
        name: "tests_sleep",
        find: tests_sleep,
        bad: &[
            &[("tests/it/a.rs", "fn a() { std::thread::sleep(D); }\n")],
            &[("tests/it/a.rs", "async fn a() { tokio::time::sleep(D).await; }\n")],
            &[("engine/src/a.rs", "#[cfg(test)]\nmod tests { fn a() { thread::sleep(D); } }\n")],
        ],
        good: &[&[
            ("tests/it/real/kill.rs", "fn a() { thread::sleep(D); }\n"),
            ("src/supervise.rs", "async fn a() { tokio::time::sleep(D).await; }\n"),
            ("tests/it/a.rs", "async fn a() { env.clock.sleep_until(1).await; }\n"),
        ]],
    },
    Lint {
        name: "module_names",
        find: module_names,
        bad: &[
            &[("engine/src/utils.rs", "//! A.\n")],
            &[("harness/src/common/mod.rs", "//! A.\n")],
            &[("src/a.rs", "//! A.\nmod helpers {}\n")],
        ],
        good: &[&[("engine/src/journal/mod.rs", "//! A.\nmod frame;\n")]],
    },
];

fn rust_files(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}

/// The first line says what the file is for.
fn file_doc(files: &[File]) -> Vec<Finding> {
    let says = |file: &File| {
        file.text.strip_prefix("//! ").is_some_and(|rest| !rest.trim_start_matches(' ').starts_with('\n'))
    };
    rust_files(files)
        .filter(|file| !says(file))
        .map(|file| Finding::new(file, 1, "the first line must be `//! what the file is for`"))
        .collect()
}

/// Nothing is left for later in the tree; what is left goes into the closing note.
fn undone(files: &[File]) -> Vec<Finding> {
    // Written in two parts, so that this file passes.
    const MARKS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
    const CODE: [&str; 4] = ["todo!", "unimplemented!", "dbg!", "#[ignore"];
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.path.ends_with(".md")) {
        for mark in MARKS {
            found.extend(words(&file.text, mark).map(|at| Finding::new(file, line_of(&file.text, at), mark)));
        }
        if file.path.ends_with(".rs") {
            let code = code_only(&file.text);
            for mark in CODE {
                found.extend(words(&code, mark).map(|at| Finding::new(file, line_of(&code, at), mark)));
            }
        }
    }
    found
}

/// A crash must leave nothing behind: no statics in the engine.
fn engine_statics(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    // The real machine's side never lives in a world, so it never crosses a simulated crash; the catalogue of assertions is the
    // same before and after it, for nothing changes it.
    let exempt = |path: &str| path.starts_with("engine/src/env/os/") || path == "engine/src/assert.rs";
    let in_worlds = |file: &&File| file.path.starts_with("engine/src/") && !exempt(&file.path);
    for file in rust_files(files).filter(in_worlds) {
        let code = code_only(&file.text);
        for word in ["static", "thread_local!"] {
            let what = format!("`{word}` outlives a simulated crash: keep it in `Engine`, or make it a `const`");
            found.extend(words(&code, word).map(|at| Finding::new(file, line_of(&code, at), &*what)));
        }
    }
    found
}

/// The order of polling is part of a run.
fn select_biased(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in rust_files(files) {
        let code = code_only(&file.text);
        for at in words(&code, "select!") {
            let body = code[at..].split_once(['{', '(']).map_or("", |(_, body)| body.trim_start());
            if !body.starts_with("biased;") {
                found.push(Finding::new(file, line_of(&code, at), "`select!` must start with `biased;`"));
            }
        }
    }
    found
}

/// Tests wait in virtual time; only those of real processes know a real clock, and escapes from a world try to reach it.
fn tests_sleep(files: &[File]) -> Vec<Finding> {
    const KNOWING: [&str; 2] = ["tests/it/real", "tests/tripwires/escapes.rs"];
    let mut found = Vec::new();
    for file in rust_files(files).filter(|file| !KNOWING.iter().any(|path| file.path.starts_with(path))) {
        let code = code_only(&file.text);
        let tests = if file.path.starts_with("tests/") { code } else { split_tests(&code).1 };
        for word in ["thread::sleep", "time::sleep", "time::sleep_until"] {
            let finding = |at| Finding::new(file, line_of(&tests, at), "a test sleeps on real time");
            found.extend(words(&tests, word).map(finding));
        }
    }
    found
}

/// A name that says nothing hides two things.
fn module_names(files: &[File]) -> Vec<Finding> {
    const EMPTY: [&str; 8] = ["common", "util", "utils", "helper", "helpers", "manager", "managers", "misc"];
    let mut found = Vec::new();
    for file in rust_files(files) {
        let parts = file.path.trim_end_matches(".rs").split('/');
        let named = parts.filter(|part| EMPTY.contains(part));
        found.extend(named.map(|part| Finding::new(file, 0, format!("`{part}` says nothing: name what it does"))));
        let code = code_only(&file.text);
        for name in EMPTY {
            let inline = format!("mod {name}");
            found.extend(
                words(&code, &inline)
                    .map(|at| Finding::new(file, line_of(&code, at), format!("`{inline}` says nothing"))),
            );
        }
    }
    found
}
