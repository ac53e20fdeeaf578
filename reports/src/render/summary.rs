//! `summary.md`: what the terminal says, for the page that a CI system shows of a job.

/// A text as Markdown: in a fence that nothing in the text can end.
#[must_use]
pub fn render(text: &str) -> String {
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{text}{fence}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_a_fence_that_holds() {
        insta::assert_snapshot!(render("FAIL  seeds\n"), @r"
        ```text
        FAIL  seeds
        ```
        ");
        assert_eq!(render("a ``` b\n"), "````text\na ``` b\n````\n");
    }
}
