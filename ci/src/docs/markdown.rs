//! What a Markdown page names: paths of this tree, and commands to type.

/// A path that a page names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// From 1.
    pub(super) line: usize,
    /// As written, without an anchor.
    pub(super) path: String,
    /// True for a link, which is relative to its page; other paths may be relative to the root.
    pub(super) link: bool,
}

/// A line of a ```console block that begins with `$ `.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    /// From 1.
    pub(super) line: usize,
    /// Without `$ ` and the comment.
    pub(super) command: String,
    /// Marked `# slow`: named, not run.
    pub(super) slow: bool,
    /// Marked `# exit N`; 0 otherwise.
    pub(super) code: i32,
}

/// Everything that a page names. `folders` are the top-level folders: what begins with one is a path.
pub(super) fn read(page: &str, folders: &[String]) -> (Vec<Named>, Vec<Typed>) {
    let (mut named, mut typed) = (Vec::new(), Vec::new());
    let mut fence: Option<&str> = None;
    for (at, text) in page.lines().enumerate() {
        let line = at + 1;
        let mut name = |path: &str, link| {
            let path = path.split('#').next().unwrap_or("").trim_end_matches(['.', ',', ';', ':']);
            if !path.is_empty() && (link || is_path(path, folders)) {
                named.push(Named { line, path: path.to_owned(), link });
            }
        };
        if let Some(opened) = text.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(opened.trim()) };
        } else if let Some(kind) = fence {
            text.split([' ', '\t', '"', '\'', '(', ')', ',', '=']).for_each(|word| name(word, false));
            if let Some(command) = text.strip_prefix("$ ").filter(|_| kind == "console") {
                typed.push(command_of(line, command));
            }
        } else {
            text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace).for_each(|word| name(word, false));
            let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            links.filter(|link| !link.contains("://")).for_each(|link| name(link, true));
        }
    }
    (named, typed)
}

fn is_path(word: &str, folders: &[String]) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    let in_tree = word.split_once('/').is_some_and(|(first, _)| folders.iter().any(|folder| folder == first));
    plain && (in_tree || word.ends_with(".md"))
}

fn command_of(line: usize, text: &str) -> Typed {
    let (command, comment) = text.split_once(" # ").unwrap_or((text, ""));
    let comment = comment.trim();
    let code = comment.strip_prefix("exit ").and_then(|code| code.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    Typed { line, command: command.trim().to_owned(), slow: comment == "slow", code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(page: &str, paths: &[&str], commands: &[(&str, bool, i32)]) {
        let folders = ["engine".to_owned(), "scenarios".to_owned()];
        let (named, typed) = read(page, &folders);
        assert_eq!(named.iter().map(|named| named.path.as_str()).collect::<Vec<_>>(), paths);
        let typed: Vec<_> = typed.iter().map(|typed| (typed.command.as_str(), typed.slow, typed.code)).collect();
        assert_eq!(typed, commands);
    }

    #[test]
    fn names_paths_in_prose_and_links() {
        check("See `engine/src/env/`, `net.cut`, `dlq/v1` and `docs.md`.", &["engine/src/env/", "docs.md"], &[]);
        check("[a](scenarios/a.toml#x) [b](https://example.org/a)", &["scenarios/a.toml"], &[]);
        check("`engine/src/{a,b}` and `scenarios/*.toml` stand for several", &[], &[]);
    }

    #[test]
    fn names_paths_in_fences_and_commands_in_console_only() {
        check("```text\n$ seaworthy x\nengine/src/  the code\n```\n", &["engine/src/"], &[]);
        check("```console\n$ cargo ci # slow\n  output\n```\n$ no\n", &[], &[("cargo ci", true, 0)]);
        check(
            "```console\n$ seaworthy sim scenarios/a.toml   # exit 1\n```",
            &["scenarios/a.toml"],
            &[("seaworthy sim scenarios/a.toml", false, 1)],
        );
    }
}
