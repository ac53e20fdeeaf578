//! "Did you mean": which known name is nearest to one that is not known.

/// Longer words are not compared: the table grows with the square of their length.
const WORD_BYTES_MAX: usize = 64;
/// More names than this are not listed.
const LISTED_MAX: usize = 12;

/// A help line for a `word` that is none of `known`: the nearest of them, or all of them when none is near.
pub(crate) fn instead<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(word, &known) {
        return format!("did you mean `{near}`?");
    }
    match known.as_slice() {
        [] => "there is none".to_owned(),
        [only] => format!("the only one is `{only}`"),
        many => {
            let mut listed = many[..many.len().min(LISTED_MAX)].iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            if many.len() > LISTED_MAX {
                listed.push_str(&format!(" and {} more", many.len() - LISTED_MAX));
            }
            format!("write one of {listed}")
        }
    }
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = |name: &&&str| distance(word, name);
    let without_pack = known.iter().find(|name| name.rsplit_once(':').is_some_and(|(_, short)| short == word));
    without_pack.or_else(|| known.iter().min_by_key(best).filter(|name| distance(word, name) <= (word.len() / 3).max(1))).copied()
}

/// Levenshtein distance, case ignored: insert, remove and replace cost 1 each. `usize::MAX` for words that are too long.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > WORD_BYTES_MAX || b.len() > WORD_BYTES_MAX {
        return usize::MAX;
    }
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.chars().enumerate() {
            let replaced = corner + usize::from(from != to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row.last().copied().expect("the row has one cell more than `b` has characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, known: &[&str], expected: &str) {
        assert_eq!(instead(word, known.iter().copied()), expected);
    }

    #[test]
    fn the_nearest_name_wins_and_far_ones_are_listed() {
        check("sorce", &["sink", "source", "node"], "did you mean `source`?");
        check("Sink", &["sink", "source"], "did you mean `sink`?");
        check("filter", &["std:map", "std:filter"], "did you mean `std:filter`?");
        check("zebra", &["sink", "source"], "write one of `sink`, `source`");
        check("zebra", &["sink"], "the only one is `sink`");
        check("zebra", &[], "there is none");
        check("", &["sink", "source"], "write one of `sink`, `source`");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
