"""Blobs in a bucket of S3, or of a store with its protocol.

S3 deletes nothing at an exact time. Each object therefore says when it expires, and readers check
that. A rule of the bucket removes what nobody deleted (`k8s/components/s3-blobs/README.md`).
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
    from obstore.store import ClientConfig, S3Config  # they exist for type checkers only

# In an object's metadata: seconds since the epoch, by the writer's clock.
_EXPIRES = "expires-at"


def connect(
    url: str, settings: BlobsSettings, *, connect_timeout_s: float, timeout_s: float
) -> S3Store:
    """The store at `s3://bucket/prefix`; makes no request yet. Raises ValueError.

    Credentials are found as AWS's own tools find them: variables such as AWS_ACCESS_KEY_ID, a web
    identity, or the machine's role.
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
            # The caller tries again: a client after a 503, a worker through the ledger. A retry
            # here would only make them wait.
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=timeout_s)},
        )
    except BaseError:
        raise ValueError(
            "SLUICE_BLOBS_URL, or an AWS_… beside it, is not what S3 needs: s3://bucket/prefix"
        ) from None


class S3Blobs:
    """Each blob is one object, written whole. S3 is consistent: a put is visible to all at once."""

    def __init__(self, store: S3Store, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._clock = clock

    def check(self) -> None:
        self.get("probe")  # a write at each probe would cost money

    def put(self, key: str, data: bytes, ttl_s: int) -> None:
        until = self._clock() + ttl_s
        with _translated():
            obstore.put(
                self.store, key, data, attributes={_EXPIRES: f"{until:.3f}"}, use_multipart=False
            )

    def get(self, key: str) -> bytes | None:
        with _translated():
            blob = self._find(key)
            return None if blob is None else blob.bytes().to_bytes()

    def keep(self, key: str, ttl_s: int) -> bool:
        """Write the object again, since metadata can't be changed; not where it lives long enough.

        A blob that is deleted at the same moment may come back; then the bucket's rule removes it.
        """
        with _translated():
            blob = self._find(key, head=True)
            if blob is None:
                return False
            if 0.95 * ttl_s <= _expires(blob) - self._clock() <= ttl_s:
                return True  # it was put a moment ago
        data = self.get(key)
        if data is None:
            return False
        self.put(key, data, ttl_s)
        return True

    def delete(self, *keys: str) -> None:
        with _translated():
            try:
                obstore.delete(self.store, keys)  # a thousand objects in a request
            except FileNotFoundError as error:
                _missing(error)

    def _find(self, key: str, *, head: bool = False) -> Any:
        """The object, its bytes not read yet; None where it is missing or has expired.

        With `head`, only the metadata is requested.
        """
        try:
            blob = obstore.get(self.store, key, options={"head": head})
        except FileNotFoundError as error:
            _missing(error)
            return None
        return blob if _expires(blob) > self._clock() else None


def _expires(blob: Any) -> float:
    """When an object expires. A foreign object has no such time, and counts as expired."""
    return float(blob.attributes.get(_EXPIRES, 0))


def _missing(error: FileNotFoundError) -> None:
    """Raise `error` where the bucket is missing, not the object; both have the same status."""
    if "NoSuchBucket" in str(error):
        raise error


@contextmanager
def _translated() -> Iterator[None]:
    """Raises BlobsUnavailable for each error of obstore.

    The message names no address and no cause: a client may see it, and obstore's errors show the
    whole request.
    """
    try:
        yield
    except (BaseError, OSError):
        raise BlobsUnavailable("the image store is unavailable; try again later") from None
