"""Blobs in a bucket of S3, or of what speaks its protocol. S3 forgets nothing by itself to the second, so each object says when it
expires and readers heed that; a rule of the bucket removes what nobody deleted (k8s/components/s3-blobs/README.md).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from sluice.errors import BlobsUnavailable
from sluice.settings import BlobsSettings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config  # which are there for types only

_EXPIRES = "expires-at"  # of an object's metadata: seconds since the epoch, by the writer's clock


def connect(
    url: str, settings: BlobsSettings, *, connect_timeout_s: float, timeout_s: float
) -> S3Store:
    """`s3://bucket/prefix`, with credentials as AWS's own tools find them: AWS_ACCESS_KEY_ID and its kin, a web identity, the
    machine's role. Asks nobody yet. Raises ValueError.
    """
    config: S3Config = {"virtual_hosted_style_request": not settings.s3_path_style}
    if settings.s3_endpoint:
        config["endpoint"] = settings.s3_endpoint
    if settings.s3_region:
        config["region"] = settings.s3_region
    times: ClientConfig = {
        "connect_timeout": timedelta(seconds=connect_timeout_s),
        "timeout": timedelta(seconds=timeout_s),
    }
    try:
        return S3Store.from_url(
            url,
            config=config,
            client_options={**times, "allow_http": settings.s3_allow_http},
            # Whoever called tries again: the client after a 503, the worker by its ledger. A retry here would only make them wait.
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=timeout_s)},
        )
    except BaseError:
        raise ValueError(
            "SLUICE_BLOBS_URL, or an AWS_… beside it, is not what S3 needs: s3://bucket/prefix"
        ) from None


class S3Blobs:
    """Each blob is one object, written whole. S3 is consistent: what was put is read by whoever asks next, whichever process."""

    def __init__(self, store: S3Store, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._clock = clock

    def put(self, key: str, data: bytes, ttl_s: int) -> None:
        until = self._clock() + ttl_s
        with _translated():
            obstore.put(
                self.store, key, data, attributes={_EXPIRES: f"{until:.3f}"}, use_multipart=False
            )

    def get(self, key: str) -> bytes | None:
        with _translated():
            found = self._find(key)
            return None if found is None else found.bytes().to_bytes()

    def keep(self, key: str, ttl_s: int) -> bool:
        """An object's metadata can't be changed, so it is written anew, unless it was to live for nearly as long anyway.

        A blob that somebody deletes at that moment may be there again: then the bucket's rule removes it.
        """
        with _translated():
            found = self._find(key, head=True)
            if found is None:
                return False
            if 0.95 * ttl_s <= _expires(found) - self._clock() <= ttl_s:
                return (
                    True  # as after each submission under the caller's id: it was put a moment ago
                )
        data = self.get(key)
        if data is None:
            return False
        self.put(key, data, ttl_s)
        return True

    def delete(self, *keys: str) -> None:
        with _translated():
            try:
                obstore.delete(self.store, keys)  # a thousand in a request
            except FileNotFoundError as error:
                _missing(error)

    def _find(self, key: str, *, head: bool = False) -> Any:
        """The object, of whose bytes none is read yet, or none at all with `head`; None where there is none, or it has expired."""
        try:
            found = obstore.get(self.store, key, options={"head": head})
        except FileNotFoundError as error:
            _missing(error)
            return None
        return found if _expires(found) > self._clock() else None


def _expires(found: Any) -> float:
    """What is not ours has no such time, and counts as expired."""
    return float(found.attributes.get(_EXPIRES, 0))


def _missing(error: FileNotFoundError) -> None:
    """A bucket that is not there says so with the same status as an object: taken for one, every prediction would fail."""
    if "NoSuchBucket" in str(error):
        raise error


@contextmanager
def _translated() -> Iterator[None]:
    """Says no address and no cause: the message may reach a client, and obstore's errors show all of the request."""
    try:
        yield
    except (BaseError, OSError):
        raise BlobsUnavailable("the image store is unavailable; try again later") from None
