use std::fs;

use knarr_scheduler::simulation::{Placement, Verdict};

use super::*;

const CLUSTER: &str = r#"
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: default, uid: web}
  spec: {nodeName: a, containers: [{name: c, resources: {requests: {cpu: "3"}}}]}
  status: {phase: Running}
- apiVersion: v1
  kind: Pod
  metadata: {name: done, namespace: default, uid: done}
  spec: {nodeName: a, containers: [{name: c, resources: {requests: {cpu: "4"}}}]}
  status: {phase: Succeeded}
- apiVersion: v1
  kind: Node
  metadata: {name: a}
  status: {allocatable: {cpu: "4", memory: 8Gi, pods: "110"}}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: no-matter, namespace: default}
---
# Nothing.
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
"#;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("a path").to_owned()
    }
}

/// What comes of a manifest in the cluster.
fn place(manifest: &str) -> Result<(Vec<(String, Verdict)>, Placement)> {
    let files = Files::new();
    let saved = Saved::read(&[files.write("cluster.yaml", CLUSTER)])?;
    let pod = saved.pod("default", &files.write("pod.yaml", manifest))?;
    let mut simulation = saved.simulation(&Config::default(), &pod)?;
    let explained = simulation.explain(pod.clone()).nodes;
    Ok((explained, simulation.schedule(pod)))
}

#[test]
fn what_runs_takes_room_and_what_has_ended_does_not() {
    let pod = |cpu: &str| {
        format!(
            "kind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c, resources: {{requests: {{cpu: {cpu}}}}}}}]}}\n"
        )
    };
    let (_, placed) = place(&pod("1")).expect("a placement");
    assert_eq!(placed, Placement::Nodes(vec!["a".to_owned()]));
    let (explained, placed) = place(&pod("1500m")).expect("a placement");
    assert!(matches!(placed, Placement::Waits { .. }), "{placed:?}");
    let Verdict::RuledOut { remedies, .. } = &explained[0].1 else {
        panic!("{explained:?}")
    };
    assert_eq!(remedies, &["500m more cpu (1 of 4 free)"]);
}

/// Requests are made of limits, and priorities of classes, as by the API server.
#[test]
fn a_manifest_is_what_the_server_would_make_of_it() {
    let manifest = "kind: Pod\nmetadata: {name: p}\nspec: {priorityClassName: high, containers: [{name: c, resources: {limits: {cpu: 2}}}]}\n";
    let (_, placed) = place(manifest).expect("a placement");
    let Placement::Waits {
        nominated, victims, ..
    } = placed
    else {
        panic!("{placed:?}")
    };
    assert_eq!(
        (nominated.as_deref(), victims),
        (Some("a"), vec!["default/web".to_owned()])
    );
}

#[test]
fn pods_of_the_cluster_are_asked_about_by_name() {
    let files = Files::new();
    let saved = Saved::read(&[files.write("cluster.yaml", CLUSTER)]).expect("a cluster");
    let pod = saved.pod("default", "web").expect("a pod");
    let mut simulation = saved
        .simulation(&Config::default(), &pod)
        .expect("a simulation");
    assert_eq!(
        simulation.schedule(pod),
        Placement::Nodes(vec!["a".to_owned()])
    );
    assert!(saved.pod("other", "web").is_err());
}

#[test]
fn what_cannot_be_taken_is_told_with_its_file() {
    let files = Files::new();
    let told = |name: &str, text: &str| {
        let file = files.write(name, text);
        let saved = Saved::read(&[&file]);
        let error = saved.err().expect("an error");
        format!("{error:#}").replace(&file, name)
    };
    let expected = "cannot take a cluster from a.yaml: what is in it is no object of Kubernetes";
    assert_eq!(told("a.yaml", "- 1\n"), expected);
    assert!(told("b.json", "{\"kind\":").starts_with("cannot take a cluster from b.json: "));
    let empty = Saved::read(&[files.write("c.yaml", "kind: ConfigMap\n")]).expect("objects");
    let error = empty
        .simulation(&Config::default(), &Pod::default())
        .err()
        .expect("an error");
    assert!(error.to_string().contains("kubectl get nodes"), "{error}");
    let error = place(
        "kind: Pod\nmetadata: {name: p}\nspec: {priorityClassName: urgent, containers: []}\n",
    );
    assert!(
        error
            .expect_err("no class")
            .to_string()
            .contains("kubectl get pc")
    );
}
