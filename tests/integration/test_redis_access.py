"""The whole stack on the rights that the guide gives, and over TLS with client certificates."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.local.config import Addresses
from sluice.local.stack import Stack, StackConfig
from tests.support.cases.world import PARTS, World, lacking, with_world
from tests.support.loopback import Handler, Server, serving
from tests.support.paths import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.integration

GUIDE = (ROOT / "docs" / "guide" / "redis.md").read_text()
#: The rules of each user, as ACL SETUSER takes them.
RULES = dict(re.findall(r"^user (\S+) (.+)$", GUIDE, re.MULTILINE))
PASSWORD = "/ + @ # ? : % & = [ ] \" ' \\ ü"
QUICK = {
    "SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5",
    "SLUICE_QUEUE_LEASE_S": "3",
    "SLUICE_NETGUARD_ALLOW": "127.0.0.1/32",
}
TLS = [
    *("--port", "0", "--tls-port", "{port}", "--tls-cert-file", "{dir}/server.pem"),
    *("--tls-key-file", "{dir}/server.key", "--tls-ca-cert-file", "{dir}/ca.pem"),
    *("--tls-auth-clients", "yes"),
]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    config = StackConfig(
        state=tmp_path_factory.mktemp("triton"),
        models=ROOT / "model_repository",
        port=0,
        parts=frozenset({"triton"}),
    )
    with Stack(config) as stack:
        yield stack.addresses


@pytest.fixture
def receiver() -> Iterator[Server]:
    """A receiver of webhooks that takes all."""

    def answer(request: Handler) -> None:
        request.reply(204)

    with serving(answer) as server:
        yield server


def _predict(http: httpx.Client, image: bytes, **options: str) -> dict[str, Any]:
    answer = http.post("/v1/predictions", params={"wait": "50", **options}, content=image)
    prediction: dict[str, Any] = answer.json()
    assert prediction.get("status") == "succeeded", answer.text
    return prediction


def _live(world: World, receiver: Server, image: bytes) -> None:
    """Let clients do what they do: images, files, batches, webhooks; and kill the worker."""
    until(lambda: (answer := world.readyz()) is not None and answer.is_success, 90, what="readyz")
    with httpx.Client(base_url=world.api, timeout=70) as http:
        hook = f"http://127.0.0.1:{receiver.port}/hook"
        drawn = _predict(http, image, visualize="true", webhook=hook)
        assert http.get(f"/v1/predictions/{drawn['id']}/image").is_success
        file = http.post("/v1/files", files={"content": ("a.jpg", image, "image/jpeg")}).json()
        by_url = {"input": {"image": file["urls"]["get"]}, "webhook": hook}
        assert http.post("/v1/predictions?wait=50", json=by_url).json()["status"] == "succeeded"
        assert http.delete(file["urls"]["get"]).is_success
        images = [("images", (name, image, "image/jpeg")) for name in ("a.jpg", "b.jpg")]
        batch = http.post("/v1/batches", files=images).json()
        for path in ("predictions", "queue", "files", "models", f"batches/{batch['id']}"):
            assert http.get(f"/v1/{path}").is_success, path
        assert http.post(f"/v1/batches/{batch['id']}/cancel").status_code in (200, 409)
        assert http.get("/v1/webhooks/default/secret").is_success
        assert http.get("/metrics").is_success
        until(lambda: len(receiver.seen) >= 4, what="the webhooks")
        world.parts["worker"].kill()
        world.parts["worker"].wait()
        left = http.post("/v1/predictions", content=image).json()["id"]
        canceled = http.post("/v1/predictions", content=image).json()["id"]
        assert http.post(f"/v1/predictions/{canceled}/cancel").is_success
        world.revive()
        assert http.get(f"/v1/predictions/{left}?wait=50").json()["status"] == "succeeded"


def _operate(world: World, environment: dict[str, str]) -> None:
    """Run the commands that need Redis."""
    for command in ("dead list", "webhooks secret", "webhooks dead", "webhooks secret --rotate"):
        done = subprocess.run(
            [sys.executable, "-m", "sluice", *command.split()],
            cwd=ROOT,
            env={**os.environ, **{name: world.fill(text) for name, text in environment.items()}},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _password_of(user: str) -> str:
    return next(word[1:] for word in RULES[user].split() if word.startswith(">"))


def test_the_stack_runs_on_the_rights_of_the_guide(
    triton: Addresses, receiver: Server, sample: bytes, tmp_path: Path
) -> None:
    """No part is refused anything, and every right is a user's of the guide."""
    blobs = {
        "SLUICE_BLOBS_URL": "redis://127.0.0.1:{redis2}/0",
        "SLUICE_BLOBS_REDIS_USERNAME": "sluice-blobs",
        "SLUICE_BLOBS_REDIS_PASSWORD": _password_of("sluice-blobs"),
    }

    def as_user(part: str) -> dict[str, str]:
        user = f"sluice-{part}"
        return {"SLUICE_REDIS_USERNAME": user, "SLUICE_REDIS_PASSWORD": _password_of(user)}

    commands = [["ACL", "SETUSER", user, *rules.split()] for user, rules in RULES.items()]
    setup = {
        "redis": [{"version": "7", "commands": commands}, {"version": "7", "commands": commands}],
        "env": {**QUICK, **blobs},
        "env_of": {part: as_user(part) for part in PARTS},
    }
    with with_world(setup, triton, tmp_path) as world:
        _live(world, receiver, sample)
        url = {"SLUICE_REDIS_URL": "redis://127.0.0.1:{redis}/0"}
        _operate(world, {**url, **blobs, **as_user("operator")})
        for number in (0, 1):
            refused = [
                f"{entry['username']} {entry['reason']} {entry['object']}"
                for entry in map(_readable, world.redis(number, ["ACL", "LOG"]))  # type: ignore[call-overload]
                if entry["object"] not in ("client", "client|setinfo")
            ]
            assert refused == []
        logs = "".join(map(world.log, PARTS))
        assert "NOPERM" not in logs
        assert not [user for user in RULES if _password_of(user) in logs]


def _readable(entry: Any) -> dict[str, str]:
    """An entry of ACL LOG; older clients give a flat list of bytes."""
    pairs = entry.items() if isinstance(entry, dict) else zip(entry[::2], entry[1::2], strict=True)
    texts = ((_text(name), _text(value)) for name, value in pairs)
    return dict(texts)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_a_user_who_may_too_little_is_told_and_nothing_is_half_done(
    triton: Addresses, tmp_path: Path, sample: bytes
) -> None:
    rules = RULES["sluice-worker"].replace(" +zadd ", " ").split()
    worker = {"SLUICE_REDIS_USERNAME": "poor", "SLUICE_REDIS_PASSWORD": "worker-password"}
    setup = {
        "redis": [{"version": "7", "commands": [["ACL", "SETUSER", "poor", *rules]]}],
        "parts": ["api", "worker"],
        "env_of": {"worker": worker},
    }
    with with_world(setup, triton, tmp_path) as world:
        until(lambda: "+zadd" in world.log("worker"), what="the rule in the worker's log")
        name = httpx.post(f"{world.api}/v1/predictions", content=sample).json()["id"]
        time.sleep(3)  # in which the worker is rung, and tries
        assert httpx.get(f"{world.api}/v1/predictions/{name}").json()["status"] == "starting"
        world.redis(0, ["ACL", "SETUSER", "poor", "+zadd"])
        done = httpx.get(f"{world.api}/v1/predictions/{name}?wait=50", timeout=60)
        assert done.json()["status"] == "succeeded"


def test_every_part_speaks_tls_with_a_certificate_and_any_password(
    triton: Addresses, receiver: Server, sample: bytes, tmp_path: Path
) -> None:
    redis = {"version": "7", "tls": True, "arguments": [*TLS, "--requirepass", PASSWORD]}
    if reason := lacking({"redis": [redis]}):
        pytest.skip(reason)
    access = {
        "PASSWORD": PASSWORD,
        "CA_FILE": "{dir}/ca.pem",
        "CERT_FILE": "{dir}/client.pem",
        "KEY_FILE": "{dir}/client.key",
    }
    url = "rediss://127.0.0.1:{redis}/0"
    environment = {
        # A proxy in this process may have the TLS, which takes its time on a busy machine.
        "SLUICE_REDIS_CONNECT_TIMEOUT_S": "5",
        "SLUICE_REDIS_TIMEOUT_S": "5",
        "SLUICE_REDIS_URL": url,
        "SLUICE_BLOBS_URL": url,
        **{f"SLUICE_REDIS_{name}": value for name, value in access.items()},
        **{f"SLUICE_BLOBS_REDIS_{name}": value for name, value in access.items()},
    }
    setup = {"redis": [redis], "password": PASSWORD, "url": url, "env": {**QUICK, **environment}}
    with with_world(setup, triton, tmp_path) as world:
        _live(world, receiver, sample)
        _operate(world, environment)
        world.redis(0, ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        world.redis(0, ["CLIENT", "KILL", "TYPE", "pubsub"])
        with httpx.Client(base_url=world.api, timeout=70) as http:
            until(lambda: http.post("/v1/predictions", content=sample).status_code == 202)
            _predict(http, sample)
        for name, process in world.parts.items():
            assert process.poll() is None, f"{name} has ended"
            assert PASSWORD not in world.log(name)
            assert PASSWORD not in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert json.dumps(PASSWORD) not in "".join(map(world.log, PARTS))
