"""The model repository: adding a version, making it live, going back, and removing a model.

A change reaches the files first, and then every Triton. If one Triton refuses, the files and the
other Tritons get back what was there before.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sluice.errors import (
    NotFound,
    RepositoryError,
    SluiceError,
    TritonUnavailable,
    UnsupportedModel,
)
from sluice.models import Model, is_step, model_of_step
from sluice.repository import config, ensemble
from sluice.repository.config import SavedConfig
from sluice.repository.ensemble import Step
from sluice.repository.journal import Journal
from sluice.repository.storage import CONFIG, Files, Storage
from sluice.repository.triton_admin import TritonServer

Trial = Callable[[str, str, int], None]


@dataclass(frozen=True)
class Version:
    """A version to add."""

    name: str
    """The model's name."""
    files: Mapping[str, Path]
    """The files of its folder by their names, without its configuration."""
    source: str
    """Tells the same file, added with the same options, from another one."""
    render: Callable[[int], str]
    """Returns the configuration that makes it live under this number."""
    steps: Callable[[int], Sequence[Step]] = lambda _: ()
    """Returns an ensemble's steps for this number; none for other models."""


@dataclass(frozen=True)
class Entry:
    """A model of the repository."""

    name: str
    text: str
    """The text of its `config.pbtxt`."""
    saved: SavedConfig | UnsupportedModel
    """The configuration's content, or why it can't be read."""
    versions: tuple[int, ...]
    """The versions that have a folder, in rising order."""

    @property
    def steps(self) -> Sequence[str]:
        """The names of the live version's steps, if it is an ensemble."""
        if isinstance(self.saved, SavedConfig) and isinstance(self.saved.model, Model):
            return ensemble.names_of(self.saved.model)
        return ()

    @property
    def live(self) -> int | None:
        """The version that the configuration makes live; the highest one by Triton's default."""
        if isinstance(self.saved, SavedConfig) and self.saved.version is not None:
            return self.saved.version
        return self.versions[-1] if self.versions else None


@dataclass(frozen=True)
class Change:
    """The result of a command for one model."""

    name: str
    version: int
    """The version that is live now."""
    changed: bool
    loaded: tuple[str, ...] = ()
    """The Tritons that serve it, by their addresses."""


class Repository:
    """A model repository, and the Tritons that load it.

    Methods raise RepositoryError, TritonUnavailable or UnsupportedModel, and have then changed
    nothing that is served.
    """

    def __init__(self, storage: Storage, tritons: Sequence[TritonServer], trial: Trial) -> None:
        """`tritons` all answer; none where Triton does not run.

        `trial` is `sluice.repository.triton_trial.run`.
        """
        self._storage = storage
        self._tritons = tritons
        self._trial = trial
        self._journal = Journal(storage)

    def entries(self) -> list[Entry]:
        """All models, by name. An ensemble's steps are a part of it."""
        names = (name for name in self._storage.models() if not is_step(name))
        found = (self._find(name) for name in names)
        return [entry for entry in found if entry is not None]

    def entry(self, name: str) -> Entry:
        """One model. Raises NotFound."""
        entry = self._find(name)
        if entry is None:
            raise NotFound(
                f"there is no model {name!r} in {self._storage.location};"
                " `sluice models list` names those that are"
            )
        return entry

    def current(self, name: str, source: str) -> Change | None:
        """Load the model again where its live version has this `source`, else return None."""
        before = self._find(name)
        return self._load_again(before) if before and _is_same(before, source) else None

    def next_version(self, name: str) -> int:
        """The number that the next version of `name` gets."""
        return self._journal.next(name)

    def add(self, new: Version, *, keep: int, number: int | None = None) -> Change:
        """Add a version, make it live, and delete the old ones but the newest `keep`.

        The version that is live already is not added again, unless `number` asks for it.
        """
        with self._changing():
            before = self._find(new.name)
            if before and number is None and _is_same(before, new.source):
                return self._load_again(before)
            version = self._number(new.name, number)
            if before:
                before = self._adopt(before)
            else:
                self._require_free(new.name)
            self._journal.begin(new.name, version)
            with self._undone(new.name, before, version):
                steps = new.steps(version)
                self._put_steps(steps, version)
                files: Files = {**new.files, **ensemble.archived(steps, version)}
                self._storage.put(new.name, version, files, new.render(version))
                self._go_live(new.name, version)
            self._journal.end(new.name)
            self._remove_steps(new.name)
            self._prune(new.name, version, keep)
            return self._change(new.name, version)

    def rollback(self, name: str, version: int | None = None) -> Change:
        """Make an older version live again: the next older one, or `version`."""
        with self._changing():
            before = self.entry(name)
            version = version or self._previous(before)
            if version == before.live:
                return self._load_again(before)
            text = self._storage.read(f"{name}/{version}/{CONFIG}")
            if text is None:
                kept = ", ".join(map(str, before.versions)) or "none"
                raise RepositoryError(
                    f"model {name!r} has no version {version} to go back to; it has {kept}"
                )
            with self._undone(name, before):
                self._put_steps(ensemble.restored(self._storage, name, version), version)
                self._storage.write(f"{name}/{CONFIG}", text)
                self._go_live(name, version)
            self._remove_steps(name)
            return self._change(name, version)

    def remove(self, name: str, drain: Callable[[], None]) -> None:
        """Unload a model and delete it.

        The api refuses new predictions while `drain` waits for the last ones. If `drain` raises,
        the model stays.
        """
        with self._changing():
            before = self.entry(name)
            if self._tritons:
                with self._undone(name, before):
                    self._storage.write(f"{name}/{CONFIG}", config.retired(before.text).encode())
                    # A model that Triton could not load in the first place is drained already.
                    if self._is_loaded(name):
                        self._load(name)
                        drain()
            for triton in self._tritons:
                with suppress(TritonUnavailable):  # one that starts again does not find the model
                    triton.unload(name)
            self._journal.retire(name)
            self._storage.delete_model(name)
            self._remove_steps(name)

    def states(self) -> dict[str, dict[str, tuple[list[int], str]]]:
        """By Triton's address and by model: the versions that are ready, or else the reason."""
        found: dict[str, dict[str, tuple[list[int], str]]] = {}
        for triton in self._tritons:
            models: dict[str, tuple[list[int], str]] = {}
            for state in triton.states():
                ready, reason = models.get(state.name, ([], ""))
                if state.ready and state.version is not None:
                    ready = [*ready, state.version]
                models[state.name] = (ready, state.reason or reason)
            found[triton.label] = models
        return found

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._storage.lock():
            self._journal.clean()
            for name in {model_of_step(step) for step in self._storage.models() if is_step(step)}:
                self._remove_steps(name)  # those that a killed command left
            yield

    @contextmanager
    def _undone(
        self, name: str, before: Entry | None, version: int | None = None
    ) -> Iterator[None]:
        """Put back what was there before, where the block fails. `version` is the one it adds.

        Ctrl-C counts as a failure.
        """
        try:
            yield
        except BaseException:
            if before is not None:
                self._storage.write(f"{name}/{CONFIG}", before.text.encode())
            for triton in self._tritons:
                with suppress(SluiceError):  # the first failure is the one to tell
                    (triton.load if before else triton.unload)(name)
            if before is None:
                self._storage.delete_model(name)
            elif version is not None:
                self._storage.delete_version(name, version)
            self._remove_steps(name)
            if version is not None:
                self._journal.end(name)
            raise

    def _put_steps(self, steps: Sequence[Step], version: int) -> None:
        for step in steps:
            self._storage.delete_model(step.name)  # one that a person left, or a killed command
            self._storage.put(step.name, version, step.files, step.text)

    def _remove_steps(self, name: str) -> None:
        """Remove the steps of versions of `name` that are not live. Running requests go on."""
        entry = self._find(name)
        live = entry.steps if entry else ()
        for step in self._storage.models():
            if is_step(step) and model_of_step(step) == name and step not in live:
                for triton in self._tritons:
                    with suppress(SluiceError):  # one that starts again does not find the step
                        triton.unload(step)
                self._storage.delete_model(step)

    def _go_live(self, name: str, version: int) -> None:
        """Have every Triton load a version, and run it once there."""
        self._load(name)
        for triton in self._tritons:
            self._trial(triton.grpc_url, name, version)

    def _load(self, name: str) -> None:
        names = [*self.entry(name).steps, name]
        for triton in self._tritons:
            for each in names:
                triton.load(each)

    def _load_again(self, entry: Entry) -> Change:
        """Load a model that is not changed: a Triton may have missed it when it was added."""
        self._load(entry.name)
        return Change(entry.name, entry.live or 0, changed=False, loaded=self._labels())

    def _number(self, name: str, wanted: int | None) -> int:
        following = self._journal.next(name)
        if wanted is not None and wanted < following:
            raise RepositoryError(
                f"version {wanted} of {name!r} can't be used: numbers are used once, and"
                f" {following - 1} was the last; give --version {following} or a higher one"
            )
        return wanted or following

    def _require_free(self, name: str) -> None:
        """Raise RepositoryError where undoing a change would cost a model of somebody else's.

        A person may have begun a folder of this name. A Triton may have the name from another
        repository: Triton refuses a name that it finds twice, and undoing would unload the model.
        """
        if name in self._storage.models():
            raise RepositoryError(
                f"{self._storage.location} has a folder {name!r} without a config.pbtxt;"
                " move it away, or choose another --name"
            )
        for label, models in self.states().items():
            ready, _ = models.get(name, ([], ""))
            if ready:
                raise RepositoryError(
                    f"Triton at {label} has a model {name!r} that is none of"
                    f" {self._storage.location}; choose another --name"
                )

    def _adopt(self, entry: Entry) -> Entry:
        """Bind a configuration that a person wrote to the version that it serves now.

        Otherwise Triton would take a new folder for its next version. A copy is kept for a
        rollback.
        """
        if isinstance(entry.saved, UnsupportedModel):
            raise RepositoryError(f"model {entry.name!r} can't be changed: {entry.saved.message}")
        if not entry.versions or entry.live is None:
            return entry
        if entry.saved.pinned and entry.saved.version is None:
            raise RepositoryError(
                f"the config.pbtxt of {entry.name!r} was written by hand, and has a version_policy;"
                " add the file under another --name, or remove the model first"
            )
        version = entry.live if entry.saved.pinned else entry.versions[-1]
        text = entry.text if entry.saved.pinned else config.pinned(entry.text, version)
        copy = f"{entry.name}/{version}/{CONFIG}"
        if self._storage.read(copy) is None:
            self._storage.write(copy, text.encode())
        if not entry.saved.pinned:
            self._storage.write(f"{entry.name}/{CONFIG}", text.encode())
        return self.entry(entry.name)

    def _previous(self, entry: Entry) -> int:
        older = [version for version in entry.versions if version < (entry.live or 0)]
        if not older:
            raise RepositoryError(
                f"model {entry.name!r} has no version before {entry.live} to go back to"
            )
        return older[-1]

    def _prune(self, name: str, live: int, keep: int) -> None:
        old = [version for version in self._storage.versions(name) if version != live]
        for version in old[: max(0, len(old) - keep)]:
            self._storage.delete_version(name, version)

    def _is_loaded(self, name: str) -> bool:
        return any(models.get(name, ([], ""))[0] for models in self.states().values())

    def _find(self, name: str) -> Entry | None:
        data = self._storage.read(f"{name}/{CONFIG}")
        if data is None:
            return None
        text = data.decode(errors="replace")
        saved: SavedConfig | UnsupportedModel
        try:
            saved = config.parse(name, text)
        except UnsupportedModel as error:
            saved = error
        return Entry(name, text, saved, tuple(self._storage.versions(name)))

    def _change(self, name: str, version: int) -> Change:
        return Change(name, version, changed=True, loaded=self._labels())

    def _labels(self) -> tuple[str, ...]:
        return tuple(triton.label for triton in self._tritons)


def _is_same(before: Entry, source: str) -> bool:
    saved = before.saved
    return isinstance(saved, SavedConfig) and saved.source == source and not saved.retired
