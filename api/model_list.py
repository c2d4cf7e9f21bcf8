"""The list of models: of Triton's answers, and as text that is kept in Redis."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluice import logs, model_config
from sluice.errors import UnsupportedModel
from sluice.models import Model

log = logs.get(__name__)

_FORMAT = 1
_MAX_BYTES = 4_000_000
"""A longer text is not kept. A model has about 5 kB, a thousand classes about 20 kB."""


@dataclass(frozen=True)
class ListedModel:
    """A model in Triton's repository."""

    name: str
    model: Model | UnsupportedModel | None
    """The loaded model, or why Sluice can't run it; None where Triton has not loaded it."""
    reason: str
    """Triton's reason for not having loaded the model, else empty."""
    version: str | None
    """The newest loaded version."""
    runs: int
    """Images that Triton ran through this version since it was loaded."""
    seen_at: float
    """The time at which an api first saw the model, in seconds since the epoch."""
    config: Mapping[str, Any] | None = None
    """Triton's configuration, from which `model` was read; None where Triton has not loaded it."""

    def has_version(self, version: str | None) -> bool:
        """True for the id of its version, which is the model's name, for its number, and None."""
        return version in (None, self.name, self.version)


def describe(config: Mapping[str, Any]) -> Model | UnsupportedModel:
    """The model of this configuration, or why Sluice can't run it."""
    try:
        return model_config.read(config)
    except UnsupportedModel as error:
        return error


@dataclass(frozen=True)
class ModelList:
    """The models by name, as Triton had them at one time."""

    models: Mapping[str, ListedModel]
    at: float
    """The time of the list, in seconds since the epoch."""

    def content(self) -> list[dict[str, Any]]:
        """All that is kept of the models."""
        return [
            {
                "name": listed.name,
                "config": listed.config,
                "reason": listed.reason,
                "version": listed.version,
                "seen_at": listed.seen_at,
            }
            for listed in self.models.values()
        ]

    def to_text(self) -> bytes | None:
        """The list as text; None where it is too long to be kept."""
        whole = {"format": _FORMAT, "at": self.at, "models": self.content()}
        text = json.dumps(whole).encode()
        if len(text) > _MAX_BYTES:
            log.warning(
                "models_not_kept", "the list of models is too long for Redis", bytes=len(text)
            )
            return None
        return text

    @classmethod
    def from_text(cls, text: bytes) -> "ModelList | None":
        """The list of a text; None for one of another format, or of none."""
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                return None
            models = {str(entry["name"]): _listed(entry) for entry in content["models"]}
            return cls(models, min(float(content["at"]), time.time()))
        except (AttributeError, KeyError, LookupError, TypeError, ValueError) as error:
            log.warning(
                "kept_models_ignored", "the list of models in Redis can't be read", error=error
            )
            return None


def _listed(entry: Mapping[str, Any]) -> ListedModel:
    config, version = entry["config"], entry["version"]
    return ListedModel(
        name=str(entry["name"]),
        model=None if config is None else describe(config),
        reason=str(entry["reason"]),
        version=None if version is None else str(version),
        runs=0,
        seen_at=float(entry["seen_at"]),
        config=config,
    )
