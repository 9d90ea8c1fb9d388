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

/// A line a node, the best first.
pub fn explanation(explanation: &Explanation, color: bool) -> String {
    let mut out = String::new();
    if let Some((plugin, why)) = &explanation.everywhere {
        let mark = paint("✗", RED, color);
        let _ = writeln!(out, "  {mark} every node: {why} ({plugin})");
        return out;
    }
    let mut nodes: Vec<_> = explanation.nodes.iter().collect();
    // Stable: nodes of the same score stay in the order of their names.
    nodes.sort_by_key(|(_, verdict)| std::cmp::Reverse(total(verdict)));
    let width = nodes.iter().map(|(node, _)| node.chars().count()).max();
    for (node, verdict) in nodes {
        let name = format!("{node:<width$}", width = width.unwrap_or(0));
        let _ = match verdict {
            Verdict::Fits(scores) => {
                let mark = paint("✓", GREEN, color);
                let sum = format!("{:>5}", total(verdict).unwrap_or(0));
                let parts = scores
                    .iter()
                    .map(|(plugin, score)| format!("{plugin} {score}"));
                let parts: Vec<_> = parts.collect();
                let sum = paint(&sum, BOLD, color);
                writeln!(out, "  {mark} {name} {sum}  {}", parts.join(", "))
            }
            Verdict::RuledOut {
                plugin,
                reasons,
                resolvable,
            } => {
                let (mark, help) = match resolvable {
                    true => (paint("✗", YELLOW, color), "; pods on it are in the way"),
                    false => (paint("✗", RED, color), ""),
                };
                writeln!(
                    out,
                    "  {mark} {name}     -  {} ({plugin}{help})",
                    reasons.join(", ")
                )
            }
        };
    }
    out
}

fn total(verdict: &Verdict) -> Option<i64> {
    match verdict {
        Verdict::Fits(scores) => {
            let scores = scores.iter().map(|(_, score)| *score);
            Some(scores.fold(0, i64::saturating_add))
        }
        Verdict::RuledOut { .. } => None,
    }
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
    use super::*;

    #[test]
    fn nodes_are_told_of_the_best_first() {
        let out = |reason: &str, resolvable| Verdict::RuledOut {
            plugin: "NodeResourcesFit",
            reasons: vec![reason.to_owned()],
            resolvable,
        };
        let told = Explanation {
            everywhere: None,
            nodes: vec![
                ("a".to_owned(), out("Insufficient cpu", true)),
                (
                    "bb".to_owned(),
                    Verdict::Fits(vec![("TaintToleration", 300)]),
                ),
                (
                    "c".to_owned(),
                    Verdict::Fits(vec![("TaintToleration", 300), ("NodeAffinity", 9)]),
                ),
                ("d".to_owned(), out("Too many pods", false)),
            ],
        };
        let expected = "  ✓ c    309  TaintToleration 300, NodeAffinity 9\n  \
                        ✓ bb   300  TaintToleration 300\n  \
                        ✗ a      -  Insufficient cpu (NodeResourcesFit; pods on it are in the way)\n  \
                        ✗ d      -  Too many pods (NodeResourcesFit)\n";
        assert_eq!(explanation(&told, false), expected);
        assert!(explanation(&told, true).contains("\x1b[32m✓\x1b[0m"));
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
