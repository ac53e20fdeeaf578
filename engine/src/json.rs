//! JSON text read in place: where the fields of an object lie, found in one pass and without a tree.
//!
//! What an [`Outline`] says is what `serde_json` would say of the same text. It is given only for the plain bulk of
//! payloads; for all else (escapes, exponents, very long numbers, deep nesting, a key that comes twice, no JSON at all)
//! there is none, and whoever asked builds the tree.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;

/// Deeper nesting has no outline; `serde_json` itself stops at 128.
const DEPTH_MAX: usize = 32;
/// Objects with more fields have no outline: they are searched one by one.
const FIELDS_MAX: usize = 64;
/// So many fields stand in place, more have memory of their own.
const FIELDS_USUAL: usize = 8;
/// Most digits of a number before the point: any such integer fits 64 bits.
const WHOLE_DIGITS_MAX: usize = 18;
/// A decimal of so many digits comes back from a float as the same digits (`f64::DIGITS`).
const DIGITS_MAX: usize = 15;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Null,
    True,
    False,
    /// An integer of 64 bits.
    Int,
    /// A finite number with a point.
    Float,
    /// A string without escapes: its characters stand between the quotes as they are.
    Text,
    /// An array or an object.
    Nested,
}

/// A value within a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    start: u32,
    end: u32,
    pub(crate) shape: Shape,
    /// True when `serde_json` would write the value just as it stands there.
    pub(crate) canonical: bool,
}

impl Value {
    /// Where it stands in `text`, the one that it was found in.
    pub(crate) fn of<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        &text[self.start as usize..self.end as usize]
    }

    /// The number that an [`Shape::Int`] of `text` is.
    pub(crate) fn int(&self, text: &[u8]) -> i64 {
        let (negative, digits) = sign(self.of(text));
        let int = digits.iter().fold(0, |int, digit| int * 10 + i64::from(digit - b'0'));
        if negative { -int } else { int }
    }

    /// The number that a [`Shape::Float`] of `text` is, to the last bit.
    pub(crate) fn float(&self, text: &[u8]) -> f64 {
        let (negative, digits) = sign(self.of(text));
        if digits.len() > DIGITS_MAX + 1 {
            let number = std::str::from_utf8(self.of(text)).ok().and_then(|number| number.parse().ok());
            return number.expect("a JSON number without an exponent is one of Rust's");
        }
        // So few digits, and so small a power of ten, are exact as floats: one division rounds once, and so correctly
        // (William D. Clinger, "How to read floating point numbers accurately", 1990).
        let (mut scaled, mut point) = (0, 0);
        for (at, byte) in digits.iter().enumerate() {
            match byte {
                b'.' => point = at,
                digit => scaled = scaled * 10 + i64::from(digit - b'0'),
            }
        }
        let float = scaled as f64 / POWERS_OF_TEN[digits.len() - 1 - point];
        if negative { -float } else { float }
    }
}

const POWERS_OF_TEN: [f64; DIGITS_MAX + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Whether a number is negative, and what stands behind the sign.
fn sign(number: &[u8]) -> (bool, &[u8]) {
    number.strip_prefix(b"-").map_or((false, number), |digits| (true, digits))
}

/// A key and its value within a text; each packet holds some of these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    key_start: u32,
    key_bytes: u16,
    shape: Shape,
    canonical: bool,
    value_start: u32,
    value_end: u32,
}

impl Field {
    /// `None` for a key that is longer than any that has an outline.
    fn of((key_start, key_end): (usize, usize), value: Value) -> Option<Field> {
        let key_bytes = u16::try_from(key_end - key_start).ok()?;
        let Value { start, end, shape, canonical } = value;
        Some(Field { key_start: key_start as u32, key_bytes, shape, canonical, value_start: start, value_end: end })
    }

    /// The key in `text`, the one that the field was found in.
    pub(crate) fn key<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        &text[self.key_start as usize..][..usize::from(self.key_bytes)]
    }

    fn value(&self) -> Value {
        Value { start: self.value_start, end: self.value_end, shape: self.shape, canonical: self.canonical }
    }

    /// Where key and value stand in the text; `None` when there is white space between them.
    pub(crate) fn range(&self) -> Option<Range<usize>> {
        (self.value_start as usize == self.colon() + 1).then(|| self.quote()..self.value_end as usize)
    }

    /// Writes key and value as they stand in `text`, but no white space between them.
    pub(crate) fn write(&self, text: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&text[self.quote()..self.colon()]);
        out.push(b':');
        out.extend_from_slice(self.value().of(text));
    }

    /// Where the key's first quote stands.
    fn quote(&self) -> usize {
        self.key_start as usize - 1
    }

    /// Where, without white space, the colon stands.
    fn colon(&self) -> usize {
        self.key_start as usize + usize::from(self.key_bytes) + 1
    }
}

/// The fields of an object, each key once.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    /// As they stand in the text.
    fields: SmallVec<[Field; FIELDS_USUAL]>,
    /// True when that is the order of their keys, and their first bytes show it.
    is_sorted: bool,
}

impl Outline {
    /// The outline of an object; `None` for what has none.
    pub(crate) fn of(text: &[u8]) -> Option<Outline> {
        u32::try_from(text.len()).ok()?;
        let mut scan = Scan { text, at: 0, is_utf8: false };
        scan.space();
        scan.take(b'{')?;
        let outline = scan.outline()?;
        scan.space();
        (scan.at == text.len()).then_some(outline)
    }

    /// The field `key` of the object that `text` holds, which this is the outline of.
    pub(crate) fn get(&self, text: &[u8], key: &[u8]) -> Option<Value> {
        self.fields.iter().find(|field| field.key(text) == key).map(Field::value)
    }

    /// True when `serde_json` would write every value just as it stands in the text.
    pub(crate) fn is_canonical(&self) -> bool {
        self.fields.iter().all(|field| field.canonical)
    }

    /// The fields in the order of their keys.
    pub(crate) fn sorted(&self, text: &[u8]) -> Cow<'_, [Field]> {
        if self.is_sorted {
            return Cow::Borrowed(&self.fields);
        }
        let mut fields = self.fields.to_vec();
        fields.sort_by_key(|field| field.key(text));
        Cow::Owned(fields)
    }
}

/// The first eight bytes of a key, the first one highest, zeroes behind a shorter one. No key holds a zero byte, so two
/// prefixes have the order of their keys.
fn prefix(text: &[u8], start: usize, end: usize) -> u64 {
    let behind = 8_usize.saturating_sub(end - start) as u32 * 8;
    match text[start..].first_chunk() {
        Some(eight) => u64::from_be_bytes(*eight) & u64::MAX.checked_shl(behind).unwrap_or(0),
        None => text[start..end].iter().rev().fold(0, |prefix, byte| prefix >> 8 | u64::from(*byte) << 56),
    }
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
    /// The whole text was seen to be UTF-8; looked at only once there is more than ASCII.
    is_utf8: bool,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn literal(&mut self, word: &[u8]) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    /// Moves past white space; true when there was some.
    fn space(&mut self) -> bool {
        let start = self.at;
        if self.peek().is_some_and(|byte| byte > b' ') {
            return false;
        }
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self.at > start
    }

    /// The outline of the object whose brace was taken.
    fn outline(&mut self) -> Option<Outline> {
        let mut outline = Outline { fields: SmallVec::new(), is_sorted: true };
        self.space();
        if self.take(b'}').is_some() {
            return Some(outline);
        }
        let mut before = None;
        loop {
            let (start, end) = self.string()?;
            self.space();
            self.take(b':')?;
            self.space();
            let value = self.value(1)?;
            self.space();
            let key = &self.text[start..end];
            let prefix = Some(prefix(self.text, start, end));
            outline.is_sorted &= before < prefix;
            before = prefix;
            // Of a key that comes twice the tree keeps the last: rare enough to be its business.
            let twice = !outline.is_sorted && outline.get(self.text, key).is_some();
            if twice || outline.fields.len() == FIELDS_MAX {
                return None;
            }
            outline.fields.push(Field::of((start, end), value)?);
            match self.next_or_end(b'}')? {
                true => _ = self.space(),
                false => return Some(outline),
            }
        }
    }

    /// Takes a comma (true) or `end` (false).
    fn next_or_end(&mut self, end: u8) -> Option<bool> {
        let byte = self.peek().filter(|byte| *byte == b',' || *byte == end)?;
        self.at += 1;
        Some(byte == b',')
    }

    #[inline(always)]
    fn value(&mut self, depth: usize) -> Option<Value> {
        let start = self.at;
        let (shape, canonical) = match self.peek()? {
            b'"' => self.string().map(|_| (Shape::Text, true))?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => self.other(depth)?,
        };
        Some(Value { start: start as u32, end: self.at as u32, shape, canonical })
    }

    /// Moves past what is neither a string nor a number; the second value says whether it is canonical.
    #[inline(never)]
    fn other(&mut self, depth: usize) -> Option<(Shape, bool)> {
        Some(match self.peek()? {
            b'{' => (Shape::Nested, self.object(depth)?),
            b'[' => (Shape::Nested, self.array(depth)?),
            b't' => self.literal(b"true").map(|()| (Shape::True, true))?,
            b'f' => self.literal(b"false").map(|()| (Shape::False, true))?,
            b'n' => self.literal(b"null").map(|()| (Shape::Null, true))?,
            _ => return None,
        })
    }

    /// Moves past an object; true when it is canonical: no white space, keys ascending, and canonical within.
    fn object(&mut self, depth: usize) -> Option<bool> {
        self.take(b'{')?;
        if depth == DEPTH_MAX {
            return None;
        }
        let mut canonical = !self.space();
        if self.take(b'}').is_some() {
            return Some(canonical);
        }
        let mut before: Option<(usize, usize)> = None;
        loop {
            let (start, end) = self.string()?;
            canonical &= before.is_none_or(|(from, to)| self.text[from..to] < self.text[start..end]);
            before = Some((start, end));
            canonical &= !self.space();
            self.take(b':')?;
            canonical &= !self.space();
            canonical &= self.value(depth + 1)?.canonical;
            canonical &= !self.space();
            match self.next_or_end(b'}')? {
                true => canonical &= !self.space(),
                false => return Some(canonical),
            }
        }
    }

    /// Moves past an array; true when it is canonical.
    fn array(&mut self, depth: usize) -> Option<bool> {
        self.take(b'[')?;
        if depth == DEPTH_MAX {
            return None;
        }
        let mut canonical = !self.space();
        if self.take(b']').is_some() {
            return Some(canonical);
        }
        loop {
            canonical &= self.value(depth + 1)?.canonical;
            canonical &= !self.space();
            match self.next_or_end(b']')? {
                true => canonical &= !self.space(),
                false => return Some(canonical),
            }
        }
    }

    /// Moves past a string without escapes; gives where its characters begin and end.
    #[inline(always)]
    fn string(&mut self) -> Option<(usize, usize)> {
        self.take(b'"')?;
        let start = self.at;
        // Most strings are short.
        if let Some(eight) = self.text[start..].first_chunk() {
            let end = start + special_bytes(eight).trailing_zeros() as usize / 8;
            if self.text.get(end) == Some(&b'"') {
                self.at = end + 1;
                return Some((start, end));
            }
        }
        self.rest_of_string()?;
        Some((start, self.at - 1))
    }

    /// Moves past what is left of a string.
    #[inline(never)]
    fn rest_of_string(&mut self) -> Option<()> {
        loop {
            match self.text[self.at..].first_chunk() {
                Some(eight) => match special_bytes(eight) {
                    0 => {
                        self.at += 8;
                        // It may be a long one.
                        while self.text[self.at..].first_chunk().is_some_and(is_plain_block) {
                            self.at += BLOCK;
                        }
                        continue;
                    }
                    special => self.at += special.trailing_zeros() as usize / 8,
                },
                None => {
                    while self.peek().is_some_and(|byte| !matches!(byte, b'"' | b'\\' | ..0x20 | 0x80..)) {
                        self.at += 1;
                    }
                }
            }
            match self.peek()? {
                b'"' => break,
                0x80.. => {
                    self.is_utf8 = self.is_utf8 || std::str::from_utf8(self.text).is_ok();
                    if !self.is_utf8 {
                        return None;
                    }
                    self.at += 1;
                }
                // An escape, or a control character, which no string may hold.
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    /// Moves past a run of digits; gives how many they are.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    /// Moves past a number that needs no exponent; the second value says whether it is canonical.
    fn number(&mut self) -> Option<(Shape, bool)> {
        let negative = self.take(b'-').is_some();
        let start = self.at;
        let whole = self.digits();
        let zero = self.text.get(start) == Some(&b'0');
        if whole == 0 || whole > WHOLE_DIGITS_MAX || zero && whole > 1 || matches!(self.peek(), Some(b'e' | b'E')) {
            return None;
        }
        if self.take(b'.').is_none() {
            // `-0` is a float.
            return (!(negative && zero)).then_some((Shape::Int, true));
        }
        let from = self.at;
        let decimals = self.digits();
        if decimals == 0 || matches!(self.peek(), Some(b'e' | b'E')) {
            return None;
        }
        let decimals = &self.text[from..from + decimals];
        // With more zeroes behind the point, and without a digit before it, it would be written with an exponent.
        let small = zero && decimals.starts_with(b"000");
        let shortest = decimals == b"0" || decimals.last() != Some(&b'0');
        Some((Shape::Float, shortest && !small && whole + decimals.len() <= DIGITS_MAX))
    }
}

/// Bytes of a long string that are looked at together.
const BLOCK: usize = 32;

/// True when all characters of a block stand for themselves and are ASCII. Without a branch inside, so that it becomes a
/// few vector instructions.
fn is_plain_block(block: &[u8; BLOCK]) -> bool {
    let (words, _) = block.as_chunks();
    words.iter().fold(0, |special, eight| special | special_bytes(eight)) == 0
}

/// The high bits of those bytes that are a quote, a backslash, a control character or no ASCII; above the first such byte
/// there may be others. After Sean Eron Anderson's "Bit Twiddling Hacks", `haszero` and `hasless`, which hold for ASCII;
/// what isn't shows by itself.
fn special_bytes(eight: &[u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHS: u64 = ONES * 0x80;
    let word = u64::from_le_bytes(*eight);
    let quotes = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
    let backslashes = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
    let controls = word.wrapping_sub(ONES * 0x20);
    (quotes | backslashes | controls | word) & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value as Json;

    /// What an outline says must be what the tree says.
    #[track_caller]
    fn check(text: &str) -> bool {
        let Some(outline) = Outline::of(text.as_bytes()) else { return false };
        let tree: Json = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?} is no JSON: {error}"));
        let Json::Object(tree) = tree else { panic!("{text:?} is no object") };
        let sorted = outline.sorted(text.as_bytes());
        let keys: Vec<&[u8]> = sorted.iter().map(|field| field.key(text.as_bytes())).collect();
        assert_eq!(keys, tree.keys().map(String::as_bytes).collect::<Vec<_>>(), "{text:?}");
        for (key, json) in &tree {
            let value = outline.get(text.as_bytes(), key.as_bytes());
            let value = value.unwrap_or_else(|| panic!("{text:?} has no {key:?}"));
            let said = std::str::from_utf8(value.of(text.as_bytes())).expect("a value of a text is text");
            match (value.shape, json) {
                (Shape::Null, Json::Null) | (Shape::True, Json::Bool(true)) | (Shape::False, Json::Bool(false)) => {}
                (Shape::Int, Json::Number(number)) => {
                    assert_eq!(number.as_i64(), Some(value.int(text.as_bytes())), "{text:?}");
                }
                (Shape::Float, Json::Number(number)) => {
                    assert!(number.is_f64(), "{text:?}");
                    let float = value.float(text.as_bytes());
                    assert_eq!(number.as_f64().map(f64::to_bits), Some(float.to_bits()), "{text:?}");
                }
                (Shape::Text, Json::String(string)) => assert_eq!(said[1..said.len() - 1], *string, "{text:?}"),
                (Shape::Nested, Json::Array(_) | Json::Object(_)) => {}
                other => panic!("{text:?}: {key:?} is {other:?}"),
            }
            if value.canonical {
                assert_eq!(said, json.to_string(), "{text:?}");
            }
        }
        assert!(outline.get(text.as_bytes(), b"no such key").is_none());
        true
    }

    #[test]
    fn plain_objects_have_an_outline() {
        for text in [
            "{}",
            " { } ",
            r#"{"b":1,"a":-2.5,"":"x","nested":{"a":[1,{"b":null}],"b":true},"ä":"Ämboy, 37km"}"#,
            "\t{\r\n\"mag\" : 0.31 ,\"magnitude\":[ 1 , 2.0 , {} , [ ] ],\"mag_type\":false}",
            r#"{"exactly8":"exactly8","exactly88":"exactly88"}"#,
            r#"{"a":999999999999999999,"b":-999999999999999999,"c":0,"d":0.0,"e":-0.0,"f":1.10,"g":0.0001}"#,
        ] {
            assert!(check(text), "{text:?} has no outline");
        }
    }

    #[test]
    fn what_is_no_plain_object_has_none() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        let many: Vec<String> = (0..=FIELDS_MAX).map(|n| format!("\"{n}\":0")).collect();
        for text in [
            "",
            "[]",
            "{",
            "{}x",
            "{\"a\":1,}",
            "{,}",
            "{\"a\" 1}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":-}",
            "{\"a\":-0}",
            "{\"a\":1e2}",
            "{\"a\":1.5E2}",
            "{\"a\":1e999}",
            "{\"a\":1000000000000000000}",
            "{\"a\":tru}",
            "{\"a\":1,\"a\":2}",
            "{\"a\":\"\\n\"}",
            "{\"\\u0061\":1}",
            "{\"a\":\"tab\tinside\"}",
            "{\"a\":\"never closed}",
            &deep,
            &format!("{{{}}}", many.join(",")),
            &format!("{{\"a\":\"{}\u{1}\"}}", "x".repeat(40)),
        ] {
            assert!(Outline::of(text.as_bytes()).is_none(), "{text:?} has an outline");
        }
        assert!(Outline::of(b"{\"a\":\"\xff\"}").is_none(), "what is no UTF-8 has an outline");
    }

    #[test]
    fn a_string_ends_where_it_ends() {
        for len in 0..100 {
            for text in ["x".repeat(len), format!("{}ä", "x".repeat(len)), "\u{7f}ß".repeat(len)] {
                assert!(check(&format!("{{\"a\":\"{text}\",\"b\":\"{text}\"}}")), "{len}");
                assert!(!check(&format!("{{\"a\":\"{text}\\\"\"}}")), "{len}");
            }
        }
    }

    #[test]
    fn the_quakes_have_an_outline_and_are_canonical() {
        for line in include_str!("../../scenarios/data/quakes.ndjson").lines() {
            assert!(check(line), "{line}");
            let outline = Outline::of(line.as_bytes()).expect("it was just there");
            assert!(outline.is_canonical(), "{line}");
        }
    }

    fn number() -> impl Strategy<Value = String> {
        prop_oneof![
            "-?(0|[1-9][0-9]{0,19})",
            "-?(0|[1-9][0-9]{0,17})\\.[0-9]{1,18}",
            "-?0\\.0{0,6}[0-9]{1,9}",
            any::<f64>().prop_filter_map("JSON has no such number", |float| serde_json::to_string(&float).ok())
        ]
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("false".to_owned()),
            number(),
            "[ -~äß\\x7f]{0,12}".prop_map(|text| Json::String(text).to_string()),
        ];
        let space = || "[ \n]{0,1}";
        leaf.prop_recursive(4, 24, 4, move |inner| {
            let key = "[ab]{0,2}|[a-z_ ]{0,12}|ä";
            prop_oneof![
                (prop::collection::vec(inner.clone(), 0..4), space())
                    .prop_map(|(all, space)| format!("[{space}{}{space}]", all.join(&format!("{space},")))),
                (prop::collection::vec((key, inner), 0..6), space()).prop_map(|(all, space)| {
                    let fields: Vec<String> =
                        all.iter().map(|(key, value)| format!("\"{key}\":{space}{value}")).collect();
                    format!("{{{space}{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_outline_never_differs_from_the_tree(text in json()) {
            check(&text);
        }

        #[test]
        fn a_spoiled_text_is_no_other_than_the_tree_says(text in json(), at in any::<prop::sample::Index>(), byte in "[{}\\[\\],:\"\\\\0-9.eE+ \t\u{1}a-]") {
            let mut chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            chars[at] = byte.chars().next().expect("it is one character");
            check(&chars.into_iter().collect::<String>());
        }

        #[test]
        fn numbers_are_written_as_they_stand_only_when_they_are_canonical(number in number()) {
            check(&format!("{{\"a\":{number}}}"));
        }
    }
}
