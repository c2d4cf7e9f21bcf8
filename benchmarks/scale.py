"""The needs of a rate of images: cores, queues on Redis, GPUs and network, from measured costs.

`python -m benchmarks.scale` prints the tables of docs/scaling.md. A test holds the page to them.
"""

import math
from dataclasses import dataclass

RATES = (10, 1_000, 100_000)
FULL = 0.6
"""The share of a core, a Redis or a GPU that is used on average. The rest is for bursts."""


@dataclass(frozen=True)
class Costs:
    """The costs of one prediction of an image of `image_bytes`."""

    api_ms: float
    """Processor time of the api: the submission, and one read of the result."""
    worker_ms: float
    """Processor time of the worker, without Triton."""
    redis_ms: float
    """Time of Redis's main thread, in which commands wait for each other."""
    image_bytes: int
    """The file as it is submitted."""
    tensor_bytes: int
    """The pixels from worker to Triton, where these share no memory."""
    answer_bytes: int
    """The result, from worker to Redis, and to the client."""
    record_bytes: int
    """A record in Redis, kept for a day."""
    wait_s: float
    """The seconds that images may wait in the queue in a burst."""


MEASURED = Costs(
    api_ms=2.25,
    worker_ms=6.2,
    redis_ms=1.2,
    image_bytes=137_000,
    tensor_bytes=416 * 416 * 3,
    answer_bytes=2_000,
    record_bytes=2_600,
    wait_s=60,
)
#: Of one GPU, an example and not a measurement: `python -m benchmarks.gpu` measures yours.
GPU_PER_S = 500.0


@dataclass(frozen=True)
class Plan:
    """The needs of a rate of images."""

    per_s: float
    api_cores: float
    worker_cores: float
    queues: int
    gpus: int
    network_gbit_s: float
    images_gb: float
    records_gb: float


def plan(per_s: float, costs: Costs = MEASURED, gpu_per_s: float = GPU_PER_S) -> Plan:
    """The parts for so many images a second, each part used to `FULL`.

    An image crosses the network four times: client to api, api to Redis, Redis to worker, and as
    pixels to Triton. A queue has one Redis for records and images.
    """
    crossing = 3 * costs.image_bytes + costs.tensor_bytes + 2 * costs.answer_bytes
    return Plan(
        per_s=per_s,
        api_cores=per_s * costs.api_ms / 1000 / FULL,
        worker_cores=per_s * costs.worker_ms / 1000 / FULL,
        queues=math.ceil(per_s * costs.redis_ms / 1000 / FULL),
        gpus=math.ceil(per_s / gpu_per_s / FULL),
        network_gbit_s=per_s * crossing * 8 / 1e9,
        images_gb=per_s * costs.wait_s * costs.image_bytes / 1e9,
        records_gb=per_s * 86_400 * costs.record_bytes / 1e9,
    )


def table(plans: list[Plan]) -> str:
    """The plans in Markdown, a column each."""

    def row(name: str, values: list[str]) -> str:
        return f"| {name} | {' | '.join(values)} |"

    rows = [
        row("images a second", [f"{one.per_s:,.0f}" for one in plans]),
        row("---", ["---:"] * len(plans)),
        row("cores for the api", [_cores(one.api_cores) for one in plans]),
        row("cores for workers", [_cores(one.worker_cores) for one in plans]),
        row("queues, each with a Redis", [f"{one.queues:,}" for one in plans]),
        row(f"GPUs of {GPU_PER_S:,.0f} images a second", [f"{one.gpus:,}" for one in plans]),
        row("network between all parts, Gbit/s", [_short(one.network_gbit_s) for one in plans]),
        row("images that wait a minute, GB", [_short(one.images_gb) for one in plans]),
        row("records of a day, GB", [_short(one.records_gb) for one in plans]),
    ]
    return "\n".join(rows)


def _cores(value: float) -> str:
    return _short(value) if value < 10 else f"{math.ceil(value):,}"


def _short(value: float) -> str:
    """Two digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def main() -> None:
    print(table([plan(rate) for rate in RATES]))


if __name__ == "__main__":
    main()
