"""The api over the in-memory systems; they enter by the constructor."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
import pytest

from api.app import create_app
from api.deps import Services
from api.model_list import ListedModel
from api.traffic.load import QueueLoadCache
from sluice.access.keys import Keys
from sluice.intake.intake import Intake
from sluice.metrics.observer import Observer
from sluice.models import Layout, Model, Task, Tensor
from sluice.outbound.guard import Guard
from sluice.settings import ApiSettings, LimitsSettings, QueueSettings, Settings
from tests.fakes.batches import MemoryBatches
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.catalog import MemoryCatalog
from tests.fakes.deliveries import MemoryDeliveries, MemorySecrets
from tests.fakes.doorbell import CountingDoorbell
from tests.fakes.events import MemoryEvents
from tests.fakes.files import MemoryFiles
from tests.fakes.history import MemoryHistory
from tests.fakes.ledger import MemoryLedger
from tests.fakes.ratelimit import MemoryRateLimiter
from tests.fakes.state import MemoryState
from tests.fakes.timeline import MemoryTimeline


def _catalog() -> MemoryCatalog:
    """One loaded model, `codes`, with three classes."""
    image = Tensor("images", "UINT8", (64, 64, 3))
    codes = Model(
        name="codes",
        task=Task.DETECT,
        layout=Layout.ANCHOR_FREE,
        names=("a", "b", "c"),
        imgsz=(64, 64),
        input=image,
        outputs=(),
        batched=True,
    )
    return MemoryCatalog([ListedModel("codes", codes, "", "1", 0, 1.5)])


@dataclass
class World:
    settings: QueueSettings = field(default_factory=lambda: QueueSettings(max_backlog=4))
    ledger: MemoryLedger = field(init=False)
    batches: MemoryBatches = field(init=False)
    timeline: MemoryTimeline = field(init=False)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    doorbell: CountingDoorbell = field(default_factory=CountingDoorbell)
    catalog: MemoryCatalog = field(default_factory=_catalog)
    events: MemoryEvents = field(default_factory=MemoryEvents)
    deliveries: MemoryDeliveries = field(default_factory=MemoryDeliveries)
    secrets: MemorySecrets = field(default_factory=MemorySecrets)
    files: MemoryFiles = field(default_factory=MemoryFiles)

    def __post_init__(self) -> None:
        self.ledger = MemoryLedger(self.settings)
        self.batches = MemoryBatches(self.ledger)
        self.timeline = MemoryTimeline(self.ledger)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def upload_s() -> tuple[float, float]:
    """The idle limit and the total limit of an upload; a parameter of this name sets others."""
    return 60, 120


@pytest.fixture
def limits(upload_s: tuple[float, float]) -> LimitsSettings:
    return LimitsSettings(max_bytes=50_000, upload_idle_s=upload_s[0], upload_s=upload_s[1])


@pytest.fixture
def keys_file() -> Path | None:
    """The file of API keys; None where no key is needed."""
    return None


@pytest.fixture
def public_url() -> str | None:
    """The URL under which clients reach the api; None for that of their requests."""
    return None


@pytest.fixture
async def http(
    world: World, limits: LimitsSettings, keys_file: Path | None, public_url: str | None
) -> AsyncIterator[httpx.AsyncClient]:
    @contextlib.asynccontextmanager
    async def build(settings: Settings) -> AsyncIterator[Services]:
        yield Services(
            settings=settings,
            ledger=world.ledger,
            blobs=world.blobs,
            intake=Intake(
                world.ledger, world.blobs, world.doorbell, blob_ttl_s=60, orphan_ttl_s=10
            ),
            events=world.events,
            catalog=world.catalog,
            keys=Keys(settings.api.keys_file),
            limiter=MemoryRateLimiter(),
            history=MemoryHistory(world.ledger),
            guard=Guard(),
            queue_load=QueueLoadCache(world.ledger),
            fast_intake=None,
            deliveries=world.deliveries,
            secrets=world.secrets,
            batches=world.batches,
            timeline=world.timeline,
            batch_slots=anyio.CapacityLimiter(settings.limits.batches_at_once),
            files=world.files,
            observer=Observer(world.ledger, MemoryState(), {}),
        )

    settings = Settings(limits=limits, api=ApiSettings(keys_file=keys_file, public_url=public_url))
    app = create_app(settings, build)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        yield client
