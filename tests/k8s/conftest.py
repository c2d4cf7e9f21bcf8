"""Every rendering of k8s/, made once a session."""

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
    rendered = {name: [namespace, *rendering.render(folder / name)] for name in rendering.NAMES}
    known = {
        item["metadata"]["name"]
        for objects in rendered.values()
        for item in World(objects, frozenset()).workloads
    }
    return {name: World(objects, frozenset(known)) for name, objects in rendered.items()}
