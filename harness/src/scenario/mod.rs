//! Scenarios: a TOML file read, checked against the graph that it runs, and compiled into the explicit plan of a seed.
//!
//! `shape` and `spec` know the keys, `value`, `expr`, `expect` and `address` the texts behind them, `check` what they
//! mean together; `compile` draws. None of them does I/O: the caller reads files and says what the graph has.

mod address;
mod atlas;
mod check;
mod check_effect;
mod check_fault;
mod check_load;
mod check_plan;
mod check_stand_in;
mod compile;
pub(crate) mod draw;
mod error;
mod expect;
mod expr;
mod hash;
pub mod kinds;
mod lints;
mod matrix;
mod model;
mod shape;
mod sources;
#[cfg(test)]
mod sources_tests;
mod spec;
pub mod storm;
#[cfg(test)]
mod tests;
mod timeline;
mod value;

pub use address::{Address, Target, World, WorldChannel, WorldNode};
pub use check_plan::{PlanProblems, check_plan};
pub use compile::compile;
pub use error::{ScenarioError, ScenarioErrors, Span, line_of};
pub use expect::{Limit, Metric, Objective, Phase, Stat, Until};
pub use expr::{Expr, ExprError, Op, Quantity, Readings, Term, Unit};
pub use hash::hash;
pub use lints::{Lint, lints};
pub use model::{
    Arrival, Content, Effect, Fault, Load, Made, Ordering, Promise, Scenario, Schedule, SeedSets, Sim, Size, Sometimes,
    StandIn, Template,
};
pub use sources::Sources;
pub use spec::{FaultText, File, LoadText, Loads, PromiseText, SeedsText, SimText, SometimesText, StandInText};
pub use timeline::{Mark, TimelineRow, timeline, timeline_rows};
pub use value::{Seeds, ValueError, dist, duration, seeds, show_dist, show_duration};

use std::path::{Path, PathBuf};

/// Reads and checks a scenario against the `world` that its graph makes.
///
/// Pure: the path only names the file, gives the scenario its id (the stem) and says whether sabotages are allowed.
///
/// # Errors
/// Everything that is wrong with the files, in order of place.
pub fn load(sources: &Sources, world: &World) -> Result<Scenario, Box<ScenarioErrors>> {
    let (file, mut errors) = spec::read(sources);
    let scenario = file.and_then(|file| check::check(sources, file, world, &mut errors));
    match scenario {
        Some(scenario) if errors.is_empty() => Ok(scenario),
        _ => Err(Box::new(ScenarioErrors::new(sources, errors))),
    }
}

/// What a scenario says of its graph, so that a caller can make the [`World`] of [`load`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphWanted {
    /// Where it lies.
    pub path: PathBuf,
    /// The nodes whose plugins need not be here, as `host.node`.
    pub stand_ins: Vec<String>,
}

/// The graph that a scenario names. `None` when the files are too broken to say; `load` with an empty world then says why.
#[must_use]
pub fn graph_wanted(sources: &Sources) -> Option<GraphWanted> {
    let file = spec::read(sources).0?;
    let path = beside(Path::new(sources.path()), &file.graph.0?.value);
    Some(GraphWanted { path, stand_ins: file.stand_in.0.into_iter().map(|(address, _)| address.value).collect() })
}

/// `written` as a path relative to the folder of `file`.
fn beside(file: &Path, written: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(written)
}

/// The JSON Schema of the file format, as `docs/schema/scenario.v1.schema.json` holds it.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(File).to_value();
    schema["$id"] = "https://seaworthy.invalid/schema/scenario.v1.schema.json".into();
    schema["title"] = "Seaworthy scenario, version 1".into();
    // What a scenario extends may have all that it must have.
    if let Some(required) = schema.as_object_mut().and_then(|schema| schema.remove("required")) {
        schema["anyOf"] = serde_json::json!([{ "required": required }, { "required": ["extends"] }]);
    }
    // In a file that extends another, a table may say less than all, and `false` takes out what is there.
    for part in ["LoadText", "PromiseText", "FaultText"] {
        schema["$defs"][part].as_object_mut().and_then(|part| part.remove("required"));
    }
    let or_false =
        |part: &mut serde_json::Value| *part = serde_json::json!({ "anyOf": [part.take(), { "const": false }] });
    for table in ["faults", "expect"] {
        or_false(&mut schema["properties"][table]["additionalProperties"]);
    }
    for key in ["load", "promise", "sim", "engine", "seeds", "faults", "expect", "sometimes", "cpu", "stand_in"] {
        or_false(&mut schema["properties"][key]);
    }
    // TOML has no null: an optional key is absent or right.
    drop_null(&mut schema);
    let kinds = kinds::FAULTS.iter().chain(&kinds::SABOTAGES).map(|kind| kind.id);
    schema["$defs"]["FaultText"]["properties"]["kind"]["enum"] = kinds.collect();
    schema
}

fn drop_null(schema: &mut serde_json::Value) {
    use serde_json::Value;
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            schema["type"] = only.clone();
        }
    }
    if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
        any.retain(|part| part.get("type") != Some(&"null".into()));
        if let (1, Some(object)) = (any.len(), schema.as_object_mut()) {
            let Some(Value::Array(mut any)) = object.remove("anyOf") else { unreachable!("it was a list above") };
            if let Value::Object(only) = any.remove(0) {
                object.extend(only);
            }
        }
    }
    match schema {
        Value::Object(object) => object.values_mut().for_each(drop_null),
        Value::Array(list) => list.iter_mut().for_each(drop_null),
        _ => {}
    }
}
