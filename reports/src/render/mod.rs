//! Renderings of a result: pure functions from data to text.

mod charts;
pub mod hlog;
pub mod html;
pub mod json;
pub mod junit;
pub mod prom;
pub mod text;
