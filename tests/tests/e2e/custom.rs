//! Custom resources with kubectl: a definition, its objects, what refuses them, and their end.

use anyhow::{Result, ensure};
use knarr_testkit::{Cluster, eventually};

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

/// Looks at one thing; each goes on where the one before ended.
type Check = fn(&Shell<'_>) -> Result<()>;

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: boats, kind: Boat, shortNames: [bt], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.crew, statusReplicasPath: .status.crew}}
    selectableFields: [{jsonPath: .spec.flag}]
    additionalPrinterColumns:
    - {name: Crew, type: integer, jsonPath: .spec.crew}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        description: A boat that carries cargo.
        properties:
          spec:
            type: object
            required: [crew]
            x-kubernetes-validations:
            - {rule: 'self.crew <= self.berths', message: more crew than berths}
            properties:
              crew: {type: integer, minimum: 1, description: How many sail it.}
              berths: {type: integer, default: 6}
              flag:
                type: string
                default: none
                x-kubernetes-validations:
                - {rule: 'self == oldSelf', message: a flag is not changed at sea}
          status:
            type: object
            properties:
              crew: {type: integer}
              conditions:
                type: array
                items:
                  type: object
                  properties: {type: {type: string}, status: {type: string}}
"#;

#[test]
fn custom_resources_live_as_others_do() {
    with_running_cluster(|cluster| {
        let checks: [(&str, Check); 6] = [
            ("a definition", defined),
            ("objects", objects),
            ("refusals", refusals),
            ("status and scale", subresources),
            ("broken definitions", broken),
            ("the end", end),
        ];
        for (name, check) in checks {
            step(name, || check(&shell(cluster)?))?;
        }
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

fn boat(name: &str, spec: &str) -> String {
    format!("apiVersion: example.com/v1\nkind: Boat\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn defined(shell: &Shell<'_>) -> Result<()> {
    shell.apply(DEFINITION)?;
    shell.run("wait --for=condition=established --timeout=10s crd/boats.example.com")?;
    shell.says(
        "get crd boats.example.com -o wide",
        &["Namespaced", "v1(storage)", "Boat", "bt", "true"],
    )?;
    shell.says(
        "api-resources --api-group=example.com",
        &["boats", "bt", "example.com/v1"],
    )?;
    shell.says("explain boat.spec", &["crew", "How many sail it."])?;
    Ok(())
}

fn objects(shell: &Shell<'_>) -> Result<()> {
    shell.apply(&boat("knarr", "{crew: 3}"))?;
    shell.apply(&boat("skeid", "{crew: 5, flag: red}"))?;
    shell.says(
        "get bt",
        &["NAME", "CREW", "READY", "AGE", "knarr", "skeid"],
    )?;
    shell.says("get all", &["boat.example.com/knarr"])?;
    let berths = shell.path("boat/knarr", "{.spec.berths}")?;
    ensure!(berths == "6", "the default is {berths}");
    let red = shell.run("get boats --field-selector spec.flag=red -o name")?;
    ensure!(red.trim() == "boat.example.com/skeid", "{red}");
    shell.words(&[
        "patch",
        "boat",
        "knarr",
        "--type=merge",
        "-p",
        r#"{"spec":{"crew":4}}"#,
    ])?;
    shell.words(&["label", "boat", "knarr", "sea=north"])?;
    shell.says("get boats -l sea=north", &["knarr", "4"])?;
    Ok(())
}

/// What a command that must fail says.
fn refused(shell: &Shell<'_>, words: &[&str], input: &str, wanted: &str) -> Result<()> {
    let output = shell.output(words, input)?;
    let told = match output.success() {
        Ok(told) => anyhow::bail!("{words:?} was accepted: {told}"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(
        told.contains(wanted),
        "{words:?} does not say {wanted:?}:\n{told}"
    );
    Ok(())
}

fn refusals(shell: &Shell<'_>) -> Result<()> {
    let apply = |spec: &str, wanted: &str| {
        refused(shell, &["apply", "-f", "-"], &boat("other", spec), wanted)
    };
    apply("{}", "spec.crew: Required value")?;
    apply(
        "{crew: 0}",
        "spec.crew in body should be greater than or equal to 1",
    )?;
    apply("{crew: many}", "spec.crew in body must be of type integer")?;
    apply("{crew: 3, keel: oak}", "unknown field \"spec.keel\"")?;
    apply("{crew: 7}", "more crew than berths")?;
    let change = [
        "patch",
        "boat",
        "skeid",
        "--type=merge",
        "-p",
        r#"{"spec":{"flag":"blue"}}"#,
    ];
    refused(shell, &change, "", "a flag is not changed at sea")
}

fn subresources(shell: &Shell<'_>) -> Result<()> {
    shell.run("scale boat/knarr --replicas=2")?;
    let crew = shell.path("boat/knarr", "{.spec.crew}")?;
    ensure!(crew == "2", "{crew}");
    let status = r#"{"status":{"conditions":[{"type":"Ready","status":"Yes"}]}}"#;
    shell.words(&[
        "patch",
        "boat",
        "knarr",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ])?;
    shell.says("get boat knarr", &["Yes"])?;
    let generation = shell.path("boat/knarr", "{.metadata.generation}")?;
    ensure!(generation == "3", "{generation}");
    Ok(())
}

fn broken(shell: &Shell<'_>) -> Result<()> {
    let apply = |change: (&str, &str), wanted: &str| {
        let yaml = DEFINITION
            .replace("boats", "rafts")
            .replace(change.0, change.1);
        refused(shell, &["apply", "-f", "-"], &yaml, wanted)
    };
    apply(
        ("self.crew <= self.berths", "self.crew <= self.beds"),
        "undefined field 'beds'",
    )?;
    apply(
        ("storage: true", "storage: false"),
        "must have exactly one version marked as storage version",
    )?;
    apply(
        (
            "flag:\n                type: string",
            "flag:\n                type: text",
        ),
        "Unsupported value: \"text\"",
    )
}

fn end(shell: &Shell<'_>) -> Result<()> {
    shell.run("delete crd boats.example.com --timeout=30s")?;
    // kubectl remembers that there was such a kind.
    let gone = "could not find the requested resource";
    refused(shell, &["get", "boats"], "", gone)?;
    eventually(SOON, "the group is gone", || {
        let groups = shell.run("api-versions")?;
        ensure!(!groups.contains("example.com"), "{groups}");
        Ok(())
    })
}
