//! What the scheduler says, for people.

use std::fmt::Write;

use knarr_scheduler::simulation::{Explanation, Placement, Verdict};

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const BOLD: &str = "1";

fn paint(text: &str, code: &str, color: bool) -> String {
    match color {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// How it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub color: bool,
    /// Columns; `None`: lines are as long as they are.
    pub width: Option<usize>,
}

/// Nodes that fit and are told of one by one; and of those with one reason that are named, and whose remedies are told.
const FITTING_SHOWN: usize = 20;
const NAMES_SHOWN: usize = 6;
const REMEDIES_SHOWN: usize = 3;
/// Where lines go on.
const INDENT: usize = 8;

/// The nodes that fit, the best first, then the others by what rules them out.
pub fn explanation(explanation: &Explanation, look: Look) -> String {
    let mut out = String::new();
    if let Some((plugin, why)) = &explanation.everywhere {
        let mark = paint("✗", RED, look.color);
        let _ = writeln!(out, "  {mark} every node: {why} ({plugin})");
        return out;
    }
    fitting(explanation, look, &mut out);
    for group in groups(explanation) {
        ruled_out(&group, look, &mut out);
    }
    out
}

fn fitting(explanation: &Explanation, look: Look, out: &mut String) {
    let nodes = explanation.nodes.iter();
    let mut fitting: Vec<_> = nodes
        .filter_map(|(node, verdict)| match verdict {
            Verdict::Fits(scores) => Some((node, total(scores), scores)),
            Verdict::RuledOut { .. } => None,
        })
        .collect();
    // Stable: nodes of the same score stay in the order of their names.
    fitting.sort_by_key(|(_, total, _)| std::cmp::Reverse(*total));
    let shown = &fitting[..fitting.len().min(FITTING_SHOWN)];
    let names = shown.iter().map(|(node, ..)| node.chars().count());
    let column = names.max().unwrap_or(0);
    for (node, total, scores) in shown {
        let mark = paint("✓", GREEN, look.color);
        let sum = paint(&format!("{total:>5}"), BOLD, look.color);
        let parts = scores
            .iter()
            .map(|(plugin, score)| format!("{plugin} {score}"));
        let parts: Vec<_> = parts.collect();
        let head = format!("  {mark} {node:<column$} {sum}  ");
        // Mark, blanks and sum are 12 columns.
        wrapped(&head, column.saturating_add(12), &parts, look, out);
    }
    let others = fitting.get(shown.len()..).unwrap_or_default();
    if let (Some((_, most, _)), Some((_, least, _))) = (others.first(), others.last()) {
        let count = others.len();
        let _ = writeln!(out, "    … and {count} more with {least} to {most}");
    }
}

/// Nodes that are ruled out by one plugin for the same reasons, with what would help each.
struct Group<'e> {
    plugin: &'static str,
    reasons: &'e [String],
    resolvable: bool,
    nodes: Vec<(&'e str, &'e [String])>,
}

/// The largest first.
fn groups(explanation: &Explanation) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (node, verdict) in &explanation.nodes {
        let Verdict::RuledOut {
            plugin,
            reasons,
            resolvable,
            remedies,
        } = verdict
        else {
            continue;
        };
        let is_same = |group: &&mut Group<'_>| {
            group.plugin == *plugin && group.reasons == reasons && group.resolvable == *resolvable
        };
        let known = groups.iter_mut().find(is_same);
        let nodes = match known {
            Some(group) => &mut group.nodes,
            None => {
                groups.push(Group {
                    plugin,
                    reasons,
                    resolvable: *resolvable,
                    nodes: Vec::new(),
                });
                let Some(group) = groups.last_mut() else {
                    continue;
                };
                &mut group.nodes
            }
        };
        nodes.push((node, remedies));
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.nodes.len()));
    groups
}

fn ruled_out(group: &Group<'_>, look: Look, out: &mut String) {
    let code = if group.resolvable { YELLOW } else { RED };
    let mark = paint("✗", code, look.color);
    let (plugin, reasons) = (group.plugin, group.reasons.join(", "));
    let count = group.nodes.len();
    let names: Vec<_> = group
        .nodes
        .iter()
        .map(|(node, _)| (*node).to_owned())
        .collect();
    let mut shown: Vec<_> = names.iter().take(NAMES_SHOWN).cloned().collect();
    if count > shown.len() {
        shown.push(format!("{} more", count.saturating_sub(shown.len())));
    }
    let head = format!("  {mark} {reasons} ({plugin}): ");
    let columns = plain_width(&head, look.color);
    wrapped(&head, columns, &shown, look, out);
    if group.resolvable {
        out.push_str("      pods there are in the way\n");
    }
    let mut told: Vec<(&[String], Vec<&str>)> = Vec::new();
    for (node, remedies) in group
        .nodes
        .iter()
        .filter(|(_, remedies)| !remedies.is_empty())
    {
        match told.iter_mut().find(|(known, _)| known == remedies) {
            Some((_, nodes)) => nodes.push(node),
            None => told.push((remedies, vec![node])),
        }
    }
    let (all, more) = (told.len(), told.len().saturating_sub(REMEDIES_SHOWN));
    for (remedies, nodes) in told.into_iter().take(REMEDIES_SHOWN) {
        let of = match nodes.as_slice() {
            _ if all == 1 && nodes.len() == count => "what it would take".to_owned(),
            [one] => format!("{one} would take"),
            [first, ..] => format!(
                "{first} and {} more would take",
                nodes.len().saturating_sub(1)
            ),
            [] => continue,
        };
        let head = format!("      {of}: ");
        let columns = head.chars().count();
        wrapped(&head, columns, remedies, look, out);
    }
    if more > 0 {
        out.push_str("      others something else\n");
    }
}

/// Columns of a head with one colour in it.
fn plain_width(head: &str, color: bool) -> usize {
    let escapes = paint("", RED, color).chars().count();
    head.chars().count().saturating_sub(escapes)
}

/// A head of so many columns and a list, which goes on below where it is wider than the terminal.
fn wrapped(head: &str, columns: usize, parts: &[String], look: Look, out: &mut String) {
    out.push_str(head);
    let mut at = columns;
    for (index, part) in parts.iter().enumerate() {
        let last = index.saturating_add(1) == parts.len();
        let text = format!("{part}{}", if last { "" } else { ", " });
        let size = text.trim_end().chars().count();
        let is_full = look
            .width
            .is_some_and(|width| at.saturating_add(size) > width);
        if is_full && at > INDENT {
            while out.ends_with(' ') {
                out.pop();
            }
            let _ = write!(out, "\n{:INDENT$}", "");
            at = INDENT;
        }
        out.push_str(&text);
        at = at.saturating_add(text.chars().count());
    }
    while out.ends_with(' ') {
        out.pop();
    }
    out.push('\n');
}

fn total(scores: &[(&'static str, i64)]) -> i64 {
    let scores = scores.iter().map(|(_, score)| *score);
    scores.fold(0, i64::saturating_add)
}

/// Where the pod would go.
pub fn placement(pod: &str, placement: &Placement, color: bool) -> String {
    let pod = paint(pod, BOLD, color);
    match placement {
        Placement::Nodes(nodes) => format!("{pod} goes to {}\n", nodes.join(" or ")),
        Placement::Waits {
            message,
            nominated: Some(node),
            victims,
        } => format!(
            "{pod} waits for pods on {node} to end: {}\n{message}\n",
            victims.join(", ")
        ),
        Placement::Waits { message, .. } => format!("{pod} waits: {message}\n"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const PLAIN: Look = Look {
        color: false,
        width: None,
    };

    fn out(reason: &str, resolvable: bool, remedies: &[&str]) -> Verdict {
        Verdict::RuledOut {
            plugin: "NodeResourcesFit",
            reasons: vec![reason.to_owned()],
            resolvable,
            remedies: remedies.iter().map(|remedy| (*remedy).to_owned()).collect(),
        }
    }

    fn told(nodes: Vec<(&str, Verdict)>) -> Explanation {
        let nodes = nodes
            .into_iter()
            .map(|(name, verdict)| (name.to_owned(), verdict));
        Explanation {
            everywhere: None,
            nodes: nodes.collect(),
        }
    }

    #[test]
    fn nodes_that_fit_come_first_and_others_by_their_reason() {
        let fits = |scores: &[(&'static str, i64)]| Verdict::Fits(scores.to_vec());
        let told = told(vec![
            (
                "a",
                out("Insufficient cpu", true, &["1 more cpu (0 of 4 free)"]),
            ),
            ("bb", fits(&[("TaintToleration", 300)])),
            ("c", fits(&[("TaintToleration", 300), ("NodeAffinity", 9)])),
            ("d", out("Too many pods", false, &[])),
            (
                "e",
                out("Insufficient cpu", true, &["2 more cpu (0 of 8 free)"]),
            ),
            (
                "f",
                out("Insufficient cpu", true, &["1 more cpu (0 of 4 free)"]),
            ),
        ]);
        expect![[r#"
            told:
              ✓ c    309  TaintToleration 300, NodeAffinity 9
              ✓ bb   300  TaintToleration 300
              ✗ Insufficient cpu (NodeResourcesFit): a, e, f
                  pods there are in the way
                  a and 1 more would take: 1 more cpu (0 of 4 free)
                  e would take: 2 more cpu (0 of 8 free)
              ✗ Too many pods (NodeResourcesFit): d
        "#]]
        .assert_eq(&format!("told:\n{}", explanation(&told, PLAIN)));
        let colorful = Look {
            color: true,
            ..PLAIN
        };
        assert!(explanation(&told, colorful).contains("\x1b[32m✓\x1b[0m"));
    }

    #[test]
    fn lines_are_no_wider_than_the_terminal() {
        let scores = vec![
            ("TaintToleration", 300),
            ("NodeAffinity", 200),
            ("ImageLocality", 0),
        ];
        let mut nodes = vec![("a-node", Verdict::Fits(scores))];
        let taints = &["a toleration of dedicated=db:NoSchedule"];
        let names: Vec<_> = (0..40)
            .map(|number| format!("worker-{number:02}"))
            .collect();
        nodes.extend(
            names
                .iter()
                .map(|name| (name.as_str(), out("untolerated", false, taints))),
        );
        let narrow = Look {
            width: Some(48),
            ..PLAIN
        };
        let text = explanation(&told(nodes), narrow);
        expect![[r#"
            told:
              ✓ a-node   500  TaintToleration 300,
                    NodeAffinity 200, ImageLocality 0
              ✗ untolerated (NodeResourcesFit): worker-00,
                    worker-01, worker-02, worker-03,
                    worker-04, worker-05, 34 more
                  what it would take:
                    a toleration of dedicated=db:NoSchedule
        "#]]
        .assert_eq(&format!("told:\n{text}"));
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(48), "{text}");
    }

    #[test]
    fn of_many_nodes_that_fit_the_best_are_told_of() {
        let names: Vec<_> = (0..25).map(|number| format!("n{number:02}")).collect();
        let nodes = names.iter().enumerate();
        let nodes = nodes.map(|(at, name)| {
            (
                name.as_str(),
                Verdict::Fits(vec![("NodeAffinity", 100 - at as i64)]),
            )
        });
        let text = explanation(&told(nodes.collect()), PLAIN);
        assert_eq!(text.lines().count(), 21);
        assert!(text.ends_with("    … and 5 more with 76 to 80\n"), "{text}");
    }

    #[test]
    fn a_placement_is_a_sentence() {
        let nodes = Placement::Nodes(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(placement("p", &nodes, false), "p goes to a or b\n");
        let waits = |nominated: Option<&str>, victims: &[&str]| Placement::Waits {
            message: "0/1 nodes are available.".to_owned(),
            nominated: nominated.map(str::to_owned),
            victims: victims.iter().map(|v| (*v).to_owned()).collect(),
        };
        let text = placement("p", &waits(None, &[]), false);
        assert_eq!(text, "p waits: 0/1 nodes are available.\n");
        let text = placement("p", &waits(Some("a"), &["x/low"]), false);
        assert_eq!(
            text,
            "p waits for pods on a to end: x/low\n0/1 nodes are available.\n"
        );
    }
}
