//! What upstream checks of a configuration, and what is refused because nothing here honours it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
use knarr_meta::{
    field::{Error, ErrorList, Path},
    labels::{Operator, Requirement},
    names,
};

use serde_json::Value;

use super::{
    args::{
        Args, DefaultPreemptionArgs, DynamicResourcesArgs, GoDuration, InterPodAffinityArgs,
        LEAST_ALLOCATED, LIST, MOST_ALLOCATED, NodeAffinityArgs,
        NodeResourcesBalancedAllocationArgs, NodeResourcesFitArgs, PodTopologySpreadArgs,
        REQUESTED_TO_CAPACITY_RATIO, ResourceSpec, SYSTEM, ShapePoint, VolumeBindingArgs,
    },
    file::{ClientConnection, KubeSchedulerConfiguration, LeaderElection},
};

const SECOND_NANOS: i64 = 1_000_000_000;

/// Everything besides profiles and extenders.
pub fn settings(file: &KubeSchedulerConfiguration, errors: &mut ErrorList) {
    leader_election(&file.leader_election, &Path::new("leaderElection"), errors);
    client_connection(
        &file.client_connection,
        &Path::new("clientConnection"),
        errors,
    );
    for (field, value) in [
        ("enableProfiling", file.enable_profiling),
        (
            "enableContentionProfiling",
            file.enable_contention_profiling,
        ),
    ] {
        if value == Some(true) {
            let detail = "there are no profiles of this scheduler's process";
            errors.push(Error::forbidden(&Path::new(field), detail));
        }
    }
    if let Some(value) = file.parallelism.filter(|value| *value <= 0) {
        let detail = "should be an integer value greater than zero";
        errors.push(Error::invalid(&Path::new("parallelism"), value, detail));
    }
    percentage(
        &Path::new("percentageOfNodesToScore"),
        file.percentage_of_nodes_to_score,
        errors,
    );
    let initial = file.pod_initial_backoff_seconds.unwrap_or(1);
    let max = file.pod_max_backoff_seconds.unwrap_or(10);
    if initial <= 0 {
        let path = Path::new("podInitialBackoffSeconds");
        errors.push(Error::invalid(&path, initial, "must be greater than 0"));
    }
    if max < initial {
        let path = Path::new("podMaxBackoffSeconds");
        let detail = "must be greater than or equal to PodInitialBackoffSeconds";
        errors.push(Error::invalid(&path, max, detail));
    }
}

/// Who leads is decided for all of a server at once: only what is so already can be said.
fn leader_election(election: &LeaderElection, path: &Path, errors: &mut ErrorList) {
    if election.leader_elect == Some(false) {
        let detail = "servers that share a datastore elect who schedules";
        errors.push(Error::forbidden(&path.child("leaderElect"), detail));
    }
    for (field, value, is) in [
        ("leaseDuration", &election.lease_duration, "15s"),
        ("renewDeadline", &election.renew_deadline, "10s"),
        ("retryPeriod", &election.retry_period, "2s"),
        ("resourceLock", &election.resource_lock, "leases"),
        ("resourceName", &election.resource_name, "kube-scheduler"),
        (
            "resourceNamespace",
            &election.resource_namespace,
            "kube-system",
        ),
    ] {
        if let Some(value) = value.as_deref().filter(|value| *value != is) {
            errors.push(Error::not_supported(&path.child(field), value, &[is]));
        }
    }
}

fn client_connection(client: &ClientConnection, path: &Path, errors: &mut ErrorList) {
    let mut forbid = |field: &'static str, is_set: bool, detail: &str| {
        if is_set {
            errors.push(Error::forbidden(&path.child(field), detail));
        }
    };
    let own = "the scheduler is given its connection by the process that it is part of";
    forbid("kubeconfig", !client.kubeconfig.is_empty(), own);
    forbid(
        "acceptContentTypes",
        !client.accept_content_types.is_empty(),
        own,
    );
    forbid("contentType", !client.content_type.is_empty(), own);
    let unlimited = "requests of the scheduler are not limited by rate";
    forbid("qps", client.qps != 0.0, unlimited);
    forbid("burst", client.burst != 0, unlimited);
}

pub fn percentage(path: &Path, value: Option<i32>, errors: &mut ErrorList) {
    if let Some(value) = value.filter(|value| !(0..=100).contains(value)) {
        errors.push(Error::invalid(path, value, "not in valid range [0-100]"));
    }
}

/// The arguments of one plugin.
pub fn args(plugin: &str, args: &Args, path: &Path, errors: &mut ErrorList) {
    match plugin {
        "DefaultPreemption" => preemption(&args.preemption, path, errors),
        "DynamicResources" => devices(&args.devices, path, errors),
        "InterPodAffinity" => affinity(&args.affinity, path, errors),
        "NodeAffinity" => nodes(&args.nodes, path, errors),
        "NodeResourcesBalancedAllocation" => balanced(&args.balanced, path, errors),
        "NodeResourcesFit" => fit(&args.fit, path, errors),
        "PodTopologySpread" => spread(&args.spread, path, errors),
        "VolumeBinding" => volumes(&args.volumes, path, errors),
        _ => {}
    }
}

fn preemption(args: &DefaultPreemptionArgs, path: &Path, errors: &mut ErrorList) {
    let (percentage, absolute) = (
        args.min_candidate_nodes_percentage,
        args.min_candidate_nodes_absolute,
    );
    let percentage_path = path.child("minCandidateNodesPercentage");
    let absolute_path = path.child("minCandidateNodesAbsolute");
    if !(0..=100).contains(&percentage) {
        let detail = "not in valid range [0, 100]";
        errors.push(Error::invalid(&percentage_path, percentage, detail));
    }
    if absolute < 0 {
        let detail = "not in valid range [0, inf)";
        errors.push(Error::invalid(&absolute_path, absolute, detail));
    }
    if percentage == 0 && absolute == 0 {
        let detail = "cannot be zero at the same time as minCandidateNodesAbsolute";
        errors.push(Error::invalid(&percentage_path, percentage, detail));
        let detail = "cannot be zero at the same time as minCandidateNodesPercentage";
        errors.push(Error::invalid(&absolute_path, absolute, detail));
    }
}

fn devices(args: &DynamicResourcesArgs, path: &Path, errors: &mut ErrorList) {
    let mut check = |field: &'static str, timeout: &Option<GoDuration>, least: i64, why: &str| {
        if let Some(timeout) = timeout.as_ref().filter(|timeout| timeout.nanos < least) {
            errors.push(Error::invalid(
                &path.child(field),
                timeout.text.as_str(),
                why,
            ));
        }
    };
    check(
        "filterTimeout",
        &args.filter_timeout,
        0,
        "must be zero or positive",
    );
    let why = "must be at least 1 second";
    check("bindingTimeout", &args.binding_timeout, SECOND_NANOS, why);
}

fn affinity(args: &InterPodAffinityArgs, path: &Path, errors: &mut ErrorList) {
    let weight = args.hard_pod_affinity_weight;
    if !(0..=100).contains(&weight) {
        let path = path.child("hardPodAffinityWeight");
        errors.push(Error::invalid(&path, weight, "not in valid range [0, 100]"));
    }
}

fn nodes(args: &NodeAffinityArgs, path: &Path, errors: &mut ErrorList) {
    let Some(added) = &args.added_affinity else {
        return;
    };
    let path = path.child("addedAffinity");
    if let Some(required) = &added.required_during_scheduling_ignored_during_execution {
        let path = path.child("requiredDuringSchedulingIgnoredDuringExecution");
        let path = path.child("nodeSelectorTerms");
        for (index, term) in required.node_selector_terms.iter().enumerate() {
            node_term(term, &path.index(index), errors);
        }
    }
    let preferred = &added.preferred_during_scheduling_ignored_during_execution;
    let path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
    for (index, preferred) in preferred.iter().flatten().enumerate() {
        node_term(&preferred.preference, &path.index(index), errors);
    }
}

fn node_term(term: &NodeSelectorTerm, path: &Path, errors: &mut ErrorList) {
    let lists = [
        ("matchExpressions", &term.match_expressions),
        ("matchFields", &term.match_fields),
    ];
    for (field, list) in lists {
        for (index, requirement) in list.iter().flatten().enumerate() {
            let path = path.child(field).index(index);
            requirement_of_node(requirement, field == "matchFields", &path, errors);
        }
    }
}

fn requirement_of_node(
    from: &NodeSelectorRequirement,
    is_field: bool,
    path: &Path,
    errors: &mut ErrorList,
) {
    let operators: &[(&str, Operator)] = match is_field {
        true => &OPERATORS[..2],
        false => &OPERATORS,
    };
    let given = from.operator.as_str();
    let known = operators.iter().find(|(name, _)| *name == given);
    let Some((_, operator)) = known else {
        let names: Vec<_> = operators.iter().map(|(name, _)| *name).collect();
        errors.push(Error::not_supported(&path.child("operator"), given, &names));
        return;
    };
    let values = from.values.clone().unwrap_or_default();
    if is_field {
        if values.len() != 1 {
            let path = path.child("values");
            errors.push(Error::invalid(&path, values, "must have one element"));
        }
        if from.key != "metadata.name" {
            let detail = "nodes are selected by no other field than metadata.name";
            errors.push(Error::invalid(
                &path.child("key"),
                from.key.as_str(),
                detail,
            ));
        }
    } else if values.is_empty() && matches!(operator, Operator::In | Operator::NotIn) {
        let detail = "for 'in', 'notin' operators, values set can't be empty";
        errors.push(Error::invalid(&path.child("values"), Value::Null, detail));
    } else if let Err(why) = Requirement::new(from.key.as_str(), *operator, values) {
        errors.push(Error::invalid_whole(path, why.to_string()));
    }
}

/// The first two are those of fields.
const OPERATORS: [(&str, Operator); 6] = [
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
    ("Gt", Operator::GreaterThan),
    ("Lt", Operator::LessThan),
];

fn resources(resources: &[ResourceSpec], path: &Path, errors: &mut ErrorList) {
    for (index, resource) in resources.iter().enumerate() {
        if !(1..=100).contains(&resource.weight) {
            let name = &resource.name;
            let detail = format!("resource weight of {name} not in valid range (0, 100]");
            let path = path.index(index).child("weight");
            errors.push(Error::invalid(&path, resource.weight, detail));
        }
    }
}

fn balanced(args: &NodeResourcesBalancedAllocationArgs, path: &Path, errors: &mut ErrorList) {
    let path = path.child("resources");
    let mut seen = BTreeSet::new();
    for (index, resource) in args.resources.iter().enumerate() {
        let path = path.index(index);
        if !seen.insert(&resource.name) {
            let name = resource.name.as_str();
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        if resource.weight != 1 {
            let path = path.child("weight");
            errors.push(Error::invalid(&path, resource.weight, "must be 1"));
        }
    }
}

fn label_name(value: &str, path: &Path, errors: &mut ErrorList) {
    for why in names::qualified_name(value) {
        errors.push(Error::invalid(path, value, why));
    }
}

fn fit(args: &NodeResourcesFitArgs, path: &Path, errors: &mut ErrorList) {
    for (index, resource) in args.ignored_resources.iter().enumerate() {
        let path = path.child("ignoredResources").index(index);
        label_name(resource, &path, errors);
    }
    for (index, group) in args.ignored_resource_groups.iter().enumerate() {
        let path = path.child("ignoredResourceGroups").index(index);
        if group.contains('/') {
            let detail = "resource group name can't contain '/'";
            errors.push(Error::invalid(&path, group.as_str(), detail));
        }
        label_name(group, &path, errors);
    }
    let Some(strategy) = &args.scoring_strategy else {
        return;
    };
    let path = path.child("scoringStrategy");
    let kinds = [LEAST_ALLOCATED, MOST_ALLOCATED, REQUESTED_TO_CAPACITY_RATIO];
    let kind = strategy.kind.as_str();
    if !kinds.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, &kinds));
    }
    resources(&strategy.resources, &path.child("resources"), errors);
    let path = path.child("requestedToCapacityRatio");
    match &strategy.requested_to_capacity_ratio {
        None if kind == REQUESTED_TO_CAPACITY_RATIO => {
            let detail = "must be specified when type is RequestedToCapacityRatio";
            errors.push(Error::required(&path, detail));
        }
        None => {}
        Some(ratio) if kind == REQUESTED_TO_CAPACITY_RATIO => {
            shape(&ratio.shape, &path.child("shape"), errors);
        }
        Some(_) => {
            let detail = "must be nil when type is not RequestedToCapacityRatio";
            errors.push(Error::forbidden(&path, detail));
        }
    }
}

fn shape(shape: &[ShapePoint], path: &Path, errors: &mut ErrorList) {
    if shape.is_empty() {
        errors.push(Error::required(
            path,
            "at least one point must be specified",
        ));
        return;
    }
    let pairs = shape.iter().zip(shape.iter().skip(1)).enumerate();
    let mut unsorted = pairs.filter(|(_, (a, b))| a.utilization >= b.utilization);
    if let Some((index, (_, point))) = unsorted.next() {
        let path = path.index(index + 1).child("utilization");
        let detail = "values must be sorted in increasing order";
        errors.push(Error::invalid(&path, point.utilization, detail));
    }
    for (index, point) in shape.iter().enumerate() {
        let path = path.index(index);
        if !(0..=100).contains(&point.utilization) {
            let path = path.child("utilization");
            let detail = "not in valid range [0, 100]";
            errors.push(Error::invalid(&path, point.utilization, detail));
        }
        if !(0..=10).contains(&point.score) {
            let detail = "not in valid range [0, 10]";
            errors.push(Error::invalid(&path.child("score"), point.score, detail));
        }
    }
}

fn spread(args: &PodTopologySpreadArgs, path: &Path, errors: &mut ErrorList) {
    let kind = args.defaulting_type.as_str();
    let kind_path = path.child("defaultingType");
    if kind != SYSTEM && kind != LIST {
        errors.push(Error::not_supported(&kind_path, kind, &[SYSTEM, LIST]));
    } else if kind == SYSTEM && !args.default_constraints.is_empty() {
        let detail = "when .defaultConstraints are not empty";
        errors.push(Error::invalid(&kind_path, kind, detail));
    }
    let list = path.child("defaultConstraints");
    for (index, constraint) in args.default_constraints.iter().enumerate() {
        let path = list.index(index);
        if constraint.max_skew <= 0 {
            let detail = "not in valid range (0, inf)";
            errors.push(Error::invalid(
                &path.child("maxSkew"),
                constraint.max_skew,
                detail,
            ));
        }
        let key = constraint.topology_key.as_str();
        match key {
            "" => errors.push(Error::required(
                &path.child("topologyKey"),
                "can not be empty",
            )),
            key => label_name(key, &path.child("topologyKey"), errors),
        }
        let when = constraint.when_unsatisfiable.as_str();
        let when_path = path.child("whenUnsatisfiable");
        match when {
            "" => errors.push(Error::required(&when_path, "can not be empty")),
            "DoNotSchedule" | "ScheduleAnyway" => {}
            other => {
                let supported = ["DoNotSchedule", "ScheduleAnyway"];
                errors.push(Error::not_supported(&when_path, other, &supported));
            }
        }
        if constraint.label_selector.is_some() {
            let detail = "constraint must not define a selector, as they deduced for each pod";
            errors.push(Error::forbidden(&path.child("labelSelector"), detail));
        }
        let mut before = args.default_constraints.iter().take(index);
        if before.any(|other| other.topology_key == key && other.when_unsatisfiable == when) {
            errors.push(Error::duplicate(&path, format!("{{{key}, {when}}}")));
        }
    }
}

fn volumes(args: &VolumeBindingArgs, path: &Path, errors: &mut ErrorList) {
    let timeout = args.bind_timeout_seconds;
    if timeout < 0 {
        let detail = "invalid BindTimeoutSeconds, should not be a negative value";
        errors.push(Error::invalid(
            &path.child("bindTimeoutSeconds"),
            timeout,
            detail,
        ));
    }
    if !args.shape.is_empty() {
        let path = path.child("shape");
        shape(&args.shape, &path, errors);
        // As the default: the storage that is left.
        errors.push(Error::forbidden(
            &path,
            "nodes are not scored by their storage",
        ));
    }
}
