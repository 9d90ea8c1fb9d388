//! Circles and floors of what points at each other.

use std::collections::{BTreeMap, BTreeSet};

/// Each node, and those that it points at.
pub type Arrows<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Nodes that reach each other.
pub fn circles<'a>(arrows: &Arrows<'a>) -> Vec<BTreeSet<&'a str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = arrows
        .keys()
        .map(|node| (*node, reached(arrows, node)))
        .collect();
    let reaches = |from: &str, to: &str| reach.get(from).is_some_and(|all| all.contains(to));
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for node in arrows.keys() {
        let circle: BTreeSet<&str> = arrows
            .keys()
            .copied()
            .filter(|other| reaches(node, other) && reaches(other, node))
            .collect();
        if circle.len() > 1 && seen.insert(circle.first().copied()) {
            circles.push(circle);
        }
    }
    circles
}

fn reached<'a>(arrows: &Arrows<'a>, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = vec![from];
    while let Some(node) = next.pop() {
        for to in arrows.get(node).into_iter().flatten() {
            if reached.insert(*to) {
                next.push(to);
            }
        }
    }
    reached
}

/// The longest way down, from the top: one node a floor, or all those of a circle.
pub fn floors(arrows: &Arrows<'_>) -> Vec<String> {
    let mut names: BTreeMap<&str, String> = arrows
        .keys()
        .map(|node| (*node, (*node).to_owned()))
        .collect();
    for circle in circles(arrows) {
        let members: Vec<&str> = circle.iter().copied().collect();
        let name = format!("({})", members.join(" + "));
        names.extend(circle.iter().map(|node| (*node, name.clone())));
    }
    let mut folded = Arrows::new();
    for (from, to) in arrows {
        let beside = folded.entry(&names[*from]).or_default();
        let to = to.iter().filter_map(|to| names.get(to)).map(String::as_str);
        beside.extend(to.filter(|to| *to != names[*from]));
    }
    let mut known = BTreeMap::new();
    let ways = folded
        .keys()
        .map(|node| way_down(&folded, node, &mut known));
    let longest = ways.max_by_key(Vec::len).unwrap_or_default();
    longest.into_iter().map(str::to_owned).collect()
}

/// There must be no circle.
fn way_down<'a>(
    arrows: &Arrows<'a>,
    node: &'a str,
    known: &mut BTreeMap<&'a str, Vec<&'a str>>,
) -> Vec<&'a str> {
    if let Some(way) = known.get(node) {
        return way.clone();
    }
    let mut longest = Vec::new();
    for to in arrows.get(node).into_iter().flatten() {
        let way = way_down(arrows, to, known);
        if way.len() > longest.len() {
            longest = way;
        }
    }
    longest.insert(0, node);
    known.insert(node, longest.clone());
    longest
}
