//! Feature gates of v1.37 that a kubelet's configuration may name. Each is what it is: upstream's default is what is built here.

/// Lines of a name and its default, sorted (upstream's `pkg/features` and those of `apiserver` and `component-base`).
const GATES: &str = include_str!("gates.txt");

/// Why a gate may not be set so.
pub(super) fn check(name: &str, wanted: bool) -> Result<(), String> {
    let mut known = GATES.lines().filter_map(|line| line.split_once(' '));
    match known.find(|(known, _)| *known == name) {
        None => Err(format!("unrecognized feature gate: {name}")),
        Some((_, default)) if default == wanted.to_string() => Ok(()),
        Some((_, default)) => Err(format!(
            "cannot set feature gate {name} to {wanted}, feature is locked to {default}"
        )),
    }
}
