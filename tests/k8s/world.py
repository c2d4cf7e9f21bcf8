"""The objects of one rendering of k8s/, and the ways from one to another."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from tests.k8s.rendering import Objects

Object: TypeAlias = dict[str, Any]

NAME = "app.kubernetes.io/name"
CLAIM = "PersistentVolumeClaim"
ANYONE = "anyone"
"""The caller in `edges` where a policy lets every address in."""


class World(NamedTuple):
    """One rendering."""

    objects: Objects
    known: frozenset[str]
    """The workloads' names of all renderings: a policy may name a workload of another one."""

    def all(self, *kinds: str) -> Iterator[Object]:
        return (item for item in self.objects if item["kind"] in kinds)

    def one(self, kind: str, name: str) -> Object | None:
        return next((item for item in self.all(kind) if item["metadata"]["name"] == name), None)

    @property
    def workloads(self) -> Objects:
        return list(self.all("Deployment", "StatefulSet"))

    def behind(self, selector: dict[str, str]) -> Objects:
        """The workloads whose pods have these labels."""
        return [
            item
            for item in self.workloads
            if selector.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        ]


def pod(workload: Object) -> Object:
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def containers(workload: Object) -> Objects:
    """All containers, with those that run once before the others."""
    return [*pod(workload).get("initContainers", []), *pod(workload)["containers"]]


def lasting(workload: Object) -> Objects:
    """The containers that run as long as the pod."""
    sidecars = [
        item
        for item in pod(workload).get("initContainers", [])
        if item.get("restartPolicy") == "Always"
    ]
    return [*sidecars, *pod(workload)["containers"]]


def ports(workload: Object) -> dict[str, int]:
    return {
        port["name"]: port["containerPort"]
        for item in lasting(workload)
        for port in item.get("ports", [])
    }


def label(item: Object) -> str:
    return f"{item['kind']} {item['metadata']['name']}"


def references(item: Object) -> Iterator[tuple[str, str, str | None]]:
    """Each ConfigMap, Secret and claim that a workload needs: kind, name, and the key if any."""
    for volume in pod(item).get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], None
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"], None
        if "persistentVolumeClaim" in volume:
            yield CLAIM, volume["persistentVolumeClaim"]["claimName"], None
    for container in containers(item):
        for source in container.get("envFrom", []):
            yield "ConfigMap", source["configMapRef"]["name"], None
        for entry in container.get("env", []):
            if "valueFrom" in entry:
                reference = entry["valueFrom"]["secretKeyRef"]
                if not reference.get("optional"):
                    yield "Secret", reference["name"], reference["key"]


def environment(world: World, container: Object) -> dict[str, str]:
    """The environment of a container's process; the value of a secret is `x`."""
    maps = [
        world.one("ConfigMap", source["configMapRef"]["name"])
        for source in container.get("envFrom", [])
    ]
    shared = {name: value for config in maps if config for name, value in config["data"].items()}
    return shared | {entry["name"]: entry.get("value", "x") for entry in container.get("env", [])}


def edges(policies: dict[str, Object], way: str) -> Iterator[tuple[str, str, int]]:
    """Each caller, callee and port that policies allow between pods."""
    for name, policy in policies.items():
        for rule in policy["spec"].get(way, []):
            if way == "ingress" and "from" not in rule:
                yield from ((ANYONE, name, port["port"]) for port in rule["ports"])
            for peer in rule.get("to" if way == "egress" else "from", []):
                other = peer.get("podSelector", {}).get("matchLabels", {}).get(NAME)
                for port in rule["ports"] if other else []:
                    yield (
                        (name, other, port["port"])
                        if way == "egress"
                        else (other, name, port["port"])
                    )
