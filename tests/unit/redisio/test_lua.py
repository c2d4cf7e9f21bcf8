"""Every `.lua` file: Redis compiles it, and luacheck finds nothing. `make check` runs this too."""

import re
import shutil
import subprocess
from collections import defaultdict

import pytest
import redis

from sluice.redisio.scripts import Script
from tests.support.paths import ROOT
from tests.support.scripts import SCRIPTS

GENERATED = "(generated)"
# The script joined with its includes is what luacheck reads: alone, no include defines its names.
LUACHECK = (
    *("luacheck", "--no-config", "--no-color", "--codes", "--formatter", "plain"),
    *("--std", "lua51", "--max-line-length", "100"),
    *("--read-globals", "redis", "cjson", "KEYS", "ARGV", "--", "-"),
)


def warnings(script: Script) -> set[str]:
    """Luacheck's reports on a script's own lines with file and line, not on generated ones."""
    done = subprocess.run(LUACHECK, input=script.text, capture_output=True, text=True, check=False)
    assert done.returncode < 3, done.stderr
    found = set()
    for line, said in re.findall(r"^stdin:(\d+):\d+: (.*)$", done.stdout, re.MULTILINE):
        file, number = script.origins[int(line) - 1]
        if GENERATED not in file:
            found.add(f"{file}:{number}: {said}")
    return found


def problems(scripts: list[Script]) -> list[str]:
    """The warnings. A name that an include defines counts as unused where no script uses it."""
    of_scripts = {script.name: warnings(script) for script in scripts}
    including = defaultdict(set)
    for script in scripts:
        for file, _ in script.origins:
            including[file].add(script.name)
    return sorted(
        warning
        for warning in set().union(*of_scripts.values())
        if "(W211)" not in warning
        or all(warning in of_scripts[name] for name in including[warning.split(":")[0]])
    )


def test_every_file_belongs_to_a_script() -> None:
    used = {file for script in SCRIPTS for file, _ in script.origins if GENERATED not in file}
    assert used == {path.relative_to(ROOT).as_posix() for path in ROOT.glob("sluice/**/*.lua")}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_redis_compiles_it(script: Script, redis_client: "redis.Redis") -> None:
    assert redis_client.script_load(script.text) == script.sha


needs_luacheck = pytest.mark.skipif(
    shutil.which("luacheck") is None,
    reason="luacheck is not on the PATH, so no Lua is linted (Debian has it as lua-check)",
)


@needs_luacheck
def test_luacheck_finds_nothing() -> None:
    assert problems(SCRIPTS) == []


@needs_luacheck
def test_luacheck_finds_what_is_planted() -> None:
    text = "local unused = 1\nreturn undefined"
    planted = Script("x.lua", text, "", (("include/y.lua", 7), ("x.lua", 1)))
    user = Script("z.lua", "local unused = 1\nreturn unused", "", (("include/y.lua", 7),) * 2)
    assert problems([planted]) == [
        "include/y.lua:7: (W211) unused variable 'unused'",
        "x.lua:1: (W113) accessing undefined variable 'undefined'",
    ]
    assert problems([planted, user]) == ["x.lua:1: (W113) accessing undefined variable 'undefined'"]
