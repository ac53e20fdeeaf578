//! The real machine behind `Env`: the only place of the engine that touches it.
