//! The paths of served kinds.

use std::collections::BTreeSet;

use super::{
    custom::Custom,
    item::PathItem,
    pages,
    served::{self, Served},
};
use crate::{Kind, schema};

/// Everything served, sorted by path.
pub(super) fn all<'k, 'l: 'k>(
    kinds: impl Iterator<Item = &'l Kind> + Clone,
    custom: &'k Custom,
) -> Vec<PathItem<'k>> {
    let mut items = of_kinds(kinds.clone(), custom);
    let documents: BTreeSet<String> = kinds.flat_map(pages::documents).collect();
    items.extend(
        documents
            .iter()
            .filter_map(|document| pages::named(document)),
    );
    items.sort_by(|a, b| a.path.cmp(&b.path));
    items
}

/// What serves kinds, sorted by path.
pub(super) fn of_kinds<'k, 'l: 'k>(
    kinds: impl Iterator<Item = &'l Kind>,
    custom: &'k Custom,
) -> Vec<PathItem<'k>> {
    let mut items = Vec::new();
    let mut built_in = BTreeSet::new();
    // What has no schema cannot be described.
    let is_described = |kind: &&Kind| {
        schema::definition(&kind.definition).is_some() || custom.find(&kind.definition).is_some()
    };
    for kind in kinds.filter(is_described) {
        let own = (&*kind.group, &*kind.version, &*kind.definition);
        let aliases = kind
            .aliases
            .iter()
            .map(|alias| (alias.group, alias.version, alias.definition));
        for (group, version, definition) in std::iter::once(own).chain(aliases) {
            let served = Served {
                kind,
                group,
                version,
                definition,
                list: custom.list_of(definition).or_else(|| {
                    let list = schema::definition(&format!("{definition}List"))?;
                    Some(list.definition()?.name)
                }),
            };
            served.push(&mut items);
            if kind.is_built_in() {
                built_in.insert((group, version));
            }
        }
    }
    items.extend(
        built_in
            .into_iter()
            .map(|(group, version)| served::resources(group, version)),
    );
    items.sort_by(|a, b| a.path.cmp(&b.path));
    items
}
