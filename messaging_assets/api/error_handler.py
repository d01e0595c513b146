"""Which failures are tried again, how often, and after what wait.

Here stands the policy alone, as numbers and pure functions: the guide's `error_handler` and what a
server says in `Retry-After`. Sending, sleeping and counting belong to `transport.py`.
"""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_random = secrets.SystemRandom()

# A wait is lengthened by up to this share, never shortened, so that clients which failed together
# don't come back together and none comes back earlier than the configuration says.
JITTER_SHARE = 0.25


@dataclass(frozen=True)
class ErrorHandler:
    """The guide's `error_handler`: when to try again, and how long to wait before.

    Args:
        retry_on_status_codes: Statuses that are tried again; all others are final. Failures of the
            line and answers that are not a page are always tried again.
        max_retries: How many times a request is sent again after the first attempt.
        backoff_factor: Seconds before the first retry; each further wait is twice the one before.
        longest_wait: Seconds that a single wait may take. A server that asks for more in Retry-After
            is not waited for: the request fails and says so.

    Example:
        >>> ErrorHandler(backoff_factor=2).wait(3, jitter=0)
        8.0
    """

    retry_on_status_codes: frozenset[int] = frozenset({429, 500, 502, 503, 504})
    max_retries: int = 3
    backoff_factor: float = 2.0
    longest_wait: float = 3600.0

    @classmethod
    def from_guide(cls, words: Mapping[str, Any] | None) -> "ErrorHandler":
        """Read the guide's dictionary; what it leaves out has the guide's values.

        Args:
            words: The value of an `error_handler` key, already checked by the vocabulary.

        Returns:
            The error handler that the words describe.
        """
        words = words or {}
        plain = cls()
        return cls(
            retry_on_status_codes=frozenset(
                int(code) for code in words.get("retry_on_status_codes", plain.retry_on_status_codes)
            ),
            max_retries=int(words.get("max_retries", plain.max_retries)),
            backoff_factor=float(words.get("backoff_factor", plain.backoff_factor)),
            longest_wait=float(words.get("longest_wait", plain.longest_wait)),
        )

    def wait(self, retry: int, asked: float | None = None, *, jitter: float | None = None) -> float:
        """Tell how long to wait before a retry.

        Args:
            retry: Which retry it is, counted from 1.
            asked: The seconds that the server asked for, if it did.
            jitter: The share by which the wait is lengthened; random up to `JITTER_SHARE` if not given.

        Returns:
            Seconds: the backoff with jitter, and never less than the server asked for.
        """
        if jitter is None:
            jitter = _random.uniform(0, JITTER_SHARE)
        # The exponent is bounded because 2.0 to the power of 1,024 is an error, not a long time.
        backoff = float(self.backoff_factor * 2.0 ** min(retry - 1, 64) * (1 + jitter))
        return max(min(backoff, self.longest_wait), asked or 0.0)


def retry_after_seconds(value: str | None, *, now: datetime) -> float | None:
    """Read a `Retry-After` header, which holds seconds or an HTTP date.

    Args:
        value: The header's value, None where the answer has no such header.
        now: The time to which a date is compared, with time zone.

    Returns:
        The seconds to wait from now, not negative; None where the header is missing or makes no sense.

    Example:
        >>> retry_after_seconds("120", now=datetime.now(UTC))
        120.0
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        date = http_date(value)
        if date is None:
            return None
        seconds = (date - now).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def http_date(value: str | None) -> datetime | None:
    """Read a date as HTTP writes it.

    Args:
        value: For example `Wed, 21 Oct 2015 07:28:00 GMT`.

    Returns:
        The date with time zone, None where the text is no date.
    """
    if value is None:
        return None
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
