//! `gate --rebuild REV`: an older engine, built under today's harness, and run on the same scenarios and seeds for its result.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use seaworthy_reports::result::ResultFile;

use crate::exit::Exit;
use crate::results::read;
use crate::show;

/// Lines of a compiler's complaint that are shown.
const COMPLAINT_LINES: usize = 12;

/// What is rebuilt, and how it is run.
pub(crate) struct Rebuild<'a> {
    /// The revision.
    pub rev: &'a str,
    /// What of it: a folder of the repository. All else is that of HEAD.
    pub path: &'a str,
    /// Arguments of the old binary's `gate`: scenarios, tier, jobs.
    pub gate: Vec<String>,
    /// Where its files go.
    pub out: String,
}

/// Why there is no result of the old engine.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum RebuildError {
    #[error("could not rebuild `{rev}`: {why}")]
    #[diagnostic(
        code(rebuild::revision),
        help("--rebuild takes a commit, tag or branch of the git repository that this is run in")
    )]
    Revision { rev: String, why: String },
    #[error("`{path}` of {rev} does not build under today's harness:\n{complaint}")]
    #[diagnostic(
        code(rebuild::api),
        help(
            "its API differs from what the harness uses today: compare with a result that was kept (--baseline), or with a newer revision"
        )
    )]
    Api { rev: String, path: String, complaint: String },
    #[error("the tree has no program called `{name}`, as this one is")]
    #[diagnostic(
        code(rebuild::name),
        help("the older build is the one that bears this program's name: call it by the name that cargo gives it")
    )]
    Name { name: String },
    #[error("could not {what}: {why}")]
    #[diagnostic(code(rebuild::machine))]
    Machine { what: String, why: String },
}

impl Rebuild<'_> {
    /// Builds and runs it.
    pub(crate) fn result(&self) -> Result<ResultFile, Exit> {
        let ran = self.run().map_err(|error| {
            let exit = if matches!(error, RebuildError::Machine { .. }) { Exit::Environment } else { Exit::Usage };
            show::problem(&error);
            exit
        })?;
        // A broken promise of the old engine is part of its result; that it could not be run is not.
        match ran {
            Some(0 | 1 | 4) => read(&self.out),
            code => {
                let ended = code.map_or("by a signal".to_owned(), |code| format!("with {code}"));
                show::problem(&RebuildError::Machine {
                    what: format!("run the scenarios on {}", self.rev),
                    why: format!("it ended {ended}"),
                });
                Err(Exit::Environment)
            }
        }
    }

    fn run(&self) -> Result<Option<i32>, RebuildError> {
        let revision = |why: String| RebuildError::Revision { rev: self.rev.to_owned(), why };
        let top = PathBuf::from(git(Path::new("."), &["rev-parse", "--show-toplevel"]).map_err(revision)?);
        let commit = format!("{}^{{commit}}", self.rev);
        let commit = git(&top, &["rev-parse", "--verify", "--end-of-options", &commit]).map_err(revision)?;
        let is_clean = git(&top, &["status", "--porcelain"]).map_err(revision)?.is_empty();
        let place = top.join("target/rebuild");
        let tree = Worktree::add(&top, &place.join("tree"))?;
        tree.take(&commit, self.path).map_err(revision)?;
        if !is_clean {
            show::notes(&[
                "there are changes that are not committed: the harness around the old engine is HEAD's".to_owned()
            ]);
        }
        show::notes(&[format!(
            "building {} of {} under HEAD's harness; this takes minutes",
            self.path,
            short(&commit)
        )]);
        let binary = self.build(&tree.dir, &place.join("target"), &commit)?;
        show::notes(&[format!("running the seeds on {}", short(&commit))]);
        let mut gate = Command::new(&binary);
        let ended = gate.arg("gate").args(&self.gate).args(["--seeds-only", "--out", &self.out]).output();
        Ok(ended.map_err(|error| machine("run the old binary", &error.to_string()))?.status.code())
    }

    /// The binary of the name of this one.
    fn build(&self, tree: &Path, target: &Path, commit: &str) -> Result<PathBuf, RebuildError> {
        let own = std::env::current_exe().map_err(|error| machine("find this program", &error.to_string()))?;
        let name = own.file_name().unwrap_or_default();
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--quiet", "--color", "never", "--bin"]).arg(name);
        cargo.current_dir(tree).env("CARGO_TARGET_DIR", target).env("SEAWORTHY_COMMIT", commit);
        let built = cargo.output().map_err(|error| machine("run cargo", &error.to_string()))?;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stderr);
            if said.contains("no bin target named") {
                return Err(RebuildError::Name { name: name.to_string_lossy().into_owned() });
            }
            let from = said.lines().skip_while(|line| !line.starts_with("error"));
            let complaint: Vec<&str> = from.take(COMPLAINT_LINES).collect();
            let (rev, path) = (self.rev.to_owned(), self.path.to_owned());
            return Err(RebuildError::Api { rev, path, complaint: complaint.join("\n") });
        }
        Ok(target.join("release").join(name))
    }
}

/// A second checkout of HEAD, which goes when it is dropped.
struct Worktree {
    top: PathBuf,
    dir: PathBuf,
}

impl Worktree {
    fn add(top: &Path, dir: &Path) -> Result<Worktree, RebuildError> {
        let text = dir.to_string_lossy();
        // One that an interrupted run left there.
        let _ = git(top, &["worktree", "remove", "--force", &text]);
        let added = git(top, &["worktree", "add", "--force", "--detach", &text, "HEAD"]);
        added.map_err(|why| machine("make a worktree", &why))?;
        Ok(Worktree { top: top.to_owned(), dir: dir.to_owned() })
    }

    /// Puts `path` of `commit` in place of HEAD's.
    fn take(&self, commit: &str, path: &str) -> Result<(), String> {
        git(&self.dir, &["rm", "-r", "--quiet", "--force", "--ignore-unmatch", "--", path])?;
        git(&self.dir, &["checkout", commit, "--", path]).map(drop)
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        // What is left is removed by the next run.
        let _ = git(&self.top, &["worktree", "remove", "--force", &self.dir.to_string_lossy()]);
    }
}

fn machine(what: &str, why: &str) -> RebuildError {
    RebuildError::Machine { what: what.to_owned(), why: why.to_owned() }
}

fn short(commit: &str) -> &str {
    &commit[..commit.len().min(12)]
}

/// What git says, without the newline at its end; or else its last complaint.
fn git(dir: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git").arg("-C").arg(dir).args(arguments).output();
    let Output { status, stdout, stderr } = output.map_err(|error| format!("git: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if status.success() {
        return Ok(text(&stdout));
    }
    Err(text(&stderr).lines().last().unwrap_or("git failed").to_owned())
}
