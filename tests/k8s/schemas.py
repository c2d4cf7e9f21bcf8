"""Schemas of Kubernetes, from kubernetes-validate, and of custom resources, from crds.yaml."""

import json
from functools import cache
from pathlib import Path
from typing import Any

# The version that the manifests are written for, and the newest that the package knows: the newest
# shows fields that will be removed.
KUBERNETES = ("1.34", "1.37")
# The packages imported below belong to the extra `k8s`, which not every developer has.


def problems(item: dict[str, Any]) -> list[str]:
    """The problems of one object; an unknown field or kind is one."""
    from jsonschema import Draft202012Validator

    custom = _custom().get(f"{item['apiVersion']}/{item['kind']}")
    if custom is None:
        return list(_kubernetes_problems(json.dumps(item)))
    errors = Draft202012Validator(custom).iter_errors(item["spec"])
    texts = [f"{'/'.join(map(str, error.path))}: {error.message}" for error in errors]
    behavior = (
        item["spec"].get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior")
    )
    if behavior:
        texts += _kubernetes_problems(json.dumps(_autoscaler(behavior)))
    return texts


def _autoscaler(behavior: dict[str, Any]) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "any"}
    spec = {"scaleTargetRef": target, "maxReplicas": 1, "behavior": behavior}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "any"},
        "spec": spec,
    }


@cache
def _custom() -> dict[str, Any]:
    import yaml

    crds: dict[str, Any] = yaml.load(
        Path(__file__).with_name("crds.yaml").read_text(), Loader=yaml.CSafeLoader
    )
    return crds


@cache  # most objects are the same in every combination
def _kubernetes_problems(text: str) -> tuple[str, ...]:
    import kubernetes_validate

    texts = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(json.loads(text), version, strict=True)
        except kubernetes_validate.ValidationError as error:
            texts.append(f"{version}: {'/'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            texts.append(f"{version}: {error.message}")
    return tuple(texts)
