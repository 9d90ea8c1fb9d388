//! `POST serviceaccounts/<name>/token`: the TokenRequest subresource.

use knarr_meta::{
    GroupKind, GroupResource,
    field::{self, ErrorList, Path, quote},
    names, object,
    status::Status,
    time, types,
};
use serde_json::{Value, json};

use super::{
    Tokens,
    claims::{Claims, Kubernetes, Reference},
};
use crate::accounts::service_account_user;

/// Life of a token whose request does not say.
const DEFAULT_EXPIRATION_SECONDS: i64 = 3600;
const MIN_EXPIRATION_SECONDS: i64 = 600;
const MAX_EXPIRATION_SECONDS: i64 = 1 << 32;
/// The life that projected volumes ask for by default. Such a token really lives for a year, and is only reported as stale
/// after this, because clients exist that read their token once.
const WARN_ONLY_EXPIRATION_SECONDS: i64 = 3607;
const EXTENDED_EXPIRATION_SECONDS: i64 = 365 * 24 * 3600;

/// What the token will be bound to.
#[derive(Default)]
struct Binding {
    pod: Option<Reference>,
    node: Option<Reference>,
    secret: Option<Reference>,
}

/// Whose token it is.
struct Account<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
}

fn kind() -> GroupKind {
    GroupKind::new("authentication.k8s.io", "TokenRequest")
}

impl Tokens {
    /// Completes a TokenRequest for the account: defaults, checks, and a status with the token. Authorization and admission
    /// have passed.
    pub fn request(&self, namespace: &str, name: &str, mut body: Value) -> Result<Value, Status> {
        check_names(&body, namespace, name)?;
        let account = self.account(namespace, name)?;
        let now = jiff::Timestamp::now();
        let created = time::format_seconds(now);
        let metadata = object::child_mut(&mut body, "metadata")
            .ok_or_else(|| Status::bad_request("metadata is not an object"))?;
        metadata.insert("name".into(), name.into());
        metadata.insert("namespace".into(), namespace.into());
        metadata.insert("creationTimestamp".into(), created.into());

        let mut audiences: Vec<String> = strings(&body, &["spec", "audiences"]);
        if audiences.is_empty() {
            audiences = self.config.audiences.clone();
        }
        let mut expiration = object::i64_at(&body, &["spec", "expirationSeconds"])
            .unwrap_or(DEFAULT_EXPIRATION_SECONDS);
        validate_expiration(expiration)?;
        let binding = self.binding(namespace, name, &body)?;
        let most = self.config.max_expiration_seconds;
        if most > 0 && expiration > most {
            tracing::debug!(
                namespace,
                account = name,
                expiration,
                most,
                "requested expiration shortened"
            );
            expiration = most;
        }
        let spec = object::child_mut(&mut body, "spec")
            .ok_or_else(|| Status::bad_request("spec is not an object"))?;
        spec.insert("audiences".into(), json!(audiences));
        spec.insert("expirationSeconds".into(), expiration.into());
        spec.entry("boundObjectRef").or_insert(Value::Null);

        let uid = object::uid(&account);
        let account = Account {
            namespace,
            name,
            uid,
        };
        let claims = self.claims(&account, audiences, expiration, binding, now);
        let token = self
            .key
            .sign(&claims)
            .map_err(|error| Status::internal(format!("failed to generate token: {error}")))?;
        let expires = now
            .saturating_add(jiff::SignedDuration::from_secs(expiration))
            .unwrap_or(now);
        body["status"] =
            json!({"token": token, "expirationTimestamp": time::format_seconds(expires)});
        Ok(body)
    }

    fn claims(
        &self,
        account: &Account<'_>,
        audiences: Vec<String>,
        expiration: i64,
        binding: Binding,
        now: jiff::Timestamp,
    ) -> Claims {
        let ours = audiences
            .iter()
            .all(|audience| self.config.audiences.contains(audience));
        let extend = binding.pod.is_some() && expiration == WARN_ONLY_EXPIRATION_SECONDS && ours;
        let iat = now.as_second();
        Claims {
            aud: audiences,
            exp: iat.saturating_add(match extend {
                true => EXTENDED_EXPIRATION_SECONDS,
                false => expiration,
            }),
            iat,
            iss: self.config.issuer.clone(),
            jti: names::new_uid(),
            kubernetes: Kubernetes {
                namespace: account.namespace.to_owned(),
                node: binding.node,
                pod: binding.pod,
                secret: binding.secret,
                serviceaccount: Reference {
                    name: account.name.to_owned(),
                    uid: account.uid.to_owned(),
                },
                warnafter: extend.then_some(iat.saturating_add(expiration)),
            },
            nbf: iat,
            sub: service_account_user(account.namespace, account.name),
        }
    }

    fn account(&self, namespace: &str, name: &str) -> Result<Value, Status> {
        self.read("serviceaccounts", namespace, name)
    }

    fn read(&self, resource: &'static str, namespace: &str, name: &str) -> Result<Value, Status> {
        let object = self.objects.get("", resource, namespace, name);
        let object =
            object.ok_or_else(|| Status::not_found(GroupResource::new("", resource), name))?;
        serde_json::from_slice(&object.json)
            .map_err(|error| Status::internal(format!("stored {resource} {name}: {error}")))
    }

    fn binding(&self, namespace: &str, account: &str, body: &Value) -> Result<Binding, Status> {
        let at = |field| object::str_at(body, &["spec", "boundObjectRef", field]);
        if object::at(body, &["spec", "boundObjectRef"]).is_none_or(Value::is_null) {
            return Ok(Binding::default());
        }
        let (group, version) = types::split_api_version(at("apiVersion"));
        let mut binding = Binding::default();
        let bound = match (group, at("kind")) {
            ("", "Pod") => {
                let pod = self.read("pods", namespace, at("name"))?;
                if object::str_at(&pod, &["spec", "serviceAccountName"]) != account {
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
                        quote(account)
                    )));
                }
                binding.node = self.node_of(&pod);
                binding.pod.insert(reference(&pod))
            }
            ("", "Node") => binding
                .node
                .insert(reference(&self.read("nodes", "", at("name"))?)),
            ("", "Secret") => {
                binding
                    .secret
                    .insert(reference(&self.read("secrets", namespace, at("name"))?))
            }
            (group, kind) => {
                return Err(Status::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )));
            }
        };
        if !at("uid").is_empty() && at("uid") != bound.uid {
            let why = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                at("uid")
            );
            return Err(Status::conflict(
                GroupResource::new(group.to_owned(), at("kind").to_owned()),
                at("name"),
                why,
            ));
        }
        Ok(binding)
    }

    /// The node a pod is bound to, with its uid where the Node exists.
    fn node_of(&self, pod: &Value) -> Option<Reference> {
        let name = object::str_at(pod, &["spec", "nodeName"]);
        if name.is_empty() {
            return None;
        }
        let node = self.read("nodes", "", name).ok();
        Some(node.as_ref().map(reference).unwrap_or_else(|| Reference {
            name: name.to_owned(),
            uid: String::new(),
        }))
    }
}

/// The strings of a list.
pub(super) fn strings(body: &Value, path: &[&str]) -> Vec<String> {
    object::list_at(body, path)
        .iter()
        .filter_map(Value::as_str)
        .map(String::from)
        .collect()
}

fn reference(of: &Value) -> Reference {
    Reference {
        name: object::name(of).to_owned(),
        uid: object::uid(of).to_owned(),
    }
}

fn check_names(body: &Value, namespace: &str, name: &str) -> Result<(), Status> {
    for (given, wanted, field) in [
        (object::name(body), name, "name"),
        (object::namespace(body), namespace, "namespace"),
    ] {
        if !given.is_empty() && given != wanted {
            let path = Path::new("metadata").child(field);
            let detail = format!("must match the service account {field} if specified");
            return Err(Status::invalid(
                kind(),
                name,
                vec![field::Error::invalid(&path, given, detail)],
            ));
        }
    }
    Ok(())
}

fn validate_expiration(seconds: i64) -> Result<(), Status> {
    let detail = match seconds {
        ..MIN_EXPIRATION_SECONDS => "may not specify a duration less than 10 minutes",
        _ if seconds > MAX_EXPIRATION_SECONDS => {
            "may not specify a duration larger than 2^32 seconds"
        }
        _ => return Ok(()),
    };
    let errors: ErrorList = vec![field::Error::invalid(
        &Path::new("spec").child("expirationSeconds"),
        seconds,
        detail,
    )];
    Err(Status::invalid(kind(), "", errors))
}
