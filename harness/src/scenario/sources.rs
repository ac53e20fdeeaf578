//! The texts that a scenario is made of: its file and those that it extends, one over the other, and one variant of its
//! matrix. Their places count on from file to file, so that a place in the whole says by itself which file it is in.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::beside;
use super::error::{ScenarioError, Span, line_of, span};
use super::matrix::{self, Axis, COARSE};

/// Most files of one scenario.
const FILES_MAX: usize = 8;
/// The step of a coarse world, as a scenario would write it.
pub const COARSE_TICK: &str = "10ms";

/// A scenario's file, and the files that it extends, nearest first.
#[derive(Clone, Debug)]
pub struct Sources {
    files: Vec<SourceFile>,
    name: Name,
}

/// What a path says beside the file.
#[derive(Clone, Debug, Default)]
struct Name {
    /// One combination of its matrix.
    variant: Option<String>,
    /// With a coarse tick.
    coarse: bool,
}

#[derive(Clone, Debug)]
struct SourceFile {
    path: String,
    /// Blanks as long as all files before it, then its text: places in the tree that is read from it count on.
    padded: String,
    start: usize,
    /// What it extends, as written.
    extends: Option<(String, Span)>,
}

impl SourceFile {
    fn text(&self) -> &str {
        &self.padded[self.start..]
    }
}

fn extends(text: &str) -> Option<(String, Span)> {
    let tree = DeTable::parse(text).ok()?;
    let value = tree.get_ref().get("extends")?;
    Some((value.get_ref().as_str()?.to_owned(), value.span()))
}

impl Sources {
    /// The scenario `text` of the file `path`; `path#variant` is one variant of its matrix, `path#coarse` (behind a variant,
    /// too) runs in steps of [`COARSE_TICK`].
    #[must_use]
    pub fn new(path: &str, text: &str) -> Sources {
        let (path, name) = split(path);
        let mut sources = Sources { files: Vec::new(), name };
        sources.push(path.to_owned(), text);
        sources
    }

    /// The file that the last of these files extends, where it is not here yet: the caller reads it and gives it to
    /// [`Sources::extend`].
    #[must_use]
    pub fn wanted(&self) -> Option<String> {
        let last = self.files.last()?;
        let (base, _) = last.extends.as_ref()?;
        let path = beside(Path::new(&last.path), base).to_string_lossy().into_owned();
        (self.files.len() < FILES_MAX && self.files.iter().all(|file| file.path != path)).then_some(path)
    }

    /// Takes the file that was [`wanted`](Sources::wanted).
    pub fn extend(&mut self, path: String, text: &str) {
        self.push(path, text);
    }

    /// The same with more behind the text of its own file.
    #[must_use]
    pub fn with(&self, more: &str) -> Sources {
        let mut files = self.files.iter();
        let own = files.next().expect("a scenario has a file");
        let mut sources = Sources { files: Vec::new(), name: self.name.clone() };
        sources.push(own.path.clone(), &format!("{}\n{more}", own.text()));
        files.for_each(|file| sources.push(file.path.clone(), file.text()));
        sources
    }

    fn push(&mut self, path: String, text: &str) {
        let start = self.files.last().map_or(0, |last| last.padded.len());
        // A byte-order mark may stand at the very start only.
        let text = text.strip_prefix('\u{feff}').map_or(Cow::Borrowed(text), |rest| format!("   {rest}").into());
        let padded = " ".repeat(start) + &text;
        let extends = extends(&padded);
        self.files.push(SourceFile { path, padded, start, extends });
    }

    fn own(&self) -> &SourceFile {
        self.files.first().expect("a scenario has a file")
    }

    /// The path of the same scenario in coarse steps.
    #[must_use]
    pub fn coarse(path: &str) -> String {
        if split(path).1.coarse { path.to_owned() } else { format!("{path}#{COARSE}") }
    }

    /// The file of a path that may name a variant behind a `#`.
    #[must_use]
    pub fn file_of(path: &str) -> &str {
        split(path).0
    }

    /// The scenario's own file.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.own().path
    }

    /// The text of the scenario's own file.
    #[must_use]
    pub fn own_text(&self) -> &str {
        self.own().text()
    }

    /// The file's stem, and the variant.
    #[must_use]
    pub fn id(&self) -> String {
        let stem = Path::new(self.path()).file_stem().map_or(Cow::Borrowed("scenario"), |stem| stem.to_string_lossy());
        let coarse = self.name.coarse.then_some(COARSE);
        let more = self.name.variant.as_deref().into_iter().chain(coarse);
        more.fold(stem.into_owned(), |id, more| format!("{id}.{more}"))
    }

    /// The line in the scenario's own file, from 1; what it inherits has the line of its `extends`.
    #[must_use]
    pub fn line(&self, offset: usize) -> u32 {
        let own = self.own();
        let inherited = own.extends.as_ref().filter(|_| offset > own.padded.len());
        line_of(own.text(), inherited.map_or(offset, |(_, at)| at.start))
    }

    /// The file that a place is in, and the line there, from 1.
    #[must_use]
    pub fn place(&self, offset: usize) -> (&str, u32) {
        let file = self.file_at(offset);
        (&file.path, line_of(file.text(), offset.saturating_sub(file.start)))
    }

    fn file_at(&self, offset: usize) -> &SourceFile {
        self.files.iter().rev().find(|file| file.start <= offset).unwrap_or_else(|| self.own())
    }

    /// Everything in one tree: each file over the one that it extends, and the variant over all.
    pub(super) fn tree(&self) -> Result<DeTable<'_>, Vec<ScenarioError>> {
        let mut whole = self.laid()?;
        let axes = matrix::take(&mut whole)?;
        let variants = matrix::names(&axes)?;
        let at = axes.first().map_or(0..0, Axis::place);
        match &self.name.variant {
            None if axes.is_empty() => {}
            None => {
                return Err(vec![ScenarioError::ManyVariants {
                    variants,
                    path: self.path().to_owned(),
                    at: span(&at),
                }]);
            }
            Some(name) => match variants.iter().position(|known| known == name) {
                Some(which) => matrix::apply(&mut whole, &axes, which)?,
                None => {
                    return Err(vec![ScenarioError::UnknownVariant {
                        name: name.clone(),
                        at: span(&at),
                        help: if variants.is_empty() {
                            "this file has no [matrix]; name it without the `#`".to_owned()
                        } else {
                            format!("known here: {}", variants.join(", "))
                        },
                    }]);
                }
            },
        }
        if self.name.coarse {
            matrix::set_text(&mut whole, ["sim", "tick"], COARSE_TICK);
        }
        Ok(whole)
    }

    /// Each variant of its matrix as a path of its own; none where it is one or has no matrix, or while the files have errors.
    #[must_use]
    pub fn variants(&self) -> Vec<String> {
        if self.name.variant.is_some() {
            return Vec::new();
        }
        let names = self.laid().and_then(|mut whole| matrix::names(&matrix::take(&mut whole)?)).unwrap_or_default();
        let variant = |name: &String| {
            let path = format!("{}#{name}", self.path());
            if self.name.coarse { Sources::coarse(&path) } else { path }
        };
        names.iter().map(variant).collect()
    }

    fn laid(&self) -> Result<DeTable<'_>, Vec<ScenarioError>> {
        let mut whole: Option<DeTable<'_>> = None;
        let mut folders = vec![PathBuf::new()];
        let mut errors = Vec::new();
        let mut trees = Vec::new();
        for file in &self.files {
            let (tree, syntax) = DeTable::parse_recoverable(&file.padded);
            errors.extend(syntax.into_iter().map(|error| {
                let at = error.span().unwrap_or(file.start..file.start);
                ScenarioError::Syntax { message: error.message().to_owned(), at: span(&at) }
            }));
            let mut tree = tree.into_inner();
            rebase(&mut tree, &folders[folders.len() - 1]);
            if let Some(value) = tree.remove("extends") {
                match value.get_ref() {
                    DeValue::String(base) => {
                        let folder = beside(&folders[folders.len() - 1].join("-"), base);
                        folders.push(folder.parent().unwrap_or(Path::new("")).to_owned());
                    }
                    _ => errors.push(ScenarioError::BadValue {
                        message: "`extends` should be the name of a file".to_owned(),
                        at: span(&value.span()),
                        help: "write `extends = \"smoke.toml\"`, relative to this file".to_owned(),
                    }),
                }
            }
            trees.push(tree);
        }
        if let Some((base, at)) = self.files.last().and_then(|last| last.extends.as_ref()) {
            errors.push(ScenarioError::Contradiction {
                message: format!(
                    "`{base}` can't be extended from here: it is one of these files already, or the ninth"
                ),
                at: span(at),
                help: format!(
                    "a scenario may extend one that extends another, up to {FILES_MAX} files, and none itself"
                ),
            });
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        for tree in trees.into_iter().rev() {
            match &mut whole {
                Some(whole) => lay(whole, tree),
                None => whole = Some(tree),
            }
        }
        Ok(whole.unwrap_or_default())
    }
}

/// A file, and what its path says beside it.
fn split(path: &str) -> (&str, Name) {
    // A folder may have a `#` in its name, too.
    let Some(at) = path.rfind(".toml#") else { return (path, Name::default()) };
    let (file, name) = (&path[..at + ".toml".len()], &path[at + ".toml#".len()..]);
    let (variant, coarse) = match name.rsplit_once('#') {
        Some((variant, COARSE)) => (Some(variant), true),
        _ if name == COARSE => (None, true),
        _ => (Some(name), false),
    };
    (file, Name { variant: variant.map(str::to_owned), coarse })
}

/// Paths of a file that lies elsewhere, seen from the scenario's own folder.
fn rebase(tree: &mut DeTable<'_>, folder: &Path) {
    if folder.as_os_str().is_empty() {
        return;
    }
    each_value(tree, "", &|key, value| {
        let key = key.strip_prefix("matrix.").unwrap_or(key);
        // A template of JSON may have any field.
        let rows = key.starts_with("load.") && key.ends_with(".rows") && !key.ends_with("json.rows");
        if let (true, DeValue::String(text)) = (rows || matches!(key, "graph" | "cpu"), value) {
            *text = folder.join(text.as_ref()).to_string_lossy().into_owned().into();
        }
    });
}

/// Shows each value of a tree with its key, dots between tables; each of a list with the list's.
fn each_value(table: &mut DeTable<'_>, above: &str, show: &dyn Fn(&str, &mut DeValue<'_>)) {
    for (key, value) in table.iter_mut() {
        let key = if above.is_empty() { key.get_ref().to_string() } else { format!("{above}.{}", key.get_ref()) };
        match value.get_mut() {
            DeValue::Table(inner) => each_value(inner, &key, show),
            DeValue::Array(values) => values.iter_mut().for_each(|value| show(&key, value.get_mut())),
            value => show(&key, value),
        }
    }
}

/// Whether both say what kind of fault they are, and not the same.
fn other_kind(below: &DeTable<'_>, above: &DeTable<'_>) -> bool {
    let kind = |table: &DeTable<'_>| table.get("kind").and_then(|kind| kind.get_ref().as_str().map(str::to_owned));
    kind(above).is_some_and(|above| kind(below).is_some_and(|below| below != above))
}

/// Lays `over` over `under`: tables key by key, anything else in its place. A fault of another kind shares nothing with the
/// one that it replaces; `false` takes out what was there.
fn lay<'i>(under: &mut DeTable<'i>, over: DeTable<'i>) {
    for (key, value) in over {
        let below = under.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut);
        match (below, value.get_ref()) {
            (Some(DeValue::Table(below)), DeValue::Table(above)) if !other_kind(below, above) => {
                let DeValue::Table(above) = value.into_inner() else { unreachable!("it was a table above") };
                lay(below, above);
            }
            (Some(DeValue::Table(_) | DeValue::String(_) | DeValue::Array(_)), DeValue::Boolean(false)) => {
                under.remove(key.get_ref().as_ref());
            }
            _ => {
                // The key goes, too: its place is that of the file that has the last word.
                under.remove(key.get_ref().as_ref());
                under.insert(key, value);
            }
        }
    }
}

impl SourceCode for Sources {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let file = self.file_at(span.offset());
        let inside = SourceSpan::new((span.offset() - file.start).into(), span.len());
        let seen = file.text().read_span(&inside, before, after)?;
        let at = SourceSpan::new((seen.span().offset() + file.start).into(), seen.span().len());
        Ok(Box::new(MietteSpanContents::new_named(
            file.path.clone(),
            seen.data(),
            at,
            seen.line(),
            seen.column(),
            seen.line_count(),
        )))
    }
}
