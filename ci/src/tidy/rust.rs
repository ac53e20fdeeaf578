//! Just enough of Rust's grammar to look for words in code: what is a comment, a literal, a test.

/// `text` with comments and literals turned to spaces; each line and each byte keeps its place.
pub(super) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let blank = blank_len(&text[at..], code.chars().next_back());
        if blank == 0 {
            code.push(next);
            at += next.len_utf8();
        } else {
            blank_out(&text[at..at + blank], &mut code);
            at += blank;
        }
    }
    code
}

fn blank_out(text: &str, into: &mut String) {
    into.extend(text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
}

/// The length of the comment or literal that `rest` begins with, or 0.
fn blank_len(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_len(rest);
    }
    if let Some(inside) = rest.strip_prefix('"') {
        return 1 + quoted_len(inside, '"');
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        return char_len(inside).map_or(0, |len| 1 + len);
    }
    if before.is_some_and(is_word) { 0 } else { raw_string_len(rest) }
}

fn block_comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Up to and with the closing quote.
fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// `None` for a lifetime.
fn char_len(rest: &str) -> Option<usize> {
    let first = rest.chars().next()?;
    if first == '\\' {
        return Some(quoted_len(rest, '\''));
    }
    rest[first.len_utf8()..].starts_with('\'').then_some(first.len_utf8() + 1)
}

fn raw_string_len(rest: &str) -> usize {
    let prefix = rest.len() - rest.trim_start_matches(['b', 'c']).len();
    let Some(after) = rest[prefix..].strip_prefix('r').filter(|_| prefix <= 1) else { return 0 };
    let hashes = after.len() - after.trim_start_matches('#').len();
    let Some(body) = after[hashes..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = rest.len() - body.len();
    body.find(&end).map_or(rest.len(), |at| opening + at + end.len())
}

/// Splits code (blanked by [`code_only`]) into what is built for users and what `#[cfg(test)]` guards.
pub(super) fn split_tests(code: &str) -> (String, String) {
    const MARK: &str = "#[cfg(test)]";
    let (mut product, mut tests) = (String::new(), String::new());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (head, tail) = rest.split_at(at);
        let (item, after) = tail.split_at(MARK.len() + item_len(&tail[MARK.len()..]));
        product.push_str(head);
        blank_out(head, &mut tests);
        tests.push_str(item);
        blank_out(item, &mut product);
        rest = after;
    }
    product.push_str(rest);
    blank_out(rest, &mut tests);
    (product, tests)
}

/// Up to a `;` outside braces, or the brace that closes the first one.
fn item_len(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (c == ';' || c == '}') {
            return at + 1;
        }
    }
    code.len()
}

/// Byte positions of `word`, where it isn't part of a longer word or a lifetime.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let free = |c: Option<char>| !c.is_some_and(|c| is_word(c) || c == '\'');
    let ends_free = !word.ends_with(is_word);
    code.match_indices(word)
        .filter(move |(at, _)| free(code[..*at].chars().next_back()))
        .filter(move |(at, _)| ends_free || free(code[at + word.len()..].chars().next()))
        .map(|(at, _)| at)
}

/// The line of a byte position, from 1.
pub(super) fn line_of(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The identifier that `code` begins with, perhaps empty.
pub(super) fn ident(code: &str) -> &str {
    &code[..code.find(|c| !is_word(c)).unwrap_or(code.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(code_only(text), expected);
    }

    #[test]
    fn blanks_comments_and_literals_only() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ d */ e", "a                   e");
        check(r#"a("b\"c", d)"#, "a(      , d)");
        check("r#\"a\"b\"# c", "         c");
        check("br\"a\\\" c", "       c");
        check("for x", "for x");
        check("&'static str", "&'static str");
        check("'a' '\\'' b", "         b");
        check("r#type", "r#type");
    }

    #[test]
    fn splits_tests_from_the_rest() {
        let (product, tests) =
            split_tests("fn a() {}\n#[cfg(test)]\nmod x;\nfn b() {}\n#[cfg(test)]\nmod t { fn c() {} }\nfn d() {}");
        assert!(product.contains("fn a") && product.contains("fn b") && product.contains("fn d"), "{product}");
        assert!(!product.contains("mod x") && !product.contains("fn c"), "{product}");
        assert!(tests.contains("mod x") && tests.contains("fn c") && !tests.contains("fn d"), "{tests}");
        assert_eq!(line_of(&tests, tests.find("mod t").expect("it is there")), 6);
    }

    #[test]
    fn finds_whole_words() {
        assert_eq!(words("static 'static statics a_static static", "static").count(), 2);
        assert_eq!(words("todo!() my_todo!()", "todo!").count(), 1);
        assert_eq!(ident("graph::spec"), "graph");
    }
}
