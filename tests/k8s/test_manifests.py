"""Every overlay and combination of k8s/ is valid and keeps the promises."""

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cookbook import handlers
from sluice.settings import Settings
from tests.k8s import policies, rendering, rollouts, schemas
from tests.k8s.world import CLAIM, World, containers, environment, label, pod
from tests.support.paths import ROOT


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


@pytest.mark.parametrize("world", [*rendering.OVERLAYS, *rendering.BASELINES], indirect=True)
def test_an_overlay_names_every_images_version(world: World) -> None:
    assert list(rollouts.pinned(world)) == []


@pytest.mark.parametrize("kind", rendering.BASELINES)
def test_a_baseline_is_triton_and_the_recipe_alone(worlds: dict[str, World], kind: str) -> None:
    world = worlds[kind]
    assert {item["metadata"]["name"] for item in world.workloads} == {"recipe", "triton"}
    assert not list(world.all("StatefulSet", "Secret", "ScaledObject"))
    arguments = _container(world, "recipe")["args"]
    assert arguments[0] == kind
    options = handlers.parser().parse_args(arguments)
    assert (options.kind, options.model) == (kind, "codes")
    assert {"port": options.port} in [
        {"port": port["containerPort"]} for port in _container(world, "recipe")["ports"]
    ]
    host, port = options.triton.removeprefix("dns:///").split(":")
    service = world.one("Service", host)
    assert service is not None
    assert int(port) in {entry["port"] for entry in service["spec"]["ports"]}


@pytest.mark.parametrize("world", rendering.SYSTEMS, indirect=True)
def test_sluice_accepts_the_environment_of_every_container(
    world: World, environ: dict[str, str]
) -> None:
    ours = [
        item
        for item in world.workloads
        if item["metadata"]["name"] in {"api", "worker", "keeper", "webhooks", "models"}
    ]
    assert len(ours) >= 4
    before = dict(environ)
    for item in ours:
        environ.clear()
        environ.update(before)
        environ.update(environment(world, pod(item)["containers"][0]))
        settings = Settings.from_env()
        address = settings.redis_address(1)
        assert (address.host, address.port, address.password) == ("redis", 6379, "x")
        if item["metadata"]["name"] == "models":
            assert settings.models.repository
        elif item["metadata"]["name"] != "webhooks":  # like the command, it uses no blob
            if world.one("StatefulSet", "redis-blobs") is None:
                assert settings.blobs.bucket
            else:
                blobs = settings.blobs_address(1)
                assert (blobs.host, blobs.password) == ("redis-blobs", "x")


@pytest.mark.parametrize("world", rendering.SYSTEMS, indirect=True)
def test_every_process_of_our_own_writes_json(world: World) -> None:
    processes = {"api", "worker", "keeper", "webhooks", "ui"}
    found = [item for item in world.workloads if item["metadata"]["name"] in processes]
    assert len(found) >= 4
    for item in found:
        settings = environment(world, pod(item)["containers"][0])
        assert settings["SLUICE_LOG_FORMAT"] == "json", label(item)


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    """The process's environment without settings; restored afterwards."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("SLUICE_")]:
        del os.environ[name]
    yield os.environ  # type: ignore[misc]
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("world", rendering.OVERLAYS, indirect=True)
def test_a_password_of_any_characters_arrives_as_it_is(world: World) -> None:
    (secret,) = [item for item in world.all("Secret") if "password" in item["data"]]
    assert base64.b64decode(secret["data"]["password"]).decode() == rendering.PASSWORD


@pytest.mark.parametrize("name", rendering.OVERLAYS)
def test_deleting_an_overlay_deletes_neither_the_namespace_nor_a_disk(
    worlds: dict[str, World], name: str
) -> None:
    world = worlds[name]
    assert [item["metadata"]["name"] for item in world.all("Namespace")] == ["sluice"]
    assert world.objects[0] == rendering.namespace(), "the only one, and of no overlay"
    assert not list(world.all(CLAIM))


def test_one_overlay_can_follow_another(worlds: dict[str, World]) -> None:
    """A StatefulSet refuses other disks than those it was made with."""
    disks = {
        json.dumps([item["spec"]["volumeClaimTemplates"] for item in world.all("StatefulSet")])
        for world in (worlds[name] for name in rendering.OVERLAYS)
    }
    assert len(disks) == 1


def test_a_private_registry_gets_its_secret_from_every_account(worlds: dict[str, World]) -> None:
    accounts = list(worlds["registry"].all("ServiceAccount"))
    assert len(accounts) >= 9
    assert all(item["imagePullSecrets"] == [{"name": "registry"}] for item in accounts)


def test_prometheus_scrapes_every_pod_of_sluice_and_triton(worlds: dict[str, World]) -> None:
    yaml = pytest.importorskip("yaml", reason="yaml is not installed; `make check` installs it")
    world = worlds["watched"]
    (config,) = [item for item in world.all("ConfigMap") if "prometheus.yml" in item["data"]]
    scraped = set()
    for job in yaml.safe_load(config["data"]["prometheus.yml"])["scrape_configs"]:
        for target in job["dns_sd_configs"]:
            (name,) = target["names"]
            service = world.one("Service", name)
            assert service is not None
            assert service["spec"]["clusterIP"] == "None", "one address would stand for all pods"
            assert target["port"] in {port["port"] for port in service["spec"]["ports"]}
            scraped |= {
                item["metadata"]["name"] for item in world.behind(service["spec"]["selector"])
            }
    assert scraped == {"api", "triton", "worker", "keeper", "webhooks"}


def test_the_folder_of_manifests_holds_no_secret() -> None:
    ignored = {"redis.env", "keys.json"}
    assert "k8s/overlays/*/redis.env" in (ROOT / ".gitignore").read_text()
    for path in Path(ROOT / "k8s").rglob("*"):
        assert path.suffix not in {".key", ".pem"}, path
        if path.name not in ignored and path.is_file():
            assert "kind: Secret" not in path.read_text().splitlines(), path


def test_every_path_of_the_readme_is_there_and_no_watch_names_two_objects() -> None:
    text = (ROOT / "k8s" / "README.md").read_text()
    paths = set(re.findall(r"(?<![\w/])k8s/[\w./-]*\w", text))
    assert len(paths) > 10
    made = {"redis.env", "keys.json"}
    assert [one for one in paths if not (ROOT / one).exists() and Path(one).name not in made] == []
    # kubectl watches all objects of a kind, or one of them.
    assert re.findall(r"get \S+ \S+ \S+ --watch", text) == []


def test_the_pod_that_restores_a_backup_is_secure() -> None:
    yaml = pytest.importorskip("yaml", reason="yaml is not installed; `make check` installs it")
    pytest.importorskip(
        "kubernetes_validate",
        reason="kubernetes_validate is not installed; `make check` installs it",
    )
    item = yaml.safe_load((ROOT / "k8s" / "restore.yaml").read_text())
    assert schemas.problems(item) == []
    deployment = {
        "kind": "Deployment",
        "metadata": item["metadata"],
        "spec": {"template": {"spec": item["spec"]}},
    }
    assert list(policies.secure(World([deployment], frozenset()))) == []


def _container(world: World, name: str) -> dict[str, Any]:
    item = world.one("Deployment", name)
    assert item is not None
    container: dict[str, Any] = pod(item)["containers"][0]
    return container


def _arguments(world: World) -> list[str]:
    """Triton's arguments, with the values of variables, as the kubelet fills them in."""
    values = environment(world, _container(world, "triton"))
    return [
        re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], argument)
        for argument in _container(world, "triton")["args"]
    ]


SHARED = [name for name in rendering.NAMES if "models" in rendering.COMBINATIONS.get(name, ())]


@pytest.mark.parametrize("world", SHARED, indirect=True)
def test_every_triton_reads_the_repository_that_the_command_writes(world: World) -> None:
    """Triton keeps the image's models, and its arguments but for those of model control."""
    command = environment(world, _container(world, "models"))
    triton = environment(world, _container(world, "triton"))
    assert command["SLUICE_MODELS_REPOSITORY"] == triton["TRITON_MODEL_REPOSITORY"]
    assert _container(world, "models")["image"].startswith("sluice-cli")
    assert f"--model-repository={triton['TRITON_MODEL_REPOSITORY']}" in _arguments(world)
    assert "--model-repository=/models" in _arguments(world)
    assert "--strict-readiness=false" in _arguments(world)


def test_shared_models_change_no_other_argument_of_triton(worlds: dict[str, World]) -> None:
    before, after = _arguments(worlds["base"]), _arguments(worlds["models"])
    assert [one for one in before if one not in after] == ["--strict-readiness=true"]
    assert {one for one in after if one not in before} == {
        "--model-repository=/var/lib/sluice-models",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--strict-readiness=false",
    }


@pytest.mark.parametrize("world", SHARED, indirect=True)
def test_the_command_tells_every_triton_and_not_one_of_them(world: World) -> None:
    for name in ("SLUICE_TRITON_HTTP_URL", "SLUICE_TRITON_GRPC_URL"):
        host = re.split(r"/+|:", environment(world, _container(world, "models"))[name])[-2]
        service = world.one("Service", host)
        assert service is not None
        assert service["spec"]["clusterIP"] == "None"


def test_only_the_command_may_write_the_shared_volume(worlds: dict[str, World]) -> None:
    world = worlds["models-policies"]
    writers, users = set(), set()
    for item in world.workloads:
        volumes = {
            volume["name"]
            for volume in pod(item).get("volumes", [])
            if "persistentVolumeClaim" in volume
        }
        for container in containers(item):
            for mount in container.get("volumeMounts", []):
                if mount["name"] in volumes:
                    assert mount["subPath"] == "models"  # a disk's own `lost+found` is no model
                    users.add(pod(item)["securityContext"]["runAsUser"])
                    if not mount.get("readOnly"):
                        writers.add(item["metadata"]["name"])
    assert writers == {"models"}
    assert users == {1000}  # the files of one are readable for the other


def test_with_models_in_a_bucket_there_is_no_volume_and_triton_has_rights_of_its_own(
    worlds: dict[str, World],
) -> None:
    world = worlds["models-s3-policies"]
    assert not list(world.all(CLAIM))
    secrets = {
        name: {
            entry["valueFrom"]["secretKeyRef"]["name"]
            for entry in _container(world, name)["env"]
            if entry["name"].startswith("AWS_")
        }
        for name in ("models", "triton")
    }
    assert secrets == {"models": {"s3-models"}, "triton": {"s3-triton"}}
    for name in ("models", "triton"):
        policy = world.one("NetworkPolicy", name)
        assert policy is not None
        assert [rule for rule in policy["spec"]["egress"] if {"port": 443} in rule["ports"]]


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
