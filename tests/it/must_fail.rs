//! `scenarios/must_fail/`: each check has a sabotage that trips it, each sabotage says which, and none acts elsewhere.
//! `cargo ci` runs them all, through the command; here are the quick ones, with and without their sabotage.
#![expect(clippy::disallowed_methods, reason = "tests read the repository's own scenarios")]

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use seaworthy_harness::check;
use seaworthy_harness::plan::Action;
use seaworthy_harness::run::{PrepareError, Prepared};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/must_fail")
}

fn read(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path)
}

fn prepare(path: &Path) -> Prepared {
    let path = path.to_str().expect("the repository's paths are text");
    Prepared::read(path, &read, &seaworthy::std_registry()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Each file, and what its first line says that it trips.
fn files() -> Vec<(PathBuf, String)> {
    let paths = std::fs::read_dir(folder())
        .expect("the tree is whole, and its scenarios run")
        .map(|entry| entry.expect("the tree is whole, and its scenarios run").path());
    let mut files: Vec<(PathBuf, String)> = paths
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("the tree is whole, and its scenarios run");
            let first = text.lines().next().unwrap_or_default();
            let trips = first.strip_prefix("# trips: ").unwrap_or_else(|| panic!("{}: {first}", path.display()));
            (path, trips.to_owned())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_check_has_a_sabotage_and_every_sabotage_a_check() {
    let checks: BTreeSet<&str> = check::names().collect();
    let files = files();
    for (path, trips) in &files {
        let prepared = prepare(path);
        let objectives: Vec<&str> = prepared.scenario().expect.iter().map(|objective| &*objective.text).collect();
        // What isn't a check is an objective, and then the only one of the file.
        assert!(checks.contains(&**trips) || objectives == [&**trips], "{}: {trips}", path.display());
        assert!(prepared.scenario().sim.duration_ns <= 20_000_000_000, "{} is long", path.display());
    }
    let tripped: BTreeSet<&str> = files.iter().map(|(_, trips)| &**trips).collect();
    assert_eq!(checks.difference(&tripped).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn a_sabotage_is_refused_in_any_other_folder() {
    let mut refused = 0;
    for (path, _) in files() {
        let text = std::fs::read_to_string(&path).expect("the tree is whole, and its scenarios run");
        let elsewhere = folder()
            .join("moved.toml")
            .to_str()
            .expect("the tree is whole, and its scenarios run")
            .replace("must_fail", "graphs");
        let read = |path: &str| if path == elsewhere { Ok(text.clone()) } else { read(path) };
        let prepared = Prepared::read(&elsewhere, &read, &seaworthy::std_registry());
        if !text.contains("\"sabotage.") {
            assert!(prepared.is_ok(), "{}", path.display());
            continue;
        }
        refused += 1;
        let Err(PrepareError::Scenario(errors)) = prepared else { panic!("{} runs anywhere", path.display()) };
        let codes: BTreeSet<String> = errors.places().into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, BTreeSet::from(["scenario::sabotage_outside".to_owned()]), "{}", path.display());
    }
    assert!(refused > 10, "only {refused}");
}

/// Runs a file's first seed as it is, and once more without its sabotages.
#[track_caller]
fn check(file: &str) {
    let (path, trips) = files().into_iter().find(|(path, _)| path.ends_with(file)).expect("the file is there");
    let prepared = prepare(&path);
    let mut plan = prepared.plan(1);
    let tripped = |judged: seaworthy_harness::run::Judged| -> BTreeSet<String> {
        judged.violations.into_iter().map(|violation| violation.check).collect()
    };
    let found = tripped(prepared.run_plan(&plan, false).expect("the tree is whole, and its scenarios run"));
    assert!(found.contains(&trips), "{file}: {found:?}");
    plan.steps.retain(|step| !matches!(step.action, Action::Sabotage { .. }));
    assert_eq!(
        tripped(prepared.run_plan(&plan, false).expect("the tree is whole, and its scenarios run")),
        BTreeSet::new(),
        "{file} fails anyway"
    );
}

#[test]
fn the_sabotage_is_what_trips_the_check() {
    check("swallow_offer.toml");
    check("rot.toml");
    check("disk.toml");
    check("panic.toml");
}
