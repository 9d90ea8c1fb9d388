//! `knarr image`: images come from files, streams and registries, and go when nobody uses them.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Result, ensure};
use knarr_testkit::{
    Cluster, Options, Output,
    image::{self, Image, LayerBuilder},
    registry::{Registry, honest},
    run_with_input,
};
use serde_json::{Value, json};

use crate::support::{Shell, newest, step, with_cluster};

const DEADLINE: Duration = Duration::from_secs(60);
const REGISTRY_PORT: u16 = 5000;

#[test]
fn images_are_listed_imported_pulled_and_removed() {
    with_cluster(Options::default(), |cluster| {
        step("nothing runs", || nothing_runs(cluster))?;
        step("knarr up, with what is no archive", || up(cluster))?;
        step("import", || import(cluster))?;
        step("what is no archive", || refused(cluster))?;
        step("ls", || listed(cluster))?;
        step("pull", || pull(cluster))?;
        step("rm", || removed(cluster))?;
        step("prune", || pruned(cluster))
    });
}

fn knarr(cluster: &Cluster, words: &[&str], input: &[u8]) -> Result<Output> {
    let mut command = cluster.knarr(&["image"])?;
    command
        .args(words)
        .arg("--data-dir")
        .arg(cluster.data_dir());
    run_with_input(command, input, DEADLINE)
}

fn says(cluster: &Cluster, words: &[&str], wanted: &[&str]) -> Result<String> {
    let output = knarr(cluster, words, b"")?.success()?;
    for text in wanted {
        ensure!(output.contains(text), "{words:?}: no {text:?} in\n{output}");
    }
    Ok(output)
}

fn fails(cluster: &Cluster, words: &[&str], input: &[u8], wanted: &str) -> Result<()> {
    let output = knarr(cluster, words, input)?.failure(1)?;
    ensure!(
        output.contains(wanted),
        "{words:?}: no {wanted:?} in\n{output}"
    );
    Ok(())
}

fn ids(cluster: &Cluster) -> Result<Vec<(String, String)>> {
    let text = knarr(cluster, &["ls", "--output", "json"], b"")?.success()?;
    let tree: Value = serde_json::from_str(&text)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let images = tree["images"].as_array().cloned().unwrap_or_default();
    let names = images
        .iter()
        .map(|image| (text(&image["repoTags"][0]), text(&image["id"])));
    Ok(names.collect())
}

fn has(cluster: &Cluster, name: &str) -> Result<bool> {
    Ok(ids(cluster)?.iter().any(|(tag, _)| tag == name))
}

/// An image of its own content.
fn made(name: &str) -> Result<Image> {
    let layer = LayerBuilder::new().file("name", 0o644, name.as_bytes())?;
    Ok(Image {
        name: name.to_owned(),
        layers: vec![layer.finish()?],
        config: json!({ "Cmd": ["/name"] }),
    })
}

fn archive(name: &str) -> Result<Vec<u8>> {
    image::archive(&[made(name)?], Vec::new())
}

fn nothing_runs(cluster: &Cluster) -> Result<()> {
    fails(cluster, &["ls"], b"", "no knarr runs on")
}

/// An archive that is none keeps no cluster from starting.
fn up(cluster: &mut Cluster) -> Result<()> {
    let directory = cluster.directory().join("at-start");
    fs::create_dir(&directory)?;
    fs::write(
        directory.join("broken.tar"),
        archive("local/broken:1")?.split_off(1024),
    )?;
    fs::write(directory.join("whole.tar"), archive("local/whole:1")?)?;
    cluster.add_flag(format!("--image-dir={}", directory.display()));
    cluster.up()?;
    let refused = format!("cannot import {}", directory.join("broken.tar").display());
    let printed = cluster.printed();
    ensure!(printed.contains(&refused), "no {refused:?} in\n{printed}");
    ensure!(
        has(cluster, "docker.io/local/whole:1")?,
        "another is not there"
    );
    Ok(())
}

fn import(cluster: &Cluster) -> Result<()> {
    let directory = cluster.directory().join("archives");
    fs::create_dir(&directory)?;
    let one = directory.join("one.tar");
    fs::write(&one, archive("local/one:1")?)?;
    fs::write(directory.join("two.tar"), archive("local/two:1")?)?;
    let path = |path: &Path| path.display().to_string();
    says(
        cluster,
        &["import", &path(&one)],
        &["imported docker.io/local/one:1"],
    )?;
    let both = ["docker.io/local/one:1", "docker.io/local/two:1"];
    says(cluster, &["import", &path(&directory)], &both)?;
    let output = knarr(cluster, &["import", "-"], &archive("local/three:1")?)?.success()?;
    ensure!(output.contains("docker.io/local/three:1"), "{output}");
    let unpacked = cluster.directory().join("unpacked");
    fs::create_dir(&unpacked)?;
    let mut tar = cluster.command("tar");
    tar.arg("-C").arg(&unpacked).args(["-xf", "-"]);
    run_with_input(tar, &archive("local/four:1")?, DEADLINE)?.success()?;
    says(
        cluster,
        &["import", &path(&unpacked)],
        &["docker.io/local/four:1"],
    )?;
    Ok(())
}

fn refused(cluster: &Cluster) -> Result<()> {
    let no = "neither a docker archive nor an OCI layout";
    fails(cluster, &["import", "-"], b"", no)?;
    let whole = archive("local/cut:1")?;
    let cut = &whole[..whole.len() / 2];
    fails(
        cluster,
        &["import", "-"],
        cut,
        "cannot import standard input",
    )?;
    ensure!(
        !has(cluster, "docker.io/local/cut:1")?,
        "a part of an archive was taken"
    );
    let empty = cluster.directory().join("empty");
    fs::create_dir(&empty)?;
    fails(
        cluster,
        &["import", &empty.display().to_string()],
        b"",
        "no archives",
    )?;
    fails(cluster, &["import", "/nowhere.tar"], b"", "No such file")
}

fn listed(cluster: &Cluster) -> Result<()> {
    let table = says(cluster, &["ls"], &["IMAGE ID", "docker.io/local/one", "MB"])?;
    let lines: Vec<&str> = table.lines().collect();
    ensure!(
        lines
            .iter()
            .all(|line| line.split_whitespace().count() >= 4),
        "{table}"
    );
    ensure!(has(cluster, "docker.io/local/four:1")?, "{table}");
    Ok(())
}

fn pull(cluster: &Cluster) -> Result<()> {
    // A registry of the loopback may do without TLS.
    let address = format!("127.0.0.1:{REGISTRY_PORT}").parse()?;
    let images = BTreeMap::from([("web".to_owned(), made("web")?)]);
    let listener = cluster.network().listen(address)?;
    let registry = Registry::serve(listener, move |request| honest(&images, request))?;
    let name = |image: &str| format!("{}/{image}:latest", registry.address());
    let web = name("web");
    says(cluster, &["pull", &web], &[&format!("pulled {web}")])?;
    ensure!(has(cluster, &web)?, "it is not listed");
    fails(cluster, &["pull", &name("other")], b"", "other")?;
    fails(cluster, &["pull", "A b"], b"", "failed to pull image")
}

fn removed(cluster: &Cluster) -> Result<()> {
    says(
        cluster,
        &["rm", "local/four:1"],
        &["removed docker.io/local/four:1"],
    )?;
    ensure!(
        !has(cluster, "docker.io/local/four:1")?,
        "it is still there"
    );
    fails(
        cluster,
        &["rm", "local/four:1"],
        b"",
        "there is no image local/four:1",
    )
}

fn pruned(cluster: &Cluster) -> Result<()> {
    let shell = Shell::new(cluster, newest()?, "default");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "user", "labels": { "app": "user" } },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "volumes": [{ "name": "one", "image": { "reference": "local/one:1" } }],
            "containers": [{
                "name": "main", "image": image::BUSYBOX, "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "100000"],
                "volumeMounts": [{ "name": "one", "mountPath": "/one" }],
            }],
        },
    });
    shell.apply(&pod.to_string())?;
    shell.wait_ready("app=user", 1)?;
    let planned = says(
        cluster,
        &["prune", "--dry-run"],
        &["would remove docker.io/local/two:1"],
    )?;
    for used in ["busybox", "local/one"] {
        ensure!(!planned.contains(used), "{used} is used:\n{planned}");
    }
    ensure!(has(cluster, "docker.io/local/two:1")?, "it was removed");
    fails(cluster, &["rm", image::BUSYBOX], b"", "in use by container")?;
    says(
        cluster,
        &["prune"],
        &["removed docker.io/local/two:1", "together"],
    )?;
    let mut left: Vec<String> = ids(cluster)?.into_iter().map(|(tag, _)| tag).collect();
    left.sort();
    ensure!(
        left == ["docker.io/knarr/busybox:latest", "docker.io/local/one:1"],
        "{left:?}"
    );
    Ok(())
}
