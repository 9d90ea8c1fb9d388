use expect_test::expect;
use knarr_api::Kind;
use knarr_auth::testing::{Fake, kind, user};
use serde_json::json;

use super::*;
use crate::testing::Write;

/// A plugin of one namespace with these quotas.
fn plugin(fake: &Arc<Fake>, quotas: &[Value]) -> ResourceQuota {
    for quota in quotas {
        fake.put("", "resourcequotas", quota.clone());
    }
    let writer: Arc<dyn Writer> = fake.clone();
    ResourceQuota::new(fake.clone(), Arc::downgrade(&writer))
}

fn quota(name: &str, hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "ns"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

fn used(fake: &Fake, name: &str) -> Value {
    fake.stored("", "resourcequotas", "ns", name)["status"]["used"].clone()
}

fn create(
    group: &'static str,
    resource: &'static str,
    kind_name: &'static str,
    object: Value,
) -> Write {
    let stored = Kind {
        storage: Some(format!("/registry/{resource}").into()),
        ..(**kind(group, resource, kind_name)).clone()
    };
    Write {
        namespace: "ns",
        ..Write::create(&Arc::new(stored), user("ann", &[]), object)
    }
}

fn pod(cpu: Option<&str>) -> Write {
    let resources = cpu.map_or(json!({}), |cpu| json!({"requests": {"cpu": cpu}}));
    let pod = json!({"metadata": {"name": "p", "namespace": "ns"},
        "spec": {"containers": [{"name": "c", "resources": resources}]}});
    create("", "pods", "Pod", pod)
}

#[tokio::test]
async fn pods_are_charged_until_nothing_is_left() {
    let fake = Fake::new();
    let quotas = [
        quota(
            "a",
            json!({"pods": "2", "requests.cpu": "1"}),
            json!({"pods": "0", "requests.cpu": "0"}),
        ),
        quota(
            "b",
            json!({"count/pods": "9", "secrets": "0"}),
            json!({"count/pods": "5", "secrets": "0"}),
        ),
    ];
    let plugin = plugin(&fake, &quotas);
    pod(Some("600m")).run(&plugin).await.expect("enough");
    assert_eq!(
        used(&fake, "a"),
        json!({"pods": "1", "requests.cpu": "600m"})
    );
    assert_eq!(used(&fake, "b"), json!({"count/pods": "6", "secrets": "0"}));
    let mut told = Vec::new();
    for write in [
        pod(Some("500m")),
        pod(None),
        create(
            "",
            "secrets",
            "Secret",
            json!({"metadata": {"name": "s", "namespace": "ns"}}),
        ),
    ] {
        let status = write.run(&plugin).await.expect_err("too much");
        told.push(format!("{} {}", status.code, status.message));
    }
    expect![[r#"
        403 pods "p" is forbidden: exceeded quota: a, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1
        403 pods "p" is forbidden: failed quota: a: must specify requests.cpu for: c
        403 secrets "s" is forbidden: exceeded quota: b, requested: secrets=1, used: secrets=0, limited: secrets=0"#]].assert_eq(&told.join("\n"));
    assert_eq!(
        used(&fake, "a"),
        json!({"pods": "1", "requests.cpu": "600m"})
    );
    pod(Some("400m")).run(&plugin).await.expect("enough");
    let third = pod(Some("0")).run(&plugin).await;
    assert!(third.is_err(), "there are to be two pods");
}

#[tokio::test]
async fn quotas_that_have_nothing_to_do_with_it() {
    let fake = Fake::new();
    let mut scoped = quota("scoped", json!({"pods": "0"}), json!({"pods": "0"}));
    scoped["spec"]["scopes"] = json!(["Terminating"]);
    let mut elsewhere = quota("elsewhere", json!({"pods": "0"}), json!({"pods": "0"}));
    elsewhere["metadata"]["namespace"] = json!("other");
    let uncounted = json!({"metadata": {"name": "uncounted", "namespace": "ns"}, "spec": {"hard": {"pods": "0"}}});
    let plugin = plugin(&fake, &[scoped, elsewhere, uncounted]);
    pod(None).run(&plugin).await.expect("no quota of this pod");
    fake.put(
        "",
        "resourcequotas",
        quota(
            "half",
            json!({"pods": "1", "count/pods": "1"}),
            json!({"pods": "0"}),
        ),
    );
    let status = pod(None).run(&plugin).await.expect_err("unknown");
    assert_eq!(
        status.message,
        "pods \"p\" is forbidden: status unknown for quota: half, resources: count/pods,pods"
    );
}

#[tokio::test]
async fn updates_are_charged_by_what_they_add() {
    let fake = Fake::new();
    let hard = json!({"services": "1", "services.nodeports": "2"});
    let plugin = plugin(
        &fake,
        &[quota(
            "a",
            hard,
            json!({"services": "1", "services.nodeports": "1"}),
        )],
    );
    let service = |ports: usize| {
        json!({"metadata": {"name": "s", "namespace": "ns", "resourceVersion": "1"},
            "spec": {"type": "NodePort", "ports": vec![json!({}); ports]}})
    };
    let update = |ports| Write {
        operation: Operation::Update,
        old: Some(service(1)),
        ..create("", "services", "Service", service(ports))
    };
    update(2).run(&plugin).await.expect("one more");
    assert_eq!(
        used(&fake, "a"),
        json!({"services": "1", "services.nodeports": "2"})
    );
    update(1).run(&plugin).await.expect("none more");
    let status = update(3).run(&plugin).await.expect_err("two more");
    expect![[r#"services "s" is forbidden: exceeded quota: a, requested: services.nodeports=2, used: services.nodeports=2, limited: services.nodeports=2"#]].assert_eq(&status.message);
}

#[tokio::test]
async fn objects_of_any_kind_are_counted() {
    let fake = Fake::new();
    let hard = json!({"count/deployments.apps": "1", "count/events": "0"});
    let plugin = plugin(
        &fake,
        &[quota(
            "a",
            hard,
            json!({"count/deployments.apps": "0", "count/events": "0"}),
        )],
    );
    let deployment = || {
        let object = json!({"metadata": {"generateName": "d-", "namespace": "ns"}});
        create("apps", "deployments", "Deployment", object)
    };
    deployment().run(&plugin).await.expect("one");
    let status = deployment().run(&plugin).await.expect_err("two");
    expect![[r#"deployments.apps "d-" is forbidden: exceeded quota: a, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1"#]].assert_eq(&status.message);
    let event = json!({"metadata": {"name": "e", "namespace": "ns"}});
    create("", "events", "Event", event)
        .run(&plugin)
        .await
        .expect("never counted");
}

#[tokio::test]
async fn a_resize_is_charged_for_what_is_more() {
    let fake = Fake::new();
    let hard = json!({"pods": "2", "requests.cpu": "1"});
    let plugin = plugin(
        &fake,
        &[quota(
            "a",
            hard,
            json!({"pods": "1", "requests.cpu": "300m"}),
        )],
    );
    let resize = |cpu: &str| {
        let mut write = pod(Some(cpu));
        write.operation = Operation::Update;
        write.subresource = "resize";
        write.old = pod(Some("300m")).object;
        write
    };
    assert!(resize("800m").run(&plugin).await.is_ok());
    assert_eq!(used(&fake, "a")["requests.cpu"], "800m");
    let refused = resize("600m").run(&plugin).await.unwrap_err();
    assert_eq!(
        refused.message,
        "pods \"p\" is forbidden: exceeded quota: a, requested: requests.cpu=300m, used: requests.cpu=800m, limited: requests.cpu=1"
    );
}
