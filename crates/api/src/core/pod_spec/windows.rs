//! Pods for Windows: their options, and which of Linux's they may not have. Such pods are stored, and run by nodes that can.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, bool_at, list_at, struct_at},
};
use serde_json::Value;

use crate::validate;

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

const MAX_CREDENTIAL_SPEC_KIB: usize = 64;
const MAX_DOMAIN_BYTES: usize = 255;
const MAX_USER_BYTES: usize = 104;
const MAX_NETBIOS_CHARS: usize = 15;

/// What the security context of a pod for Windows may not have.
const NOT_OF_POD: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];

const NOT_OF_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// Every container with its path.
fn containers<'a>(spec: &'a Value, path: &'a Path) -> impl Iterator<Item = (&'a Value, Path)> {
    CONTAINERS.into_iter().flat_map(move |list| {
        let containers = list_at(spec, &[list]).iter().enumerate();
        containers.map(move |(index, container)| (container, path.child(list).index(index)))
    })
}

/// Options for Windows say nothing on Linux, so a pod that says it is for Linux has none.
pub(super) fn refuse_options(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut refuse = |owner: &Value, path: &Path| {
        if struct_at(owner, &["securityContext", "windowsOptions"]).is_some() {
            errors.push(Error::forbidden(
                &path.child("securityContext").child("windowsOptions"),
                "windows options cannot be set for a linux pod",
            ));
        }
    };
    refuse(spec, path);
    for (container, path) in containers(spec, path) {
        refuse(container, &path);
    }
}

/// A pod that says it is for Windows has nothing of Linux.
pub(super) fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut refuse = |owner: &Value, field: &'static str, path: &Path| {
        let given = match at(owner, &[field]) {
            None | Some(Value::Null) => false,
            Some(Value::Array(list)) if field == "sysctls" => !list.is_empty(),
            // Upstream's are no pointers.
            Some(Value::Bool(set)) if matches!(field, "hostPID" | "hostIPC") => *set,
            Some(_) => true,
        };
        if given {
            let why = "cannot be set for a windows pod";
            errors.push(Error::forbidden(&path.child(field), why));
        }
    };
    let context_path = path.child("securityContext");
    if let Some(context) = struct_at(spec, &["securityContext"]) {
        for field in NOT_OF_POD {
            refuse(context, field, &context_path);
        }
    }
    for field in ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"] {
        refuse(spec, field, path);
    }
    for (container, path) in containers(spec, path) {
        if let Some(context) = struct_at(container, &["securityContext"]) {
            for field in NOT_OF_CONTAINER {
                refuse(context, field, &path.child("securityContext"));
            }
        }
    }
}

/// That either all containers are processes of the host or none is.
pub(super) fn validate_host_processes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let own = |owner: &Value| {
        at(owner, &["securityContext", "windowsOptions", "hostProcess"]).and_then(Value::as_bool)
    };
    let of_pod = own(spec);
    let (mut all, mut of_host) = (0, 0);
    for (container, path) in containers(spec, path) {
        all += 1;
        let of_container = own(container);
        if let (Some(pod), Some(container)) = (of_pod, of_container)
            && pod != container
        {
            let path = path.child("securityContext").child("windowsOptions");
            errors.push(Error::invalid(
                &path.child("hostProcess"),
                container,
                format!("pod hostProcess value must be identical if both are specified, was {pod}"),
            ));
        }
        of_host += usize::from(of_container.or(of_pod) == Some(true));
    }
    if of_host == 0 {
        return;
    }
    if of_host != all {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(Error::invalid(path, "", why));
    }
    if !bool_at(spec, &["hostNetwork"]) {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(Error::invalid(&path.child("hostNetwork"), false, why));
    }
}

/// The options of a security context, which `path` leads to.
pub(super) fn validate_options(context: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(options) = struct_at(context, &["windowsOptions"]) else {
        return;
    };
    let path = path.child("windowsOptions");
    let text = |field: &str| options.get(field).and_then(Value::as_str);
    if let Some(name) = text("gmsaCredentialSpecName") {
        let path = path.child("gmsaCredentialSpecName");
        validate::each(errors, &path, name, names::dns1123_subdomain(name));
    }
    if let Some(spec) = text("gmsaCredentialSpec") {
        let path = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            let why = "gmsaCredentialSpec cannot be an empty string";
            errors.push(Error::invalid(&path, spec, why));
        } else if spec.len() > MAX_CREDENTIAL_SPEC_KIB * 1024 {
            let why =
                format!("gmsaCredentialSpec size must be under {MAX_CREDENTIAL_SPEC_KIB} KiB");
            errors.push(Error::invalid(&path, spec, why));
        }
    }
    if let Some(name) = text("runAsUserName") {
        let path = path.child("runAsUserName");
        validate::each(errors, &path, name, user_name(name));
    }
}

/// What is wrong with `DOMAIN\USER`, of which the domain may be left out.
fn user_name(name: &str) -> Vec<String> {
    let one = |why: &str| vec![format!("runAsUserName {why}")];
    if name.is_empty() {
        return one("cannot be an empty string");
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return one("cannot contain control characters");
    }
    if name.matches('\\').count() > 1 {
        return one("cannot contain more than one backslash");
    }
    let (domain, user) = match name.split_once('\\') {
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    let mut wrong = Vec::new();
    if domain.is_some_and(|domain| domain.len() > MAX_DOMAIN_BYTES) {
        let limit = MAX_DOMAIN_BYTES + 1;
        wrong.push(format!(
            "runAsUserName's Domain length must be under {limit} characters"
        ));
    }
    if domain.is_some_and(|domain| !is_netbios(domain) && !is_dns(domain)) {
        wrong
            .push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
    }
    if user.is_empty() {
        wrong.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > MAX_USER_BYTES {
        wrong.push(format!(
            "runAsUserName's User length must not be longer than {MAX_USER_BYTES} characters"
        ));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        wrong.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains([
        '"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']',
    ]) {
        wrong.push(
            r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#
                .to_owned(),
        );
    }
    wrong
}

fn is_netbios(domain: &str) -> bool {
    let refused = |c: char| matches!(c, '\\' | '/' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    let count = domain.chars().count();
    (1..=MAX_NETBIOS_CHARS).contains(&count)
        && !domain.starts_with('.')
        && !domain.contains(refused)
}

/// Labels of letters of either case, digits and hyphens.
fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        edge(label.chars().next())
            && edge(label.chars().next_back())
            && label.len() <= names::DNS1123_LABEL_MAX_LENGTH
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn causes(check: fn(&Value, &Path, &mut ErrorList), spec: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        check(spec, &Path::new("spec"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pod_for_windows_has_nothing_of_linux() {
        let spec = json!({
            "hostPID": true, "hostIPC": false, "hostUsers": true,
            "securityContext": {"fsGroup": 1, "sysctls": []},
            "containers": [{"securityContext": {"privileged": false, "windowsOptions": {}}}],
        });
        let wanted = [
            "spec.securityContext.fsGroup: Forbidden: cannot be set for a windows pod",
            "spec.hostUsers: Forbidden: cannot be set for a windows pod",
            "spec.hostPID: Forbidden: cannot be set for a windows pod",
            "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
        ];
        assert_eq!(causes(validate, &spec), wanted);
    }

    #[test]
    fn processes_of_the_host_are_all_or_none() {
        let of = |host: bool| json!({"securityContext": {"windowsOptions": {"hostProcess": host}}});
        let spec = json!({"containers": [of(true), {}]});
        let wanted = [
            r#"spec: Invalid value: "": If pod contains any hostProcess containers then all containers must be HostProcess containers"#,
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
        ];
        assert_eq!(causes(validate_host_processes, &spec), wanted);
        let mut spec = of(true);
        spec["containers"] = json!([of(true), {}]);
        spec["hostNetwork"] = json!(true);
        assert!(causes(validate_host_processes, &spec).is_empty());
        spec["containers"] = json!([of(false)]);
        let wanted = [
            "spec.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical if both are specified, was true",
        ];
        assert_eq!(causes(validate_host_processes, &spec), wanted);
    }

    #[test]
    fn names_of_users_may_have_a_domain() {
        let cases: [(&str, &[&str]); 9] = [
            ("somebody", &[]),
            ("DOMAIN\\somebody", &[]),
            ("a-long-one.example.com\\somebody", &[]),
            ("", &["cannot be an empty string"]),
            ("a\\b\\c", &["cannot contain more than one backslash"]),
            ("a\tb", &["cannot contain control characters"]),
            ("a:b\\c", &["Domain doesn't match"]),
            ("DOMAIN\\", &["User cannot be empty"]),
            ("..", &["only periods"]),
        ];
        for (name, wanted) in cases {
            let found = user_name(name);
            assert_eq!(found.len(), wanted.len(), "{name}: {found:?}");
            for (found, wanted) in found.iter().zip(wanted) {
                assert!(found.contains(wanted), "{name}: {found}");
            }
        }
    }
}
