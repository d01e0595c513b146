"""What can go wrong, as classes: the base of every error of the package, and those of the API.

Errors of the warehouse stand in `messaging_assets.warehouse.errors`. A message says what happened,
where, and what to do; it holds no secret, no token and no message content, so that it can be shown
in a log, an event or the UI as it is. Raise these `from None` where the cause may carry content.
"""

from collections.abc import Sequence


class MessagingError(Exception):
    """The base of all errors of this package.

    Args:
        what: What happened, one sentence without a full stop.
        where: The place: a URL without its query, a file, a table, a resource.
        remedy: What to do about it, one sentence.

    Example:
        >>> print(MessagingError("the disk is full", where="/data", remedy="free some space"))
        the disk is full (/data). To do: free some space
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        todo = f". To do: {self.remedy}" if self.remedy else ""
        return f"{self.what}{place}{todo}"

    def add_place(self, place: str) -> None:
        """Says more about where it happened, for whoever passes the error on and knows."""
        self.where = f"{self.where}, {place}" if self.where else place


class ConfigurationError(MessagingError):
    """The configuration has mistakes; all of them are named at once.

    Args:
        mistakes: One message per mistake, each with file, path of the field and what is allowed.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = f"{len(self.mistakes)} mistakes" if len(self.mistakes) > 1 else "a mistake"
        super().__init__(f"the configuration has {count}:\n" + "\n".join(f"- {m}" for m in self.mistakes))


class ApiError(MessagingError):
    """The API did not give what was asked of it."""


class UnreachableError(ApiError):
    """No connection to the host: name resolution, connecting, TLS, time-out or a cut line."""


class AuthenticationError(ApiError):
    """The token endpoint refused the client id and secret, or the API refused a fresh token."""


class ForbiddenError(ApiError):
    """The API refuses this resource to this client (403)."""


class ResponseStatusError(ApiError):
    """The API answered with a status that is not a success, after the retries it was allowed.

    Args:
        status: The HTTP status code.
    """

    def __init__(self, what: str, *, status: int, where: str = "", remedy: str = "") -> None:
        self.status = status
        super().__init__(what, where=where, remedy=remedy)


class MalformedPageError(ApiError):
    """An answer with a success status that is not a page: not JSON, no data, an error object."""


class PagingError(ApiError):
    """The API's pages contradict each other: the offset is ignored, or the list never ends."""
