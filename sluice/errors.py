"""All errors that Sluice raises.

    SluiceError
    ├── InvalidInput
    │   ├── NotAnImage
    │   │   └── TruncatedImage
    │   ├── ImageTooLarge
    │   ├── ImageNotFetched
    │   ├── AddressNotAllowed
    │   ├── UploadTooSlow
    │   ├── OutputTooLarge
    │   ├── TooManyTiles
    │   ├── UnknownModel
    │   └── UnsupportedModel
    ├── Unauthorized
    ├── Forbidden
    ├── NotFound
    ├── Gone
    ├── Conflict
    │   ├── IdReused
    │   └── LeaseLost
    ├── Unavailable
    │   ├── QueueFull
    │   ├── RateLimited
    │   ├── TooManyFiles
    │   ├── Overloaded
    │   ├── RedisUnavailable
    │   │   └── ReplicasMissing
    │   ├── BlobsUnavailable
    │   ├── TritonUnavailable
    │   ├── ImageUnreachable
    │   └── DeadlineExceeded
    ├── ImageExpired
    ├── InferenceFailed
    ├── LocalStackError
    └── RepositoryError

An error never carries an HTTP status; `api/errors.py` maps classes to statuses.
docs/reference/errors.md says what a client should do about each code.
"""

from typing import ClassVar


class SluiceError(Exception):
    """The root of the tree."""

    code: ClassVar[str] = "internal"
    """Stable, for programs."""
    retryable: ClassVar[bool] = False
    """True if the same work may succeed later."""
    message: str
    """For people; says what to change. Holds no secret and no address inside the network."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(SluiceError):
    """The caller's mistake. The same call would fail again."""

    code = "invalid_input"


class NotAnImage(InvalidInput):
    """The bytes are not an image that Sluice can decode."""

    code = "not_an_image"


class TruncatedImage(NotAnImage):
    """The bytes end before the image does."""

    code = "truncated_image"


class ImageTooLarge(InvalidInput):
    """The image has too many bytes or too many pixels."""

    code = "image_too_large"


class ImageNotFetched(InvalidInput):
    """The image's URL does not lead to an image."""

    code = "image_not_fetched"


class AddressNotAllowed(InvalidInput):
    """A URL leads to an address that requests must not reach."""

    code = "address_not_allowed"


class UploadTooSlow(InvalidInput):
    """The request's body stalled, or took too long."""

    code = "upload_too_slow"


class OutputTooLarge(InvalidInput):
    """The output has more bytes than a prediction may have."""

    code = "output_too_large"


class TooManyTiles(InvalidInput):
    """The image would be cut into more tiles than a prediction may have."""

    code = "too_many_tiles"


class UnknownModel(InvalidInput):
    """No model of that name is loaded."""

    code = "unknown_model"


class UnsupportedModel(InvalidInput):
    """The model's configuration is incomplete, or its outputs cannot be decoded."""

    code = "unsupported_model"


class Unauthorized(SluiceError):
    """The request has no valid API key."""

    code = "unauthorized"


class Forbidden(SluiceError):
    """The API key is valid, and may not make this call."""

    code = "forbidden"


class NotFound(SluiceError):
    """Nothing of that id or name is known."""

    code = "not_found"


class Gone(SluiceError):
    """The resource existed, and its retention has ended."""

    code = "gone"


class Conflict(SluiceError):
    """The resource is not in a status that allows the call."""

    code = "conflict"


class IdReused(Conflict):
    """The id belongs to a prediction with another image or other parameters."""

    code = "id_reused"


class LeaseLost(Conflict):
    """The attempt no longer owns the prediction."""

    code = "lease_lost"


class Unavailable(SluiceError):
    """Something that the call needs is unavailable. The same call may succeed later."""

    code = "unavailable"
    retryable = True
    retry_after_s: float
    """Seconds after which the same call may succeed."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(Unavailable):
    """The backlog has reached a bound, or too many batches are being received."""

    code = "queue_full"


class RateLimited(Unavailable):
    """The caller submits faster than its rate."""

    code = "rate_limited"


class TooManyFiles(Unavailable):
    """The uploaded files of the caller, or of all callers, have reached a bound."""

    code = "too_many_files"


class Overloaded(Unavailable):
    """The api process has as many connections, streams and long polls as it may have."""

    code = "overloaded"


class RedisUnavailable(Unavailable):
    """The ledger's Redis does not answer, or refuses."""

    code = "redis_unavailable"


class ReplicasMissing(RedisUnavailable):
    """A change was made in Redis, and too few replicas confirmed it in time."""

    code = "replicas_missing"


class BlobsUnavailable(Unavailable):
    """The blob store does not answer, or refuses."""

    code = "blobs_unavailable"


class TritonUnavailable(Unavailable):
    """Triton does not answer, or is not ready."""

    code = "triton_unavailable"


class ImageUnreachable(Unavailable):
    """The server of an image's URL does not answer, or asks to try again later."""

    code = "image_unreachable"


class DeadlineExceeded(Unavailable):
    """Triton did not answer in time."""

    code = "deadline_exceeded"


class ImageExpired(SluiceError):
    """The image was removed before a worker could read it."""

    code = "image_expired"


class InferenceFailed(SluiceError):
    """Triton accepted the request, and the model failed on it."""

    code = "inference_failed"


class LocalStackError(SluiceError):
    """`sluice up` cannot start. The message says what to install or change."""

    code = "local_stack"


class RepositoryError(SluiceError):
    """The model repository cannot be read or changed. The message says why."""

    code = "model_repository"
