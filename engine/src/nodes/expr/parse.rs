//! From text to [`Expr`]: a precedence-climbing parser that says the column of what it can't read.

use super::{DEPTH_MAX, Expr, Function, Op, Path, TEXT_MAX, Value};

/// Text that is not an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (column {column})")]
pub struct ExprError {
    /// Where, in characters; the first is 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

impl Expr {
    /// Reads an expression.
    ///
    /// # Errors
    /// With the column, when the text is longer than [`TEXT_MAX`], nested deeper than [`DEPTH_MAX`], or no expression.
    pub fn parse(text: &str) -> Result<Expr, ExprError> {
        let mut parser = Parser { text, at: 0 };
        if text.len() > TEXT_MAX {
            return Err(parser.error(format!("an expression has at most {TEXT_MAX} bytes, this one {}", text.len())));
        }
        let tree = parser.expression(0, 0)?;
        parser.skip_space();
        if parser.at < text.len() {
            return Err(parser.error("expected an operator or the end"));
        }
        Ok(tree.expr)
    }
}

impl Path {
    /// Reads a path and nothing else.
    ///
    /// # Errors
    /// With the column, when the text is not a path.
    pub fn parse(text: &str) -> Result<Path, ExprError> {
        match Expr::parse(text)? {
            Expr::Path(path) => Ok(path),
            _ => Err(ExprError { column: 1, message: "expected a path such as `payload.mag`".into() }),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

/// A tree and its height, so that a chain as long as `1+1+1+…` is bounded like parentheses are.
struct Tree {
    expr: Expr,
    height: usize,
}

impl<'t> Parser<'t> {
    fn error(&self, message: impl Into<String>) -> ExprError {
        ExprError { column: self.text[..self.at].chars().count() + 1, message: message.into() }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes `symbol` after white space, if it comes next.
    fn takes(&mut self, symbol: &str) -> bool {
        self.skip_space();
        let comes = self.rest().starts_with(symbol);
        if comes {
            self.at += symbol.len();
        }
        comes
    }

    fn wants(&mut self, symbol: &str) -> Result<(), ExprError> {
        if self.takes(symbol) { Ok(()) } else { Err(self.error(format!("expected `{symbol}`"))) }
    }

    fn bounded(&self, expr: Expr, height: usize) -> Result<Tree, ExprError> {
        if height > DEPTH_MAX {
            return Err(self.error(format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(Tree { expr, height })
    }

    fn operator(&mut self) -> Option<(Op, u8)> {
        self.skip_space();
        let (op, _, binds) = *Op::TABLE.iter().find(|(_, symbol, _)| self.rest().starts_with(symbol))?;
        Some((op, binds))
    }

    /// An expression whose operators all bind at least as tightly as `least`; `depth` counts what encloses it.
    fn expression(&mut self, least: u8, depth: usize) -> Result<Tree, ExprError> {
        let mut left = self.operand(depth)?;
        let mut compared = false;
        while let Some((op, binds)) = self.operator().filter(|(_, binds)| *binds >= least) {
            if binds == 3 && std::mem::replace(&mut compared, true) {
                return Err(self.error("comparisons can't be chained; join them with `&&`"));
            }
            self.at += op.symbol().len();
            let right = self.expression(binds + 1, depth)?;
            let height = left.height.max(right.height) + 1;
            left = self.bounded(Expr::Binary(op, Box::new(left.expr), Box::new(right.expr)), height)?;
            compared &= binds >= 3;
        }
        Ok(left)
    }

    fn operand(&mut self, depth: usize) -> Result<Tree, ExprError> {
        if depth > DEPTH_MAX {
            return Err(self.error(format!("nested deeper than {DEPTH_MAX}")));
        }
        if self.takes("!") {
            let a = self.operand(depth + 1)?;
            return self.bounded(Expr::Not(Box::new(a.expr)), a.height + 1);
        }
        if self.takes("-") {
            let a = self.operand(depth + 1)?;
            return self.bounded(Expr::Neg(Box::new(a.expr)), a.height + 1);
        }
        if self.takes("(") {
            let inner = self.expression(0, depth + 1)?;
            self.wants(")")?;
            return Ok(inner);
        }
        let leaf = |expr| Ok(Tree { expr, height: 0 });
        match self.rest().chars().next() {
            Some('0'..='9') => leaf(Expr::Literal(self.number()?)),
            Some('"' | '\'') => leaf(Expr::Literal(Value::Text(self.quoted()?.into()))),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.named(depth),
            Some(c) => Err(self.error(format!("expected a value, found `{c}`"))),
            None => Err(self.error("expected a value, found the end")),
        }
    }

    /// Takes characters as long as `is` holds.
    fn span(&mut self, is: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let len = rest.find(|c| !is(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn number(&mut self) -> Result<Value<'static>, ExprError> {
        let start = self.at;
        self.span(|c| c.is_ascii_digit());
        let is_fraction =
            |rest: &str| rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if is_fraction(self.rest()) {
            self.at += 1;
            self.span(|c| c.is_ascii_digit());
        }
        if self.rest().starts_with(['e', 'E']) {
            self.at += 1;
            if self.rest().starts_with(['+', '-']) {
                self.at += 1;
            }
            self.span(|c| c.is_ascii_digit());
        }
        let text = &self.text[start..self.at];
        if let Ok(int) = text.parse::<i128>() {
            return Ok(Value::int(int));
        }
        let float: Option<f64> = text.parse().ok().filter(|float: &f64| float.is_finite());
        float.map(Value::Float).ok_or_else(|| {
            self.at = start;
            self.error(format!("`{text}` is not a number that fits"))
        })
    }

    fn quoted(&mut self) -> Result<String, ExprError> {
        let start = self.at;
        let mut chars = self.rest().char_indices();
        let (_, quote) = chars.next().expect("the caller saw a quote");
        let mut text = String::new();
        while let Some((offset, c)) = chars.next() {
            match c {
                _ if c == quote => {
                    self.at = start + offset + 1;
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('\\' | '"' | '\''))) => text.push(c),
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    _ => {
                        self.at = start + offset;
                        return Err(self.error("after `\\` may come `\\`, a quote, `n` or `t`"));
                    }
                },
                _ => text.push(c),
            }
        }
        Err(self.error("this text has no closing quote"))
    }

    /// A constant, a call or a path.
    fn named(&mut self, depth: usize) -> Result<Tree, ExprError> {
        let start = self.at;
        let word = self.span(|c| c.is_ascii_alphanumeric() || c == '_');
        if let Some((function, _)) = Function::TABLE.iter().find(|(_, name)| *name == word) {
            return self.call(*function, depth);
        }
        let expr = match word {
            "true" => Expr::Literal(Value::Bool(true)),
            "false" => Expr::Literal(Value::Bool(false)),
            "null" => Expr::Literal(Value::Null),
            "payload" => Expr::Path(Path::Payload(self.parts()?)),
            "meta" => {
                let mut parts = self.parts()?;
                match (parts.pop(), parts.is_empty()) {
                    (Some(name), true) => Expr::Path(Path::Meta(name)),
                    _ => return Err(self.error("`meta` takes one name, such as `meta.site`")),
                }
            }
            "key" => Expr::Path(Path::Key),
            "ts" => Expr::Path(Path::Ts),
            "packet_id" => Expr::Path(Path::PacketId),
            "source_id" => Expr::Path(Path::SourceId),
            "kind" => Expr::Path(Path::Kind),
            _ => {
                self.at = start;
                return Err(self.error(format!(
                    "unknown name `{word}`; a path starts with payload, meta, key, ts, packet_id, source_id or kind"
                )));
            }
        };
        Ok(Tree { expr, height: 0 })
    }

    fn parts(&mut self) -> Result<Vec<String>, ExprError> {
        let mut parts = Vec::new();
        while self.rest().starts_with('.') {
            self.at += 1;
            let part = match self.rest().chars().next() {
                Some('"' | '\'') => self.quoted()?,
                _ => self.span(|c| c.is_ascii_alphanumeric() || c == '_').to_owned(),
            };
            let quoted = self.text[..self.at].ends_with(['"', '\'']);
            if part.is_empty() && !quoted {
                return Err(self.error("expected a name after `.`"));
            }
            parts.push(part);
        }
        Ok(parts)
    }

    fn call(&mut self, function: Function, depth: usize) -> Result<Tree, ExprError> {
        self.wants("(")?;
        let mut arguments = Vec::new();
        let mut height = 0;
        loop {
            self.skip_space();
            let start = self.at;
            let argument = self.expression(0, depth + 1)?;
            if function == Function::Exists && !matches!(argument.expr, Expr::Path(_)) {
                self.at = start;
                return Err(self.error("`exists` takes a path, such as `exists(payload.mag)`"));
            }
            height = height.max(argument.height + 1);
            arguments.push(argument.expr);
            if function == Function::Coalesce && self.takes(",") {
                continue;
            }
            self.wants(")")?;
            return self.bounded(Expr::Call(function, arguments), height);
        }
    }
}
