//! Puts the shards of one run together: what each ran, side by side, as if one had run all.

use crate::result::ResultFile;

/// Results that are not shards of one run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Nothing to put together.
    #[error("there is no result to merge")]
    Nothing,
    /// Of different builds or clocks.
    #[error("{one} and {other} are not of one run: {what} differs")]
    Unlike {
        /// The first.
        one: String,
        /// The other.
        other: String,
        /// In what.
        what: &'static str,
    },
    /// Two shards ran the same scenario.
    #[error("scenario {id} is in {one} and in {other}")]
    Twice {
        /// The scenario.
        id: String,
        /// One.
        one: String,
        /// The other.
        other: String,
    },
}

/// One result over the scenarios of all `shards`, each with its name.
///
/// # Errors
/// Shards that don't belong together.
pub fn merge(shards: &[(String, ResultFile)]) -> Result<ResultFile, MergeError> {
    let Some((first_name, first)) = shards.first() else { return Err(MergeError::Nothing) };
    let mut scenarios: Vec<(&String, _)> = Vec::new();
    for (name, shard) in shards {
        let differs = [
            ("the schema", shard.schema != first.schema),
            ("semantics", shard.semantics != first.semantics),
            ("the version", shard.seaworthy != first.seaworthy),
            ("the commit", shard.commit != first.commit),
            ("the clock", shard.time != first.time),
        ];
        if let Some((what, _)) = differs.into_iter().find(|(_, differs)| *differs) {
            return Err(MergeError::Unlike { one: first_name.clone(), other: name.clone(), what });
        }
        for scenario in &shard.scenarios {
            if let Some((one, twice)) =
                scenarios.iter().find(|(_, known): &&(_, crate::result::Scenario)| known.id == scenario.id)
            {
                return Err(MergeError::Twice { id: twice.id.clone(), one: (*one).clone(), other: name.clone() });
            }
            scenarios.push((name, scenario.clone()));
        }
    }
    let scenarios = scenarios.into_iter().map(|(_, scenario)| scenario).collect();
    // That of the coarsest scenario, as in a run of them all.
    let resolution_ms = shards.iter().map(|(_, shard)| shard.resolution_ms).max().unwrap_or(1);
    Ok(ResultFile::new(&first.commit, first.time, resolution_ms, scenarios))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::json;
    use crate::result::Scenario;
    use crate::sample;

    fn scenario(id: &str) -> Scenario {
        Scenario { id: id.into(), ..sample::passing().scenarios[0].clone() }
    }

    fn file(ids: &[&str]) -> ResultFile {
        let like = sample::passing();
        ResultFile::new(&like.commit, like.time, like.resolution_ms, ids.iter().map(|id| scenario(id)).collect())
    }

    #[test]
    fn shards_make_the_whole_byte_for_byte_in_any_order() {
        let named = |ids: &[&str]| (ids.join("+"), file(ids));
        let whole = json::result(&file(&["a", "b", "c", "d"]));
        for shards in [
            vec![named(&["a", "d"]), named(&["b"]), named(&["c"])],
            vec![named(&["c"]), named(&[]), named(&["b", "a", "d"])],
        ] {
            assert_eq!(json::result(&merge(&shards).unwrap()), whole);
        }
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        assert_eq!(merge(&[]), Err(MergeError::Nothing));
        let twice = merge(&[("x".into(), file(&["a"])), ("y".into(), file(&["a"]))]);
        assert!(matches!(twice, Err(MergeError::Twice { .. })));
        let other = ResultFile { commit: "other".into(), ..file(&["b"]) };
        let unlike = merge(&[("x".into(), file(&["a"])), ("y".into(), other)]);
        assert!(matches!(unlike, Err(MergeError::Unlike { what: "the commit", .. })));
    }
}
