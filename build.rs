//! Tells the command which commit it is built from: `commit()` of `src/worlds.rs`.
#![expect(clippy::disallowed_methods, reason = "a build script asks cargo and git by the environment")]

use std::path::Path;
use std::process::Command;

/// What the command is compiled from: a change of anything else leaves the commit as it is.
const SOURCES: [&str; 8] = ["build.rs", "Cargo.toml", "Cargo.lock", ".cargo", "src", "engine", "harness", "reports"];

fn main() {
    println!("cargo::rerun-if-env-changed=SEAWORTHY_COMMIT");
    // Which branch, and what was committed there last.
    let places = ["HEAD", "logs/HEAD"].map(|place| git(&["rev-parse", "--git-path", place]));
    for path in places.into_iter().flatten().chain(SOURCES.map(str::to_owned)) {
        // Cargo takes one that is not there for one that changes each time.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = std::env::var("SEAWORTHY_COMMIT").ok().or_else(commit).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=SEAWORTHY_COMMIT={commit}");
}

/// The commit of this checkout, marked where its sources differ from it; `None` without git.
fn commit() -> Option<String> {
    // A package that was unpacked into a folder of another repository is not of that one's commits.
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&[&["status", "--porcelain", "--untracked-files=all", "--"], &SOURCES[..]].concat())?;
    Some(if changed.is_empty() { commit } else { format!("{commit}+changes") })
}

/// What git says, without the newline at its end.
fn git(arguments: &[&str]) -> Option<String> {
    // An index that is only out of date must not be written: that would be a change to build again for.
    let output = Command::new("git").arg("--no-optional-locks").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
