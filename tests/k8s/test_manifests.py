"""Every overlay and combination of k8s/ is valid and keeps the promises."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.settings import Settings
from tests.k8s import policies, rendering, schemas
from tests.k8s.world import World, environment, label, pod


@pytest.fixture
def world(worlds: dict[str, World], request: pytest.FixtureRequest) -> World:
    return worlds[request.param]


@pytest.mark.parametrize("world", rendering.NAMES, indirect=True)
def test_every_object_is_valid_by_its_schema(world: World) -> None:
    problems = [
        f"{label(item)}: {problem}" for item in world.objects for problem in schemas.problems(item)
    ]
    assert problems == []


@pytest.mark.parametrize("world", rendering.NAMES, indirect=True)
def test_every_promise_of_the_manifests_is_kept(world: World) -> None:
    assert [problem for check in policies.CHECKS for problem in check(world)] == []


@pytest.mark.parametrize("world", rendering.OVERLAYS, indirect=True)
def test_an_overlay_names_every_images_version(world: World) -> None:
    assert list(policies.pinned(world)) == []


@pytest.mark.parametrize("world", rendering.NAMES, indirect=True)
def test_sluice_accepts_the_environment_of_every_container(
    world: World, environ: dict[str, str]
) -> None:
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
        environ.update(environment(world, pod(item)["containers"][0]))
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
    """The process's environment without settings; restored afterwards."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("SLUICE_")]:
        del os.environ[name]
    yield os.environ  # type: ignore[misc]
    os.environ.clear()
    os.environ.update(before)


def test_the_folder_of_manifests_holds_no_secret() -> None:
    ignored = {"redis.env", "keys.json"}
    assert "k8s/overlays/*/redis.env" in (rendering.ROOT / ".gitignore").read_text()
    for path in Path(rendering.ROOT / "k8s").rglob("*"):
        assert path.suffix not in {".key", ".pem"}, path
        if path.name not in ignored and path.is_file():
            assert "kind: Secret" not in path.read_text().splitlines(), path


def test_the_pod_that_restores_a_backup_is_secure() -> None:
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


def test_with_a_bucket_there_is_no_second_redis_and_only_its_users_reach_it(
    worlds: dict[str, World],
) -> None:
    """The node's metadata stay out of reach."""
    world = worlds["s3-policies-keda"]
    assert not [
        item for item in world.objects if item["metadata"]["name"].startswith("redis-blobs")
    ]
    for item in world.all("NetworkPolicy"):
        rules = [rule for rule in item["spec"].get("egress", []) if {"port": 443} in rule["ports"]]
        public = [peer["ipBlock"] for rule in rules for peer in rule["to"] if "ipBlock" in peer]
        users = {"api", "worker", "keeper", "webhooks"}  # webhooks go to clients' URLs
        assert bool(public) == (item["metadata"]["name"] in users), item["metadata"]["name"]
        for block in public:
            assert block["cidr"] != "0.0.0.0/0" or "169.254.0.0/16" in block["except"]
