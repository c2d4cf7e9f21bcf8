"""Settings. `QueueSettings.lease_s` is read from SLUICE_QUEUE_LEASE_S, and so on."""

from sluice.settings.api import ApiSettings
from sluice.settings.blobs import BlobsSettings
from sluice.settings.environment import Settings, variables
from sluice.settings.groups import (
    FetchSettings,
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

__all__ = [
    "ApiSettings",
    "BlobsSettings",
    "FetchSettings",
    "LimitsSettings",
    "LogSettings",
    "MetricsSettings",
    "ModelsSettings",
    "NetguardSettings",
    "QueueSettings",
    "RedisAddress",
    "RedisSettings",
    "Settings",
    "TracingSettings",
    "TritonSettings",
    "UiSettings",
    "WebhooksSettings",
    "WorkerSettings",
    "variables",
]
