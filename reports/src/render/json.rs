//! `result.json` as bytes: keys sorted, two spaces, a newline at the end, the same for the same result everywhere.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::Value;

use crate::result::ResultFile;

/// Sorts the keys whatever map serde_json was built with: its feature `preserve_order` would change bytes.
struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let sorted: BTreeMap<&str, Sorted<'_>> =
                    map.iter().map(|(key, value)| (key.as_str(), Sorted(value))).collect();
                sorted.serialize(serializer)
            }
            Value::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(&Sorted(item))?;
                }
                seq.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}

fn print(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(&Sorted(value)).expect("a JSON value can always be printed");
    text.push('\n');
    text
}

/// The bytes of `result.json`.
#[must_use]
pub fn result(file: &ResultFile) -> String {
    print(&serde_json::to_value(file).expect("a result has only text keys and finite numbers"))
}

/// The JSON Schema of `result.json`, as `docs/schema/result.v1.schema.json` holds it.
#[must_use]
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(ResultFile).to_value();
    schema["properties"]["schema"]["const"] = Value::from(crate::result::SCHEMA);
    print(&schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_committed_schema_is_the_one_of_the_types() {
        let committed = include_str!("../../../docs/schema/result.v1.schema.json");
        let hint = "cargo run -p seaworthy-reports --example schema > docs/schema/result.v1.schema.json";
        assert!(committed == schema(), "the types of result.json have changed; if that is meant: {hint}");
    }

    #[test]
    fn a_result_fits_its_schema_and_reads_back() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for file in [sample::passing(), sample::failing(), sample::void()] {
            let text = result(&file);
            let value: Value = serde_json::from_str(&text).unwrap();
            let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new());
            let back: ResultFile = serde_json::from_str(&text).unwrap();
            assert_eq!(result(&back), text);
            let mut wrong = value;
            wrong["scenarios"][0]["verdict"] = Value::from("perhaps");
            assert!(!validator.is_valid(&wrong));
        }
    }

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let text = print(&serde_json::json!({"b": {"z": 1, "y": 2}, "a": 0}));
        assert_eq!(text, "{\n  \"a\": 0,\n  \"b\": {\n    \"y\": 2,\n    \"z\": 1\n  }\n}\n");
        let whole = result(&sample::passing());
        let top: Vec<&str> = whole.lines().filter(|line| line.starts_with("  \"")).collect();
        assert!(top.len() == 8 && top.is_sorted(), "{top:?}");
    }

    #[test]
    fn the_order_of_seeds_changes_no_byte() {
        assert_eq!(result(&sample::of_seeds([1, 2, 3, 4])), result(&sample::of_seeds([3, 1, 4, 2])));
    }
}
