"""Settings come from the environment, and hide what is secret."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from sluice.settings import Settings


def test_defaults() -> None:
    settings = Settings()
    assert settings.redis_url == settings.blobs_url == "redis://127.0.0.1:6379/0"
    assert settings.api.host == "127.0.0.1"


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_BLOBS_URL", "redis://:hunter2@blobs:6379/0")
    monkeypatch.setenv("SLUICE_QUEUE_LEASE_S", "2.5")
    monkeypatch.setenv("SLUICE_TRITON_HTTP_URL", "http://triton:8000/")
    settings = Settings()
    assert settings.blobs_url == "redis://:hunter2@blobs:6379/0"
    assert settings.queue.lease_s == 2.5
    assert settings.triton.http_url == "http://triton:8000"
    assert "hunter2" not in repr(settings.blobs)


def test_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sluice_redis_url").write_text("redis://:hunter2@redis:6379/0\n")
    monkeypatch.setenv("SLUICE_SECRETS_DIR", str(tmp_path))
    assert Settings().redis_url == "redis://:hunter2@redis:6379/0"
    monkeypatch.setenv("SLUICE_SECRETS_DIR", str(tmp_path / "typo"))
    with pytest.raises(ValueError, match="SLUICE_SECRETS_DIR"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLUICE_QUEUE_LEASE_S", "0"),
        ("SLUICE_QUEUE_NAME", "{default}"),
        ("SLUICE_TRITON_SHARED_MEMORY", "maybe"),
    ],
)
def test_a_wrong_one_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(
        ValidationError, match=name.rpartition("SLUICE_")[2].partition("_")[2].lower()
    ):
        Settings()


def test_a_bucket_is_told_from_a_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Settings().blobs_in_s3
    monkeypatch.setenv("SLUICE_BLOBS_URL", "s3://images/prefix")
    assert Settings().blobs_in_s3
