//! The integration tests: one binary, one module a border.

mod journal;
//! Integration tests.

mod conformance;
