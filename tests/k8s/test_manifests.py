"""Every overlay and combination of k8s/: it builds, it is valid, and it keeps what k8s/ promises."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.settings import Settings
from tests.k8s import policies, rendering, schemas
from tests.k8s.policies import World


@pytest.fixture
def world(worlds: dict[str, World], request: pytest.FixtureRequest) -> World:
    return worlds[request.param]


@pytest.mark.parametrize("world", rendering.NAMES, indirect=True)
def test_the_schemas_know_every_field(world: World) -> None:
    found = [
        f"{policies.label(item)}: {problem}"
        for item in world.objects
        for problem in schemas.problems(item)
    ]
    assert found == []


@pytest.mark.parametrize("world", rendering.NAMES, indirect=True)
def test_the_promises_are_kept(world: World) -> None:
    assert [problem for check in policies.CHECKS for problem in check(world)] == []


@pytest.mark.parametrize("world", rendering.OVERLAYS, indirect=True)
def test_an_overlay_names_every_image_s_version(world: World) -> None:
    assert list(policies.pinned(world)) == []


@pytest.mark.parametrize("world", rendering.NAMES, indirect=True)
def test_sluice_takes_the_environment(world: World, environ: dict[str, str]) -> None:
    ours = [
        item
        for item in world.workloads
        if item["metadata"]["name"] in {"api", "worker", "keeper", "webhooks"}
    ]
    assert len(ours) == 4
    before = dict(environ)
    for item in ours:
        environ.clear()
        environ.update(before)
        environ.update(policies.environment(world, policies.pod(item)["containers"][0]))
        settings = Settings.from_env()
        assert settings.redis_url.endswith("@redis:6379/0")
        if item["metadata"]["name"] != "webhooks":
            in_redis = world.one("StatefulSet", "redis-blobs") is not None
            assert (
                settings.blobs_url.endswith("@redis-blobs:6379/0")
                if in_redis
                else settings.blobs_in_s3
            )


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    """The process's environment, without settings, and as it was afterwards."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("SLUICE_")]:
        del os.environ[name]
    yield os.environ  # type: ignore[misc]
    os.environ.clear()
    os.environ.update(before)


def test_no_secret_is_kept_here() -> None:
    ignored = {"redis.env", "keys.json"}
    assert "k8s/overlays/*/redis.env" in (rendering.ROOT / ".gitignore").read_text()
    for path in Path(rendering.ROOT / "k8s").rglob("*"):
        assert path.suffix not in {".key", ".pem"}, path
        if path.name not in ignored and path.is_file():
            assert "kind: Secret" not in path.read_text().splitlines(), path


def test_the_pod_that_restores_a_backup_is_allowed_too() -> None:
    yaml = pytest.importorskip("yaml", reason="yaml is not installed; `make check` installs it")
    pytest.importorskip(
        "kubernetes_validate",
        reason="kubernetes_validate is not installed; `make check` installs it",
    )
    item = yaml.safe_load((rendering.ROOT / "k8s" / "restore.yaml").read_text())
    assert schemas.problems(item) == []
    deployment = {
        "kind": "Deployment",
        "metadata": item["metadata"],
        "spec": {"template": {"spec": item["spec"]}},
    }
    assert list(policies.secure(World([deployment], frozenset()))) == []


def test_with_a_bucket_there_is_no_second_redis(worlds: dict[str, World]) -> None:
    """And those that use it, and only those, may reach it; the node's metadata stay out of reach."""
    world = worlds["s3-policies-keda"]
    assert not [
        item for item in world.objects if item["metadata"]["name"].startswith("redis-blobs")
    ]
    for item in world.all("NetworkPolicy"):
        rules = [rule for rule in item["spec"].get("egress", []) if {"port": 443} in rule["ports"]]
        public = [peer["ipBlock"] for rule in rules for peer in rule["to"] if "ipBlock" in peer]
        users = {"api", "worker", "keeper", "webhooks"}  # webhooks for what clients name
        assert bool(public) == (item["metadata"]["name"] in users), item["metadata"]["name"]
        for block in public:
            assert block["cidr"] != "0.0.0.0/0" or "169.254.0.0/16" in block["except"]
