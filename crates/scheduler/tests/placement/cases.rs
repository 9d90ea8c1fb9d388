//! Generates clusters, each with a pod to place. All objects are such as validation lets through.

mod devices;
mod profiles;
mod volumes;

use std::collections::HashSet;

use fastrand::Rng;
use serde_json::{Value, json};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";
const KEYS: [&str; 3] = [ZONE, HOST, "rack"];
const APPS: [&str; 3] = ["web", "db", "cache"];
const NAMESPACES: [&str; 3] = ["default", "red", "blue"];
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
/// With their sizes in MiB, which are the same on every node.
const IMAGES: [(&str, i64); 3] = [("web:1", 730), ("db:1", 90), ("cache:latest", 1200)];
const MEBIBYTE: i64 = 1024 * 1024;
/// The name of the second profile of clusters that have their own.
const OTHER: &str = "other";

/// Two pods never have the same port of a node.
fn give_up_ports(pod: &mut Value, node: &str, taken: &mut HashSet<(String, i64)>) {
    for list in ["containers", "initContainers"] {
        let containers = pod["spec"][list].as_array_mut();
        for container in containers.into_iter().flatten() {
            let port = container["ports"][0]["hostPort"].as_i64();
            if port.is_some_and(|port| !taken.insert((node.to_owned(), port))) {
                container["ports"] = json!([]);
            }
        }
    }
}

pub struct Cases {
    random: Rng,
    /// Numbers objects within a case.
    count: usize,
}

impl Cases {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            count: 0,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(..100) < percent
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn times<T>(&mut self, max: usize, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.random.usize(..=max)).map(|_| make(self)).collect()
    }

    /// A question for upstream's scheduler.
    pub fn next(&mut self) -> Value {
        self.count = 0;
        let nodes = match self.chance(5) {
            true => self.random.usize(9..=40),
            false => self.random.usize(1..=8),
        };
        let mut objects: Vec<Value> = (0..nodes).map(|index| self.node(index)).collect();
        self.surroundings(&mut objects);
        let mut placed = self.placed();
        let mut storage = self.chance(25).then(|| {
            let namespace = placed["metadata"]["namespace"].as_str();
            let known = NAMESPACES.into_iter().find(|name| Some(*name) == namespace);
            self.storage(nodes, known.unwrap_or_default())
        });
        // Whole clusters of pods that ask for much, and of such that ask for little.
        let crowd = self.random.usize(..=nodes * 4);
        let mut taken = HashSet::new();
        for _ in 0..crowd {
            let node = format!("n{}", self.random.usize(..nodes));
            let mut pod = self.running(&node);
            give_up_ports(&mut pod, &node, &mut taken);
            if let Some(storage) = &mut storage {
                self.use_storage(&mut pod, storage);
            }
            objects.push(pod);
        }
        if let Some(storage) = storage {
            self.want_storage(&mut placed, &storage);
            objects.extend(storage.objects);
        }
        if self.chance(15) {
            objects.extend(self.devices(nodes, &mut placed));
        }
        if self.chance(15) {
            let node = format!("n{}", self.random.usize(..nodes));
            objects.push(self.nominated(&node));
        }
        let mut config = String::new();
        if self.chance(20) {
            config = self.config();
            if self.chance(50) {
                placed["spec"]["schedulerName"] = json!(OTHER);
            }
        }
        json!({"config": config, "objects": objects, "pod": placed})
    }

    /// What is neither a node nor a pod.
    fn surroundings(&mut self, objects: &mut Vec<Value>) {
        for (name, team) in [("default", "a"), ("red", "a"), ("blue", "b")] {
            objects.push(json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"team": team}},
            }));
        }
        if self.chance(40) {
            let app = self.one(&APPS);
            objects.push(json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": app, "namespace": "default"}, "spec": {"selector": {"app": app}},
            }));
        }
        if self.chance(30) {
            let app = self.one(&APPS);
            objects.push(json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": {"name": app, "namespace": "default"},
                "spec": {"selector": {"matchLabels": {"app": app}}},
                "status": {"disruptionsAllowed": self.random.i32(0..3), "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
            }));
        }
    }

    fn node(&mut self, index: usize) -> Value {
        let name = format!("n{index}");
        let mut labels = json!({HOST: name});
        if self.chance(85) {
            labels[ZONE] = json!(self.one(&["x", "y", "z"]));
        }
        if self.chance(60) {
            labels["rack"] = json!(self.one(&["1", "2"]));
        }
        if self.chance(50) {
            labels["disk"] = json!(self.one(&["ssd", "hdd"]));
        }
        if self.chance(40) {
            labels["cores"] = json!(self.one(&["4", "8", "16"]));
        }
        let mut spec = json!({});
        if self.chance(8) {
            spec["unschedulable"] = json!(true);
        }
        if self.chance(25) {
            spec["taints"] = json!([self.taint()]);
        }
        let mut allocatable = json!({
            "cpu": format!("{}", self.random.u32(1..=8)),
            "memory": format!("{}Mi", self.random.u32(2..=32) * 512),
            "pods": format!("{}", self.random.u32(3..=10)),
        });
        if self.chance(30) {
            allocatable["example.com/gpu"] = json!(format!("{}", self.random.u32(0..=3)));
        }
        if self.chance(60) {
            allocatable["ephemeral-storage"] = json!("10Gi");
        }
        let mut images = Vec::new();
        for (image, size) in IMAGES {
            if self.chance(35) {
                images.push(json!({"names": [image], "sizeBytes": size * MEBIBYTE}));
            }
        }
        let mut features = Vec::new();
        if self.chance(70) {
            features.push("RestartAllContainersOnContainerExits");
        }
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": labels}, "spec": spec,
            "status": {"allocatable": allocatable, "images": images, "declaredFeatures": features},
        })
    }

    fn taint(&mut self) -> Value {
        json!({"key": self.one(&["k", "l"]), "value": self.one(&["v", "w"]), "effect": self.one(&EFFECTS)})
    }

    fn toleration(&mut self) -> Value {
        let mut toleration = match self.random.u32(..8) {
            0 => return json!({"operator": "Exists"}),
            1..=4 => {
                json!({"key": self.one(&["k", "l"]), "operator": "Equal", "value": self.one(&["v", "w"])})
            }
            _ => json!({"key": self.one(&["k", "l"]), "operator": "Exists"}),
        };
        if self.chance(60) {
            toleration["effect"] = json!(self.one(&EFFECTS));
        }
        toleration
    }

    fn container(&mut self) -> Value {
        let mut requests = json!({});
        if self.chance(70) {
            requests["cpu"] = json!(format!("{}m", self.random.u32(1..=20) * 150));
        }
        if self.chance(60) {
            requests["memory"] = json!(format!("{}Mi", self.random.u32(1..=16) * 200));
        }
        if self.chance(8) {
            requests["example.com/gpu"] = json!("1");
        }
        if self.chance(8) {
            requests["ephemeral-storage"] = json!(format!("{}Gi", self.random.u32(1..=6)));
        }
        self.count += 1;
        let mut container = json!({
            "name": format!("c{}", self.count), "image": self.one(&["web:1", "db:1", "cache"]),
            "resources": {"requests": requests},
        });
        if self.chance(12) {
            let port = self.one(&[80, 443]);
            let mut wanted = json!({"containerPort": port, "hostPort": port});
            wanted["protocol"] = json!(self.one(&["TCP", "TCP", "UDP"]));
            if self.chance(30) {
                wanted["hostIP"] = json!(self.one(&["0.0.0.0", "10.0.0.1", "10.0.0.2"]));
            }
            container["ports"] = json!([wanted]);
        }
        container
    }

    /// A pod of any kind, without a node.
    fn pod(&mut self, name: &str) -> Value {
        let namespace = self.one(&["default", "default", "default", "red", "blue"]);
        let mut labels = json!({"app": self.one(&APPS)});
        if self.chance(40) {
            labels["tier"] = json!(self.one(&["1", "2"]));
        }
        let mut containers = vec![self.container()];
        if self.chance(15) {
            containers.push(self.container());
        }
        let mut spec = json!({
            "containers": containers, "priority": self.one(&[-5, 0, 0, 0, 5, 10]),
        });
        if self.chance(15) {
            let mut init = self.container();
            if self.chance(40) {
                init["restartPolicy"] = json!("Always");
            }
            spec["initContainers"] = json!([init]);
        }
        if self.chance(5) {
            spec["overhead"] = json!({"cpu": "250m", "memory": "100Mi"});
        }
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "uid": name, "labels": labels},
            "spec": spec, "status": {},
        })
    }

    fn running(&mut self, node: &str) -> Value {
        let name = format!("r{}", self.count);
        let mut pod = self.pod(&name);
        pod["spec"]["nodeName"] = json!(node);
        // Starts differ, so that preemption has to choose between no two alike.
        let minutes = self.count;
        pod["status"]["startTime"] = json!(format!(
            "2026-01-01T{:02}:{:02}:00Z",
            minutes / 60,
            minutes % 60
        ));
        if self.chance(5) {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        }
        if self.chance(25) {
            self.relate(&mut pod, 40);
        }
        pod
    }

    fn nominated(&mut self, node: &str) -> Value {
        let mut pod = self.pod("nominated");
        pod["spec"]["priority"] = json!(self.one(&[0, 5, 10, 20]));
        pod["status"]["nominatedNodeName"] = json!(node);
        pod
    }

    fn placed(&mut self) -> Value {
        let mut pod = self.pod("placed");
        pod["spec"]["priority"] = json!(self.one(&[0, 0, 5, 10, 20]));
        if self.chance(8) {
            pod["spec"]["preemptionPolicy"] = json!("Never");
        }
        if self.chance(3) {
            pod["spec"]["schedulingGates"] = json!([{"name": "example.com/a"}, {"name": "b"}]);
        }
        if self.chance(8) {
            let codes = json!({"operator": "In", "values": [1]});
            pod["spec"]["containers"][0]["restartPolicyRules"] =
                json!([{"action": "RestartAllContainers", "exitCodes": codes}]);
        }
        if self.chance(35) {
            let tolerations = self.times(2, Self::toleration);
            pod["spec"]["tolerations"] = json!(tolerations);
        }
        if self.chance(15) {
            pod["spec"]["nodeSelector"] = json!({"disk": self.one(&["ssd", "hdd"])});
        }
        if self.chance(30) {
            self.prefer_nodes(&mut pod);
        }
        if self.chance(40) {
            self.relate(&mut pod, 60);
        }
        if self.chance(35) {
            let constraints = self.constraints();
            pod["spec"]["topologySpreadConstraints"] = json!(constraints);
        }
        pod
    }

    fn prefer_nodes(&mut self, pod: &mut Value) {
        let affinity = &mut pod["spec"]["affinity"]["nodeAffinity"];
        if self.chance(50) {
            let terms = [self.node_term()];
            affinity["requiredDuringSchedulingIgnoredDuringExecution"] =
                json!({"nodeSelectorTerms": terms});
        }
        let preferred = self.times(
            2,
            |cases| json!({"weight": cases.random.i32(1..=100), "preference": cases.node_term()}),
        );
        if !preferred.is_empty() {
            affinity["preferredDuringSchedulingIgnoredDuringExecution"] = json!(preferred);
        }
    }

    fn node_term(&mut self) -> Value {
        if self.chance(15) {
            let name = format!("n{}", self.random.usize(..8));
            let operator = self.one(&["In", "In", "NotIn"]);
            return json!({"matchFields": [{"key": "metadata.name", "operator": operator, "values": [name]}]});
        }
        let expression = match self.random.u32(..5) {
            0 => json!({"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}),
            1 => json!({"key": "disk", "operator": "NotIn", "values": ["ssd"]}),
            2 => json!({"key": "rack", "operator": self.one(&["Exists", "DoesNotExist"])}),
            3 => json!({"key": "cores", "operator": self.one(&["Gt", "Lt"]), "values": ["8"]}),
            _ => json!({"key": ZONE, "operator": "In", "values": [self.one(&["x", "y"])]}),
        };
        json!({"matchExpressions": [expression]})
    }

    fn pod_term(&mut self) -> Value {
        let selector = match self.random.u32(..6) {
            0 => {
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]})
            }
            1 => json!({"matchLabels": {"tier": "1"}}),
            2 => json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
            _ => json!({"matchLabels": {"app": self.one(&APPS)}}),
        };
        let mut term = json!({"labelSelector": selector, "topologyKey": self.one(&KEYS)});
        match self.random.u32(..10) {
            0 => term["namespaces"] = json!([self.one(&NAMESPACES)]),
            1 => {
                term["namespaceSelector"] = json!({"matchLabels": {"team": self.one(&["a", "b"])}})
            }
            2 => term["namespaceSelector"] = json!({}),
            _ => {}
        }
        term
    }

    /// Gives a pod rules about other pods; each kind with such a chance.
    fn relate(&mut self, pod: &mut Value, percent: u32) {
        for side in ["podAffinity", "podAntiAffinity"] {
            if self.chance(percent / 2) {
                let term = self.pod_term();
                pod["spec"]["affinity"][side]["requiredDuringSchedulingIgnoredDuringExecution"] =
                    json!([term]);
            }
            if self.chance(percent) {
                let weighted =
                    json!({"weight": self.random.i32(1..=100), "podAffinityTerm": self.pod_term()});
                pod["spec"]["affinity"][side]["preferredDuringSchedulingIgnoredDuringExecution"] =
                    json!([weighted]);
            }
        }
    }

    /// No two are of the same label and kind.
    fn constraints(&mut self) -> Vec<Value> {
        let mut constraints = Vec::new();
        for key in KEYS {
            if !self.chance(45) {
                continue;
            }
            let when = self.one(&["DoNotSchedule", "ScheduleAnyway"]);
            let mut constraint = json!({
                "maxSkew": self.random.i32(1..=3), "topologyKey": key, "whenUnsatisfiable": when,
                "labelSelector": {"matchLabels": {"app": self.one(&APPS)}},
            });
            if when == "DoNotSchedule" && self.chance(25) {
                constraint["minDomains"] = json!(self.random.i32(1..=4));
            }
            if self.chance(20) {
                constraint["nodeAffinityPolicy"] = json!(self.one(&["Honor", "Ignore"]));
            }
            if self.chance(20) {
                constraint["nodeTaintsPolicy"] = json!(self.one(&["Honor", "Ignore"]));
            }
            if self.chance(15) {
                constraint["matchLabelKeys"] = json!(["tier"]);
            }
            constraints.push(constraint);
        }
        constraints
    }
}
