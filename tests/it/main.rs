//! The integration tests: one binary, one module a border.

mod conformance;
mod journal;
