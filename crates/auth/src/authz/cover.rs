//! What a user would grant without holding it: upstream's `Covers`, without its expansion.
//!
//! Upstream splits each wanted rule into parts of one group, one resource, one verb and one name, and looks each up among the
//! rules held. A rule of 900 bytes can have a hundred million parts. Here a rule stays a product of lists: each element knows
//! the set of held rules that grant it, and a walk through the lists intersects these sets. What is left when every list has
//! been walked grants the part; an empty set on the way says that everything below is missing, at once. Walks that come to the
//! same set at the same list go on alike, so they are done once.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::rules::{Rule, url_matches};

/// Parts that are named at most in an error.
const MAX_PARTS: usize = 1000;
/// Machine words that one check may look at, some tens of milliseconds; rules that need more are refused.
const MAX_WORDS: usize = 1 << 22;

/// The wanted rules cannot be compared with the held ones within bounds.
#[derive(Debug, PartialEq, Eq)]
pub struct TooComplex;

/// What is wanted and not held.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// One verb, one group, one resource and at most one name (or one URL) each.
    pub parts: Vec<Rule>,
    /// There are more parts than are listed.
    pub more: bool,
}

/// The parts of `wanted` that `held` does not grant.
pub fn missing<'r>(
    held: impl Iterator<Item = &'r Rule>,
    wanted: &[Rule],
) -> Result<Missing, TooComplex> {
    let held = Held::new(held);
    let mut missing = Missing::default();
    let mut budget = Budget(MAX_WORDS);
    for rule in wanted {
        Walk::new(&held, resource_lists(rule), &mut budget)?.collect(&mut missing)?;
        Walk::new(&held, url_lists(rule), &mut budget)?.collect(&mut missing)?;
    }
    Ok(missing)
}

/// Work that is left.
struct Budget(usize);

impl Budget {
    fn spend(&mut self, words: usize) -> Result<(), TooComplex> {
        self.0 = self.0.checked_sub(words).ok_or(TooComplex)?;
        Ok(())
    }
}

/// A set of held rules, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Set(Vec<u64>);

impl Set {
    fn insert(&mut self, rule: usize) {
        let word = rule / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (rule % 64);
    }

    fn and(&self, other: &Set) -> Set {
        let mut words: Vec<u64> = self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect();
        // One form for equal sets.
        while words.last() == Some(&0) {
            words.pop();
        }
        Set(words)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which of the held rules grant an element of one list.
#[derive(Default)]
struct Dimension<'r> {
    /// Rules that grant every element.
    any: Set,
    by_element: HashMap<&'r str, Vec<usize>>,
}

impl<'r> Dimension<'r> {
    fn add(&mut self, rule: usize, elements: &'r [String]) {
        for element in elements {
            match element.as_str() {
                "*" => self.any.insert(rule),
                element => self.by_element.entry(element).or_default().push(rule),
            }
        }
    }

    /// The rules that grant one of these elements.
    fn granting(&self, elements: &[&str], budget: &mut Budget) -> Result<Set, TooComplex> {
        let mut set = self.any.clone();
        budget.spend(set.0.len() + 1)?;
        for rules in elements.iter().filter_map(|e| self.by_element.get(e)) {
            budget.spend(rules.len())?;
            rules.iter().for_each(|rule| set.insert(*rule));
        }
        Ok(set)
    }
}

/// Everything held, indexed.
#[derive(Default)]
struct Held<'r> {
    all: Set,
    verbs: Dimension<'r>,
    groups: Dimension<'r>,
    resources: Dimension<'r>,
    /// `*` is a name like any other; rules without names grant every name.
    names: Dimension<'r>,
    urls: Vec<(usize, &'r str)>,
}

impl<'r> Held<'r> {
    fn new(rules: impl Iterator<Item = &'r Rule>) -> Held<'r> {
        let mut held = Held::default();
        for (at, rule) in rules.enumerate() {
            held.all.insert(at);
            held.verbs.add(at, &rule.verbs);
            held.groups.add(at, &rule.api_groups);
            held.resources.add(at, &rule.resources);
            let urls = rule.non_resource_urls.iter();
            held.urls.extend(urls.map(|url| (at, url.as_str())));
            if rule.resource_names.is_empty() {
                held.names.any.insert(at);
            }
            for name in &rule.resource_names {
                held.names.by_element.entry(name).or_default().push(at);
            }
        }
        held
    }

    fn granting(
        &self,
        list: ListKind,
        element: Option<&str>,
        budget: &mut Budget,
    ) -> Result<Set, TooComplex> {
        let Some(element) = element else {
            // Every name.
            return Ok(self.names.any.clone());
        };
        match list {
            ListKind::Verbs => self.verbs.granting(&[element], budget),
            ListKind::Groups => self.groups.granting(&[element], budget),
            ListKind::Names => self.names.granting(&[element], budget),
            ListKind::Resources => match element.split_once('/') {
                Some((_, sub)) => {
                    let every = format!("*/{sub}");
                    self.resources.granting(&[element, &every], budget)
                }
                None => self.resources.granting(&[element], budget),
            },
            ListKind::Urls => {
                budget.spend(self.urls.len())?;
                let mut set = Set::default();
                for (rule, pattern) in &self.urls {
                    if url_matches(pattern, element) {
                        set.insert(*rule);
                    }
                }
                Ok(set)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListKind {
    Groups,
    Resources,
    Verbs,
    Names,
    Urls,
}

/// A list of a wanted rule. An element `None` stands for every name.
type List<'w> = (ListKind, Vec<Option<&'w str>>);

fn elements(list: &[String]) -> Vec<Option<&str>> {
    list.iter().map(|element| Some(element.as_str())).collect()
}

/// In the order in which upstream nests its loops, so that errors name parts in its order.
fn resource_lists(rule: &Rule) -> Vec<List<'_>> {
    let names = match rule.resource_names.as_slice() {
        [] => vec![None],
        names => elements(names),
    };
    vec![
        (ListKind::Groups, elements(&rule.api_groups)),
        (ListKind::Resources, elements(&rule.resources)),
        (ListKind::Verbs, elements(&rule.verbs)),
        (ListKind::Names, names),
    ]
}

fn url_lists(rule: &Rule) -> Vec<List<'_>> {
    vec![
        (ListKind::Urls, elements(&rule.non_resource_urls)),
        (ListKind::Verbs, elements(&rule.verbs)),
        // A rule with names grants no URL.
        (ListKind::Names, vec![None]),
    ]
}

/// What is missing below some element of a list.
enum Node {
    Nothing,
    Everything,
    /// Elements of the next list with something missing below.
    Below(Vec<(usize, Rc<Node>)>),
}

/// The walk through the lists of one rule.
struct Walk<'w, 'b> {
    lists: Vec<List<'w>>,
    granting: Vec<Vec<Set>>,
    seen: HashMap<(usize, Set), Rc<Node>>,
    root: Set,
    budget: &'b mut Budget,
}

impl<'w, 'b> Walk<'w, 'b> {
    fn new(
        held: &Held<'_>,
        lists: Vec<List<'w>>,
        budget: &'b mut Budget,
    ) -> Result<Self, TooComplex> {
        let mut granting = Vec::with_capacity(lists.len());
        for (kind, elements) in &lists {
            let sets = elements.iter().map(|e| held.granting(*kind, *e, budget));
            granting.push(sets.collect::<Result<_, _>>()?);
        }
        Ok(Walk {
            lists,
            granting,
            seen: HashMap::new(),
            root: held.all.clone(),
            budget,
        })
    }

    /// Appends the missing parts.
    fn collect(&mut self, missing: &mut Missing) -> Result<(), TooComplex> {
        if self.lists.iter().any(|(_, elements)| elements.is_empty()) {
            return Ok(());
        }
        let root = self.root.clone();
        let node = self.node(0, &root)?;
        self.name(&node, &mut Vec::new(), missing);
        Ok(())
    }

    fn node(&mut self, level: usize, set: &Set) -> Result<Rc<Node>, TooComplex> {
        if set.is_empty() {
            return Ok(Rc::new(Node::Everything));
        }
        if level == self.lists.len() {
            return Ok(Rc::new(Node::Nothing));
        }
        let key = (level, set.clone());
        if let Some(known) = self.seen.get(&key) {
            return Ok(known.clone());
        }
        let mut below = Vec::new();
        for element in 0..self.granting[level].len() {
            self.budget.spend(set.0.len() + 1)?;
            let left = set.and(&self.granting[level][element]);
            let node = self.node(level + 1, &left)?;
            if !matches!(*node, Node::Nothing) {
                below.push((element, node));
            }
        }
        let node = Rc::new(match below.is_empty() {
            true => Node::Nothing,
            false => Node::Below(below),
        });
        self.seen.insert(key, node.clone());
        Ok(node)
    }

    /// Names the missing parts below a path of elements, in order, as many as fit.
    fn name(&self, node: &Node, path: &mut Vec<usize>, missing: &mut Missing) {
        if missing.more || matches!(node, Node::Nothing) {
            return;
        }
        let level = path.len();
        if level == self.lists.len() {
            match missing.parts.len() < MAX_PARTS {
                true => missing.parts.push(self.part(path)),
                false => missing.more = true,
            }
            return;
        }
        let everything = matches!(node, Node::Everything).then(|| {
            let all = 0..self.lists[level].1.len();
            all.map(|element| (element, node))
        });
        let some = match node {
            Node::Below(below) => below.as_slice(),
            _ => &[],
        };
        let some = some.iter().map(|(element, node)| (*element, &**node));
        for (element, node) in everything.into_iter().flatten().chain(some) {
            path.push(element);
            self.name(node, path, missing);
            path.pop();
        }
    }

    fn part(&self, path: &[usize]) -> Rule {
        let mut rule = Rule::default();
        for ((kind, elements), at) in self.lists.iter().zip(path) {
            let list = match kind {
                ListKind::Groups => &mut rule.api_groups,
                ListKind::Resources => &mut rule.resources,
                ListKind::Verbs => &mut rule.verbs,
                ListKind::Names => &mut rule.resource_names,
                ListKind::Urls => &mut rule.non_resource_urls,
            };
            list.extend(elements[*at].map(String::from));
        }
        rule
    }
}

/// Joins the verbs of parts that differ in nothing else, in the order of first appearance.
pub fn join_verbs(parts: Vec<Rule>) -> Vec<Rule> {
    let mut joined: Vec<Rule> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for part in parts {
        let key = Rule {
            verbs: Vec::new(),
            ..part.clone()
        }
        .compact();
        match places.get(key.as_str()) {
            Some(&at) => joined[at].verbs.extend(part.verbs),
            None => {
                places.insert(key, joined.len());
                joined.push(part);
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests;
