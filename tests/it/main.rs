//! The integration tests: one binary, one module a border.

mod conformance;
mod journal;
//! Integration tests.

mod command;
mod diagnostics;
