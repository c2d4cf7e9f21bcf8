"""Tritons that load models from a `Storage`, in memory."""

from dataclasses import dataclass, field

from sluice.errors import RepositoryError, TritonUnavailable
from sluice.repository import config
from sluice.repository.repository import Repository
from sluice.repository.storage import CONFIG, Storage
from sluice.repository.triton_admin import VersionState


@dataclass
class FakeTritonServer:
    """The interface of `TritonServer`. The real one is tested against a server of HTTP."""

    storage: Storage
    label: str = "10.0.0.1:8000"
    grpc_url: str = "10.0.0.1:8001"
    live: dict[str, int] = field(default_factory=dict)
    """The version of each loaded model."""
    retired: set[str] = field(default_factory=set)
    refuses: set[int] = field(default_factory=set)
    """Versions that can't be loaded."""
    away: bool = False
    calls: list[str] = field(default_factory=list)

    def states(self) -> list[VersionState]:
        self._check()
        return [VersionState(name, version, True, "") for name, version in self.live.items()]

    def load(self, name: str) -> None:
        self._check()
        text = self.storage.read(f"{name}/{CONFIG}")
        assert text is not None, f"{name} has no configuration"
        saved = config.parse(name, text.decode())
        version = saved.version or max(self.storage.versions(name))
        self.calls.append(f"load {name} {version}")
        self._check_complete(name, version)
        if version in self.refuses:
            raise RepositoryError(f"Triton at {self.label} does not load {name!r}: no")
        self.live[name] = version
        (self.retired.add if saved.retired else self.retired.discard)(name)

    def unload(self, name: str) -> None:
        self._check()
        self.calls.append(f"unload {name}")
        self.live.pop(name, None)

    def close(self) -> None:
        pass

    def _check_complete(self, name: str, version: int) -> None:
        """A version has its program. An ensemble's steps are all loaded, and of its version."""
        entry = Repository(self.storage, [], lambda *_: None).entry(name)
        if entry.steps:
            assert {step: self.live.get(step) for step in entry.steps} == dict.fromkeys(
                entry.steps, version
            )
        elif not any(file.startswith("model.") for file in self.storage.files(name, version)):
            raise AssertionError(f"{name} {version} has no program")

    def _check(self) -> None:
        if self.away:
            raise TritonUnavailable(f"Triton at {self.label} does not answer")
