//! The expressions of `when` and `sometimes`: gauges and counts compared with numbers, joined by `&&` and `||`.
//!
//! ```text
//! expr := and { "||" and }          term := number unit? | count(host.place.event) | at(fault).gauge | gauge
//! and  := cmp { "&&" cmp }          gauge := host.channel.backlog   (after at(fault) also plain `backlog`)
//! cmp  := "(" expr ")" | term ("<" | "<=" | ">" | ">=" | "==" | "!=") term
//! ```

use std::fmt;

/// A condition over what the world reads off its system.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// All hold.
    And(Vec<Expr>),
    /// At least one holds.
    Or(Vec<Expr>),
    /// A comparison of two values.
    Compare(Term, Op, Term),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Op {
    /// `<`
    #[serde(rename = "<")]
    Below,
    /// `<=`
    #[serde(rename = "<=")]
    AtMost,
    /// `>`
    #[serde(rename = ">")]
    Above,
    /// `>=`
    #[serde(rename = ">=")]
    AtLeast,
    /// `==`
    #[serde(rename = "==")]
    Equal,
    /// `!=`
    #[serde(rename = "!=")]
    NotEqual,
}

impl Op {
    /// Whether `a op b`.
    #[must_use]
    pub fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Op::Below => a < b,
            Op::AtMost => a <= b,
            Op::Above => a > b,
            Op::AtLeast => a >= b,
            Op::Equal => a == b,
            Op::NotEqual => a != b,
        }
    }

    /// As it is written.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Op::Below => "<",
            Op::AtMost => "<=",
            Op::Above => ">",
            Op::AtLeast => ">=",
            Op::Equal => "==",
            Op::NotEqual => "!=",
        }
    }

    const ALL: [Op; 6] = [Op::AtMost, Op::AtLeast, Op::Equal, Op::NotEqual, Op::Below, Op::Above];
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// A number that the file gives.
    Number(Quantity),
    /// `edge.uplink.backlog`: the value of a gauge.
    Gauge(String),
    /// `count(edge.uplink.committed)`: how many probe events of a name there were since the start.
    Count {
        /// The host.
        host: String,
        /// Node or channel on it.
        place: String,
        /// A name of the probe's catalogue.
        event: String,
    },
    /// `at(crash).edge.uplink.backlog`: a gauge when a fault last began. Plain `backlog` is the sum of all channels.
    At {
        /// The fault's id.
        fault: String,
        /// `edge.uplink.backlog`, or `backlog`.
        gauge: String,
    },
}

/// What a number counts. All comparisons are made within one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Things.
    Count,
    /// Nanoseconds.
    Ns,
    /// A share of one.
    Ratio,
    /// A number a second.
    PerSecond,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// In words, as an example of how it is written.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Unit::Count => "a plain number such as 200",
            Unit::Ns => "a time such as 400ms",
            Unit::Ratio => "a share such as 0.5%",
            Unit::PerSecond => "a rate such as 50/s",
            Unit::Bytes => "a size such as 64KiB",
        }
    }
}

/// A number in its unit: nanoseconds, shares of one, bytes.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Quantity {
    /// How many of the unit.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
}

/// Reads gauges and counts off a running world. `None` = there is no such value (yet); a comparison with it is false.
pub trait Readings {
    /// `edge.uplink.backlog`
    fn gauge(&self, address: &str) -> Option<u64>;
    /// Events of that name at that node or channel since the start of the world, over all incarnations.
    fn count(&self, host: &str, place: &str, event: &str) -> u64;
    /// A gauge at the moment when `fault` last began; `backlog` alone is the sum over all channels.
    fn at_fault(&self, fault: &str, gauge: &str) -> Option<u64>;
}

impl Expr {
    /// Whether it holds now.
    #[must_use]
    pub fn holds(&self, readings: &dyn Readings) -> bool {
        match self {
            Expr::And(all) => all.iter().all(|expr| expr.holds(readings)),
            Expr::Or(any) => any.iter().any(|expr| expr.holds(readings)),
            Expr::Compare(a, op, b) => match (a.value(readings), b.value(readings)) {
                (Some(a), Some(b)) => op.holds(a, b),
                _ => false,
            },
        }
    }

    /// Every term, from left to right.
    #[must_use]
    pub fn terms(&self) -> Vec<&Term> {
        match self {
            Expr::And(list) | Expr::Or(list) => list.iter().flat_map(Expr::terms).collect(),
            Expr::Compare(a, _, b) => vec![a, b],
        }
    }

    /// Reads an expression.
    ///
    /// # Errors
    /// Where it stopped making sense, in bytes from the start of `text`.
    pub fn parse(text: &str) -> Result<Expr, ExprError> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        let expr = parser.or()?;
        parser.end()?;
        Ok(expr)
    }
}

impl Term {
    /// Its value now; `None` where nobody tells it.
    pub(crate) fn value(&self, readings: &dyn Readings) -> Option<f64> {
        let count = match self {
            Term::Number(quantity) => return Some(quantity.value),
            Term::Gauge(address) => readings.gauge(address)?,
            Term::Count { host, place, event } => readings.count(host, place, event),
            Term::At { fault, gauge } => readings.at_fault(fault, gauge)?,
        };
        Some(count as f64)
    }

    /// The unit of its value.
    #[must_use]
    pub fn unit(&self) -> Unit {
        match self {
            Term::Number(quantity) => quantity.unit,
            Term::Gauge(_) | Term::Count { .. } | Term::At { .. } => Unit::Count,
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Number(quantity) => write!(f, "{}", quantity.value),
            Term::Gauge(address) => f.write_str(address),
            Term::Count { host, place, event } => write!(f, "count({host}.{place}.{event})"),
            Term::At { fault, gauge } => write!(f, "at({fault}).{gauge}"),
        }
    }
}

/// An expression that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes from the start of the expression.
    pub at: usize,
    /// What to write instead.
    pub help: String,
}

/// Nesting that no condition needs; it bounds the recursion.
const DEPTH_MAX: u32 = 32;

/// A cursor over an expression, a limit or the key of an expectation.
pub(super) struct Parser<'a> {
    pub text: &'a str,
    pub at: usize,
    pub depth: u32,
}

impl<'a> Parser<'a> {
    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    pub fn take(&mut self, token: &str) -> bool {
        self.blanks();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    /// The longest run of characters that `of` takes; may be empty.
    pub fn run(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        self.blanks();
        let rest = self.rest();
        let end = rest.find(|c: char| !of(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// A name, which may hold `-` but not at its end (`a->b` stops before the arrow).
    pub fn name(&mut self) -> &'a str {
        self.run(|c| c.is_alphanumeric() || c == '_' || c == '-')
    }

    pub fn fail<T>(&self, message: impl Into<String>, help: impl Into<String>) -> Result<T, ExprError> {
        Err(ExprError { message: message.into(), at: self.at, help: help.into() })
    }

    pub fn expect(&mut self, token: &str) -> Result<(), ExprError> {
        if self.take(token) {
            Ok(())
        } else {
            self.fail(format!("`{token}` is missing"), format!("write `{token}` here"))
        }
    }

    pub fn end(&mut self) -> Result<(), ExprError> {
        self.blanks();
        if self.rest().is_empty() {
            return Ok(());
        }
        self.fail(format!("`{}` is too much", self.rest()), "join conditions by `&&` or `||`; take the rest out")
    }

    fn list(
        &mut self,
        token: &str,
        part: fn(&mut Self) -> Result<Expr, ExprError>,
        join: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr, ExprError> {
        let first = part(self)?;
        let mut all = vec![first];
        while self.take(token) {
            all.push(part(self)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { join(all) })
    }

    fn or(&mut self) -> Result<Expr, ExprError> {
        self.list("||", Self::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Expr, ExprError> {
        self.list("&&", Self::compare, Expr::And)
    }

    fn compare(&mut self) -> Result<Expr, ExprError> {
        if self.take("(") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return self.fail("too many brackets", "32 levels are enough");
            }
            let inner = self.or()?;
            self.expect(")")?;
            self.depth -= 1;
            return Ok(inner);
        }
        let from = self.at;
        let left = self.term()?;
        let Some(op) = self.op() else {
            return self.fail("a comparison is missing", "write one, such as `edge.uplink.backlog > 200`");
        };
        let right = self.term()?;
        if left.unit() != right.unit() {
            let message = format!("`{}` can't be compared", self.text[from..self.at].trim());
            let help = format!("`{left}` is compared with {}", left.unit().example());
            return Err(ExprError { message, at: from, help });
        }
        Ok(Expr::Compare(left, op, right))
    }

    pub fn op(&mut self) -> Option<Op> {
        Op::ALL.into_iter().find(|op| self.take(op.sign()))
    }

    pub fn quantity(&mut self) -> Result<Quantity, ExprError> {
        let digits = self.run(|c| c.is_ascii_digit() || c == '.' || c == '_');
        let Ok(number) = digits.replace('_', "").parse::<f64>() else {
            return self.fail(format!("`{digits}` is not a number"), "write a number such as 200, 400ms or 0.5%");
        };
        // A unit follows its number directly or after blanks; `&&` and `)` are none.
        self.blanks();
        let from = self.at;
        let unit = self.run(|c| c.is_alphabetic() || c == '%' || c == '/');
        let (scale, unit) = match unit {
            "" => (1.0, Unit::Count),
            "%" => (0.01, Unit::Ratio),
            "/s" => (1.0, Unit::PerSecond),
            "/min" => (1.0 / 60.0, Unit::PerSecond),
            "B" => (1.0, Unit::Bytes),
            "KiB" => (1024.0, Unit::Bytes),
            "MiB" => (1024.0 * 1024.0, Unit::Bytes),
            "GiB" => (1024.0 * 1024.0 * 1024.0, Unit::Bytes),
            time => match super::value::time_unit_ns(time) {
                Some(scale) => (scale, Unit::Ns),
                None => {
                    let help = "units are ms, s, min, h, %, /s, KiB, MiB; a count has none".to_owned();
                    return Err(ExprError { message: format!("unknown unit `{time}`"), at: from, help });
                }
            },
        };
        Ok(Quantity { value: number * scale, unit })
    }

    fn term(&mut self) -> Result<Term, ExprError> {
        self.blanks();
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Term::Number(self.quantity()?));
        }
        let from = self.at;
        let head = self.run(is_path);
        match head {
            "count" if self.take("(") => {
                let path = self.run(is_path);
                self.expect(")")?;
                let mut parts = path.splitn(3, '.').map(str::to_owned);
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(host), Some(place), Some(event)) => Ok(Term::Count { host, place, event }),
                    _ => self.fail(format!("`{path}` is not host.place.event"), "write `count(edge.uplink.committed)`"),
                }
            }
            "at" if self.take("(") => {
                let fault = self.name().to_owned();
                self.expect(")")?;
                self.expect(".")?;
                let gauge = self.run(is_path).to_owned();
                Ok(Term::At { fault, gauge })
            }
            "" => self.fail(
                "a value is missing",
                "write a number, a gauge such as `edge.uplink.backlog`, or `count(edge.uplink.committed)`",
            ),
            gauge if gauge.matches('.').count() == 2 => Ok(Term::Gauge(gauge.to_owned())),
            other => {
                let help = "a gauge is written host.channel.backlog, such as `edge.uplink.backlog`".to_owned();
                Err(ExprError { message: format!("`{other}` is not a value"), at: from, help })
            }
        }
    }
}

fn is_path(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-' || c == '.'
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;
    impl Readings for Fixed {
        fn gauge(&self, address: &str) -> Option<u64> {
            (address == "edge.uplink.backlog").then_some(201)
        }
        fn count(&self, _: &str, place: &str, event: &str) -> u64 {
            if (place, event) == ("windows", "sink.acked") { 7 } else { 0 }
        }
        fn at_fault(&self, fault: &str, _: &str) -> Option<u64> {
            (fault == "crash").then_some(10)
        }
    }

    #[track_caller]
    fn holds(text: &str) -> bool {
        Expr::parse(text).expect(text).holds(&Fixed)
    }

    #[test]
    fn conditions_hold_or_not() {
        assert!(holds("edge.uplink.backlog > 200"));
        assert!(holds("200 < edge.uplink.backlog && count(hub.windows.sink.acked) == 7"));
        assert!(!holds("edge.uplink.backlog > 200 && at(crash).backlog != 10"));
        assert!(holds("edge.uplink.backlog < 2 || (at(crash).edge.uplink.backlog <= 10)"));
        assert!(!holds("at(flap).backlog >= 0"), "a fault that never began compares false");
    }

    #[test]
    fn nonsense_says_where() {
        for (text, at) in [
            ("", 0),
            ("edge.uplink.backlog", 19),
            ("edge.uplink.backlog > 5 parsecs", 24),
            ("backlog > 3", 0),
            ("a.b.c > 1 x.y.z", 10),
        ] {
            assert_eq!(Expr::parse(text).expect_err(text).at, at, "{text}");
        }
        assert!(Expr::parse("edge.uplink.backlog > 5ms").expect_err("units differ").help.contains("200"));
        assert!(Expr::parse(&"(".repeat(100_000)).is_err());
    }
}
