//! Labels and taints of nodes, as kubectl writes them.

use k8s_openapi::api::core::v1::Taint;

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is expected")?;
    match key.is_empty() {
        true => Err("KEY=VALUE is expected".to_owned()),
        false => Ok((key.to_owned(), value.to_owned())),
    }
}

/// A label that a kubelet may give its own node: of Kubernetes' names those alone that upstream's kubelet gives.
pub(super) fn own_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = label(text)?;
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    let is_below = |domain: &str| {
        let rest = prefix.strip_suffix(domain);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let is_reserved = ["kubernetes.io", "k8s.io"].into_iter().any(is_below);
    let is_free = ["kubelet.kubernetes.io", "node.kubernetes.io"]
        .into_iter()
        .any(is_below);
    match is_reserved && !is_free && !KUBELETS.contains(&key.as_str()) {
        true => Err(format!(
            "{key}: labels below kubernetes.io and k8s.io begin with kubelet.kubernetes.io or node.kubernetes.io, or are one of {}",
            KUBELETS.join(", ")
        )),
        false => Ok((key, value)),
    }
}

/// Labels that a kubelet may set of its own node: upstream's.
const KUBELETS: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

pub(super) fn taint(text: &str) -> Result<Taint, String> {
    let error = || "KEY:EFFECT or KEY=VALUE:EFFECT is expected".to_owned();
    let (pair, effect) = text.rsplit_once(':').ok_or_else(error)?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err("the effect is NoSchedule, PreferNoSchedule or NoExecute".to_owned());
    }
    let (key, value) = match pair.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (pair, None),
    };
    match key.is_empty() {
        true => Err(error()),
        false => Ok(Taint {
            effect: effect.to_owned(),
            key: key.to_owned(),
            value,
            time_added: None,
        }),
    }
}

/// As it is written on a command line.
pub fn taint_text(taint: &Taint) -> String {
    let Taint {
        key, value, effect, ..
    } = taint;
    match value {
        Some(value) => format!("{key}={value}:{effect}"),
        None => format!("{key}:{effect}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_written_as_kubectl_does_it() {
        for (text, value) in [("k=v:NoSchedule", Some("v")), ("k:NoExecute", None)] {
            let taint = taint(text).expect(text);
            assert_eq!((taint.key.as_str(), taint.value.as_deref()), ("k", value));
            assert_eq!(taint_text(&taint), text);
        }
        for text in ["k=v", "k=v:Never", "=v:NoSchedule", ":NoSchedule"] {
            assert!(taint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_node_does_not_call_itself_what_others_judge_it_by() {
        for text in [
            "disk=ssd",
            "example.com/a=b",
            "topology.kubernetes.io/zone=a",
            "node.kubernetes.io/a=b",
            "x.kubelet.kubernetes.io/a=",
            "notkubernetes.io/a=b",
        ] {
            assert!(own_label(text).is_ok(), "{text}");
        }
        for text in [
            "node-role.kubernetes.io/control-plane=",
            "node-restriction.kubernetes.io/a=b",
            "kubernetes.io/a=b",
            "x.k8s.io/a=b",
            "disk",
        ] {
            assert!(own_label(text).is_err(), "{text}");
        }
    }
}
