//! The three places that settings are read from, and the mistakes found on the way.
//!
//! A flag goes before the environment, and the environment before the file. Reading goes on after a
//! mistake: the value is then a stand-in that is never seen, because [`Sources::finish`] fails.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use super::{
    error::{Mistake, Origin, SettingsError},
    table::{self, Entry, Setting, TABLE, Unset},
    upstreams,
};

/// Environment variables of this program begin like this.
const PREFIX: &str = "PIOOY_";

/// The file that is read when no other is named, and that may be absent.
const DEFAULT_FILE: &str = "piooy.toml";

/// The longest part of a wrong value that is shown.
const FOUND_CHARS_MAX: usize = 80;

/// What was found in all places.
pub struct Sources {
    flags: BTreeMap<String, String>,
    env: BTreeMap<String, OsString>,
    file: toml::Table,
    file_path: PathBuf,
    mistakes: Vec<Mistake>,
}

/// A value as found: text, or a word for what it is instead of text.
type Found = Result<String, String>;

impl Sources {
    /// Gathers everything and looks for names that no setting has.
    pub fn open(
        flags: BTreeMap<String, String>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        read_file: impl Fn(&Path) -> io::Result<String>,
    ) -> Self {
        let env = env
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            // A variable that is set to nothing is how many tools write one that is not set.
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let mut sources = Self {
            flags,
            env,
            file: toml::Table::new(),
            file_path: DEFAULT_FILE.into(),
            mistakes: Vec::new(),
        };
        sources.read_file(read_file);
        sources.report_unknown_names();
        sources
    }

    /// The setting's value, or its default.
    pub fn or_default<T>(&mut self, setting: &Setting<T>) -> T {
        self.optional(setting).unwrap_or_else(|| {
            let Unset::Default(text) = setting.entry.default else {
                panic!("{} has no default of its own", setting.entry.name);
            };
            (setting.parse)(text).expect("the table's defaults can be read")
        })
    }

    /// The setting's value, if it is set; when it is set wrongly, that is remembered.
    pub fn optional<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        let (origin, found) = self.find(&setting.entry)?;
        let value = found
            .as_deref()
            .ok()
            .and_then(|text| (setting.parse)(text.trim()));
        if value.is_none() {
            self.report(Mistake::Value {
                origin,
                found: shown(&setting.entry, found),
                allowed: setting.entry.allowed,
            });
        }
        value
    }

    /// Whether the setting is written anywhere, rightly or wrongly.
    pub fn is_set(&self, entry: &Entry) -> bool {
        self.find(entry).is_some()
    }

    /// A variable of the environment that is not a setting.
    pub fn env_path(&self, name: &str) -> Option<PathBuf> {
        self.env.get(name).map(PathBuf::from)
    }

    /// The text of such a variable.
    pub fn env_text(&self, name: &str) -> Option<String> {
        self.env.get(name)?.clone().into_string().ok()
    }

    /// Takes what the file has under a name that is no single setting.
    pub fn take_from_file(&mut self, name: &str) -> Option<toml::Value> {
        self.file.remove(name)
    }

    /// A place in the file.
    pub fn in_file(&self, place: &str) -> Origin {
        Origin::File(place.to_owned(), self.file_path.clone())
    }

    /// Remembers a mistake.
    pub fn report(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// All mistakes, if there was one.
    pub fn finish(self) -> Result<(), SettingsError> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        Err(SettingsError {
            mistakes: self.mistakes,
        })
    }

    fn find(&self, entry: &Entry) -> Option<(Origin, Found)> {
        if let Some(text) = self.flags.get(entry.name) {
            return Some((Origin::Flag(entry.name.to_owned()), Ok(text.clone())));
        }
        if let Some(value) = self.env.get(entry.env) {
            let text = value
                .clone()
                .into_string()
                .map_err(|_| "not UTF-8".to_owned());
            return Some((Origin::Environment(entry.env.to_owned()), text));
        }
        let value = self.file.get(entry.name)?;
        let origin = Origin::File(entry.name.to_owned(), self.file_path.clone());
        Some((origin, toml_text(value)))
    }

    fn read_file(&mut self, read_file: impl Fn(&Path) -> io::Result<String>) {
        let named = self.optional(&table::CONFIG);
        let may_be_absent = named.is_none();
        if let Some(path) = named {
            self.file_path = path;
        }
        let why = match read_file(&self.file_path) {
            Ok(text) => match text.parse() {
                Ok(file) => {
                    self.file = file;
                    return;
                }
                Err(error) => toml_error(&error, &text),
            },
            Err(error) if may_be_absent && error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => error.to_string(),
        };
        self.report(Mistake::File {
            path: self.file_path.clone(),
            why,
        });
    }

    fn report_unknown_names(&mut self) {
        let names = || TABLE.iter().map(|entry| entry.name);
        let variables = || TABLE.iter().map(|entry| entry.env);
        let file_keys = || {
            let entries = TABLE.iter().filter(|entry| is_file_key(entry));
            entries.map(|entry| entry.name)
        };
        let flags = unknown(self.flags.keys(), names).map(|(name, nearest)| Mistake::Unknown {
            origin: Origin::Flag(name.clone()),
            nearest: format!("--{}", nearest.replace('_', "-")),
        });
        let of_upstreams: Vec<_> = upstreams::variables().collect();
        let own = self
            .env
            .keys()
            .filter(|name| name.starts_with(PREFIX) && !of_upstreams.contains(name));
        let env = unknown(own, variables).map(|(name, nearest)| Mistake::Unknown {
            origin: Origin::Environment(name.clone()),
            nearest: nearest.to_owned(),
        });
        let single = self.file.keys().filter(|name| *name != upstreams::TABLES);
        let file = unknown(single, file_keys).map(|(key, nearest)| Mistake::Unknown {
            origin: Origin::File(key.clone(), self.file_path.clone()),
            nearest: nearest.to_owned(),
        });
        let unknown: Vec<Mistake> = flags.chain(env).chain(file).collect();
        self.mistakes.extend(unknown);
    }
}

/// The names that are not among the known ones, each with the nearest that is.
fn unknown<'a, K: Iterator<Item = &'static str>>(
    names: impl Iterator<Item = &'a String>,
    known: impl Fn() -> K,
) -> impl Iterator<Item = (&'a String, &'static str)> {
    names.filter_map(move |name| {
        let is_known = known().any(|known| known == name);
        (!is_known).then(|| (name, nearest(name, known())))
    })
}

/// Whether the setting may stand in the file: the file cannot name itself.
pub fn is_file_key(entry: &Entry) -> bool {
    entry.name != table::CONFIG.entry.name
}

/// The one of the known names that is most like `name`.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> &'static str {
    let likeness = |known| strsim::normalized_damerau_levenshtein(name, known);
    known
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .expect("the table has rows")
}

fn shown(entry: &Entry, found: Found) -> String {
    match found {
        _ if entry.secret => "a secret of another form".to_owned(),
        Ok(text) if text.chars().count() > FOUND_CHARS_MAX => {
            let start: String = text.chars().take(FOUND_CHARS_MAX).collect();
            format!("{start:?}…")
        }
        Ok(text) => format!("{text:?}"),
        Err(word) => word,
    }
}

/// One text for what a line of the environment would say.
fn toml_text(value: &toml::Value) -> Found {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(yes) => Ok(yes.to_string()),
        toml::Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().ok_or("a list of other things than texts"))
            .collect::<Result<Vec<_>, _>>()
            .map(|items| items.join(","))
            .map_err(str::to_owned),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => {
            Err(format!("a {}", value.type_str()))
        }
    }
}

/// What is wrong and in which line, without the line itself: it may hold a secret.
fn toml_error(error: &toml::de::Error, text: &str) -> String {
    let position = error.span().map_or(0, |span| span.start);
    let before = text.as_bytes().get(..position).unwrap_or_default();
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    format!("line {line}: {}", error.message())
}
