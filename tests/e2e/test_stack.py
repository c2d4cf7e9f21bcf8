"""Accepted predictions succeed, whatever happens to the containers meanwhile."""

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sluice import client
from tests.e2e.conftest import Load, Stack, log

pytestmark = pytest.mark.integration

SERVICES = ["worker", "keeper", "webhooks", "triton", "redis", "redis-blobs", "api"]


def test_the_demo_command_writes_its_pictures(stack: Stack, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sluice", "demo", "--url", stack.url, "--out", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(list(tmp_path.glob("*.jpg"))) == 6


def test_accepted_predictions_succeed_although_each_container_is_killed(
    stack: Stack, load: Load
) -> None:
    with load.flowing():
        for service in SERVICES:
            load.burst(20)  # some are queued and some run
            stack.crash(service)
    load.all_succeed()


def test_a_worker_that_is_stopped_loses_no_prediction(stack: Stack, load: Load) -> None:
    """Triton is stopped when the signal comes, so that some predictions run and others wait."""
    with load.flowing(), ThreadPoolExecutor() as pool:
        with stack.stopped("triton"):
            load.burst(30)
            stack.until(lambda: load.count("processing"))
            since = time.monotonic()
            stopped = pool.submit(stack.compose, "stop", "worker")
            time.sleep(2)
        stopped.result()
        took_s = time.monotonic() - since
        (worker,) = stack.containers("worker")
        assert worker["State"]["ExitCode"] == 0
        assert took_s < worker["Config"]["StopTimeout"]
        log.info("SIGTERM to the worker: exit status 0 after %.1f s", took_s)
        succeeded, waiting = load.count("succeeded"), load.count("starting")
        log.info("%d predictions have succeeded, %d wait, none runs", succeeded, waiting)
        assert succeeded
        assert waiting
        assert load.count("processing") == 0
        stack.compose("start", "worker")
    load.all_succeed()


def test_the_keeper_requeues_predictions_while_no_worker_runs(stack: Stack, load: Load) -> None:
    with stack.stopped("triton"):
        load.burst(3)
        stack.until(lambda: load.count("processing"))
        stack.compose("kill", "worker")  # the engine does not restart it
        stack.until(lambda: load.count("starting") == 3)
    stack.compose("start", "worker")
    load.all_succeed()


def test_scaling_to_four_workers_and_back_loses_no_prediction(stack: Stack, load: Load) -> None:
    stack.compose("up", "--detach", "--wait", "--scale", "worker=4")
    with load.flowing():
        load.burst(200)
        stack.until(lambda: len(_succeeding_workers(stack)) == 4)
        stack.compose("up", "--detach", "--wait", "--scale", "worker=1")
    assert len(stack.containers("worker")) == 1
    load.all_succeed()


def _succeeding_workers(stack: Stack) -> set[str]:
    lines = stack.compose("logs", "--no-color", "worker")
    return set(re.findall(r'(worker-\d+) .*"event":"prediction_succeeded"', lines))


def test_each_process_writes_json_alone_without_the_queries_of_urls(
    stack: Stack, load: Load
) -> None:
    """The log covers faults of every part, and the ends of all processes."""
    parts = {"api": "api", "worker": "predictions", "keeper": "keeper", "webhooks": "webhooks"}

    def events(service: str) -> set[str]:
        return {line["event"] for line in stack.lines(service, parts[service])}

    load.burst(3)
    load.all_succeed()
    stack.crash("worker")
    stack.crash("redis")
    with client.Client(stack.url, retry_for_s=0) as caller:
        place = "nowhere.invalid/folder?token=hush-hush"
        caller.submit(f"http://{place}", webhook=f"https://{place}")
    stack.until(lambda: events("worker") & {"prediction_failed", "prediction_retried"})
    stack.until(lambda: events("webhooks") & {"delivery_failed", "delivery_dead"})
    stack.until(lambda: events("keeper"))
    stack.compose("restart", *parts)
    stack.until(lambda: all(stack.healthy(service) for service in parts))
    assert {"prediction_succeeded", "worker_stops"} <= events("worker")
    assert "hush-hush" not in json.dumps([stack.lines(*item) for item in parts.items()])
