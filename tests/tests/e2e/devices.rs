//! Devices: a driver of dynamic resources in this process publishes two, and pods get them by CDI.

mod driver;

use anyhow::{Result, ensure};
use knarr_testkit::{eventually, image};
use serde_json::{Value, json};

use crate::support::{SOON, Shell, newest, step, with_running_cluster};
use driver::Driver;

#[test]
fn pods_get_the_devices_that_they_claim() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        let driver = step("a driver registers", || Driver::start(cluster))?;
        let node = shell.path("nodes", "{.items[0].metadata.name}")?;
        step("devices", || publish(&shell, &driver, &node))?;
        step("one device each", || {
            shell.apply(&template(&driver).to_string())?;
            shell.apply(&pod("first", "gpu").to_string())?;
            prints(&shell, "first")?;
            shell.apply(&pod("second", "gpu").to_string())?;
            prints(&shell, "second")?;
            let (one, two) = (gpu(&shell, "first")?, gpu(&shell, "second")?);
            ensure!(one != two, "both have {one}");
            let claims = shell.run("get resourceclaims")?;
            ensure!(
                claims.matches("allocated,reserved").count() == 2,
                "{claims}"
            );
            Ok(())
        })?;
        step("there is no third", || {
            shell.apply(&pod("third", "gpu").to_string())?;
            eventually(SOON, "it says why it waits", || {
                shell.says(
                    "describe pod third",
                    &["FailedScheduling", "cannot allocate all claims"],
                )
            })
        })?;
        step("a device breaks", || {
            shell.apply(&taint(&driver, &gpu(&shell, "first")?).to_string())?;
            eventually(SOON, "its pod is evicted, and its claim with it", || {
                let pods = shell.run("get pods -o name")?;
                ensure!(!pods.contains("pod/first"), "{pods}");
                shell.says("get events", &["DeviceTaintManagerEviction"])?;
                let third = shell.path("pod third", "{.spec.nodeName}")?;
                ensure!(third.is_empty(), "it got the broken device");
                Ok(())
            })
        })?;
        step("it is repaired", || {
            shell.run("delete devicetaintrule broken")?;
            prints(&shell, "third")?;
            let undone = driver
                .calls()
                .iter()
                .filter(|call| call.starts_with("unprepare"))
                .count();
            ensure!(undone == 1, "{:?}", driver.calls());
            Ok(())
        })?;
        step("a device for an extended resource", || {
            shell.run("delete pod second --grace-period=1")?;
            shell.apply(&with_extended_resource(&driver).to_string())?;
            prints(&shell, "fourth")
        })
    });
}

/// A class of the driver's devices, and a slice with two of them and one that is too small.
fn publish(shell: &Shell<'_>, driver: &Driver, node: &str) -> Result<()> {
    let name = driver.name();
    let class = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass",
        "metadata": {"name": "gpu"},
        "spec": {
            "selectors": [{"cel": {"expression": format!("device.driver == '{name}' && device.attributes['{name}'].memory >= 8")}}],
            "extendedResourceName": format!("{name}/gpu"),
        },
    });
    let device =
        |name: &str, memory: i64| json!({"name": name, "attributes": {"memory": {"int": memory}}});
    let slice = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice",
        "metadata": {"name": "gpus"},
        "spec": {
            "driver": name, "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [device("a", 8), device("small", 4), device("b", 16)],
        },
    });
    shell.apply(&class.to_string())?;
    shell.apply(&slice.to_string()).map(drop)
}

fn template(driver: &Driver) -> Value {
    let name = driver.name();
    let config = json!({"opaque": {"driver": name, "parameters": {"kind": "test"}}});
    json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": {"name": "gpu"},
        "spec": {"spec": {"devices": {
            "requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}],
            "config": [config],
        }}},
    })
}

fn container(resources: &Value) -> Value {
    json!({
        "name": "main", "image": image::BUSYBOX, "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "echo gpu=$GPU; echo x > /dev/gpu-$GPU && echo written; exec sleep 100000"],
        "resources": resources,
    })
}

/// Says which device it has, and writes to it.
fn pod(name: &str, template: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": template}],
            "containers": [container(&json!({"claims": [{"name": "gpu"}]}))],
        },
    })
}

fn with_extended_resource(driver: &Driver) -> Value {
    let resource = format!("{}/gpu", driver.name());
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "fourth"},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [container(&json!({"limits": {resource: "1"}}))],
        },
    })
}

fn taint(driver: &Driver, device: &str) -> Value {
    json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "DeviceTaintRule",
        "metadata": {"name": "broken"},
        "spec": {
            "deviceSelector": {"driver": driver.name(), "device": device},
            "taint": {"key": "broken", "effect": "NoExecute"},
        },
    })
}

fn prints(shell: &Shell<'_>, pod: &str) -> Result<()> {
    eventually(SOON, &format!("{pod} has a device"), || {
        shell.says(&format!("logs {pod}"), &["written"]).map(drop)
    })
}

/// The device that a pod says it has.
fn gpu(shell: &Shell<'_>, pod: &str) -> Result<String> {
    let log = shell.run(&format!("logs {pod}"))?;
    let said = log.lines().find_map(|line| line.strip_prefix("gpu="));
    let said = said.map(str::to_owned);
    said.ok_or_else(|| anyhow::anyhow!("{pod} does not say which device it has: {log}"))
}
