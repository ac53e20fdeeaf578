//! The corpus: known failures in a folder, a file a scenario, a plan a line. `explore` adds to it, `gate` runs it again.

use std::io::ErrorKind;

use seaworthy_harness::plan::Plan;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::files::{append_line, list, read_written};
use crate::show;

/// One of them: the plan first, as the seed alone means nothing once a scenario has changed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    pub(crate) plan: Plan,
    pub(crate) check: String,
    pub(crate) scenario: String,
}

/// Adds one to the file of its scenario.
pub(crate) fn add(folder: &str, known: &Known) -> Result<(), Exit> {
    let line = serde_json::to_string(known).expect("a plan holds only text, numbers and lists");
    let path = format!("{folder}/{}.jsonl", known.scenario);
    append_line(&path, &line).map_err(|error| {
        show::notes(&[format!("could not add to {path}: {error}")]);
        Exit::Environment
    })
}

/// Where they are unless another folder is named.
const FOLDER: &str = "scenarios/corpus";

/// All of them, each with its place. A folder that is named must be there; without a name none need be.
pub(crate) fn read(named: Option<&str>) -> Result<Vec<(String, Known)>, Exit> {
    let folder = named.unwrap_or(FOLDER);
    let unread = |path: &str, error: std::io::Error| {
        show::notes(&[format!("could not read {path}: {error}")]);
        Exit::from(&error)
    };
    let files = match list(folder, ".jsonl") {
        Ok(files) => files,
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unread(folder, error)),
    };
    let mut all = Vec::new();
    for path in files {
        let text = read_written(&path).map_err(|error| unread(&path, error))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let at = format!("{path}:{}", number + 1);
            let known = serde_json::from_str(line).map_err(|error| {
                show::notes(&[format!("{at}: not a line of a corpus: {error}")]);
                Exit::Usage
            })?;
            all.push((at, known));
        }
    }
    Ok(all)
}
