//! What a write through a part of an object resets, so that nobody comes to own it: the `GetResetFields` of upstream's
//! strategies.

use std::sync::LazyLock;

use knarr_api::{Kind, kind::Part};
use knarr_apply::{Filter, Step};

macro_rules! filters {
    ($($name:ident = $filter:expr;)*) => {
        $(static $name: LazyLock<Filter> = LazyLock::new(|| $filter);)*
    };
}

filters! {
    STATUS = Filter::without(&[&["status"]]);
    SPEC = Filter::without(&[&["spec"]]);
    SPEC_AND_METADATA = Filter::without(&[&["spec"], &["metadata"]]);
    SPEC_AND_STATUS = Filter::without(&[&["spec"], &["status"]]);
    SPEC_AND_LABELS = Filter::without(&[&["spec"], &["metadata", "labels"]]);
    POD_STATUS = Filter::without(&[
        &["spec"],
        &["metadata", "deletionTimestamp"],
        &["metadata", "ownerReferences"],
    ]);
    SIGNING_STATUS = Filter::without(&[&["spec"], &["status", "conditions"]]);
    SIGNING_APPROVAL = Filter::without(&[&["spec"], &["status", "certificate"]]);
    EPHEMERAL_CONTAINERS = Filter::only(&[&[Step::Field("spec"), Step::Field("ephemeralContainers")]]);
    RESIZE = Filter::only(&[
        &containers("containers", "resources"),
        &containers("containers", "resizePolicy"),
        &containers("initContainers", "resources"),
        &containers("initContainers", "resizePolicy"),
    ]);
}

fn containers(list: &'static str, field: &'static str) -> [Step; 4] {
    [
        Step::Field("spec"),
        Step::Field(list),
        Step::Any,
        Step::Field(field),
    ]
}

/// Resources whose `/status` leaves the metadata alone.
const STATUS_KEEPS_METADATA: &[(&str, &str)] = &[
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
    ),
    ("apiregistration.k8s.io", "apiservices"),
    ("certificates.k8s.io", "podcertificaterequests"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    (
        "flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations",
    ),
    ("internal.apiserver.k8s.io", "storageversions"),
    ("networking.k8s.io", "servicecidrs"),
    ("resource.k8s.io", "devicetaintrules"),
    ("resource.k8s.io", "resourceclaims"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
    ("storagemigration.k8s.io", "storageversionmigrations"),
];

/// The paths that count in a write through this part; `None`: all of them.
pub fn filter(kind: &Kind, part: Part) -> Option<&'static Filter> {
    let resource = (&*kind.group, &*kind.resource);
    Some(match (resource, part) {
        (("certificates.k8s.io", "certificatesigningrequests"), part) => match part {
            Part::Main => &SPEC_AND_STATUS,
            Part::Status => &SIGNING_STATUS,
            Part::Subresource(_) => &SIGNING_APPROVAL,
        },
        (_, Part::Main) => {
            kind.subresource("status")?;
            &STATUS
        }
        (("", "pods"), Part::Status) => &POD_STATUS,
        (("apps", "deployments"), Part::Status) => &SPEC_AND_LABELS,
        (resource, Part::Status) if STATUS_KEEPS_METADATA.contains(&resource) => &SPEC_AND_METADATA,
        (_, Part::Status) if !kind.is_built_in() => &SPEC_AND_METADATA,
        (_, Part::Status) => &SPEC,
        (("", "namespaces"), Part::Subresource("finalize")) => &STATUS,
        (("", "pods"), Part::Subresource("ephemeralcontainers")) => &EPHEMERAL_CONTAINERS,
        (("", "pods"), Part::Subresource("resize")) => &RESIZE,
        _ => return None,
    })
}
