"""The embedded stack: Redis, Triton, the api and workers on this machine, by one call.

with Stack(StackConfig(state=directory, models=repository)) as stack:
    httpx.get(f"{stack.addresses.api}/v1/models")
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sluice.errors import LocalStackError
from sluice.local.config import ALL_PARTS, METRICS_OF, OPTIONAL_PARTS, Addresses, StackConfig
from sluice.local.parts import Parts
from sluice.local.servers import ports, prometheus, triton, triton_env, ui_env
from sluice.local.supervision import shm
from sluice.local.supervision.process import Spec
from sluice.local.supervision.state import StateDirectory
from sluice.local.supervision.supervisor import Kind, Supervisor, SupervisorEvent

__all__ = ["Stack", "StackConfig"]

START_TIMEOUT_S = 240.0
POLL_S = 0.05
WATCH_S = 0.2


class Stack:
    """Starts all parts, keeps them running, and stops them.

    Only `request_stop` is thread-safe. `tell` is called with each event, from other threads too.
    `change` may change how a process is started, for instance to put a proxy before its servers.
    """

    def __init__(
        self,
        config: StackConfig,
        tell: Callable[[SupervisorEvent], None] = lambda event: None,
        change: Callable[[Spec], Spec] = lambda spec: spec,
    ) -> None:
        self.config = config
        self.state = StateDirectory(config.state)
        self._tell = tell
        self._change = change
        self._supervisor: Supervisor | None = None
        self._environment: triton_env.TritonEnv | None = None
        self._ui_python: Path | None = None
        self._addresses: Addresses | None = None
        self._stop_requested = False
        self._writing = threading.Lock()

    @property
    def addresses(self) -> Addresses:
        """The parts' addresses. Raises LocalStackError before `start`."""
        if self._addresses is None:
            raise LocalStackError("the stack has not been started")
        return self._addresses

    @property
    def pids(self) -> dict[str, int]:
        """The current process ids by name: redis, triton, worker-1 …, webhooks, api, reaper."""
        return self._supervisor.pids if self._supervisor else {}

    @property
    def stop_requested(self) -> bool:
        return self._stop_requested

    @property
    def shm_prefix(self) -> str:
        return self.state.shm_prefix

    def prepare(self) -> None:
        """Check the configuration, and make the environments, which is slow the first time.

        `start` calls this method too. Raises LocalStackError when the configuration is wrong, or
        an environment can't be made.
        """
        self._check()
        if "triton" in self.config.parts:
            self._environment = triton_env.ensure(self.config.triton_env, self._note)
        if "ui" in self.config.parts:
            self._ui_python = ui_env.ensure(self.config.ui_env, self._note)

    def start(self) -> None:
        """Start all parts. Return when all are ready, or after `request_stop`.

        Raises LocalStackError, with nothing left running, when the stack can't start.
        """
        self.prepare()
        lock = self.state.lock()
        try:
            self._clean_up_after_killed_stack()
            chosen = self._choose_ports()
            self._addresses = Addresses.at(self.config.host, chosen)
            prometheus.write_config(self.state.directory, self._addresses)
            self._supervisor = Supervisor(
                self.state.folder("logs"),
                self._on_event,
                shm_prefix=self.shm_prefix,
                keep_open=[lock],
            )
            parts = Parts(self.config, self.state, chosen, self._addresses)
            specs = [self._change(spec) for spec in parts.specs(self._environment, self._ui_python)]
            self._supervisor.start(specs)
            self._wait_ready()
        except BaseException:
            self.stop()
            raise
        if "triton" in self.config.parts and not self._stop_requested:
            self._report_failed_models(chosen["triton_http"])
        self._write()

    def run_until_stopped(self) -> None:
        """Return after `request_stop`. Raises LocalStackError when the stack can't go on."""
        while not self._stop_requested and self._supervisor is not None:
            self._supervisor.check()
            time.sleep(WATCH_S)

    def request_stop(self) -> None:
        """Make `start` and `run_until_stopped` return. A signal handler may call this method."""
        self._stop_requested = True

    def stop(self) -> None:
        """End all parts within 5 s, and leave no process and no shared memory.

        A second call does nothing.
        """
        if self._supervisor is not None:
            self._supervisor.stop()
        with self._writing:
            self._supervisor = None
            self.state.unlock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def description(self) -> dict[str, Any]:
        """The content of `stack.json`, and of `--json`."""
        return {
            "addresses": asdict(self.addresses),
            "pids": {"supervisor": os.getpid()} | self.pids,
            "state": str(self.state.directory),
            "models": str(self.config.models.resolve()),
        }

    def _check(self) -> None:
        if "triton" in self.config.parts and not self.config.models.is_dir():
            raise LocalStackError(
                f"there is no model repository at {self.config.models}; give one with --models"
            )
        if unknown := self.config.parts - ALL_PARTS - OPTIONAL_PARTS:
            raise LocalStackError(f"unknown parts: {', '.join(sorted(unknown))}")
        if self.config.workers < 1 or self.config.concurrency < 1:
            raise LocalStackError("--workers and --concurrency must be 1 or more")

    def _clean_up_after_killed_stack(self) -> None:
        for pid in self.state.end_leftovers():
            self._note(f"ended process {pid}, left here by a stack that was killed")
        shm.remove(self.shm_prefix)

    def _choose_ports(self) -> dict[str, int]:
        # Port 0 means that other stacks run on this machine. Every part then takes any free port.
        any_port = self.config.port == 0
        wanted: dict[str, int | None] = dict.fromkeys(ports.DEFAULTS, 0 if any_port else None)
        wanted["api"] = self.config.port
        if "ui" not in self.config.parts:
            del wanted["ui"]
        wanted |= {f"{METRICS_OF}{name}": 0 for name in self.config.metered}
        chosen = ports.choose(wanted, self.config.host)
        for name, port in chosen.items():
            default = ports.DEFAULTS.get(name)
            if wanted[name] is None and port != default:
                self._note(f"port {default} is taken; {name} listens on {port}")
        return chosen

    def _wait_ready(self) -> None:
        assert self._supervisor is not None
        end = time.monotonic() + START_TIMEOUT_S
        while not self._stop_requested and not self._supervisor.is_ready():
            if time.monotonic() > end:
                logs = self.state.folder("logs")
                raise LocalStackError(
                    f"the stack was not ready after {START_TIMEOUT_S:.0f} s; the logs are in {logs}"
                )
            time.sleep(POLL_S)

    def _report_failed_models(self, http_port: int) -> None:
        for name, reason in triton.failed_models(http_port).items():
            log = self.state.log("triton")
            self._note(f"model {name} did not load: {reason}; see {log}")

    def _note(self, text: str) -> None:
        self._tell(SupervisorEvent(Kind.NOTE, "stack", text))

    def _on_event(self, event: SupervisorEvent) -> None:
        self._tell(event)
        self._write()

    def _write(self) -> None:
        with self._writing:
            if self._supervisor is not None:
                self.state.write(self.description())
                self.state.remember(self.pids.values())
