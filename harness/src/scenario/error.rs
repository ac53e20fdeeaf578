//! What can be wrong with a scenario file: every error with its code, its place and what to write instead.

use miette::{Diagnostic, SourceSpan};

use super::sources::Sources;
use super::value::ValueError;

/// A place in the file, in bytes.
pub type Span = std::ops::Range<usize>;

/// One thing that is wrong with a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
#[allow(missing_docs, reason = "the messages say what each field is")]
pub enum ScenarioError {
    /// The file is not TOML.
    #[error("{message}")]
    #[diagnostic(code(scenario::syntax), help("a scenario is TOML 1.1; the marked place is where reading stopped"))]
    Syntax {
        message: String,
        #[label("here")]
        at: SourceSpan,
    },
    /// A key that must be there is not.
    #[error("`{key}` is missing in {place}")]
    #[diagnostic(code(scenario::missing_key))]
    MissingKey {
        key: String,
        place: String,
        #[label("in here")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A key that the format doesn't know.
    #[error("unknown key `{key}` in {place}")]
    #[diagnostic(code(scenario::unknown_key))]
    UnknownKey {
        key: String,
        place: String,
        #[label("not known here")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A number where a text should be, and the like.
    #[error("`{key}` should be {wanted}, but is {found}")]
    #[diagnostic(code(scenario::wrong_type))]
    WrongType {
        key: String,
        wanted: String,
        found: String,
        #[label("{found}")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A value that can't be read or is out of bounds.
    #[error("{message}")]
    #[diagnostic(code(scenario::bad_value))]
    BadValue {
        message: String,
        #[label("this value")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// The format has it, this version doesn't.
    #[error("{what} is not in this version")]
    #[diagnostic(code(scenario::not_in_this_version))]
    NotInThisVersion {
        what: String,
        #[label("not yet")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A fault kind that nobody knows.
    #[error("unknown kind of fault `{kind}`")]
    #[diagnostic(code(scenario::unknown_kind))]
    UnknownKind {
        kind: String,
        #[label("no such kind")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A sabotage where real scenarios live.
    #[error("`{kind}` is a sabotage, and this file is not in a folder named `must_fail`")]
    #[diagnostic(
        code(scenario::sabotage_outside),
        help(
            "a sabotage breaks the system on purpose to see a check fail: move the file to `must_fail/`, or use a fault"
        )
    )]
    SabotageOutside {
        kind: String,
        #[label("refused here")]
        at: SourceSpan,
    },
    /// An address that the world doesn't have.
    #[error("there is no {what} `{name}` in the graph")]
    #[diagnostic(code(scenario::unknown_target))]
    UnknownTarget {
        what: &'static str,
        name: String,
        #[label("not in the graph")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// An address of another sort than the fault or load needs.
    #[error("`{on}` is {is}, but {who} needs {wanted}")]
    #[diagnostic(code(scenario::wrong_target), help("name {wanted}"))]
    WrongTarget {
        on: String,
        is: &'static str,
        who: String,
        wanted: &'static str,
        #[label("{is}")]
        at: SourceSpan,
    },
    /// A load into something that takes none.
    #[error("a load enters by a source, but `{node}` is none")]
    #[diagnostic(code(scenario::not_a_source))]
    NotASource {
        node: String,
        #[label("not a source")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A fault that says nothing of when it begins.
    #[error("fault `{fault}` doesn't say when it begins")]
    #[diagnostic(
        code(scenario::no_schedule),
        help("add one of `at = \"20s\"`, `within = \"10s..50s\"`, `when = \"edge.uplink.backlog > 200\"`")
    )]
    NoSchedule {
        fault: String,
        #[label("this fault")]
        at: SourceSpan,
    },
    /// Two statements that can't both hold.
    #[error("{message}")]
    #[diagnostic(code(scenario::contradiction))]
    Contradiction {
        message: String,
        #[label("contradicts the rest")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A fault that begins or ends when the run is over.
    #[error("fault `{fault}` {when}, after the end of the run")]
    #[diagnostic(code(scenario::after_end))]
    AfterEnd {
        fault: String,
        when: String,
        #[label("too late")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A duration of nothing.
    #[error("`{key}` lasts no time at all")]
    #[diagnostic(code(scenario::zero_length))]
    ZeroLength {
        key: String,
        #[label("zero")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A tick that turmoil can't do.
    #[error("the tick must be a whole number of milliseconds, at least 1ms, not {tick}")]
    #[diagnostic(
        code(scenario::tick),
        help("the simulated network moves in whole milliseconds; write \"1ms\" or a multiple of it")
    )]
    Tick {
        tick: String,
        #[label("this tick")]
        at: SourceSpan,
    },
    /// A condition that can't be read.
    #[error("can't read the expression: {message}")]
    #[diagnostic(code(scenario::bad_expression))]
    BadExpression {
        message: String,
        #[label("here")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// An expectation of something that is not measured.
    #[error("can't read the expectation: {message}")]
    #[diagnostic(code(scenario::bad_expectation))]
    BadExpectation {
        message: String,
        #[label("here")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A limit that can't be read, or whose unit doesn't fit.
    #[error("can't read the limit: {message}")]
    #[diagnostic(code(scenario::bad_limit))]
    BadLimit {
        message: String,
        #[label("here")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A file with a matrix where one scenario is needed.
    #[error("{path} is {} scenarios, the variants of its matrix", variants.len())]
    #[diagnostic(code(scenario::many_variants), help("name one of them: `{path}#{}`", variants.join("`, `#")))]
    ManyVariants {
        path: String,
        variants: Vec<String>,
        #[label("turns by this first")]
        at: SourceSpan,
    },
    /// A variant that the file's matrix doesn't have.
    #[error("there is no variant `{name}`")]
    #[diagnostic(code(scenario::unknown_variant))]
    UnknownVariant {
        name: String,
        #[label("these are its axes")]
        at: SourceSpan,
        #[help]
        help: String,
    },
    /// A fault that the file doesn't have.
    #[error("there is no fault `{fault}` in this file")]
    #[diagnostic(code(scenario::unknown_fault))]
    UnknownFault {
        fault: String,
        #[label("no such fault")]
        at: SourceSpan,
        #[help]
        help: String,
    },
}

impl ScenarioError {
    /// A value that could not be read.
    #[must_use]
    pub fn value(key: &str, error: ValueError, at: &Span) -> Self {
        ScenarioError::BadValue { message: format!("`{key}`: {error}"), at: span(at), help: error.help }
    }

    /// Where it is, in bytes from the start of the file.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset())
    }
}

/// The span as miette wants it.
pub(super) fn span(at: &Span) -> SourceSpan {
    SourceSpan::from(at.clone())
}

/// The line of a byte offset, from 1.
#[must_use]
pub fn line_of(text: &str, offset: usize) -> u32 {
    let before = text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count();
    u32::try_from(before + 1).unwrap_or(u32::MAX)
}

/// Everything that is wrong with one file, in order of place.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("could not use the scenario {path}: {}", count(errors.len()))]
#[diagnostic(code(scenario::invalid))]
pub struct ScenarioErrors {
    /// The file, as it was named.
    pub path: String,
    /// Its text, and those of the files that it extends.
    #[source_code]
    pub text: Sources,
    /// What is wrong, at least one.
    #[related]
    pub errors: Vec<ScenarioError>,
}

fn count(errors: usize) -> String {
    if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") }
}

impl ScenarioErrors {
    pub(super) fn new(sources: &Sources, mut errors: Vec<ScenarioError>) -> Self {
        errors.sort_by_key(ScenarioError::offset);
        errors.dedup();
        ScenarioErrors { path: sources.path().to_owned(), text: sources.clone(), errors }
    }

    /// `(code, line in its file)` of each error, in order: what tests and machines read.
    #[must_use]
    pub fn places(&self) -> Vec<(String, u32)> {
        let place = |error: &ScenarioError| {
            let code = error.code().map(|code| code.to_string()).unwrap_or_default();
            (code, self.text.place(error.offset()).1)
        };
        self.errors.iter().map(place).collect()
    }
}
