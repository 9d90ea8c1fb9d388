//! Certificates with kubectl and openssl: for people, for kubelets and for pods; and whom to trust.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, eventually};
use serde_json::{Value, json};

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SIGNER: &str = "example.com/mine";

/// Looks at one thing.
type Check = fn(&Shell<'_>) -> Result<()>;

#[test]
fn certificates_are_asked_for_signed_and_shown() {
    with_running_cluster(|cluster| {
        let checks: [(&str, Check); 6] = [
            ("a person's certificate", person),
            ("a denied request", denied),
            ("what is not signed", refused),
            ("a kubelet's certificate", kubelet),
            ("trust bundles", trust),
            ("a pod's certificate", pod),
        ];
        for (name, check) in checks {
            step(name, || check(&shell(cluster)?))?;
        }
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    let shell = Shell::new(cluster, newest()?, "default");
    eventually(SOON, "the default service account", || {
        shell.run("get serviceaccount default")
    })?;
    Ok(shell)
}

fn openssl(directory: &Path, line: &str) -> Result<String> {
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(line.split_whitespace());
    let output = command.output().context("openssl")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl {line}: {error}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// In base64, as openssl writes it.
fn base64(directory: &Path, file: &str) -> Result<String> {
    openssl(directory, &format!("base64 -A -in {file}"))
}

/// A key and a request for this subject, in files of this name; the object that asks this signer.
fn request(
    directory: &Path,
    name: &str,
    subject: &str,
    signer: &str,
    usages: &[&str],
) -> Result<String> {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let files = format!("-keyout {name}.key -out {name}.csr");
    openssl(
        directory,
        &format!("req -new {key} {files} -subj {subject}"),
    )?;
    let object = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64(directory, &format!("{name}.csr"))?,
            "signerName": signer,
            "usages": usages,
            "expirationSeconds": 3600,
        },
    });
    Ok(object.to_string())
}

/// Waits for the request's certificate and writes it beside its key; its subject.
fn issued(shell: &Shell<'_>, directory: &Path, name: &str) -> Result<String> {
    let certificate = eventually(SOON, "a certificate", || {
        let text = shell.path(&format!("csr {name}"), "{.status.certificate}")?;
        ensure!(!text.is_empty(), "none yet");
        Ok(text)
    })?;
    fs::write(directory.join("base64"), certificate)?;
    openssl(
        directory,
        &format!("base64 -d -A -in base64 -out {name}.crt"),
    )?;
    openssl(directory, &format!("x509 -noout -subject -in {name}.crt"))
}

fn person(shell: &Shell<'_>) -> Result<()> {
    let directory = shell.cluster.directory();
    let object = request(
        &directory,
        "jane",
        "/O=devs/O=ops/CN=jane",
        CLIENT,
        &["client auth"],
    )?;
    shell.apply(&object)?;
    shell.says(
        "get csr jane",
        &[
            "REQUESTEDDURATION",
            CLIENT,
            "kubernetes-admin",
            "60m",
            "Pending",
        ],
    )?;
    shell.run("certificate approve jane")?;
    let subject = issued(shell, &directory, "jane")?;
    ensure!(
        subject.contains("devs") && subject.contains("ops") && subject.contains("jane"),
        "{subject}"
    );
    shell.says("get csr jane", &["Approved,Issued"])?;
    shell.says(
        "describe csr jane",
        &["Approved,Issued", "Common Name:", "jane"],
    )?;
    let path = |file: &str| directory.join(file).display().to_string();
    let (certificate, key) = (path("jane.crt"), path("jane.key"));
    shell.run(&format!(
        "config set-credentials jane --embed-certs --client-certificate={certificate} --client-key={key}"
    ))?;
    shell.says("auth whoami --user=jane", &["jane", "devs", "ops"])?;
    let list = ["get", "pods", "--user=jane"];
    let forbidden = shell.output(&list, "")?.failure(1)?;
    ensure!(
        forbidden.contains("User \"jane\" cannot list resource \"pods\""),
        "{forbidden}"
    );
    shell.run("create rolebinding ops --clusterrole=view --group=ops")?;
    eventually(SOON, "the binding's effect", || shell.words(&list))?;
    let secrets = shell.output(&["get", "secrets", "--user=jane"], "")?;
    secrets.failure(1)?;
    Ok(())
}

fn denied(shell: &Shell<'_>) -> Result<()> {
    let directory = shell.cluster.directory();
    let object = request(&directory, "eve", "/CN=eve", CLIENT, &["client auth"])?;
    shell.apply(&object)?;
    shell.run("certificate deny eve")?;
    shell.says("get csr eve", &["Denied"])?;
    // Nobody changes their mind.
    let approve = ["certificate", "approve", "eve"];
    let refused = shell.output(&approve, "")?.failure(1)?;
    ensure!(refused.contains("already Denied"), "{refused}");
    // Who may approve nothing does not.
    let object = request(&directory, "tom", "/CN=tom", CLIENT, &["client auth"])?;
    shell.apply(&object)?;
    shell.run("create clusterrole touch --verb=get,update --resource=certificatesigningrequests,certificatesigningrequests/approval")?;
    shell.run("create clusterrolebinding touch --clusterrole=touch --user=mallory")?;
    let approve = ["certificate", "approve", "tom", "--as=mallory"];
    eventually(SOON, "upstream's refusal", || {
        let refused = shell.output(&approve, "")?.failure(1)?;
        let why = format!("user not permitted to approve requests with signerName \"{CLIENT}\"");
        ensure!(refused.contains(&why), "{refused}");
        Ok(())
    })
}

fn refused(shell: &Shell<'_>) -> Result<()> {
    let directory = shell.cluster.directory();
    let masters = "/O=system:masters/CN=root";
    let object = request(&directory, "root", masters, CLIENT, &["client auth"])?;
    let refused = shell.output(&["apply", "-f", "-"], &object)?.failure(1)?;
    let why = "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed";
    ensure!(refused.contains(why), "{refused}");
    let object = request(&directory, "server", "/CN=x", CLIENT, &["server auth"])?;
    shell.apply(&object)?;
    shell.run("certificate approve server")?;
    eventually(SOON, "the signer's answer", || {
        shell.says("get csr server", &["Approved,Failed"])
    })?;
    shell.says(
        "get csr server -o yaml",
        &[
            "SignerValidationFailure",
            "invalid usage for client certificate: server auth",
        ],
    )?;
    Ok(())
}

fn kubelet(shell: &Shell<'_>) -> Result<()> {
    let directory = shell.cluster.directory();
    let role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
    shell.run(&format!(
        "create clusterrolebinding renewal --clusterrole={role} --group=system:nodes"
    ))?;
    let subject = "/O=system:nodes/CN=system:node:other";
    let usages = ["digital signature", "client auth"];
    let object = request(&directory, "other", subject, KUBELET_CLIENT, &usages)?;
    let create = [
        "create",
        "-f",
        "-",
        "--as=system:node:other",
        "--as-group=system:nodes",
        "--as-group=system:authenticated",
    ];
    shell.output(&create, &object)?.success()?;
    let subject = issued(shell, &directory, "other")?;
    ensure!(subject.contains("system:node:other"), "{subject}");
    shell.says(
        "get csr other -o yaml",
        &[
            "AutoApproved",
            "Auto approving self kubelet client certificate after SubjectAccessReview.",
        ],
    )?;
    Ok(())
}

/// A pod of busybox that shows a file of a projected volume again and again.
fn shows(name: &str, sources: &Value) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": "knarr/busybox:latest", "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", "sleep 1000"],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }],
            "volumes": [{"name": "v", "projected": {"sources": sources}}],
        },
    })
    .to_string()
}

/// A self-signed authority in files of this name; its certificate.
fn authority(directory: &Path, name: &str) -> Result<String> {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let files = format!("-keyout {name}.key -out {name}.crt");
    openssl(
        directory,
        &format!("req -x509 {key} {files} -subj /CN={name} -days 10"),
    )?;
    Ok(fs::read_to_string(directory.join(format!("{name}.crt")))?)
}

fn bundle(name: &str, signer: &str, text: &str) -> String {
    json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "ClusterTrustBundle",
        "metadata": {"name": name, "labels": {"mine": "yes"}},
        "spec": {"signerName": signer, "trustBundle": text},
    })
    .to_string()
}

fn trust(shell: &Shell<'_>) -> Result<()> {
    let directory = shell.cluster.directory();
    // That of the API server's own authority is there already.
    let own = "get clustertrustbundles --field-selector spec.signerName=kubernetes.io/kube-apiserver-serving";
    eventually(SOON, "the cluster's own bundle", || {
        shell.says(own, &["kubernetes.io:kube-apiserver-serving:"])
    })?;
    let (one, two) = (authority(&directory, "one")?, authority(&directory, "two")?);
    let name = "example.com:mine:a";
    let wrong = bundle("a", SIGNER, &one);
    let refused = shell.output(&["apply", "-f", "-"], &wrong)?.failure(1)?;
    ensure!(
        refused.contains("must be named with prefix example.com:mine:"),
        "{refused}"
    );
    shell.apply(&bundle(name, SIGNER, &one))?;
    let sources = json!([
        {"clusterTrustBundle": {"name": name, "path": "named.pem"}},
        {"clusterTrustBundle": {"signerName": SIGNER, "labelSelector": {}, "path": "all.pem"}},
        {"clusterTrustBundle": {"name": "none", "path": "none.pem", "optional": true}},
    ]);
    shell.apply(&shows("trusting", &sources))?;
    shell.run("wait --for=condition=ready --timeout=60s pod/trusting")?;
    let cat = |file: &str| shell.run(&format!("exec trusting -- cat /v/{file}.pem"));
    ensure!(
        cat("named")?.trim() == one.trim(),
        "another bundle is shown"
    );
    ensure!(cat("none")?.is_empty(), "something is shown of nothing");
    shell.apply(&bundle(
        "example.com:mine:b",
        SIGNER,
        &format!("{two}{one}"),
    ))?;
    eventually(SOON, "the second bundle, too", || {
        let shown = cat("all")?;
        let count = shown.matches("BEGIN CERTIFICATE").count();
        ensure!(count == 2 && shown.contains(two.trim()), "{shown}");
        Ok(())
    })?;
    shell.run("delete pod trusting --wait=false")?;
    Ok(())
}

fn pod(shell: &Shell<'_>) -> Result<()> {
    let directory = shell.cluster.directory();
    authority(&directory, "pods")?;
    let sources = json!([{"podCertificate": {
        "signerName": SIGNER, "keyType": "ECDSAP256", "credentialBundlePath": "both.pem", "keyPath": "key.pem",
        "certificateChainPath": "chain.pem", "userAnnotations": {"example.com/role": "web"},
    }}]);
    let short = json!([{"podCertificate": {
        "signerName": SIGNER, "keyType": "ECDSAP256", "keyPath": "k", "maxExpirationSeconds": 3599,
    }}]);
    let manifest = shows("short", &short);
    let refused = shell.output(&["apply", "-f", "-"], &manifest)?.failure(1)?;
    ensure!(
        refused.contains("if provided, maxExpirationSeconds must be >= 3600"),
        "{refused}"
    );
    shell.apply(&shows("certified", &sources))?;
    let request = eventually(SOON, "the kubelet's request", || {
        let name = shell.run("get podcertificaterequests -o name")?;
        ensure!(!name.trim().is_empty(), "none yet");
        Ok(name.trim().to_owned())
    })?;
    shell.says(
        "get podcertificaterequests -o wide",
        &[
            "certified",
            "default",
            SIGNER,
            "Pending",
            "example.com/role=web",
        ],
    )?;
    // Until somebody signs, the pod waits.
    let phase = shell.path("pod certified", "{.status.phase}")?;
    ensure!(phase == "Pending", "{phase}");
    let stub = shell.path(&request, "{.spec.stubPKCS10Request}")?;
    fs::write(directory.join("base64"), stub)?;
    openssl(&directory, "base64 -d -A -in base64 -out pod.der")?;
    let authority = "-CA pods.crt -CAkey pods.key -subj /CN=certified -days 1";
    openssl(
        &directory,
        &format!("x509 -req -inform DER -in pod.der -out pod.crt {authority}"),
    )?;
    let chain = fs::read_to_string(directory.join("pod.crt"))?;
    let dates = openssl(
        &directory,
        "x509 -noout -dates -dateopt iso_8601 -in pod.crt",
    )?;
    let date = |name: &str| -> Result<String> {
        let line = dates.lines().find_map(|line| line.strip_prefix(name));
        let line = line.with_context(|| format!("no {name} in {dates}"))?;
        Ok(line.trim_start_matches('=').replace(' ', "T"))
    };
    let (not_before, not_after) = (date("notBefore")?, date("notAfter")?);
    let status = json!({"status": {
        "certificateChain": chain, "notBefore": not_before, "notAfter": not_after,
        "beginRefreshAt": half_an_hour_after(&not_before)?,
        "conditions": [{"type": "Issued", "status": "True", "reason": "Signed", "message": "", "lastTransitionTime": not_before}],
    }});
    let patch = status.to_string();
    shell.words(&[
        "patch",
        &request,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ])?;
    shell.run("wait --for=condition=ready --timeout=60s pod/certified")?;
    let cat = |file: &str| shell.run(&format!("exec certified -- cat /v/{file}.pem"));
    let (key, shown) = (cat("key")?, cat("chain")?);
    ensure!(shown == chain, "another chain is shown: {shown}");
    ensure!(
        cat("both")? == format!("{key}{chain}"),
        "the bundle is not key and chain"
    );
    // The key is the certificate's.
    fs::write(directory.join("pod.key"), &key)?;
    let of_key = openssl(&directory, "pkey -pubout -in pod.key")?;
    let of_certificate = openssl(&directory, "x509 -noout -pubkey -in pod.crt")?;
    ensure!(of_key == of_certificate, "the key is another one");
    shell.run("delete pod certified --wait=false")?;
    eventually(
        Duration::from_secs(60),
        "the request's end with its pod",
        || {
            let left = shell.run("get podcertificaterequests -o name")?;
            ensure!(left.trim().is_empty(), "{left}");
            Ok(())
        },
    )
}

fn half_an_hour_after(time: &str) -> Result<String> {
    let mut command = Command::new("date");
    command.args([
        "-u",
        "-d",
        &format!("{time} + 30 minutes"),
        "+%Y-%m-%dT%H:%M:%SZ",
    ]);
    let output = command.output().context("date")?;
    ensure!(output.status.success(), "date does not read {time}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
