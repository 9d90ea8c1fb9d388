//! The v3 documents: one a group-version, and one each for pages that no kind has. An index needs the hashes of them all, so those of
//! a set of kinds are passed on to the next one where nothing has changed: an operator that installs a hundred definitions has a
//! hundred documents made, not ten thousand.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use super::{
    Document, custom::Custom, definitions::Definitions, item, pages, paths, seal, write_v3,
};
use crate::{Kind, registry::Served};

/// A group-version, or a page, with its document.
#[derive(Debug)]
pub(super) struct GroupVersion {
    /// Without leading slash.
    path: String,
    /// Both empty for a page.
    group: String,
    version: String,
    kinds: Vec<Arc<Kind>>,
    /// None inside where nothing that is served can be described.
    document: OnceLock<Option<Document>>,
}

impl GroupVersion {
    fn new(path: &str, group: &str, version: &str) -> GroupVersion {
        GroupVersion {
            path: path.to_owned(),
            group: group.to_owned(),
            version: version.to_owned(),
            kinds: Vec::new(),
            document: OnceLock::new(),
        }
    }

    /// Whether the document would be the same.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.kinds.len() == other.kinds.len()
            && self
                .kinds
                .iter()
                .zip(&other.kinds)
                .all(|(own, other)| Arc::ptr_eq(own, other))
    }

    /// What [`make`] has made.
    pub(super) fn document(&self) -> Option<&Document> {
        self.document.get()?.as_ref()
    }

    fn seal(&self, definitions: &Definitions) -> Option<Document> {
        let kinds = self.kinds.iter().map(|kind| &**kind);
        let mut items = paths::of_kinds(kinds, &definitions.custom);
        items.retain(|item| item.document == self.path);
        items.extend(pages::named(&self.path).filter(|_| self.kinds.is_empty()));
        let place = (&*self.group, &*self.version);
        (!items.is_empty()).then(|| seal(|out| write_v3(out, &items, definitions, place)))
    }
}

/// By path without leading slash.
pub(super) fn of<'k>(kinds: impl Iterator<Item = &'k Arc<Kind>>) -> BTreeMap<String, GroupVersion> {
    let mut all = BTreeMap::<String, GroupVersion>::new();
    for kind in kinds {
        for page in pages::documents(kind) {
            let made = GroupVersion::new(&page, "", "");
            all.entry(page).or_insert(made);
        }
        for served in Served::all(kind) {
            let (group, version) = (served.group(), served.version());
            let path = item::prefix(group, version);
            let path = path.trim_start_matches('/');
            let entry = all
                .entry(path.to_owned())
                .or_insert_with(|| GroupVersion::new(path, group, version));
            entry.kinds.push(kind.clone());
        }
    }
    all
}

/// Makes the documents that are not there yet.
pub(super) fn make<'d>(all: impl Iterator<Item = &'d Arc<GroupVersion>>) {
    let missing: Vec<&GroupVersion> = all
        .map(|served| &**served)
        .filter(|served| served.document.get().is_none())
        .collect();
    if missing.is_empty() {
        return;
    }
    let kinds = missing.iter().flat_map(|served| &served.kinds);
    let definitions = Definitions::new(Custom::new(kinds.map(|kind| &**kind)));
    for served in missing {
        // Somebody else may have made it meanwhile: the same one.
        let _made = served.document.set(served.seal(&definitions));
    }
}
