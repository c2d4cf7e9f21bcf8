"""The supervisor, with real child processes: shells and small Python programs."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sluice.errors import LocalStackError
from sluice.local.supervision import reaper, shm
from sluice.local.supervision.process import Process, Spec
from sluice.local.supervision.supervisor import Kind, Supervisor
from tests.support.waiting import until


def running(pid):
    return any(process.pid == pid and not process.is_dead for process in reaper.processes())


def text(path):
    """The file's text; empty while the file does not exist.

    A log does not exist before the first start, and while the old log is being set aside.
    """
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def shell(script, name="child", **options):
    return Spec(
        name,
        ["/bin/sh", "-c", script],
        os.environ,
        options.pop("is_ready", lambda: True),
        **options,
    )


@pytest.fixture
def events():
    return []


@pytest.fixture
def supervisor(tmp_path, events):
    supervisor = Supervisor(tmp_path, events.append)
    yield supervisor
    supervisor.stop()


def test_output_goes_to_a_file_per_process(supervisor, tmp_path):
    supervisor.start(
        [shell("echo one; exec sleep 60", "a"), shell("echo two >&2; exec sleep 60", "b")]
    )
    until(lambda: text(tmp_path / "a.log") == "one\n" and text(tmp_path / "b.log") == "two\n")


def test_the_stack_is_ready_when_all_processes_are(supervisor, tmp_path, events):
    flag = tmp_path / "flag"
    supervisor.start(
        [shell("exec sleep 60", "a"), shell("exec sleep 60", "b", is_ready=flag.exists)]
    )
    until(lambda: [event.name for event in events if event.kind is Kind.READY] == ["a"])
    assert not supervisor.is_ready()
    flag.touch()
    until(supervisor.is_ready)
    assert set(supervisor.pids) == {"a", "b", "reaper"}


def test_a_child_that_dies_is_reported_and_restarted(supervisor, tmp_path, events):
    supervisor.start([shell("echo last words; exec sleep 60")])
    until(supervisor.is_ready)
    first = supervisor.pids["child"]
    until(lambda: text(tmp_path / "child.log"))
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.pids.get("child", first) != first and supervisor.is_ready())
    (died,) = [event for event in events if event.kind is Kind.DIED]
    assert "killed by signal 9" in died.text
    assert "last words" in died.text


def test_a_child_that_dies_three_times_before_it_is_ready_is_given_up(supervisor, events):
    supervisor.start([shell("echo no such thing; exit 3", is_ready=lambda: False)])
    with pytest.raises(LocalStackError, match=r"child ended with status 3[\s\S]*no such thing"):
        until(supervisor.is_ready)
    assert len([event for event in events if event.kind is Kind.STARTED]) == 3


def test_a_child_that_hangs_before_it_is_ready_is_given_up(supervisor):
    supervisor.start([shell("exec sleep 60", is_ready=lambda: False, ready_timeout_s=0.3)])
    with pytest.raises(LocalStackError, match="was not ready after"):
        until(supervisor.is_ready)


def test_a_missing_program_is_reported(supervisor):
    supervisor.start([Spec("child", ["/no/such/program"], os.environ, lambda: False)])
    with pytest.raises(LocalStackError, match=r"child ended with status 127[\s\S]*not found"):
        until(supervisor.is_ready)


def test_a_child_in_trouble_is_restarted(supervisor, tmp_path, events):
    trouble = tmp_path / "trouble"
    supervisor.start(
        [
            shell(
                "exec sleep 60",
                trouble=lambda pid: (trouble.exists() and "has a flat tyre") or None,
            )
        ]
    )
    until(supervisor.is_ready)
    first = supervisor.pids["child"]
    trouble.touch()
    until(lambda: any("has a flat tyre" in event.text for event in events))
    trouble.unlink()
    until(lambda: supervisor.pids.get("child", first) != first and supervisor.is_ready())
    assert not running(first)


def test_clean_runs_before_each_start_and_after_the_end(supervisor, tmp_path, events):
    mark, log = tmp_path / "mark", tmp_path / "child.log"
    mark.touch()
    script = f"test -e {mark} && echo dirty; touch {mark}; echo up; exec sleep 60"
    supervisor.start([shell(script, clean=lambda: mark.unlink(missing_ok=True))])
    until(lambda: text(log) == "up\n")
    os.kill(supervisor.pids["child"], signal.SIGKILL)
    until(lambda: text(log) == "up\nup\n")
    supervisor.stop()
    assert not mark.exists()


def test_stop_ends_the_highest_tier_first(supervisor, tmp_path):
    order = tmp_path / "order"
    script = (
        "trap 'echo {0} >>" + str(order) + "; exit' TERM; echo up; while :; do sleep 0.05; done"
    )
    specs = [
        shell(script.format(tier), f"tier-{tier}", tier=tier, grace_s=2.0) for tier in (0, 2, 1)
    ]
    supervisor.start(specs)
    until(lambda: all(text(tmp_path / f"tier-{tier}.log") for tier in range(3)))
    supervisor.stop()
    assert order.read_text().split() == ["2", "1", "0"]


def test_a_child_that_ignores_sigterm_is_killed_in_time(supervisor, tmp_path):
    script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    supervisor.start([shell(script, f"deaf-{tier}", tier=tier, grace_s=60.0) for tier in range(3)])
    until(
        lambda: (
            supervisor.is_ready() and all(text(tmp_path / f"deaf-{tier}.log") for tier in range(3))
        )
    )
    pids = supervisor.pids.values()
    started = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - started < 30, (
        "the sum of the graces, not the bound for all, ended the stop"
    )
    assert not [pid for pid in pids if running(pid)]


def test_a_grandchild_ends_with_its_parent(supervisor, tmp_path):
    supervisor.start([shell("sleep 60 & echo $!; exec sleep 60")])
    grandchild = int(until(lambda: text(tmp_path / "child.log")))
    os.kill(supervisor.pids["child"], signal.SIGKILL)
    until(lambda: not running(grandchild), what="the grandchild's end")


def test_stop_while_a_child_is_still_starting(supervisor):
    supervisor.start([shell("exec sleep 60", is_ready=lambda: False)])
    pid = until(lambda: supervisor.pids.get("child"))
    supervisor.stop()
    supervisor.stop()
    assert not running(pid)


SUPERVISED = """
import os, sys, time
from pathlib import Path
from sluice.local.supervision.process import Process, Spec
from sluice.local.supervision.supervisor import Supervisor
folder = Path(sys.argv[1])
keep_open = [os.open(folder, os.O_RDONLY)]
supervisor = Supervisor(folder, lambda event: None, shm_prefix=sys.argv[2], keep_open=keep_open)
script = "sleep 60 & echo $! > %s; exec sleep 61" % (folder / "grandchild")
supervisor.start([Spec("child", ["/bin/sh", "-c", script], os.environ, lambda: True)])
pid_file = folder / "grandchild"
while not (supervisor.is_ready() and pid_file.exists() and pid_file.read_text()):
    time.sleep(0.01)
print(supervisor.pids["child"], supervisor.pids["reaper"], flush=True)
time.sleep(60)
"""


def test_nothing_is_left_after_a_supervisor_is_killed(tmp_path):
    prefix = f"sluice-test-{os.getpid()}-"
    segment = shm.DIRECTORY / f"{prefix}left"
    segment.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISED, str(tmp_path), prefix], stdout=subprocess.PIPE, text=True
    )
    child, reaper_pid = map(int, process.stdout.readline().split())
    grandchild = int((tmp_path / "grandchild").read_text())
    assert running(child)
    assert running(grandchild)
    process.kill()
    process.communicate()
    until(
        lambda: not any(map(running, (child, grandchild, reaper_pid))),
        what="the end of all processes",
    )
    assert not segment.exists()


def test_the_supervisor_fails_without_its_reaper(supervisor):
    supervisor.start([shell("exec sleep 60")])
    os.kill(supervisor.pids["reaper"], signal.SIGKILL)
    with pytest.raises(LocalStackError, match="reaper"):
        until(supervisor.check)


def test_a_long_log_is_set_aside(supervisor, tmp_path, monkeypatch):
    monkeypatch.setattr("sluice.local.supervision.process.LOG_LIMIT_BYTES", 10)
    (tmp_path / "child.log").write_text("from an earlier day\n")
    supervisor.start([shell("echo new; exec sleep 60")])
    until(lambda: text(tmp_path / "child.log") == "new\n")
    assert "earlier" in (tmp_path / "child.log.1").read_text()


def test_a_wait_for_a_process_sleeps_until_its_end(tmp_path, monkeypatch):
    naps = []
    sleep = Process._sleep
    # Other stacks of this test process wait for processes of theirs.
    monkeypatch.setattr(Process, "_sleep", lambda self, s: (naps.append(self), sleep(self, s)))
    read, write = os.pipe()
    process = Process(shell("sleep 0.3"), tmp_path / "child.log", write)
    assert process.wait(60)
    process.finish()
    assert naps.count(process) == 1
    os.close(read)
    os.close(write)


def test_a_wait_ends_with_the_process_without_a_pidfd_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pidfd_open", _unsupported)
    read, write = os.pipe()
    process = Process(shell("exit 3"), tmp_path / "child.log", write)
    assert process.wait(10)
    assert process.finish() == 3
    os.close(read)
    os.close(write)


def test_children_are_found_from_all_threads_and_as_zombies():
    child = []
    thread = threading.Thread(target=lambda: child.append(subprocess.Popen(["/bin/true"])))
    thread.start()
    thread.join()
    until(lambda: [p.state for p in reaper.children(os.getpid()) if p.pid == child[0].pid] == ["Z"])
    child[0].wait()
    assert child[0].pid not in [process.pid for process in reaper.children(os.getpid())]


def _unsupported(pid):
    raise OSError(errno.ENOSYS, "not implemented")
