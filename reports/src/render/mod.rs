//! Renderings of a result: pure functions from data to text.

pub mod json;
pub mod text;
