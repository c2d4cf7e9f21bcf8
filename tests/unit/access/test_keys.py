"""API keys: their file, their names, and the cases in which the api needs none."""

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
    """Put another file in its place, as `sluice keys` does."""
    return write(path.with_suffix(".new"), *items).replace(path)


def names(keys_file: Keys, *api_keys: str) -> list[str | None]:
    """The names of API keys; None for an unknown key."""
    callers: list[str | None] = []
    for api_key in api_keys:
        try:
            callers.append(keys_file.caller(api_key).name)
        except Unauthorized:
            callers.append(None)
    return callers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_new_key_has_its_prefix_and_its_digest_is_sha256() -> None:
    assert len({keys.new_key() for _ in range(100)}) == 100
    assert KEY.startswith("sluice_")
    assert len(KEY) == len("sluice_") + 43
    example = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-4
    assert keys.digest("abc") == example


def test_a_key_belongs_to_its_name_with_the_names_limits(tmp_path: Path) -> None:
    limits = {"rate_per_s": 0.5, "burst": 20, "max_backlog": 500}
    path = write(
        tmp_path / "keys.json",
        item(**limits),
        item(key=NEWER, **limits, created="2026-01-31"),
        item("door", OTHER),
    )
    known_keys = Keys(path)
    assert (
        known_keys.caller(KEY) == known_keys.caller(NEWER) == Caller("camera-7", 500, Rate(0.5, 20))
    )
    assert known_keys.caller(OTHER) == Caller("door")


def test_every_wrong_key_gets_the_same_message(tmp_path: Path) -> None:
    empty = keys.digest("")
    known_keys = Keys(write(tmp_path / "keys.json", item(), {"name": "empty", "sha256": empty}))
    messages = set()
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
            known_keys.caller(wrong)
        messages.add(caught.value.message)
    assert len(messages) == 1


def test_a_file_without_entries_lets_no_key_in(tmp_path: Path) -> None:
    assert names(Keys(write(tmp_path / "keys.json")), KEY, "") == [None, None]


def test_without_a_file_every_caller_is_the_default_one() -> None:
    assert Keys(None).caller(None) == Keys(None).caller("anything") == ANYBODY
    assert Caller("default", operator=True) == ANYBODY


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
def test_an_error_in_the_file_names_the_entry_and_shows_no_key(text: Any, said: str) -> None:
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
    message = ""
    try:
        keys.parse(json.dumps(content).encode())
    except ValueError as error:
        message = str(error)
    assert SECRET not in message
    assert KEY not in message


def test_written_entries_are_read_back_unchanged() -> None:
    entries = keys.parse(
        json.dumps({"keys": [item(rate_per_s=0.001, burst=3), item("door", OTHER)]}).encode()
    )
    assert keys.parse(keys.dump(entries)) == entries
    with pytest.raises(ValueError, match="earlier one"):
        keys.dump([*entries, entries[0]])


@pytest.mark.parametrize("change", [write, replace])
def test_a_change_of_the_file_counts_within_two_seconds(
    tmp_path: Path, clock: Clock, change: Callable[..., Path]
) -> None:
    path = write(tmp_path / "keys.json", item())
    known_keys = Keys(path, clock)
    change(path, item(key=NEWER), item("door", OTHER))
    clock.now += 1.9
    assert names(known_keys, KEY, NEWER, OTHER) == ["camera-7", None, None]
    clock.now += 0.1
    assert names(known_keys, KEY, NEWER, OTHER) == [None, "camera-7", "door"]
    change(path, item())
    clock.now += 1.9
    assert names(known_keys, KEY, NEWER, OTHER) == [None, "camera-7", "door"]
    clock.now += 0.1
    assert names(known_keys, KEY, NEWER, OTHER) == ["camera-7", None, None]


def test_a_file_whose_symbolic_link_changes_is_read_again(tmp_path: Path, clock: Clock) -> None:
    """Kubernetes replaces a mounted secret so.

    First keys.json -> ..data/keys.json and ..data -> ..1, then ..data -> ..2.
    """
    for folder, key in (("..1", KEY), ("..2", NEWER)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "keys.json", item(key=key))
        os.utime(tmp_path / folder / "keys.json", (1, 1))
    (tmp_path / "..data").symlink_to("..1")
    path = tmp_path / "keys.json"
    path.symlink_to("..data/keys.json")
    known_keys = Keys(path, clock)
    assert names(known_keys, KEY, NEWER) == ["camera-7", None]
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    clock.now += 2
    assert names(known_keys, KEY, NEWER) == [None, "camera-7"]


def test_a_file_that_becomes_wrong_or_missing_leaves_the_last_keys_in_force(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "keys.json", item())
    known_keys = Keys(path, clock)
    for spoil in (lambda: write(path, item() | {"sha256": KEY}), path.unlink):
        caplog.clear()
        spoil()
        for _ in range(3):
            clock.now += 2
            assert names(known_keys, KEY, NEWER) == ["camera-7", None]
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert str(path) in caplog.text
        assert KEY not in caplog.text
    write(path, item(key=NEWER))
    clock.now += 2
    assert names(known_keys, KEY, NEWER) == [None, "camera-7"]


def test_a_wrong_or_missing_file_stops_the_start(tmp_path: Path) -> None:
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
def test_an_api_on_a_public_address_needs_keys(host: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SLUICE_API_KEYS_FILE") as caught:
        keys.check(ApiSettings(host=host))
    assert "SLUICE_API_OPEN" in str(caught.value)
    keys.check(ApiSettings(host=host, open=True))
    keys.check(ApiSettings(host=host, keys_file=write(tmp_path / "keys.json", item())))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_an_api_on_loopback_needs_no_keys(host: str) -> None:
    keys.check(ApiSettings(host=host))


@pytest.fixture
def clock() -> Clock:
    return Clock()
