"""Checks that bytes, memory, disks and pods hang together: k8s/README.md, "Sizes", has the rule."""

import re
from collections.abc import Iterator

from sluice.redisio.names import Names
from sluice.settings import QueueSettings
from tests.k8s.world import Object, World, environment, label, pod

IMAGE_BYTES = 1_000_000
"""The mean image that the overlays are made for."""
RETAINED = {"whenDeleted": "Retain", "whenScaled": "Retain"}
_UNITS = {"": 1, "mb": 1 << 20, "gb": 1 << 30, "Mi": 1 << 20, "Gi": 1 << 30}


def remembered(world: World) -> Iterator[str]:
    """The stores keep everything on a disk of their own, which outlives them."""
    for item in world.all("StatefulSet"):
        options = _options(world, item)
        if options.get("appendonly") != "yes" or options.get("maxmemory-policy") != "noeviction":
            yield f"{label(item)} may forget"
        if "volumeClaimTemplates" not in item["spec"]:
            yield f"{label(item)} has no disk"
        if item["spec"].get("persistentVolumeClaimRetentionPolicy") != RETAINED:
            yield f"{label(item)} may take its disk with it"


def sized(world: World) -> Iterator[str]:
    """Each bound has room for the one before.

    The workers' pods, the bytes that may wait, the store's memory, its container and its disk.
    """
    worker = world.one("Deployment", "worker")
    if worker is None:
        return
    settings = environment(world, pod(worker)["containers"][0])
    max_bytes = int(settings["SLUICE_QUEUE_MAX_BYTES"])
    max_backlog = int(settings.get("SLUICE_QUEUE_MAX_BACKLOG", QueueSettings().max_backlog))
    for scaler in world.all("ScaledObject"):
        if scaler["spec"]["scaleTargetRef"]["name"] == "worker":
            wanted = scaler["spec"]["maxReplicaCount"] * _list_length(scaler)
            if wanted * IMAGE_BYTES > max_bytes or wanted > max_backlog:
                yield f"{label(scaler)} never reaches its most pods: too little may wait"
    for item in world.all("StatefulSet"):
        max_memory = _bytes(_options(world, item).get("maxmemory", ""))
        resources = pod(item)["containers"][0]["resources"]
        disk = item["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
        if item["metadata"]["name"] == "redis-blobs" and max_memory < 2 * max_bytes:
            yield f"{label(item)} has not the room for the images that may wait"
        if _bytes(resources["requests"]["memory"]) < max_memory:
            yield f"{label(item)} may be placed on a node without the memory"
        if _bytes(resources["limits"]["memory"]) < 2 * max_memory:
            yield f"{label(item)} has not the memory to rewrite its file"
        if _bytes(disk) < 4 * max_memory:
            yield f"{label(item)} has not the disk to rewrite its file"


def _list_length(scaler: Object) -> int:
    live = Names(QueueSettings().name).live
    return next(
        int(trigger["metadata"]["listLength"])
        for trigger in scaler["spec"]["triggers"]
        if trigger["metadata"].get("listName") == live
    )


def _options(world: World, store: Object) -> dict[str, str]:
    """Redis's options, of all files that the configuration includes."""
    config = world.one("ConfigMap", pod(store)["volumes"][0]["configMap"]["name"])
    lines = [
        line
        for name, text in (config["data"] if config else {}).items()
        if name.endswith(".conf")
        for line in text.splitlines()
    ]
    return dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))


def _bytes(text: str) -> float:
    parts = re.fullmatch(r"(\d+)(mb|gb|Mi|Gi|)", text)
    return float("inf") if parts is None else int(parts[1]) * _UNITS[parts[2]]
