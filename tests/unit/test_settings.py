"""Settings are built by hand or from the environment, and hide secrets."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from sluice.settings import QueueSettings, RedisSettings, Settings, WebhooksSettings, variables
from sluice.settings.reference import reference
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "reference" / "settings.md"


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLUICE_")]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = Settings.from_env()
    assert settings == Settings()
    assert settings.redis_address(1) == settings.blobs_address(1)
    assert settings.api.host == "127.0.0.1"


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_BLOBS_URL", "redis://:hunter2@blobs:6379/0")
    monkeypatch.setenv("SLUICE_QUEUE_LEASE_S", "2.5")
    monkeypatch.setenv("SLUICE_TRITON_HTTP_URL", "http://triton:8000/")
    monkeypatch.setenv("SLUICE_API_OPEN", "true")
    monkeypatch.setenv("SLUICE_WEBHOOKS_SCHEDULE_S", "0.5, 2,")
    settings = Settings.from_env()
    assert settings.blobs_address(1).password == "hunter2"
    assert settings.queue.lease_s == 2.5
    assert settings.triton.http_url == "http://triton:8000"
    assert settings.api.open
    assert settings.webhooks.schedule_s == (0.5, 2.0)
    assert "hunter2" not in repr(settings)


def test_settings_built_by_hand_do_not_read_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLUICE_QUEUE_LEASE_S", "2.5")
    monkeypatch.setenv("SLUICE_REDIS_URL", "redis://elsewhere:6379/0")
    assert QueueSettings().lease_s == Settings().queue.lease_s == 30
    settings = Settings(queue=QueueSettings(lease_s=4))
    assert settings.queue.lease_s == 4
    assert settings.redis_address(1).host == "127.0.0.1"


def test_settings_are_frozen_and_have_no_unknown_fields() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        QueueSettings().lease_s = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        Settings().queue = QueueSettings()  # type: ignore[misc]
    with pytest.raises(ValidationError, match="lease"):
        QueueSettings(lease=1)  # type: ignore[call-arg]


def test_other_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_API", "1")
    monkeypatch.setenv("SLUICE_API_SERVICE_HOST", "10.0.0.1")
    assert Settings.from_env() == Settings()


def test_a_variable_that_kubernetes_adds_is_named_with_its_origin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLUICE_API_PORT", "tcp://10.0.0.1:8000")
    with pytest.raises(ValueError, match=r"SLUICE_API_PORT: .*Kubernetes.*enableServiceLinks"):
        Settings.from_env()
    monkeypatch.setenv("SLUICE_API_PORT", "80a")
    with pytest.raises(ValueError, match="SLUICE_API_PORT: Input should be a valid integer"):
        Settings.from_env()


def test_lists_of_the_api_come_from_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_API_PUBLIC_URL", "https://pub.example/sluice/")
    monkeypatch.setenv("SLUICE_API_TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8")
    monkeypatch.setenv("SLUICE_API_CORS_ORIGINS", "https://a.example/, http://localhost:3000")
    api = Settings.from_env().api
    assert api.public_url == "https://pub.example/sluice"
    assert [str(network) for network in api.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
    assert api.cors_origins == ("https://a.example", "http://localhost:3000")
    monkeypatch.setenv("SLUICE_API_PUBLIC_URL", "")
    assert Settings.from_env().api.public_url is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLUICE_API_PUBLIC_URL", "pub.example"),
        ("SLUICE_API_PUBLIC_URL", "ftp://pub.example"),
        ("SLUICE_API_PUBLIC_URL", "https://pub.example/?a=b"),
        ("SLUICE_API_PUBLIC_URL", "https://me:secret@pub.example"),
        ("SLUICE_API_TRUSTED_PROXIES", "proxy"),
        ("SLUICE_API_CORS_ORIGINS", "app.example.com"),
        ("SLUICE_API_CORS_ORIGINS", "https://app.example.com/path"),
    ],
)
def test_a_wrong_address_of_the_api_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        Settings.from_env()


def test_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sluice_redis_url").write_text("redis://:hunter2@redis:6379/0\n")
    (tmp_path / "sluice_webhooks_signing_key").write_text("whsk_a\n")
    monkeypatch.setenv("SLUICE_SECRETS_DIR", str(tmp_path))
    settings = Settings.from_env()
    assert settings.redis_address(1).password == "hunter2"
    assert settings.webhooks.signing_key is not None
    assert settings.webhooks.signing_key.get_secret_value() == "whsk_a"
    monkeypatch.setenv("SLUICE_REDIS_URL", "redis://nearer:6379/0")
    assert Settings.from_env().redis_address(1).host == "nearer"
    monkeypatch.setenv("SLUICE_SECRETS_DIR", str(tmp_path / "typo"))
    with pytest.raises(ValueError, match="SLUICE_SECRETS_DIR"):
        Settings.from_env()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLUICE_QUEUE_LEASE_S", "0"),
        ("SLUICE_QUEUE_NAME", "{default}"),
        ("SLUICE_TRITON_SHARED_MEMORY", "maybe"),
        ("SLUICE_WEBHOOKS_SCHEDULE_S", "1,soon"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"^{name}: "):
        Settings.from_env()


def test_all_wrong_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_QUEUE_LEASE_S", "0")
    monkeypatch.setenv("SLUICE_WEBHOOKS_LEASE_S", "1")
    with pytest.raises(ValueError, match="SLUICE_QUEUE_LEASE_S") as caught:
        Settings.from_env()
    assert str(caught.value).splitlines()[1:] == [
        "SLUICE_WEBHOOKS_LEASE_S must be more than SLUICE_WEBHOOKS_TIMEOUT_S"
    ]


def test_an_error_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_WEBHOOKS_SIGNING_KEY", "whsk_hunter2")
    monkeypatch.setenv("SLUICE_WEBHOOKS_LEASE_S", "1")
    with pytest.raises(ValueError, match="SLUICE_WEBHOOKS_LEASE_S") as caught:
        Settings.from_env()
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValidationError) as by_hand:
        WebhooksSettings(signing_key="whsk_hunter2", lease_s=1)  # type: ignore[arg-type]
    assert "hunter2" not in str(by_hand.value)
    with pytest.raises(ValidationError) as by_hand:
        RedisSettings(url=b"\xffhunter2")  # type: ignore[arg-type]
    assert "hunter2" not in str(by_hand.value)


def test_the_blob_store_is_a_bucket_or_a_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.from_env().blobs.bucket is None
    monkeypatch.setenv("SLUICE_BLOBS_URL", "s3://images/prefix")
    assert Settings.from_env().blobs.bucket == "s3://images/prefix"


def test_every_variable_has_a_meaning() -> None:
    assert [variable.name for variable in variables() if not variable.info.description] == []


def test_the_page_is_up_to_date() -> None:
    """If not: `python -m sluice.settings > docs/reference/settings.md`."""
    assert PAGE.read_text() == reference()
