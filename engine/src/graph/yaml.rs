//! YAML as a tree with places, so that a reader can go on after an error and report all of them.
//!
//! Deserialising into structs would stop at the first wrong key.

use std::collections::BTreeMap;
use std::fmt;

use miette::SourceSpan;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use super::diagnostic::{At, Diagnostic, Findings, SourceFile};
use super::suggest::instead;

/// Larger files are refused unread.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Deeper nesting is refused.
const DEPTH_MAX: usize = 32;
/// Longer ids are refused.
const ID_BYTES_MAX: usize = 64;

/// What is wrong with a file before its meaning is looked at.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum YamlProblem {
    /// Not YAML.
    #[error("this is not valid YAML: {message}")]
    #[diagnostic(code(yaml::syntax), help("check the indentation and the brackets just before this place"))]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// Too large.
    #[error("the file has {bytes} bytes, more than {FILE_BYTES_MAX}")]
    #[diagnostic(code(yaml::too_large), help("is this really a graph?"))]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// A key that nothing reads.
    #[error("{what} has no key `{key}`")]
    #[diagnostic(code(yaml::unknown_key), help("{help}"))]
    UnknownKey {
        /// Whose key, e.g. `a node`.
        what: &'static str,
        /// The key.
        key: String,
        /// What to write instead.
        help: String,
    },
    /// A key is there twice.
    #[error("the key `{key}` is written twice")]
    #[diagnostic(code(yaml::repeated_key), help("remove one of the two: which one counts would be a guess"))]
    RepeatedKey {
        /// The key.
        key: String,
    },
    /// A key is missing.
    #[error("{what} needs the key `{key}`")]
    #[diagnostic(code(yaml::missing_key), help("add `{key}: ...`"))]
    MissingKey {
        /// Whose key.
        what: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A value of another type.
    #[error("{key} must be {wanted}, and this is {found}")]
    #[diagnostic(code(yaml::wrong_type), help("{help}"))]
    WrongType {
        /// Whose value.
        key: String,
        /// What it must be.
        wanted: &'static str,
        /// What it is.
        found: String,
        /// What to write instead.
        help: String,
    },
    /// An id that no address could name.
    #[error("`{id}` can't be an id")]
    #[diagnostic(
        code(yaml::bad_id),
        help(
            "use letters, digits, `_` and `-` inside, at most {ID_BYTES_MAX}: addresses such as `edge.feed` and `edge->hub` are made of ids"
        )
    )]
    BadId {
        /// The id.
        id: String,
    },
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree {
    pub(crate) span: SourceSpan,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(At<String>, Tree)>),
}

enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        struct RawVisitor;
        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
                Ok(Raw::Scalar(Value::Null))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw, E> {
                Ok(Raw::Scalar(Value::Bool(value)))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw, E> {
                Ok(Raw::Scalar(Value::Number(value.into())))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw, E> {
                Ok(Raw::Scalar(Value::Number(value.into())))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
                let number = serde_json::Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
                Ok(Raw::Scalar(Value::Number(number)))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw, E> {
                Ok(Raw::Scalar(Value::Text(value.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = access.next_element()? {
                    list.push(item);
                }
                Ok(Raw::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    map.push(entry);
                }
                Ok(Raw::Map(map))
            }
        }
        deserializer.deserialize_any(RawVisitor)
    }
}

fn span_of(text: &str, place: Location) -> SourceSpan {
    let span = place.span();
    let (start, length) = match (span.byte_offset(), span.byte_len()) {
        (Some(start), Some(length)) => (start as usize, length as usize),
        _ => {
            let line: usize =
                text.split_inclusive('\n').take((place.line() as usize).saturating_sub(1)).map(str::len).sum();
            let rest = &text[line..];
            let column = (place.column() as usize).saturating_sub(1);
            (line + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at), 1)
        }
    };
    let start = text.floor_char_boundary(start);
    let end = text.ceil_char_boundary(start.saturating_add(length).min(text.len()));
    // A block scalar's span reaches over its lines; the first one says enough.
    let line_end = text[start..end].find('\n').map_or(end, |at| start + at);
    (start, line_end - start).into()
}

fn plant(text: &str, raw: Spanned<Raw>) -> Tree {
    let span = span_of(text, raw.referenced);
    let value = match raw.value {
        Raw::Scalar(value) => value,
        Raw::List(list) => Value::List(list.into_iter().map(|item| plant(text, item)).collect()),
        Raw::Map(map) => Value::Map(
            map.into_iter()
                .map(|(key, value)| (At { span: span_of(text, key.referenced), value: key.value }, plant(text, value)))
                .collect(),
        ),
    };
    Tree { span, value }
}

/// Reads a file's text. An error here is the only one of the file: nothing behind it can be trusted.
pub(crate) fn parse(file: &SourceFile) -> Result<Tree, Diagnostic> {
    let text = file.text();
    if text.len() > FILE_BYTES_MAX {
        return Err(Diagnostic::of(file, YamlProblem::TooLarge { bytes: text.len() }));
    }
    let options = serde_saphyr::options! {
        // Repeated keys are reported with the other errors, not instead of them.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
        // Aliases may repeat text, up to four times the largest file.
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_total_scalar_bytes: 4 * FILE_BYTES_MAX },
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(plant(text, raw)),
        Err(error) => {
            let place = error.location();
            let message = error.to_string();
            let message = message.split_once(" at line ").map_or(message.as_str(), |(what, _)| what).to_owned();
            let problem = YamlProblem::Syntax { message };
            Err(match place {
                Some(place) => Diagnostic::at(file, span_of(text, place), problem),
                None => Diagnostic::of(file, problem),
            })
        }
    }
}

impl Tree {
    fn found(&self) -> String {
        match &self.value {
            Value::Null => "empty".to_owned(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Number(value) => format!("the number {value}"),
            Value::Text(value) => format!("the text {value:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    pub(crate) fn wrong_type(&self, key: &str, wanted: &'static str, help: impl Into<String>, findings: &mut Findings) {
        let problem = YamlProblem::WrongType { key: key.to_owned(), wanted, found: self.found(), help: help.into() };
        findings.add(self.span, problem);
    }

    /// The value as text; reports anything else.
    pub(crate) fn text(&self, key: &str, findings: &mut Findings) -> Option<At<String>> {
        match &self.value {
            Value::Text(value) => return Some(At { value: value.clone(), span: self.span }),
            Value::Number(number) => {
                self.wrong_type(key, "text", format!("put it in quotes: {key}: \"{number}\""), findings)
            }
            Value::Bool(value) => {
                self.wrong_type(key, "text", format!("put it in quotes: {key}: \"{value}\""), findings)
            }
            _ => self.wrong_type(key, "text", format!("write `{key}: some_text`"), findings),
        }
        None
    }

    /// The value as an id; reports, and gives back all the same, what no address could name.
    pub(crate) fn id(&self, key: &str, findings: &mut Findings) -> Option<At<String>> {
        let text = self.text(key, findings)?;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let id = &text.value;
        let fits = id.len() <= ID_BYTES_MAX
            && id.starts_with(word)
            && id.ends_with(word)
            && id.chars().all(|c| word(c) || c == '-');
        if !fits {
            findings.add(text.span, YamlProblem::BadId { id: id.clone() });
        }
        Some(text)
    }

    /// The value as a boolean; reports anything else.
    pub(crate) fn boolean(&self, key: &str, findings: &mut Findings) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.wrong_type(key, "true or false", format!("write `{key}: true` or `{key}: false`"), findings);
                None
            }
        }
    }

    /// The items of a list; none, with a report, of anything else.
    pub(crate) fn list(&self, key: &str, findings: &mut Findings) -> &[Tree] {
        match &self.value {
            Value::List(list) => list,
            _ => {
                self.wrong_type(
                    key,
                    "a list",
                    format!("write each on a line of its own below `{key}:`, after a `- `"),
                    findings,
                );
                &[]
            }
        }
    }

    /// The value as JSON; reports repeated keys, of which the last one counts.
    pub(crate) fn json(&self, findings: &mut Findings) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => value.clone().into(),
            Value::Text(value) => value.as_str().into(),
            Value::List(list) => list.iter().map(|item| item.json(findings)).collect(),
            Value::Map(map) => {
                report_repeated(map, findings);
                map.iter().map(|(key, value)| (key.value.clone(), value.json(findings))).collect()
            }
        }
    }
}

fn report_repeated(map: &[(At<String>, Tree)], findings: &mut Findings) {
    let mut first = BTreeMap::new();
    for (key, _) in map {
        if let Some(before) = first.insert(key.value.as_str(), key.span) {
            let problem = YamlProblem::RepeatedKey { key: key.value.clone() };
            findings.found.push(Diagnostic::at(&findings.file, key.span, problem).and(before, "also here"));
        }
    }
}

/// The entries of a mapping whose keys are known.
pub(crate) struct Fields<'t> {
    what: &'static str,
    /// The mapping's first key: where the eye looks for it.
    pub(crate) span: SourceSpan,
    map: &'t [(At<String>, Tree)],
}

impl<'t> Fields<'t> {
    /// Reads a mapping; reports keys that are not in `keys` or written twice, and `None` for what is no mapping at all.
    pub(crate) fn of(tree: &'t Tree, what: &'static str, keys: &[&str], findings: &mut Findings) -> Option<Fields<'t>> {
        let Value::Map(map) = &tree.value else {
            let help =
                if keys.is_empty() { "write `{}`".to_owned() } else { format!("its keys are {}", keys.join(", ")) };
            tree.wrong_type(what, "a mapping", help, findings);
            return None;
        };
        report_repeated(map, findings);
        for (key, _) in map.iter().filter(|(key, _)| !keys.contains(&key.value.as_str())) {
            let help = instead(&key.value, keys.iter().copied());
            findings.add(key.span, YamlProblem::UnknownKey { what, key: key.value.clone(), help });
        }
        Some(Fields { what, span: map.first().map_or(tree.span, |(key, _)| key.span), map })
    }

    /// The value of a key that may be missing.
    pub(crate) fn get(&self, key: &str) -> Option<&'t Tree> {
        self.map.iter().find(|(name, _)| name.value == key).map(|(_, value)| value)
    }

    /// The value of a key that must be there; reports when it isn't.
    pub(crate) fn need(&self, key: &'static str, findings: &mut Findings) -> Option<&'t Tree> {
        let value = self.get(key);
        if value.is_none() {
            findings.add(self.span, YamlProblem::MissingKey { what: self.what, key });
        }
        value
    }
}
