"""The Python client as scripts and operators use it: typed and dynamic, watches, and streams to pods."""

import threading

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream
from steps import eventually, main, step, want

NAMESPACE = "python"

config.load_kube_config()
api = client.ApiClient()
core = client.CoreV1Api(api)
apps = client.AppsV1Api(api)


def config_map(name: str, value: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"made": "here"}},
        "data": {"key": value},
    }


def pod(name: str, image: str, command: list[str] | None = None) -> client.V1Pod:
    container = client.V1Container(name="main", image=image, image_pull_policy="IfNotPresent", command=command)
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=name, labels={"app": name}),
        spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=1),
    )


def run_pod(body: client.V1Pod) -> None:
    core.create_namespaced_pod(NAMESPACE, body)

    def ready() -> None:
        status = core.read_namespaced_pod(body.metadata.name, NAMESPACE).status
        ready = [c.status for c in status.conditions or [] if c.type == "Ready"]
        want(f"ready of {body.metadata.name}, which is {status.phase},", ready, ["True"])

    eventually(ready)


@step
def version() -> None:
    want("major", client.VersionApi(api).get_code().major, "1")


@step
def create_namespace() -> None:
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    eventually(lambda: core.read_namespaced_service_account("default", NAMESPACE))


@step
def typed() -> None:
    core.create_namespaced_config_map(NAMESPACE, config_map("typed", "first"))
    made = core.read_namespaced_config_map("typed", NAMESPACE)
    made.data["key"] = "second"
    core.replace_namespaced_config_map("typed", NAMESPACE, made)
    core.patch_namespaced_config_map("typed", NAMESPACE, {"data": {"patched": "yes"}})
    want("data", core.read_namespaced_config_map("typed", NAMESPACE).data, {"key": "second", "patched": "yes"})
    found = core.list_namespaced_config_map(NAMESPACE, label_selector="made=here", limit=1)
    want("maps", len(found.items), 1)
    core.delete_namespaced_config_map("typed", NAMESPACE)


@step
def errors_have_a_status() -> None:
    try:
        core.read_namespaced_pod("absent", NAMESPACE)
    except ApiException as error:
        want("status", error.status, 404)
        want("whether it is not found", '"reason":"NotFound"' in error.body.replace('": "', '":"'), True)
    else:
        raise AssertionError("a pod is found that is not there")


@step
def create_from_yaml() -> None:
    objects = [config_map("from-yaml", "value"), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "from-yaml"}}]
    utils.create_from_yaml(api, yaml_objects=objects, namespace=NAMESPACE)
    core.read_namespaced_secret("from-yaml", NAMESPACE)


@step
def watch_stream() -> None:
    version = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version

    def change() -> None:
        core.create_namespaced_config_map(NAMESPACE, config_map("watched", "first"))
        core.patch_namespaced_config_map("watched", NAMESPACE, {"data": {"key": "second"}})
        core.delete_namespaced_config_map("watched", NAMESPACE)

    threading.Thread(target=change, daemon=True).start()
    events = watch.Watch().stream(
        core.list_namespaced_config_map,
        NAMESPACE,
        field_selector="metadata.name=watched",
        resource_version=version,
        timeout_seconds=20,
    )
    seen = []
    for event in events:
        seen.append(event["type"])
        if len(seen) == 3:
            break
    want("events", seen, ["ADDED", "MODIFIED", "DELETED"])


@step
def dynamic_client() -> None:
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    maps.create(body=config_map("dynamic", "first"), namespace=NAMESPACE)
    patch = {"metadata": {"name": "dynamic"}, "data": {"key": "second"}}
    maps.patch(body=patch, namespace=NAMESPACE, content_type="application/merge-patch+json")
    want("key", maps.get(name="dynamic", namespace=NAMESPACE).data.key, "second")
    maps.delete(name="dynamic", namespace=NAMESPACE)


@step
def dynamic_apply() -> None:
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    body = config_map("applied", "value")
    applied = maps.server_side_apply(body=body, namespace=NAMESPACE, name="applied", field_manager="python")
    want("operation", applied.metadata.managedFields[0].operation, "Apply")


@step
def dynamic_custom_resource() -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "songs.python.knarr.dev"},
        "spec": {
            "group": "python.knarr.dev",
            "scope": "Namespaced",
            "names": {"plural": "songs", "singular": "song", "kind": "Song"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }
    client.ApiextensionsV1Api(api).create_custom_resource_definition(definition)
    songs = client.CustomObjectsApi(api)
    song = {"apiVersion": "python.knarr.dev/v1", "kind": "Song", "metadata": {"name": "shanty"}, "verses": 12}
    eventually(lambda: songs.create_namespaced_custom_object("python.knarr.dev", "v1", NAMESPACE, "songs", song))
    found = dynamic.DynamicClient(api).resources.get(api_version="python.knarr.dev/v1", kind="Song")
    want("verses", found.get(name="shanty", namespace=NAMESPACE).verses, 12)


@step
def deployment() -> None:
    served = pod("served", "knarr/hello:latest")
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels={"app": "served"}), spec=served.spec)
    spec = client.V1DeploymentSpec(
        replicas=1, selector=client.V1LabelSelector(match_labels={"app": "served"}), template=template
    )
    body = client.V1Deployment(metadata=client.V1ObjectMeta(name="served"), spec=spec)
    apps.create_namespaced_deployment(NAMESPACE, body)
    eventually(lambda: want("ready", apps.read_namespaced_deployment("served", NAMESPACE).status.ready_replicas, 1))
    apps.patch_namespaced_deployment_scale("served", NAMESPACE, {"spec": {"replicas": 0}})


@step
def pods() -> None:
    run_pod(pod("shell", "knarr/busybox:latest", ["sh", "-c", "while true; do echo tick; sleep 1; done"]))
    run_pod(pod("hello", "knarr/hello:latest"))


@step
def logs() -> None:
    want("a tick", core.read_namespaced_pod_log("shell", NAMESPACE, tail_lines=1).strip(), "tick")


@step
def logs_follow() -> None:
    lines = watch.Watch().stream(core.read_namespaced_pod_log, "shell", NAMESPACE)
    for _ in range(3):
        want("a tick", next(lines), "tick")


def execute(command: list[str], **options: object) -> object:
    return stream(core.connect_get_namespaced_pod_exec, "shell", NAMESPACE, command=command, stdout=True, stderr=True, **options)


@step
def exec_output() -> None:
    want("output", execute(["echo", "out"]), "out\n")


@step
def exec_exit_code() -> None:
    running = execute(["sh", "-c", "echo err >&2; exit 7"], _preload_content=False)
    running.run_forever(timeout=20)
    want("standard error", running.read_stderr(), "err\n")
    want("exit code", running.returncode, 7)


@step
def exec_stdin() -> None:
    running = execute(["head", "-n", "2"], stdin=True, _preload_content=False)
    running.write_stdin("one\ntwo\n")
    running.run_forever(timeout=20)
    want("output", running.read_stdout(), "one\ntwo\n")


@step
def port_forward() -> None:
    forward = portforward(core.connect_get_namespaced_pod_portforward, "hello", NAMESPACE, ports="8080")
    socket = forward.socket(8080)
    socket.settimeout(20)
    socket.sendall(b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n")
    answer = b""
    while chunk := socket.recv(4096):
        answer += chunk
    want("whether the page is there", b"Hello" in answer, True)


@step
def access_review() -> None:
    attributes = client.V1ResourceAttributes(verb="create", resource="pods", namespace=NAMESPACE)
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
    want("allowed", client.AuthorizationV1Api(api).create_self_subject_access_review(review).status.allowed, True)


@step
def evict() -> None:
    body = client.V1Eviction(metadata=client.V1ObjectMeta(name="hello", namespace=NAMESPACE))
    core.create_namespaced_pod_eviction("hello", NAMESPACE, body)


@step
def jobs() -> None:
    template = pod("once", "knarr/busybox:latest", ["true"])
    template.spec.restart_policy = "Never"
    batch = client.BatchV1Api(api)
    body = client.V1Job(
        metadata=client.V1ObjectMeta(name="once"),
        spec=client.V1JobSpec(template=client.V1PodTemplateSpec(spec=template.spec)),
    )
    batch.create_namespaced_job(NAMESPACE, body)
    eventually(lambda: want("succeeded", batch.read_namespaced_job("once", NAMESPACE).status.succeeded, 1))


@step
def delete_namespace() -> None:
    core.delete_namespace(NAMESPACE)

    def gone() -> None:
        want("namespaces left", [n.metadata.name for n in core.list_namespace().items if n.metadata.name == NAMESPACE], [])

    eventually(gone)


main()
