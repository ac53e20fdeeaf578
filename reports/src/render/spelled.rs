//! What a page says, as lines that a test can show: what is drawn and styled is left out.

/// A line a block: a heading begins with `#`, an item with `-`, what can be folded with `v` or `>`, a row's cells are parted by `|`.
/// A picture is its label and its texts.
pub(crate) fn spelled(page: &str) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    let mut open = ' ';
    let mut is_hidden = false;
    for piece in page.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap_or((piece, ""));
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        let opens = match name {
            "h1" | "h2" | "h3" => "#".repeat(usize::from(name.as_bytes()[1] - b'0')) + " ",
            "li" => "- ".to_owned(),
            "details" => {
                open = if tag.contains(" open") { 'v' } else { '>' };
                String::new()
            }
            "summary" => format!("{open} "),
            "svg" => format!("[{}] ", tag.split('"').nth(3).unwrap_or_default()),
            "td" | "th" => {
                line.push_str(if line.is_empty() { "" } else { " | " });
                line.push_str(text.trim());
                continue;
            }
            "text" => {
                line.push_str(text.trim());
                line.push(' ');
                continue;
            }
            "style" | "/style" => {
                is_hidden = name == "style";
                continue;
            }
            "p" | "tr" | "pre" | "figcaption" | "title" | "ul" | "/ul" | "ol" | "/ol" | "footer" => String::new(),
            _ => {
                line.push_str(if is_hidden { "" } else { text.trim_matches('\n') });
                continue;
            }
        };
        lines.push(std::mem::take(&mut line));
        line = opens + text.trim_matches('\n');
    }
    lines.push(line);
    let lines = lines.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}
