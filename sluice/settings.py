"""Settings, from the environment. Each group reads its own variables: `Redis` reads SLUICE_REDIS_URL, and so on.

Only entry points build them; a library takes what it needs as an argument.
"""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _env(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(env_prefix=f"SLUICE_{prefix}", frozen=True)


class RedisSettings(BaseSettings):
    """The ledger's and the queue's Redis."""

    model_config = _env("REDIS_")

    url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Secret, since it may hold a password."
    )
    connect_timeout_s: float = Field(0.3, gt=0)
    timeout_s: float = Field(
        0.5, gt=0, description="For the api; a request that waits longer is answered 503."
    )
    worker_timeout_s: float = Field(
        10.0,
        gt=0,
        description="For workers; it must be more than the 1 s that they block on a queue.",
    )


class BlobsSettings(BaseSettings):
    """Where images are kept. In production a Redis of its own, so that images can never fill the ledger's, or a bucket of S3."""

    model_config = _env("BLOBS_")

    url: SecretStr | None = Field(
        None, description="redis://… or s3://bucket/prefix; the ledger's Redis where absent."
    )
    s3_endpoint: str | None = Field(
        None, description="Where S3 is not Amazon's: https://host:port."
    )
    s3_region: str | None = Field(None, description="Else as AWS_REGION says.")
    s3_path_style: bool = Field(
        True,
        description="host/bucket/key; if not, bucket.host/key, and an endpoint names its bucket.",
    )
    s3_allow_http: bool = Field(
        False, description="Without TLS: whoever sees the traffic sees the images."
    )
    s3_timeout_s: float = Field(
        0.8,
        gt=0,
        description="For the api, from connecting to the last byte; workers wait as for Redis.",
    )
    ttl_s: int = Field(3600, gt=0, description="How long an input image is kept at most.")
    orphan_ttl_s: int = Field(
        300, gt=0, description="How long an image is kept whose prediction was not put on record."
    )
    result_ttl_s: int = Field(3600, gt=0, description="How long an annotated image is kept.")
    file_ttl_s: int = Field(3600, gt=0, description="How long an uploaded file is kept.")
    files_per_key: int = Field(1000, ge=1, description="Uploaded files of one API key.")
    file_bytes_per_key: int = Field(50_000_000, ge=1, description="Their bytes together.")
    file_bytes: int = Field(
        100_000_000, ge=1, description="The bytes of all API keys' files together."
    )


class QueueSettings(BaseSettings):
    model_config = _env("QUEUE_")

    name: str = Field("default", pattern=r"^[a-z0-9-]+$")
    lease_s: float = Field(
        30.0, gt=0, description="A worker that is silent for longer than this loses its prediction."
    )
    visibility_timeout_s: float = Field(
        60.0, gt=0, description="After so long Celery rings again for a message not acknowledged."
    )
    max_shared_lapses: int = Field(
        2, ge=1, description="After so many lapsed leases a prediction runs alone in its process."
    )
    max_lone_lapses: int = Field(
        1, ge=1, description="After so many more, alone, it fails and is a dead letter."
    )
    max_retries: int = Field(
        20, ge=0, description="How often a prediction is tried again while a part is away."
    )
    retry_for_s: float = Field(
        600.0, ge=0, description="How long after its creation it is still tried again."
    )
    model_grace_s: float = Field(
        30.0,
        ge=0,
        description="How long after its creation a prediction waits for its model to load.",
    )
    start_within_s: float = Field(
        3000.0, gt=0, description="What has not started by then is aborted; less than blobs live."
    )
    max_backlog: int = Field(10_000, ge=1, description="Predictions that are queued or running.")
    max_bytes: int = Field(200_000_000, ge=1, description="Their images' bytes together.")
    max_output_bytes: int = Field(1_000_000, ge=1000, description="One result, as JSON.")
    max_memory: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Of Redis's maxmemory; the rest is for finishing what was accepted.",
    )
    max_dead: int = Field(
        1000, ge=1, description="Dead letters that are kept; the oldest go first."
    )
    dead_retention_s: int = Field(
        7 * 24 * 3600, gt=0, description="How long a dead letter and its image are kept."
    )
    sweep_interval_s: float = Field(
        5.0, gt=0, description="How often each worker looks for lapsed leases and lost messages."
    )
    retention_s: int = Field(
        24 * 3600, gt=0, description="How long a prediction is kept after its end."
    )
    batch_idle_s: float = Field(
        60.0,
        gt=0,
        description="A batch whose submission went silent for so long gets no more images.",
    )
    tombstone_s: int = Field(
        24 * 3600,
        gt=0,
        description="How long after that its id is still answered 410 rather than 404.",
    )


class LimitsSettings(BaseSettings):
    """Bounds on what a client may send."""

    model_config = _env("LIMITS_")

    max_bytes: int = Field(20_000_000, gt=0, description="A request's body, in bytes.")
    max_pixels: int = Field(
        50_000_000,
        gt=0,
        description="An image's width times height; a worker holds 3 bytes for each.",
    )
    upload_idle_s: float = Field(
        10.0, gt=0, description="A request whose body stalls for longer is cut off."
    )
    upload_s: float = Field(
        60.0, gt=0, description="So is one whose body takes longer than this as a whole."
    )
    batch_items: int = Field(1000, ge=1, description="Images in one batch.")
    batch_max_bytes: int = Field(
        200_000_000, gt=0, description="A batch's body, spooled to a file; as JSON a quarter of it."
    )
    batches_at_once: int = Field(
        4,
        ge=1,
        description="Batches that one api process takes in at a time; more are told to wait.",
    )


class NetguardSettings(BaseSettings):
    """Which addresses inside the network clients may have requests sent to. Everything public is allowed anyway."""

    model_config = _env("NETGUARD_")

    allow: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (),
        description="Networks in CIDR notation, with commas between them: 10.1.0.0/16,fd00:1::/64",
    )

    @field_validator("allow", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        networks = []
        for entry in filter(None, map(str.strip, value.split(","))):
            try:
                networks.append(ip_network(entry))
            except ValueError as error:
                raise ValueError(
                    f"{entry!r} is not a network such as 10.1.0.0/16: {error}"
                ) from error
        return tuple(networks)


class FetchSettings(BaseSettings):
    """Fetching images that were submitted by URL. Their size is bounded by `Limits.max_bytes`."""

    model_config = _env("FETCH_")

    timeout_s: float = Field(
        10.0,
        gt=0,
        description="For the whole fetch: names, connections, redirects and the last byte.",
    )
    max_redirects: int = Field(3, ge=0)


class TritonSettings(BaseSettings):
    model_config = _env("TRITON_")

    grpc_url: str = Field(
        "127.0.0.1:8001", description="host:port, or dns:///service:port for several servers."
    )
    http_url: str = Field(
        "http://127.0.0.1:8000", description="For the api, which asks only for models and health."
    )
    timeout_s: float = Field(10.0, gt=0, description="The deadline of one inference.")
    shared_memory: Literal["auto", "off"] = Field(
        "auto",
        description="auto: through system shared memory where Triton runs on this host and that works.",
    )
    region_prefix: str = Field(
        "sluice-",
        pattern=r"^[A-Za-z0-9._-]+$",
        description="What the names of shared memory begin with, for whoever cleans up.",
    )
    models_ttl_s: float = Field(5.0, gt=0, description="How long the list of models is believed.")

    @field_validator("http_url")
    @classmethod
    def _no_slash(cls, value: str) -> str:
        return value.rstrip("/")


class ApiSettings(BaseSettings):
    model_config = _env("API_")

    host: str = Field(
        "127.0.0.1",
        description="0.0.0.0 to be reached from outside; then the api starts only with keys, or with `open`.",
    )
    port: int = Field(8080, ge=1, le=65535)
    keys_file: Path | None = Field(
        None, description="Who may call, as `sluice keys` writes it; without it anybody may."
    )
    open: bool = Field(
        False,
        description="Something in front of the api decides who may call it, so that it needs no keys.",
    )
    drain_s: float = Field(3.0, ge=0, description="How long open requests may go on after SIGTERM.")
    model: str = Field("codes", description="The model of a request that names none.")
    max_wait_s: float = Field(
        60.0, gt=0, description="The longest that a request may wait for a result."
    )
    public_url: str | None = Field(
        None, description="Where clients reach the api, for URLs in webhooks; else as they did."
    )


class WorkerSettings(BaseSettings):
    model_config = _env("WORKER_")

    ready_file: str | None = Field(
        None, description="Written when the worker takes work, removed when it stops."
    )
    alive_file: str | None = Field(
        None, description="Touched every half second while the process is well."
    )
    concurrency: int = Field(
        4, ge=1, description="Predictions that one process runs side by side, on threads."
    )
    max_run_s: float = Field(
        120.0, gt=0, description="A prediction that runs longer hangs: the process replaces itself."
    )
    stuck_after_s: float = Field(
        20.0,
        gt=0,
        description="So does a process that takes nothing for so long while something waits.",
    )
    grace_s: float = Field(
        25.0, ge=0, description="After SIGTERM, what still runs then is queued again."
    )
    opencv_threads: int = Field(
        1, ge=0, description="Threads inside one OpenCV call; predictions already run side by side."
    )


class WebhooksSettings(BaseSettings):
    """Telling receivers of predictions. Times are seconds."""

    model_config = _env("WEBHOOKS_")

    schedule_s: Annotated[tuple[float, ...], NoDecode] = Field(
        (5, 300, 1800, 7200, 18_000, 36_000, 36_000),
        description="How long after each failed attempt the next one comes, with commas between them; then it is a dead delivery.",
    )
    jitter: float = Field(
        0.1, ge=0, le=1, description="Each of these is longer or shorter by up to this share of it."
    )
    timeout_s: float = Field(
        15.0,
        gt=0,
        description="For a whole attempt, from the lookup of the name to the end of the answer.",
    )
    lease_s: float = Field(
        30.0,
        gt=0,
        description="A sender that is silent for longer loses its deliveries; more than timeout_s.",
    )
    max_per_receiver: int = Field(
        5,
        ge=1,
        description="Attempts at one receiver (a host, for one key) at a time, of all senders.",
    )
    max_per_key: int = Field(
        50,
        ge=1,
        description="Attempts for one key at a time, of all senders; less than `concurrency`.",
    )
    concurrency: int = Field(100, ge=1, description="Attempts of one sender at a time.")
    pause_after: int = Field(
        10,
        ge=1,
        description="After so many failures in a row a receiver is paused, and probed then.",
    )
    first_pause_s: float = Field(
        5.0, gt=0, description="Each pause is twice as long as the one before it."
    )
    longest_pause_s: float = Field(300.0, gt=0)
    max_retry_after_s: float = Field(
        3600.0, ge=0, description="A receiver's Retry-After is heeded up to this."
    )
    stop_s: int = Field(
        24 * 3600, gt=0, description="How long a URL that answered 410 is sent nothing."
    )
    give_up_s: float = Field(
        31 * 3600.0,
        gt=0,
        description="What was tried, or whose receiver fails, for so long is dead.",
    )
    keep_s: int = Field(
        3 * 24 * 3600, gt=0, description="How long what is not delivered is kept, and what is dead."
    )
    retention_s: int = Field(
        24 * 3600, gt=0, description="How long the log of what is delivered is kept."
    )
    max_dead: int = Field(
        1000, ge=1, description="Dead deliveries that are listed; the oldest go first."
    )
    max_logged: int = Field(
        20, ge=1, description="Attempts in one delivery's log; the oldest go first."
    )
    max_output_bytes: int = Field(
        20_000, ge=0, description="An `output` that is longer, as JSON, is left out of the payload."
    )
    poll_s: float = Field(
        1.0, gt=0, description="How often a sender looks for what is due, should it not be told."
    )
    sweep_interval_s: float = Field(
        5.0, gt=0, description="How often each sender looks for what other senders lost."
    )
    grace_s: float = Field(
        10.0, ge=0, description="After SIGTERM, attempts that still run then are given back."
    )
    signing_key: SecretStr | None = Field(
        None, description="`whsk_…`: also sign by Ed25519; see `sluice webhooks keypair`."
    )
    ready_file: Path | None = Field(
        None, description="Written when the sender is ready, removed when it stops."
    )
    alive_file: Path | None = Field(None, description="Touched while the sender is well.")

    @field_validator("schedule_s", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @model_validator(mode="after")
    def _lease_outlives_an_attempt(self) -> "WebhooksSettings":
        if self.lease_s <= self.timeout_s:
            raise ValueError("SLUICE_WEBHOOKS_LEASE_S must be more than SLUICE_WEBHOOKS_TIMEOUT_S")
        return self


class Settings:
    """All groups, read once from the environment. What is secret may come from files instead: `SLUICE_SECRETS_DIR` holds
    `sluice_redis_url` and `sluice_blobs_url`, as Docker and Kubernetes mount secrets.

    Raises ValueError (pydantic.ValidationError is one), naming the variable that is wrong.
    """

    def __init__(self) -> None:
        secrets = os.environ.get("SLUICE_SECRETS_DIR")
        if secrets and not Path(secrets).is_dir():
            raise ValueError(f"SLUICE_SECRETS_DIR: there is no directory {secrets}")
        self.redis = RedisSettings(_secrets_dir=secrets)
        self.blobs = BlobsSettings(_secrets_dir=secrets)
        self.queue = QueueSettings()
        self.limits = LimitsSettings()
        self.netguard = NetguardSettings()
        self.fetch = FetchSettings()
        self.triton = TritonSettings()
        self.api = ApiSettings()
        self.worker = WorkerSettings()
        self.webhooks = WebhooksSettings(_secrets_dir=secrets)

    @property
    def redis_url(self) -> str:
        return self.redis.url.get_secret_value()

    @property
    def blobs_url(self) -> str:
        return self.blobs.url.get_secret_value() if self.blobs.url else self.redis_url

    @property
    def blobs_in_s3(self) -> bool:
        return self.blobs_url.startswith("s3://")
