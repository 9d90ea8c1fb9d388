//! Reads the table of roles and bindings in `policy.txt`.
//!
//! A table of text rather than code: 70 roles fit on a few screens, a reader can compare them with upstream's, and it costs
//! nothing until it is read at the start.

use serde_json::{Map, Value, json};

use crate::authz::{rbac::GROUP, rules::Rule};

const TABLE: &str = include_str!("policy.txt");
/// Prefix of aggregation labels.
const LABEL_PREFIX: &str = "rbac.authorization.k8s.io/";
/// `false` keeps the bootstrap from changing a role or binding.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// A Role or ClusterRole of the table.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// Empty for a ClusterRole.
    pub namespace: String,
    pub name: String,
    pub rules: Vec<Rule>,
    /// `aggregate-to-edit`: labelled so that others gather it.
    pub label: Option<String>,
    /// Gathers the roles labelled so.
    pub aggregates: Option<String>,
}

/// A RoleBinding or ClusterRoleBinding of the table.
#[derive(Clone, Debug, Default)]
pub struct Binding {
    /// Empty for a ClusterRoleBinding.
    pub namespace: String,
    pub name: String,
    pub role: String,
    /// Kind, namespace, name.
    pub subjects: Vec<(String, String, String)>,
}

/// The whole table; the rules of aggregated roles are the union of what they gather.
#[derive(Debug, Default)]
pub struct Policy {
    pub roles: Vec<Role>,
    pub bindings: Vec<Binding>,
}

/// The built-in policy, read anew: it is needed at a start, and would take a megabyte ever after.
pub fn policy() -> Policy {
    parse(TABLE).unwrap_or_else(|line| {
        tracing::error!(line, "the built-in policy table is not readable");
        Policy::default()
    })
}

/// A ClusterRole of the table.
pub fn cluster_role(name: &str) -> Option<Role> {
    let mut roles = policy().roles.into_iter();
    roles.find(|role| role.namespace.is_empty() && role.name == name)
}

impl Policy {
    /// A role of the controller's, and the account of its name in it.
    fn add_controller(&mut self, name: &str) {
        let role = format!("system:controller:{name}");
        self.roles.push(Role {
            name: role.clone(),
            ..Role::default()
        });
        let account = ("ServiceAccount".into(), "kube-system".into(), name.into());
        self.bindings.push(Binding {
            name: role.clone(),
            role,
            subjects: vec![account],
            ..Binding::default()
        });
    }
}

/// `Err` is the line that cannot be read.
fn parse(table: &str) -> Result<Policy, &str> {
    let mut policy = Policy::default();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (line.starts_with(' '), words.as_slice()) {
            (_, [] | ["#", ..]) => {}
            (true, words) => policy
                .roles
                .last_mut()
                .ok_or(line)?
                .rules
                .push(rule(words).ok_or(line)?),
            (false, ["clusterrole", name, options @ ..]) => {
                let option = |key: &str| {
                    options
                        .iter()
                        .find_map(|o| o.strip_prefix(key)?.strip_prefix('='))
                        .map(String::from)
                };
                let (label, aggregates) = (option("label"), option("aggregates"));
                policy.roles.push(Role {
                    name: (*name).into(),
                    label,
                    aggregates,
                    ..Role::default()
                });
            }
            (false, ["controller", name]) => policy.add_controller(name),
            (false, ["role", namespace, name]) => {
                policy.roles.push(Role {
                    namespace: (*namespace).into(),
                    name: (*name).into(),
                    ..Role::default()
                });
            }
            (false, ["bind", role, subjects @ ..]) => policy.bindings.push(Binding {
                name: (*role).into(),
                role: (*role).into(),
                subjects: self::subjects(subjects).ok_or(line)?,
                ..Binding::default()
            }),
            (false, ["rolebind", namespace, name, role, subjects @ ..]) => {
                policy.bindings.push(Binding {
                    namespace: (*namespace).into(),
                    name: (*name).into(),
                    role: (*role).into(),
                    subjects: self::subjects(subjects).ok_or(line)?,
                })
            }
            _ => return Err(line),
        }
    }
    aggregate(&mut policy.roles);
    Ok(policy)
}

fn rule(words: &[&str]) -> Option<Rule> {
    let split = |list: &str| {
        list.split(',')
            .map(|item| {
                if item == "core" {
                    String::new()
                } else {
                    item.to_owned()
                }
            })
            .collect()
    };
    let verbs = |verbs: &str| match verbs {
        "read" => split("get,list,watch"),
        "write" => split("create,delete,deletecollection,patch,update"),
        "all" => split("create,delete,deletecollection,get,list,patch,update,watch"),
        verbs => split(verbs),
    };
    match *words {
        ["events"] => rule(&["create,patch,update", "core,events.k8s.io", "events"]),
        [allowed, "url", paths] => Some(Rule {
            verbs: verbs(allowed),
            non_resource_urls: split(paths),
            ..Rule::default()
        }),
        [allowed, groups, resources] => Some(Rule {
            verbs: verbs(allowed),
            api_groups: split(groups),
            resources: split(resources),
            ..Rule::default()
        }),
        [allowed, groups, resources, names] => Some(Rule {
            resource_names: split(names),
            ..rule(&[allowed, groups, resources])?
        }),
        _ => None,
    }
}

fn subjects(words: &[&str]) -> Option<Vec<(String, String, String)>> {
    let subject = |word: &&str| {
        let (kind, rest) = word.split_once(':')?;
        let (namespace, name) = if kind == "ServiceAccount" {
            rest.split_once('/')?
        } else {
            ("", rest)
        };
        Some((kind.to_owned(), namespace.to_owned(), name.to_owned()))
    };
    words.iter().map(subject).collect()
}

/// Fills gatherers until nothing changes (admin gathers edit, which gathers view).
fn aggregate(roles: &mut [Role]) {
    loop {
        let mut changed = false;
        for at in 0..roles.len() {
            let Some(wanted) = roles[at].aggregates.clone() else {
                continue;
            };
            let gathered = roles
                .iter()
                .filter(|role| role.label.as_ref() == Some(&wanted))
                .flat_map(|role| role.rules.clone());
            let mut union: Vec<Rule> = Vec::new();
            for rule in gathered {
                if !union.contains(&rule) {
                    union.push(rule);
                }
            }
            if union != roles[at].rules {
                roles[at].rules = union;
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

fn metadata(namespace: &str, name: &str) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("name".into(), name.into());
    if !namespace.is_empty() {
        metadata.insert("namespace".into(), namespace.into());
    }
    metadata.insert(
        "labels".into(),
        json!({"kubernetes.io/bootstrapping": "rbac-defaults"}),
    );
    metadata.insert("annotations".into(), json!({(AUTOUPDATE): "true"}));
    metadata
}

impl Role {
    /// The object.
    pub fn object(&self) -> Value {
        let kind = if self.namespace.is_empty() {
            "ClusterRole"
        } else {
            "Role"
        };
        let mut metadata = metadata(&self.namespace, &self.name);
        if let Some(label) = &self.label {
            metadata["labels"][format!("{LABEL_PREFIX}{label}")] = "true".into();
        }
        let mut role = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata, "rules": self.rules});
        if let Some(label) = &self.aggregates {
            let selector = json!({"matchLabels": {format!("{LABEL_PREFIX}{label}"): "true"}});
            role["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
        }
        role
    }
}

impl Binding {
    /// The object.
    pub fn object(&self) -> Value {
        let cluster = self.namespace.is_empty();
        let (kind, role) = if cluster {
            ("ClusterRoleBinding", "ClusterRole")
        } else {
            ("RoleBinding", "Role")
        };
        let subjects: Vec<Value> = self
            .subjects
            .iter()
            .map(|(kind, namespace, name)| match kind.as_str() {
                "ServiceAccount" => json!({"kind": kind, "namespace": namespace, "name": name}),
                _ => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
            })
            .collect();
        let mut binding = json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": kind,
            "metadata": metadata(&self.namespace, &self.name),
            "roleRef": {"apiGroup": GROUP, "kind": role, "name": self.role},
        });
        if !subjects.is_empty() {
            binding["subjects"] = subjects.into();
        }
        binding
    }
}
