//! What a registry can try against those who pull from it.

mod cases;
mod forge;

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{
    Cluster, NODE_IP, Options, eventually,
    registry::{Answer, Registry},
};
use serde_json::{Value, json};

use self::cases::{Case, Cases};
use crate::{
    neighbours::Neighbours,
    support::{SOON, Shell, newest, step, with_cluster},
};

const BUSYBOX: &str = "/bin/busybox";
/// Within which every pull ends: a registry has a minute without progress, and some wait for others.
const ENDED: Duration = Duration::from_secs(240);
/// Longest message of a container's state, bytes: the pull's own and what the kubelet puts around it.
const MAX_MESSAGE_BYTES: usize = 1_400;

/// Registries of the node's network, and what they were asked.
struct Registries {
    /// Answers by repository: stuck ones, quick ones, good ones.
    servers: Vec<(Registry, Vec<(&'static str, &'static str)>)>,
    /// Of the node's loopback: nobody has business there.
    secret: Registry,
}

#[test]
fn a_registry_cannot_harm_who_pulls_from_it() {
    if !Path::new(BUSYBOX).exists() {
        eprintln!("skipped: needs {BUSYBOX} (Debian's busybox-static)");
        return;
    }
    with_cluster(Options::default(), |cluster| {
        let marker = format!("{}-marker", cluster.cgroup_root().trim_matches('/'));
        let registries = step("registries", || serve(cluster, &marker))?;
        step("knarr up", || cluster.up())?;
        let shell = Shell::new(cluster, newest()?, "default");
        step("a bystander", || Neighbours::settle(&shell))?;
        // Once before it is measured: what a server that has just started has not touched yet is nobody's doing.
        step("quick refusals, once", || refused(&shell, &registries, 1))?;
        let (neighbours, before) = (Neighbours::meet(cluster, &shell)?, layers(cluster)?);
        let begun = Instant::now();
        step("pulls that get stuck", || apply(&shell, &registries, 0))?;
        step("odd images run meanwhile", || odd(&shell, &registries, 2))?;
        ensure!(begun.elapsed() < ENDED, "good pulls waited for bad ones");
        step("every refusal says why", || refused(&shell, &registries, 1))?;
        step("every stuck pull ends and says why", || {
            told(&shell, &registries, 0)
        })?;
        ensure!(
            !Path::new("/tmp").join(&marker).exists(),
            "a layer wrote to the host"
        );
        let asked = registries.secret.requests();
        ensure!(asked.is_empty(), "the node's loopback was asked: {asked:?}");
        step("the cluster is as it was", || {
            neighbours.unharmed(cluster, &shell)?;
            no_layers_left(cluster, before)
        })
    });
}

/// Starts the registries and tells the cluster, before it runs, to speak with them without TLS.
fn serve(cluster: &mut Cluster, marker: &str) -> Result<Registries> {
    let network = cluster.network();
    let listen =
        |address: Ipv4Addr, port: u16| network.listen(SocketAddr::new(address.into(), port));
    let secret = Registry::serve(listen(Ipv4Addr::LOCALHOST, 7000)?, |_| {
        Answer::new("200 OK", r#"{"token":"secret"}"#)
    })?;
    let port = secret.address().port();
    let quick: Vec<Case> = [
        cases::answers(port),
        cases::documents()?,
        cases::layers(port)?,
    ]
    .into_iter()
    .flatten()
    .collect();
    let odd = cases::odd(&fs::read(BUSYBOX)?, marker)?;
    let mut servers = Vec::new();
    let mut mirrors = serde_json::Map::new();
    for (n, cases) in [cases::stuck()?, quick, odd].into_iter().enumerate() {
        let cases = Cases::new(cases);
        let wanted = cases.wanted();
        let port = 7001 + u16::try_from(n)?;
        let server = Registry::serve(listen(NODE_IP.parse()?, port)?, move |request| {
            cases.answer(request)
        })?;
        let address = server.address();
        mirrors.insert(
            address.to_string(),
            json!({"endpoint": [format!("http://{address}")]}),
        );
        servers.push((server, wanted));
    }
    let path = cluster.directory().join("registries.yaml");
    fs::write(&path, json!({"mirrors": mirrors}).to_string())?;
    cluster.add_flag(format!("--registries={}", path.display()));
    Ok(Registries { servers, secret })
}

fn pod(name: &str, image: &str, policy: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
            "containers": [{
                "name": "main", "image": image, "imagePullPolicy": policy, "command": ["/bin/busybox", "sleep", "3600"],
            }],
        },
    })
}

/// A pod for every image of a registry.
fn apply(shell: &Shell<'_>, registries: &Registries, of: usize) -> Result<()> {
    let (server, cases) = &registries.servers[of];
    let pods: Vec<Value> = cases
        .iter()
        .map(|(name, _)| pod(name, &format!("{}/{name}", server.address()), "Always"))
        .collect();
    shell.apply(&json!({"apiVersion": "v1", "kind": "List", "items": pods}).to_string())?;
    Ok(())
}

fn refused(shell: &Shell<'_>, registries: &Registries, of: usize) -> Result<()> {
    apply(shell, registries, of)?;
    told(shell, registries, of)
}

/// Waits until every pod says what is wrong with its image, and removes it.
fn told(shell: &Shell<'_>, registries: &Registries, of: usize) -> Result<()> {
    let mut left = registries.servers[of].1.clone();
    eventually(ENDED, "every pod tells of its image", || {
        let list = shell.get("pods")?;
        let mut done = Vec::new();
        for (name, wanted) in &left {
            let pods = list["items"].as_array().context("a list")?;
            let pod = pods
                .iter()
                .find(|pod| pod["metadata"]["name"] == *name)
                .context(*name)?;
            if says(pod, wanted)? {
                done.push(*name);
            }
        }
        if !done.is_empty() {
            shell.run(&format!("delete pod --wait=false {}", done.join(" ")))?;
            left.retain(|(name, _)| !done.contains(name));
        }
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .with_context(|| describe(shell))?;
    eventually(SOON, "they are gone", || {
        let list = shell.get("pods")?;
        let pods = list["items"].as_array().context("a list")?;
        let all = &registries.servers[of].1;
        let left = pods
            .iter()
            .filter(|pod| all.iter().any(|(name, _)| pod["metadata"]["name"] == *name));
        ensure!(left.count() == 0, "some are there");
        Ok(())
    })
}

/// Whether a pod's image was refused; an error when it is for another reason, or when it is not said in a few plain words.
fn says(pod: &Value, wanted: &str) -> Result<bool> {
    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
    let message = waiting["message"].as_str().unwrap_or_default();
    if !matches!(
        waiting["reason"].as_str(),
        Some("ErrImagePull" | "ImagePullBackOff")
    ) || !message.contains("failed to pull")
    {
        return Ok(false);
    }
    let is_plain = message.len() < MAX_MESSAGE_BYTES
        && !message.contains(|c: char| c.is_control() || c == '\u{202e}');
    ensure!(
        message.contains(wanted) && is_plain,
        "{}: {message:?}",
        pod["metadata"]["name"]
    );
    Ok(true)
}

fn describe(shell: &Shell<'_>) -> String {
    let path = "{range .items[*]}{.metadata.name}{\"\\t\"}{.status.containerStatuses[0].state.waiting}{\"\\n\"}{end}";
    shell
        .words(&["get", "pods", "-o", &format!("jsonpath={path}")])
        .unwrap_or_default()
}

fn running(shell: &Shell<'_>, name: &str) -> Result<()> {
    eventually(2 * SOON, &format!("pod {name} runs"), || {
        let pod = shell.get(&format!("pod {name}"))?;
        ensure!(pod["status"]["phase"] == "Running", "{}", pod["status"]);
        Ok(())
    })
}

/// Images whose layers are odd, and whose containers run all the same.
fn odd(shell: &Shell<'_>, registries: &Registries, of: usize) -> Result<()> {
    apply(shell, registries, of)?;
    let (server, cases) = &registries.servers[of];
    for (name, _) in cases {
        running(shell, name).with_context(|| format!("{name} of {}", server.address()))?;
    }
    let names: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
    shell.run(&format!("delete pod {}", names.join(" ")))?;
    Ok(())
}

/// Names of the layers that the node has, whole or not.
fn layers(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let images = cluster.data_dir().join("runtime/images");
    let mut names = BTreeSet::new();
    for folder in ["layers", "tmp"] {
        for entry in fs::read_dir(images.join(folder))? {
            names.insert(entry?.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// No layer is left but those of images, and those that were there.
fn no_layers_left(cluster: &Cluster, before: BTreeSet<String>) -> Result<()> {
    let images = fs::read_dir(cluster.data_dir().join("runtime/images/records"))?;
    let mut known = before;
    for image in images {
        let record: Value = serde_json::from_slice(&fs::read(image?.path())?)?;
        let layers = record["config"]["rootfs"]["diff_ids"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for layer in layers {
            let name = layer
                .as_str()
                .and_then(|id| id.get("sha256:".len()..)?.get(..32))
                .context("a layer")?;
            known.extend([name.to_owned(), format!("{name}.json")]);
        }
    }
    eventually(2 * SOON, "the disk is given back", || {
        let left: Vec<String> = layers(cluster)?.difference(&known).cloned().collect();
        ensure!(left.is_empty(), "left on the disk: {left:?}");
        Ok(())
    })
}
