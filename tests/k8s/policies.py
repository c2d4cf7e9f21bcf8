"""Promises of k8s/ beyond its schemas, as checks of one rendering that yield each problem."""

import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

from sluice.redisio.names import Names
from sluice.settings import QueueSettings, variables
from tests.k8s import entrances, rollouts, sizes
from tests.k8s.world import (
    ANYONE,
    CLAIM,
    NAME,
    World,
    containers,
    edges,
    environment,
    label,
    lasting,
    pod,
    ports,
    references,
)

Check: TypeAlias = Callable[[World], Iterator[str]]

# The kinds of volumes that the restricted Pod Security Standard allows.
# https://kubernetes.io/docs/concepts/security/pod-security-standards
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
# Workloads beside the stores that need no second pod, which would only do the same work again.
ONE_ONLY = {"keeper", "prometheus", "grafana", "models", "ui"}
# A pod that only waits for `kubectl exec`: its process can neither hang nor be late.
IDLE = {"models"}
OTHERS = {
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "REDISCLI_AUTH",
    "HOME",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "TRITON_MODEL_REPOSITORY",
}
PUBLIC = "SLUICE_API_PUBLIC_URL"
SETTINGS = {variable.name for variable in variables()}
NAMES = Names(QueueSettings().name)


def secure(world: World) -> Iterator[str]:
    for item in world.workloads:
        spec = pod(item)
        context = spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{label(item)} may run as root"
        if context.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
            yield f"{label(item)} has no seccomp profile"
        if any(spec.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{label(item)} shares the node's namespaces"
        for volume in spec.get("volumes", []):
            if not volume.keys() - {"name"} <= VOLUMES:
                yield f"{label(item)} has a volume {volume['name']} of a kind that is not allowed"
        for container in containers(item):
            own = container.get("securityContext", {})
            where = f"{label(item)}, {container['name']}"
            if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
                yield f"{where} may gain privileges"
            if own.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{where} keeps capabilities"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{where} may write to its image"
            if own.get("runAsUser", 1) == 0 or own.get("runAsNonRoot") is False:
                yield f"{where} runs as root"
            if any("hostPort" in port for port in container.get("ports", [])):
                yield f"{where} takes a port of the node"
    for item in world.all("Namespace"):
        if (
            item["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
            != "restricted"
        ):
            yield f"{label(item)} does not enforce the restricted standard"


def tokenless(world: World) -> Iterator[str]:
    for item in world.workloads:
        account = world.one("ServiceAccount", pod(item).get("serviceAccountName", "default"))
        if account is None or account["metadata"]["name"] != item["metadata"]["name"]:
            yield f"{label(item)} has no service account of its own"
        elif (
            account.get("automountServiceAccountToken") is not False
            or pod(item).get("automountServiceAccountToken") is not False
        ):
            yield f"{label(item)} is given a token"
        # Kubernetes would set SLUICE_API_PORT=tcp://… for a service named sluice-api.
        if pod(item).get("enableServiceLinks") is not False:
            yield f"{label(item)} has the addresses of services in its environment"


def probed(world: World) -> Iterator[str]:
    served = [
        item
        for service in world.all("Service")
        for item in world.behind(service["spec"]["selector"])
    ]
    for item in world.workloads:
        for container in lasting(item) if item["metadata"]["name"] not in IDLE else []:
            for probe in ("startupProbe", "livenessProbe"):
                if probe not in container:
                    yield f"{label(item)}, {container['name']} has no {probe}"
            by_file = "exec" in container.get("readinessProbe", {})
            # The volume of a restarted container has the dead process's file for a moment.
            late = container.get("startupProbe", {}).get("initialDelaySeconds", 0) >= 1
            if by_file and item["kind"] == "Deployment" and not late:
                yield f"{label(item)}, {container['name']} may be ready by a dead one's file"
            if item in served and container.get("ports") and "readinessProbe" not in container:
                yield f"{label(item)}, {container['name']} has no readinessProbe"


def bounded(world: World) -> Iterator[str]:
    for item in world.workloads:
        for container in containers(item):
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= resources.get(
                "requests", {}
            ).keys() or "memory" not in resources.get("limits", {}):
                yield (
                    f"{label(item)}, {container['name']} lacks requests of cpu and memory,"
                    " or a limit of memory"
                )
        for volume in pod(item).get("volumes", []):
            if (
                "emptyDir" in volume
                and volume["name"] != "models"
                and "sizeLimit" not in volume["emptyDir"]
            ):
                yield f"{label(item)} has a volume {volume['name']} without a bound"


def disrupted_gently(world: World) -> Iterator[str]:
    for item in world.all("Deployment"):
        if item["metadata"]["name"] in ONE_ONLY:
            continue
        budget = world.one("PodDisruptionBudget", item["metadata"]["name"])
        if budget is None or world.behind(budget["spec"]["selector"]["matchLabels"]) != [item]:
            yield f"{label(item)} has no PodDisruptionBudget"
        spread = {entry["topologyKey"] for entry in pod(item).get("topologySpreadConstraints", [])}
        if spread != {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}:
            yield f"{label(item)} is not spread over nodes and zones"
        for entry in pod(item).get("topologySpreadConstraints", []):
            if entry.get("matchLabelKeys") != ["pod-template-hash"]:
                yield f"{label(item)} counts the pods of an older version when it spreads"
    for budget in world.all("PodDisruptionBudget"):
        if not world.behind(budget["spec"]["selector"]["matchLabels"]):
            yield f"{label(budget)} selects no pod"


def scaled(world: World) -> Iterator[str]:
    names = set()
    for scaler in world.all("ScaledObject", "HorizontalPodAutoscaler"):
        name = scaler["spec"]["scaleTargetRef"]["name"]
        target = world.one("Deployment", name)
        if name in names:
            yield f"{label(scaler)} is not the only one for {name}"
        names.add(name)
        if target is None:
            yield f"{label(scaler)} scales {name}, which is not there"
        elif "replicas" in target["spec"]:
            yield f"{label(target)} has replicas: each apply would undo the work of {label(scaler)}"
        if scaler["kind"] == "ScaledObject":
            kinds = {trigger["type"] for trigger in scaler["spec"]["triggers"]}
            # A trigger on Redis fails before KEDA counts failures: a fallback would never come.
            if ("fallback" in scaler["spec"]) != ("redis" not in kinds):
                yield f"{label(scaler)} has a fallback that never comes, or none where it would"
            keys = {trigger["metadata"].get("listName") for trigger in scaler["spec"]["triggers"]}
            if name == "worker" and keys != {NAMES.live, NAMES.recent}:
                yield f"{label(scaler)} does not look at the backlog and at recent submissions"
    for trigger in (
        trigger for scaler in world.all("ScaledObject") for trigger in scaler["spec"]["triggers"]
    ):
        if trigger["type"] == "redis" and not trigger["metadata"]["listName"].startswith(
            f"{NAMES.tag}:"
        ):
            yield f"KEDA reads {trigger['metadata']['listName']}, which is no key of the queue"
        authentication = trigger.get("authenticationRef")
        if authentication and world.one("TriggerAuthentication", authentication["name"]) is None:
            yield f"KEDA's authentication {authentication['name']} is not there"


def joined(world: World) -> Iterator[str]:
    """Every name in one object leads to another object."""
    for item in world.workloads:
        labels = item["spec"]["template"]["metadata"]["labels"]
        if (
            not item["spec"]["selector"]["matchLabels"].items() <= labels.items()
            or len(world.behind({NAME: labels[NAME]})) != 1
        ):
            yield f"{label(item)} does not select its own pods, and only them"
        claims = {
            claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])
        }
        volumes = {volume["name"]: volume for volume in pod(item).get("volumes", [])}
        for container in containers(item):
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes.keys() | claims:
                    where = f"{label(item)}, {container['name']}"
                    yield f"{where} mounts {mount['name']}, which is not there"
        used = {
            mount["name"]
            for container in containers(item)
            for mount in container.get("volumeMounts", [])
        }
        for name in (volumes.keys() | claims) - used:
            yield f"{label(item)} has a volume {name} that no container mounts"
        for kind, name, key in references(item):
            target = world.one(kind, name)
            if target is None or (key and key not in target.get("data", {})):
                yield f"{label(item)} needs {kind} {name} {key or ''}, which is not there"
    claimed = {
        name for item in world.workloads for kind, name, _ in references(item) if kind == CLAIM
    }
    for claim in world.all(CLAIM):
        if claim["metadata"]["name"] not in claimed:
            yield f"{label(claim)} is mounted by no pod"
    for authentication in world.all("TriggerAuthentication"):
        for entry in authentication["spec"]["secretTargetRef"]:
            secret = world.one("Secret", entry["name"])
            if secret is None or entry["key"] not in secret["data"]:
                yield f"{label(authentication)} needs Secret {entry['name']}, which is not there"
    for service in world.all("Service"):
        workloads = world.behind(service["spec"]["selector"])
        if len(workloads) != 1:
            yield f"{label(service)} leads to {len(workloads)} workloads"
        for port in service["spec"]["ports"]:
            if workloads and port["targetPort"] not in ports(workloads[0]):
                yield f"{label(service)} leads to a port {port['targetPort']} that no pod has"


def quiet(world: World) -> Iterator[str]:
    """A password is in its own variable only: others on the node read arguments, and URLs break."""
    for item in world.workloads:
        for container in containers(item):
            texts = [*container.get("command", []), *container.get("args", [])]
            texts += [entry["value"] for entry in container.get("env", []) if "value" in entry]
            for text in texts:
                if re.search(r"\$\(\w*(PASSWORD|AUTH|SECRET)\w*\)", text):
                    yield f"{label(item)}, {container['name']} shows a password in {text}"


def configured(world: World) -> Iterator[str]:
    for item in world.workloads:
        for container in containers(item):
            names = environment(world, container).keys() - SETTINGS - OTHERS
            for name in {name for name in names if not name.startswith("GF_")}:
                yield f"{label(item)}, {container['name']} has {name}, which is no setting"


def connected(world: World) -> Iterator[str]:
    """Every policy for a call has its counterpart at the other end, and a port that is open."""
    policies = {
        item["metadata"]["name"]: item
        for item in world.all("NetworkPolicy")
        if item["spec"]["podSelector"]
    }
    if world.one("NetworkPolicy", "deny-all") is None:
        return
    for item in world.workloads:
        if item["metadata"]["name"] not in policies:
            yield f"{label(item)} has no NetworkPolicy"
    out, into = set(edges(policies, "egress")), set(edges(policies, "ingress"))
    into |= {edge for edge in out if (ANYONE, *edge[1:]) in into}
    into = {edge for edge in into if edge[0] != ANYONE}
    for name in policies.keys() | {name for edge in out | into for name in edge[:2]}:
        if name not in world.known:
            yield f"a NetworkPolicy names {name}, which is no workload"
    present = {item["metadata"]["name"]: item for item in world.workloads}
    for caller, callee, port in {
        edge for edge in out ^ into if edge[0] in present and edge[1] in present
    }:
        yield f"only one side lets {caller} call {callee} at {port}"
    for caller, callee, port in out | into:
        if callee in present and port not in ports(present[callee]).values():
            yield f"{caller} may call {callee} at {port}, where it does not listen"


def addressed(world: World) -> Iterator[str]:
    """Every host in settings and scalers is a service with that port.

    KEDA runs in another namespace, so its hosts name theirs.
    """
    spaces = [item["metadata"]["name"] for item in world.all("Namespace")]
    urls = [
        (value, "")
        for item in world.workloads
        for container in lasting(item)
        for name, value in environment(world, container).items()
        # A bucket is no host, and clients reach the public URL.
        if name.endswith("_URL") and name != PUBLIC and not value.startswith("s3://")
    ]
    urls += [
        (trigger["metadata"][key], f".{spaces[0]}.svc")
        for scaler in world.all("ScaledObject")
        for trigger in scaler["spec"]["triggers"]
        for key in trigger["metadata"].keys() & {"address", "serverAddress"}
    ]
    for url, suffix in urls:
        parts = re.fullmatch(
            rf"(?:\w+:/{{2,3}})?(?:[^@]*@)?([^:/]+?){re.escape(suffix)}:(\d+)(?:/\d+)?", url
        )
        service = world.one("Service", parts[1]) if parts else None
        open_ports = {port["port"] for port in service["spec"]["ports"]} if service else set()
        if parts is None or (parts[1] != "127.0.0.1" and int(parts[2]) not in open_ports):
            yield f"{url} leads to no service"


def housed(world: World) -> Iterator[str]:
    spaces = {item["metadata"]["name"] for item in world.all("Namespace")}
    for item in world.objects:
        if item["kind"] != "Namespace" and {item["metadata"].get("namespace")} != spaces:
            yield f"{label(item)} is not in the namespace"


CHECKS: tuple[Check, ...] = (
    secure,
    tokenless,
    probed,
    bounded,
    disrupted_gently,
    scaled,
    quiet,
    joined,
    configured,
    connected,
    addressed,
    housed,
    rollouts.patient,
    rollouts.awaited,
    rollouts.evictable,
    sizes.remembered,
    sizes.sized,
    entrances.reached,
)
