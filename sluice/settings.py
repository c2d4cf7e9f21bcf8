"""Settings, from the environment. Each group reads its own variables: `Redis` reads SLUICE_REDIS_URL, and so on.

Only entry points build them; a library takes what it needs as an argument.
"""

from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _env(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(env_prefix=f"SLUICE_{prefix}", frozen=True)


class Redis(BaseSettings):
    """The ledger's and the queue's Redis."""

    model_config = _env("REDIS_")

    url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="Secret, since it may hold a password.")
    connect_timeout_s: float = Field(0.3, gt=0)
    timeout_s: float = Field(0.5, gt=0, description="For the api; a request that waits longer is answered 503.")
    worker_timeout_s: float = Field(10.0, gt=0, description="For workers; it must be more than the 1 s that they block on a queue.")


class Blobs(BaseSettings):
    """Where images are kept. In production a Redis of its own, so that images can never fill the ledger's."""

    model_config = _env("BLOBS_")

    url: SecretStr | None = Field(None, description="The ledger's Redis where absent.")
    ttl_s: int = Field(3600, gt=0, description="How long an input image is kept at most.")
    orphan_ttl_s: int = Field(300, gt=0, description="How long an image is kept whose prediction was not put on record.")
    result_ttl_s: int = Field(24 * 3600, gt=0, description="How long an annotated image is kept.")


class Queue(BaseSettings):
    model_config = _env("QUEUE_")

    name: str = Field("detect", pattern=r"^[a-z0-9-]+$")
    lease_s: float = Field(30.0, gt=0, description="A worker that is silent for longer than this loses its prediction.")
    visibility_timeout_s: float = Field(60.0, gt=0, description="After so long Celery rings again for a message not acknowledged.")
    max_shared_lapses: int = Field(2, ge=1, description="After so many lapsed leases a prediction runs alone in its process.")
    max_lone_lapses: int = Field(1, ge=1, description="After so many more, alone, it fails and is a dead letter.")
    max_retries: int = Field(20, ge=0, description="How often a prediction is tried again while a part is away.")
    retry_for_s: float = Field(600.0, ge=0, description="How long after its creation it is still tried again.")
    model_grace_s: float = Field(30.0, ge=0, description="How long after its creation a prediction waits for its model to load.")
    start_within_s: float = Field(3000.0, gt=0, description="What has not started by then is aborted; less than blobs live.")
    max_backlog: int = Field(10_000, ge=1, description="Predictions that are queued or running.")
    max_bytes: int = Field(200_000_000, ge=1, description="Their images' bytes together.")
    max_output_bytes: int = Field(1_000_000, ge=1000, description="One result, as JSON.")
    max_memory: float = Field(0.8, gt=0, le=1, description="Of Redis's maxmemory; the rest is for finishing what was accepted.")
    max_dead: int = Field(1000, ge=1, description="Dead letters that are kept; the oldest go first.")
    dead_retention_s: int = Field(7 * 24 * 3600, gt=0, description="How long a dead letter and its image are kept.")
    sweep_interval_s: float = Field(5.0, gt=0, description="How often each worker looks for lapsed leases and lost messages.")
    retention_s: int = Field(24 * 3600, gt=0, description="How long a prediction is kept after its end.")
    tombstone_s: int = Field(24 * 3600, gt=0, description="How long after that its id is still answered 410 rather than 404.")


class Limits(BaseSettings):
    """Bounds on what a client may send."""

    model_config = _env("LIMITS_")

    max_bytes: int = Field(20_000_000, gt=0, description="A request's body, in bytes.")
    max_pixels: int = Field(50_000_000, gt=0, description="An image's width times height; a worker holds 3 bytes for each.")


class Triton(BaseSettings):
    model_config = _env("TRITON_")

    grpc_url: str = Field("127.0.0.1:8001", description="host:port, or dns:///service:port for several servers.")
    http_url: str = Field("http://127.0.0.1:8000", description="For the api, which asks only for models and health.")
    timeout_s: float = Field(10.0, gt=0, description="The deadline of one inference.")
    shared_memory: Literal["auto", "off"] = Field(
        "auto", description="auto: through system shared memory where Triton runs on this host and that works."
    )
    region_prefix: str = Field(
        "sluice-", pattern=r"^[A-Za-z0-9._-]+$", description="What the names of shared memory begin with, for whoever cleans up."
    )
    models_ttl_s: float = Field(5.0, gt=0, description="How long the list of models is believed.")

    @field_validator("http_url")
    @classmethod
    def _no_slash(cls, value: str) -> str:
        return value.rstrip("/")


class Api(BaseSettings):
    model_config = _env("API_")

    host: str = Field(
        "127.0.0.1", description="0.0.0.0 to be reached from outside; there are no keys yet, so put a proxy before it."
    )
    port: int = Field(8080, ge=1, le=65535)
    drain_s: float = Field(3.0, ge=0, description="How long open requests may go on after SIGTERM.")
    model: str = Field("codes", description="The model of a request that names none.")
    max_wait_s: float = Field(60.0, gt=0, description="The longest that a request may wait for a result.")


class Worker(BaseSettings):
    model_config = _env("WORKER_")

    ready_file: str | None = Field(None, description="Written when the worker takes work, removed when it stops.")
    alive_file: str | None = Field(None, description="Touched every half second while the process is well.")
    concurrency: int = Field(4, ge=1, description="Predictions that one process runs side by side, on threads.")
    max_run_s: float = Field(120.0, gt=0, description="A prediction that runs longer hangs: the process replaces itself.")
    stuck_after_s: float = Field(20.0, gt=0, description="So does a process that takes nothing for so long while something waits.")
    grace_s: float = Field(25.0, ge=0, description="After SIGTERM, what still runs then is queued again.")
    opencv_threads: int = Field(1, ge=0, description="Threads inside one OpenCV call; predictions already run side by side.")


class Settings:
    """All groups, read once from the environment.

    Raises pydantic.ValidationError (a ValueError), naming the variable that is wrong.
    """

    def __init__(self) -> None:
        self.redis = Redis()
        self.blobs = Blobs()
        self.queue = Queue()
        self.limits = Limits()
        self.triton = Triton()
        self.api = Api()
        self.worker = Worker()

    @property
    def redis_url(self) -> str:
        return self.redis.url.get_secret_value()

    @property
    def blobs_url(self) -> str:
        return self.blobs.url.get_secret_value() if self.blobs.url else self.redis_url
