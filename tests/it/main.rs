//! The integration tests: one binary, one module a border.

mod calibrate;
mod channels;
mod ci_page;
mod command;
mod conformance;
mod diagnostics;
mod exploring;
mod gate;
mod journal;
mod must_fail;
mod one_message_more;
mod project;
mod real;
mod rebuild;
mod regressions;
mod rendered;
mod testing;
