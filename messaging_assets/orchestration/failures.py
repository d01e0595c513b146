"""What a person sees when a run fails: one short message that says what to do.

Turning errors into Dagster's Failure belongs here; the messages themselves are written where the
errors are raised.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from dagster import DagsterError, Failure, MetadataValue

from messaging_assets.api.errors import (
    AuthenticationError,
    ConfigurationError,
    ForbiddenError,
    MessagingError,
)

#: Errors that come again until a person has changed something.
PERMANENT = (AuthenticationError, ConfigurationError, ForbiddenError)


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Raise every error of the block as a Failure with description and metadata.

    Args:
        doing: What the block does, as it completes the sentence "... failed".

    Raises:
        Failure: The error's own message. Of an error that is not one of this package only the
            class and the place are told, since its text may carry data.
    """
    try:
        yield
    except MessagingError as error:
        raise failure(error) from None
    except (Failure, DagsterError):
        raise
    except Exception as error:
        raise _unexpected(error, doing) from None


def failure(error: MessagingError) -> Failure:
    """The failure that shows an error of this package."""
    told = {"error": type(error).__name__, "where": error.where, "to do": error.remedy}
    return Failure(
        description=str(error),
        metadata={name: MetadataValue.text(text) for name, text in told.items() if text},
        allow_retries=not isinstance(error, PERMANENT),
    )


def _unexpected(error: Exception, doing: str) -> Failure:
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    frames = traceback.extract_tb(error.__traceback__)
    steps = "\n".join(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    return Failure(
        description=(
            f"{doing} failed: {kind}. The error's text is not shown, since it may carry data. "
            "To do: this is a mistake in the platform; report it with the steps below"
        ),
        metadata={"error": kind, "steps": MetadataValue.md(f"```\n{steps}\n```")},
    )
