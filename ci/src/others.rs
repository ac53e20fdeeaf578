//! The step that gives a run's files to programs of others: the page to Chromium, the histograms to HdrHistogram's reader for
//! Python, JUnit's file to a schema. What can't be had here is a `NOT RUN` line.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cargo;
use crate::child;
use crate::install;
use crate::outcome::{Failed, Outcome, Passed};
use crate::tree::Tree;

/// A run with everything on its page, and one that fails.
const RUNS: [(&str, &str, i32); 2] =
    [("uplink_flap", "scenarios/uplink_flap.toml", 0), ("lose_effect", "scenarios/must_fail/lose_effect.toml", 1)];
/// What the page of the first has, in this order among others.
const HEADINGS: [&str; 6] =
    ["Expectations", "over time", "Delay by percentile", "Phases", "Recovery", "Where the time goes"];
/// From PyPI.
const PYTHON: [&str; 2] = ["hdrhistogram==0.10.8", "xmlschema>=3"];
/// Its source holds the schema that Jenkins keeps for JUnit's files.
const SCHEMA_PACKAGE: &str = "pytest==8.3.4";
const SCHEMA: &str = "pytest-8.3.4/testing/example_scripts/junit-10.xsd";
/// Text on its ground, as WCAG AA wants it.
const CONTRAST_MIN: f64 = 4.5;
/// What a picture says is at least that high, px: less can't be read without a second look.
const TEXT_PX_MIN: f64 = 10.0;

/// Runs the two scenarios, and shows their files around.
pub(crate) fn run(tree: &Tree) -> Outcome {
    let binary = cargo::seaworthy(tree)?;
    let out = tree.scratch_for("others")?;
    for (name, path, code) in RUNS {
        let mut sim = Command::new(&binary);
        sim.current_dir(tree.root()).args(["sim", path, "--seeds", "1..8", "--out"]).arg(&out);
        child::run(sim)?.expect_code(code, name)?;
    }
    let dirs: Vec<PathBuf> = RUNS.iter().map(|(name, ..)| out.join(name)).collect();
    let mut passed = Passed::of("a page in Chromium, histograms in Python, JUnit's schema");
    match install::debian(&["chromium", "chromium-browser", "google-chrome"], "chromium") {
        Ok(chromium) => passed.lines.extend(page(tree, &chromium, &dirs)?),
        Err(why) => passed.not_run.push(format!("NOT RUN page: {}", why.why)),
    }
    match readers(tree) {
        Ok((python, schema)) => {
            for dir in &dirs {
                let mut read = Command::new(&python);
                read.arg(tree.root().join("ci/others/read.py")).arg(dir).arg(&schema);
                passed.lines.extend(child::run(read)?.expect_code(0, "ci/others/read.py")?.lines);
            }
        }
        Err(why) => passed.not_run.push(format!("NOT RUN readers: {}", why.why)),
    }
    Ok(passed)
}

/// A Python with its packages, and the schema.
fn readers(tree: &Tree) -> Result<(PathBuf, PathBuf), Failed> {
    let place = tree.scratch().join("readers");
    let (python, schema) = (place.join("bin/python"), place.join(SCHEMA));
    if !schema.is_file() {
        install::python(&place, &PYTHON)?;
        let mut download = Command::new(place.join("bin/pip"));
        download.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:"]);
        install::quietly({
            download.arg(SCHEMA_PACKAGE).arg("--dest").arg(&place);
            download
        })?;
        let mut unpack = Command::new("tar");
        unpack.arg("xzf").arg(place.join("pytest-8.3.4.tar.gz")).arg("-C").arg(&place).arg(SCHEMA);
        install::quietly(unpack)?;
    }
    Ok((python, schema))
}

/// Opens both pages as on a phone, in the light and in the dark.
fn page(tree: &Tree, chromium: &Path, dirs: &[PathBuf]) -> Result<Vec<String>, Failed> {
    let copied = |dir: &PathBuf| std::fs::copy(tree.root().join("ci/others/look.html"), dir.join("look.html"));
    for dir in dirs {
        copied(dir).map_err(|error| Failed::because(format!("could not copy look.html: {error}")))?;
    }
    let mut lines = Vec::new();
    for dark in [false, true] {
        let [sound, failed] = [look(tree, chromium, &dirs[0], dark)?, look(tree, chromium, &dirs[1], dark)?];
        let wrong = judge(&sound, &failed, dark);
        if !wrong.is_empty() {
            return Err(Failed { why: format!("{} things are wrong on the page", wrong.len()), output: wrong });
        }
        let (ground, contrast) = (if dark { "dark" } else { "light" }, sound["contrast"].as_f64().unwrap_or_default());
        lines.push(format!("page in the {ground}: {} pictures, contrast {contrast:.1}", sound["pictures"]));
    }
    Ok(lines)
}

fn look(tree: &Tree, chromium: &Path, dir: &Path, dark: bool) -> Result<Value, Failed> {
    let mut look = Command::new(chromium);
    look.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    look.args(["--allow-file-access-from-files", "--dump-dom"]);
    look.arg(format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 }));
    look.arg(format!("--user-data-dir={}", tree.scratch_for("chromium")?.display()));
    look.arg(format!("file://{}", dir.join("look.html").display()));
    let said = child::run(look)?.lines.join("\n");
    let seen = said.split_once(">SEEN").and_then(|(_, rest)| rest.split_once("END</pre>"));
    let (json, _) =
        seen.ok_or_else(|| Failed { why: "Chromium saw nothing".to_owned(), output: vec![said.clone()] })?;
    let json = json.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&json).map_err(|error| Failed::because(format!("what Chromium saw: {error}")))
}

/// Everything that is wrong with what was seen of a sound run's page and of a failed one's.
fn judge(sound: &Value, failed: &Value, dark: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut want = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let texts = |of: &Value, what: &str| -> Vec<String> {
        let list = of[what].as_array().into_iter().flatten();
        list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let number = |of: &Value, what: &str| of[what].as_f64().unwrap_or(-1.0);
    let headings = texts(sound, "headings");
    let mut later = headings.iter();
    for heading in HEADINGS {
        want(later.any(|found| found.contains(heading)), &format!("no heading `{heading}` in its place: {headings:?}"));
    }
    want(texts(sound, "chips").iter().all(|chip| chip == "PASS"), "a sound run's chips don't say PASS");
    want(texts(failed, "chips").iter().any(|chip| chip == "FAIL"), "a failed run's chips don't say FAIL");
    want(texts(failed, "headings").iter().any(|found| found == "Broken promises"), "what broke is not told");
    let text = failed["text"].as_str().unwrap_or_default();
    want(text.contains("seaworthy debug "), "the line to paste is not there");
    for (of, name) in [(sound, "sound"), (failed, "failed")] {
        let mut want = |holds: bool, what: &str| want(holds, &format!("{name}: {what}"));
        want(number(of, "seeds") == 8.0, "the strip doesn't hold 8 seeds");
        want(number(of, "pictures") >= 2.0, "fewer than two pictures");
        want(number(of, "smallest_text") >= TEXT_PX_MIN, "the text of its pictures is too small to read");
        want(number(of, "bars") >= 3.0, "no waterfall");
        want(number(of, "focusable") >= 8.0, "the keyboard reaches next to nothing");
        want(number(of, "outside") == 0.0, "it wants files from elsewhere");
        want(number(of, "too_wide") <= 0.0, "it is wider than a phone");
        want(number(of, "contrast") >= CONTRAST_MIN, "its text is hard to read");
        want(of["dark"] == dark, "it has the wrong ground");
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(chip: &str, headings: &[&str]) -> Value {
        json!({"headings": headings, "chips": [chip], "seeds": 8, "pictures": 2, "smallest_text": 10.1, "bars": 4, "focusable": 12, "outside": 0,
            "too_wide": 0, "dark": false, "contrast": 12.0, "text": "seaworthy debug a.toml --seed 1"})
    }

    #[test]
    fn what_is_missing_on_a_page_is_told() {
        let (sound, failed) = (seen("PASS", &HEADINGS), seen("FAIL", &["Broken promises"]));
        assert_eq!(judge(&sound, &failed, false), Vec::<String>::new());
        assert_eq!(judge(&sound, &failed, true).len(), 2, "the ground of both");
        assert_eq!(judge(&failed, &sound, false).len(), 9, "all headings, both chips, what broke");
        let mut wide = sound.clone();
        wide["too_wide"] = 40.into();
        assert_eq!(judge(&wide, &failed, false), ["sound: it is wider than a phone"]);
        let mut small = sound.clone();
        small["smallest_text"] = 4.8.into();
        assert_eq!(judge(&small, &failed, false), ["sound: the text of its pictures is too small to read"]);
        assert!(judge(&Value::Null, &Value::Null, false).len() > 15);
    }
}
