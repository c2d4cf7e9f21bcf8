"""Overlays and combinations of components, rendered by `kubectl kustomize` with made-up secrets."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

from tests.support.paths import ROOT

Objects: TypeAlias = list[dict[str, Any]]

OVERLAYS = ("kind", "cpu", "gpu", "prod")
BASELINES = ("sync", "async")
"""Overlays of the cookbook's recipes, for comparison: Triton and one server, and no Sluice."""
# Each component alone, where possible, and components that change the same objects together.
COMBINATIONS = {
    "base": [],
    "queue": ["keda"],
    "accelerated": ["gpu"],
    "policies": ["network-policies"],
    "monitoring": ["monitoring"],
    "traefik": ["traefik"],
    "ingress": ["ingress"],
    "s3": ["s3-blobs"],
    "s3-policies-keda": ["network-policies", "monitoring", "keda", "keda-triton", "s3-blobs"],
    "sidecar": ["sidecar-triton"],
    "models": ["models"],
    "models-policies": ["network-policies", "models", "gpu"],
    "models-s3": ["models", "models-s3"],
    "models-s3-policies": ["network-policies", "keda", "s3-blobs", "models", "models-s3"],
    "page": ["ui"],
    "page-policies": ["network-policies", "ui"],
    "page-ingress": ["ingress", "ui", "ui-ingress"],
    "scaling": ["monitoring", "keda", "keda-triton"],
    "watched": ["network-policies", "monitoring"],
    "sidecar-policies-keda": ["network-policies", "keda", "sidecar-triton"],
    "registry": ["network-policies", "monitoring", "models", "registry"],
    "everything": [
        "network-policies",
        "monitoring",
        "keda",
        "keda-triton",
        "gpu",
        "traefik",
        "ingress",
    ],
}
SYSTEMS = (*OVERLAYS, *COMBINATIONS)
NAMES = (*SYSTEMS, *BASELINES)
PASSWORD = "a/b@c#d%e:f\"g'h\\i $j"
"""A password of both Redis that would break a URL, a shell and a line of configuration."""
_SECRETS = """
secretGenerator:
  - name: redis
    envs: [redis.env]
  - name: api-keys
    files: [keys.json]
    options: {disableNameSuffixHash: true}
"""


def kubectl() -> str | None:
    """The kubectl of this environment's wheel, or the one on the path."""
    own = Path(sys.executable).with_name("kubectl")
    return str(own) if own.exists() else shutil.which("kubectl")


def copy(directory: Path) -> Path:
    """A copy of k8s/ in `directory`, with the combinations and a secret in every overlay."""
    target = directory / "k8s"
    # A developer's own secrets are not copied.
    shutil.copytree(ROOT / "k8s", target, ignore=shutil.ignore_patterns("redis.env", "keys.json"))
    shutil.copytree(ROOT / "monitoring", directory / "monitoring")
    for name, components in COMBINATIONS.items():
        folder = target / "overlays" / name
        folder.mkdir()
        lines = ["namespace: sluice", "resources: [../../base]", "components:"]
        lines += [f"  - ../../components/{component}" for component in components]
        text = "\n".join(lines if components else lines[:-1])
        (folder / "kustomization.yaml").write_text(text + _SECRETS)
    for folder in (target / "overlays").iterdir():
        if folder.is_dir():
            (folder / "redis.env").write_text(f"password={PASSWORD}\n")
            (folder / "keys.json").write_text('{"keys": []}\n')
    return target


def render(folder: Path) -> Objects:
    """The objects that `kubectl apply -k` would send. Raises CalledProcessError."""
    command = [kubectl() or "kubectl", "kustomize", str(folder)]
    # With an empty home, kubectl reads no developer's cluster or plugins.
    env = {"PATH": os.defpath, "HOME": str(folder)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    assert done.stderr == "", done.stderr  # a warning names a deprecated field
    import yaml  # a package of the extra `checks`

    # The loader in C reads the same, ten times as fast.
    return [item for item in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if item]


def namespace() -> dict[str, Any]:
    """The namespace, which no overlay renders."""
    import yaml

    item: dict[str, Any] = yaml.safe_load((ROOT / "k8s" / "namespace.yaml").read_text())
    return item
