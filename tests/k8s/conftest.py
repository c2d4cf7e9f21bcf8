"""Every rendering of k8s/, made once a session."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.k8s import rendering
from tests.k8s.world import World


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    for package in ("kubernetes_validate", "yaml"):
        pytest.importorskip(package, reason=f"{package} is not installed; `make check` installs it")
    if rendering.kubectl() is None:
        pytest.skip("there is no kubectl; `make check` installs one")
    folder = rendering.copy(tmp_path_factory.mktemp("k8s")) / "overlays"
    namespace = rendering.namespace()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = threads.map(rendering.render, [folder / name for name in rendering.NAMES])
        rendered = {
            name: [namespace, *objects]
            for name, objects in zip(rendering.NAMES, found, strict=True)
        }
    known = {
        item["metadata"]["name"]
        for objects in rendered.values()
        for item in World(objects, frozenset()).workloads
    }
    return {name: World(objects, frozenset(known)) for name, objects in rendered.items()}
