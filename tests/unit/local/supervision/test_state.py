"""The state directory: its lock, and the record of the running processes."""

import json
import os
import subprocess
import sys

import pytest

from sluice.errors import LocalStackError
from sluice.local.supervision.state import StateDirectory, default_directory, running_stack


def test_one_stack_at_a_time(tmp_path):
    first, second = StateDirectory(tmp_path / "state"), StateDirectory(tmp_path / "state")
    first.lock()
    with pytest.raises(
        LocalStackError, match=rf"already runs on .*\(process {os.getpid()}\).*--state"
    ):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()


def test_the_lock_lasts_until_the_last_process_that_inherited_it_ends(tmp_path):
    state = StateDirectory(tmp_path)
    fd = state.lock()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[fd]
    ) as child:
        state.unlock()
        with pytest.raises(LocalStackError):
            StateDirectory(tmp_path).lock()
        child.communicate(b"\n")
    after = StateDirectory(tmp_path)
    after.lock()
    after.unlock()


def test_lock_waits_for_the_reaper_of_a_dead_supervisor(tmp_path):
    state = StateDirectory(tmp_path)
    fd = state.lock()
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    (tmp_path / "lock").write_text(f"{gone.pid}\n")
    with subprocess.Popen(["sleep", "0.3"], pass_fds=[fd]):
        state.unlock()
        after = StateDirectory(tmp_path)
        after.lock()
        after.unlock()


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LocalStackError, match="can't be used"):
        StateDirectory(tmp_path / "file" / "state").lock()


def test_stack_json_exists_only_while_the_lock_is_held(tmp_path):
    state = StateDirectory(tmp_path)
    state.lock()
    state.write({"pids": {"api": 1}})
    state.write({"pids": {"api": 2}})
    assert json.loads((tmp_path / "stack.json").read_text()) == {"pids": {"api": 2}}
    state.unlock()
    assert not (tmp_path / "stack.json").exists()


def test_end_leftovers_kills_recorded_processes_and_no_others(tmp_path):
    state = StateDirectory(tmp_path)
    state.lock()
    assert state.end_leftovers() == []
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as child:
        state.remember([child.pid])
        recorded = json.loads((tmp_path / "children.json").read_text())
        (tmp_path / "children.json").write_text(
            json.dumps({pid: started - 1 for pid, started in recorded.items()})
        )
        assert state.end_leftovers() == []  # a later process with the same number
        assert child.poll() is None
        state.remember([child.pid])
        assert state.end_leftovers() == [child.pid]
        assert child.wait() == -9
    state.unlock()


def test_the_shared_memory_prefix_depends_on_the_directory(tmp_path):
    names = {StateDirectory(tmp_path / name).shm_prefix for name in ("a", "b", "b/../a")}
    assert len(names) == 2
    assert all(name.startswith("sluice-") and "/" not in name for name in names)


def test_the_default_directory_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "sluice"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_directory() == tmp_path / ".local" / "state" / "sluice"


def test_a_stack_is_running_while_its_supervisor_lives(tmp_path):
    assert running_stack(tmp_path) is None
    description = {"pids": {"supervisor": os.getpid()}, "models": "/models"}
    StateDirectory(tmp_path).write(description)
    assert running_stack(tmp_path) == description
    StateDirectory(tmp_path).write(
        {"pids": {"supervisor": 2**22 + 1}}
    )  # above any process's number
    assert running_stack(tmp_path) is None
    (tmp_path / "stack.json").write_text("{")
    assert running_stack(tmp_path) is None
