//! The score: what came of each bug, kept in a file as it grows, so that a run that was ended can go on.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::hunt::Hunted;
use crate::outcome::Failed;

/// What the hunts came to so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Score {
    /// The commit that the bugs are planted in.
    pub(super) commit: String,
    /// How many are to be tried.
    total: usize,
    found: usize,
    /// Of those found.
    median_cpu_s: Option<f64>,
    p95_cpu_s: Option<f64>,
    /// 1 when the clean build fails.
    pub(super) false_alarms: u64,
    bugs: Vec<Bug>,
}

/// What came of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bug {
    id: String,
    found: bool,
    seeds: u64,
    cpu_s: f64,
    check: Option<String>,
    plan_steps: Option<u64>,
    plan_events: Option<u64>,
}

impl Score {
    /// Nothing was tried yet but the clean build.
    pub(super) fn new(commit: String, false_alarms: u64) -> Score {
        let bugs = Vec::new();
        Score { commit, total: 0, found: 0, median_cpu_s: None, p95_cpu_s: None, false_alarms, bugs }
    }

    /// Whether the bug was tried.
    pub(super) fn has(&self, id: &str) -> bool {
        self.bugs.iter().any(|bug| bug.id == id)
    }

    /// What came of one more, of `total`.
    pub(super) fn add(&mut self, id: &str, hunted: Hunted, total: usize) {
        let Hunted { check, seeds, cpu_s, smallest, .. } = hunted;
        let (plan_steps, plan_events) = smallest.unzip();
        self.bugs.push(Bug { id: id.to_owned(), found: check.is_some(), seeds, cpu_s, check, plan_steps, plan_events });
        self.total = total;
        let mut times: Vec<f64> = self.bugs.iter().filter(|bug| bug.found).map(|bug| bug.cpu_s).collect();
        times.sort_by(f64::total_cmp);
        let quantile = |part: f64| times.get(((times.len() as f64 * part).ceil() as usize).saturating_sub(1)).copied();
        (self.found, self.median_cpu_s, self.p95_cpu_s) = (times.len(), quantile(0.5), quantile(0.95));
    }

    /// Writes it whole, or leaves what was there.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failed> {
        let failed = |error: std::io::Error| Failed::because(format!("could not write {}: {error}", path.display()));
        let text = serde_json::to_string_pretty(self).expect("a score holds only types that JSON has");
        let beside = path.with_added_extension("new");
        std::fs::write(&beside, text + "\n").and_then(|()| std::fs::rename(&beside, path)).map_err(failed)
    }

    pub(super) fn read(path: &Path) -> Result<Score, Failed> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failed::because(format!("could not read {}: {error}", path.display())))?;
        serde_json::from_str(&text)
            .map_err(|error| Failed::because(format!("{} is no score to go on with: {error}", path.display())))
    }

    /// In words.
    pub(super) fn told(&self) -> String {
        let second = |time: Option<f64>| time.map_or("never".to_owned(), |time| format!("{time:.1} CPU-s"));
        format!(
            "{} of {} found, median {}, p95 {}, {} false alarms",
            self.found,
            self.total,
            second(self.median_cpu_s),
            second(self.p95_cpu_s),
            self.false_alarms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hunted(cpu_s: f64, check: Option<&str>) -> Hunted {
        let check = check.map(str::to_owned);
        Hunted { check, seeds: 7, cpu_s, smallest: Some((1, 20)), again: None }
    }

    #[test]
    fn a_score_that_was_kept_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("score.json");
        let mut score = Score::new("c0ffee".to_owned(), 0);
        score.add("a", hunted(4.0, Some("lost")), 3);
        score.add("b", hunted(120.0, None), 3);
        score.write(&path).unwrap();
        let mut score = Score::read(&path).unwrap();
        assert!(score.has("a") && score.has("b") && !score.has("c"));
        score.add("c", hunted(2.0, Some("lost")), 3);
        assert_eq!(score.told(), "2 of 3 found, median 2.0 CPU-s, p95 4.0 CPU-s, 0 false alarms");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_no_score_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("score.json");
        std::fs::write(&path, "{}").unwrap();
        let why = Score::read(&path).unwrap_err().why;
        assert!(why.contains("is no score to go on with: missing field `commit`"), "{why}");
    }
}
