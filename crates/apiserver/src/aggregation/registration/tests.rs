use knarr_api::apiregistration::api_service::{Availability, set_availability};

use super::*;

fn custom(version: &str) -> Wanted {
    Wanted {
        group: "example.com".to_owned(),
        version: version.to_owned(),
        priority: priorities::CUSTOM,
        label: (MANAGED, ALWAYS),
    }
}

fn built_in() -> Wanted {
    Wanted {
        group: "batch".to_owned(),
        version: "v1".to_owned(),
        priority: priorities::of("batch", "v1"),
        label: (MANAGED, ON_START),
    }
}

fn set(all: &[Wanted]) -> BTreeMap<String, Wanted> {
    let named = |one: &Wanted| (name_of(&one.group, &one.version), one.clone());
    all.iter().map(named).collect()
}

/// As it is stored.
fn stored(wanted: &Wanted) -> Value {
    let mut object = wanted.object();
    set_availability(&mut object, &Availability::local());
    object
}

fn steps(all: &[Wanted], existing: &[Value], starting: bool) -> Vec<String> {
    let told = |step| match step {
        Step::Create(object) => format!("create {}", object::name(&object)),
        Step::SetSpec(name, _) => format!("set {name}"),
        Step::Delete(name) => format!("delete {name}"),
        Step::MakeLocal(name) => format!("local {name}"),
    };
    plan(&set(all), existing, starting)
        .into_iter()
        .map(told)
        .collect()
}

#[test]
fn own_group_versions_have_theirs() {
    let all = wanted(&Kinds::built_in());
    let core = all.get("v1.").expect("the core group").object();
    let spec = json!({"version": "v1", "groupPriorityMinimum": 18_000, "versionPriority": 1});
    assert_eq!(core["spec"], spec);
    assert_eq!(label(&core, MANAGED), Some(ON_START));
    assert!(all.contains_key("v1.events.k8s.io"), "aliases too");
    assert!(!all.contains_key("v1.apiregistration.k8s.io"));
    assert!(all.values().all(|wanted| wanted.is_in(&wanted.object())));
}

#[test]
fn those_of_custom_resources_come_and_go() {
    let none = Vec::<String>::new();
    assert_eq!(
        steps(&[custom("v1")], &[], false),
        ["create v1.example.com"]
    );
    assert_eq!(
        steps(&[custom("v1")], &[stored(&custom("v1"))], false),
        none
    );
    assert_eq!(
        steps(&[custom("v2")], &[stored(&custom("v1"))], false),
        ["create v2.example.com", "delete v1.example.com"]
    );
    let mut changed = stored(&custom("v1"));
    changed["spec"]["service"] = json!({"namespace": "n", "name": "s"});
    assert_eq!(
        steps(&[custom("v1")], &[changed.clone()], false),
        ["set v1.example.com"]
    );
    changed["metadata"]["labels"] = json!({});
    assert_eq!(
        steps(&[custom("v1")], &[changed.clone()], false),
        none,
        "its writer's"
    );
    assert_eq!(steps(&[], &[changed], true), none);
}

#[test]
fn own_ones_are_looked_after_at_the_start_only() {
    let none = Vec::<String>::new();
    let mut changed = stored(&built_in());
    changed["spec"]["versionPriority"] = json!(1);
    for (existing, starting, wanted) in [
        (vec![], true, vec!["create v1.batch"]),
        (vec![], false, vec![]),
        (vec![changed.clone()], true, vec!["set v1.batch"]),
        (vec![changed.clone()], false, vec![]),
    ] {
        assert_eq!(steps(&[built_in()], &existing, starting), wanted);
    }
    assert_eq!(
        steps(&[], &[stored(&built_in())], true),
        ["delete v1.batch"]
    );
    assert_eq!(steps(&[], &[stored(&built_in())], false), none);
}

#[test]
fn what_is_served_here_is_said_to_be_available() {
    let mut object = stored(&built_in());
    object["status"]["conditions"][0]["status"] = json!("False");
    assert_eq!(
        steps(&[built_in()], &[object.clone()], false),
        ["local v1.batch"]
    );
    object["metadata"]["labels"] = json!({});
    object["status"] = json!({});
    assert_eq!(steps(&[built_in()], &[object], false), ["local v1.batch"]);
}

#[test]
fn what_other_parts_serve_is_made_once_and_is_anybodys() {
    let priority = priorities::CUSTOM;
    let ours = Wanted::local("metrics.k8s.io", "v1beta1", priority);
    let told = |all: &[Wanted], existing: &[Value]| {
        let steps = plan_local(all, existing).into_iter();
        let told = steps.map(|step| match step {
            Step::Create(object) => format!("create {}", object::name(&object)),
            Step::Delete(name) => format!("delete {name}"),
            other => format!("{other:?}"),
        });
        told.collect::<Vec<_>>()
    };
    let all = [ours.clone()];
    assert_eq!(told(&all, &[]), ["create v1beta1.metrics.k8s.io"]);
    let there = stored(&ours);
    assert!(told(&all, std::slice::from_ref(&there)).is_empty());
    // Served no more.
    assert_eq!(
        told(&[], std::slice::from_ref(&there)),
        ["delete v1beta1.metrics.k8s.io"]
    );
    // Somebody's server has taken it, and the label has stayed.
    let mut taken = there.clone();
    taken["spec"]["service"] = json!({"name": "metrics-server", "namespace": "kube-system"});
    assert!(told(&all, std::slice::from_ref(&taken)).is_empty());
    assert!(told(&[], &[taken]).is_empty());
    // That of a server that was never here.
    let mut other = there;
    other["metadata"]["labels"] = json!({});
    assert!(told(&[], &[other]).is_empty());
    assert!(
        steps(&[], &[stored(&ours)], true).is_empty(),
        "not the other plan's"
    );
}
