"""The keys that may be left in Redis, on audits made by hand."""

from typing import Any

import pytest

from tests.chaos.leftovers import left_over
from tests.chaos.scripts import audit, key


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (key("{default}:ready:normal:default", size=2), "holds 2"),
        (key("{default}:prediction:a", status="processing"), "is processing"),
        (key("{default}:prediction:a", ttl_s=-1, status="failed"), "no time to live"),
        (key("{default}:prediction:a", ttl_s=70, status="failed"), "60 s is the longest"),
        (key("{default}:prediction:b", status="failed"), "no client knows"),
        (key("{default}:gone:a", ttl_s=80), "70 s is the longest"),
        (key("blob:c/input-0123", ttl_s=30), "belongs to nothing"),
        (key("something", ttl_s=-1), "no time to live"),
    ],
)
def test_each_left_over_key_is_found(left: dict[str, Any], words: str) -> None:
    texts = list(left_over(audit(left), {"a"}, doubtful=0, faults=0))
    assert len(texts) == 1
    assert words in texts[0]


def test_more_left_over_images_than_faults_are_a_breach() -> None:
    keys = [key("{default}:prediction:a", status="canceled"), key("blob:a/input-0123")]
    assert not list(left_over(audit(*keys), {"a"}, doubtful=0, faults=1))
    (text,) = left_over(audit(*keys), {"a"}, doubtful=0, faults=0)
    assert "whose prediction is canceled" in text


def test_the_keys_of_a_good_run_are_no_breach() -> None:
    keys = [
        key("{default}:prediction:a", status="succeeded"),
        key("{default}:prediction:b", status="succeeded"),  # the submission's answer was lost
        key("{default}:gone:a", ttl_s=70),
        key("blob:a/annotated"),
        key("blob:c/input-0123", ttl_s=20),  # never recorded
        key("_kombu.binding.detect", ttl_s=-1),
    ]
    assert list(left_over(audit(*keys), {"a"}, doubtful=1, faults=0)) == []
