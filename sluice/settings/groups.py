"""The groups of settings without a file of their own.

Building one by hand never reads the environment.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Group(BaseModel):
    """The base of all groups: immutable, without unknown fields, and silent about wrong values."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,  # a wrong value may be a secret
    )


def networks(value: Any) -> Any:
    """The networks in a text, which are separated by commas. Raises ValueError."""
    if not isinstance(value, str):
        return value
    networks = []
    for entry in filter(None, map(str.strip, value.split(","))):
        try:
            networks.append(ip_network(entry))
        except ValueError as error:
            raise ValueError(f"{entry!r} is not a network such as 10.1.0.0/16: {error}") from error
    return tuple(networks)


class QueueSettings(Group):
    """The queue: leases, retries, deadlines, bounds and retention of predictions."""

    name: str = Field(
        "default",
        pattern=r"^[a-z0-9-]+$",
        description="Name of the queue, which is part of every Redis key.",
    )
    id_prefix: str = Field(
        "",
        pattern=r"^[a-z2-7]{0,4}$",
        description=(
            "Begins each id that the service makes. "
            "A router before several queues finds the queue by it."
        ),
    )
    lease_s: float = Field(
        30.0,
        gt=0,
        description="Seconds of silence after which a worker loses the prediction it runs.",
    )
    gone_after_s: float = Field(
        4.0,
        gt=0,
        description=(
            "Seconds of silence after which a worker without a connection to Redis counts as gone. "
            "The worker's predictions are then queued again, before their leases lapse."
        ),
    )
    max_shared_lapses: int = Field(
        2, ge=1, description="Lapsed leases after which a prediction runs alone in its process."
    )
    max_lone_lapses: int = Field(
        1,
        ge=1,
        description=(
            "Lapsed leases of a prediction that runs alone, after which it fails. "
            "The prediction is then a dead letter."
        ),
    )
    max_retries: int = Field(
        20,
        ge=0,
        description="Maximum retries of a prediction while Triton or a store is unavailable.",
    )
    retry_for_s: float = Field(
        600.0,
        ge=0,
        description="Seconds after its creation in which a prediction is still retried.",
    )
    model_grace_s: float = Field(
        30.0,
        ge=0,
        description="Seconds after its creation that a prediction waits for its model to load.",
    )
    start_within_s: float = Field(
        3000.0,
        gt=0,
        description=(
            "Seconds in which a prediction must start; a later one is aborted. "
            "Must be less than SLUICE_BLOBS_TTL_S."
        ),
    )
    min_replicas: int = Field(
        0,
        ge=0,
        description=(
            "Replicas of Redis that must have a prediction before it is answered 202. "
            "With 0, a failover may lose what was accepted in its last moments."
        ),
    )
    max_backlog: int = Field(
        10_000, ge=1, description="Maximum predictions that are queued or processing."
    )
    max_bytes: int = Field(
        200_000_000, ge=1, description="Maximum bytes of the backlog's images together."
    )
    recent_s: int = Field(
        120,
        ge=1,
        description=(
            "Seconds after a submission in which the key `recent` exists. "
            "On Kubernetes, the last worker stays at least as long."
        ),
    )
    max_output_bytes: int = Field(
        1_000_000, ge=1000, description="Maximum bytes of one prediction's output as JSON."
    )
    max_memory: float = Field(
        0.8,
        gt=0,
        le=1,
        description=(
            "Share of Redis's maxmemory above which new predictions are refused. "
            "The rest is reserved for finishing accepted ones."
        ),
    )
    max_dead: int = Field(
        1000, ge=1, description="Maximum dead letters; the oldest are removed first."
    )
    dead_retention_s: int = Field(
        7 * 24 * 3600, gt=0, description="Seconds that a dead letter and its image are kept."
    )
    sweep_interval_s: float = Field(
        5.0,
        gt=0,
        description="Seconds between two sweeps for lapsed leases and lost messages.",
    )
    retention_s: int = Field(
        24 * 3600, gt=0, description="Seconds that a prediction is kept after its end."
    )
    batch_idle_s: float = Field(
        60.0,
        gt=0,
        description="Seconds without a new image after which a batch accepts no more images.",
    )
    tombstone_s: int = Field(
        24 * 3600,
        gt=0,
        description="Seconds that an expired id is answered 410; later it is answered 404.",
    )


class LimitsSettings(Group):
    """Bounds on the content of a request."""

    max_bytes: int = Field(20_000_000, gt=0, description="Maximum bytes of a request's body.")
    max_pixels: int = Field(
        50_000_000,
        gt=0,
        description=(
            "Maximum pixels of an image, width times height. "
            "A worker holds 3 bytes for each pixel; SLUICE_WORKER_DECODE_BYTES bounds the decoding."
        ),
    )
    max_tiles: int = Field(
        250,
        ge=1,
        description=(
            "Maximum tiles of a sliced image, with the run of the whole image. "
            "A prediction of so many may keep a thread of a worker for minutes."
        ),
    )
    upload_idle_s: float = Field(
        10.0, gt=0, description="Seconds that a request's body may stall before it is refused."
    )
    upload_s: float = Field(
        60.0, gt=0, description="Seconds that a request's body may take as a whole."
    )
    batch_items: int = Field(1000, ge=1, description="Maximum images in one batch.")
    batch_max_bytes: int = Field(
        200_000_000,
        gt=0,
        description=(
            "Maximum bytes of a batch's body, which is kept in a temporary file. "
            "A JSON body may have a quarter of them."
        ),
    )
    batches_at_once: int = Field(
        4,
        ge=1,
        description="Batches that one api process receives at a time. Others are answered 429.",
    )


class NetguardSettings(Group):
    """Addresses that requests on a client's behalf may reach, beside the public ones."""

    allow: tuple[IPv4Network | IPv6Network, ...] = Field(
        (),
        description=(
            "Networks in CIDR notation, separated by commas, to allow: 10.1.0.0/16,fd00:1::/64. "
            "Public addresses are always allowed."
        ),
    )

    @field_validator("allow", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return networks(value)


class FetchSettings(Group):
    """Fetching of images that were submitted by URL. SLUICE_LIMITS_MAX_BYTES bounds their size."""

    timeout_s: float = Field(
        10.0,
        gt=0,
        description="Seconds for a whole fetch, from the name's lookup to the last byte.",
    )
    max_redirects: int = Field(3, ge=0, description="Maximum redirects that a fetch follows.")


class TritonSettings(Group):
    """Triton Inference Server."""

    grpc_url: str = Field(
        "127.0.0.1:8001",
        description=(
            "gRPC address for workers: host:port, or dns:///service:port for several servers."
        ),
    )
    http_url: str = Field(
        "http://127.0.0.1:8000",
        description="HTTP address for the api, which reads models and health there.",
    )
    timeout_s: float = Field(10.0, gt=0, description="Seconds for one inference.")
    silence_s: float = Field(
        5.0,
        gt=0,
        description=(
            "Seconds after which a worker ends a connection to Triton, if nothing comes back on it "
            "while an inference runs."
        ),
    )
    stuck_after_s: float = Field(
        60.0,
        ge=0,
        description=(
            "Seconds without an answer of Triton, or of a model for which requests wait. The "
            "embedded stack then restarts Triton. 0: never. "
            "Twice SLUICE_TRITON_TIMEOUT_S counts instead where that is longer."
        ),
    )
    shared_memory: Literal["auto", "off"] = Field(
        "auto",
        description=(
            "auto: use system shared memory if Triton runs on the same host and supports it. "
            "off: send tensors over gRPC."
        ),
    )
    region_prefix: str = Field(
        "sluice-",
        pattern=r"^[A-Za-z0-9._-]+$",
        description="Prefix of shared memory regions' names. Cleaning up finds them by it.",
    )
    models_ttl_s: float = Field(5.0, gt=0, description="Seconds that the list of models is cached.")

    @field_validator("http_url")
    @classmethod
    def _without_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")


class ModelsSettings(Group):
    """The command `sluice models`. A bucket has the endpoint and region of SLUICE_BLOBS_S3_…."""

    repository: str | None = Field(
        None,
        description=(
            "Triton's model repository: a folder, or s3://bucket/prefix. "
            "If absent, that of the running embedded stack is used, else ./model_repository."
        ),
    )
    load_timeout_s: float = Field(
        600.0, gt=0, description="Seconds that Triton may take to load a model."
    )
    drain_timeout_s: float = Field(
        600.0,
        gt=0,
        description=(
            "Seconds that `sluice models remove` waits for the last predictions of the model."
        ),
    )
    max_download_bytes: int = Field(
        2**31 - 1, gt=0, description="Maximum bytes of a model file that is added by URL."
    )


class WorkerSettings(Group):
    """The worker process. The keeper uses `alive_file` too."""

    ready_file: str | None = Field(
        None, description="File that exists while the worker accepts work and reaches Triton."
    )
    alive_file: str | None = Field(
        None, description="File that is touched every half second while the process is healthy."
    )
    concurrency: int = Field(
        4, ge=1, description="Predictions that one process runs at a time, on threads."
    )
    tile_batch: int = Field(
        4,
        ge=1,
        le=128,
        description=(
            "Tiles of a sliced image in one inference, where the model takes so many. "
            "A canceled prediction ends after the inference that runs."
        ),
    )
    max_run_s: float = Field(
        120.0,
        gt=0,
        description=(
            "Seconds after which a running prediction counts as hung. "
            "The process then replaces itself. "
            "The time counts from the last inference of a sliced image."
        ),
    )
    stuck_after_s: float = Field(
        20.0,
        gt=0,
        description=(
            "Seconds without work, although predictions wait, after which a process is stuck. "
            "The process then replaces itself."
        ),
    )
    grace_s: float = Field(
        25.0,
        ge=0,
        description=(
            "Seconds that running predictions may still take after SIGTERM. "
            "The rest is queued again."
        ),
    )
    decode_bytes: int = Field(
        512 * 2**20,
        ge=1,
        description=(
            "Bytes that the decoding of images may take in one process, all threads together. "
            "An image that needs more is decoded alone."
        ),
    )
    spare_bytes: int = Field(
        16 * 2**20,
        ge=0,
        le=2**30,
        description=(
            "Bytes of freed memory that each thread keeps for its next image. "
            "With 0, the C library decides, and decoding takes longer."
        ),
    )
    opencv_threads: int = Field(
        1,
        ge=0,
        description="Threads of one OpenCV call. Predictions already run in parallel.",
    )
