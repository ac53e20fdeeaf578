//! Scenarios as tests of a Rust project: `scenario("…").seeds(1..=64).run().assert_pass()`.
#![expect(clippy::disallowed_methods, reason = "a test reads the files that it names")]

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use seaworthy_engine::node::Registry;
use seaworthy_engine::nodes;
use seaworthy_reports::render::text;
use seaworthy_reports::result::{ResultFile, Time, Verdict};

use crate::explore::shrink;
use crate::run::{PrepareError, Prepared};

/// How long a failing plan is made smaller, at most.
const SHRINK: Duration = Duration::from_secs(30);

/// A scenario that a test runs.
pub struct Test {
    path: String,
    seeds: Option<Vec<u64>>,
    jobs: usize,
    registry: Registry,
}

/// What came of it.
pub struct Ran {
    verdict: Verdict,
    report: String,
}

/// The scenario in the file `path`, which is relative to the directory that the test runs in: the package's own.
///
/// Its seeds are those that it names for a pull request, and its nodes those that come with Seaworthy.
#[must_use]
pub fn scenario(path: impl Into<String>) -> Test {
    let mut registry = Registry::new();
    nodes::register(&mut registry);
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Test { path: path.into(), seeds: None, jobs, registry }
}

impl Test {
    /// Runs these seeds.
    #[must_use]
    pub fn seeds(mut self, seeds: RangeInclusive<u64>) -> Test {
        self.seeds = Some(seeds.collect());
        self
    }

    /// Runs so many worlds at a time; changes no figure.
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> Test {
        self.jobs = jobs;
        self
    }

    /// Takes the graph's nodes from this registry.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Test {
        self.registry = registry;
        self
    }

    /// Runs and judges all seeds.
    ///
    /// # Panics
    /// When the scenario can't be run: a wrong file, or a build without `--cfg tokio_unstable`, whose simulation would not be
    /// deterministic.
    #[must_use]
    pub fn run(self) -> Ran {
        if !cfg!(tokio_unstable) {
            panic!(
                "simulations are deterministic only with `--cfg tokio_unstable`; add to .cargo/config.toml:\n[build]\nrustflags = [\"--cfg\", \"tokio_unstable\"]"
            );
        }
        let read = |path: &str| std::fs::read_to_string(path);
        let prepared = Prepared::read(&self.path, &read, &self.registry)
            .unwrap_or_else(|error| panic!("could not run {}: {}", self.path, told(error)));
        let seeds = self.seeds.unwrap_or_else(|| prepared.scenario().seeds.pr.iter().collect());
        let pool = prepared.run_seeds(&seeds, self.jobs, false, |_| ());
        let pool = pool.unwrap_or_else(|error| panic!("a bug of Seaworthy: {error}"));
        let file = ResultFile::new("", Time::Virtual, prepared.resolution_ms(), vec![pool.finish(&prepared.meta())]);
        let result = &file.scenarios[0];
        let duration_ms = prepared.scenario().sim.duration_ns / 1_000_000;
        let heading = text::Heading { path: &self.path, plan: None, duration_ms, all_expectations: true };
        let mut report = text::scenario(&file, result, &heading);
        if let Some((seed, check)) = result.first_failure() {
            report.push_str(&smallest(&prepared, seed, check, self.jobs));
        }
        Ran { verdict: result.verdict, report }
    }
}

impl Ran {
    /// The verdict over all seeds and objectives.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What the command would print, and for a failure the smallest plan that shows it.
    #[must_use]
    pub fn report(&self) -> &str {
        &self.report
    }

    /// Fails the test unless the scenario passes; one that proved nothing doesn't pass.
    ///
    /// # Panics
    /// With the report: what broke, in which seed, the line that runs it again, and the smallest plan that breaks it.
    #[track_caller]
    pub fn assert_pass(&self) {
        assert!(self.verdict == Verdict::Pass, "{}", self.report);
    }
}

/// Every error of the files, a line each.
fn told(error: PrepareError) -> String {
    match error {
        PrepareError::Scenario(errors) => format!("{errors:?}"),
        PrepareError::Graph(errors) => errors.iter().map(|error| format!("\n{error}")).collect(),
        error => error.to_string(),
    }
}

fn smallest(prepared: &Prepared, seed: u64, check: &str, jobs: usize) -> String {
    let began = Instant::now();
    let go_on = || began.elapsed() < SHRINK;
    let shrunk = shrink(prepared, &prepared.plan(seed), Some(check), jobs, &go_on, &|_| ());
    let Ok(shrunk) = shrunk else { return String::new() };
    let plan = serde_json::to_string(&shrunk.plan).expect("a plan holds only text, numbers and lists");
    format!(
        "  smallest plan: {}; save it and run `seaworthy sim {} --plan FILE`:\n{plan}\n",
        shrunk.size(),
        prepared.path()
    )
}
