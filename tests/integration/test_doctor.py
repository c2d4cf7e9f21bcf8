"""`sluice doctor` on the live stack, and where parts of it are not as they should be."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from sluice.access import keys_file
from tests.support.live import Live
from tests.support.loopback import serving
from tests.support.servers import free_port

pytestmark = pytest.mark.integration

Report = dict[str, list[dict[str, Any]]]


def _doctor(*options: str, **env: str) -> tuple[int, Report]:
    """The exit status, and the findings by subject."""
    done = subprocess.run(
        [sys.executable, "-m", "sluice", "doctor", "--json", *options],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        timeout=60,
        check=False,
    )
    report: Report = defaultdict(list)
    for finding in json.loads(done.stdout):
        report[finding["subject"]].append(finding)
    return done.returncode, report


def _levels(report: Report, subject: str) -> set[str]:
    return {finding["level"] for finding in report[subject]}


def _texts(report: Report, subject: str) -> str:
    return "\n".join(finding["text"] for finding in report[subject])


@contextmanager
def _config(live: Live, name: str, value: str) -> Iterator[None]:
    """Another setting of the stack's Redis, for a while."""
    with redis.Redis.from_url(live.redis) as client:
        before = client.config_get(name)[name]
        client.config_set(name, value)
        try:
            yield
        finally:
            client.config_set(name, before)


def test_a_running_stack_is_found_and_has_no_fault(live: Live) -> None:
    status, report = _doctor("--state", str(live.state), "--reach", f"{live.api}/healthz")
    assert _levels(report, "redis") <= {"ok", "warning"}
    for subject in ("triton", "api", "workers", "clock", "keys", "file limit"):
        assert _levels(report, subject) == {"ok"}, report[subject]
    assert "codes: detect" in _texts(report, "models")
    # Loopback is no address for clients' URLs, unless the doctor's own environment allows it.
    assert (status, _levels(report, "reach")) == (1, {"fault"})
    status, report = _doctor(
        "--state",
        str(live.state),
        "--reach",
        f"{live.api}/healthz",
        SLUICE_NETGUARD_ALLOW="127.0.0.1/32",
    )
    assert (status, _levels(report, "reach")) == (0, {"ok"})


def test_a_redis_that_evicts_is_told(live: Live) -> None:
    with _config(live, "maxmemory-policy", "allkeys-lru"):
        _, report = _doctor("--state", str(live.state))
    assert "noeviction" in _texts(report, "redis")


def test_a_default_model_that_is_not_there_is_a_fault(live: Live) -> None:
    status, report = _doctor("--state", str(live.state), SLUICE_API_MODEL="other")
    assert status == 1
    assert "'other' is not there" in _texts(report, "models")


def test_parts_that_do_not_run_are_faults(tmp_path: Path) -> None:
    status, report = _doctor(
        "--state",
        str(tmp_path),
        "--url",
        f"http://127.0.0.1:{free_port()}",
        SLUICE_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0",
        SLUICE_TRITON_HTTP_URL=f"http://127.0.0.1:{free_port()}",
    )
    assert status == 1
    assert _levels(report, "redis") == _levels(report, "triton") == {"fault"}
    assert _levels(report, "api") == {"warning"}


def test_another_program_at_the_apis_address_is_told(tmp_path: Path) -> None:
    with serving(lambda handler: handler.reply(body=b"<html>")) as other:
        status, report = _doctor(
            "--state", str(tmp_path), "--url", f"http://127.0.0.1:{other.port}"
        )
    assert status == 1
    assert "another program" in _texts(report, "api")


def test_keys_are_counted_and_a_wrong_file_is_a_fault(live: Live, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys_file.KeysFile(path).create("camera", None, None, None)
    _, report = _doctor("--state", str(live.state), SLUICE_API_KEYS_FILE=str(path))
    assert "keys of 1 callers" in _texts(report, "keys")
    path.write_text("{")
    status, report = _doctor("--state", str(live.state), SLUICE_API_KEYS_FILE=str(path))
    assert (status, _levels(report, "keys")) == (1, {"fault"})


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sluice", "doctor", "--state", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "SLUICE_QUEUE_LEASE_S": "long"},
        check=False,
    )
    assert done.returncode == 1
    assert "SLUICE_QUEUE_LEASE_S" in done.stderr
