//! Reads a `result.json` that somebody hands over: another version's, truncated or impossible ones are refused with the place.

use std::fmt::Display;

use crate::phases::ratio;
use crate::result::{Figure, Interval, OverSeeds, Phase, ResultFile, SCHEMA, SEMANTICS, Scenario, Spread, Verdict};
use crate::slo::judged;

/// Longest step of time that a run can have, ms; a coarser one would hide every difference.
const RESOLUTION_MS_MAX: u32 = 1_000;

/// A file that is no result of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not JSON, or not of the form: truncated, foreign, with a word or a number that can't be.
    #[error("not a result: {0}")]
    Malformed(String),
    /// Another format.
    #[error("its schema is `{found}`, and this program reads `{SCHEMA}`")]
    Schema {
        /// What it says.
        found: String,
    },
    /// Figures that are defined otherwise.
    #[error("its semantics are {found}, and this program's are {SEMANTICS}: their figures mean different things")]
    Semantics {
        /// What it says.
        found: u32,
    },
    /// A figure that nothing can measure.
    #[error("{place} is {value}, which nothing can measure")]
    Impossible {
        /// Where.
        place: String,
        /// What.
        value: String,
    },
    /// What every run writes.
    #[error("{place} is missing, and every run writes it")]
    Missing {
        /// Where.
        place: String,
    },
    /// A place that says other than the rest of the file.
    #[error("{place} is {value}, but by the rest of the file it is {should}")]
    Disagrees {
        /// Where.
        place: String,
        /// What it says.
        value: String,
        /// What it must be.
        should: String,
    },
    /// Scenarios or seeds that are there twice.
    #[error("{what} is there twice")]
    Twice {
        /// Which.
        what: String,
    },
}

/// The result in `text`.
///
/// # Errors
/// Anything that a program of this version does not write.
pub fn parse(text: &str) -> Result<ResultFile, ReadError> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| ReadError::Malformed(error.to_string()))?;
    // Another version is told before its form is.
    match value["schema"].as_str() {
        Some(SCHEMA) => {}
        Some(found) => return Err(ReadError::Schema { found: found.to_owned() }),
        None => return Err(ReadError::Malformed("it has no schema".to_owned())),
    }
    if let Some(found) = value["semantics"].as_u64().filter(|found| *found != u64::from(SEMANTICS)) {
        return Err(ReadError::Semantics { found: u32::try_from(found).unwrap_or(u32::MAX) });
    }
    let file: ResultFile = serde_json::from_value(value).map_err(|error| ReadError::Malformed(error.to_string()))?;
    let mut ids: Vec<&str> = file.scenarios.iter().map(|scenario| scenario.id.as_str()).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ReadError::Twice { what: format!("scenario {}", twice[0]) });
    }
    if !(1..=RESOLUTION_MS_MAX).contains(&file.resolution_ms) {
        return Err(impossible("resolution_ms".to_owned(), file.resolution_ms));
    }
    if let Some(objection) = file.objections.iter().find(|objection| !(1..=5).contains(&objection.exit)) {
        return Err(impossible(format!("the exit of an objection of {}", objection.step), objection.exit));
    }
    for scenario in &file.scenarios {
        sound(scenario)?;
        agree(|| format!("{}: verdict", scenario.id), scenario.verdict, file.verdict_of(scenario))?;
    }
    agree(|| "verdict".to_owned(), file.verdict, file.verdict_of_all())?;
    Ok(file)
}

/// Whether a run could have written that of a scenario.
fn sound(scenario: &Scenario) -> Result<(), ReadError> {
    let of = |place: &str| format!("{}: {place}", scenario.id);
    let mut seeds: Vec<u64> = scenario.seeds.iter().map(|seed| seed.seed).collect();
    seeds.sort_unstable();
    if let Some(twice) = seeds.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ReadError::Twice { what: of(&format!("seed {}", twice[0])) });
    }
    if scenario.seeds.is_empty() {
        // A run of no seed has no figures, and says that it proved nothing.
        return if scenario.void.is_empty() { Err(ReadError::Missing { place: of("seeds") }) } else { Ok(()) };
    }
    for name in ["all", "warmup", "steady", "drain"] {
        if !scenario.phases.contains_key(name) {
            return Err(ReadError::Missing { place: of(&format!("phase {name}")) });
        }
    }
    for (name, phase) in &scenario.phases {
        sound_phase(&|what| of(&format!("{what} @{name}")), phase)?;
    }
    let all = &scenario.phases["all"];
    let sum = |part: fn(&crate::result::Seed) -> u64| scenario.seeds.iter().map(part).sum::<u64>();
    agree(|| of("lost @all, all kinds together,"), all.lost_all(), sum(|seed| seed.lost))?;
    agree(|| of("offered @all"), all.offered, sum(|seed| seed.packets))?;
    for expectation in &scenario.expect {
        possible(&of(&expectation.what), &expectation.got)?;
        if let Some(verdict) = judged(&expectation.got, &expectation.limit) {
            agree(|| of(&format!("verdict of {}", expectation.what)), expectation.verdict, verdict)?;
        }
    }
    for seed in &scenario.seeds {
        let of = |place: &str| of(&format!("{place} of seed {}", seed.seed));
        possible(&of("p99_ms"), &seed.p99_ms)?;
        if let Some(us) = seed.cpu_us {
            measurable(&of("cpu_us"), us.0)?;
        }
        let verdict = if seed.violations.is_empty() { Verdict::Pass } else { Verdict::Fail };
        agree(|| of("verdict"), seed.verdict, verdict)?;
    }
    for recovery in &scenario.recovery {
        for (part, Spread { p50, p95, max }) in recovery.parts() {
            let place = of(&format!("recovery({}).{part}", recovery.fault));
            [p50, p95, max].iter().try_for_each(|figure| possible(&place, figure))?;
        }
    }
    for (sink, stage) in scenario.waterfalls.iter().flat_map(|way| way.stages.iter().map(|stage| (&way.sink, stage))) {
        measurable(&of(&format!("mean_ms of {} on the way to {sink}", stage.stage)), stage.mean_ms.0)?;
    }
    Ok(())
}

fn sound_phase(of: &dyn Fn(&str) -> String, phase: &Phase) -> Result<(), ReadError> {
    for (what, share) in [
        ("drop_ratio", phase.drop_ratio),
        ("duplicate_ratio", phase.duplicate_ratio),
        ("duplicate_raw_ratio", phase.duplicate_raw_ratio),
    ] {
        if !(0.0..=1.0).contains(&share) {
            return Err(impossible(of(what), share));
        }
    }
    measurable(&of("replay_ratio"), phase.replay_ratio)?;
    let ends = phase.visible + phase.absorbed + phase.folded + phase.dead_lettered + phase.shed + phase.expired;
    let ends = ends + phase.unresolved + phase.lost_all();
    agree(|| of("what became of the accepted and recovered"), ends, phase.accepted + phase.recovered)?;
    let dropped = phase.lost_all() + phase.shed + phase.expired;
    agree(|| of("drop_ratio"), phase.drop_ratio, ratio(dropped, phase.accepted))?;
    let replayed = phase.replay_delay_ms.iter().map(|replayed| ("replay.delay", replayed));
    for (of_what, delays) in [("latency", &phase.latency_ms)].into_iter().chain(replayed) {
        for (what, figure) in delays.figures() {
            possible(&of(&format!("{of_what}.{what}")), figure)?;
        }
        for (what, Interval { low, high }) in delays.over_seeds.iter().flat_map(OverSeeds::told) {
            let place = of(&format!("the interval of {of_what}.{what}"));
            [low, high].into_iter().try_for_each(|figure| possible(&place, figure))?;
        }
    }
    Ok(())
}

fn impossible(place: String, value: impl Display) -> ReadError {
    ReadError::Impossible { place, value: value.to_string() }
}

fn agree<T: PartialEq + Display>(place: impl Fn() -> String, value: T, should: T) -> Result<(), ReadError> {
    if value == should {
        return Ok(());
    }
    Err(ReadError::Disagrees { place: place(), value: value.to_string(), should: should.to_string() })
}

fn measurable(place: &str, v: f64) -> Result<(), ReadError> {
    if v.is_finite() && v >= 0.0 { Ok(()) } else { Err(impossible(place.to_owned(), v)) }
}

fn possible(place: &str, figure: &Figure) -> Result<(), ReadError> {
    match figure {
        Figure::V { v } | Figure::Ge { ge: v } => measurable(place, v.0),
        Figure::Never { never: false } => Err(impossible(place.to_owned(), "never, and not")),
        Figure::Never { .. } | Figure::Na { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::json;
    use crate::sample;
    use proptest::prelude::*;

    fn changed(change: impl Fn(&mut serde_json::Value)) -> Result<ResultFile, ReadError> {
        let mut value: serde_json::Value = serde_json::from_str(&json::result(&sample::passing())).unwrap();
        change(&mut value);
        parse(&value.to_string())
    }

    #[test]
    fn what_was_written_is_read_back() {
        assert_eq!(parse(&json::result(&sample::failing())), Ok(sample::failing()));
    }

    #[test]
    fn what_no_program_of_this_version_writes_is_refused() {
        let why = |change: &dyn Fn(&mut serde_json::Value)| changed(change).unwrap_err().to_string();
        assert!(why(&|v| v["schema"] = "seaworthy.result/v9".into()).contains("`seaworthy.result/v9`"));
        assert!(why(&|v| v["semantics"] = 7.into()).contains("semantics are 7"));
        assert!(why(&|v| v["scenarios"][0]["phases"]["all"]["drop_ratio"] = (-0.5).into()).contains("drop_ratio @all"));
        let p99 = "p99";
        assert!(why(&|v| v["scenarios"][0]["phases"]["all"]["latency_ms"][p99]["v"] = (-1).into()).contains("-1"));
        assert!(why(&|v| v["scenarios"][0]["phases"]["all"]["lost"] = (-1).into()).contains("not a result"));
        assert!(why(&|v| v["scenarios"][0]["seeds"][1]["seed"] = 1.into()).contains("seed 1 is there twice"));
        assert!(why(&|v| v["more"] = 1.into()).contains("not a result"));
        assert!(why(&|v| v["resolution_ms"] = 86_400_000.into()).contains("resolution_ms is 86400000"));
        assert!(
            why(&|v| v["verdict"] = "fail".into()).contains("verdict is fail, but by the rest of the file it is pass")
        );
        assert!(
            why(&|v| v["objections"] = serde_json::json!([{"step": "compare", "exit": 0, "what": ""}]))
                .contains("exit")
        );
        assert!(parse("{").unwrap_err().to_string().contains("EOF"));
        assert!(parse("[]").is_err());
    }

    #[test]
    fn a_hollow_scenario_or_one_that_contradicts_itself_is_refused_with_its_place() {
        let why = |change: &dyn Fn(&mut serde_json::Value)| {
            changed(|v| change(&mut v["scenarios"][0])).unwrap_err().to_string()
        };
        let broken = serde_json::json!([{"check": "lost", "message": "m", "at_ms": 1}]);
        let stages = serde_json::json!([{"stage": "edge.feed", "mean_ms": -4}]);
        for (told, place) in [
            (why(&|s| s["phases"] = serde_json::json!({})), "uplink_cut: phase all is missing"),
            (why(&|s| drop(s["phases"].as_object_mut().unwrap().remove("steady"))), "phase steady is missing"),
            (why(&|s| s["seeds"] = serde_json::json!([])), "uplink_cut: seeds is missing"),
            (why(&|s| s["seeds"][2]["lost"] = 3.into()), "lost @all, all kinds together, is 0, but"),
            (why(&|s| s["seeds"][2]["packets"] = 3.into()), "offered @all is 9600, but"),
            (why(&|s| s["seeds"][2]["violations"] = broken.clone()), "verdict of seed 3 is pass, but"),
            (why(&|s| s["seeds"][2]["verdict"] = "fail".into()), "verdict of seed 3 is fail, but"),
            (why(&|s| s["expect"][1]["verdict"] = "fail".into()), "verdict of duplicate.ratio is fail, but"),
            (why(&|s| s["expect"][1]["got"] = serde_json::json!({"v": 1})), "verdict of duplicate.ratio is pass, but"),
            (
                why(&|s| s["expect"][2]["got"] = serde_json::json!({"never": true})),
                "verdict of latency.p99 @steady is pass, but",
            ),
            (why(&|s| s["phases"]["all"]["visible"] = 0.into()), "what became of the accepted and recovered @all is"),
            (why(&|s| s["void"] = serde_json::json!(["nothing"])), "uplink_cut: verdict is pass, but"),
            (
                why(&|s| s["phases"]["all"]["replay_delay_ms"]["max"] = serde_json::json!({"v": -2})),
                "replay.delay.max @all is -2",
            ),
            (
                why(&|s| s["phases"]["all"]["latency_ms"]["over_seeds"]["p50"]["low"] = serde_json::json!({"v": -2})),
                "the interval of latency.p50 @all is -2",
            ),
            (
                why(&|s| s["recovery"][0]["steady_from_start_ms"]["p50"] = serde_json::json!({"v": -2})),
                "recovery(cut).steady_from_start is -2",
            ),
            (why(&|s| s["phases"]["all"]["drop_ratio"] = 7.5.into()), "drop_ratio @all is 7.5"),
            (why(&|s| s["phases"]["all"]["drop_ratio"] = 0.5.into()), "drop_ratio @all is 0.5, but"),
            (why(&|s| s["phases"]["all"]["duplicate_raw_ratio"] = 1.5.into()), "duplicate_raw_ratio @all is 1.5"),
            (
                why(&|s| s["waterfalls"] = serde_json::json!([{"sink": "hub.raw", "events": 9, "stages": stages}])),
                "mean_ms of edge.feed on the way to hub.raw is -4",
            ),
        ] {
            assert!(told.contains(place), "{told}");
        }
    }

    #[test]
    fn a_result_of_an_older_build_and_one_that_the_gate_objects_to_are_read() {
        let older = changed(|v| {
            drop(v["scenarios"][0].as_object_mut().unwrap().remove("promise"));
            let recovery = v["scenarios"][0]["recovery"][0].as_object_mut().unwrap();
            recovery.retain(|part, _| !part.ends_with("from_start_ms"));
        });
        let older = older.unwrap();
        assert!(older.scenarios[0].promise.is_empty() && older.scenarios[0].recovery[0].parts().len() == 4);
        let objected = sample::objecting();
        assert_eq!((objected.verdict, objected.scenarios[0].verdict), (Verdict::Fail, Verdict::Regressed));
        assert_eq!(parse(&json::result(&objected)), Ok(objected));
    }

    proptest! {
        #[test]
        fn a_truncated_file_is_refused_and_never_a_panic(part in 0.0..1.0f64) {
            let text = json::result(&sample::passing());
            let end = (text.len() as f64 * part) as usize;
            prop_assume!(end < text.trim_end().len());
            prop_assert!(parse(&text[..end]).is_err());
        }
    }
}
