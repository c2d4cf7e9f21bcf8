"""The settings of the ledger's Redis."""

from dataclasses import replace
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from sluice.settings.groups import Group
from sluice.settings.redis_address import Access, RedisAddress, Verify, existing_file

_PREFIX = "SLUICE_REDIS_"


class RedisSettings(Group):
    """The Redis that holds the ledger and the queue."""

    url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description=(
            "URL of the ledger's Redis; rediss:// for TLS. Secret, since it may hold a password. "
            "With Sentinel: redis+sentinel://host:port,host:port/master/database."
        ),
    )
    username: str | None = Field(
        None, description="User name at Redis, as it is, if the URL has none."
    )
    password: SecretStr | None = Field(
        None, description="Password at Redis, as it is, if the URL has none. Secret."
    )
    ca_file: str | None = Field(
        None,
        description="PEM file of authorities to trust, beside those of the machine.",
    )
    cert_file: str | None = Field(
        None, description="PEM file of the client's certificate, if Redis asks for one."
    )
    key_file: str | None = Field(
        None, description="PEM file of that certificate's key, if it is not in the same file."
    )
    verify: Verify | None = Field(
        None,
        description=(
            "full, the default: check Redis's certificate and its host name. "
            "ca: the certificate alone. none: neither."
        ),
    )
    require_noeviction: bool = Field(
        False,
        description=(
            "Refuse a Redis whose maxmemory-policy is not noeviction, also for blobs. "
            "If false, such a Redis is a warning: it may evict accepted predictions."
        ),
    )
    sentinel_username: str | None = Field(
        None, description="User name at the Sentinels, if they ask for one."
    )
    sentinel_password: SecretStr | None = Field(
        None, description="Password at the Sentinels, if they ask for one. Secret."
    )
    connect_timeout_s: float = Field(0.3, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(
        0.5,
        gt=0,
        description="Seconds without any answer of Redis, after which the api answers 503.",
    )
    worker_timeout_s: float = Field(
        10.0,
        gt=0,
        description=(
            "Seconds that the other processes wait for an answer of a slow Redis. "
            "A dead connection is noticed earlier. "
            "Must be more than 1, since workers block on the queue for 1 s."
        ),
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: SecretStr) -> SecretStr:
        RedisAddress.parse(value.get_secret_value(), f"{_PREFIX}PASSWORD")
        return value

    @field_validator("ca_file", "cert_file", "key_file")
    @classmethod
    def _check_file(cls, value: str | None) -> str | None:
        return existing_file(value) if value else None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        self.address()
        return self

    def address(self) -> RedisAddress:
        """The address without the time-outs of these settings."""
        access = Access(
            username=self.username,
            password=self.password.get_secret_value() if self.password else None,
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
            verify=self.verify,
        )
        address = RedisAddress.parse(self.url.get_secret_value()).with_access(access, _PREFIX)
        return self.with_sentinel_access(address)

    def with_sentinel_access(self, address: RedisAddress) -> RedisAddress:
        """Return the address with user and password for its Sentinels, if it has any."""
        if address.sentinels is None:
            return address
        password = self.sentinel_password.get_secret_value() if self.sentinel_password else None
        sentinels = replace(address.sentinels, username=self.sentinel_username, password=password)
        return replace(address, sentinels=sentinels)
