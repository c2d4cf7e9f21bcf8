"""The objects that `sluice models` works on: the repository, the Tritons that read it, and Redis.

The commands import this module only when they run: httpx, Redis and protobuf are slow to import.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis

from sluice.errors import RepositoryError, TritonUnavailable
from sluice.ledger.usage import RedisUsage
from sluice.local.config import default_models
from sluice.local.supervision.state import default_directory, running_stack
from sluice.redisio import connection
from sluice.redisio.kept_models import RedisKeptModels
from sluice.repository import triton_trial
from sluice.repository.drain import Drain
from sluice.repository.repository import Repository
from sluice.repository.storage import Folder, Storage
from sluice.repository.triton_admin import TritonServer, servers
from sluice.settings import RedisAddress, Settings

# After this time, every api has asked Triton again since a model was retired: see `api/catalog.py`.
_SETTLE_TTLS = 2


class ModelTools:
    """The repository that the options, the settings or the running embedded stack name.

    The stack's Triton is told only where it reads this repository. Closed by `close`.
    """

    def __init__(
        self, settings: Settings, *, repository: str | None = None, state: Path | None = None
    ) -> None:
        """`state` is the state directory of the stack. Default: as `sluice up` has it.

        Raises RepositoryError, or TritonUnavailable where some Tritons answer and others do not.
        """
        self._settings = settings
        self._stack = running_stack(state or default_directory())
        location = repository or settings.models.repository or self._stack_models()
        self.storage = _storage(location or str(default_models()), settings)
        self._servers = self._answering(self._find_servers())
        self.max_download_bytes = settings.models.max_download_bytes
        self.notes = self._notes()
        self.repository = Repository(self.storage, self._servers, triton_trial.run)

    def drain(self, model: str) -> Callable[[], None]:
        """Waits until nothing of `model` is queued or running."""
        drain = Drain(
            RedisUsage(self._connect(), self._settings.queue.name),
            settle_s=_SETTLE_TTLS * self._settings.triton.models_ttl_s,
            timeout_s=self._settings.models.drain_timeout_s,
        )
        return lambda: drain.wait(model)

    def forget_kept_list(self) -> None:
        """Delete the list of models in Redis, so that no api accepts work for one that is gone.

        Raises RedisUnavailable.
        """
        kept = RedisKeptModels(
            self._connect(),
            self._settings.queue.name,
            ttl_s=self._settings.api.models_kept_s,
        )
        kept.forget()

    def close(self) -> None:
        for server in self._servers:
            server.close()

    def _find_servers(self) -> list[TritonServer]:
        triton = self._settings.triton
        timeout_s = self._settings.models.load_timeout_s
        if triton.model_fields_set & {"http_url", "grpc_url"}:
            return servers(triton.http_url, triton.grpc_url, load_timeout_s=timeout_s)
        if self._stack and self.storage.location == self._stack_models():
            addresses = self._addresses()
            http_url, grpc_url = addresses["triton_http"], addresses["triton_grpc"]
            return servers(http_url, grpc_url, load_timeout_s=timeout_s)
        return []

    def _answering(self, found: list[TritonServer]) -> list[TritonServer]:
        """All of `found`, or none of them where none answers."""
        silent = []
        for server in found:
            try:
                server.states()
            except TritonUnavailable as error:
                silent.append(error)
        if silent and len(silent) < len(found):
            raise TritonUnavailable(
                f"{silent[0].message}, and others do; nothing is changed until all answer"
            )
        return [] if silent else found

    def _notes(self) -> list[str]:
        if self._servers:
            return []
        return ["No Triton answers: models are loaded when Triton starts."]

    def _connect(self) -> Redis:
        return connection.connect(self._redis_address())

    def _redis_address(self) -> RedisAddress:
        if "url" not in self._settings.redis.model_fields_set and self._stack:
            return RedisAddress.parse(str(self._addresses()["redis"]))
        return self._settings.redis_address(self._settings.redis.worker_timeout_s)

    def _addresses(self) -> dict[str, Any]:
        assert self._stack is not None
        addresses: dict[str, Any] = self._stack["addresses"]
        return addresses

    def _stack_models(self) -> str | None:
        return str(self._stack["models"]) if self._stack and "models" in self._stack else None


def _storage(location: str, settings: Settings) -> Storage:
    if not location.startswith("s3://"):
        return Folder(Path(location).expanduser().resolve())
    try:
        from sluice.repository.s3 import Bucket  # noqa: PLC0415 - needs the extra `s3`
    except ModuleNotFoundError as error:
        raise RepositoryError(
            f"{location} is a bucket, and {error.name} is missing: install sluice[s3]"
        ) from None
    return Bucket(location, settings.blobs)
