//! A scenario's `[matrix]`: keys with a list of values each, and a scenario for each combination.

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ScenarioError, Span, span};
use super::shape::plain;

/// Most combinations of one file.
const COMBINATIONS_MAX: usize = 64;
/// How a path asks for coarse steps, so no variant can be called that.
pub(super) const COARSE: &str = "coarse";
/// Longest name of a variant, bytes: it names a folder, too.
const NAME_MAX: usize = 100;

/// A key of the scenario and the values that it takes in turn.
pub(super) struct Axis<'i> {
    /// The tables on the way, and the key itself.
    path: Vec<String>,
    at: Span,
    values: Vec<Spanned<DeValue<'i>>>,
}

impl Axis<'_> {
    /// Where its key stands.
    pub fn place(&self) -> Span {
        self.at.clone()
    }
}

/// Takes the matrix out of the tree: its axes in order of the file.
pub(super) fn take<'i>(tree: &mut DeTable<'i>) -> Result<Vec<Axis<'i>>, Vec<ScenarioError>> {
    let (mut axes, mut errors) = (Vec::new(), Vec::new());
    if let Some((key, matrix)) = tree.remove_entry("matrix") {
        let at = key.span();
        match matrix.into_inner() {
            DeValue::Table(matrix) if !matrix.is_empty() => collect(matrix, &[], &mut axes, &mut errors),
            _ => errors.push(bad("`matrix` should be a table of lists", &at)),
        }
    }
    axes.sort_by_key(|axis: &Axis<'_>| axis.at.start);
    for (at, axis) in axes.iter().enumerate() {
        if axes[..at].iter().any(|before| before.path == axis.path) {
            errors.push(bad(&format!("`{}` is in the matrix twice", axis.path.join(".")), &axis.at));
        }
        if matches!(axis.path[0].as_str(), "extends" | "matrix") {
            errors.push(bad(&format!("`{}` can't be turned by a matrix", axis.path[0]), &axis.at));
        }
    }
    if errors.is_empty() { Ok(axes) } else { Err(errors) }
}

fn collect<'i>(table: DeTable<'i>, above: &[String], axes: &mut Vec<Axis<'i>>, errors: &mut Vec<ScenarioError>) {
    for (key, value) in table {
        let mut path = above.to_vec();
        // What is expected has dots in its names.
        match key.get_ref().split_once('.') {
            _ if above.first().is_some_and(|first| first == "expect") => path.push(key.get_ref().to_string()),
            Some(("expect", what)) if above.is_empty() => path.extend(["expect".to_owned(), what.to_owned()]),
            // So has the address of a stand-in: one.
            Some(("stand_in", rest)) if above.is_empty() => path.extend(stand_in_path(rest)),
            _ => path.extend(key.get_ref().split('.').map(str::to_owned)),
        }
        let at = key.span();
        match value.into_inner() {
            DeValue::Table(inner) if !inner.is_empty() => collect(inner, &path, axes, errors),
            DeValue::Array(values) if !values.is_empty() && values.iter().all(|value| is_scalar(value.get_ref())) => {
                axes.push(Axis { path, at, values: values.into_iter().collect() });
            }
            _ => errors.push(bad(&format!("`{}` should be a list of values", path.join(".")), &at)),
        }
    }
}

/// `edge.detect.json.score` as the table of `edge.detect`, and the keys in it.
fn stand_in_path(rest: &str) -> impl Iterator<Item = String> {
    let address_ends = rest.match_indices('.').nth(1).map_or(rest.len(), |(at, _)| at);
    let (address, keys) = rest.split_at(address_ends);
    let keys = keys.split('.').skip(1).map(str::to_owned);
    ["stand_in".to_owned(), address.to_owned()].into_iter().chain(keys)
}

fn is_scalar(value: &DeValue<'_>) -> bool {
    !matches!(value, DeValue::Table(_) | DeValue::Array(_) | DeValue::Datetime(_))
}

fn bad(message: &str, at: &Span) -> ScenarioError {
    let help = "write [matrix] and under it lines such as \"faults.cut.for\" = [\"2s\", \"8s\"]".to_owned();
    ScenarioError::BadValue { message: message.to_owned(), at: span(at), help }
}

/// The name of each combination, the last axis turning fastest; none without axes.
pub(super) fn names(axes: &[Axis<'_>]) -> Result<Vec<String>, Vec<ScenarioError>> {
    let Some(first) = axes.first() else { return Ok(Vec::new()) };
    let wrong =
        |message: String, help: String| Err(vec![ScenarioError::BadValue { message, at: span(&first.at), help }]);
    let combinations = axes.iter().fold(1_usize, |all, axis| all.saturating_mul(axis.values.len()));
    if combinations > COMBINATIONS_MAX {
        let help = format!("at most {COMBINATIONS_MAX}: take values out, or write two files that extend a third");
        return wrong(format!("a matrix of {combinations} scenarios"), help);
    }
    let name = |which| {
        let chosen = chosen(axes, which);
        chosen.iter().map(|(_, value)| slug(value.get_ref())).collect::<Vec<_>>().join("+")
    };
    let names: Vec<String> = (0..combinations).map(name).collect();
    if let Some(name) = names.iter().find(|name| name.is_empty() || *name == COARSE || name.len() > NAME_MAX) {
        let help = format!(
            "a name has 1 to {NAME_MAX} letters, digits and dots of its values, and `{COARSE}` means the long soak"
        );
        return wrong(format!("no combination of a matrix can be called `{name}`"), help);
    }
    if let Some((_, name)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        let help = "each combination needs a name of its own: letters, digits and dots of its values".to_owned();
        return wrong(format!("two combinations of the matrix are called `{name}`"), help);
    }
    Ok(names)
}

/// The value of each axis in a combination.
fn chosen<'a, 'i>(axes: &'a [Axis<'i>], which: usize) -> Vec<(&'a Axis<'i>, &'a Spanned<DeValue<'i>>)> {
    let mut left = which;
    let mut chosen: Vec<_> = axes
        .iter()
        .rev()
        .map(|axis| {
            let value = &axis.values[left % axis.values.len()];
            left /= axis.values.len();
            (axis, value)
        })
        .collect();
    chosen.reverse();
    chosen
}

/// A value as part of a name: what is neither letter, digit nor dot becomes `_`, once, and never at an end.
fn slug(value: &DeValue<'_>) -> String {
    let text = plain(value);
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_")
}

/// Puts the values of a combination where they belong.
pub(super) fn apply<'i>(tree: &mut DeTable<'i>, axes: &[Axis<'i>], which: usize) -> Result<(), Vec<ScenarioError>> {
    let mut errors = Vec::new();
    for (axis, value) in chosen(axes, which) {
        if !set(tree, &axis.path, &axis.at, value) {
            errors.push(bad(&format!("`{}` is not in a table", axis.path.join(".")), &axis.at));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Puts a text where it belongs; where something else is in the way, that is left to whoever reads it.
pub(super) fn set_text(tree: &mut DeTable<'_>, path: [&str; 2], text: &'static str) {
    let value = Spanned::new(0..0, DeValue::String(text.into()));
    let _is_there = set(tree, &path.map(str::to_owned), &(0..0), &value);
}

/// Whether a value could be put there: tables that are not there are made, but nothing else becomes one.
fn set<'i>(table: &mut DeTable<'i>, path: &[String], at: &Span, value: &Spanned<DeValue<'i>>) -> bool {
    let Some((key, rest)) = path.split_first() else { return false };
    let named = Spanned::new(at.clone(), key.clone().into());
    if rest.is_empty() {
        // The old key goes, too: its place is that of the matrix now.
        table.remove(key.as_str());
        table.insert(named, value.clone());
        return true;
    }
    let made = || Spanned::new(at.clone(), DeValue::Table(DeTable::new()));
    match table.entry(named).or_insert_with(made).get_mut() {
        DeValue::Table(inner) => set(inner, rest, at, value),
        _ => false,
    }
}
