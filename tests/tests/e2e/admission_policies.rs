//! Admission policies with kubectl: refusals, warnings, parameters that are custom resources, mutations, and what is told of
//! expressions that do not fit.

use anyhow::{Result, ensure};
use knarr_testkit::{Cluster, eventually};

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

/// Looks at one thing; each goes on where the one before ended.
type Check = fn(&Shell<'_>) -> Result<()>;

const LIMITS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: replicalimits.rules.example.com}
spec:
  group: rules.example.com
  scope: Namespaced
  names: {plural: replicalimits, kind: ReplicaLimit}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {maxReplicas: {type: integer}}
"#;

const REPLICAS: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: replicas}
spec:
  paramKind: {apiVersion: rules.example.com/v1, kind: ReplicaLimit}
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  variables:
  - {name: replicas, expression: object.spec.replicas}
  validations:
  - expression: variables.replicas <= params.maxReplicas
    messageExpression: "'at most ' + string(params.maxReplicas) + ' replicas, not ' + string(variables.replicas)"
    reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: replicas-here}
spec:
  policyName: replicas
  validationActions: [ACTION]
  paramRef: {name: few, parameterNotFoundAction: Deny}
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: limited}}}
"#;

const MUTATIONS: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: sidecar}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  matchConditions:
  - {name: none-yet, expression: "!object.spec.containers.exists(c, c.name == 'side')"}
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >
        Object{spec: Object.spec{containers: [Object.spec.containers{name: 'side', image: object.spec.containers[0].image}]}}
  - patchType: JSONPatch
    jsonPatch:
      expression: >
        [JSONPatch{op: has(object.metadata.labels) ? 'add' : 'test', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/side'), value: string(size(object.spec.containers))}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: sidecar-here}
spec:
  policyName: sidecar
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: limited}}}
"#;

#[test]
fn policies_judge_and_mutate() {
    with_running_cluster(|cluster| {
        let checks: [(&str, Check); 6] = [
            ("a policy without its parameters", unparameterized),
            ("a refusal", refusal),
            ("a warning", warning),
            ("mutations", mutations),
            ("expressions that do not fit", expressions),
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
    Ok(Shell::new(cluster, newest()?, "limited"))
}

fn refused(shell: &Shell<'_>, line: &str, message: &str) -> Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let refused = shell.output(&words, "")?.failure(1)?;
    ensure!(refused.contains(message), "{refused}");
    Ok(())
}

fn unparameterized(shell: &Shell<'_>) -> Result<()> {
    shell.run("create namespace limited")?;
    shell.apply(&REPLICAS.replace("ACTION", "Deny"))?;
    let deploy = "create deployment a --image=knarr/busybox:latest --replicas=1";
    refused(
        shell,
        deploy,
        "ValidatingAdmissionPolicy 'replicas' denied request: failed to configure policy: failed to find resource referenced by paramKind: 'rules.example.com/v1, Kind=ReplicaLimit'",
    )?;
    shell.apply(LIMITS)?;
    shell.run(
        "wait --for=condition=established --timeout=10s crd/replicalimits.rules.example.com",
    )?;
    refused(
        shell,
        deploy,
        "ValidatingAdmissionPolicy 'replicas' with binding 'replicas-here' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
    )?;
    shell.apply("apiVersion: rules.example.com/v1\nkind: ReplicaLimit\nmetadata: {name: few}\nmaxReplicas: 2\n")?;
    Ok(())
}

fn refusal(shell: &Shell<'_>) -> Result<()> {
    let message = "deployments.apps \"a\" is forbidden: ValidatingAdmissionPolicy 'replicas' with binding 'replicas-here' denied request: at most 2 replicas, not 3";
    let deploy = "create deployment a --image=knarr/busybox:latest --replicas=3";
    refused(shell, deploy, message)?;
    shell.run("create deployment a --image=knarr/busybox:latest --replicas=0")?;
    refused(
        shell,
        "patch deployment a -p {\"spec\":{\"replicas\":3}}",
        "at most 2 replicas, not 3",
    )?;
    shell.run(
        "create deployment other --image=knarr/busybox:latest --replicas=3 --namespace default",
    )?;
    shell.run("delete deployment other --namespace default")?;
    Ok(())
}

fn warning(shell: &Shell<'_>) -> Result<()> {
    shell.apply(&REPLICAS.replace("ACTION", "Warn"))?;
    let words = [
        "patch",
        "deployment",
        "a",
        "-p",
        "{\"spec\":{\"replicas\":4}}",
        "--warnings-as-errors",
    ];
    let warned = shell.output(&words, "")?.failure(1)?;
    let wanted = "Warning: Validation failed for ValidatingAdmissionPolicy 'replicas' with binding 'replicas-here': at most 2 replicas, not 4";
    ensure!(warned.contains(wanted), "{warned}");
    ensure!(shell.path("deployment/a", "{.spec.replicas}")? == "4");
    shell.run("delete deployment a")?;
    Ok(())
}

fn mutations(shell: &Shell<'_>) -> Result<()> {
    shell.apply(MUTATIONS)?;
    eventually(SOON, "the default service account", || {
        shell.run("get serviceaccount default")
    })?;
    shell.run("run web --image=knarr/busybox:latest --restart=Never --command -- sleep 1000")?;
    let names = shell.path("pod/web", "{.spec.containers[*].name}")?;
    ensure!(names == "web side", "{names}");
    let label = shell.path("pod/web", "{.metadata.labels.example\\.com/side}")?;
    ensure!(label == "2", "{label}");
    shell.run("run plain --image=knarr/busybox:latest --restart=Never --namespace default --command -- sleep 1000")?;
    let names =
        shell.run("get pod plain --namespace default -o jsonpath={.spec.containers[*].name}")?;
    ensure!(names == "plain", "{names}");
    shell.run("delete pod plain --namespace default --now")?;
    Ok(())
}

fn expressions(shell: &Shell<'_>) -> Result<()> {
    let policy = |expression: &str| {
        let spec = format!(
            "matchConstraints: {{resourceRules: [{{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}}]}}\n  validations: [{{expression: \"{expression}\"}}]"
        );
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: odd}}\nspec:\n  {spec}\n"
        )
    };
    let refused = shell
        .output(&["apply", "-f", "-"], &policy("object.spec +"))?
        .failure(1)?;
    ensure!(
        refused.contains("spec.validations[0].expression: Invalid value: \"object.spec +\": compilation failed: ERROR: <input>:1:"),
        "{refused}"
    );
    shell.apply(&policy("object.spec.replicas > '1'"))?;
    eventually(SOON, "the expression's warning", || {
        let warning = "{.status.typeChecking.expressionWarnings[0].warning}";
        let told = shell.path("validatingadmissionpolicy/odd", warning)?;
        let wanted = "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'";
        ensure!(told.contains(wanted), "{told}");
        Ok(())
    })?;
    let field = "{.status.typeChecking.expressionWarnings[0].fieldRef}";
    let field = shell.path("validatingadmissionpolicy/odd", field)?;
    ensure!(field == "spec.validations[0].expression", "{field}");
    let observed = shell.path(
        "validatingadmissionpolicy/odd",
        "{.status.observedGeneration}",
    )?;
    ensure!(observed == "1", "{observed}");
    shell.says(
        "get validatingadmissionpolicies",
        &[
            "VALIDATIONS",
            "PARAMKIND",
            "rules.example.com/v1/ReplicaLimit",
        ],
    )?;
    shell.says(
        "get validatingadmissionpolicybindings",
        &["replicas", "*/few"],
    )?;
    shell.says(
        "get mutatingadmissionpolicies",
        &["sidecar", "2", "<unset>"],
    )?;
    shell.says(
        "explain mutatingadmissionpolicy.spec.mutations",
        &["applyConfiguration", "jsonPatch"],
    )?;
    Ok(())
}

fn end(shell: &Shell<'_>) -> Result<()> {
    shell.run("delete mutatingadmissionpolicybinding sidecar-here")?;
    shell.run("delete validatingadmissionpolicy odd replicas")?;
    shell.run("run late --image=knarr/busybox:latest --restart=Never --command -- sleep 1000")?;
    let names = shell.path("pod/late", "{.spec.containers[*].name}")?;
    ensure!(names == "late", "{names}");
    shell.run("create deployment b --image=knarr/busybox:latest --replicas=5 --dry-run=server")?;
    Ok(())
}
