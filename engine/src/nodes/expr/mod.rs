//! Expressions over one packet: the language that `where`, `set` and `key` of the std nodes are written in.
//!
//! Parsed once, when a node is built; evaluated without allocation unless a function makes new text. The grammar is in
//! `docs/nodes.md`. Text and nesting are bounded, so neither parsing nor evaluating can exhaust the stack.

mod eval;
mod parse;

pub use eval::Value;
pub use parse::ExprError;

use std::fmt;

/// Longest expression, in bytes of text.
pub const TEXT_MAX: usize = 4096;
/// Deepest nesting of operators, calls and parentheses.
pub const DEPTH_MAX: usize = 64;

/// A parsed expression. Its `Display` is an expression that parses to the same tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A constant.
    Literal(Value<'static>),
    /// A place in the packet.
    Path(Path),
    /// `!a`: true unless `a` is true.
    Not(Box<Expr>),
    /// `-a`.
    Neg(Box<Expr>),
    /// `a op b`.
    Binary(Op, Box<Expr>, Box<Expr>),
    /// `function(a, ...)`, with a number of arguments that the function takes.
    Call(Function, Vec<Expr>),
}

/// A place in the packet. What is missing there reads as null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// Inside the payload's JSON; empty for all of it.
    Payload(Vec<String>),
    /// One entry of `meta`.
    Meta(String),
    /// The packet's key.
    Key,
    /// Event time, nanoseconds since 1970 UTC.
    Ts,
    /// The packet's name.
    PacketId,
    /// Where the packet came from.
    SourceId,
    /// What the packet carries, e.g. `event`.
    Kind,
}

/// A binary operator; [`Op::TABLE`] holds their symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Or,
    And,
    Eq,
    Ne,
    Le,
    Ge,
    Lt,
    Gt,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

impl Op {
    /// Each operator, its symbol and how tightly it binds; longer symbols stand before their prefixes.
    const TABLE: [(Op, &'static str, u8); 13] = [
        (Op::Or, "||", 1),
        (Op::And, "&&", 2),
        (Op::Eq, "==", 3),
        (Op::Ne, "!=", 3),
        (Op::Le, "<=", 3),
        (Op::Ge, ">=", 3),
        (Op::Lt, "<", 3),
        (Op::Gt, ">", 3),
        (Op::Add, "+", 4),
        (Op::Sub, "-", 4),
        (Op::Mul, "*", 5),
        (Op::Div, "/", 5),
        (Op::Rem, "%", 5),
    ];

    fn symbol(self) -> &'static str {
        Op::TABLE.iter().find(|(op, ..)| *op == self).expect("the table names every operator").1
    }
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Size of a number without its sign.
    Abs,
    /// The integer at or below a number.
    Floor,
    /// The nearest integer; halves go away from zero.
    Round,
    /// Characters of a text, elements of an array, fields of an object; null for others.
    Len,
    /// Text in lower case; null for others.
    Lower,
    /// Text in upper case; null for others.
    Upper,
    /// Whether a path holds anything but null.
    Exists,
    /// The first argument that is not null.
    Coalesce,
}

impl Function {
    const TABLE: [(Function, &'static str); 8] = [
        (Function::Abs, "abs"),
        (Function::Floor, "floor"),
        (Function::Round, "round"),
        (Function::Len, "len"),
        (Function::Lower, "lower"),
        (Function::Upper, "upper"),
        (Function::Exists, "exists"),
        (Function::Coalesce, "coalesce"),
    ];

    fn name(self) -> &'static str {
        Function::TABLE.iter().find(|(function, _)| *function == self).expect("the table names every function").1
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Literal(value) => value.fmt(f),
            Expr::Path(path) => path.fmt(f),
            Expr::Not(a) => write!(f, "!{a}"),
            Expr::Neg(a) => write!(f, "-{a}"),
            Expr::Binary(op, a, b) => write!(f, "({a} {} {b})", op.symbol()),
            Expr::Call(function, arguments) => {
                write!(f, "{}(", function.name())?;
                for (index, argument) in arguments.iter().enumerate() {
                    write!(f, "{}{argument}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, part: &str| {
            let plain = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if plain { write!(f, ".{part}") } else { write!(f, ".{}", Quoted(part)) }
        };
        match self {
            Path::Payload(parts) => {
                f.write_str("payload")?;
                parts.iter().try_for_each(|name| part(f, name))
            }
            Path::Meta(name) => {
                f.write_str("meta")?;
                part(f, name)
            }
            Path::Key => f.write_str("key"),
            Path::Ts => f.write_str("ts"),
            Path::PacketId => f.write_str("packet_id"),
            Path::SourceId => f.write_str("source_id"),
            Path::Kind => f.write_str("kind"),
        }
    }
}

/// Text in the quotes that the parser reads.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::packet;
    use super::*;
    use crate::node::Class;
    use crate::packet::{ContentType, Fields, Packet};
    use proptest::prelude::*;
    use serde_json::json;

    fn quake() -> Packet {
        packet(
            json!({"mag": 2.5, "n": 7, "place": "37km NNE of Ämboy", "deep": {"a b": [1, {"x": true}]}, "none": null,
                   "big": u64::MAX}),
        )
    }

    #[track_caller]
    fn check(text: &str, expected: serde_json::Value) {
        let expr = Expr::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(expr.eval(&quake()).unwrap().to_json(), expected, "{text}");
    }

    #[track_caller]
    fn check_error(text: &str, column: usize, part: &str) {
        let error = Expr::parse(text).expect_err(text);
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }

    #[test]
    fn precedence_and_numbers() {
        check("1 + 2 * 3", json!(7));
        check("(1 + 2) * 3", json!(9));
        check("10 - 4 - 3", json!(3));
        check("-2 * -3", json!(6));
        check("6 / 3", json!(2));
        check("7 / 2", json!(3.5));
        check("-7 % 3", json!(-1));
        check("payload.n * 2", json!(14));
        check("payload.n * 2.0", json!(14.0));
        check("payload.big", json!(u64::MAX));
        check("payload.big + 1", json!(18_446_744_073_709_551_616.0));
        check("1e3", json!(1000.0));
        check("abs(-4) + floor(2.7) + round(2.5) + floor(-0.5)", json!(8));
    }

    #[test]
    fn conditions() {
        check("payload.mag >= 2.5", json!(true));
        check("payload.mag > 2.5 || payload.n == 7.0", json!(true));
        check("payload.nope > 1", json!(false));
        check("payload.nope <= 1", json!(false));
        check("null == payload.nope && payload.nope != 1", json!(true));
        check("payload.place < 'z' && \"1\" != 1", json!(true));
        check("!payload.nope", json!(true));
        check("true && 1 == 1 && !false", json!(true));
        check("false && 1 / 0 == 1", json!(false));
        check("1 && 1", json!(false));
    }

    #[test]
    fn paths_and_functions() {
        check("payload.deep.'a b'.1.x", json!(true));
        check("payload.deep", json!({"a b": [1, {"x": true}]}));
        check("payload.place.x", json!(null));
        check("meta.idempotency_key", json!("i-1"));
        check("meta.nope", json!(null));
        check("key", json!("ci"));
        check("ts", json!(5));
        check("kind", json!("event"));
        check("packet_id == 'p-1' && source_id == 's'", json!(true));
        check("len(payload.place) + len(payload.deep.'a b') + len(payload.deep)", json!(20));
        check("len(payload.n)", json!(null));
        check("upper(payload.place)", json!("37KM NNE OF ÄMBOY"));
        check("lower(payload.n)", json!(null));
        check("exists(payload.none) || exists(payload.nope)", json!(false));
        check("exists(payload.mag)", json!(true));
        check("coalesce(payload.nope, payload.none, 3)", json!(3));
    }

    #[test]
    fn evaluation_errors_name_the_expression() {
        for (text, part) in [
            ("payload.nope + 1", "could not evaluate `payload.nope`: it is not a number"),
            ("payload.place * 2 > 1", "`payload.place`"),
            ("payload.n / 0", "divides by zero"),
            ("payload.n % 0.0", "divides by zero"),
            ("1e308 * 10", "too large"),
            ("-true", "`true`"),
            ("abs(null)", "`null`"),
        ] {
            let error = Expr::parse(text).unwrap().eval(&quake()).expect_err(text);
            assert_eq!(error.class, Class::SchemaInvalid, "{text}");
            assert!(error.message.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn only_what_needs_the_payload_needs_json() {
        let fields = Fields { content_type: ContentType::Bytes, ..quake().fields().clone() };
        let bytes = Packet::from(fields);
        let run = |text: &str| Expr::parse(text).unwrap().eval(&bytes).map(|value| value.to_json());
        assert_eq!(run("payload.mag > 1").unwrap_err().class, Class::DecodeFailed);
        assert_eq!(run("exists(payload.mag)").unwrap_err().class, Class::DecodeFailed);
        assert_eq!(run("key == 'x' && payload.mag > 1").unwrap(), json!(false));
    }

    #[test]
    fn errors_say_the_column() {
        check_error("", 1, "found the end");
        check_error("payload.mag >=", 15, "found the end");
        check_error("payload.mag => 1", 13, "an operator");
        check_error("1 < 2 < 3", 7, "chained");
        check_error("1 == 2 != true", 8, "chained");
        check_error("mag > 1", 1, "unknown name `mag`");
        check_error("'ä' == colour", 8, "unknown name `colour`");
        check_error("payload. mag", 9, "a name after");
        check_error("meta", 5, "one name");
        check_error("meta.a.b", 9, "one name");
        check_error("len(1, 2)", 6, "expected `)`");
        check_error("exists( 1)", 9, "takes a path");
        check_error("'abc", 1, "closing quote");
        check_error(r"'a\q'", 3, "after");
        check_error("1e999", 1, "fits");
        check_error("1 2", 3, "an operator");
        check_error("(1", 3, "expected `)`");
        check_error(&"x".repeat(TEXT_MAX + 1), 1, "at most 4096 bytes");
        check_error(&format!("{}1", "(".repeat(2000)), 66, "nested deeper");
        check_error(&format!("{}1", "-".repeat(2000)), 66, "nested deeper");
        check_error(&format!("1{}", "+1".repeat(2000)), 132, "nested deeper");
        assert_eq!(Path::parse("1").unwrap_err().column, 1);
        assert_eq!(Path::parse("payload.mag").unwrap().to_string(), "payload.mag");
    }

    fn any_path() -> impl Strategy<Value = Path> {
        prop_oneof![
            prop::collection::vec("[a-z_0-9]{1,4}|\\PC{0,4}", 0..3).prop_map(Path::Payload),
            "\\PC{0,5}".prop_map(Path::Meta),
            Just(Path::Key),
            Just(Path::Ts),
            Just(Path::PacketId),
            Just(Path::SourceId),
            Just(Path::Kind),
        ]
    }

    fn any_expr() -> impl Strategy<Value = Expr> {
        let leaf = prop_oneof![
            Just(Expr::Literal(Value::Null)),
            any::<bool>().prop_map(|b| Expr::Literal(Value::Bool(b))),
            any::<u64>().prop_map(|int| Expr::Literal(Value::int(int.into()))),
            (0.0..1e300).prop_map(|float| Expr::Literal(Value::Float(float))),
            ".{0,6}".prop_map(|text| Expr::Literal(Value::Text(text.into()))),
            any_path().prop_map(Expr::Path),
        ];
        leaf.prop_recursive(5, 40, 3, |inner| {
            let ops: Vec<Op> = Op::TABLE.iter().map(|(op, ..)| *op).collect();
            let functions: Vec<Function> =
                Function::TABLE.iter().map(|(f, _)| *f).filter(|f| !matches!(f, Function::Exists)).collect();
            prop_oneof![
                inner.clone().prop_map(|a| Expr::Not(Box::new(a))),
                inner.clone().prop_map(|a| Expr::Neg(Box::new(a))),
                (prop::sample::select(ops), inner.clone(), inner.clone()).prop_map(|(op, a, b)| Expr::Binary(
                    op,
                    Box::new(a),
                    Box::new(b)
                )),
                (prop::sample::select(functions), inner.clone()).prop_map(|(f, a)| Expr::Call(f, vec![a])),
                any_path().prop_map(|path| Expr::Call(Function::Exists, vec![Expr::Path(path)])),
                prop::collection::vec(inner, 1..3).prop_map(|all| Expr::Call(Function::Coalesce, all)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}|[-+*/%!=<>&|(),.'\"\\\\ 0-9eapylodmetk_]{0,80}") {
            if let Ok(expr) = Expr::parse(&text) {
                let _ = expr.eval(&quake());
                prop_assert_eq!(Expr::parse(&expr.to_string()).unwrap(), expr);
            }
        }

        #[test]
        fn what_is_printed_parses_to_the_same(expr in any_expr()) {
            prop_assert_eq!(&Expr::parse(&expr.to_string()).unwrap(), &expr, "{}", expr);
            let _ = expr.eval(&quake()).map(|value| value.to_json());
        }
    }
}
