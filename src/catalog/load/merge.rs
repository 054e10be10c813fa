//! From the entries of two files to one catalogue: what can be judged only when all of them are known.

use std::collections::BTreeMap;

use super::{Entry, Mistake, mistake};
use crate::catalog::{Catalog, Place, name_key};

/// Puts the operator's entries in the place of the built-in ones, or behind them.
pub(super) fn merge(
    builtin: Vec<Entry>,
    overrides: Vec<Entry>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Entry> {
    let mut merged = builtin;
    for entry in overrides {
        match merged.iter_mut().find(|known| known.slug() == entry.slug()) {
            Some(known) => *known = entry,
            None if matches!(entry, Entry::Disabled(_)) => {
                mistakes.push(mistake(
                    entry.slug(),
                    "disabled",
                    "there is no such model to remove".to_owned(),
                ));
            }
            None => merged.push(entry),
        }
    }
    merged
}

/// Which entry each name leads to. Removed entries have no names.
pub(super) fn name_places(
    entries: &[Entry],
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<String, usize> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let living = || {
        entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| !matches!(entry, Entry::Disabled(_)))
    };
    let slugs = living().map(|(index, entry)| (index, "slug", entry.slug()));
    let aliases = living().flat_map(|(index, entry)| {
        let named = entry.aliases().iter();
        named.map(move |alias| (index, "aliases", alias.as_str()))
    });
    for (index, field, name) in slugs.chain(aliases) {
        let key = name_key(name);
        let trouble = match places.get(&key) {
            _ if key.is_empty() => Some(format!("\"{name}\" has neither letters nor digits")),
            Some(other) if *other != index => Some(format!(
                "\"{name}\" already leads to {}",
                entries[*other].slug()
            )),
            _ => None,
        };
        mistakes.extend(trouble.map(|message| mistake(entries[index].slug(), field, message)));
        places.entry(key).or_insert(index);
    }
    places
}

/// Leads every replacement to a model that runs: along retired ones, and to nothing where the operator removed the last of them.
pub(super) fn resolve_replacements(entries: &mut [Entry], mistakes: &mut Vec<Mistake>) {
    /// What a replacement finds behind a slug.
    enum Behind {
        Runs,
        Leads(Option<String>),
    }
    let behind: BTreeMap<String, Behind> = entries
        .iter()
        .map(|entry| {
            let behind = match entry {
                Entry::Runs(_) => Behind::Runs,
                Entry::Retired(retired) => Behind::Leads(retired.replaced_by.clone()),
                Entry::Disabled(_) => Behind::Leads(None),
            };
            (entry.slug().to_owned(), behind)
        })
        .collect();
    for entry in entries {
        let slug = entry.slug().to_owned();
        let Some(replaced_by) = entry.replaced_by() else {
            continue;
        };
        // A chain longer than the catalogue runs in a circle.
        for _ in 0..=behind.len() {
            let Some(next) = replaced_by.as_deref() else {
                break;
            };
            match behind.get(next) {
                Some(Behind::Runs) => break,
                Some(Behind::Leads(further)) => replaced_by.clone_from(further),
                None => {
                    let message = format!("there is no model \"{next}\"");
                    mistakes.push(mistake(&slug, "replaced_by", message));
                    break;
                }
            }
        }
        let circular = replaced_by
            .as_deref()
            .is_some_and(|next| matches!(behind.get(next), Some(Behind::Leads(_))));
        if circular || replaced_by.as_deref() == Some(slug.as_str()) {
            mistakes.push(mistake(
                &slug,
                "replaced_by",
                "leads in a circle".to_owned(),
            ));
        }
    }
}

/// The catalogue that sound entries and their names make.
pub(super) fn assemble(entries: Vec<Entry>, names: &BTreeMap<String, usize>) -> Catalog {
    let (mut models, mut retired) = (Vec::new(), Vec::new());
    let places: Vec<Option<Place>> = entries
        .into_iter()
        .map(|entry| match entry {
            Entry::Runs(model) => {
                models.push(*model);
                Some(Place::Model(models.len() - 1))
            }
            Entry::Retired(gone) => {
                retired.push(gone);
                Some(Place::Retired(retired.len() - 1))
            }
            Entry::Disabled(_) => None,
        })
        .collect();
    let places = names
        .iter()
        .filter_map(|(key, index)| Some((key.clone(), places[*index]?)))
        .collect();
    Catalog {
        models,
        retired,
        places,
    }
}
