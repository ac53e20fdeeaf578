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
            let mut listed = many[..many.len().min(LISTED_MAX)]
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ");
            if many.len() > LISTED_MAX {
                listed.push_str(&format!(" and {} more", many.len() - LISTED_MAX));
            }
            format!("write one of {listed}")
        }
    }
}

/// The known name that `word` was most likely meant to be.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = |name: &&&str| distance(word, name);
    let without_pack = known.iter().find(|name| name.rsplit_once(':').is_some_and(|(_, short)| short == word));
    without_pack
        .or_else(|| known.iter().min_by_key(best).filter(|name| distance(word, name) <= word.len().div_ceil(3).max(1)))
        .copied()
}

/// Edits from one word to the other, case ignored: insert, remove, replace and swap of two neighbours cost 1 each
/// (optimal string alignment). `usize::MAX` for words that are too long.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > WORD_BYTES_MAX || b.len() > WORD_BYTES_MAX {
        return usize::MAX;
    }
    let [a, b] = [a, b].map(|word| word.to_lowercase().chars().collect::<Vec<_>>());
    let mut cost = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            cost[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = cost[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let best = replaced.min(cost[i - 1][j] + 1).min(cost[i][j - 1] + 1);
                if swapped { best.min(cost[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    cost[a.len()][b.len()]
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
        check("form", &["to", "from"], "did you mean `from`?");
        check("Sink", &["sink", "source"], "did you mean `sink`?");
        check("filter", &["std:map", "std:filter"], "did you mean `std:filter`?");
        check("zebra", &["sink", "source"], "write one of `sink`, `source`");
        check("zebra", &["sink"], "the only one is `sink`");
        check("zebra", &[], "there is none");
        check("", &["sink", "source"], "write one of `sink`, `source`");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
