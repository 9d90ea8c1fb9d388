//! Nobody reads through a policy what they may not read themselves: who writes a policy or a binding must be allowed to read its
//! parameters.
//!
//! Upstream does this in the strategies of these kinds (`pkg/registry/admissionregistration/*/authz.go`); here it is a validating
//! plugin, which sees the same object. Members of `system:masters` pass, and writes that change no parameters.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_auth::{
    UserInfo,
    authz::is_master,
    objects::Objects,
    request::{Authorizer, Decision, RequestInfo},
};
use knarr_meta::{
    GroupKind, Gvk,
    field::{Error, Path},
    object::{self, at, str_at, struct_at},
    status::Status,
    types::split_api_version,
};
use serde_json::Value;

use crate::{
    read,
    request::{AdmissionPlugin, AdmissionRequest, Operation, Phase},
};

const GROUP: &str = "admissionregistration.k8s.io";

/// The plugin.
pub struct PolicyParams {
    objects: Arc<dyn Objects>,
    authorizer: Arc<dyn Authorizer>,
}

/// Resources that parameters may be: `*` where it is not known.
struct Params {
    group: String,
    version: String,
    resource: String,
    /// Why it is not known, for messages.
    unknown: Option<String>,
}

impl PolicyParams {
    pub fn new(objects: Arc<dyn Objects>, authorizer: Arc<dyn Authorizer>) -> Self {
        PolicyParams {
            objects,
            authorizer,
        }
    }

    fn may(
        &self,
        user: &UserInfo,
        verb: &str,
        params: &Params,
        namespace: &str,
        name: &str,
    ) -> bool {
        let asked = RequestInfo {
            is_resource: true,
            verb,
            group: &params.group,
            version: &params.version,
            namespace,
            resource: &params.resource,
            name,
            ..RequestInfo::default()
        };
        matches!(
            self.authorizer.authorize(user, &asked),
            Decision::Allow { .. }
        )
    }

    /// Why the writer of a policy may not write it.
    fn policy(&self, request: &AdmissionRequest<'_>, policy: &Value) -> Option<String> {
        let kind = struct_at(policy, &["spec", "paramKind"])?;
        let params = resolve(request, kind);
        if self.may(request.user, "get", &params, "*", "*") {
            return None;
        }
        let (user, name) = (shown(request.user), str_at(kind, &["kind"]));
        let version = str_at(kind, &["apiVersion"]);
        Some(format!(
            "user {user} must have \"get\" permission on all objects of the referenced paramKind (kind={name}, apiVersion={version})"
        ))
    }

    /// Why the writer of a binding may not write it.
    fn binding(&self, request: &AdmissionRequest<'_>, binding: &Value) -> Option<String> {
        let reference = struct_at(binding, &["spec", "paramRef"])?;
        let policies = match &*request.kind.resource {
            "validatingadmissionpolicybindings" => "validatingadmissionpolicies",
            _ => "mutatingadmissionpolicies",
        };
        let name = str_at(binding, &["spec", "policyName"]);
        let params = match read(&*self.objects, GROUP, policies, "", name) {
            None => Params::any(Some(format!("get policy {name}"))),
            Some(policy) => match struct_at(&policy, &["spec", "paramKind"]) {
                Some(kind) => resolve(request, kind),
                None => Params::any(None),
            },
        };
        let object = str_at(reference, &["name"]);
        let verb = if object.is_empty() { "list" } else { "get" };
        let namespace = str_at(reference, &["namespace"]);
        if self.may(request.user, verb, &params, namespace, object) {
            return None;
        }
        let user = shown(request.user);
        Some(match &params.unknown {
            Some(what) => format!(
                "unable to {what} to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all groups, versions and resources"
            ),
            None => format!(
                "user {user} does not have \"{verb}\" permission on the object referenced by paramRef"
            ),
        })
    }
}

impl Params {
    fn any(unknown: Option<String>) -> Params {
        let all = || "*".to_owned();
        Params {
            group: all(),
            version: all(),
            resource: all(),
            unknown,
        }
    }
}

fn resolve(request: &AdmissionRequest<'_>, kind: &Value) -> Params {
    let (api_version, name) = (str_at(kind, &["apiVersion"]), str_at(kind, &["kind"]));
    let (group, version) = split_api_version(api_version);
    let gvk = Gvk::new(group.to_owned(), version.to_owned(), name.to_owned());
    let found = request.kinds.find_kind(&gvk);
    Params {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: found.map_or_else(|| "*".to_owned(), |kind| kind.resource.to_string()),
        unknown: match found {
            Some(_) => None,
            None => Some(format!(
                "resolve paramKind &ParamKind{{APIVersion:{api_version},Kind:{name},}}"
            )),
        },
    }
}

/// A user as Go prints one.
fn shown(user: &UserInfo) -> String {
    format!(
        "&{{{} {} [{}] map[]}}",
        user.name,
        user.uid,
        user.groups.join(" ")
    )
}

#[async_trait]
impl AdmissionPlugin for PolicyParams {
    fn name(&self) -> &'static str {
        "PolicyParams"
    }

    fn runs_in(&self, phase: Phase) -> bool {
        phase == Phase::Validate
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        request.kind.group == GROUP
            && request.subresource.is_empty()
            && matches!(request.operation, Operation::Create | Operation::Update)
            && !is_master(request.user)
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(object) = request.object.as_deref() else {
            return Ok(());
        };
        let same = |path: &[&str]| {
            let old = request.old.and_then(|old| at(old, path));
            old.is_some() && old == at(object, path)
        };
        let (field, refused) = match &*request.kind.resource {
            "validatingadmissionpolicies" | "mutatingadmissionpolicies" => {
                match same(&["spec", "paramKind"]) {
                    true => return Ok(()),
                    false => ("paramKind", self.policy(request, object)),
                }
            }
            "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings" => {
                match same(&["spec", "paramRef"]) && same(&["spec", "policyName"]) {
                    true => return Ok(()),
                    false => ("paramRef", self.binding(request, object)),
                }
            }
            _ => return Ok(()),
        };
        match refused {
            None => Ok(()),
            Some(why) => Err(Status::invalid(
                GroupKind::new(GROUP, request.kind.kind.clone()),
                object::name(object),
                vec![Error::forbidden(&Path::new("spec").child(field), why)],
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_api::built_in;
    use knarr_auth::testing::{Fake, user};
    use serde_json::json;

    use super::*;
    use crate::testing::Write;

    /// Bob may read config maps, and nothing else.
    struct Maps;

    impl Authorizer for Maps {
        fn authorize(&self, _: &UserInfo, request: &RequestInfo<'_>) -> Decision {
            let reason = String::new();
            match request.resource == "configmaps" {
                true => Decision::Allow { reason },
                false => Decision::NoOpinion { reason },
            }
        }
    }

    async fn write(resource: &str, spec: Value, groups: &[&str]) -> String {
        let fake = Fake::new();
        for kind in ["ConfigMap", "Secret"] {
            let policy = json!({"metadata": {"name": kind.to_lowercase()}, "spec": {"paramKind": {"apiVersion": "v1", "kind": kind}}});
            fake.put(GROUP, "validatingadmissionpolicies", policy);
        }
        let plugin = PolicyParams::new(fake, Arc::new(Maps));
        let kind = built_in(GROUP, "v1", resource).expect("a kind");
        let object = json!({"metadata": {"name": "x"}, "spec": spec});
        match Write::create(kind, user("bob", groups), object)
            .run(&plugin)
            .await
        {
            Ok(_) => String::new(),
            Err(status) => format!("{} {}", status.code, status.message),
        }
    }

    #[tokio::test]
    async fn who_may_not_read_parameters_cannot_name_them() {
        let policies = "validatingadmissionpolicies";
        let bindings = "validatingadmissionpolicybindings";
        let secret = json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"}});
        let bound =
            |policy: &str, reference: Value| json!({"policyName": policy, "paramRef": reference});
        assert_eq!(write(policies, json!({}), &[]).await, "");
        assert_eq!(
            write(
                policies,
                json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}),
                &[]
            )
            .await,
            ""
        );
        assert_eq!(
            write(policies, secret.clone(), &[]).await,
            "422 ValidatingAdmissionPolicy.admissionregistration.k8s.io \"x\" is invalid: spec.paramKind: Forbidden: user &{bob  [] map[]} must have \"get\" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)"
        );
        assert_eq!(write(policies, secret, &["system:masters"]).await, "");
        assert_eq!(
            write(bindings, bound("configmap", json!({"name": "a"})), &[]).await,
            ""
        );
        assert_eq!(
            write(bindings, bound("secret", json!({"selector": {}})), &[]).await,
            "422 ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io \"x\" is invalid: spec.paramRef: Forbidden: user &{bob  [] map[]} does not have \"list\" permission on the object referenced by paramRef"
        );
        assert_eq!(
            write(bindings, bound("none", json!({"name": "a"})), &[]).await,
            "422 ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io \"x\" is invalid: spec.paramRef: Forbidden: unable to get policy none to determine minimum required permissions and user &{bob  [] map[]} does not have \"get\" permission for all groups, versions and resources"
        );
    }
}
