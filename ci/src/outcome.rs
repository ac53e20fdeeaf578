//! How a step ends.

/// What a step of the checks comes to.
pub(crate) type Outcome = Result<Passed, Failed>;

/// A step that did its work and found nothing wrong.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// How much was checked, in a few words.
    pub(crate) what: String,
    /// Lines to show as they are.
    pub(crate) lines: Vec<String>,
    /// `NOT RUN name: why`, for what this machine can't do.
    pub(crate) not_run: Vec<String>,
}

/// A step that found something, or that had nothing to check.
#[derive(Debug)]
pub(crate) struct Failed {
    /// In one line.
    pub(crate) why: String,
    /// Everything that was said; its end is shown.
    pub(crate) output: Vec<String>,
}

impl Passed {
    /// Nothing to add but how much was checked.
    pub(crate) fn of(what: impl Into<String>) -> Self {
        Passed { what: what.into(), ..Passed::default() }
    }
}

impl Failed {
    /// A failure that its one line explains.
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Failed { why: why.into(), output: Vec::new() }
    }
}
