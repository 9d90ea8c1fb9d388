use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

/// Notes what it is asked to do and with what, and gives an address.
const PLUGIN: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
echo "$CNI_COMMAND $CNI_CONTAINERID" >> calls
cat > input
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion":"1.1.0","ips":[{"address":"10.1.2.3/32"}]}'
"#;

struct Bench {
    dir: tempfile::TempDir,
    invoker: Invoker,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("bin")).unwrap();
        fs::create_dir(at("conf")).unwrap();
        fs::write(at("bin/note"), PLUGIN).unwrap();
        fs::set_permissions(at("bin/note"), fs::Permissions::from_mode(0o755)).unwrap();
        let list = r#"{"cniVersion":"1.1.0","name":"n","plugins":[{"type":"note"}]}"#;
        fs::write(at("conf/10-n.conflist"), list).unwrap();
        Self {
            invoker: Invoker::new(at("conf"), vec![at("bin")], at("cache")),
            dir,
        }
    }

    async fn add(&self, id: &str) {
        let capabilities = CapabilityArgs::default();
        let netns = Path::new("/proc/self/ns/net");
        let added = self.invoker.add(id, netns, "eth0", &[], &capabilities);
        assert_eq!(added.await.unwrap().addresses().len(), 1);
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("bin/calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn what_was_attached_is_detached_once() {
    let bench = Bench::new();
    bench.add("a").await;
    for _ in 0..2 {
        bench.invoker.del("a", None, "eth0").await.unwrap();
    }
    assert_eq!(bench.calls(), ["ADD a", "DEL a"]);
}

#[tokio::test]
async fn a_torn_result_does_not_keep_a_sandbox_attached() {
    let bench = Bench::new();
    bench.add("a").await;
    fs::write(bench.invoker.cache_path("a", "eth0"), "{\"list\":").unwrap();
    bench.invoker.del("a", None, "eth0").await.unwrap();
    assert_eq!(bench.calls(), ["ADD a", "DEL a"]);
    assert!(!bench.invoker.cache_path("a", "eth0").exists());
}

#[tokio::test]
async fn what_no_sandbox_has_is_given_back() {
    let bench = Bench::new();
    for id in ["a", "b"] {
        bench.add(id).await;
    }
    let valid = [ValidAttachment {
        container_id: "b".to_owned(),
        ifname: "eth0".to_owned(),
    }];
    bench.invoker.collect(&valid).await.unwrap();
    assert_eq!(bench.calls(), ["ADD a", "ADD b", "DEL a", "GC "]);
    let input = fs::read(bench.dir.path().join("bin/input")).unwrap();
    let input: Value = serde_json::from_slice(&input).unwrap();
    assert_eq!(
        input["cni.dev/valid-attachments"],
        serde_json::json!([{"containerID": "b", "ifname": "eth0"}])
    );
}

#[tokio::test]
async fn without_a_network_there_is_nothing_to_give_back() {
    let bench = Bench::new();
    fs::remove_dir_all(bench.dir.path().join("conf")).unwrap();
    let error = bench.invoker.collect(&[]).await.unwrap_err();
    assert!(error.is_unconfigured(), "{error}");
}
