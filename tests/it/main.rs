//! Integration tests.

mod command;
mod diagnostics;
