//! Prints the JSON Schema of `result.json`, to be kept as `docs/schema/result.v1.schema.json`.

fn main() {
    print!("{}", seaworthy_reports::render::json::schema());
}
