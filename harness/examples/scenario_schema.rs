//! Prints the JSON Schema of the scenario format: `docs/schema/scenario.v1.schema.json` holds what this prints.

fn main() {
    println!("{:#}", seaworthy_harness::scenario::schema());
}
