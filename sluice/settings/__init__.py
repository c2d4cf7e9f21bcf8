"""Settings. `QueueSettings.lease_s` is read from SLUICE_QUEUE_LEASE_S, and so on."""

from sluice.settings.api import ApiSettings
from sluice.settings.environment import Settings, variables
from sluice.settings.groups import (
    BlobsSettings,
    FetchSettings,
    LimitsSettings,
    ModelsSettings,
    NetguardSettings,
    QueueSettings,
    RedisSettings,
    TritonSettings,
    WorkerSettings,
)
from sluice.settings.webhooks import WebhooksSettings

__all__ = [
    "ApiSettings",
    "BlobsSettings",
    "FetchSettings",
    "LimitsSettings",
    "ModelsSettings",
    "NetguardSettings",
    "QueueSettings",
    "RedisSettings",
    "Settings",
    "TritonSettings",
    "WebhooksSettings",
    "WorkerSettings",
    "variables",
]
