"""Ids, and the prefix by which a router finds a queue."""

import re

import pytest

from sluice.ids import derived_id, new_id

FORM = r"[a-z2-7]{26}"


@pytest.mark.parametrize("prefix", ["", "a", "q7"])
def test_an_id_begins_with_its_prefix_and_keeps_its_form(prefix: str) -> None:
    made = {new_id(prefix) for _ in range(100)} | {derived_id(prefix, "caller", "key")}
    assert len(made) == 101
    for made_id in made:
        assert made_id.startswith(prefix)
        assert re.fullmatch(FORM, made_id)


def test_a_derived_id_never_changes() -> None:
    # Clients repeat a submission across an upgrade, and must find the same prediction.
    assert derived_id("", "someone", "key 1") == "jyfnr5wepgpayugl3rtfhynxdm"
    assert derived_id("a", "someone", "key 1") == "a" + derived_id("", "someone", "key 1")[:25]
    assert derived_id("", "someone", "key 1") != derived_id("", "someone", "key 2")
