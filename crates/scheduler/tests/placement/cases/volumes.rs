//! What some clusters have of storage: classes, volumes, claims and drivers.
//!
//! No two sizes are the same, no claim for one pod has two users, and each class has room once in a zone: what upstream takes from a
//! map in no order does not decide.

use serde_json::{Value, json};

use super::{Cases, HOST, ZONE};

const DRIVER: &str = "d.example.com";
/// Bound at once, by the first consumer, and by the first consumer to what an administrator made.
const CLASSES: [&str; 3] = ["now", "later", "static"];
const ZONES: [&str; 3] = ["x", "y", "z"];
const FOR_ONE_POD: &str = "ReadWriteOncePod";

/// What a cluster has.
#[derive(Default)]
pub struct Storage {
    pub objects: Vec<Value>,
    claims: Vec<Claim>,
}

/// A claim that pods may use.
struct Claim {
    namespace: &'static str,
    name: String,
    /// One pod alone may use it.
    is_exclusive: bool,
    is_used: bool,
}

/// Adds a volume to a pod.
fn mount(pod: &mut Value, source: Value) {
    let volumes = &mut pod["spec"]["volumes"];
    let mut volume = source;
    let count = volumes.as_array().map_or(0, Vec::len);
    volume["name"] = json!(format!("v{count}"));
    match volumes.as_array_mut() {
        Some(volumes) => volumes.push(volume),
        None => *volumes = json!([volume]),
    }
}

impl Cases {
    /// Most claims are of the namespace of the pod that is placed.
    pub fn storage(&mut self, nodes: usize, namespace: &'static str) -> Storage {
        let mut storage = Storage::default();
        self.classes(&mut storage.objects);
        self.drivers(nodes, &mut storage.objects);
        for number in 0..self.random.usize(..=4) {
            let volume = self.free_volume(number);
            storage.objects.push(volume);
        }
        for number in 0..self.random.usize(1..=5) {
            self.claim(number, namespace, &mut storage);
        }
        storage
    }

    fn classes(&mut self, objects: &mut Vec<Value>) {
        for name in CLASSES {
            let mode = match name {
                "now" => "Immediate",
                _ => "WaitForFirstConsumer",
            };
            let provisioner = match name {
                "static" => "kubernetes.io/no-provisioner",
                _ => DRIVER,
            };
            let mut class = json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
                "provisioner": provisioner, "volumeBindingMode": mode,
            });
            if name == "later" && self.chance(30) {
                let zones = [self.one(&ZONES), self.one(&ZONES)];
                class["allowedTopologies"] =
                    json!([{"matchLabelExpressions": [{"key": ZONE, "values": zones}]}]);
            }
            objects.push(class);
        }
    }

    fn drivers(&mut self, nodes: usize, objects: &mut Vec<Value>) {
        if self.chance(70) {
            objects.push(json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER},
                "spec": {
                    "storageCapacity": self.chance(50),
                    "preventPodSchedulingIfMissing": self.chance(25),
                },
            }));
        }
        for node in 0..nodes {
            let mut driver = json!({"name": DRIVER, "nodeID": "x"});
            if self.chance(60) {
                driver["allocatable"] = json!({"count": self.random.u32(1..=3)});
            }
            let drivers = match self.chance(85) {
                true => json!([driver]),
                false => json!([]),
            };
            if self.chance(80) {
                objects.push(json!({
                    "apiVersion": "storage.k8s.io/v1", "kind": "CSINode",
                    "metadata": {"name": format!("n{node}")}, "spec": {"drivers": drivers},
                }));
            }
        }
        for zone in ZONES {
            if !self.chance(70) {
                continue;
            }
            let size = self.size();
            let mut room = json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity",
                "metadata": {"name": zone, "namespace": "default"}, "storageClassName": "later",
                "capacity": size, "nodeTopology": {"matchLabels": {ZONE: zone}},
            });
            if self.chance(20) {
                room["maximumVolumeSize"] = json!(self.size());
            }
            objects.push(room);
        }
        if self.chance(25) {
            let node = format!("n{}", self.random.usize(..nodes));
            objects.push(json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "old"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                    "csi": {"driver": DRIVER, "volumeHandle": "old"},
                },
                "status": {"phase": "Released"},
            }));
            objects.push(json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "old"},
                "spec": {"attacher": DRIVER, "nodeName": node, "source": {"persistentVolumeName": "old"}},
                "status": {"attached": true},
            }));
        }
    }

    /// No two are the same.
    fn size(&mut self) -> String {
        self.count += 1;
        format!("{}Mi", self.random.usize(1..=20) * 1000 + self.count)
    }

    fn volume(&mut self, name: &str) -> Value {
        let size = self.size();
        let modes = self.one(&[
            &["ReadWriteOnce"][..],
            &["ReadWriteOnce", "ReadOnlyMany"],
            &["ReadWriteOnce", FOR_ONE_POD],
            &["ReadWriteMany", "ReadWriteOnce"],
        ]);
        let mut volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": {}},
            "spec": {"accessModes": modes, "capacity": {"storage": size}},
        });
        if self.chance(60) {
            volume["spec"]["csi"] = json!({"driver": DRIVER, "volumeHandle": name});
        } else {
            volume["spec"]["hostPath"] = json!({"path": "/x"});
        }
        if self.chance(50) {
            let expression = match self.random.u32(..3) {
                0 => {
                    let node = format!("n{}", self.random.usize(..8));
                    json!({"key": HOST, "operator": "In", "values": [node]})
                }
                1 => json!({"key": ZONE, "operator": "NotIn", "values": [self.one(&ZONES)]}),
                _ => json!({"key": ZONE, "operator": "In", "values": [self.one(&ZONES)]}),
            };
            volume["spec"]["nodeAffinity"] =
                json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}});
        }
        if self.chance(20) {
            let label = self.one(&[ZONE, "failure-domain.beta.kubernetes.io/zone"]);
            volume["metadata"]["labels"][label] = json!(self.one(&["x", "y", "x__y", "z__x"]));
        }
        volume
    }

    /// One that nobody has yet.
    fn free_volume(&mut self, number: usize) -> Value {
        let mut volume = self.volume(&format!("free{number}"));
        volume["spec"]["storageClassName"] = json!(self.one(&["static", "static", "later"]));
        volume["status"] = json!({"phase": self.one(&["Available", "Available", "Pending"])});
        if self.chance(25) {
            // Kept for one of the claims, by the name that it will have.
            let claim = format!("claim{number}");
            volume["spec"]["claimRef"] = json!({"namespace": "default", "name": claim});
            volume["status"]["phase"] = json!("Available");
        }
        if self.chance(20) {
            volume["metadata"]["labels"]["disk"] = json!("ssd");
        }
        volume
    }

    fn claim(&mut self, number: usize, namespace: &'static str, storage: &mut Storage) {
        let name = format!("claim{number}");
        let namespace = match self.chance(80) {
            true => namespace,
            false => "default",
        };
        let mode = self.one(&[
            "ReadWriteOnce",
            "ReadWriteOnce",
            "ReadWriteOnce",
            FOR_ONE_POD,
        ]);
        let class = self.one(&["now", "later", "later", "later", "static", "static", "gone"]);
        let size = self.size();
        let mut claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace, "uid": name, "annotations": {}},
            "spec": {
                "accessModes": [mode], "storageClassName": class,
                "resources": {"requests": {"storage": size}},
            },
            "status": {"phase": "Pending"},
        });
        match self.random.u32(..100) {
            0..45 => self.bind(&mut claim, storage),
            45..55 => {
                let node = format!("n{}", self.random.usize(..8));
                claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] =
                    json!(node);
            }
            55..60 => {
                claim["spec"]["selector"] = json!({"matchLabels": {"disk": "ssd"}});
            }
            60..63 => claim["spec"]["volumeName"] = json!("free0"),
            63..66 => {
                claim["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
                claim["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
            }
            _ => {}
        }
        storage.claims.push(Claim {
            namespace,
            name,
            is_exclusive: mode == FOR_ONE_POD,
            is_used: false,
        });
        storage.objects.push(claim);
    }

    fn bind(&mut self, claim: &mut Value, storage: &mut Storage) {
        let name = claim["metadata"]["name"].clone();
        let volume = format!("of-{}", name.as_str().unwrap_or_default());
        claim["spec"]["volumeName"] = json!(volume);
        claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = json!("yes");
        claim["status"]["phase"] = match self.chance(4) {
            true => json!("Lost"),
            false => json!("Bound"),
        };
        if self.chance(4) {
            return;
        }
        let mut made = self.volume(&volume);
        made["spec"]["claimRef"] =
            json!({"namespace": claim["metadata"]["namespace"], "name": name, "uid": name});
        made["spec"]["storageClassName"] = claim["spec"]["storageClassName"].clone();
        made["status"] = json!({"phase": "Bound"});
        storage.objects.push(made);
    }

    /// Has a running pod use what there is.
    pub fn use_storage(&mut self, pod: &mut Value, storage: &mut Storage) {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let all = storage.claims.iter_mut();
        let free = |claim: &&mut Claim| !(claim.is_exclusive && claim.is_used);
        let mut mine: Vec<_> = all
            .filter(|claim| claim.namespace == namespace)
            .filter(free)
            .collect();
        if !mine.is_empty() && self.chance(40) {
            let claim = mine.swap_remove(self.random.usize(..mine.len()));
            claim.is_used = true;
            mount(
                pod,
                json!({"persistentVolumeClaim": {"claimName": claim.name}}),
            );
        }
        if self.chance(6) {
            let disk = self.disk();
            mount(pod, disk);
        }
    }

    /// Has the pod that is placed use what there is, and what there is not.
    pub fn want_storage(&mut self, pod: &mut Value, storage: &Storage) {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let all = storage.claims.iter();
        let mine = all.filter(|claim| claim.namespace == namespace);
        let mut names: Vec<&str> = mine.map(|claim| claim.name.as_str()).collect();
        for _ in 0..self.random.usize(1..=2) {
            if names.is_empty() {
                break;
            }
            let name = names.swap_remove(self.random.usize(..names.len()));
            mount(pod, json!({"persistentVolumeClaim": {"claimName": name}}));
        }
        if self.chance(3) {
            mount(
                pod,
                json!({"persistentVolumeClaim": {"claimName": "missing"}}),
            );
        }
        if self.chance(10) {
            let disk = self.disk();
            mount(pod, disk);
        }
    }

    /// One of the volumes that pods name themselves, and that may be on several nodes to be read only.
    fn disk(&mut self) -> Value {
        let read_only = self.chance(50);
        match self.random.u32(..4) {
            0 => json!({"gcePersistentDisk": {"pdName": "disk", "readOnly": read_only}}),
            1 => json!({"awsElasticBlockStore": {"volumeID": "disk", "readOnly": read_only}}),
            2 => json!({"iscsi": {
                "targetPortal": "10.0.0.9", "iqn": "iqn.2026-01.example:disk", "lun": 0, "readOnly": read_only,
            }}),
            _ => {
                let monitors = [self.one(&["m1", "m2"]), self.one(&["m2", "m3"])];
                json!({"rbd": {
                    "monitors": monitors, "image": "disk", "pool": self.one(&["rbd", "other"]), "readOnly": read_only,
                }})
            }
        }
    }
}
