//! Reads a TOML tree into sections: which keys there are, of which type, all errors at once. What a section's keys
//! mean is none of its business. The `section!` macro makes a struct, its reader and its JSON Schema from one list of
//! keys, so that they can't disagree.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ScenarioError, Span, span};
use super::value::nearest;

/// A text and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Without its quotes.
    pub value: String,
    /// Where it stands, quotes included.
    pub at: Span,
}

/// A number, or a text that holds a share such as `50%`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share(pub Text);

/// A whole number and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Never negative.
    pub value: u64,
    /// Where it starts and ends.
    pub at: (usize, usize),
}

/// A text, a number or a truth value, as a template writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// As JSON.
    pub value: serde_json::Value,
    /// Where it stands.
    pub at: Span,
}

/// Entries with names of the author's choice, in order of the file; `None` for one that could not be read.
#[derive(Clone, Debug)]
pub struct Named<T>(pub Vec<(Text, Option<T>)>);

/// Something that must be there. When it can't be read, the section around it goes on without it, so that one error
/// hides no other.
#[derive(Clone, Debug)]
pub struct Wanted<T>(pub Option<T>);

/// A key that is dealt with before sections are read; here it has its place in the schema.
#[derive(Clone, Copy, Debug)]
pub struct Apart<T>(PhantomData<T>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(Vec::new())
    }
}

/// Collects errors while a tree is read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub errors: Vec<ScenarioError>,
}

/// Where a value is: its key, the section around it, and its span.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub key: &'a str,
    pub section: &'a str,
    pub at: &'a Span,
}

/// A value of a section: read from what the file has under its key, or from nothing.
pub(super) trait Field: Sized {
    fn read(reader: &mut Reader, found: Option<&Spanned<DeValue<'_>>>, place: Place<'_>) -> Option<Self>;
}

/// A table with a fixed list of keys.
pub(super) trait Section: Sized {
    fn read_table(reader: &mut Reader, table: &DeTable<'_>, section: &str, at: &Span) -> Option<Self>;
}

/// The entries of a table in order of the file; the parser keeps them by name.
pub(super) fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(Text, &'t Spanned<DeValue<'i>>)> {
    let text = |key: &Spanned<Cow<'i, str>>| Text { value: key.get_ref().to_string(), at: key.span() };
    let mut entries: Vec<_> = table.iter().map(|(key, value)| (text(key), value)).collect();
    entries.sort_by_key(|(key, _)| key.at.start);
    entries
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

impl Reader {
    pub fn wrong_type(&mut self, place: Place<'_>, wanted: &str, found: &Spanned<DeValue<'_>>, help: String) {
        let (key, found, at) = (place.key.to_owned(), type_name(found.get_ref()).to_owned(), span(&found.span()));
        self.errors.push(ScenarioError::WrongType { key, wanted: wanted.to_owned(), found, at, help });
    }

    pub fn missing(&mut self, place: Place<'_>, help: String) {
        let (key, section) = (place.key.to_owned(), place.section.to_owned());
        self.errors.push(ScenarioError::MissingKey { key, place: section, at: span(place.at), help });
    }

    pub fn unknown_keys(&mut self, table: &DeTable<'_>, known: &[&str], section: &str) {
        for (key, _) in in_order(table) {
            if known.contains(&key.value.as_str()) {
                continue;
            }
            let help = match nearest(&key.value, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.errors.push(ScenarioError::UnknownKey {
                key: key.value,
                place: section.to_owned(),
                at: span(&key.at),
                help,
            });
        }
    }
}

impl Field for Text {
    fn read(reader: &mut Reader, found: Option<&Spanned<DeValue<'_>>>, place: Place<'_>) -> Option<Self> {
        let Some(found) = found else {
            reader.missing(place, format!("add `{} = \"…\"`", place.key));
            return None;
        };
        match found.get_ref() {
            DeValue::String(text) => Some(Text { value: text.to_string(), at: found.span() }),
            other => {
                let help = match other {
                    DeValue::Table(_) => {
                        format!("names with dots or blanks go in quotes: `\"{}.…\" = \"…\"`", place.key)
                    }
                    _ => format!("write it in quotes: `{} = \"{}\"`", place.key, plain(other)),
                };
                reader.wrong_type(place, "a text", found, help);
                None
            }
        }
    }
}

/// A scalar as its author would write it between quotes.
pub(super) fn plain(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => "…".to_owned(),
    }
}

impl Field for Share {
    fn read(reader: &mut Reader, found: Option<&Spanned<DeValue<'_>>>, place: Place<'_>) -> Option<Self> {
        let Some(found) = found else {
            reader.missing(place, format!("add `{} = 0.5` or `{} = \"50%\"`", place.key, place.key));
            return None;
        };
        match found.get_ref() {
            value @ (DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_)) => {
                Some(Share(Text { value: plain(value), at: found.span() }))
            }
            _ => {
                reader.wrong_type(
                    place,
                    "a share",
                    found,
                    "write a number from 0 to 1, or a percentage such as \"50%\"".to_owned(),
                );
                None
            }
        }
    }
}

impl Field for Count {
    fn read(reader: &mut Reader, found: Option<&Spanned<DeValue<'_>>>, place: Place<'_>) -> Option<Self> {
        let Some(found) = found else {
            reader.missing(place, format!("add `{} = 1`", place.key));
            return None;
        };
        let number = match found.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let Some(value) = number else {
            reader.wrong_type(place, "a whole number from 0", found, format!("write `{} = 3`", place.key));
            return None;
        };
        Some(Count { value, at: (found.span().start, found.span().end) })
    }
}

impl Field for bool {
    fn read(reader: &mut Reader, found: Option<&Spanned<DeValue<'_>>>, place: Place<'_>) -> Option<Self> {
        let Some(found) = found else {
            reader.missing(place, format!("add `{} = true` or `{} = false`", place.key, place.key));
            return None;
        };
        if let DeValue::Boolean(value) = found.get_ref() {
            return Some(*value);
        }
        reader.wrong_type(place, "true or false", found, "write true or false, without quotes".to_owned());
        None
    }
}

impl Field for Scalar {
    fn read(reader: &mut Reader, found: Option<&Spanned<DeValue<'_>>>, place: Place<'_>) -> Option<Self> {
        let Some(found) = found else {
            reader.missing(place, format!("add `{} = …`", place.key));
            return None;
        };
        let value = match found.get_ref() {
            DeValue::String(text) => Some(serde_json::Value::from(text.as_ref())),
            DeValue::Boolean(value) => Some(serde_json::Value::from(*value)),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(serde_json::Value::from)
            }
            DeValue::Float(number) => number
                .as_str()
                .replace('_', "")
                .parse::<f64>()
                .ok()
                .filter(|x| x.is_finite())
                .map(serde_json::Value::from),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
        };
        if value.is_none() {
            reader.wrong_type(
                place,
                "a text, a number, true or false",
                found,
                "write a constant or a generator such as \"key(12)\"".to_owned(),
            );
        }
        Some(Scalar { value: value?, at: found.span() })
    }
}

impl<T: Field> Field for Option<T> {
    fn read(reader: &mut Reader, found: Option<&Spanned<DeValue<'_>>>, place: Place<'_>) -> Option<Self> {
        match found {
            None => Some(None),
            Some(found) => T::read(reader, Some(found), place).map(Some),
        }
    }
}

impl<T> Field for Apart<T> {
    fn read(_: &mut Reader, _: Option<&Spanned<DeValue<'_>>>, _: Place<'_>) -> Option<Self> {
        Some(Apart(PhantomData))
    }
}

impl<T: Field> Field for Wanted<T> {
    fn read(reader: &mut Reader, found: Option<&Spanned<DeValue<'_>>>, place: Place<'_>) -> Option<Self> {
        Some(Wanted(T::read(reader, found, place)))
    }
}

/// Reads a list; wrong entries are reported and left out.
impl<T: Field> Field for Vec<T> {
    fn read(reader: &mut Reader, found: Option<&Spanned<DeValue<'_>>>, place: Place<'_>) -> Option<Self> {
        let Some(found) = found else { return Some(Vec::new()) };
        let DeValue::Array(items) = found.get_ref() else {
            reader.wrong_type(
                place,
                "a list",
                found,
                format!("write `{} = [ … ]`, or `[[{}]]` before each table", place.key, place.key),
            );
            return Some(Vec::new());
        };
        Some(items.iter().filter_map(|item| T::read(reader, Some(item), Place { at: &item.span(), ..place })).collect())
    }
}

/// Reads a table whose keys the author chooses.
impl<T: Field> Field for Named<T> {
    fn read(reader: &mut Reader, found: Option<&Spanned<DeValue<'_>>>, place: Place<'_>) -> Option<Self> {
        let Some(found) = found else { return Some(Named::default()) };
        let DeValue::Table(table) = found.get_ref() else {
            reader.wrong_type(place, "a table", found, format!("write `[{}.NAME]`", place.key));
            return Some(Named::default());
        };
        let mut out = Vec::new();
        for (key, value) in in_order(table) {
            let section = format!("{}.{}", place.key, key.value);
            let read = T::read(reader, Some(value), Place { key: &key.value, section: &section, at: &key.at });
            out.push((key, read));
        }
        Some(Named(out))
    }
}

/// Reads a section that is a table.
pub(super) fn read_section<T: Section>(
    reader: &mut Reader,
    found: Option<&Spanned<DeValue<'_>>>,
    place: Place<'_>,
) -> Option<T> {
    let Some(found) = found else {
        reader.missing(place, format!("add `[{}]`", place.key));
        return None;
    };
    let DeValue::Table(table) = found.get_ref() else {
        reader.wrong_type(place, "a table", found, format!("write `{} = {{ … }}` or `[{}]`", place.key, place.key));
        return None;
    };
    // Tables under `[faults.cut]` span their header; errors about the whole table point there.
    let header = if place.section.contains('.') { place.section } else { place.key };
    T::read_table(reader, table, &format!("`{header}`"), &found.span())
}

/// Makes a section of the format: the struct, its reader and its schema, from one list of keys.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $key:literal => $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $doc])+ #[schemars(rename = $key)] pub $field: $type,)*
            /// Where the section stands.
            #[schemars(skip)]
            pub at: $crate::scenario::error::Span,
        }

        impl $crate::scenario::shape::Section for $name {
            fn read_table(
                reader: &mut $crate::scenario::shape::Reader,
                table: &toml::de::DeTable<'_>,
                section: &str,
                at: &$crate::scenario::error::Span,
            ) -> Option<Self> {
                use $crate::scenario::shape::{Field, Place};
                reader.unknown_keys(table, &[$($key),*], section);
                // Every key is read before the first missing one ends the section, so that no error hides another.
                $(let $field = <$type as Field>::read(reader, table.get($key), Place { key: $key, section, at });)*
                Some($name { $($field: $field?,)* at: at.clone() })
            }
        }

        impl $crate::scenario::shape::Field for $name {
            fn read(
                reader: &mut $crate::scenario::shape::Reader,
                found: Option<&serde_spanned::Spanned<toml::de::DeValue<'_>>>,
                place: $crate::scenario::shape::Place<'_>,
            ) -> Option<Self> {
                $crate::scenario::shape::read_section(reader, found, place)
            }
        }
    };
}
pub(super) use section;

macro_rules! schema {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

schema!(Text, "Text", { "type": "string" });
schema!(Share, "Share", { "anyOf": [{ "type": "number", "minimum": 0, "maximum": 1 }, { "type": "string", "pattern": "^[0-9.]+ *%?$" }] });
schema!(Count, "Count", { "type": "integer", "minimum": 0 });
schema!(Scalar, "Scalar", { "type": ["string", "number", "boolean"] });

/// Whatever reads a value in another way has the schema of the value.
macro_rules! schema_within {
    ($($around:ident),*) => {$(
        impl<T: JsonSchema> JsonSchema for $around<T> {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                generator.subschema_for::<T>()
            }
        }
    )*};
}

schema_within!(Wanted, Apart);

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}
