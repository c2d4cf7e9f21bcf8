"""Checks of how pods come and go: ends, pulls, versions, and nodes that are taken away."""

import re
from collections.abc import Iterator

from sluice.settings import ApiSettings
from tests.k8s.world import World, containers, environment, label, lasting, pod

LOCAL_VOLUMES = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
# Seconds that a new node and a pull may take; Triton's image has many gigabytes.
PULL_S, LARGE_PULL_S = 1200, 2400


def patient(world: World) -> Iterator[str]:
    """The longest work is shorter than the process's grace, and that is shorter than the pod's.

    A worker needs up to 5 s in between, to requeue its predictions.
    """
    for item in world.workloads:
        for container in pod(item)["containers"]:
            settings = environment(world, container)
            grace_s = pod(item).get("terminationGracePeriodSeconds", 30)
            pause_s = (
                container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            )
            if item["metadata"]["name"] == "worker" and not (
                float(settings["SLUICE_WORKER_MAX_RUN_S"])
                < float(settings["SLUICE_WORKER_GRACE_S"])
                < grace_s - pause_s - 10
            ):
                yield f"{label(item)} may be killed while a prediction still runs"
            if (
                item["metadata"]["name"] == "webhooks"
                and not float(settings["SLUICE_WEBHOOKS_GRACE_S"]) < grace_s - pause_s
            ):
                yield f"{label(item)} may be killed while a delivery is still sent"
            if item["metadata"]["name"] == "api" and not (
                ApiSettings().linger_s + float(settings["SLUICE_API_DRAIN_S"]) < grace_s - pause_s
            ):
                yield f"{label(item)} may be killed while a request is still answered"
            for argument in container.get("args", []):
                name, _, value = argument.partition("=")
                if name == "--exit-timeout-secs" and not int(value) < grace_s - pause_s:
                    yield f"{label(item)} may be killed while an inference still runs"


def awaited(world: World) -> Iterator[str]:
    """A roll-out is not called failed while a node still pulls, or a pod still starts."""
    for item in world.all("Deployment"):
        images = " ".join(container["image"] for container in containers(item))
        probes = [container.get("startupProbe", {}) for container in lasting(item)]
        start_s = max(
            probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3) for probe in probes
        )
        pull_s = LARGE_PULL_S if "tritonserver" in images else PULL_S
        if item["spec"].get("progressDeadlineSeconds", 600) < pull_s + start_s:
            yield f"{label(item)} is called failed while a node may still pull its image"


def evictable(world: World) -> Iterator[str]:
    """The cluster autoscaler may remove the node: nothing in an emptyDir must be kept."""
    for item in world.workloads:
        local = {volume["name"] for volume in pod(item).get("volumes", []) if "emptyDir" in volume}
        annotations = item["spec"]["template"]["metadata"].get("annotations", {})
        allowed = set(annotations.get(LOCAL_VOLUMES, "").split(",")) - {""}
        if local != allowed:
            yield f"{label(item)} keeps its node: {local ^ allowed} is in one list only"


def pinned(world: World) -> Iterator[str]:
    """No tag moves: it has three numbers, is one of Triton's months, or comes with a digest."""
    for item in world.workloads:
        for container in containers(item):
            name, _, tag = container["image"].rpartition("/")[2].partition(":")
            if "@sha256:" in container["image"] or (name.startswith("sluice-") and tag == "dev"):
                continue  # a digest, or an image that was built on this machine
            months = name == "tritonserver" and re.match(r"\d\d\.\d\d-", tag)
            if not months and not re.match(r"v?\d+\.\d+\.\d+", tag):
                yield f"{label(item)}, {container['name']} has no version in {container['image']}"
