//! Ranges of addresses that come and go while the cluster runs.

use anyhow::{Result, ensure};
use knarr_testkit::eventually;
use serde_json::json;

use super::{balancing::fails, call};
use crate::support::{SOON, Shell};

const RANGE: &str = "10.44.7.0/24";
const ADDRESS: &str = "10.44.7.9";
const UNSERVED: &str = "10.44.7.10";

/// A Service of the pods `pair`, or of none.
fn service(name: &str, address: &str, app: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
        "clusterIP": address, "selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]}})
    .to_string()
}

pub fn another_range(shell: &Shell<'_>) -> Result<()> {
    let early = shell.output(&["apply", "-f", "-"], &service("ranged", ADDRESS, "pair"))?;
    let why = "the provided network does not match the current range";
    ensure!(early.stderr.contains(why), "{}", early.stderr);
    let range = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "more"}, "spec": {"cidrs": [RANGE]}});
    shell.apply(&range.to_string())?;
    let ready = "{.status.conditions[?(@.type=='Ready')].status}{.metadata.finalizers[0]}";
    let says = |wanted: &str| {
        eventually(SOON, &format!("the range says {wanted}"), || {
            let said = shell.path("servicecidr more", ready)?;
            ensure!(said == wanted, "{said:?}");
            Ok(())
        })
    };
    says("Truenetworking.k8s.io/service-cidr-finalizer")?;
    shell.apply(&service("ranged", ADDRESS, "pair"))?;
    shell.apply(&service("unserved", UNSERVED, "nobody"))?;
    let parent = shell.path(&format!("ipaddress {ADDRESS}"), "{.spec.parentRef.name}")?;
    ensure!(parent == "ranged", "{parent:?}");
    eventually(SOON, "it answers", || {
        let page = call(shell, &format!("timeout 2 wget -q -O - http://{ADDRESS}/"))?;
        ensure!(page.contains("host"), "{page}");
        Ok(())
    })?;
    fails(shell.cluster.curl(&[&format!("http://{UNSERVED}/")]), 7)?;
    // It stays while a Service has an address of it, and gives out nothing more.
    shell.run("delete servicecidr more --wait=false")?;
    says("Falsenetworking.k8s.io/service-cidr-finalizer")?;
    let late = shell.output(
        &["apply", "-f", "-"],
        &service("belated", "10.44.7.11", "pair"),
    )?;
    ensure!(late.stderr.contains(why), "{}", late.stderr);
    shell.run("delete service ranged unserved")?;
    eventually(SOON, "the range and its addresses are gone", || {
        let ranges = shell.run("get servicecidrs -o name")?;
        let addresses = shell.run("get ipaddresses -o name")?;
        ensure!(
            !ranges.contains("more") && !addresses.contains("10.44.7."),
            "{ranges}{addresses}"
        );
        Ok(())
    })
}
