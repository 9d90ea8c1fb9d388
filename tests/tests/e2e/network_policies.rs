//! Network policies with traffic: who reaches whom, as a table of all pairs of pods and ports.

mod manifest;
mod table;

use anyhow::{Result, ensure};
use knarr_testkit::{Cluster, eventually, run};
use serde_json::json;

use crate::support::{SOON, Shell, newest, step, with_running_cluster};
use manifest::{allow_dns, policy};
use table::{Call, Table};

#[test]
fn policies_say_who_reaches_whom() {
    with_running_cluster(|cluster| {
        step("apply", || {
            shell(cluster, "default")?.apply(&manifest::namespaces())?;
            for namespace in ["x", "y"] {
                shell(cluster, namespace)?.apply(&manifest::servers(namespace))?;
            }
            Ok(())
        })?;
        step("ready", || {
            shell(cluster, "x")?.wait_ready("role=server", 2)?;
            shell(cluster, "y")?.wait_ready("role=server", 2)
        })?;
        let table = Table::new(cluster)?;
        step("without policies", || table.holds(cluster, |_| true))?;
        step("ingress", || ingress(cluster, &table))?;
        step("ports", || ports(cluster, &table))?;
        step("blocks", || blocks(cluster, &table))?;
        step("labels", || labels(cluster, &table))?;
        step("egress", || egress(cluster, &table))?;
        step("Services", || services(cluster, &table))?;
        step("a pod that has just started", || newcomer(cluster))?;
        step("a pod under another's address", || forger(cluster))?;
        step("restart", || restart(cluster, &table))?;
        step("without policies again", || {
            for namespace in ["x", "y"] {
                shell(cluster, namespace)?.run("delete networkpolicies --all")?;
            }
            table.holds(cluster, |_| true)
        })?;
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

fn shell<'a>(cluster: &'a Cluster, namespace: &str) -> Result<Shell<'a>> {
    Ok(Shell::new(cluster, newest()?, namespace))
}

/// To whom a call goes does not matter if it is to itself: a pod always reaches itself.
fn ingress(cluster: &Cluster, table: &Table) -> Result<()> {
    let x = shell(cluster, "x")?;
    let everybody = json!({});
    x.apply(&policy(
        "deny",
        json!({"podSelector": everybody, "policyTypes": ["Ingress"]}),
    ))?;
    table.holds(cluster, |call| call.to.namespace != "x")?;
    // What the node itself asks is not a pod's: its probes, and whoever is on it.
    for pod in ["a", "b"] {
        let address = table.address("x", pod);
        cluster.curl(&["--fail", &format!("http://{address}:80/")])?;
    }
    x.apply(&policy(
        "from-y",
        json!({
            "podSelector": {"matchLabels": {"pod": "a"}},
            "ingress": [{
                "from": [{"namespaceSelector": {"matchLabels": {"team": "y"}}}],
                "ports": [{"port": 80}],
            }],
        }),
    ))?;
    let from_y = |call: &Call| call.from.namespace == "y" && call.to.pod == "a" && call.port == 80;
    table.holds(cluster, |call| call.to.namespace != "x" || from_y(call))?;
    // Both selectors of one peer: pods of namespaces.
    x.apply(&policy(
        "from-y",
        json!({
            "podSelector": {"matchLabels": {"pod": "a"}},
            "ingress": [{
                "from": [{
                    "namespaceSelector": {"matchLabels": {"team": "y"}},
                    "podSelector": {"matchExpressions": [{"key": "pod", "operator": "In", "values": ["b", "c"]}]},
                }],
            }],
        }),
    ))?;
    table.holds(cluster, |call| {
        call.to.namespace != "x"
            || (call.from.namespace == "y" && call.from.pod == "b" && call.to.pod == "a")
    })?;
    // Two peers: either. Without a selector of namespaces it is the policy's own.
    x.apply(&policy(
        "from-y",
        json!({
            "podSelector": {"matchLabels": {"pod": "a"}},
            "ingress": [{"from": [
                {"podSelector": {"matchLabels": {"pod": "b"}}},
                {"namespaceSelector": {"matchLabels": {"team": "y"}}, "podSelector": {"matchLabels": {"pod": "a"}}},
            ]}],
        }),
    ))?;
    table.holds(cluster, |call| {
        call.to.namespace != "x"
            || (call.to.pod == "a"
                && [("x", "b"), ("y", "a")].contains(&(call.from.namespace, call.from.pod)))
    })
}

fn ports(cluster: &Cluster, table: &Table) -> Result<()> {
    let x = shell(cluster, "x")?;
    for (ports, allowed) in [
        // Its number differs from pod to pod.
        (json!([{"port": "web"}]), vec![("a", 80), ("b", 81)]),
        (
            json!([{"port": 81, "endPort": 90}]),
            vec![("a", 81), ("b", 81)],
        ),
        (
            json!([{"port": 1, "endPort": 80}, {"port": 80, "endPort": 81}]),
            vec![("a", 80), ("a", 81), ("b", 80), ("b", 81)],
        ),
        (json!([{"protocol": "UDP", "port": 80}]), vec![]),
        (
            json!([{"protocol": "TCP"}]),
            vec![("a", 80), ("a", 81), ("b", 80), ("b", 81)],
        ),
    ] {
        x.apply(&policy(
            "from-y",
            json!({"podSelector": {}, "ingress": [{"ports": ports}]}),
        ))?;
        table.holds(cluster, |call| {
            call.to.namespace != "x" || allowed.contains(&(call.to.pod, call.port))
        })?;
    }
    Ok(())
}

fn blocks(cluster: &Cluster, table: &Table) -> Result<()> {
    let x = shell(cluster, "x")?;
    let except = format!("{}/32", table.address("y", "a"));
    x.apply(&policy(
        "from-y",
        json!({
            "podSelector": {"matchLabels": {"pod": "a"}},
            "ingress": [{"from": [{"ipBlock": {"cidr": "10.42.0.0/16", "except": [except]}}]}],
        }),
    ))?;
    table.holds(cluster, |call| {
        call.to.namespace != "x"
            || (call.to.pod == "a" && (call.from.namespace, call.from.pod) != ("y", "a"))
    })
}

fn labels(cluster: &Cluster, table: &Table) -> Result<()> {
    let (x, y) = (shell(cluster, "x")?, shell(cluster, "y")?);
    x.apply(&policy(
        "from-y",
        json!({
            "podSelector": {"matchLabels": {"open": "yes"}},
            "ingress": [{"from": [{
                "namespaceSelector": {"matchLabels": {"trusted": "yes"}},
                "podSelector": {"matchLabels": {"trusted": "yes"}},
            }]}],
        }),
    ))?;
    table.holds(cluster, |call| call.to.namespace != "x")?;
    x.run("label pod b open=yes")?;
    y.run("label pod a trusted=yes")?;
    table.holds(cluster, |call| call.to.namespace != "x")?;
    y.run("label namespace y trusted=yes")?;
    table.holds(cluster, |call| {
        call.to.namespace != "x"
            || (call.to.pod == "b" && (call.from.namespace, call.from.pod) == ("y", "a"))
    })?;
    y.run("label pod a trusted-")?;
    table.holds(cluster, |call| call.to.namespace != "x")?;
    x.run("delete networkpolicy from-y")?;
    table.holds(cluster, |call| call.to.namespace != "x")?;
    x.run("delete networkpolicy deny")?;
    table.holds(cluster, |_| true)
}

fn egress(cluster: &Cluster, table: &Table) -> Result<()> {
    let y = shell(cluster, "y")?;
    y.apply(&policy(
        "deny",
        json!({"podSelector": {}, "policyTypes": ["Egress"]}),
    ))?;
    table.holds(cluster, |call| call.from.namespace != "y")?;
    ensure!(!resolves(&y, "a")?, "a pod without egress resolves names");
    y.apply(&allow_dns())?;
    eventually(SOON, "names are resolved", || {
        ensure!(resolves(&y, "a")?, "no answer");
        Ok(())
    })?;
    table.holds(cluster, |call| call.from.namespace != "y")?;
    // Both directions count: who may call must also be let in.
    let x = shell(cluster, "x")?;
    y.apply(&policy(
        "to-x",
        json!({
            "podSelector": {"matchLabels": {"pod": "a"}},
            "policyTypes": ["Egress"],
            "egress": [{
                "to": [{"namespaceSelector": {"matchLabels": {"team": "x"}}}],
                "ports": [{"port": "web"}],
            }],
        }),
    ))?;
    let to_x = |call: &Call| {
        call.from.pod == "a"
            && [("x", "a", 80), ("x", "b", 81)].contains(&(
                call.to.namespace,
                call.to.pod,
                call.port,
            ))
    };
    table.holds(cluster, |call| call.from.namespace != "y" || to_x(call))?;
    x.apply(&policy(
        "deny",
        json!({"podSelector": {"matchLabels": {"pod": "b"}}}),
    ))?;
    table.holds(cluster, |call| {
        (call.from.namespace != "y" || to_x(call)) && (call.to.namespace, call.to.pod) != ("x", "b")
    })?;
    x.run("delete networkpolicy deny")?;
    Ok(())
}

/// What a Service leads to is what counts; the Service's own address is nobody's.
fn services(cluster: &Cluster, table: &Table) -> Result<()> {
    let y = shell(cluster, "y")?;
    y.apply(&policy(
        "to-x",
        json!({
            "podSelector": {"matchLabels": {"pod": "a"}},
            "policyTypes": ["Egress"],
            "egress": [{
                "to": [{"namespaceSelector": {"matchLabels": {"team": "x"}}, "podSelector": {"matchLabels": {"pod": "a"}}}],
                "ports": [{"port": 80}],
            }],
        }),
    ))?;
    table.holds(cluster, |call| {
        call.from.namespace != "y"
            || (call.from.pod == "a"
                && (call.to.namespace, call.to.pod, call.port) == ("x", "a", 80))
    })?;
    ensure!(
        fetches(&y, "a", "http://to-a.x:8080/")?,
        "the Service's pod is allowed"
    );
    ensure!(
        !fetches(&y, "a", "http://to-b.x:8080/")?,
        "the Service's pod is not allowed"
    );
    ensure!(
        !fetches(&y, "b", "http://to-a.x:8080/")?,
        "no Service is allowed"
    );
    // A pod that comes to itself by its own Service.
    let x = shell(cluster, "x")?;
    x.apply(&policy(
        "deny",
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
    ))?;
    table.holds(cluster, |call| {
        call.from.namespace != "y" && call.from.namespace != "x"
    })?;
    let own = x.path("service to-a", "{.spec.clusterIP}")?;
    ensure!(
        fetches(&x, "a", &format!("http://{own}:8080/"))?,
        "a pod reaches itself by its Service"
    );
    x.run("delete networkpolicy deny")?;
    Ok(())
}

/// It is isolated before its first instruction.
fn newcomer(cluster: &Cluster) -> Result<()> {
    let y = shell(cluster, "y")?;
    let target = shell(cluster, "x")?.path("pod b", "{.status.podIP}")?;
    for round in 0..3 {
        let name = format!("newcomer-{round}");
        y.apply(&manifest::newcomer(&name, &target))?;
        let told = eventually(SOON, "the newcomer has tried", || {
            let told = y.run(&format!("logs {name}"))?;
            ensure!(told.contains("done"), "{told:?}");
            Ok(told)
        })?;
        ensure!(!told.contains("reached"), "{name} got out: {told}");
        y.run(&format!("delete pod {name} --grace-period=0 --force"))?;
    }
    Ok(())
}

/// Packets that bear another's address get nowhere: their sender's policies would not judge them.
fn forger(cluster: &Cluster) -> Result<()> {
    let (x, y) = (shell(cluster, "x")?, shell(cluster, "y")?);
    let target = x.path("pod b", "{.status.podIP}")?;
    // Messages that came in. Whether they were answered does not matter.
    let seen = || -> Result<u64> {
        let count = "grep '^Icmp: [0-9]' /proc/net/snmp | cut -d' ' -f2";
        let count = x.words(&["exec", "b", "--", "sh", "-c", count])?;
        Ok(count.trim().parse()?)
    };
    let ping = format!("ping -c 2 -W 1 {target} >/dev/null; true");
    let before = seen()?;
    x.words(&["exec", "a", "--", "sh", "-c", &ping])?;
    let after = seen()?;
    ensure!(after > before, "a pod that may is not seen");
    let forged = format!(
        "ip address add 10.42.0.250/32 dev eth0 && ip route add {target} via 169.254.1.1 dev eth0 src 10.42.0.250 && {ping}; \
         ip route del {target}; ip address del 10.42.0.250/32 dev eth0"
    );
    y.words(&["exec", "b", "--", "sh", "-c", &forged])?;
    ensure!(
        seen()? == after,
        "a pod was reached under another's address"
    );
    Ok(())
}

/// Rules stay while knarr is away, and are as they were when it is back.
fn restart(cluster: &mut Cluster, table: &Table) -> Result<()> {
    let name = format!("knarr-policy-{}", cluster.instance()?);
    let there = |cluster: &Cluster| rules(cluster, &name);
    let before = there(cluster)?;
    ensure!(before.contains("jump egress-"), "{before}");
    cluster.kill()?;
    ensure!(there(cluster)? == before, "rules changed without knarr");
    cluster.up()?;
    let to_x = |call: &Call| {
        call.from.pod == "a" && (call.to.namespace, call.to.pod, call.port) == ("x", "a", 80)
    };
    table.holds(cluster, |call| call.from.namespace != "y" || to_x(call))?;
    // And follow what changes.
    shell(cluster, "y")?.run("delete networkpolicy to-x")?;
    table.holds(cluster, |call| call.from.namespace != "y")
}

fn rules(cluster: &Cluster, table: &str) -> Result<String> {
    let mut nft = cluster.command("nft");
    nft.args(["list", "table", "ip", table]);
    run(nft, SOON)?.success()
}

fn resolves(shell: &Shell<'_>, pod: &str) -> Result<bool> {
    tells(
        shell,
        pod,
        "timeout 3 nslookup to-a.x.svc.cluster.local >/dev/null 2>&1 && echo yes || echo no",
    )
}

fn fetches(shell: &Shell<'_>, pod: &str, url: &str) -> Result<bool> {
    tells(
        shell,
        pod,
        &format!("timeout 3 wget -q -O /dev/null {url} && echo yes || echo no"),
    )
}

fn tells(shell: &Shell<'_>, pod: &str, script: &str) -> Result<bool> {
    let told = shell.words(&["exec", pod, "--", "sh", "-c", script])?;
    Ok(told.contains("yes"))
}
