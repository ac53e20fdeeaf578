//! Integration tests.

mod conformance;
