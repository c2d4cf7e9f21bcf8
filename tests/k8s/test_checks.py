"""The checks of k8s/ find each of these faults, planted in a good rendering."""

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from tests.k8s import entrances, policies, rollouts, schemas, sizes
from tests.k8s.policies import Check
from tests.k8s.world import NAME, World, pod

Fault: TypeAlias = Callable[[World], object]


def _get(world: World, kind: str, name: str) -> dict[str, Any]:
    item = world.one(kind, name)
    assert item is not None
    return item


def _pod(world: World, name: str = "api") -> dict[str, Any]:
    return pod(_get(world, "Deployment", name))


def _main(world: World, name: str = "api") -> dict[str, Any]:
    container: dict[str, Any] = _pod(world, name)["containers"][0]
    return container


def _config(world: World) -> dict[str, str]:
    config: dict[str, str] = next(
        item for item in world.all("ConfigMap") if "SLUICE_API_HOST" in item["data"]
    )["data"]
    return config


def _spec(world: World, kind: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = _get(world, kind, name)["spec"]
    return spec


def _store(world: World) -> dict[str, Any]:
    container: dict[str, Any] = pod(_get(world, "StatefulSet", "redis-blobs"))["containers"][0]
    return container


def _trigger(world: World) -> dict[str, Any]:
    trigger: dict[str, Any] = _spec(world, "ScaledObject", "worker")["triggers"][0]
    return trigger


FAULTS: dict[str, tuple[Check, Fault]] = {
    "root": (policies.secure, lambda world: _pod(world)["securityContext"].pop("runAsNonRoot")),
    "seccomp": (
        policies.secure,
        lambda world: _pod(world)["securityContext"].pop("seccompProfile"),
    ),
    "host network": (policies.secure, lambda world: _pod(world).update(hostNetwork=True)),
    "host path": (
        policies.secure,
        lambda world: _pod(world)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    ),
    "privileges": (
        policies.secure,
        lambda world: _main(world)["securityContext"].pop("allowPrivilegeEscalation"),
    ),
    "capabilities": (
        policies.secure,
        lambda world: _main(world)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
    ),
    "writable image": (
        policies.secure,
        lambda world: _main(world)["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    "token": (policies.tokenless, lambda world: _pod(world).pop("automountServiceAccountToken")),
    "another's account": (
        policies.tokenless,
        lambda world: _pod(world).update(serviceAccountName="worker"),
    ),
    "service links": (policies.tokenless, lambda world: _pod(world).pop("enableServiceLinks")),
    "liveness": (policies.probed, lambda world: _main(world, "worker").pop("livenessProbe")),
    "readiness": (policies.probed, lambda world: _main(world, "triton").pop("readinessProbe")),
    "a dead one's file": (
        policies.probed,
        lambda world: _main(world, "worker")["startupProbe"].pop("initialDelaySeconds"),
    ),
    "memory": (policies.bounded, lambda world: _main(world)["resources"].pop("limits")),
    "unbounded volume": (
        policies.bounded,
        lambda world: _pod(world)["volumes"].append({"name": "x", "emptyDir": {}}),
    ),
    "budget": (
        policies.disrupted_gently,
        lambda world: world.objects.remove(_get(world, "PodDisruptionBudget", "api")),
    ),
    "spread": (
        policies.disrupted_gently,
        lambda world: _pod(world)["topologySpreadConstraints"].pop(),
    ),
    "replicas": (
        policies.scaled,
        lambda world: _spec(world, "Deployment", "worker").update(replicas=3),
    ),
    "no target": (
        policies.scaled,
        lambda world: _spec(world, "ScaledObject", "worker")["scaleTargetRef"].update(
            name="workers"
        ),
    ),
    "no fallback": (
        policies.scaled,
        lambda world: _spec(world, "ScaledObject", "triton").pop("fallback"),
    ),
    "a fallback that never comes": (
        policies.scaled,
        lambda world: _spec(world, "ScaledObject", "worker").update(
            fallback={"failureThreshold": 3, "replicas": 2}
        ),
    ),
    "nothing holds the last worker": (
        policies.scaled,
        lambda world: _spec(world, "ScaledObject", "worker")["triggers"].pop(),
    ),
    "old pods count": (
        policies.disrupted_gently,
        lambda world: _pod(world)["topologySpreadConstraints"][0].pop("matchLabelKeys"),
    ),
    "password in a URL": (
        policies.quiet,
        lambda world: _main(world)["env"].append(
            {"name": "SLUICE_REDIS_URL", "value": "redis://:$(SLUICE_REDIS_PASSWORD)@redis:6379/0"}
        ),
    ),
    "password in an argument": (
        policies.quiet,
        lambda world: _store(world)["command"].append("$(REDISCLI_AUTH)"),
    ),
    "short pull": (
        rollouts.awaited,
        lambda world: _spec(world, "Deployment", "triton").update(progressDeadlineSeconds=2400),
    ),
    "a node that stays": (
        rollouts.evictable,
        lambda world: _spec(world, "Deployment", "triton")["template"]["metadata"].pop(
            "annotations"
        ),
    ),
    "more pods than images": (
        sizes.sized,
        lambda world: _spec(world, "ScaledObject", "worker").update(maxReplicaCount=21),
    ),
    "more images than pods": (
        sizes.sized,
        lambda world: _config(world).update(SLUICE_QUEUE_MAX_BYTES="1400000000"),
    ),
    "small backlog": (
        sizes.sized,
        lambda world: _config(world).update(SLUICE_QUEUE_MAX_BACKLOG="1199"),
    ),
    "no room to rewrite": (
        sizes.sized,
        lambda world: _store(world)["resources"]["limits"].update(memory="4999Mi"),
    ),
    "no memory asked for": (
        sizes.sized,
        lambda world: _store(world)["resources"]["requests"].update(memory="2Gi"),
    ),
    "small disk": (
        sizes.sized,
        lambda world: _spec(world, "StatefulSet", "redis-blobs")["volumeClaimTemplates"][0]["spec"][
            "resources"
        ]["requests"].update(storage="9Gi"),
    ),
    "disk that goes": (
        sizes.remembered,
        lambda world: _spec(world, "StatefulSet", "redis").pop(
            "persistentVolumeClaimRetentionPolicy"
        ),
    ),
    "http behind TLS": (
        entrances.reached,
        lambda world: _config(world).pop("SLUICE_API_TRUSTED_PROXIES"),
    ),
    "another key": (
        policies.scaled,
        lambda world: _trigger(world)["metadata"].update(listName="default:live"),
    ),
    "no authentication": (
        policies.scaled,
        lambda world: _trigger(world)["authenticationRef"].update(name="nobody"),
    ),
    "selector": (
        policies.joined,
        lambda world: _spec(world, "Service", "api")["selector"].update({NAME: "apy"}),
    ),
    "target port": (
        policies.joined,
        lambda world: _spec(world, "Service", "api")["ports"][0].update(targetPort="https"),
    ),
    "config": (
        policies.joined,
        lambda world: _main(world)["envFrom"][0]["configMapRef"].update(name="sluice"),
    ),
    "secret": (
        policies.joined,
        lambda world: _main(world)["env"][0]["valueFrom"]["secretKeyRef"].update(key="pass"),
    ),
    "mount": (policies.joined, lambda world: _main(world)["volumeMounts"][0].update(name="temp")),
    "unused volume": (
        policies.joined,
        lambda world: _pod(world)["volumes"].append({"name": "x", "emptyDir": {}}),
    ),
    "no claim": (
        policies.joined,
        lambda world: _pod(world)["volumes"].__setitem__(
            0, {"name": "tmp", "persistentVolumeClaim": {"claimName": "gone"}}
        ),
    ),
    "idle claim": (
        policies.joined,
        lambda world: world.objects.append(
            {"kind": "PersistentVolumeClaim", "metadata": {"name": "models"}}
        ),
    ),
    "KEDA's secret": (
        policies.joined,
        lambda world: _spec(world, "TriggerAuthentication", "redis")["secretTargetRef"][0].update(
            name="redis"
        ),
    ),
    "setting": (
        policies.configured,
        lambda world: _config(world).update(SLUICE_WORKER_GRACE="125"),
    ),
    "no policy": (
        policies.connected,
        lambda world: world.objects.remove(_get(world, "NetworkPolicy", "worker")),
    ),
    "one-sided policy": (
        policies.connected,
        lambda world: _spec(world, "NetworkPolicy", "redis-blobs")["ingress"].pop(),
    ),
    "policy's port": (
        policies.connected,
        lambda world: _spec(world, "NetworkPolicy", "api")["egress"][0]["ports"][0].update(
            port=6380
        ),
    ),
    "policy's peer": (
        policies.connected,
        lambda world: _spec(world, "NetworkPolicy", "keeper")["egress"][0]["to"][0][
            "podSelector"
        ].update(matchLabels={NAME: "reddis"}),
    ),
    "host": (
        policies.addressed,
        lambda world: _config(world).update(SLUICE_TRITON_GRPC_URL="dns:///tritons:8001"),
    ),
    "KEDA's host": (
        policies.addressed,
        lambda world: _trigger(world)["metadata"].update(address="redis.sluice.svc:6380"),
    ),
    "KEDA's namespace": (
        policies.addressed,
        lambda world: _trigger(world)["metadata"].update(address="redis:6379"),
    ),
    "grace": (
        rollouts.patient,
        lambda world: _pod(world, "worker").update(terminationGracePeriodSeconds=130),
    ),
    "run before grace": (
        rollouts.patient,
        lambda world: _config(world).update(SLUICE_WORKER_MAX_RUN_S="130"),
    ),
    "drain": (rollouts.patient, lambda world: _config(world).update(SLUICE_API_DRAIN_S="25")),
    "webhooks": (
        rollouts.patient,
        lambda world: _config(world).update(SLUICE_WEBHOOKS_GRACE_S="45"),
    ),
    "no AOF": (
        sizes.remembered,
        lambda world: next(item for item in world.all("ConfigMap") if "redis.conf" in item["data"])[
            "data"
        ].update({"redis.conf": "maxmemory 1mb"}),
    ),
    "no disk": (
        sizes.remembered,
        lambda world: _spec(world, "StatefulSet", "redis").pop("volumeClaimTemplates"),
    ),
    "latest": (
        rollouts.pinned,
        lambda world: _main(world).update(image="registry.example.com:5000/sluice-api"),
    ),
    "a moving tag": (rollouts.pinned, lambda world: _main(world).update(image="redis:8-trixie")),
    "namespace": (
        policies.housed,
        lambda world: _get(world, "Service", "api")["metadata"].pop("namespace"),
    ),
}


@pytest.fixture
def good(worlds: dict[str, World]) -> World:
    return copy.deepcopy(worlds["cpu"])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_check_finds_its_planted_fault(good: World, fault: str) -> None:
    check, plant = FAULTS[fault]
    assert list(check(good)) == []
    plant(good)
    assert list(check(good)) != []


def _ingress(world: World) -> dict[str, Any]:
    return _get(world, "Ingress", "api")


@pytest.mark.parametrize(
    "plant",
    [
        lambda world: _ingress(world)["spec"].pop("ingressClassName"),
        lambda world: _ingress(world)["spec"]["rules"][0].update(host="other.example.com"),
        lambda world: _config(world).update(SLUICE_API_PUBLIC_URL="http://sluice.example.com"),
        lambda world: _ingress(world)["metadata"].pop("annotations"),
    ],
)
def test_a_fault_of_an_ingress_is_found(worlds: dict[str, World], plant: Fault) -> None:
    world = copy.deepcopy(worlds["gpu"])
    assert list(entrances.reached(world)) == []
    plant(world)
    assert list(entrances.reached(world)) != []


def test_a_page_at_another_path_than_its_own_is_found(worlds: dict[str, World]) -> None:
    world = copy.deepcopy(worlds["page-ingress"])
    assert list(entrances.reached(world)) == []
    rule = _get(world, "Ingress", "ui")["spec"]["rules"][0]
    rule["http"]["paths"][0]["path"] = "/other"
    assert len(list(entrances.reached(world))) == 1


def test_every_check_has_a_planted_fault() -> None:
    assert {check for check, _ in FAULTS.values()} == {*policies.CHECKS, rollouts.pinned}


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("Deployment", "api", {"replica": 3}),
        ("HorizontalPodAutoscaler", "api", {"minReplicas": "two"}),
        ("NetworkPolicy", "api", {"policyType": ["Ingress"]}),
        ("PodDisruptionBudget", "api", {"minAvailable": {"percent": 50}}),
        ("ScaledObject", "worker", {"cooldown": 300}),
        ("ScaledObject", "worker", {"triggers": []}),
        (
            "ScaledObject",
            "worker",
            {
                "advanced": {
                    "horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": {"window": 3}}}
                }
            },
        ),
        (
            "ScaledObject",
            "triton",
            {"triggers": [{"type": "prometheus", "metadata": {"serverAddress": "http://x:1"}}]},
        ),
        ("ScaledObject", "worker", {"triggers": [{"type": "reddis", "metadata": {}}]}),
        ("IngressRoute", "api", {"entryPoint": ["web"]}),
    ],
)
def test_an_unknown_or_wrong_field_is_a_problem(
    good: World, kind: str, name: str, change: dict[str, Any]
) -> None:
    item = _get(good, kind, name)
    assert schemas.problems(item) == []
    item["spec"].update(change)
    assert schemas.problems(item) != []


def test_an_unknown_kind_is_a_problem() -> None:
    pytest.importorskip(
        "kubernetes_validate",
        reason="kubernetes_validate is not installed; `make check` installs it",
    )
    assert (
        schemas.problems(
            {
                "apiVersion": "apps/v1beta9",
                "kind": "Deployment",
                "metadata": {"name": "x"},
                "spec": {},
            }
        )
        != []
    )
