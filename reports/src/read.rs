//! Reads a `result.json` that somebody hands over: another version's, truncated or impossible ones are refused with the place.

use crate::result::{Figure, ResultFile, SCHEMA, SEMANTICS};

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
    for scenario in &file.scenarios {
        let of = |place: &str| format!("{}: {place}", scenario.id);
        let mut seeds: Vec<u64> = scenario.seeds.iter().map(|seed| seed.seed).collect();
        seeds.sort_unstable();
        if let Some(twice) = seeds.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ReadError::Twice { what: of(&format!("seed {}", twice[0])) });
        }
        for expectation in &scenario.expect {
            possible(&of(&expectation.what), &expectation.got)?;
        }
        for seed in &scenario.seeds {
            possible(&of(&format!("p99_ms of seed {}", seed.seed)), &seed.p99_ms)?;
        }
        for recovery in &scenario.recovery {
            let of = |part: &str| of(&format!("recovery({}).{part}", recovery.fault));
            for (part, spread) in [
                ("steady", &recovery.steady_from_heal_ms),
                ("first_output", &recovery.first_output_from_heal_ms),
                ("drained", &recovery.drained_from_heal_ms),
                ("deficit", &recovery.deficit),
            ] {
                [&spread.p50, &spread.p95, &spread.max].iter().try_for_each(|figure| possible(&of(part), figure))?;
            }
        }
        for (name, phase) in &scenario.phases {
            let ratios = [
                ("drop_ratio", phase.drop_ratio),
                ("duplicate_ratio", phase.duplicate_ratio),
                ("duplicate_raw_ratio", phase.duplicate_raw_ratio),
                ("replay_ratio", phase.replay_ratio),
            ];
            for (what, ratio) in ratios {
                if !ratio.is_finite() || ratio < 0.0 {
                    return Err(ReadError::Impossible {
                        place: of(&format!("{what} @{name}")),
                        value: ratio.to_string(),
                    });
                }
            }
            let latency = &phase.latency_ms;
            for (what, figure) in [
                ("p50", &latency.p50),
                ("p95", &latency.p95),
                ("p99", &latency.p99),
                ("p99_9", &latency.p99_9),
                ("max", &latency.max),
            ] {
                possible(&of(&format!("latency {what} @{name}")), figure)?;
            }
        }
    }
    Ok(file)
}

fn possible(place: &str, figure: &Figure) -> Result<(), ReadError> {
    match figure {
        Figure::V { v } | Figure::Ge { ge: v } if !v.0.is_finite() || v.0 < 0.0 => {
            Err(ReadError::Impossible { place: place.to_owned(), value: v.0.to_string() })
        }
        Figure::Never { never: false } => {
            Err(ReadError::Impossible { place: place.to_owned(), value: "never, and not".to_owned() })
        }
        _ => Ok(()),
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
        assert!(parse("{").unwrap_err().to_string().contains("EOF"));
        assert!(parse("[]").is_err());
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
