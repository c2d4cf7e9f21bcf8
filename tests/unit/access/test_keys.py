"""Keys: the file, who a key is, and when the api may do without."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.access import keys
from sluice.access.keys import ANYBODY, Caller, Keys, Rate
from sluice.errors import Unauthorized
from sluice.settings import ApiSettings

KEY, NEWER, OTHER = (keys.new_key() for _ in range(3))
SECRET = keys.digest(KEY)


def item(name: str = "camera-7", key: str = KEY, **limits: Any) -> dict[str, Any]:
    return {"name": name, "sha256": keys.digest(key), **limits}


def write(path: Path, *items: Any) -> Path:
    path.write_text(json.dumps({"keys": items}))
    return path


def replace(path: Path, *items: Any) -> Path:
    """As `sluice keys` does: another file in its place."""
    return write(path.with_suffix(".new"), *items).replace(path)


def names(*found: Keys | str) -> list[str | None]:
    """Who the keys are that follow the `Keys`; None for nobody."""
    known, *given = found
    assert isinstance(known, Keys)
    callers = []
    for key in given:
        assert isinstance(key, str)
        try:
            callers.append(known.caller(key).name)
        except Unauthorized:
            callers.append(None)
    return callers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_is_known_by_its_looks_and_only_its_hash_is_kept() -> None:
    assert len({keys.new_key() for _ in range(100)}) == 100
    assert KEY.startswith("sluice_")
    assert len(KEY) == len("sluice_") + 43
    assert (
        keys.digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-4's example


def test_whose_key_it_is(tmp_path: Path) -> None:
    limits = {"rate_per_s": 0.5, "burst": 20, "max_backlog": 500}
    path = write(
        tmp_path / "keys.json",
        item(**limits),
        item(key=NEWER, **limits, created="2026-01-31"),
        item("door", OTHER),
    )
    found = Keys(path)
    assert found.caller(KEY) == found.caller(NEWER) == Caller("camera-7", 500, Rate(0.5, 20))
    assert found.caller(OTHER) == Caller("door")


def test_all_wrong_keys_get_the_same_answer(tmp_path: Path) -> None:
    empty = keys.digest("")
    found = Keys(write(tmp_path / "keys.json", item(), {"name": "empty", "sha256": empty}))
    said = set()
    for wrong in (
        None,
        "",
        " ",
        KEY[:-1],
        KEY + "x",
        KEY.lower(),
        keys.digest(KEY),
        keys.new_key(),
        "naïve\0",
    ):
        with pytest.raises(Unauthorized) as caught:
            found.caller(wrong)
        said.add(caught.value.message)
    assert len(said) == 1


def test_no_entry_lets_nobody_in(tmp_path: Path) -> None:
    assert names(Keys(write(tmp_path / "keys.json")), KEY, "") == [None, None]


def test_without_a_file_everybody_is_the_same() -> None:
    assert Keys(None).caller(None) == Keys(None).caller("anything") == ANYBODY == Caller("default")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "JSON"),
        ("[]", "object"),
        ("{}", "keys: Field required"),
        ('{"keys": [], "more": 1}', "more: Extra inputs"),
        ([1], "keys: 0: .*object"),
        ([item() | {"name": "Camera_7"}], "^entry 1: name: .*a-z0-9-"),
        ([item() | {"name": "a" * 41}], "^entry 1: name"),
        ([item() | {"name": "a\n"}], "^entry 1: name"),
        ([item(), {"name": "door"}], r"^entry 2 \(door\): sha256: Field required"),
        ([item() | {"sha256": KEY}], r"^entry 1 \(camera-7\): sha256: .*0-9a-f"),
        ([item() | {"sha256": SECRET.upper()}], "sha256"),
        ([item(rate_per_s=1)], "rate_per_s and burst go together"),
        ([item(burst=1)], "rate_per_s and burst go together"),
        ([item(rate_per_s=0, burst=1)], "rate_per_s: .*0.001"),
        ([item(rate_per_s=float("inf"), burst=1)], "rate_per_s"),
        ([item(rate_per_s=float("nan"), burst=1)], "rate_per_s"),
        ([item(rate_per_s="1", burst=1)], "rate_per_s: .*number"),
        ([item(rate_per_s=1, burst=1.5)], "burst: .*integer"),
        ([item(max_backlog=0)], "max_backlog: .*1"),
        ([item(created="yesterday")], "created"),
        ([item(rate=1)], "rate: Extra inputs"),
        ([item() | {SECRET: 1}], "a field: Extra inputs"),
        ([item(), item("door")], r"^entry 2 \(door\) has the key of an earlier one"),
        (
            [item(max_backlog=1), item(key=OTHER, max_backlog=2)],
            "^all keys of camera-7 need the same .* change entry 2",
        ),
        ([item(key=str(n)) for n in range(1001)], "keys: .*1000"),
    ],
)
def test_what_is_wrong_is_said_but_not_what_was_given(text: Any, said: str) -> None:
    content = text if isinstance(text, str) else json.dumps({"keys": text})
    with pytest.raises(ValueError, match=said) as caught:
        keys.parse(content.encode())
    assert KEY not in str(caught.value)
    assert SECRET not in str(caught.value).lower()


_SECRETS = st.sampled_from([SECRET, KEY])
_FIELDS = (
    st.sampled_from(["name", "sha256", "rate_per_s", "burst", "max_backlog", "created", "keys"])
    | _SECRETS
)
_JSON = st.recursive(
    _SECRETS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_FIELDS, inner, max_size=3),
)


@given(
    st.fixed_dictionaries(
        {"keys": st.lists(st.dictionaries(_FIELDS, _JSON, max_size=6) | _JSON, max_size=3)}
    )
    | _JSON
)
def test_no_error_shows_a_key_or_a_hash(content: Any) -> None:
    said = ""
    try:
        keys.parse(json.dumps(content).encode())
    except ValueError as error:
        said = str(error)
    assert SECRET not in said
    assert KEY not in said


def test_what_is_written_is_what_is_read() -> None:
    entries = keys.parse(
        json.dumps({"keys": [item(rate_per_s=0.001, burst=3), item("door", OTHER)]}).encode()
    )
    assert keys.parse(keys.dump(entries)) == entries
    with pytest.raises(ValueError, match="earlier one"):
        keys.dump([*entries, entries[0]])


@pytest.mark.parametrize("change", [write, replace])
def test_a_change_counts_within_two_seconds(
    tmp_path: Path, clock: Clock, change: Callable[..., Path]
) -> None:
    path = write(tmp_path / "keys.json", item())
    found = Keys(path, clock)
    change(path, item(key=NEWER), item("door", OTHER))
    clock.now += 1.9
    assert names(found, KEY, NEWER, OTHER) == ["camera-7", None, None]
    clock.now += 0.1
    assert names(found, KEY, NEWER, OTHER) == [None, "camera-7", "door"]
    change(path, item())
    clock.now += 1.9
    assert names(found, KEY, NEWER, OTHER) == [None, "camera-7", "door"]
    clock.now += 0.1
    assert names(found, KEY, NEWER, OTHER) == ["camera-7", None, None]


def test_a_link_that_leads_elsewhere(tmp_path: Path, clock: Clock) -> None:
    """As Kubernetes replaces a mounted secret: keys.json -> ..data/keys.json, ..data -> ..1, then ..data -> ..2."""
    for folder, key in (("..1", KEY), ("..2", NEWER)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "keys.json", item(key=key))
        os.utime(tmp_path / folder / "keys.json", (1, 1))
    (tmp_path / "..data").symlink_to("..1")
    path = tmp_path / "keys.json"
    path.symlink_to("..data/keys.json")
    found = Keys(path, clock)
    assert names(found, KEY, NEWER) == ["camera-7", None]
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    clock.now += 2
    assert names(found, KEY, NEWER) == [None, "camera-7"]


def test_the_last_good_file_stays(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "keys.json", item())
    found = Keys(path, clock)
    for spoil in (lambda: write(path, item() | {"sha256": KEY}), path.unlink):
        caplog.clear()
        spoil()
        for _ in range(3):
            clock.now += 2
            assert names(found, KEY, NEWER) == ["camera-7", None]
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert str(path) in caplog.text
        assert KEY not in caplog.text
    write(path, item(key=NEWER))
    clock.now += 2
    assert names(found, KEY, NEWER) == [None, "camera-7"]


def test_a_wrong_file_stops_the_start(tmp_path: Path) -> None:
    missing = tmp_path / "keys.json"
    for start in (Keys, lambda path: keys.check(ApiSettings(keys_file=path))):
        with pytest.raises(ValueError, match=r"keys\.json can't be read: No such file"):
            start(missing)
    wrong = write(missing, item("Door"))
    for start in (Keys, lambda path: keys.check(ApiSettings(keys_file=path))):
        with pytest.raises(ValueError, match=r"keys\.json is wrong: entry 1: name"):
            start(wrong)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "10.1.2.3", "api.example", "localhost.example"]
)
def test_who_is_reached_from_outside_needs_keys(host: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SLUICE_API_KEYS_FILE") as caught:
        keys.check(ApiSettings(host=host))
    assert "SLUICE_API_OPEN" in str(caught.value)
    keys.check(ApiSettings(host=host, open=True))
    keys.check(ApiSettings(host=host, keys_file=write(tmp_path / "keys.json", item())))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_loopback_it_needs_none(host: str) -> None:
    keys.check(ApiSettings(host=host))


@pytest.fixture
def clock() -> Clock:
    return Clock()
