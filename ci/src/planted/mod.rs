//! Bugs planted on purpose: whether exploring the scenarios finds them is what the harness is worth.

mod hunt;
mod patch;
mod score;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child;
use crate::outcome::{Failed, Outcome, Passed};
use crate::simulate;
use crate::tree::Tree;
use hunt::{Hunted, hunt};
use patch::Patch;
use score::Score;

/// Where they are, from the root.
const DIR: &str = "harness/planted";
/// Fewer of them would prove little.
const PATCHES_MIN: usize = 30;
/// CPU seconds for each, unless the command line says otherwise.
const BUDGET_S: u32 = 120;

/// What the command line says about this step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Where the score goes, as JSON.
    pub(crate) json: Option<PathBuf>,
    /// Patches of somebody else's, in place of the project's.
    pub(crate) patches: Vec<PathBuf>,
    /// Only the bug of that id.
    pub(crate) only: Option<String>,
    /// CPU seconds for each.
    pub(crate) budget_s: Option<u32>,
    /// Goes on with the score that is there.
    pub(crate) resume: bool,
}

/// Each patch has its header and still applies.
pub(crate) fn apply(tree: &Tree) -> Outcome {
    let patches = patch::read_all(&tree.root().join(DIR))?;
    if patches.len() < PATCHES_MIN {
        return Err(Failed::because(format!("{} planted bugs, at least {PATCHES_MIN} are wanted", patches.len())));
    }
    for patch in &patches {
        git(tree.root(), &["apply", "--check"], Some(&patch.path))
            .map_err(|failed| Failed::because(format!("{}: {}", patch.id, failed.why)))?;
    }
    Ok(Passed::of(format!("{} planted bugs", patches.len())))
}

/// Plants each bug in a copy of the last commit, builds it, and hunts. What was begun goes on in the commit that it began with.
pub(crate) fn score(tree: &Tree, options: &Options) -> Outcome {
    let tell = |line: String| {
        child::say_now("");
        println!("      {line}");
    };
    let kept = options.json.as_ref().filter(|path| options.resume && path.exists());
    let begun = kept.map(|path| Score::read(path)).transpose()?;
    let field = Field::new(tree, begun.as_ref().map(|score| &*score.commit), options.budget_s.unwrap_or(BUDGET_S))?;
    let mut patches = match &options.patches[..] {
        [] => patch::read_all(&field.copy.join(DIR))?,
        foreign => {
            foreign.iter().map(|path| absolute(path).map(|path| patch::foreign(&path))).collect::<Result<_, _>>()?
        }
    };
    if let Some(only) = &options.only {
        patches.retain(|patch| patch.id == *only);
        if patches.is_empty() {
            return Err(Failed::because(format!("no planted bug is called `{only}`")));
        }
    }
    let mut score = match begun {
        Some(score) => score,
        None => {
            field.build()?;
            let clean = field.hunt()?;
            tell(told("(clean)", &clean));
            Score::new(field.commit()?, u64::from(clean.check.is_some()))
        }
    };
    let total = patches.len();
    patches.retain(|patch| !score.has(&patch.id));
    if patches.len() < total {
        tell(format!("goes on at {}: {} of {total} are left", score.commit, patches.len()));
    }
    for patch in &patches {
        let tried = field.try_patch(patch);
        tell(match &tried {
            Ok(hunted) => told(&patch.id, hunted),
            Err(failed) => format!("{:<28} not tried: {}", patch.id, failed.why),
        });
        // What can't be tried is not found.
        score.add(&patch.id, tried.unwrap_or_default(), total);
        if let Some(path) = &options.json {
            score.write(path)?;
        }
    }
    let what = score.told();
    if score.false_alarms > 0 {
        return Err(Failed::because(format!("the clean build fails: {what}")));
    }
    Ok(Passed::of(what))
}

fn told(id: &str, hunted: &Hunted) -> String {
    let Hunted { check, seeds, cpu_s, smallest, again } = hunted;
    let spent = format!("{id:<28} {cpu_s:>6.1} CPU-s {seeds:>5} runs");
    let Some(check) = check else { return format!("{spent}  nothing found") };
    let size = smallest.map_or_else(String::new, |(steps, events)| format!(", {steps} faults and {events} packets"));
    let again = again.as_ref().map_or_else(String::new, |again| format!(": {again}"));
    format!("{spent}  {check}{size}{again}")
}

/// The copy in which bugs are planted. A copy that an ended run left behind is replaced.
struct Field {
    copy: PathBuf,
    target: PathBuf,
    out: PathBuf,
    scenarios: Vec<String>,
    budget_s: u32,
}

impl Field {
    /// A copy of `commit`, or of the last one.
    fn new(tree: &Tree, commit: Option<&str>, budget_s: u32) -> Result<Field, Failed> {
        let copy = tree.scratch_for("planted/tree")?;
        let out = tree.scratch_for("planted/out")?;
        let place = copy.to_string_lossy();
        git(tree.root(), &["clone", "--quiet", "--local", ".", &place], None)?;
        if let Some(commit) = commit {
            git(&copy, &["checkout", "--quiet", "--detach", commit], None)?;
        }
        let copied = tree.at(&copy);
        let mut scenarios = simulate::suites(&copied)?;
        scenarios.extend(copied.scenarios_in("scenarios/narrow")?);
        Ok(Field { copy, target: tree.scratch().join("planted/target"), out, scenarios, budget_s })
    }

    /// The commit that it is a copy of.
    fn commit(&self) -> Result<String, Failed> {
        let said = git(&self.copy, &["rev-parse", "HEAD"], None)?;
        Ok(said.trim().to_owned())
    }

    fn build(&self) -> Result<(), Failed> {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.copy).args(["build", "--quiet", "--bin", "seaworthy"]);
        // Dependencies are built once, and each hunt runs them.
        cargo.args(["--config", "profile.dev.package.\"*\".opt-level=3", "--config", "profile.dev.debug=0"]);
        cargo.env("CARGO_TARGET_DIR", &self.target);
        child::run(cargo)?.expect_code(0, "cargo build")?;
        Ok(())
    }

    fn hunt(&self) -> Result<Hunted, Failed> {
        hunt(&self.copy, &self.target.join("debug/seaworthy"), &self.scenarios, &self.out, self.budget_s)
    }

    /// Plants a bug, hunts it, and takes it out again.
    fn try_patch(&self, patch: &Patch) -> Result<Hunted, Failed> {
        git(&self.copy, &["apply"], Some(&patch.path))?;
        let hunted = self.build().and_then(|()| self.hunt());
        git(&self.copy, &["checkout", "--quiet", "."], None)?;
        // What it added, too.
        git(&self.copy, &["clean", "--quiet", "--force", "-d"], None)?;
        hunted
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failed> {
    std::path::absolute(path).map_err(|error| Failed::because(format!("{}: {error}", path.display())))
}

/// Runs git; gives what it said.
fn git(dir: &Path, args: &[&str], file: Option<&Path>) -> Result<String, Failed> {
    let mut git = Command::new("git");
    git.current_dir(dir).args(args).args(file);
    let name = format!("git {}", args.join(" "));
    let ended = child::run(git)?;
    let said = ended.lines.join("; ");
    ended.expect_code(0, &name).map_err(|failed| Failed::because(format!("{}: {said}", failed.why)))?;
    Ok(said)
}
