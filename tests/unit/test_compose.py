"""Promises of docker-compose.yml about every service, as `docker compose config` reads the file."""

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from sluice.settings import ApiSettings, WebhooksSettings, WorkerSettings
from tests.support.paths import ROOT

PROFILES = ["gpu", "models", "monitoring", "traefik", "ui"]
DEFAULT = {"redis", "redis-blobs", "triton", "api", "worker", "keeper", "webhooks"}

Config = dict[str, Any]


def _config(*options: str) -> Config:
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLUICE_", "COMPOSE_"))
    }
    command = ["docker", "compose", *options, "config", "--format", "json"]
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=60, check=False
    )
    if "is not a docker command" in ended.stderr or "unknown flag" in ended.stderr:
        pytest.skip("docker has no compose plugin")
    assert ended.returncode == 0, ended.stderr
    config: Config = json.loads(ended.stdout)
    return config


@pytest.fixture(scope="module")
def default() -> Config:
    return _config()


@pytest.fixture(scope="module")
def everything() -> Config:
    return _config(*(word for profile in PROFILES for word in ("--profile", profile)))


def _seconds(duration: str) -> int:
    minutes, _, seconds = duration.rpartition("m")
    return int(minutes or 0) * 60 + int(seconds.removesuffix("s"))


def test_without_a_profile_only_the_services_without_a_gpu_start(default: Config) -> None:
    assert set(default["services"]) == DEFAULT


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_adds_services_to_the_default_ones(profile: str) -> None:
    assert set(_config("--profile", profile)["services"]) > DEFAULT


def test_gpu_env_replaces_triton_by_the_one_with_a_gpu() -> None:
    services = _config("--env-file", "compose/gpu.env")["services"]
    assert services["triton"]["scale"] == 0
    assert services["triton-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert services["worker"]["environment"]["SLUICE_TRITON_GRPC_URL"] == "dns:///triton-gpu:8001"
    assert services["api"]["environment"]["SLUICE_TRITON_HTTP_URL"] == "http://triton-gpu:8000"


def test_every_service_is_confined_and_restarts(everything: Config) -> None:
    for name, service in everything["services"].items():
        once = name == "models"  # a command, for `docker compose run`
        assert service["restart"] == ("no" if once else "unless-stopped"), name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert not service["image"].endswith(":latest"), name
        assert ":" in service["image"], name
        own_image = service["image"].startswith("sluice-")  # has a health check of its own
        assert own_image or "healthcheck" in service, name


def test_every_service_of_our_own_writes_json(everything: Config) -> None:
    assert {
        name: service["environment"].get("SLUICE_LOG_FORMAT")
        for name, service in everything["services"].items()
        if service["image"].startswith("sluice-")
    } == dict.fromkeys(("api", "worker", "keeper", "webhooks", "models", "ui"), "json")


def test_only_the_api_is_published_and_only_to_this_machine(
    default: Config, everything: Config
) -> None:
    assert {name for name, service in default["services"].items() if service.get("ports")} == {
        "api"
    }
    for service in everything["services"].values():
        assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}
    assert default["networks"]["inside"]["internal"]
    assert {
        name for name, service in default["services"].items() if "outside" in service["networks"]
    } == {
        "api",
        "worker",
        "webhooks",
    }


def test_the_stores_keep_their_data_on_a_volume_and_refuse_to_forget(default: Config) -> None:
    for name in ("redis", "redis-blobs"):
        command = " ".join(default["services"][name]["command"])
        for option in (
            "--appendonly yes",
            "--appendfsync everysec",
            "--maxmemory-policy noeviction",
            "--maxmemory ",
        ):
            assert option in command
        (data,) = [
            volume for volume in default["services"][name]["volumes"] if volume["target"] == "/data"
        ]
        assert (data["type"], data["source"]) == ("volume", name)


def test_only_the_command_writes_the_models_that_triton_reads(everything: Config) -> None:
    """The checkout's own folder is read by Triton, and written by nobody."""
    mounts = {
        name: {volume["target"]: volume for volume in service.get("volumes", ())}
        for name, service in everything["services"].items()
    }
    added = "/var/lib/sluice-models"
    assert {name for name in mounts if added in mounts[name]} == {"models", "triton", "triton-gpu"}
    for name in ("triton", "triton-gpu"):
        for target in (added, "/models"):
            assert mounts[name][target]["read_only"]
            assert f"--model-repository={target}" in everything["services"][name]["command"]
    assert mounts["models"][added]["source"] == mounts["triton"][added]["source"] == "models"
    assert not mounts["models"][added].get("read_only")
    assert "/models" not in mounts["models"]


def test_the_command_reaches_every_triton_and_has_room_for_large_files(
    everything: Config,
) -> None:
    command = everything["services"]["models"]
    assert command["environment"]["SLUICE_TRITON_HTTP_URL"] == "http://triton:8000"
    assert command["environment"]["SLUICE_TRITON_GRPC_URL"] == "dns:///triton:8001"
    assert not command.get("tmpfs")
    (room,) = [volume for volume in command["volumes"] if volume["target"] == "/tmp"]
    assert room["type"] == "volume"
    assert "--model-control-mode=explicit" in everything["services"]["triton"]["command"]


def test_a_services_stop_period_is_longer_than_its_own_grace(default: Config) -> None:
    for name, grace_s in (
        ("api", ApiSettings().drain_s),
        ("worker", WorkerSettings().grace_s),
        ("webhooks", WebhooksSettings().grace_s),
    ):
        assert _seconds(default["services"][name]["stop_grace_period"]) >= grace_s + 10


def test_each_service_waits_for_the_services_it_needs(everything: Config) -> None:
    stores = {"redis", "redis-blobs"}
    for name, needs in (
        ("api", stores),
        ("keeper", stores),
        ("webhooks", stores),
        ("worker", stores | {"triton"}),
        ("models", {"redis", "triton"}),
        ("ui", {"api"}),
    ):
        waits = everything["services"][name]["depends_on"]
        assert (
            {other for other, how in waits.items() if how["condition"] == "service_healthy"}
            == needs
            == set(waits)
        )
