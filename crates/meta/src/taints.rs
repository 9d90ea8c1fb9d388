//! Taints of nodes, and what pods tolerate.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Whether a toleration covers a taint (upstream `Toleration.ToleratesTaint`): an empty key covers all keys, an empty effect all
/// effects.
pub fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let empty_or = |mine: &Option<String>, theirs: &str| match mine.as_deref() {
        None | Some("") => true,
        Some(mine) => mine == theirs,
    };
    let value_fits = match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => {
            toleration.value.as_deref().unwrap_or_default()
                == taint.value.as_deref().unwrap_or_default()
        }
        Some(_) => false,
    };
    empty_or(&toleration.effect, &taint.effect)
        && empty_or(&toleration.key, &taint.key)
        && value_fits
}

/// Whether any toleration covers the taint.
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| covers(t, taint))
}

/// The first taint of one of the effects that no toleration covers.
pub fn untolerated<'t>(
    tolerations: &[Toleration],
    taints: &'t [Taint],
    effects: &[&str],
) -> Option<&'t Taint> {
    let mut of_effect = taints
        .iter()
        .filter(|taint| effects.contains(&taint.effect.as_str()));
    of_effect.find(|taint| !tolerates(tolerations, taint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint {
            key: key.into(),
            value: (!value.is_empty()).then(|| value.into()),
            effect: effect.into(),
            ..Taint::default()
        }
    }

    /// `key operator value effect`, `-` for none.
    fn toleration(text: &str) -> Toleration {
        let mut parts = text
            .split(' ')
            .map(|part| (part != "-").then(|| part.to_owned()));
        let mut next = || parts.next().expect("four parts");
        Toleration {
            key: next(),
            operator: next(),
            value: next(),
            effect: next(),
            ..Toleration::default()
        }
    }

    #[test]
    fn tolerations_cover_as_upstreams() {
        let taint = taint("gpu", "a", "NoSchedule");
        for (text, covered) in [
            ("gpu Equal a NoSchedule", true),
            ("gpu - a NoSchedule", true),
            ("gpu - a -", true),
            ("gpu Exists - -", true),
            ("- Exists - -", true),
            ("- Exists - NoExecute", false),
            ("gpu Equal b NoSchedule", false),
            ("gpu - - NoSchedule", false),
            ("cpu Exists - -", false),
            ("gpu Exists - NoExecute", false),
            ("gpu Like a NoSchedule", false),
        ] {
            assert_eq!(covers(&toleration(text), &taint), covered, "{text}");
        }
    }

    #[test]
    fn the_first_that_keeps_away_is_named() {
        let taints = [
            taint("soft", "", "PreferNoSchedule"),
            taint("a", "", "NoSchedule"),
            taint("b", "", "NoExecute"),
        ];
        let key = |tolerations: &[&str], effects: &[&str]| {
            let tolerations: Vec<_> = tolerations.iter().map(|t| toleration(t)).collect();
            untolerated(&tolerations, &taints, effects).map(|t| t.key.clone())
        };
        let hard = ["NoSchedule", "NoExecute"];
        assert_eq!(key(&[], &hard).as_deref(), Some("a"));
        assert_eq!(key(&["a Exists - -"], &hard).as_deref(), Some("b"));
        assert_eq!(key(&[], &["NoExecute"]).as_deref(), Some("b"));
        assert_eq!(key(&["- Exists - -"], &hard), None);
    }
}
