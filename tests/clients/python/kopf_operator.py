"""kopf as operators use it: handlers for a built-in kind and for one of their own, with finalizers, timers and events."""

import asyncio
import threading

import kopf
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from steps import eventually, main, step, want

NAMESPACE = "kopf"
GROUP = "kopf.knarr.dev"

config.load_kube_config()
core = client.CoreV1Api()
songs = client.CustomObjectsApi()
seen: list[str] = []


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: object) -> None:
    settings.posting.enabled = True
    settings.persistence.finalizer = f"{GROUP}/finalizer"


@kopf.on.create("configmaps", labels={"kopf": "yes"})
def map_made(name: str, body: kopf.Body, **_: object) -> None:
    seen.append(f"made {name}")
    kopf.info(body, reason="Made", message="told by the operator")


@kopf.on.field("configmaps", field="data.key", labels={"kopf": "yes"})
def key_changed(old: object, new: object, **_: object) -> None:
    seen.append(f"key {old} {new}")


@kopf.on.delete("configmaps", labels={"kopf": "yes"})
def map_deleted(name: str, **_: object) -> None:
    seen.append(f"deleted {name}")


@kopf.on.create(GROUP, "v1", "songs")
def song_made(spec: kopf.Spec, patch: kopf.Patch, **_: object) -> None:
    patch.status["sung"] = spec["verses"]


@kopf.on.delete(GROUP, "v1", "songs")
def song_deleted(name: str, **_: object) -> None:
    seen.append(f"song deleted {name}")


def start(namespace: str) -> threading.Event:
    """Runs the operator for the rest of the program; the event is set once it is ready."""
    ready = threading.Event()

    def run() -> None:
        asyncio.run(kopf.operator(namespaces=[namespace], standalone=True, ready_flag=ready))

    threading.Thread(target=run, daemon=True).start()
    return ready


def was_seen(what: str) -> None:
    want(f"whether {what!r} is in {seen}", what in seen, True)


def read(name: str) -> client.V1ConfigMap:
    return core.read_namespaced_config_map(name, NAMESPACE)


@step
def definition() -> None:
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": schema, "status": schema}}},
    }
    client.ApiextensionsV1Api().create_custom_resource_definition(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"songs.{GROUP}"},
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": {"plural": "songs", "singular": "song", "kind": "Song"},
                "versions": [version],
            },
        }
    )


@step
def operator_starts() -> None:
    want("ready", start(NAMESPACE).wait(30), True)


@step
def builtin_create() -> None:
    body = {"metadata": {"name": "settings", "labels": {"kopf": "yes"}}, "data": {"key": "first"}}
    core.create_namespaced_config_map(NAMESPACE, body)
    eventually(lambda: was_seen("made settings"), 20)

    def kept() -> None:
        metadata = read("settings").metadata
        want("finalizers", metadata.finalizers, [f"{GROUP}/finalizer"])
        want("whether the state is kept", "kopf.zalando.org/last-handled-configuration" in (metadata.annotations or {}), True)

    eventually(kept, 20)


@step
def builtin_field() -> None:
    core.patch_namespaced_config_map("settings", NAMESPACE, {"data": {"key": "second"}})
    eventually(lambda: was_seen("key first second"), 20)


@step
def builtin_events() -> None:
    def logged() -> None:
        events = core.list_namespaced_event(NAMESPACE, field_selector="involvedObject.name=settings").items
        want("whether there are events", any(event.reason == "Made" for event in events), True)

    eventually(logged, 20)


@step
def builtin_delete() -> None:
    core.delete_namespaced_config_map("settings", NAMESPACE)
    eventually(lambda: was_seen("deleted settings"), 20)

    def gone() -> None:
        try:
            read("settings")
        except ApiException as error:
            want("status", error.status, 404)
        else:
            raise AssertionError("the config map is there")

    eventually(gone)


@step
def custom_create() -> None:
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Song", "metadata": {"name": "shanty"}, "spec": {"verses": 12}}
    eventually(lambda: songs.create_namespaced_custom_object(GROUP, "v1", NAMESPACE, "songs", body), 20)

    def sung() -> None:
        found = songs.get_namespaced_custom_object(GROUP, "v1", NAMESPACE, "songs", "shanty")
        want("status", found.get("status", {}).get("sung"), 12)

    eventually(sung)


@step
def custom_delete() -> None:
    songs.delete_namespaced_custom_object(GROUP, "v1", NAMESPACE, "songs", "shanty")
    eventually(lambda: was_seen("song deleted shanty"))


main()
