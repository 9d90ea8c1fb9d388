//! Which file of a crate takes what from which.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Result;

use super::{
    circles::{self, Arrows},
    exceptions::{DEEP, UPWARD},
    modules::{Modules, Named},
    source::Source,
};

/// Files and folders above each other in a folder.
const FLOORS: usize = 6;
/// Names told of an arrow.
const TOLD: usize = 4;
/// A name is followed through so many re-exports.
const MAX_STEPS: usize = 16;

/// Circles among the files of each crate, and folders with more floors than one can take in.
///
/// A module's own file and those of its children are one room, so a child may name what its parent has; what is beside each other
/// must not be in a circle. Where only folders use each other, and no files, they count as one floor.
pub fn check(sources: &[Source]) -> Result<Vec<String>> {
    let by_path: BTreeMap<&Path, &Source> = sources
        .iter()
        .map(|source| (source.path.as_path(), source))
        .collect();
    let mut problems = Vec::new();
    let (mut upward, mut deep) = (BTreeSet::new(), BTreeMap::new());
    for source in sources.iter().filter(|source| is_root(&source.path)) {
        let modules = Modules::read(&source.path, &by_path)?;
        let files = Files::of(&modules);
        let excepted: Vec<&str> = UPWARD
            .iter()
            .map(|(what, _)| *what)
            .filter(|what| files.0.contains_key(file_of(what)))
            .collect();
        upward.extend(files.needed(&excepted));
        let files = files.without(&excepted);
        problems.extend(files.circles());
        deep.extend(files.deep());
    }
    for (what, _) in UPWARD {
        if !upward.contains(what) {
            problems.push(format!("{what} is in no circle: it needs no exception"));
        }
    }
    for (folder, floors, _) in DEEP {
        match deep.remove(*folder).map(|way| way.len()) {
            Some(found) if found == *floors => {}
            Some(found) => problems.push(format!(
                "{folder} has {found} floors, its exception says {floors}"
            )),
            None => problems.push(format!(
                "{folder} has {FLOORS} floors at most: it needs no exception"
            )),
        }
    }
    problems.extend(deep.iter().map(|(folder, way)| {
        let floors = way.len();
        format!(
            "{folder} has {floors} floors (limit {FLOORS}): {}",
            way.join(" > ")
        )
    }));
    Ok(problems)
}

fn is_root(path: &Path) -> bool {
    let is_named = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    is_named
        || path
            .parent()
            .is_some_and(|parent| parent.ends_with("src/bin"))
}

/// Whose arrows an exception is about.
fn file_of(exception: &str) -> &str {
    exception.split(" -> ").next().unwrap_or_default()
}

/// What a path leads to.
enum Target {
    File(usize),
    Module(usize),
    Outside,
}

/// Each file, those beside and below it that it takes something from, and what.
#[derive(Clone, Default)]
pub struct Files(pub BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Files {
    pub fn of(modules: &Modules) -> Self {
        let shown = |file: usize| modules.files[file].display().to_string();
        let mut files = Self::default();
        for at in 0..modules.files.len() {
            files.0.entry(shown(at)).or_default();
        }
        for (at, module) in modules.all.iter().enumerate() {
            let mut arrow = |to: usize, path: &[String]| {
                let own = &modules.files[module.file];
                let is_inside = to == 0
                    || to == module.file
                    || own.starts_with(modules.files[to].with_extension(""));
                if !is_inside {
                    let from = files.0.entry(shown(module.file)).or_default();
                    let name = path.last().cloned().unwrap_or_default();
                    from.entry(shown(to)).or_default().insert(name);
                }
            };
            let used = |(name, path)| module.words.contains(name).then_some(path);
            let handed_on = module.handed_on.iter().map(|(name, path)| (name, path));
            for path in module.paths.iter().chain(handed_on.filter_map(used)) {
                if let Target::File(to) = resolve(modules, at, path, MAX_STEPS) {
                    arrow(to, path);
                }
            }
            let own = module.globs.iter().filter(|(_, is_public)| !is_public);
            for (path, _) in own {
                match resolve(modules, at, path, MAX_STEPS) {
                    Target::File(to) => arrow(to, path),
                    Target::Module(to) => arrow(modules.all[to].file, path),
                    Target::Outside => {}
                }
            }
        }
        files
    }

    fn arrows(&self) -> Arrows<'_> {
        self.0
            .iter()
            .map(|(file, to)| (file.as_str(), to.keys().map(String::as_str).collect()))
            .collect()
    }

    pub fn without(&self, excepted: &[&str]) -> Self {
        let mut files = self.clone();
        for what in excepted {
            let Some(to) = files.0.get_mut(file_of(what)) else {
                continue;
            };
            match what.split_once(" -> ") {
                Some((_, one)) => drop(to.remove(one)),
                None => to.clear(),
            }
        }
        files
    }

    /// The exceptions without which there would be a circle.
    pub fn needed<'e>(&self, excepted: &[&'e str]) -> Vec<&'e str> {
        let is_needed = |what: &&'e str| {
            let others: Vec<&str> = excepted.iter().copied().filter(|e| e != what).collect();
            !circles::circles(&self.without(&others).arrows()).is_empty()
        };
        excepted.iter().copied().filter(is_needed).collect()
    }

    pub fn circles(&self) -> Vec<String> {
        circles::circles(&self.arrows())
            .iter()
            .map(|circle| {
                let mut told = "these files use each other:".to_owned();
                for from in circle {
                    for (to, names) in &self.0[*from] {
                        if circle.contains(to.as_str()) {
                            let names: Vec<&str> =
                                names.iter().take(TOLD).map(String::as_str).collect();
                            told += &format!("\n    {from} -> {to}: {}", names.join(", "));
                        }
                    }
                }
                told
            })
            .collect()
    }

    /// Folders with more floors than the limit, each with its longest way down.
    fn deep(&self) -> BTreeMap<String, Vec<String>> {
        let folders: BTreeSet<&Path> = self
            .0
            .keys()
            .filter_map(|file| Path::new(file).parent())
            .collect();
        folders
            .into_iter()
            .map(|folder| (folder.display().to_string(), self.way_down(folder)))
            .filter(|(_, way)| way.len() > FLOORS)
            .collect()
    }

    /// The longest way down in a folder, whose files are one with the folders of their names.
    fn way_down(&self, folder: &Path) -> Vec<String> {
        let mut arrows = Arrows::new();
        for (from, to) in &self.0 {
            let Some(from) = room(folder, from) else {
                continue;
            };
            let beside = arrows.entry(from).or_default();
            let to = to.keys().filter_map(|to| room(folder, to));
            beside.extend(to.filter(|to| *to != from));
        }
        circles::floors(&arrows)
    }
}

/// What a file is one with, seen from a folder: the file or folder of its name there. A crate's root is in none.
fn room<'a>(folder: &Path, file: &'a str) -> Option<&'a str> {
    let path = Path::new(file);
    let below = path.strip_prefix(folder).ok()?;
    if is_root(path) {
        return None;
    }
    let first = below.components().next()?.as_os_str().to_str()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// Where a path that stands in this module leads.
fn resolve(modules: &Modules, module: usize, path: &[String], steps: usize) -> Target {
    let mut at = module;
    let mut is_ours = false;
    for (index, part) in path.iter().enumerate() {
        match part.as_str() {
            "crate" => at = 0,
            "self" => {}
            "super" => at = modules.all[at].parent.unwrap_or(0),
            name => {
                let is_last = index + 1 == path.len();
                match member(modules, at, name, is_last, steps) {
                    Some(Target::Module(next)) => at = next,
                    Some(found) => return found,
                    None if is_ours => return Target::File(modules.all[at].file),
                    None => return Target::Outside,
                }
            }
        }
        is_ours = true;
    }
    Target::Module(at)
}

/// What a name stands for in a module. With more of a path behind it, it is the module of that name first.
fn member(
    modules: &Modules,
    module: usize,
    name: &str,
    is_last: bool,
    steps: usize,
) -> Option<Target> {
    let steps = steps.checked_sub(1)?;
    let here = &modules.all[module];
    let rank = |named: &&Named| match (named, is_last) {
        (Named::Item, true) | (Named::Module(_), false) => 0,
        (Named::Item, false) => 1,
        (Named::Use(_), _) => 2,
        (Named::Module(_), true) => 3,
    };
    match here.names.get(name).into_iter().flatten().min_by_key(rank) {
        Some(Named::Item) => return Some(Target::File(here.file)),
        Some(Named::Module(module)) => return Some(Target::Module(*module)),
        Some(Named::Use(path)) => return Some(resolve(modules, module, path, steps)),
        None => {}
    }
    here.globs.iter().find_map(|(path, _)| {
        let Target::Module(all) = resolve(modules, module, path, steps) else {
            return None;
        };
        member(modules, all, name, is_last, steps)
    })
}
