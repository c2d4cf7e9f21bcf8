"""Everything that Sluice itself raises.

    SluiceError
    ├── InvalidInput             the caller's fault; the same call would fail again
    │   ├── NotAnImage           the bytes are no image that we decode
    │   │   └── TruncatedImage   they end before the image does
    │   ├── ImageTooLarge        too many bytes, or too many pixels
    │   ├── ImageNotFetched      its URL does not lead to an image
    │   ├── AddressNotAllowed    a URL leads to an address that requests may not reach
    │   ├── UploadTooSlow        the request's body stalled, or took too long
    │   ├── OutputTooLarge       so much was found that the result would not fit
    │   ├── UnknownModel         no such model is loaded
    │   └── UnsupportedModel     the model says too little, or something we can't decode
    ├── Unauthorized             the request has no valid key
    ├── NotFound                 nothing of that id or name is known
    ├── Gone                     it was known; what was asked for has expired
    ├── Conflict                 the prediction is not in a status that allows this
    │   ├── IdReused             the id belongs to a prediction with another image or other parameters
    │   └── LeaseLost            this attempt no longer owns the prediction
    ├── Unavailable              a part is away; the same call may succeed later
    │   ├── QueueFull            what is queued has reached a bound; nothing is away, but the remedy is the same
    │   ├── RateLimited          this caller submits faster than it may
    │   ├── TooManyFiles         this caller's files, or everybody's, have reached a bound
    │   ├── RedisUnavailable
    │   ├── BlobsUnavailable
    │   ├── TritonUnavailable
    │   ├── ImageUnreachable     the server that an image's URL names does not answer, or says that it can't now
    │   └── DeadlineExceeded     a part did not answer within the time it was given
    ├── ImageExpired             the image was removed before a worker could read it
    ├── InferenceFailed          Triton took the request and the model failed on it
    └── LocalStackError          `sluice up` can't start; says what to install or change

An error carries a stable `code`, for programs, and `retryable`: whether the same work may succeed later. It never carries an
HTTP status: `api/errors.py` maps classes to statuses. Messages are for people and say what to change.
"""

from typing import ClassVar


class SluiceError(Exception):
    """The root of the tree. `message` is safe to show to a client: it holds no secret and no address inside the network."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(SluiceError):
    code = "invalid_input"


class NotAnImage(InvalidInput):
    code = "not_an_image"


class TruncatedImage(NotAnImage):
    code = "truncated_image"


class ImageTooLarge(InvalidInput):
    code = "image_too_large"


class ImageNotFetched(InvalidInput):
    code = "image_not_fetched"


class AddressNotAllowed(InvalidInput):
    code = "address_not_allowed"


class UploadTooSlow(InvalidInput):
    code = "upload_too_slow"


class OutputTooLarge(InvalidInput):
    code = "output_too_large"


class UnknownModel(InvalidInput):
    code = "unknown_model"


class UnsupportedModel(InvalidInput):
    code = "unsupported_model"


class Unauthorized(SluiceError):
    code = "unauthorized"


class NotFound(SluiceError):
    code = "not_found"


class Gone(SluiceError):
    code = "gone"


class Conflict(SluiceError):
    code = "conflict"


class IdReused(Conflict):
    code = "id_reused"


class LeaseLost(Conflict):
    code = "lease_lost"


class Unavailable(SluiceError):
    """`retry_after_s` is when the same call may succeed, as far as that is known."""

    code = "unavailable"
    retryable = True

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(Unavailable):
    code = "queue_full"


class RateLimited(Unavailable):
    code = "rate_limited"


class TooManyFiles(Unavailable):
    code = "too_many_files"


class RedisUnavailable(Unavailable):
    code = "redis_unavailable"


class BlobsUnavailable(Unavailable):
    code = "blobs_unavailable"


class TritonUnavailable(Unavailable):
    code = "triton_unavailable"


class ImageUnreachable(Unavailable):
    code = "image_unreachable"


class DeadlineExceeded(Unavailable):
    code = "deadline_exceeded"


class ImageExpired(SluiceError):
    code = "image_expired"


class InferenceFailed(SluiceError):
    code = "inference_failed"


class LocalStackError(SluiceError):
    code = "local_stack"
