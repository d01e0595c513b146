"""The errors for answers whose status is no success. Nothing of their bodies is ever in a message."""

import http.client

from messaging_assets.api.errors import ApiError, AuthenticationError, ForbiddenError, ResponseStatusError
from messaging_assets.api.request import ApiResponse, setting_name, shown


def status_error(response: ApiResponse, *, name: str | None) -> ApiError:
    """Return the error for an answer whose status is no success; nothing of its body is in it.

    Args:
        response: The answer.
        name: The connection's name, for the names of settings.
    """
    where = shown(response.url)
    if response.status == 401:
        return AuthenticationError(
            "the API refuses the credentials (401)",
            where=where,
            remedy=f"check {setting_name(name, 'client_id')} and {setting_name(name, 'client_secret')}, or"
            " what else client.auth holds, and what it may read",
        )
    if response.status == 403:
        return ForbiddenError(
            "the API refuses this to this client (403)",
            where=where,
            remedy="have the client granted access to it (a scope or a role at the API), or leave the"
            " resource out of the connection",
        )
    return ResponseStatusError(
        f"the API answers {status_text(response.status)}"
        + (f", in {response.attempts} attempts" if response.attempts > 1 else ""),
        status=response.status,
        where=where,
        remedy=_status_remedy(response.status, name),
    )


def status_text(status: int) -> str:
    """Return a status with its usual name; the server's own wording is not shown."""
    return f"{status} {http.client.responses.get(status, '')}".strip()


def _status_remedy(status: int, name: str | None) -> str:
    if status in (404, 405, 410):
        return f"check the path of the resource and {setting_name(name, 'base_url')}"
    if status == 429:
        return "sync less often, or raise `max_retries` or `backoff_factor` of the error_handler"
    if status >= 500:
        return "try again later; if it stays, ask those who run the API"
    return f"check the parameters of the resource and {setting_name(name, 'base_url')}"
