//! A cluster of both families on two nodes, and one of IPv6 alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Options, eventually, run};
use serde_json::{Value, json};

use crate::support::{SOON, Shell, newest, step, with_cluster};

const PODS: [(&str, &str); 2] = [("p1", "node"), ("p2", "node-2")];
/// How long an answer is waited for that may never come.
const PATIENCE_SECONDS: &str = "2";
const FAILED: &str = "in vain";
const DEADLINE: Duration = Duration::from_secs(30);

fn options(family: &str) -> Options {
    Options {
        nodes: 2,
        flags: vec![format!("--ip-family={family}")],
        ..Options::default()
    }
}

#[test]
fn dual_stack() {
    with_cluster(options("dual"), |cluster| {
        step("up", || cluster.up())?;
        let shell = Shell::new(cluster, newest()?, "default");
        step("nodes", || nodes_have_both(&shell))?;
        step("apply", || shell.apply(&manifest(true)))?;
        step("ready", || shell.wait_ready("app=web", PODS.len()))?;
        let site = Site { shell };
        step("pods", || site.pods_have(&["10.42.", "fd42:"]))?;
        step("Services", || site.services_answer(&["IPv4", "IPv6"]))?;
        step("names", || site.names_have(true))?;
        step("a Service changes", || site.service_changes())?;
        step("network policies", || site.policies_hold(&[0, 1]))?;
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

#[test]
fn ipv6_alone() {
    with_cluster(options("ipv6"), |cluster| {
        step("up", || cluster.up())?;
        let shell = Shell::new(cluster, newest()?, "default");
        step("apply", || shell.apply(&manifest(false)))?;
        step("ready", || shell.wait_ready("app=web", PODS.len()))?;
        let site = Site { shell };
        step("pods", || site.pods_have(&["fd42:"]))?;
        step("Services", || site.services_answer(&["IPv6"]))?;
        step("names", || site.names_have(false))?;
        step("network policies", || site.policies_hold(&[0]))?;
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

/// Pods that serve and have a shell, one a node, whose Services both have as an endpoint; and what the first is told of itself.
fn manifest(dual: bool) -> String {
    let policy = if dual {
        "RequireDualStack"
    } else {
        "SingleStack"
    };
    let mut items: Vec<Value> = PODS.map(|(name, node)| pod(name, node)).into();
    for (name, more) in [("web", json!({})), ("bare", json!({"clusterIP": "None"}))] {
        let mut spec = json!({
            "selector": {"app": "web"}, "ipFamilyPolicy": policy, "ports": [{"port": 80, "targetPort": 8080}],
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        items.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}));
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn pod(name: &str, node: &str) -> Value {
    let told = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web", "name": name}},
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "web", "image": "knarr/hello:latest", "imagePullPolicy": "IfNotPresent", "args": ["--port=8080"],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
                },
                {
                    "name": "shell", "image": "knarr/busybox:latest", "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "3600"],
                    "env": [
                        {"name": "POD_IPS", "valueFrom": told("status.podIPs")},
                        {"name": "HOST_IPS", "valueFrom": told("status.hostIPs")},
                    ],
                },
            ],
        },
    })
}

/// Of addresses and of ranges each node has one a family, and the API says so of itself.
fn nodes_have_both(shell: &Shell<'_>) -> Result<()> {
    for (_, node) in PODS {
        let node = shell.get(&format!("node {node}"))?;
        let addresses = node["status"]["addresses"]
            .as_array()
            .context("no addresses")?;
        let internal = addresses.iter().filter(|a| a["type"] == "InternalIP");
        let internal: Vec<&str> = internal.filter_map(|a| a["address"].as_str()).collect();
        ensure!(
            internal.len() == 2 && internal[0].contains('.') && internal[1].contains(':'),
            "{internal:?}"
        );
        let ranges = texts(&node["spec"]["podCIDRs"]);
        ensure!(
            ranges.len() == 2 && node["spec"]["podCIDR"] == ranges[0],
            "{ranges:?}"
        );
        ensure!(
            ranges[0].starts_with("10.42.") && ranges[1].starts_with("fd42:"),
            "{ranges:?}"
        );
    }
    shell.says("get servicecidr kubernetes", &["10.43.0.0/16,fd43::/112"])?;
    let dns = texts(&shell.get("service kube-dns --namespace kube-system")?["spec"]["clusterIPs"]);
    ensure!(dns == ["10.43.0.10", "fd43::a"], "{dns:?}");
    Ok(())
}

struct Site<'a> {
    shell: Shell<'a>,
}

impl Site<'_> {
    /// What a pod's shell says.
    fn sh(&self, pod: &str, script: &str) -> Result<String> {
        self.shell
            .words(&["exec", pod, "-c", "shell", "--", "sh", "-c", script])
    }

    /// Whether a pod gets an answer of an address and port.
    fn reaches(&self, pod: &str, address: &str, port: u16) -> Result<bool> {
        let url = match address.contains(':') {
            true => format!("http://[{address}]:{port}/clientip"),
            false => format!("http://{address}:{port}/clientip"),
        };
        let script =
            format!("timeout {PATIENCE_SECONDS} wget -q -O - '{url}' 2>&1 || echo {FAILED}");
        Ok(!self.sh(pod, &script)?.contains(FAILED))
    }

    fn ips(&self, pod: &str) -> Result<Vec<String>> {
        let pod = self.shell.get(&format!("pod {pod}"))?;
        let ips = pod["status"]["podIPs"].as_array().context("no podIPs")?;
        let ips: Vec<String> = ips
            .iter()
            .filter_map(|ip| Some(ip["ip"].as_str()?.to_owned()))
            .collect();
        ensure!(pod["status"]["podIP"] == ips[0], "{ips:?}");
        Ok(ips)
    }

    /// In their statuses, in what they are told, in their `/etc/hosts`; and pods reach each other by all of them, under their own.
    fn pods_have(&self, beginnings: &[&str]) -> Result<()> {
        for (name, _) in PODS {
            let ips = self.ips(name)?;
            let fit = ips
                .iter()
                .zip(beginnings)
                .all(|(ip, begins)| ip.starts_with(begins));
            ensure!(fit && ips.len() == beginnings.len(), "{ips:?}");
            let told = self.sh(name, "echo $POD_IPS $HOST_IPS; cat /etc/hosts")?;
            let (first, hosts) = told.split_once('\n').context("no hosts")?;
            let (own, node) = first.split_once(' ').context("no HOST_IPS")?;
            ensure!(own == ips.join(","), "{own}");
            ensure!(node.split(',').count() == ips.len(), "{node}");
            for ip in &ips {
                ensure!(hosts.contains(&format!("{ip}\t{name}")), "{hosts}");
            }
        }
        for (from, to) in [("p1", "p2"), ("p2", "p1")] {
            for (own, theirs) in self.ips(from)?.iter().zip(self.ips(to)?) {
                let host = if theirs.contains(':') {
                    format!("[{theirs}]")
                } else {
                    theirs
                };
                let seen = self.sh(
                    from,
                    &format!("timeout 5 wget -q -O - http://{host}:8080/clientip"),
                )?;
                ensure!(seen.trim() == own, "{from} to {to}: {seen}, not {own}");
            }
        }
        Ok(())
    }

    /// From a pod of each node, and from the nodes themselves.
    fn services_answer(&self, families: &[&str]) -> Result<()> {
        let service = self.shell.get("service web")?;
        ensure!(
            texts(&service["spec"]["ipFamilies"]) == families,
            "{service}"
        );
        let ips = texts(&service["spec"]["clusterIPs"]);
        ensure!(ips.len() == families.len(), "{ips:?}");
        for ip in &ips {
            for (pod, _) in PODS {
                eventually(SOON, &format!("{pod} reaches {ip}"), || {
                    ensure!(self.reaches(pod, ip, 80)?, "no answer");
                    Ok(())
                })?;
            }
            let url = match ip.contains(':') {
                true => format!("http://[{ip}]/"),
                false => format!("http://{ip}/"),
            };
            let mut curl = self.shell.cluster.command("curl");
            curl.args([
                "--silent",
                "--show-error",
                "--fail",
                "--globoff",
                "--max-time",
                "10",
                &url,
            ]);
            run(curl, DEADLINE)?.success()?;
        }
        Ok(())
    }

    /// Of the Service, and of the headless one all pods.
    fn names_have(&self, dual: bool) -> Result<()> {
        let ips = texts(&self.shell.get("service web")?["spec"]["clusterIPs"]);
        let bare: Vec<String> = PODS
            .iter()
            .map(|(pod, _)| self.ips(pod))
            .collect::<Result<Vec<_>>>()?
            .concat();
        for (pod, _) in PODS {
            for (name, expected) in [("web", &ips), ("bare", &bare)] {
                let mut missing = expected.clone();
                let asked = if dual { &["a", "aaaa"][..] } else { &["aaaa"] };
                for kind in asked {
                    let said = self.sh(
                        pod,
                        &format!("nslookup -type={kind} {name}.default.svc.cluster.local"),
                    )?;
                    missing.retain(|ip| !said.contains(ip.as_str()));
                }
                ensure!(
                    missing.is_empty(),
                    "{pod} is not told of {missing:?} of {name}"
                );
            }
        }
        Ok(())
    }

    /// To one family, and back to both.
    fn service_changes(&self) -> Result<()> {
        let before = texts(&self.shell.get("service web")?["spec"]["clusterIPs"]);
        let patch = |policy: &str| {
            let patch = json!({"spec": {"ipFamilyPolicy": policy}}).to_string();
            self.shell.words(&["patch", "service", "web", "-p", &patch])
        };
        patch("SingleStack")?;
        let single = texts(&self.shell.get("service web")?["spec"]["clusterIPs"]);
        ensure!(single == before[..1], "{single:?}");
        eventually(SOON, "nobody answers at what was given back", || {
            ensure!(!self.reaches("p1", &before[1], 80)?, "somebody answers");
            Ok(())
        })?;
        patch("PreferDualStack")?;
        self.services_answer(&["IPv4", "IPv6"])
    }

    /// A pod that nobody may reach is reached by none of its addresses, and by all again.
    fn policies_hold(&self, families: &[usize]) -> Result<()> {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed"},
            "spec": {"podSelector": {"matchLabels": {"name": "p2"}}, "policyTypes": ["Ingress"]},
        });
        let ips = self.ips("p2")?;
        self.shell.apply(&policy.to_string())?;
        for family in families {
            eventually(SOON, "the policy is in force", || {
                ensure!(
                    !self.reaches("p1", &ips[*family], 8080)?,
                    "{} answers",
                    ips[*family]
                );
                Ok(())
            })?;
        }
        self.shell.run("delete networkpolicy closed")?;
        for family in families {
            eventually(SOON, "the policy is gone", || {
                ensure!(
                    self.reaches("p1", &ips[*family], 8080)?,
                    "{} does not answer",
                    ips[*family]
                );
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|one| Some(one.as_str()?.to_owned()))
        .collect()
}
