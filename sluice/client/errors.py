"""The error that every method of the client raises."""

from sluice.errors import SluiceError


class ServiceError(SluiceError):
    """The service answered with a problem, or did not answer.

    `code` is the problem's code. `status` is the HTTP status, or None without an answer.
    """

    code = "service"

    def __init__(
        self,
        message: str,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        # The class has a default, an instance the problem's code.
        self.code = code or type(self).code  # type: ignore[misc]
        self.status = status
        self.retry_after_s = retry_after_s
        """Seconds after which the service asks to try again; None if it says nothing."""
