//! What an expression is worth for one packet.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde_json::Value as Json;
use smol_str::{SmolStr, ToSmolStr};

use super::{Expr, Function, Op, Path, Quoted};
use crate::json::{Outline, Shape};
use crate::node::{Class, NodeError};
use crate::packet::{Kind, Packet};

/// A value that an expression works with; borrows from the packet and the expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nothing, or a path that is missing.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer, always within -2^63 ..= 2^64-1, what JSON carries exactly.
    Int(i128),
    /// A finite number.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// An array or an object of the payload.
    Json(&'a Json),
}

impl<'a> Value<'a> {
    /// An integer; outside of what JSON carries exactly it goes on as a float.
    pub fn int(int: i128) -> Value<'static> {
        if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&int) {
            Value::Int(int)
        } else {
            Value::Float(int as f64)
        }
    }

    /// Reads JSON in place.
    pub fn of(json: &'a Json) -> Value<'a> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(bool) => Value::Bool(*bool),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Value::Int(int.into()),
                (None, Some(int)) => Value::Int(int.into()),
                (None, None) => Value::Float(number.as_f64().expect("a JSON number is an integer or a float")),
            },
            Json::String(text) => Value::Text(Cow::Borrowed(text)),
            Json::Array(_) | Json::Object(_) => Value::Json(json),
        }
    }

    /// As JSON; integers stay integers.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Bool(bool) => Json::Bool(*bool),
            Value::Int(int) => match i64::try_from(*int) {
                Ok(int) => int.into(),
                Err(_) => u64::try_from(*int).expect("an integer value fits JSON").into(),
            },
            Value::Float(float) => serde_json::Number::from_f64(*float).expect("a float value is finite").into(),
            Value::Text(text) => Json::String(text.clone().into_owned()),
            Value::Json(json) => (*json).clone(),
        }
    }

    /// As a packet's key: texts, integers, true and false; `None` for what makes no key.
    pub fn to_key(&self) -> Option<SmolStr> {
        match self {
            Value::Text(text) => Some(SmolStr::new(text)),
            Value::Int(int) => Some(int.to_smolstr()),
            Value::Bool(bool) => Some(bool.to_smolstr()),
            Value::Null | Value::Float(_) | Value::Json(_) => None,
        }
    }

    /// As a float; integers beyond 2^53 are rounded. `None` for what is no number.
    pub fn to_f64(&self) -> Option<f64> {
        match self {
            // Nearly all are narrow, and those a machine converts by itself.
            Value::Int(int) => Some(i64::try_from(*int).map_or_else(|_| *int as f64, |narrow| narrow as f64)),
            Value::Float(float) => Some(*float),
            _ => None,
        }
    }

    /// The order of two numbers or two texts; none between anything else. Mixed numbers compare as floats.
    fn order(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            _ => self.to_f64()?.partial_cmp(&other.to_f64()?),
        }
    }

    fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Json(a), Value::Json(b)) => a == b,
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(bool) => bool.fmt(f),
            Value::Int(int) => int.fmt(f),
            Value::Float(float) => write!(f, "{float:?}"),
            Value::Text(text) => Quoted(text).fmt(f),
            Value::Json(json) => json.fmt(f),
        }
    }
}

impl Path {
    /// What is there; null when it is missing.
    ///
    /// # Errors
    /// `DecodeFailed` when it leads into a payload that is not JSON.
    #[inline]
    pub fn get<'a>(&self, packet: &'a Packet) -> Result<Value<'a>, NodeError> {
        let text = |text: &'a str| Value::Text(Cow::Borrowed(text));
        Ok(match self {
            Path::Payload(parts) => {
                // Most conditions need a field or two of many: those are read where they stand.
                if let Some(value) = packet.outline().and_then(|outline| in_place(&packet.payload, outline, parts)) {
                    return Ok(value);
                }
                let json =
                    packet.json().ok_or_else(|| NodeError::new(Class::DecodeFailed, "the payload is not JSON"))?;
                parts.iter().try_fold(json, step).map_or(Value::Null, Value::of)
            }
            Path::Meta(name) => packet.meta.get(name).map_or(Value::Null, |value| text(value)),
            Path::Key => packet.key.as_deref().map_or(Value::Null, text),
            Path::Ts => Value::Int(packet.ts.into()),
            Path::PacketId => text(&packet.packet_id),
            Path::SourceId => text(&packet.source_id),
            Path::Kind => text(match packet.kind {
                Kind::Frame => "frame",
                Kind::Event => "event",
                Kind::Sensor => "sensor",
                Kind::Metrics => "metrics",
                Kind::Control => "control",
                Kind::BytesRef => "bytes_ref",
            }),
        })
    }
}

/// What is at `parts` in the object `text`; `None` when it takes the tree to tell.
#[inline(always)]
fn in_place<'a>(text: &'a [u8], outline: &Outline, parts: &[String]) -> Option<Value<'a>> {
    let (key, deeper) = parts.split_first()?;
    let Some(found) = outline.get(text, key.as_bytes()) else { return Some(Value::Null) };
    let within = found.of(text);
    if found.shape == Shape::Nested {
        return nested(within, deeper);
    }
    if !deeper.is_empty() {
        return Some(Value::Null);
    }
    Some(match found.shape {
        Shape::Null | Shape::Nested => Value::Null,
        Shape::True => Value::Bool(true),
        Shape::False => Value::Bool(false),
        Shape::Int => Value::Int(found.int(text).into()),
        Shape::Float => Value::Float(found.float(text)),
        Shape::Text => {
            let words = std::str::from_utf8(&within[1..within.len() - 1]);
            Value::Text(Cow::Borrowed(words.expect("an outline is of UTF-8, and its strings end with a quote")))
        }
    })
}

/// What is at `parts` in an array or object within a payload.
#[inline(never)]
fn nested<'a>(text: &'a [u8], parts: &[String]) -> Option<Value<'a>> {
    in_place(text, &Outline::of(text)?, parts)
}

fn step<'a>(json: &'a Json, part: &String) -> Option<&'a Json> {
    match json {
        Json::Object(fields) => fields.get(part),
        Json::Array(elements) => elements.get(part.parse::<usize>().ok()?),
        _ => None,
    }
}

impl Expr {
    /// The value for `packet`.
    ///
    /// # Errors
    /// `DecodeFailed` when a payload that is not JSON is needed; `SchemaInvalid` for arithmetic with what is no number,
    /// for division by zero, and for results too large for a number.
    #[inline]
    pub fn eval<'a>(&'a self, packet: &'a Packet) -> Result<Value<'a>, NodeError> {
        match self {
            Expr::Literal(value) => Ok(match value {
                // Borrows the text that a clone would copy.
                Value::Text(text) => Value::Text(Cow::Borrowed(text)),
                other => other.clone(),
            }),
            Expr::Path(path) => path.get(packet),
            compound => compound.compound(packet),
        }
    }

    /// The value of what has parts; the others are looked at in place.
    fn compound<'a>(&'a self, packet: &'a Packet) -> Result<Value<'a>, NodeError> {
        match self {
            Expr::Literal(_) | Expr::Path(_) => self.eval(packet),
            Expr::Not(a) => Ok(Value::Bool(!a.holds(packet)?)),
            Expr::Neg(a) => match a.number(packet)? {
                Value::Int(int) => Ok(Value::int(-int)),
                other => self.finite(-other.to_f64().expect("`number` answers numbers")),
            },
            Expr::Binary(op, a, b) => self.binary(*op, a, b, packet),
            Expr::Call(function, arguments) => self.call(*function, arguments, packet),
        }
    }

    /// Whether the value is `true`; nothing else counts as true.
    ///
    /// # Errors
    /// As for `eval`.
    pub fn holds(&self, packet: &Packet) -> Result<bool, NodeError> {
        Ok(matches!(self.eval(packet)?, Value::Bool(true)))
    }

    fn binary<'a>(&'a self, op: Op, a: &'a Expr, b: &'a Expr, packet: &'a Packet) -> Result<Value<'a>, NodeError> {
        let order = || Ok(a.eval(packet)?.order(&b.eval(packet)?));
        let bool = match op {
            Op::Or => a.holds(packet)? || b.holds(packet)?,
            Op::And => a.holds(packet)? && b.holds(packet)?,
            Op::Eq => a.eval(packet)?.equals(&b.eval(packet)?),
            Op::Ne => !a.eval(packet)?.equals(&b.eval(packet)?),
            Op::Lt => order()?.is_some_and(Ordering::is_lt),
            Op::Le => order()?.is_some_and(Ordering::is_le),
            Op::Gt => order()?.is_some_and(Ordering::is_gt),
            Op::Ge => order()?.is_some_and(Ordering::is_ge),
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Rem => {
                return self.arithmetic(op, &a.number(packet)?, &b.number(packet)?);
            }
        };
        Ok(Value::Bool(bool))
    }

    fn arithmetic(&self, op: Op, a: &Value<'_>, b: &Value<'_>) -> Result<Value<'static>, NodeError> {
        let (x, y) = (a.to_f64().expect("`number` answers numbers"), b.to_f64().expect("`number` answers numbers"));
        if matches!(op, Op::Div | Op::Rem) && y == 0.0 {
            return Err(self.failed("it divides by zero"));
        }
        if let (Value::Int(a), Value::Int(b)) = (a, b) {
            let exact = match op {
                Op::Add => a.checked_add(*b),
                Op::Sub => a.checked_sub(*b),
                Op::Mul => a.checked_mul(*b),
                Op::Div if a % b == 0 => Some(a / b),
                Op::Rem => Some(a % b),
                _ => None,
            };
            if let Some(int) = exact {
                return Ok(Value::int(int));
            }
        }
        self.finite(match op {
            Op::Add => x + y,
            Op::Sub => x - y,
            Op::Mul => x * y,
            Op::Div => x / y,
            Op::Rem => x % y,
            _ => unreachable!("{op:?} is not arithmetic"),
        })
    }

    fn call<'a>(
        &'a self,
        function: Function,
        arguments: &'a [Expr],
        packet: &'a Packet,
    ) -> Result<Value<'a>, NodeError> {
        let first = &arguments[0];
        let whole = |round: fn(f64) -> f64| {
            Ok(match first.number(packet)? {
                Value::Float(float) => {
                    let float = round(float);
                    // 2^63 is the first float that an i64 can't hold.
                    if float.abs() < 9_223_372_036_854_775_808.0 {
                        Value::Int(float as i128)
                    } else {
                        Value::Float(float)
                    }
                }
                int => int,
            })
        };
        let cased = |case: fn(&str) -> String| {
            Ok(match first.eval(packet)? {
                Value::Text(text) => Value::Text(case(&text).into()),
                _ => Value::Null,
            })
        };
        match function {
            Function::Abs => Ok(match first.number(packet)? {
                Value::Int(int) => Value::int(int.abs()),
                other => Value::Float(other.to_f64().expect("`number` answers numbers").abs()),
            }),
            Function::Floor => whole(f64::floor),
            Function::Round => whole(f64::round),
            Function::Lower => cased(str::to_lowercase),
            Function::Upper => cased(str::to_uppercase),
            Function::Len => {
                let len = match first.eval(packet)? {
                    Value::Text(text) => text.chars().count(),
                    Value::Json(Json::Array(elements)) => elements.len(),
                    Value::Json(Json::Object(fields)) => fields.len(),
                    _ => return Ok(Value::Null),
                };
                Ok(Value::Int(i128::try_from(len).expect("a length fits 127 bits")))
            }
            Function::Exists => Ok(Value::Bool(first.eval(packet)? != Value::Null)),
            Function::Coalesce => {
                for argument in arguments {
                    let value = argument.eval(packet)?;
                    if value != Value::Null {
                        return Ok(value);
                    }
                }
                Ok(Value::Null)
            }
        }
    }

    fn number<'a>(&'a self, packet: &'a Packet) -> Result<Value<'a>, NodeError> {
        let value = self.eval(packet)?;
        match value {
            Value::Int(_) | Value::Float(_) => Ok(value),
            _ => Err(self.failed("it is not a number")),
        }
    }

    fn finite(&self, float: f64) -> Result<Value<'static>, NodeError> {
        if float.is_finite() { Ok(Value::Float(float)) } else { Err(self.failed("it is too large for a number")) }
    }

    /// Names the expression, never the data.
    fn failed(&self, why: &str) -> NodeError {
        NodeError::new(Class::SchemaInvalid, format!("could not evaluate `{self}`: {why}"))
    }
}
