//! Subresources only pods have: binding, log; [`super::eviction`] is another.

use bytes::Bytes;
use http::StatusCode;
use knarr_admission::request::Operation;
use knarr_api::kind::Part;
use knarr_meta::{
    GroupKind, GroupResource,
    field::{Error, Path},
    names, object,
    status::Status,
};
use knarr_registry::write::{Phase, Write};
use serde_json::{Value, json};

use super::{
    ask::{Ask, WriteOptions},
    decode::{self, Expected},
    modify::write_of,
};
use crate::{
    kubelet::validate_log,
    negotiate::Shapes,
    respond::{self, Answer},
};

/// The answer of subresources that have nothing to show, with upstream's code 201.
pub(super) fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

fn pod_resource() -> GroupResource {
    GroupResource::new("", "pods")
}

/// POST of a Binding, to `pods/NAME/binding` or to `bindings`: sets the node and the PodScheduled condition.
pub async fn bind(ask: &Ask<'_>, body: Bytes) -> Answer {
    let accepted = ask.accepted(Shapes::None)?;
    let options = WriteOptions::parse(ask.request, "CreateOptions")?;
    let expected = Expected {
        group: "",
        version: "v1",
        kind: "Binding",
        definition: "io.k8s.api.core.v1.Binding",
        strategy: None,
        emptied: None,
    };
    let mut binding = decode::body(ask, &body, &expected, options.validation)?;
    let snapshot = ask.core.registry.catalog.current();
    let pods = (snapshot.kinds.find("", "v1", "pods")).ok_or_else(Status::path_not_found)?;
    let given = object::name(&binding).to_owned();
    let name = match ask.request.info.name {
        "" => given.as_str(),
        name if given == name => name,
        _ => {
            return Err(Status::bad_request(
                "name in URL does not match name in Binding object",
            ));
        }
    };
    let namespace = object::namespace(&binding);
    if !namespace.is_empty() && namespace != ask.request.info.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    validate_binding(&binding, name)?;
    // It has not come in a path that would have said so.
    let wrong = names::path_segment(name, false).join(";");
    if !wrong.is_empty() {
        let why = format!("Name parameter invalid: {name:?}: {wrong}");
        return Err(Status::bad_request(why));
    }
    let write = Write {
        kind: &pods.kind,
        group: "",
        alias: None,
        options: &options,
        subresource: "binding",
        namespace: ask.request.info.namespace,
        ..write_of(ask, options.dry_run)
    };
    for phase in [Phase::Mutate, Phase::Validate] {
        ask.core
            .registry
            .admit(
                &write,
                Operation::Create,
                name,
                phase,
                Some(&mut binding),
                None,
            )
            .await?;
    }
    let mut compute = |current: &Value| bound(&binding, name, current);
    let updating = Write {
        subresource: "binding",
        ..write
    };
    ask.core
        .registry
        .update_unadmitted(&updating, name, Part::Subresource("binding"), &mut compute)
        .await?;
    Ok(respond::tree(StatusCode::CREATED, &success(), accepted))
}

/// Upstream's `ValidatePodBinding`.
fn validate_binding(binding: &Value, name: &str) -> Result<(), Status> {
    let target = object::str_at(binding, &["target", "name"]);
    let kind = object::str_at(binding, &["target", "kind"]);
    let path = Path::new("target");
    let mut errors = Vec::new();
    if !matches!(kind, "" | "Node") {
        let kinds = ["Node", "<empty>"];
        errors.push(Error::not_supported(&path.child("kind"), kind, &kinds));
    }
    if target.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else if errors.is_empty() {
        let why = names::dns1123_subdomain(target).into_iter();
        errors.extend(why.map(|why| Error::invalid(&path.child("name"), target, why)));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid(GroupKind::new("", "Binding"), name, errors)),
    }
}

/// The pod with the binding's node, as upstream's `setPodNodeAndMetadata`.
fn bound(binding: &Value, name: &str, pod: &Value) -> Result<Value, Status> {
    let refuse = |why: String| Status::conflict(GroupResource::new("", "pods/binding"), name, why);
    let (uid, version) = (object::uid(binding), object::resource_version(binding));
    for (what, wanted, found) in [
        ("UID", uid, object::uid(pod)),
        ("ResourceVersion", version, object::resource_version(pod)),
    ] {
        if !wanted.is_empty() && wanted != found {
            // Upstream's words are of a store that adds this by itself.
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: /pods/{}/{name}, ResourceVersion: 0, AdditionalErrorMsg: \
                 Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}",
                object::namespace(pod)
            );
            return Err(Status::conflict(pod_resource(), name, why));
        }
    }
    if object::deletion_timestamp(pod).is_some() {
        return Err(refuse(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        )));
    }
    let node = object::str_at(pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        return Err(refuse(format!(
            "pod {name} is already assigned to node \"{node}\""
        )));
    }
    if !object::list_at(pod, &["spec", "schedulingGates"]).is_empty() {
        return Err(refuse(format!(
            "pod {name} has non-empty .spec.schedulingGates"
        )));
    }
    let mut pod = pod.clone();
    pod["spec"]["nodeName"] = json!(object::str_at(binding, &["target", "name"]));
    if let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) {
        // The nomination is fulfilled or void.
        status.remove("nominatedNodeName");
    }
    for field in ["annotations", "labels"] {
        let given = binding["metadata"][field].as_object();
        for (key, value) in given.into_iter().flatten() {
            let all = knarr_registry::write::metadata(&mut pod)
                .entry(field)
                .or_insert_with(|| json!({}));
            all[key] = value.clone();
        }
    }
    scheduled(&mut pod);
    Ok(pod)
}

/// Sets the condition PodScheduled to True.
fn scheduled(pod: &mut Value) {
    let Some(status) = pod
        .as_object_mut()
        .map(|p| p.entry("status").or_insert_with(|| json!({})))
    else {
        return;
    };
    let condition = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": knarr_meta::time::now_seconds(),
    });
    let conditions = status
        .as_object_mut()
        .map(|s| s.entry("conditions").or_insert_with(|| json!([])));
    let Some(Value::Array(conditions)) = conditions else {
        return;
    };
    match conditions.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(there) if there["status"] == "True" => {}
        Some(there) => *there = condition,
        None => conditions.push(condition),
    }
}

/// GET of a container's log, from its node.
pub async fn log(ask: &Ask<'_>) -> Answer {
    validate_log(ask.request.query, ask.request.info.name)?;
    let place = ask.core.limits.stream(&ask.user.name)?;
    let place = place.with(ask.audit.ending());
    let cache = &ask.core.registry.cache;
    cache.fresh().await?;
    let key = format!("{}/{}", ask.request.info.namespace, ask.request.info.name);
    let pod = cache
        .of(ask.kind())?
        .get(&key)
        .ok_or_else(|| Status::not_found(pod_resource(), ask.request.info.name))?
        .tree();
    let (kubelets, query) = (&ask.core.kubelets, ask.request.query);
    kubelets.log(cache, &pod, query, place).await
}
