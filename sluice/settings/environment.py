"""All settings together, and how the environment becomes settings."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from sluice.settings.api import ApiSettings
from sluice.settings.blobs import BlobsSettings
from sluice.settings.groups import (
    FetchSettings,
    Group,
    LimitsSettings,
    ModelsSettings,
    NetguardSettings,
    QueueSettings,
    TritonSettings,
    WorkerSettings,
)
from sluice.settings.metrics import MetricsSettings
from sluice.settings.redis import RedisSettings
from sluice.settings.redis_address import RedisAddress
from sluice.settings.telemetry import LogSettings, TracingSettings
from sluice.settings.ui import UiSettings
from sluice.settings.webhooks import WebhooksSettings

_PREFIX = "SLUICE_"
_SECRETS_DIR = "SLUICE_SECRETS_DIR"


class Settings(BaseModel):
    """All groups. `Settings(queue=QueueSettings(lease_s=3))` reads nothing from the environment.

    Entry points call `from_env`. Libraries take the group or the value that they need.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    redis: RedisSettings = RedisSettings()
    blobs: BlobsSettings = BlobsSettings()
    queue: QueueSettings = QueueSettings()
    limits: LimitsSettings = LimitsSettings()
    netguard: NetguardSettings = NetguardSettings()
    fetch: FetchSettings = FetchSettings()
    triton: TritonSettings = TritonSettings()
    models: ModelsSettings = ModelsSettings()
    api: ApiSettings = ApiSettings()
    worker: WorkerSettings = WorkerSettings()
    webhooks: WebhooksSettings = WebhooksSettings()
    ui: UiSettings = UiSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    metrics: MetricsSettings = MetricsSettings()

    @classmethod
    def from_env(cls) -> Self:
        """Settings from the environment, and from the files in SLUICE_SECRETS_DIR.

        Raises ValueError, which names each wrong variable and does not repeat its value.
        """
        try:
            return cls.model_validate(_read_environment())
        except ValidationError as error:
            raise ValueError(_explain(error)) from None

    def redis_address(self, timeout_s: float) -> RedisAddress:
        """The address of the ledger's Redis, for a process that waits so long for an answer."""
        return self._timed(self.redis.address(), timeout_s)

    def blobs_address(self, timeout_s: float) -> RedisAddress:
        """The address of the Redis that holds blobs, if they are in no bucket."""
        own = self.blobs.redis_address()
        address = self.redis.with_sentinel_access(own) if own else self.redis.address()
        return self._timed(address, timeout_s)

    def _timed(self, address: RedisAddress, timeout_s: float) -> RedisAddress:
        return replace(address, connect_timeout_s=self.redis.connect_timeout_s, timeout_s=timeout_s)


class Variable(NamedTuple):
    """One variable of the environment."""

    name: str
    """Such as SLUICE_QUEUE_LEASE_S."""
    group: str
    """The field of `Settings` that it belongs to, such as `queue`."""
    field: str
    """The field of that group, such as `lease_s`."""
    info: FieldInfo
    """Default and description."""


def groups() -> dict[str, type[Group]]:
    """The class of each field of `Settings`."""
    return {name: type(info.default) for name, info in Settings.model_fields.items()}


def variables() -> Iterator[Variable]:
    """Every variable that `Settings.from_env` reads, but for SLUICE_SECRETS_DIR."""
    for group, kind in groups().items():
        for field, info in kind.model_fields.items():
            yield Variable(_variable_name(group, field), group, field, info)


def _variable_name(group: str, field: str) -> str:
    return f"{_PREFIX}{group}_{field}".upper()


def _read_environment() -> dict[str, dict[str, str]]:
    """The texts of the variables that are set, by group and field."""
    secrets_dir = os.environ.get(_SECRETS_DIR) or None
    if secrets_dir and not Path(secrets_dir).is_dir():
        raise ValueError(f"{_SECRETS_DIR}: there is no directory {secrets_dir}")
    # One flat model of optional texts: the groups check the values, and all errors come at once.
    fields: dict[str, Any] = {f"{v.group}_{v.field}": (str | None, None) for v in variables()}
    reader = create_model("Environment", __base__=BaseSettings, **fields)
    texts = reader(_env_prefix=_PREFIX, _secrets_dir=secrets_dir).model_dump(exclude_unset=True)
    values: dict[str, dict[str, str]] = {}
    for variable in variables():
        text = texts.get(f"{variable.group}_{variable.field}")
        if text is not None:
            values.setdefault(variable.group, {})[variable.field] = text
    return values


def _explain(error: ValidationError) -> str:
    """One line for each wrong variable."""
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        message = problem["msg"].removeprefix("Value error, ")
        group, *field = problem["loc"][:2]
        lines.append(
            f"{_variable_name(str(group), str(field[0]))}: {message}" if field else message
        )
    return "\n".join(lines)
