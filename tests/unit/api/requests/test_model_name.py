"""Models are named in every spelling of Replicate's clients."""

import pytest

from api.requests.model_name import ModelName, chosen
from sluice.errors import InvalidInput

CODES = ModelName("codes")


@pytest.mark.parametrize(
    ("texts", "version", "named"),
    [
        ([None, ""], None, None),
        (["codes"], None, CODES),
        (["sluice/codes"], "", CODES),
        (["sluice/codes:codes"], None, CODES),
        (["codes:1"], None, ModelName("codes", "1")),
        ([], "codes", CODES),
        ([], "codes:codes", CODES),
        ([], "anybody/codes:codes", CODES),
        ([], "sluice/codes:2", ModelName("codes", "2")),
        (["codes"], "codes", CODES),
        (["sluice/codes"], "anybody/codes:codes", CODES),
        (["sluice/codes"], "1", ModelName("codes", "1")),
        (["codes", "sluice/codes:1"], "codes:1", ModelName("codes", "1")),
        (["codes"], "nosuch", ModelName("codes", "nosuch")),
    ],
)
def test_all_spellings_name_one_model(
    texts: list[str | None], version: str | None, named: ModelName | None
) -> None:
    assert chosen(*texts, version=version) == named


@pytest.mark.parametrize(
    ("texts", "version"),
    [
        (["codes", "cats"], None),
        (["codes"], "sluice/cats"),
        (["codes"], "cats:cats"),
        (["codes:1"], "2"),
        (["codes:1", "codes:2"], None),
    ],
)
def test_two_models_or_versions_are_refused(texts: list[str | None], version: str | None) -> None:
    with pytest.raises(InvalidInput, match="not two different ones: 'c"):
        chosen(*texts, version=version)
