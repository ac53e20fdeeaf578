//! Puts the shards of one run together: what each ran, side by side, as if one had run all.

use crate::result::{ResultFile, Scenario};

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
    /// No shard has a scenario: nothing is proved.
    #[error("proved nothing: there is no scenario in any shard")]
    Empty,
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
    let mut scenarios: Vec<(&String, Scenario)> = Vec::new();
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
            if let Some((one, twice)) = scenarios.iter().find(|(_, known)| known.id == scenario.id) {
                return Err(MergeError::Twice { id: twice.id.clone(), one: (*one).clone(), other: name.clone() });
            }
            scenarios.push((name, scenario.clone()));
        }
    }
    let scenarios: Vec<Scenario> = scenarios.into_iter().map(|(_, scenario)| scenario).collect();
    if scenarios.is_empty() {
        return Err(MergeError::Empty);
    }
    // That of the coarsest scenario, as in a run of them all.
    let resolution_ms = shards.iter().map(|(_, shard)| shard.resolution_ms).max().unwrap_or(1);
    let mut whole = ResultFile::new(&first.commit, first.time, resolution_ms, scenarios);
    whole.object(shards.iter().flat_map(|(_, shard)| shard.objections.clone()));
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::json;
    use crate::result::{Objection, Verdict};
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
    fn what_was_held_against_a_shard_is_held_against_the_whole_once() {
        let against = |scenario: &str, exit, what: &str| Objection {
            scenario: scenario.into(),
            step: "compare".into(),
            exit,
            what: what.into(),
        };
        let objecting = |ids: &[&str], objections: &[Objection]| {
            let mut file = file(ids);
            file.object(objections.iter().cloned());
            file
        };
        let (worse, gone) = (against("b", 3, "p99 4 → 9"), against("e", 2, "LOOSENED"));
        let whole = objecting(&["a", "b"], &[gone.clone(), worse.clone()]);
        let shards = [
            ("1".to_owned(), objecting(&["b"], &[worse.clone(), gone.clone()])),
            ("2".to_owned(), objecting(&["a"], std::slice::from_ref(&gone))),
        ];
        let merged = merge(&shards).unwrap();
        assert_eq!(json::result(&merged), json::result(&whole));
        let verdicts: Vec<_> = merged.scenarios.iter().map(|scenario| scenario.verdict).collect();
        assert_eq!((verdicts, merged.verdict), (vec![Verdict::Pass, Verdict::Regressed], Verdict::Fail));
        assert_eq!(merge(&[("1".into(), file(&[])), ("2".into(), file(&[]))]), Err(MergeError::Empty));
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
