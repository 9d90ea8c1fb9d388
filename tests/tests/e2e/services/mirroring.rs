//! Endpoints objects that a user makes: the slices, names and traffic they lead to, and their end.

use anyhow::{Result, ensure};
use knarr_testkit::eventually;
use serde_json::{Value, json};

use super::{
    call, cluster_ip, manifest,
    names::{DOMAIN, lookup, says},
    pod_ip,
};
use crate::support::{SOON, Shell};

pub fn mirrored(shell: &Shell<'_>) -> Result<()> {
    traffic(shell)?;
    names(shell)?;
    selector(shell)
}

fn slices(shell: &Shell<'_>, service: &str) -> Result<Vec<Value>> {
    let by = "endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io";
    let selector = format!("kubernetes.io/service-name={service},{by}");
    let list = shell.get(&format!("endpointslices -l {selector}"))?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// Waits until there are this many slices; them.
fn slices_are(shell: &Shell<'_>, service: &str, count: usize) -> Result<Vec<Value>> {
    eventually(SOON, &format!("{count} slices of {service}"), || {
        let found = slices(shell, service)?;
        ensure!(found.len() == count, "{found:?}");
        Ok(found)
    })
}

fn traffic(shell: &Shell<'_>) -> Result<()> {
    for (pod, port) in [("alpha", 8080), ("beta", 8081)] {
        let endpoints = manifest::endpoints("manual", &[json!({"ip": pod_ip(shell, pod)?})], port);
        shell.apply(&endpoints.to_string())?;
        eventually(SOON, &format!("{pod} answers"), || {
            let page = call(shell, "timeout 2 wget -q -O - http://manual/")?;
            ensure!(page.contains(&format!("host: {pod}")), "{page}");
            Ok(())
        })?;
    }
    let found = slices_are(shell, "manual", 1)?;
    let owner = &found[0]["metadata"]["ownerReferences"][0];
    ensure!(
        owner["kind"] == "Endpoints" && owner["name"] == "manual",
        "{owner}"
    );
    shell.run("delete endpoints manual")?;
    slices_are(shell, "manual", 0)?;
    let url = format!("http://{}/", cluster_ip(shell, "manual")?);
    eventually(SOON, "nobody answers", || {
        super::balancing::fails(shell.cluster.curl(&[&url]), 7)
    })
}

fn names(shell: &Shell<'_>) -> Result<()> {
    let (alpha, beta) = (pod_ip(shell, "alpha")?, pod_ip(shell, "beta")?);
    let mut endpoints =
        manifest::endpoints("listed", &[json!({"ip": alpha, "hostname": "one"})], 8080);
    endpoints["subsets"][0]["notReadyAddresses"] = json!([{"ip": beta, "hostname": "two"}]);
    shell.apply(&endpoints.to_string())?;
    let name = format!("listed.{DOMAIN}");
    says(shell, "a", &name, &[&alpha])?;
    says(shell, "a", &format!("one.{name}"), &[&alpha])?;
    let srv = format!("8080 one.{name}");
    says(shell, "srv", &format!("_web._tcp.{name}"), &[&srv])?;
    let all = lookup(shell, "a", &name)?;
    ensure!(!all.contains(&beta), "{all}");
    Ok(())
}

/// With a selector the endpoints are pods, and the mirrored ones go.
fn selector(shell: &Shell<'_>) -> Result<()> {
    slices_are(shell, "listed", 1)?;
    shell.words(&[
        "patch",
        "service",
        "listed",
        "-p",
        r#"{"spec":{"selector":{"app":"pair"}}}"#,
    ])?;
    slices_are(shell, "listed", 0)?;
    let beta = pod_ip(shell, "beta")?;
    says(shell, "a", &format!("listed.{DOMAIN}"), &[&beta])?;
    shell.run("delete service listed").map(drop)
}
