"""The settings of webhooks."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator

from sluice.settings.groups import Group


class WebhooksSettings(Group):
    """Webhooks: retries, bounds, pauses of receivers and retention of deliveries."""

    schedule_s: tuple[float, ...] = Field(
        (5, 300, 1800, 7200, 18_000, 36_000, 36_000),
        description=(
            "Seconds to wait after each failed attempt, separated by commas. "
            "A delivery that fails after the last wait is dead."
        ),
    )
    jitter: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share by which each wait is randomly longer or shorter.",
    )
    timeout_s: float = Field(
        15.0,
        gt=0,
        description=(
            "Seconds for a whole attempt, from the name's lookup to the end of the answer."
        ),
    )
    lease_s: float = Field(
        30.0,
        gt=0,
        description=(
            "Seconds of silence after which a sender loses its deliveries. "
            "Must be more than SLUICE_WEBHOOKS_TIMEOUT_S."
        ),
    )
    max_per_receiver: int = Field(
        5,
        ge=1,
        description=(
            "Maximum attempts at one receiver at a time, of all senders together. "
            "A receiver is one host for one API key."
        ),
    )
    max_per_key: int = Field(
        50,
        ge=1,
        description=(
            "Maximum attempts for one API key at a time, of all senders together. "
            "Should be less than SLUICE_WEBHOOKS_CONCURRENCY."
        ),
    )
    concurrency: int = Field(100, ge=1, description="Maximum attempts of one sender at a time.")
    pause_after: int = Field(
        10,
        ge=1,
        description=(
            "Failures in a row after which a receiver is paused. "
            "After the pause one attempt probes the receiver."
        ),
    )
    first_pause_s: float = Field(
        5.0,
        gt=0,
        description="Seconds of a receiver's first pause. Each further pause is twice as long.",
    )
    longest_pause_s: float = Field(300.0, gt=0, description="Maximum seconds of a pause.")
    max_retry_after_s: float = Field(
        3600.0, ge=0, description="Maximum seconds that a receiver's Retry-After may ask for."
    )
    stop_s: int = Field(
        24 * 3600,
        gt=0,
        description="Seconds that a URL which answered 410 receives nothing.",
    )
    give_up_s: float = Field(
        31 * 3600.0,
        gt=0,
        description=(
            "Seconds after its first attempt after which a failing delivery is dead. "
            "The time that its receiver has been failing counts too."
        ),
    )
    keep_s: int = Field(
        3 * 24 * 3600,
        gt=0,
        description="Seconds that undelivered and dead deliveries are kept.",
    )
    retention_s: int = Field(
        24 * 3600,
        gt=0,
        description="Seconds that a delivery is kept after its receiver accepted it.",
    )
    max_dead: int = Field(
        1000, ge=1, description="Maximum dead deliveries; the oldest are removed first."
    )
    max_logged: int = Field(
        20,
        ge=1,
        description="Maximum attempts in one delivery's log; the oldest are removed first.",
    )
    max_output_bytes: int = Field(
        20_000,
        ge=0,
        description="Maximum bytes of `output`, as JSON, in a payload. A longer one is left out.",
    )
    poll_s: float = Field(
        1.0,
        gt=0,
        description="Seconds between two looks for due deliveries, if no event wakes the sender.",
    )
    sweep_interval_s: float = Field(
        5.0,
        gt=0,
        description="Seconds between two sweeps for deliveries that other senders lost.",
    )
    grace_s: float = Field(
        10.0,
        ge=0,
        description=(
            "Seconds that running attempts may still take after SIGTERM. "
            "The rest is left to other senders."
        ),
    )
    signing_key: SecretStr | None = Field(
        None,
        description=(
            "Ed25519 key as `whsk_…`, to sign with beside the secret. "
            "`sluice webhooks keypair` makes one."
        ),
    )
    ready_file: Path | None = Field(
        None, description="File that exists while the sender accepts work."
    )
    alive_file: Path | None = Field(
        None, description="File that is touched while the sender is healthy."
    )

    @field_validator("schedule_s", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [part for part in value.split(",") if part.strip()]

    @model_validator(mode="after")
    def _lease_outlives_an_attempt(self) -> "WebhooksSettings":
        if self.lease_s <= self.timeout_s:
            raise ValueError("SLUICE_WEBHOOKS_LEASE_S must be more than SLUICE_WEBHOOKS_TIMEOUT_S")
        return self
