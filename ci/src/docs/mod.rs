//! The documentation is true: what it names exists, what it tells to type runs.

mod markdown;

use std::process::Command;

use crate::outcome::{Failed, Outcome, Passed};
use crate::tree::{File, Tree};
use crate::{cargo, child};
use markdown::Named;

/// Pages that must be there; pages below `docs/` join them.
const PAGES: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/glossary.md"];
/// A page that still speaks of a folder after it has gone must be seen too.
const FOLDERS: [&str; 10] =
    ["engine", "harness", "reports", "src", "tests", "benches", "scenarios", "ci", "docs", "examples"];

/// Checks every page; all findings at once.
pub(crate) fn run(tree: &Tree) -> Outcome {
    let files = tree.files()?;
    let is_page = |file: &&File| {
        PAGES.contains(&file.path.as_str()) || file.path.starts_with("docs/") && file.path.ends_with(".md")
    };
    let pages: Vec<&File> = files.iter().filter(is_page).collect();
    let gone = PAGES.iter().filter(|path| !pages.iter().any(|page| page.path == **path));
    let mut findings: Vec<String> = gone.map(|path| format!("{path}: is missing")).collect();

    let folders = FOLDERS.map(str::to_owned);
    let (mut paths, mut commands) = (0, Vec::new());
    for page in pages {
        let (named, typed) = markdown::read(&page.text, &folders);
        paths += named.len();
        findings.extend(
            named
                .iter()
                .filter(|named| !exists(tree, &page.path, named))
                .map(|named| format!("{}:{}: `{}` does not exist", page.path, named.line, named.path)),
        );
        commands
            .extend(typed.into_iter().filter(|typed| is_ours(&typed.command)).map(|typed| (page.path.as_str(), typed)));
    }
    commands.retain(|(page, typed)| {
        let endless = !typed.slow && runs_this_step(&typed.command);
        if endless {
            findings.push(format!("{page}:{}: `{}` would run itself: mark it `# slow`", typed.line, typed.command));
        }
        !typed.slow && !endless
    });
    if paths == 0 || commands.is_empty() {
        findings.push(format!("{paths} paths and {} commands: nothing was checked", commands.len()));
    }

    let mut output = Vec::new();
    if !commands.is_empty() {
        cargo::seaworthy(tree)?;
        let old = std::env::var_os("PATH").unwrap_or_default();
        let search = std::env::join_paths(std::iter::once(tree.binaries()).chain(std::env::split_paths(&old)));
        let search = search.map_err(|error| Failed::because(format!("could not extend PATH: {error}")))?;
        for (page, typed) in &commands {
            let mut shell = Command::new("sh");
            shell.args(["-c", &typed.command]).current_dir(tree.root()).env("PATH", &search);
            let place = format!("{page}:{}: `{}`", typed.line, typed.command);
            if let Err(failed) = child::run(shell)?.expect_code(typed.code, &place) {
                findings.push(failed.why);
                output.extend(failed.output);
            }
        }
    }
    if findings.is_empty() {
        return Ok(Passed::of(format!("{paths} paths, {} commands", commands.len())));
    }
    let why = format!("{} findings", findings.len());
    output.extend(findings);
    Err(Failed { why, output })
}

/// A link is relative to its page; other paths to the page or to the root.
fn exists(tree: &Tree, page: &str, Named { path, link, .. }: &Named) -> bool {
    let beside = tree.root().join(page).parent().is_some_and(|dir| dir.join(path).exists());
    beside || !link && tree.root().join(path).exists()
}

fn is_ours(command: &str) -> bool {
    ["seaworthy ", "cargo "].iter().any(|ours| command.starts_with(ours))
}

/// `cargo ci` and `cargo ci docs` come back to this step.
fn runs_this_step(command: &str) -> bool {
    let mut words = command.split_whitespace();
    (words.next(), words.next()) == (Some("cargo"), Some("ci")) && words.next().is_none_or(|step| step == "docs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_would_run_itself() {
        assert!(runs_this_step("cargo ci") && runs_this_step("cargo ci docs"));
        assert!(!runs_this_step("cargo ci tidy") && !runs_this_step("cargo run --release -- sim x"));
        assert!(is_ours("seaworthy sim x") && !is_ours("git clone x"));
    }
}
