//! Reads what the checks need from `result.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::outcome::Failed;

/// The trace's hash of each seed of each scenario.
pub(crate) type Hashes = BTreeMap<(String, u64), String>;

/// Every `result.json` below a directory: its path from there, and its text.
pub(crate) fn texts_below(dir: &Path) -> Result<BTreeMap<String, String>, Failed> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        let cannot = |error| Failed::because(format!("could not read {}: {error}", next.display()));
        for entry in std::fs::read_dir(&next).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.file_name().is_some_and(|name| name == "result.json") {
                let inside = path.strip_prefix(dir).expect("the walk began there").display().to_string();
                found.insert(inside, std::fs::read_to_string(&path).map_err(cannot)?);
            }
        }
    }
    if found.is_empty() { Err(Failed::because(format!("no result.json below {}", dir.display()))) } else { Ok(found) }
}

/// Hashes of all seeds in one `result.json`. None, or an empty one, is an error.
pub(crate) fn hashes(text: &str) -> Result<Hashes, String> {
    let mut found = Hashes::new();
    for (scenario, seed) in seeds(&parse(text)?)? {
        let number = seed["seed"].as_u64().ok_or(format!("{scenario}: a seed without its number"))?;
        let hash = seed["trace_hash"].as_str().filter(|hash| !hash.is_empty());
        let hash = hash.ok_or(format!("{scenario} seed {number}: no trace_hash"))?;
        if found.insert((scenario.clone(), number), hash.to_owned()).is_some() {
            return Err(format!("{scenario} seed {number}: there twice"));
        }
    }
    if found.is_empty() { Err("result.json holds no seed".to_owned()) } else { Ok(found) }
}

/// The names of the checks that some seed tripped, each once, sorted.
pub(crate) fn tripped(text: &str) -> Result<Vec<String>, String> {
    let result = parse(text)?;
    let mut checks = Vec::new();
    for (scenario, seed) in seeds(&result)? {
        let violations = seed["violations"].as_array().ok_or(format!("{scenario}: a seed without violations"))?;
        for violation in violations {
            let check = violation["check"].as_str().ok_or(format!("{scenario}: a violation without its check"))?;
            checks.push(check.to_owned());
        }
    }
    let scenarios = result["scenarios"].as_array().into_iter().flatten();
    let objectives = scenarios.flat_map(|scenario| scenario["expect"].as_array().into_iter().flatten());
    let missed = objectives.filter(|objective| objective["verdict"] == "fail");
    checks.extend(missed.filter_map(|objective| objective["what"].as_str()).map(str::to_owned));
    checks.sort();
    checks.dedup();
    Ok(checks)
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("result.json: {error}"))
}

fn seeds(result: &Value) -> Result<Vec<(String, &Value)>, String> {
    let mut found = Vec::new();
    for scenario in result["scenarios"].as_array().ok_or("result.json without scenarios")? {
        let id = scenario["id"].as_str().ok_or("a scenario without its id")?;
        let seeds = scenario["seeds"].as_array().ok_or(format!("{id}: no seeds"))?;
        found.extend(seeds.iter().map(|seed| (id.to_owned(), seed)));
    }
    Ok(found)
}

/// What differs: every seed of `again` must be in `first`, with the same hash.
pub(crate) fn differences(first: &Hashes, again: &Hashes) -> Vec<String> {
    let mut found = Vec::new();
    for ((scenario, seed), hash) in again {
        match first.get(&(scenario.clone(), *seed)) {
            Some(same) if same == hash => {}
            Some(other) => found.push(format!("{scenario} seed {seed}: trace_hash {other} at first, {hash} elsewhere")),
            None => found.push(format!("{scenario} seed {seed}: was not in the first run")),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = r#"{"scenarios": [{"id": "smoke", "seeds": [
        {"seed": 1, "trace_hash": "a1", "violations": []},
        {"seed": 2, "trace_hash": "b2", "violations": [{"check": "lost", "message": "1", "at_ns": 5}]}]}]}"#;

    #[test]
    fn reads_hashes_and_checks() {
        let hashes = hashes(RESULT).expect("it is well formed");
        assert_eq!(hashes[&("smoke".to_owned(), 2)], "b2");
        assert_eq!(hashes.len(), 2);
        assert_eq!(tripped(RESULT).expect("it is well formed"), ["lost"]);
    }

    #[test]
    fn nothing_to_compare_is_an_error() {
        for bad in [
            r#"{"scenarios": []}"#,
            r#"{"scenarios": [{"id": "x", "seeds": []}]}"#,
            r#"{"scenarios": [{"id": "x", "seeds": [{"seed": 1, "trace_hash": ""}]}]}"#,
            r#"{"scenarios": [{"id": "x", "seeds": [{"seed": 1}]}]}"#,
            "{",
        ] {
            hashes(bad).expect_err(bad);
        }
    }

    #[test]
    fn sees_a_difference_and_a_missing_seed() {
        let first = hashes(RESULT).expect("it is well formed");
        assert!(differences(&first, &first).is_empty());
        let mut again = first.clone();
        again.insert(("smoke".to_owned(), 2), "other".to_owned());
        again.insert(("smoke".to_owned(), 3), "c3".to_owned());
        let found = differences(&first, &again);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("seed 2") && found[1].contains("seed 3"), "{found:?}");
    }
}
