//! Which upstreams this server may use. Each needs one thing: a key where others run it, an address
//! where the operator does.
//!
//! | where | what |
//! |---|---|
//! | environment | the upstream's usual variable for the key, such as `FAL_KEY`; `PIOOY_<NAME>_` and a setting's name in capitals for the others |
//! | `piooy.toml` | `[upstreams.NAME]` with `key`, `url`, `jobs`, `webhook_key`, `workflows`; a name of one's own needs `dialect` |
//!
//! The environment goes before the file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use toml::{Table, Value};
use url::Url;

use super::error::{Mistake, Origin};
use super::sources::Sources;
use super::{Secret, parse};

/// Where they stand in the file.
pub(super) const TABLES: &str = "upstreams";
/// The most jobs at an upstream at once that may be asked for.
const JOBS_MAX: usize = 100_000;

/// What the environment may say of any upstream.
const SETTINGS: [&str; 4] = ["URL", "JOBS", "WEBHOOK_KEY", "WORKFLOWS"];

/// The language of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// fal's queue.
    Fal,
    /// Google's Gemini API.
    Gemini,
    /// OpenAI's images, and its `/v1/videos`, as many servers speak them.
    OpenAi,
    /// Replicate's predictions.
    Replicate,
    /// kie.ai's jobs.
    Kie,
    /// ComfyUI's prompts, from workflows on this side.
    ComfyUi,
}

impl Dialect {
    const NAMED: [(&'static str, Self); 6] = [
        ("fal", Self::Fal),
        ("gemini", Self::Gemini),
        ("openai", Self::OpenAi),
        ("replicate", Self::Replicate),
        ("kie", Self::Kie),
        ("comfyui", Self::ComfyUi),
    ];
}

/// An upstream that this server may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in the routes of the catalogue.
    pub name: String,
    /// Its language.
    pub dialect: Dialect,
    /// Where it is.
    pub url: Url,
    /// Whether that is not where its makers serve it.
    pub is_elsewhere: bool,
    /// The key of the operator's account there.
    pub key: Option<Secret>,
    /// What its webhooks are signed with, where that is not told by itself.
    pub webhook_key: Option<Secret>,
    /// The directory of the workflows that it may be asked for; none: `workflows` in the directory of data.
    pub workflows: Option<PathBuf>,
    /// How many jobs of this server it may have at once; none: no bound.
    pub jobs: Option<usize>,
}

/// An upstream that everybody knows.
struct Known {
    name: &'static str,
    /// For people.
    title: &'static str,
    dialect: Dialect,
    /// Where its makers serve it; empty for engines that operators run themselves.
    url: &'static str,
    /// The variable of its key; empty where none is usual.
    key: &'static str,
}

const KNOWN: [Known; 13] = [
    Known {
        name: "fal",
        title: "fal",
        dialect: Dialect::Fal,
        url: "https://queue.fal.run",
        key: "FAL_KEY",
    },
    Known {
        name: "gemini",
        title: "Google Gemini",
        dialect: Dialect::Gemini,
        url: "https://generativelanguage.googleapis.com/v1beta",
        key: "GEMINI_API_KEY",
    },
    Known {
        name: "openai",
        title: "OpenAI",
        dialect: Dialect::OpenAi,
        url: "https://api.openai.com/v1",
        key: "OPENAI_API_KEY",
    },
    Known {
        name: "replicate",
        title: "Replicate",
        dialect: Dialect::Replicate,
        url: "https://api.replicate.com/v1",
        key: "REPLICATE_API_TOKEN",
    },
    Known {
        name: "kie",
        title: "kie.ai",
        dialect: Dialect::Kie,
        url: "https://api.kie.ai",
        key: "KIE_API_KEY",
    },
    Known {
        name: "ark",
        title: "BytePlus ModelArk",
        dialect: Dialect::OpenAi,
        url: "https://ark.ap-southeast.bytepluses.com/api/v3",
        key: "ARK_API_KEY",
    },
    Known {
        name: "xai",
        title: "xAI",
        dialect: Dialect::OpenAi,
        url: "https://api.x.ai/v1",
        key: "XAI_API_KEY",
    },
    Known {
        name: "openrouter",
        title: "OpenRouter",
        dialect: Dialect::OpenAi,
        url: "https://openrouter.ai/api/v1",
        key: "OPENROUTER_API_KEY",
    },
    Known {
        name: "comfyui",
        title: "ComfyUI",
        dialect: Dialect::ComfyUi,
        url: "",
        key: "",
    },
    Known {
        name: "sdcpp",
        title: "stable-diffusion.cpp",
        dialect: Dialect::OpenAi,
        url: "",
        key: "",
    },
    Known {
        name: "sglang",
        title: "SGLang",
        dialect: Dialect::OpenAi,
        url: "",
        key: "",
    },
    Known {
        name: "vllm-omni",
        title: "vLLM-Omni",
        dialect: Dialect::OpenAi,
        url: "",
        key: "",
    },
    Known {
        name: "localai",
        title: "LocalAI",
        dialect: Dialect::OpenAi,
        url: "",
        key: "",
    },
];

impl Known {
    fn url_variable(&self) -> String {
        variable(self.name, "URL")
    }

    /// The one variable without which it cannot be used.
    fn needs(&self) -> String {
        if self.url.is_empty() {
            self.url_variable()
        } else {
            self.key.to_owned()
        }
    }
}

/// The variable of an upstream's setting.
fn variable(name: &str, setting: &str) -> String {
    let name = name.to_uppercase().replace('-', "_");
    format!("PIOOY_{name}_{setting}")
}

/// The upstreams that everybody knows and that are not set up, each with the variable it lacks.
pub fn missing(set_up: &[Upstream]) -> impl Iterator<Item = (&'static str, String)> {
    KNOWN
        .iter()
        .filter(|known| set_up.iter().all(|upstream| upstream.name != known.name))
        .map(|known| (known.name, known.needs()))
}

/// The upstreams that everybody knows, that others run, and that are not set up: all they lack is a key.
pub fn public(set_up: &[Upstream]) -> impl Iterator<Item = Upstream> {
    let known = KNOWN
        .iter()
        .filter(|known| set_up.iter().all(|upstream| upstream.name != known.name));
    known.filter_map(|known| {
        Some(Upstream {
            name: known.name.to_owned(),
            dialect: known.dialect,
            url: Url::parse(known.url).ok()?,
            is_elsewhere: false,
            key: None,
            webhook_key: None,
            workflows: None,
            jobs: None,
        })
    })
}

/// The variables that are read here and begin as this program's own do.
pub(super) fn variables() -> impl Iterator<Item = String> {
    KNOWN
        .iter()
        .flat_map(|known| SETTINGS.map(|setting| variable(known.name, setting)))
}

/// The README's table of upstreams.
pub(super) fn table_markdown() -> String {
    let mut table =
        String::from("| Upstream | Name in routes | Set this | At |\n|---|---|---|---|\n");
    for known in &KNOWN {
        let at = match known.url {
            "" => "wherever you run it",
            url => url,
        };
        writeln!(
            table,
            "| {} | `{}` | `{}` | {at} |",
            known.title,
            known.name,
            known.needs()
        )
        .expect("a String can be written to");
    }
    table
}

/// Reads all of them; mistakes are noted.
pub(super) fn read(sources: &mut Sources) -> Vec<Upstream> {
    let mut tables = tables(sources);
    let mut upstreams = Vec::new();
    for known in &KNOWN {
        let table = tables.remove(known.name).unwrap_or_default();
        upstreams.extend(upstream(sources, known.name, Some(known), table));
    }
    for (name, table) in tables {
        upstreams.extend(upstream(sources, &name, None, table));
    }
    upstreams
}

/// The `[upstreams.…]` of the file.
fn tables(sources: &mut Sources) -> BTreeMap<String, Table> {
    let Some(value) = sources.take_from_file(TABLES) else {
        return BTreeMap::new();
    };
    let Value::Table(tables) = value else {
        wrong(sources, TABLES, "tables, each headed [upstreams.NAME]");
        return BTreeMap::new();
    };
    let mut read = BTreeMap::new();
    for (name, table) in tables {
        match table {
            Value::Table(table) => drop(read.insert(name, table)),
            _ => wrong(sources, &format!("upstreams.{name}"), "a table"),
        }
    }
    read
}

fn wrong(sources: &mut Sources, field: &str, allowed: &'static str) {
    let origin = sources.in_file(field);
    sources.report(Mistake::Value {
        origin,
        found: "something else".to_owned(),
        allowed,
    });
}

fn upstream(
    sources: &mut Sources,
    name: &str,
    known: Option<&Known>,
    mut table: Table,
) -> Option<Upstream> {
    let is_in_file = !table.is_empty();
    let mut get = |sources: &mut Sources, field: &str, variable: Option<String>, allowed| {
        let place = format!("upstreams.{name}.{field}");
        let in_file = table.remove(field);
        if let Some(variable) = variable
            && let Some(text) = sources.env_text(&variable)
        {
            return Some((Origin::Environment(variable), text));
        }
        match in_file? {
            Value::String(text) => Some((sources.in_file(&place), text)),
            Value::Integer(number) => Some((sources.in_file(&place), number.to_string())),
            _ => {
                wrong(sources, &place, allowed);
                None
            }
        }
    };
    let key_variable = known.map(|known| known.key).filter(|key| !key.is_empty());
    let key = get(sources, "key", key_variable.map(str::to_owned), "a text");
    let own = |setting| known.map(|_| variable(name, setting));
    let url = get(sources, "url", own("URL"), "an http or https URL");
    let jobs = get(sources, "jobs", own("JOBS"), "a whole number from 1");
    let webhook_key = get(sources, "webhook_key", own("WEBHOOK_KEY"), "a text");
    let workflows = get(sources, "workflows", own("WORKFLOWS"), "a directory");
    let dialect = match known {
        Some(known) => Some(known.dialect),
        None => {
            let asked = get(sources, "dialect", None, "a text");
            let found = asked.as_ref().and_then(|(_, asked)| {
                Dialect::NAMED
                    .iter()
                    .find(|(name, _)| name == asked)
                    .map(|(_, dialect)| *dialect)
            });
            if found.is_none() {
                let place = format!("upstreams.{name}.dialect");
                wrong(
                    sources,
                    &place,
                    "fal, gemini, openai, replicate, kie or comfyui",
                );
            }
            found
        }
    };
    for field in table.keys() {
        let place = format!("upstreams.{name}.{field}");
        wrong(
            sources,
            &place,
            "key, url, jobs, webhook_key, workflows and dialect alone",
        );
    }
    let default_url = known.map(|known| known.url).filter(|url| !url.is_empty());
    let is_set_up = match known {
        Some(_) if default_url.is_some() => key.is_some(),
        Some(_) => url.is_some(),
        None => is_in_file,
    };
    if !is_set_up {
        return None;
    }
    let is_elsewhere = url.is_some();
    let url = match url {
        None => default_url.and_then(|url| Url::parse(url).ok()),
        Some((origin, text)) => checked(
            sources,
            origin,
            &text,
            parse::public_url,
            "an http or https URL",
        ),
    };
    if url.is_none() && !is_elsewhere {
        wrong(
            sources,
            &format!("upstreams.{name}.url"),
            "an http or https URL, which must be there",
        );
    }
    let jobs = match jobs {
        None => None,
        Some((origin, text)) => {
            let number = |text: &str| parse::number(text, 1..=JOBS_MAX);
            checked(
                sources,
                origin,
                &text,
                number,
                "a whole number from 1 to 100000",
            )
        }
    };
    let secret = |found: Option<(Origin, String)>| found.map(|(_, text)| Secret::new(text));
    Some(Upstream {
        name: name.to_owned(),
        dialect: dialect?,
        url: url?,
        is_elsewhere,
        key: secret(key),
        webhook_key: secret(webhook_key),
        workflows: workflows.map(|(_, text)| text.into()),
        jobs,
    })
}

fn checked<T>(
    sources: &mut Sources,
    origin: Origin,
    text: &str,
    read: impl Fn(&str) -> Option<T>,
    allowed: &'static str,
) -> Option<T> {
    let value = read(text.trim());
    if value.is_none() {
        sources.report(Mistake::Value {
            origin,
            found: format!("{text:?}"),
            allowed,
        });
    }
    value
}
