"""The contract of `KeptModels`: one key in Redis, and the text in memory."""

import shutil
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from sluice.cli.app import app
from sluice.redisio.kept_models import KeptModels, RedisKeptModels
from tests.fakes.kept_models import MemoryKeptModels
from tests.support.paths import ROOT


@pytest.fixture(params=["redis", "memory"])
def kept(request: pytest.FixtureRequest) -> KeptModels:
    if request.param == "memory":
        return MemoryKeptModels()
    return RedisKeptModels(request.getfixturevalue("redis_client"), "default", ttl_s=60)


def test_the_text_that_was_saved_last_is_loaded_until_it_is_forgotten(kept: KeptModels) -> None:
    assert kept.load() is None
    kept.save(b"one")
    kept.save(b"\x00two")
    assert kept.load() == b"\x00two"
    kept.forget()
    kept.forget()
    assert kept.load() is None


def test_in_redis_the_text_expires(redis_client: "redis.Redis") -> None:
    RedisKeptModels(redis_client, "default", ttl_s=60).save(b"one")
    assert 0 < redis_client.pttl("{default}:models") <= 60_000


def test_the_removal_of_a_model_deletes_the_text(
    redis_url: str, redis_client: "redis.Redis", tmp_path: Path
) -> None:
    """Else an api that starts without Triton would accept work for the model."""
    shutil.copytree(ROOT / "model_repository" / "codes", tmp_path / "codes")
    RedisKeptModels(redis_client, "default", ttl_s=60).save(b"one")
    env = {
        "SLUICE_REDIS_URL": redis_url,
        "SLUICE_MODELS_REPOSITORY": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    result = CliRunner().invoke(app, ["models", "remove", "codes", "--now"], env=env)
    assert result.exit_code == 0, result.output
    assert redis_client.get("{default}:models") is None
