//! Loading: defaults, then the file, then the environment, then overrides; every problem is collected.

use super::keys::{KEYS, Key, SECTIONS, Settings};
use super::notation::{Refused, type_name};
use super::problem::{ConfigError, Problem, SetBy};
use super::read::{Raw, read};
use super::rules;
use super::secret::{MASK, is_secret, masked};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The largest configuration file that is read.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// The most syntax errors of a file that are reported: what follows them is mostly their echo.
const SYNTAX_PROBLEMS_MAX: usize = 20;
/// The longest piece of a key or value that a refusal quotes.
const QUOTED_CHARS_MAX: usize = 80;

/// The environment variable that holds the secret of the webhook.
pub const WEBHOOK_KEY: &str = "VELA_WEBHOOK_KEY";

/// Environment variables that begin with `VELA_` and are no keys, with what they are for.
pub const OTHER_VARIABLES: &[(&str, &str)] = &[
    ("VELA_CACHE_DIR", "folder for what is fetched, such as ONNX Runtime"),
    ("VELA_CONFIG", "the configuration file, where --config does not name one"),
    ("VELA_INHERIT", "set by vela for itself, when it replaces itself"),
    ("VELA_LOG", "filter of the log by module, in place of log.level"),
    ("VELA_REEXEC", "set by vela for itself, when it replaces itself"),
    ("VELA_TOKEN", "the token that requests over HTTP must carry, in place of serve.token_file"),
    (WEBHOOK_KEY, "the secret that alerts sent to alert.webhook_url are signed with"),
];

/// A configuration that passed every check, and who set what.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The values.
    pub settings: Settings,
    /// Who set each key: has every key's dotted name.
    pub origins: BTreeMap<&'static str, SetBy>,
}

/// The variables of this process's environment that begin with `VELA_`. Text that is no Unicode is kept
/// readable, and refused by whichever key does not allow it.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(move |(name, value)| (text(name), text(value)))
        .filter(|(n, _)| n.starts_with("VELA_"))
}

impl Settings {
    /// The settings of `file` (none: the defaults), with the environment on top, and `overrides` (dotted
    /// key, text) on top of that.
    ///
    /// Relative paths in the file start at the file's folder, all others at the working directory.
    ///
    /// # Errors
    /// With everything that is wrong: a file that cannot be read or is no TOML, unknown keys, wrong types,
    /// values out of range, values that do not go together, also where a later layer replaces them.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Loaded, ConfigError> {
        let mut layers = Layers::over(Self::default());
        if let Some(path) = file {
            layers.file(path);
        }
        for (name, value) in env.collect::<BTreeMap<_, _>>() {
            layers.variable(&name, &value);
        }
        for (name, value) in overrides {
            layers.named(name, value, SetBy::Override);
        }
        layers.checked()
    }
}

/// Settings in the making: one layer of values after the other.
pub(super) struct Layers {
    pub(super) settings: Settings,
    origins: BTreeMap<&'static str, SetBy>,
    pub(super) problems: Vec<Problem>,
    /// Keys with a refused value: what does not go together with them is not worth a word.
    pub(super) refused: BTreeSet<&'static str>,
}

/// A file while it is read.
struct FileText<'a> {
    path: &'a Path,
    text: &'a str,
}

impl FileText<'_> {
    fn set_by(&self, offset: usize) -> SetBy {
        SetBy::File { path: self.path.to_owned(), line: line_and_column(self.text.as_bytes(), offset).0 }
    }

    fn written(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }
}

impl Layers {
    /// What is there below the first layer.
    pub(super) fn over(settings: Settings) -> Self {
        Self {
            settings,
            origins: KEYS.iter().map(|key| (key.name, SetBy::Default)).collect(),
            problems: Vec::new(),
            refused: BTreeSet::new(),
        }
    }

    /// What the layers come to, if nothing is wrong with them.
    pub(super) fn checked(mut self) -> Result<Loaded, ConfigError> {
        self.problems.extend(rules::broken(&self.settings, |key| {
            (!self.refused.contains(key)).then(|| self.origins.get(key).unwrap_or(&SetBy::Default))
        }));
        if self.problems.is_empty() {
            Ok(Loaded { settings: self.settings, origins: self.origins })
        } else {
            Err(ConfigError { problems: self.problems })
        }
    }

    fn file(&mut self, path: &Path) {
        let bytes = match bytes_of(path) {
            Ok(bytes) => bytes,
            Err(detail) => return self.about_file(path, None, detail),
        };
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => {
                let (line, column) = line_and_column(&bytes, error.valid_up_to());
                return self.about_file(path, Some(line), format!("column {column}: not UTF-8"));
            }
        };
        self.toml(path, text);
    }

    /// A document that came from `path`.
    pub(super) fn toml(&mut self, path: &Path, text: &str) {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut line_before = 0;
        for error in errors.iter().take(SYNTAX_PROBLEMS_MAX) {
            let (line, column) = line_and_column(text.as_bytes(), error.span().map_or(0, |span| span.start));
            // One slip makes the parser stumble several times over the same line: the first one counts.
            if line != line_before {
                self.about_file(
                    path,
                    Some(line),
                    format!("column {column}: no valid TOML: {}", error.message()),
                );
            }
            line_before = line;
        }
        if errors.is_empty() {
            let before = self.problems.len();
            self.table(&FileText { path, text }, "", document.get_ref());
            self.problems[before..].sort_by_key(|problem| match problem.set_by {
                Some(SetBy::File { line, .. }) => line,
                _ => 0,
            });
        }
    }

    fn about_file(&mut self, path: &Path, line: Option<usize>, detail: String) {
        let (set_by, detail) = match line {
            Some(line) => (Some(SetBy::File { path: path.to_owned(), line }), detail),
            None => (None, format!("{}: {detail}", path.display())),
        };
        self.problems.push(Problem { set_by, key: String::new(), value: String::new(), detail });
    }

    fn table(&mut self, file: &FileText<'_>, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let dotted = match section {
                "" => name.get_ref().to_string(),
                _ => format!("{section}.{}", name.get_ref()),
            };
            // A quoted name with a dot in it is one name, and no key has such a name.
            let plain = !name.get_ref().contains('.');
            let is_section = plain && SECTIONS.iter().any(|section| section.name == dotted);
            if let Some(key) = KEYS.iter().find(|key| plain && key.name == dotted) {
                self.key_of_file(file, key, value);
            } else if !is_section {
                self.unknown_of_file(file, &dotted, name.span().start, value);
            } else if let DeValue::Table(inner) = value.get_ref() {
                self.table(file, &dotted, inner);
            } else {
                let detail = format!("expected a table, found {}", type_name(value.get_ref()));
                let value = quoted(&dotted, file.written(value.span()));
                self.problems.push(Problem {
                    set_by: Some(file.set_by(name.span().start)),
                    key: dotted,
                    value,
                    detail,
                });
            }
        }
    }

    fn key_of_file(&mut self, file: &FileText<'_>, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        let folder = file.path.parent();
        let span = value.span();
        match read(key, Raw::Toml(value), folder) {
            Ok(value) => self.take(key, value, file.set_by(span.start)),
            Err(refused) => {
                self.refused.insert(key.name);
                for Refused { entry, detail } in refused {
                    let (dotted, span) = match entry {
                        Some((name, span)) => (format!("{}.{}", key.name, quoted("", &name)), span),
                        None => (key.name.to_owned(), span.clone()),
                    };
                    self.problems.push(Problem {
                        set_by: Some(file.set_by(span.start)),
                        value: quoted(&dotted, file.written(span)),
                        key: dotted,
                        detail,
                    });
                }
            }
        }
    }

    fn unknown_of_file(
        &mut self,
        file: &FileText<'_>,
        dotted: &str,
        offset: usize,
        value: &Spanned<DeValue<'_>>,
    ) {
        let sections = SECTIONS.iter().map(|section| section.name);
        let (what, known, value) = match value.get_ref() {
            DeValue::Table(_) if !dotted.contains('.') => ("table", closest(dotted, sections), String::new()),
            DeValue::Table(_) => ("key", closest_key(dotted), String::new()),
            _ => ("key", closest_key(dotted), quoted(dotted, file.written(value.span()))),
        };
        self.problems.push(Problem {
            set_by: Some(file.set_by(offset)),
            key: quoted("", dotted),
            value,
            detail: format!("unknown {what}; the closest known one is {known}"),
        });
    }

    fn variable(&mut self, name: &str, value: &str) {
        if !name.starts_with("VELA_") || OTHER_VARIABLES.iter().any(|(other, _)| *other == name) {
            return;
        }
        let set_by = SetBy::Environment(quoted("", name));
        if let Some(key) = KEYS.iter().find(|key| key.variable() == name) {
            return self.text(key, value, set_by);
        }
        let known = KEYS.iter().map(Key::variable).collect::<Vec<_>>();
        let others = OTHER_VARIABLES.iter().map(|(other, _)| *other);
        let known = closest(name, known.iter().map(String::as_str).chain(others));
        self.problems.push(Problem {
            set_by: Some(set_by),
            key: String::new(),
            value: String::new(),
            detail: format!(
                "unknown variable (its value is {}); the closest known one is {known}",
                quoted(name, value)
            ),
        });
    }

    pub(super) fn named(&mut self, name: &str, value: &str, set_by: SetBy) {
        if let Some(key) = self.known(name, value, set_by.clone()) {
            self.text(key, value, set_by);
        }
    }

    /// The key of this name; that there is none is a problem.
    pub(super) fn known(&mut self, name: &str, value: &str, set_by: SetBy) -> Option<&'static Key> {
        let known = KEYS.iter().find(|key| key.name == name);
        if known.is_some() {
            return known;
        }
        self.problems.push(Problem {
            set_by: Some(set_by),
            key: quoted("", name),
            value: quoted(name, value),
            detail: format!("unknown key; the closest known one is {}", closest_key(name)),
        });
        None
    }

    fn text(&mut self, key: &'static Key, value: &str, set_by: SetBy) {
        match read(key, Raw::Text(value), None) {
            Ok(value) => self.take(key, value, set_by),
            Err(refused) => {
                self.refused.insert(key.name);
                self.problems.extend(refused.into_iter().map(|refused| Problem {
                    set_by: Some(set_by.clone()),
                    key: key.name.to_owned(),
                    value: quoted(key.name, value),
                    detail: refused.detail,
                }));
            }
        }
    }

    pub(super) fn take(&mut self, key: &'static Key, value: super::Value, set_by: SetBy) {
        if (key.set)(&mut self.settings, value) {
            self.origins.insert(key.name, set_by);
        } else {
            // Only where `usize` is narrower than the key's range.
            self.refused.insert(key.name);
            let detail = "too large for this machine".to_owned();
            let problem =
                Problem { set_by: Some(set_by), key: key.name.to_owned(), value: String::new(), detail };
            self.problems.push(problem);
        }
    }
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than the {FILE_BYTES_MAX} bytes that a configuration may have"));
    }
    Ok(bytes)
}

/// Line and column of a byte, both from 1; the column counts characters.
fn line_and_column(bytes: &[u8], offset: usize) -> (usize, usize) {
    let before = &bytes[..offset.min(bytes.len())];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    (before.iter().filter(|b| **b == b'\n').count() + 1, column)
}

/// A piece of what was written, fit for one line of a refusal: no secrets, no control characters, not long.
pub(super) fn quoted(key: &str, written: &str) -> String {
    if written.is_empty() {
        return "\"\"".to_owned();
    }
    if is_secret(key) {
        return MASK.to_owned();
    }
    let masked = masked(written);
    let mut out = String::new();
    for (index, c) in masked.chars().enumerate() {
        match c {
            _ if index == QUOTED_CHARS_MAX => {
                out.push('…');
                break;
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

fn closest_key(name: &str) -> &'static str {
    closest(name, KEYS.iter().map(|key| key.name))
}

/// The known name that is most like `name`: the one with the same last part, or the fewest changed letters.
fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    let name: Vec<char> = name.chars().take(QUOTED_CHARS_MAX).collect();
    let last = |name: &[char]| name.iter().rposition(|c| *c == '.').map_or(0, |dot| dot + 1);
    let likeness = |candidate: &&str| {
        let candidate: Vec<char> = candidate.chars().collect();
        let same_last = candidate[last(&candidate)..] == name[last(&name)..];
        (!same_last, changes(&name, &candidate))
    };
    known.min_by_key(likeness).unwrap_or_default()
}

/// How many letters must be put in, taken out or replaced to get from `a` to `b` (Levenshtein).
fn changes(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
