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

/// Each plugin is told what it says that it can do something with, when it is to make and when it is to undo.
#[tokio::test]
async fn plugins_are_told_of_the_bandwidth_if_they_ask() {
    let bench = Bench::new();
    let capabilities = CapabilityArgs {
        bandwidth: Some(Bandwidth {
            egress_rate: 1_000_000,
            egress_burst: 4_294_967_295,
            ..Bandwidth::default()
        }),
        ..CapabilityArgs::default()
    };
    let told = || -> Value {
        let text = fs::read(bench.dir.path().join("bin/input")).unwrap();
        let config: Value = serde_json::from_slice(&text).unwrap();
        config["runtimeConfig"].clone()
    };
    let netns = Path::new("/proc/self/ns/net");
    for (asked, wanted) in [
        (serde_json::json!({}), Value::Null),
        (
            serde_json::json!({"portMappings": true, "bandwidth": false}),
            Value::Null,
        ),
        (
            serde_json::json!({"portMappings": true, "bandwidth": true}),
            serde_json::json!({"bandwidth": {
                "ingressRate": 0, "ingressBurst": 0, "egressRate": 1_000_000, "egressBurst": 4_294_967_295_u64,
            }}),
        ),
    ] {
        let plugin = serde_json::json!({"type": "note", "capabilities": asked});
        let list = serde_json::json!({"cniVersion": "1.1.0", "name": "n", "plugins": [plugin]});
        let path = bench.dir.path().join("conf/10-n.conflist");
        fs::write(path, list.to_string()).unwrap();
        let added = bench.invoker.add("a", netns, "eth0", &[], &capabilities);
        added.await.unwrap();
        assert_eq!(told(), wanted, "{asked}");
        bench.invoker.del("a", None, "eth0").await.unwrap();
        assert_eq!(told(), wanted, "{asked}");
    }
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

/// A network of our plugin, which is `program`.
fn own_network(program: &Path, subnet: &str) -> Bench {
    let bench = Bench::new();
    let at = |name: &str| bench.dir.path().join(name);
    std::os::unix::fs::symlink(program, at("bin/knarr-cni")).unwrap();
    let list = serde_json::json!({"cniVersion": "1.1.0", "name": "n", "plugins": [{
        "type": "knarr-cni", "instance": "k7c2xmpa", "subnets": [subnet], "dataDir": at("data"),
    }]});
    fs::write(at("conf/10-n.conflist"), list.to_string()).unwrap();
    bench
}

/// A network namespace for as long as the thread waits for `done`, by a path that leads there.
fn namespace(done: std::sync::mpsc::Receiver<()>) -> PathBuf {
    let (made, path) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let thread = nix::unistd::gettid();
        made.send(PathBuf::from(format!("/proc/self/task/{thread}/ns/net")))
            .unwrap();
        let _ = done.recv();
    });
    path.recv().unwrap()
}

/// Runs as a node whose network namespace is nobody else's.
fn on_a_node<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread();
            runtime_of(runtime).block_on(work())
        });
        node.join().unwrap()
    })
}

fn runtime_of(mut builder: tokio::runtime::Builder) -> tokio::runtime::Runtime {
    builder.enable_all().build().unwrap()
}

fn links() -> Vec<String> {
    // Of the thread's namespace: the lines of `/proc/thread-self/net/dev` after two of headings.
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

#[test]
fn the_plugin_of_this_program_is_a_function() {
    let bench = own_network(&std::env::current_exe().unwrap(), "10.1.2.0/24");
    let (keep, done) = std::sync::mpsc::channel();
    let netns = namespace(done);
    let invoker = &bench.invoker;
    let (attached, detached) = on_a_node(async || {
        let capabilities = CapabilityArgs::default();
        let added = invoker.add("a", &netns, "eth0", &[], &capabilities);
        let added = added.await.unwrap();
        assert_eq!(
            added.addresses(),
            ["10.1.2.3".parse::<std::net::IpAddr>().unwrap()]
        );
        let attached = links();
        invoker.del("a", Some(&netns), "eth0").await.unwrap();
        (attached, links())
    });
    drop(keep);
    assert_eq!(attached.len(), 2, "{attached:?}");
    assert_eq!(detached, ["lo"]);
}

#[tokio::test]
async fn a_refusal_of_the_plugin_of_this_program_is_its_own_word() {
    let bench = own_network(&std::env::current_exe().unwrap(), "10.1.2.0/24");
    let netns = bench.dir.path().join("none");
    let capabilities = CapabilityArgs::default();
    let added = bench.invoker.add("a", &netns, "eth0", &[], &capabilities);
    let error = added.await.unwrap_err();
    let Error::Plugin { error, .. } = error else {
        panic!("{error:?}")
    };
    assert!(error.to_string().contains("No such file"), "{error}");
    let leases = crate::plugin::ipam::leases(&bench.dir.path().join("data"), "n").unwrap();
    assert_eq!(leases, []);
}

#[test]
fn another_program_under_the_plugins_name_is_run() {
    let program = std::env::current_exe().unwrap();
    assert!(own::is_own("knarr-cni", &program));
    assert!(!own::is_own("bridge", &program));
    assert!(!own::is_own("knarr-cni", Path::new("/bin/sh")));
    assert!(!own::is_own("knarr-cni", Path::new("/nonexistent")));
}

/// Who waits for a turn that does not come has no thread, and leaves nothing behind that would be done later.
#[test]
fn who_gives_up_before_his_turn_has_done_nothing() {
    let bench = own_network(&std::env::current_exe().unwrap(), "10.1.2.0/24");
    let (keep, done) = std::sync::mpsc::channel();
    let netns = namespace(done);
    let data = bench.dir.path().join("data");
    on_a_node(async || {
        let capabilities = CapabilityArgs::default();
        let add = |id| {
            let added = bench.invoker.add(id, &netns, "eth0", &[], &capabilities);
            tokio::time::timeout(std::time::Duration::from_millis(200), added)
        };
        let turn = own::TURN.acquire().await.unwrap();
        for id in ["a", "b", "c"] {
            assert!(add(id).await.is_err(), "nobody's turn has come");
        }
        let threads = fs::read_dir("/proc/self/task").unwrap();
        let names = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")));
        let waiting =
            names.filter(|name| name.as_ref().is_ok_and(|name| name.trim() == "knarr-cni"));
        assert_eq!(waiting.count(), 0);
        drop(turn);
        bench.invoker.del("a", Some(&netns), "eth0").await.unwrap();
        assert_eq!(crate::plugin::ipam::leases(&data, "n").unwrap(), []);
        assert_eq!(links(), ["lo"]);
    });
    drop(keep);
}
