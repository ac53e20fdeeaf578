//! Process graphs: which processes there are, which graph each runs, and which durable channels join them.
//!
//! Pure: texts in, plans or what is wrong out.

mod check;
mod options;
mod problem;
mod spec;

pub use check::{CHANNELS_MAX, CONNECTIONS_MAX, ChannelPlan, GroupPlan, PlannedProcess, ProcessPlan};
pub use options::{ChannelOptions, OnPoison, Order};
pub use problem::ProcessProblem;
pub use spec::{ChannelSpec, LinkSpec, PROCESS_VERSION, ProcessGraphSpec, ProcessSpec};

pub(crate) use check::load;
