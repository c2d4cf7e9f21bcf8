"""The settings of the blob store."""

from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from sluice.settings.groups import Group
from sluice.settings.redis_address import Access, RedisAddress, Verify, existing_file

_REDIS_PREFIX = "SLUICE_BLOBS_REDIS_"


class BlobsSettings(Group):
    """The blob store, which holds images and uploaded files.

    In production, use S3 or a Redis of its own. Images then never fill the ledger's Redis.
    """

    url: SecretStr | None = Field(
        None,
        description=(
            "URL of the blob store: redis://… or s3://bucket/prefix. "
            "The ledger's Redis is used where absent."
        ),
    )

    redis_username: str | None = Field(
        None, description="User name at the blobs' Redis, as it is, if the URL has none."
    )
    redis_password: SecretStr | None = Field(
        None, description="Password at the blobs' Redis, as it is, if the URL has none. Secret."
    )
    redis_ca_file: str | None = Field(
        None,
        description="PEM file of authorities to trust, beside those of the machine.",
    )
    redis_cert_file: str | None = Field(
        None, description="PEM file of the client's certificate, if that Redis asks for one."
    )
    redis_key_file: str | None = Field(
        None, description="PEM file of that certificate's key, if it is not in the same file."
    )
    redis_verify: Verify | None = Field(
        None, description="full, the default, ca or none: as SLUICE_REDIS_VERIFY."
    )
    s3_endpoint: str | None = Field(
        None, description="Endpoint of an S3-compatible store: https://host:port. Absent for AWS."
    )
    s3_region: str | None = Field(
        None, description="Region of the bucket. AWS_REGION is used where absent."
    )
    s3_path_style: bool = Field(
        True,
        description=(
            "Address objects as host/bucket/key. "
            "If false, as bucket.host/key; the endpoint must then name the bucket."
        ),
    )
    s3_allow_http: bool = Field(
        False, description="Allow S3 without TLS. Images then travel unencrypted."
    )
    s3_timeout_s: float = Field(
        0.8,
        gt=0,
        description=(
            "Seconds that the api waits for one S3 request, from the connection to the last byte. "
            "Other processes wait for SLUICE_REDIS_WORKER_TIMEOUT_S."
        ),
    )
    ttl_s: int = Field(3600, gt=0, description="Seconds that an input image is kept at most.")
    orphan_ttl_s: int = Field(
        300,
        gt=0,
        description="Seconds that an image is kept if recording its prediction failed.",
    )
    result_ttl_s: int = Field(3600, gt=0, description="Seconds that an annotated image is kept.")
    file_ttl_s: int = Field(3600, gt=0, description="Seconds that an uploaded file is kept.")
    files_per_key: int = Field(1000, ge=1, description="Maximum uploaded files of one API key.")
    file_bytes_per_key: int = Field(
        50_000_000, ge=1, description="Maximum bytes of one API key's uploaded files together."
    )
    file_bytes: int = Field(
        100_000_000, ge=1, description="Maximum bytes of all uploaded files together."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith("s3://"):
            RedisAddress.parse(value.get_secret_value(), f"{_REDIS_PREFIX}PASSWORD")
        return value

    @field_validator("redis_ca_file", "redis_cert_file", "redis_key_file")
    @classmethod
    def _check_file(cls, value: str | None) -> str | None:
        return existing_file(value) if value else None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        given = [name for name in type(self).model_fields if name.startswith("redis_")]
        if self.redis_address() is None and any(getattr(self, name) for name in given):
            raise ValueError(f"{_REDIS_PREFIX}…: is set, and SLUICE_BLOBS_URL names no Redis")
        return self

    @property
    def bucket(self) -> str | None:
        """The URL of the bucket; None if blobs are in Redis."""
        url = self.url.get_secret_value() if self.url else ""
        return url if url.startswith("s3://") else None

    def redis_address(self) -> RedisAddress | None:
        """The address of the Redis that is for blobs alone, without time-outs."""
        if not self.url or self.bucket:
            return None
        access = Access(
            username=self.redis_username,
            password=self.redis_password.get_secret_value() if self.redis_password else None,
            ca_file=self.redis_ca_file,
            cert_file=self.redis_cert_file,
            key_file=self.redis_key_file,
            verify=self.redis_verify,
        )
        return RedisAddress.parse(self.url.get_secret_value()).with_access(access, _REDIS_PREFIX)
