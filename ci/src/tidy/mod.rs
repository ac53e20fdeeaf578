//! House rules that clippy can't see, over the text of the tree. Each carries samples that it must and must not accept.

mod data;
mod imports;
mod manifests;
mod rust;
mod sources;

use crate::outcome::{Failed, Outcome, Passed};
use crate::tree::{File, Tree};

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: &File, line: usize, what: impl Into<String>) -> Self {
        Finding { path: file.path.clone(), line, what: what.into() }
    }
}

/// One rule. `bad` and `good` are small trees of (path, text).
struct Lint {
    name: &'static str,
    find: fn(&[File]) -> Vec<Finding>,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests show that the rule can fail"))]
    bad: &'static [Sample],
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests show that the rule can pass"))]
    good: &'static [Sample],
}

type Sample = &'static [(&'static str, &'static str)];

fn lints() -> impl Iterator<Item = &'static Lint> {
    [sources::LINTS, imports::LINTS, manifests::LINTS, data::LINTS].into_iter().flatten()
}

/// All rules over the whole tree.
pub(crate) fn run(tree: &Tree) -> Outcome {
    if !cfg!(tokio_unstable) {
        return Err(Failed::because(
            "built without `--cfg tokio_unstable`: an exported RUSTFLAGS replaces .cargo/config.toml; unset it",
        ));
    }
    let files = tree.files()?;
    if files.is_empty() {
        return Err(Failed::because("no file to check"));
    }
    let mut output = Vec::new();
    for lint in lints() {
        let show = |Finding { path, line, what }| match line {
            0 => format!("{path}: {what} [{}]", lint.name),
            line => format!("{path}:{line}: {what} [{}]", lint.name),
        };
        output.extend((lint.find)(&files).into_iter().map(show));
    }
    if output.is_empty() {
        return Ok(Passed::of(format!("{} rules, {} files", lints().count(), files.len())));
    }
    Err(Failed { why: format!("{} findings", output.len()), output })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_of(sample: Sample) -> Vec<File> {
        sample.iter().map(|(path, text)| File { path: (*path).into(), text: (*text).into() }).collect()
    }

    #[test]
    fn each_rule_fails_on_its_bad_samples_and_passes_on_its_good_ones() {
        for Lint { name, find, bad, good } in lints() {
            assert!(!bad.is_empty() && !good.is_empty(), "{name} has no samples");
            for sample in *bad {
                assert!(!find(&tree_of(sample)).is_empty(), "{name} accepts {sample:?}");
            }
            for sample in *good {
                assert_eq!(find(&tree_of(sample)), [], "{name} refuses {sample:?}");
            }
        }
    }

    #[test]
    fn a_finding_points_at_its_line() {
        let select = lints().find(|lint| lint.name == "select_biased").expect("it is in the list");
        let found =
            (select.find)(&tree_of(&[("engine/src/a.rs", "//! A.\n\nfn a() {\n    select! { _ = b => {} }\n}\n")]));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.as_str(), found[0].line), ("engine/src/a.rs", 4));
    }
}
