use std::{collections::HashSet, sync::Arc};

use expect_test::expect;
use knarr_meta::Gvk;
use serde_json::{Value, json};

use super::{Kinds, Served, built_in, built_in_kinds};
use crate::{
    Alias, Kind,
    kind::{Part, Scope},
    now::Now,
};

#[test]
fn discovery_names() {
    let lines: Vec<String> = built_in_kinds()
        .iter()
        .map(|kind| {
            let verbs: Vec<&str> = kind.verbs.iter().map(|verb| verb.as_str()).collect();
            let subresources: Vec<&str> = kind.subresources.iter().map(|s| s.name).collect();
            format!(
                "{} {} {} {:?} [{}] {} {:?} /{}",
                kind.api_version(),
                kind.resource,
                kind.kind,
                kind.short_names,
                verbs.join(","),
                kind.storage.as_deref().unwrap_or("-"),
                kind.scope,
                subresources.join("/"),
            )
        })
        .collect();
    expect![[r#"
        v1 bindings Binding [] [create] - Namespaced /
        v1 componentstatuses ComponentStatus ["cs"] [get,list] - Cluster /
        v1 configmaps ConfigMap ["cm"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/configmaps Namespaced /
        v1 endpoints Endpoints ["ep"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/services/endpoints Namespaced /
        v1 events Event ["ev"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/events Namespaced /
        v1 limitranges LimitRange ["limits"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/limitranges Namespaced /
        v1 namespaces Namespace ["ns"] [create,delete,get,list,patch,update,watch] /registry/namespaces Cluster /finalize/status
        v1 nodes Node ["no"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/minions Cluster /proxy/status
        v1 persistentvolumeclaims PersistentVolumeClaim ["pvc"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/persistentvolumeclaims Namespaced /status
        v1 persistentvolumes PersistentVolume ["pv"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/persistentvolumes Cluster /status
        v1 pods Pod ["po"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/pods Namespaced /attach/binding/ephemeralcontainers/eviction/exec/log/portforward/proxy/resize/status
        v1 podtemplates PodTemplate [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/podtemplates Namespaced /
        v1 replicationcontrollers ReplicationController ["rc"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/controllers Namespaced /scale/status
        v1 resourcequotas ResourceQuota ["quota"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/resourcequotas Namespaced /status
        v1 secrets Secret [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/secrets Namespaced /
        v1 serviceaccounts ServiceAccount ["sa"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/serviceaccounts Namespaced /token
        v1 services Service ["svc"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/services/specs Namespaced /proxy/status
        authentication.k8s.io/v1 selfsubjectreviews SelfSubjectReview [] [create] - Cluster /
        authentication.k8s.io/v1 tokenreviews TokenReview [] [create] - Cluster /
        authorization.k8s.io/v1 localsubjectaccessreviews LocalSubjectAccessReview [] [create] - Namespaced /
        authorization.k8s.io/v1 selfsubjectaccessreviews SelfSubjectAccessReview [] [create] - Cluster /
        authorization.k8s.io/v1 selfsubjectrulesreviews SelfSubjectRulesReview [] [create] - Cluster /
        authorization.k8s.io/v1 subjectaccessreviews SubjectAccessReview [] [create] - Cluster /
        apps/v1 controllerrevisions ControllerRevision [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/controllerrevisions Namespaced /
        apps/v1 daemonsets DaemonSet ["ds"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/daemonsets Namespaced /status
        apps/v1 deployments Deployment ["deploy"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/deployments Namespaced /scale/status
        apps/v1 replicasets ReplicaSet ["rs"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/replicasets Namespaced /scale/status
        apps/v1 statefulsets StatefulSet ["sts"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/statefulsets Namespaced /scale/status
        autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler ["hpa"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/horizontalpodautoscalers Namespaced /status
        batch/v1 cronjobs CronJob ["cj"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/cronjobs Namespaced /status
        batch/v1 jobs Job [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/jobs Namespaced /status
        certificates.k8s.io/v1 certificatesigningrequests CertificateSigningRequest ["csr"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/certificatesigningrequests Cluster /approval/status
        certificates.k8s.io/v1 clustertrustbundles ClusterTrustBundle [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/clustertrustbundles Cluster /
        certificates.k8s.io/v1 podcertificaterequests PodCertificateRequest [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/podcertificaterequests Namespaced /status
        coordination.k8s.io/v1 leases Lease [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/leases Namespaced /
        discovery.k8s.io/v1 endpointslices EndpointSlice [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/endpointslices Namespaced /
        flowcontrol.apiserver.k8s.io/v1 flowschemas FlowSchema [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/flowschemas Cluster /status
        flowcontrol.apiserver.k8s.io/v1 prioritylevelconfigurations PriorityLevelConfiguration [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/prioritylevelconfigurations Cluster /status
        networking.k8s.io/v1 ingressclasses IngressClass [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/ingressclasses Cluster /
        networking.k8s.io/v1 ingresses Ingress ["ing"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/ingress Namespaced /status
        networking.k8s.io/v1 ipaddresses IPAddress ["ip"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/ipaddresses Cluster /
        networking.k8s.io/v1 networkpolicies NetworkPolicy ["netpol"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/networkpolicies Namespaced /
        networking.k8s.io/v1 servicecidrs ServiceCIDR [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/servicecidrs Cluster /status
        node.k8s.io/v1 runtimeclasses RuntimeClass [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/runtimeclasses Cluster /
        policy/v1 poddisruptionbudgets PodDisruptionBudget ["pdb"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/poddisruptionbudgets Namespaced /status
        rbac.authorization.k8s.io/v1 clusterrolebindings ClusterRoleBinding [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/clusterrolebindings Cluster /
        rbac.authorization.k8s.io/v1 clusterroles ClusterRole [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/clusterroles Cluster /
        rbac.authorization.k8s.io/v1 rolebindings RoleBinding [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/rolebindings Namespaced /
        rbac.authorization.k8s.io/v1 roles Role [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/roles Namespaced /
        resource.k8s.io/v1 deviceclasses DeviceClass [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/deviceclasses Cluster /
        resource.k8s.io/v1 devicetaintrules DeviceTaintRule [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/devicetaintrules Cluster /status
        resource.k8s.io/v1 resourceclaims ResourceClaim [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/resourceclaims Namespaced /status
        resource.k8s.io/v1 resourceclaimtemplates ResourceClaimTemplate [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/resourceclaimtemplates Namespaced /
        resource.k8s.io/v1 resourceslices ResourceSlice [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/resourceslices Cluster /
        scheduling.k8s.io/v1 priorityclasses PriorityClass ["pc"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/priorityclasses Cluster /
        storage.k8s.io/v1 csidrivers CSIDriver [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/csidrivers Cluster /
        storage.k8s.io/v1 csinodes CSINode [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/csinodes Cluster /status
        storage.k8s.io/v1 csistoragecapacities CSIStorageCapacity [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/csistoragecapacities Namespaced /
        storage.k8s.io/v1 storageclasses StorageClass ["sc"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/storageclasses Cluster /
        storage.k8s.io/v1 volumeattachments VolumeAttachment [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/volumeattachments Cluster /status
        storage.k8s.io/v1 volumeattributesclasses VolumeAttributesClass ["vac"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/volumeattributesclasses Cluster /
        storagemigration.k8s.io/v1 storageversionmigrations StorageVersionMigration [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/storageversionmigrations Cluster /status
        admissionregistration.k8s.io/v1 mutatingadmissionpolicies MutatingAdmissionPolicy [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/mutatingadmissionpolicies Cluster /
        admissionregistration.k8s.io/v1 mutatingadmissionpolicybindings MutatingAdmissionPolicyBinding [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/mutatingadmissionpolicybindings Cluster /
        admissionregistration.k8s.io/v1 mutatingwebhookconfigurations MutatingWebhookConfiguration [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/mutatingwebhookconfigurations Cluster /
        admissionregistration.k8s.io/v1 validatingadmissionpolicies ValidatingAdmissionPolicy [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/validatingadmissionpolicies Cluster /status
        admissionregistration.k8s.io/v1 validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/validatingadmissionpolicybindings Cluster /
        admissionregistration.k8s.io/v1 validatingwebhookconfigurations ValidatingWebhookConfiguration [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/validatingwebhookconfigurations Cluster /
        apiextensions.k8s.io/v1 customresourcedefinitions CustomResourceDefinition ["crd", "crds"] [create,delete,deletecollection,get,list,patch,update,watch] /registry/apiextensions.k8s.io/customresourcedefinitions Cluster /status
        apiregistration.k8s.io/v1 apiservices APIService [] [create,delete,deletecollection,get,list,patch,update,watch] /registry/apiregistration.k8s.io/apiservices Cluster /status"#]].assert_eq(&lines.join("\n"));
}

#[test]
fn tables_are_whole() {
    let mut storages = HashSet::new();
    let mut names = HashSet::new();
    for kind in built_in_kinds() {
        let strategy = &kind.strategy;
        let object = json!({});
        // Rows of addresses have a cell more than there are columns, as upstream's.
        let more = usize::from(kind.kind == "IPAddress");
        assert_eq!(
            strategy.columns().len() + more,
            strategy.cells(&object, &Now::new(0)).len(),
            "{}",
            kind.kind
        );
        assert_eq!(
            strategy.selectable_fields().len(),
            strategy.field_values(&object).len(),
            "{}",
            kind.kind
        );
        assert!(
            kind.storage
                .as_ref()
                .is_none_or(|storage| storages.insert(storage))
        );
        assert!(names.insert((&kind.group, &kind.resource)));
        let scalable = kind.subresource("scale").is_some();
        assert_eq!(strategy.scale(&object).is_some(), scalable, "{}", kind.kind);
    }
}

/// Bodies are checked against the schema first, but nothing here may rely on it.
#[test]
fn no_shape_of_object_panics() {
    let leaves = [
        Value::Null,
        json!(true),
        json!(-1),
        json!("x"),
        json!([]),
        json!({}),
        json!([[{}], "a", 5, null]),
    ];
    let fields = [
        "metadata",
        "spec",
        "status",
        "data",
        "stringData",
        "binaryData",
        "subsets",
        "endpoints",
        "ports",
        "rules",
        "subjects",
        "roleRef",
        "target",
        "type",
        "value",
        "involvedObject",
        "series",
        "aggregationRule",
        "addressType",
        "jobTemplate",
    ];
    let inner = [
        "containers",
        "initContainers",
        "ephemeralContainers",
        "volumes",
        "template",
        "selector",
        "strategy",
        "ports",
        "taints",
        "podCIDRs",
        "clusterIPs",
        "conditions",
        "containerStatuses",
        "capacity",
        "finalizers",
        "tolerations",
        "affinity",
        "securityContext",
        "dnsConfig",
        "labels",
        "annotations",
        "replicas",
        "podFailurePolicy",
        "successPolicy",
        "uncountedTerminatedPods",
    ];
    for kind in built_in_kinds() {
        for leaf in &leaves {
            exercise(kind, leaf.clone());
            for field in fields {
                exercise(kind, json!({field: leaf}));
                exercise(kind, json!({field: [leaf]}));
            }
            for field in ["metadata", "spec", "status"] {
                for inner in inner {
                    let nested = json!([leaf, {"name": leaf, "env": [leaf], "ports": leaf}]);
                    exercise(kind, json!({field: {inner: leaf}}));
                    exercise(kind, json!({field: {inner: nested}}));
                }
            }
        }
    }
}

fn exercise(kind: &crate::Kind, mut object: Value) {
    let strategy = &kind.strategy;
    let old = object.clone();
    strategy.default(&mut object);
    strategy.prepare_create(&mut object);
    let mut errors = strategy.validate_create(&object).len();
    errors += strategy.warnings(&object, None, Part::Main).len();
    for part in [Part::Main, Part::Status, Part::Subresource("finalize")] {
        let mut new = object.clone();
        strategy.prepare_update(&mut new, &old, part);
        errors += strategy.validate_update(&new, &old, part).len();
        errors += strategy.warnings(&new, Some(&old), part).len();
        errors += usize::from(strategy.changes_generation(&new, &old));
    }
    let values = strategy.field_values(&object).len() + strategy.cells(&object, &Now::new(0)).len();
    assert!(errors + values > 0, "{}: {object}", kind.kind);
}

fn events() -> &'static Alias {
    let event = built_in("events.k8s.io", "v1", "events").expect("events");
    let mut aliases = Served::all(event).collect::<Vec<_>>();
    let alias = aliases.pop().and_then(|served| {
        assert!(served.alias().is_some());
        event.aliases.first()
    });
    alias.expect("an alias")
}

#[test]
fn lookups() {
    let kinds = Kinds::built_in();
    let served = |group, version, resource| kinds.find(group, version, resource);
    let event = served("", "v1", "events").expect("events");
    assert!(event.alias().is_none());
    let alias = served("events.k8s.io", "v1", "events").expect("events");
    assert_eq!(alias.group(), "events.k8s.io");
    assert!(Arc::ptr_eq(&alias.kind, &event.kind));
    assert!(served("apps", "v1beta1", "deployments").is_none());
    let find = |gvk: Gvk| kinds.find_kind(&gvk);
    let deployment = find(Gvk::new("apps", "v1", "Deployment")).expect("deployments");
    assert_eq!(deployment.resource, "deployments");
    assert_eq!(deployment.scope, Scope::Namespaced);
    assert!(find(Gvk::new("", "v1", "Deployment")).is_none());
}

#[test]
fn sets_take_a_kind_and_let_it_go() {
    let built_in = Kinds::built_in();
    let lease = built_in.find("coordination.k8s.io", "v1", "leases");
    let lease = lease.expect("leases").kind.clone();
    let like = |group: &str, storage: &str| {
        Arc::new(Kind {
            group: group.to_owned().into(),
            storage: Some(storage.to_owned().into()),
            ..(*lease).clone()
        })
    };
    let widget = like("example.com", "/registry/example.com/leases");
    let more = built_in.with(widget.clone()).expect("a kind of its own");
    let found = more.find("example.com", "v1", "leases").expect("added");
    assert!(Arc::ptr_eq(&found.kind, &widget));
    assert!(more.find("coordination.k8s.io", "v1", "leases").is_some());
    assert!(built_in.find("example.com", "v1", "leases").is_none());

    let name = more.with(like("example.com", "/registry/other"));
    assert_eq!(
        name.expect_err("a name twice").to_string(),
        "example.com/v1/leases is taken by another kind"
    );
    let place = more.with(like("example.org", "/registry/leases"));
    assert_eq!(
        place.expect_err("a place twice").to_string(),
        "/registry/leases is taken by another kind"
    );

    let fewer = more.without(&widget);
    assert!(fewer.find("example.com", "v1", "leases").is_none());
    assert_eq!(fewer.iter().count(), built_in.iter().count());
}

#[test]
fn events_of_both_groups() {
    let alias = events();
    let core = json!({
        "apiVersion": "v1", "kind": "Event", "message": "m", "involvedObject": {"kind": "Pod"},
        "reportingComponent": "c", "count": 2, "reason": "r",
    });
    let events = (alias.decode)(core.clone());
    assert_eq!(
        events,
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "m", "regarding": {"kind": "Pod"},
            "reportingController": "c", "deprecatedCount": 2, "reason": "r",
        })
    );
    assert_eq!((alias.encode)(events), core);
}
