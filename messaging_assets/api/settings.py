"""Addresses, secrets and paths, by dlt's own configuration providers.

Everything that a user configures outside a connection file is looked up here, under fixed keys: in the
environment, in .dlt/config.toml and .dlt/secrets.toml, or in a vault that dlt knows. What a connection
file may say stands in `vocabulary`; this module only fills its references in.
"""

import copy
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dlt
from dlt.common.configuration.exceptions import (
    DuplicateConfigProviderException,
)
from dlt.common.configuration.providers import CustomLoaderDocProvider
from dlt.common.configuration.providers.toml import TomlProviderReadException
from dlt.common.runtime.telemetry import stop_telemetry

from messaging_assets.api.errors import ConfigurationError
from messaging_assets.api.rules import FIELDS_WITH_PLACEHOLDERS, REFERENCE

if TYPE_CHECKING:
    from messaging_assets.api.connection import Connection

GuideDict = dict[str, Any]

# The section of dlt's settings for the load of changed rows. No connection's name begins with an underscore.
STAGING_SECTION = "_staging"
DEFAULTS_NAME = "messaging_assets defaults"
DEFAULTS: dict[str, Any] = {
    "runtime": {"dlthub_telemetry": False, "log_level": "CRITICAL", "http_show_error_body": False},
    "load": {"delete_completed_jobs": True, "raise_on_max_retries": 1, "truncate_staging_dataset": True},
    "normalize": {"parquet_normalizer": {"add_dlt_load_id": False}},
    "enable_runtime_trace": False,
    "restore_from_destination": False,
    # Staging gives dlt nothing that runs in the background, for which it would wait once in each load.
    "sources": {STAGING_SECTION: {"extract": {"futures_poll_interval": 0.0}}},
}
TOKEN_PATH = "/oauth/token"  # noqa: S105 (a path, not a secret)
GUIDES_OWN_CONNECTION = "messaging"
GUIDES_OWN_SECRETS = ("client_id", "client_secret")
WAREHOUSE_KEY = "destination.duckdb.credentials"
WAREHOUSE_FOLDER = ".warehouse"
CONNECTIONS_KEY = "messaging.connections"
LOCK_TIMEOUT_KEY = "messaging.lock_timeout_seconds"
CHECKPOINT_KEY = "messaging.checkpoint_seconds"
READER_COPY_KEY = "messaging.reader_copy"
SETTINGS_OF_AUTH: dict[str, tuple[str, ...]] = {
    "oauth2": ("client_id", "client_secret"),
    "oauth2_client_credentials": ("client_id", "client_secret"),
    "bearer": ("token",),
    "api_key": ("api_key",),
    "http_basic": ("username", "password"),
}


@dataclass(frozen=True)
class SandboxAddress:
    """Where a sandbox listens, and what it takes as credentials."""

    base_url: str
    client_id: str
    client_secret: str = field(repr=False)


def register_defaults() -> None:
    """Give dlt the platform's defaults, below everything that a user configures.

    No telemetry, and no copies of data or secrets in logs, traces and working folders. Calling it again
    changes nothing.
    """
    provider = CustomLoaderDocProvider(DEFAULTS_NAME, lambda: copy.deepcopy(DEFAULTS), supports_secrets=False)
    try:
        _looked_up(lambda: dlt.config.register_provider(provider))
    except DuplicateConfigProviderException:
        return
    # dlt read its own runtime settings when it was first used, perhaps before these defaults stood.
    stop_telemetry()
    dlt.current.run_context().initialize_runtime()


def base_url(connection: str) -> str | None:
    """The configured address of a connection, None if there is none.

    Args:
        connection: The connection's name.

    Raises:
        ConfigurationError: What is configured is not an http(s) URL.
    """
    key = f"sources.{connection}.base_url"
    value = _text(key)
    if value is None:
        return None
    if not _is_address(value):
        raise ConfigurationError(
            [f"{key} has to be a URL such as https://api.example.com, without user, password and query"]
        )
    return value.rstrip("/")


def configured_without_address(connection: str) -> str | None:
    """The setting of a connection that stands without an address: the address may be misspelt.

    Args:
        connection: The connection's name.

    Returns:
        Its key, None where there is an address or nothing at all.
    """
    if base_url(connection) is not None:
        return None
    keys = (f"sources.{connection}.{key}" for key in ("client_id", "client_secret", "token_url"))
    return next((key for key in keys if _text(key) is not None), None)


def configured_client(connection: "Connection", *, sandbox: SandboxAddress | None = None) -> GuideDict:
    """A connection with its address and secrets filled in, ready for `rest_api_source`.

    Args:
        connection: The connection.
        sandbox: The sandbox to run against; then nothing of the user's settings is used.

    Raises:
        ConfigurationError: Settings are missing or wrong; all of them are named.
    """
    fill = _Sandbox(sandbox) if sandbox else _Settings(connection.name)
    guide = connection.guide()
    guide["client"] = fill.client(guide["client"])
    guide["resource_defaults"] = fill.resource(guide["resource_defaults"])
    guide["resources"] = [fill.resource(resource) for resource in guide["resources"]]
    if fill.mistakes:
        raise ConfigurationError(list(dict.fromkeys(fill.mistakes)))
    return guide


def connections_folder() -> Path:
    """The folder of connection files: the configured one, else the package's own."""
    configured = _text(CONNECTIONS_KEY)
    if configured is None:
        return Path(__file__).parent.parent / "connections"
    return _in_project(configured)


def lock_timeout() -> float:
    """How many seconds to wait for a lock that another process holds.

    Raises:
        ConfigurationError: What is configured is not a number of seconds.
    """
    return _seconds(LOCK_TIMEOUT_KEY, 60.0)


def checkpoint_seconds() -> float:
    """How many seconds of a sweep may be lost when it is cut off.

    Raises:
        ConfigurationError: What is configured is not a number of seconds.
    """
    return _seconds(CHECKPOINT_KEY, 10.0)


def keeps_reader_copy() -> bool:
    """Whether a copy of the DuckDB file is kept for those who only read; without a setting, it is.

    Raises:
        ConfigurationError: What is configured is neither true nor false.
    """
    configured = (_text(READER_COPY_KEY) or "true").lower()
    if configured not in ("true", "false"):
        raise ConfigurationError([f"{READER_COPY_KEY} has to be true or false"])
    return configured == "true"


def _seconds(key: str, default: float) -> float:
    configured = _text(key)
    try:
        seconds = default if configured is None else float(configured)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ConfigurationError([f"{key} has to be a number of seconds, such as {default:g}"])
    return seconds


def warehouse_database(connection: str, *, sandbox: bool) -> Path:
    """The path of the DuckDB file that a connection writes to.

    Args:
        connection: The connection's name, for a message: all connections share one file.
        sandbox: Whether the data is the sandbox's, which never goes into the configured file.

    Raises:
        ConfigurationError: The configured database is not a file.
    """
    sandbox_file = project_folder() / WAREHOUSE_FOLDER / "sandbox.duckdb"
    if sandbox:
        return sandbox_file
    configured = _configured_database()
    if configured is None:
        return project_folder() / WAREHOUSE_FOLDER / "messaging.duckdb"
    file = _in_project(_database_file(configured))
    if file.resolve() == sandbox_file.resolve():
        raise ConfigurationError(
            [f"{WAREHOUSE_KEY}: this file is the sandbox's; name another one for `{connection}`"]
        )
    if file.is_dir():
        raise ConfigurationError([f"{WAREHOUSE_KEY}: this is a folder; name a file in it"])
    return file


def project_folder() -> Path:
    """The project: dlt's run directory."""
    return Path(dlt.current.run_context().run_dir).absolute()


# ---- looking up ----------------------------------------------------------------------------------


def _looked_up(lookup: Callable[[], Any]) -> Any:
    """What a lookup gives; configuration files that cannot be read are a mistake like any other."""
    try:
        return lookup()
    except TomlProviderReadException as error:
        *_, reason = str(error).strip().splitlines()
        raise ConfigurationError([f".dlt/{error.file_name} is not TOML: {reason}"]) from None


def _text(key: str) -> str | None:
    """The setting under exactly this key as a text; None if it is missing or blank."""
    value = _looked_up(lambda: dlt.config.get(key))
    return str(value).strip() or None if isinstance(value, str | int | float) else None


def _secret(key: str) -> str | None:
    """The secret under exactly this key, letter by letter as it was given; None if missing or blank.

    Raises:
        ConfigurationError: It was given as something that is not a text.
    """
    value = _looked_up(lambda: dlt.secrets.get(key))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ConfigurationError([f"{key} has to be a text; put it in quotes"])
    # Files of secrets end in a line break, which belongs to the file.
    secret = str(value).strip("\r\n")
    return secret if secret.strip() else None


def _is_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_right and plain


def _in_project(path: str) -> Path:
    return project_folder() / Path(path).expanduser()


def _configured_database() -> str | None:
    """What is configured as the database: a text, or the `database` of the credentials."""
    value = _looked_up(lambda: dlt.config.get(WAREHOUSE_KEY))
    if value is None:
        return _text(f"{WAREHOUSE_KEY}.database")
    if isinstance(value, str) and value.strip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            value = {}
    if isinstance(value, Mapping):
        value = _text(f"{WAREHOUSE_KEY}.database") or value.get("database")
    return str(value).strip() or None if isinstance(value, str) else None


def _database_file(configured: str) -> str:
    """The path in what is configured; nothing else than a file can be the warehouse."""
    path = re.sub(r"^duckdb:(///|//)?", "", configured, count=1).partition("?")[0]
    is_drive = re.match(r"^[A-Za-z]:[\\/]", path)
    if not path or (":" in path.split("/")[0] and not is_drive) or path.startswith(":"):
        raise ConfigurationError(
            [
                f"{WAREHOUSE_KEY} has to be the path of a file, such as /data/messaging.duckdb: a database in"
                " memory, in the cloud or in dlt's working folder cannot be the warehouse"
            ]
        )
    return path


# ---- filling in ----------------------------------------------------------------------------------


class _Fill:
    """Fills a guide dictionary in; what that means for a reference, an auth and a client is up to it."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def client(self, client: GuideDict) -> GuideDict:
        raise NotImplementedError

    def auth(self, auth: Any) -> Any:
        raise NotImplementedError

    def secret(self, name: str) -> str:
        raise NotImplementedError

    def resource(self, resource: GuideDict) -> GuideDict:
        """A resource or the resource defaults, filled in."""
        filled: GuideDict = self.references(resource)
        endpoint = resource.get("endpoint")
        if isinstance(endpoint, dict):
            filled["endpoint"] = self._endpoint(endpoint)
        return filled

    def _endpoint(self, endpoint: GuideDict) -> GuideDict:
        filled: GuideDict = {
            # dlt formats these: a brace in a secret is written twice, so that it arrives as it is.
            key: self.references(value, escape=key in FIELDS_WITH_PLACEHOLDERS)
            for key, value in endpoint.items()
            if key != "auth"
        }
        if "auth" in endpoint:
            filled["auth"] = self.auth(endpoint["auth"])
        return filled

    def references(self, value: Any, *, escape: bool = False) -> Any:
        """The same value with every reference replaced."""
        if isinstance(value, dict):
            return {key: self.references(inner, escape=escape) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.references(inner, escape=escape) for inner in value]
        if not isinstance(value, str):
            return value

        def replaced(match: re.Match[str]) -> str:
            secret = self.secret(match[1])
            return secret.replace("{", "{{").replace("}", "}}") if escape else secret

        return REFERENCE.sub(replaced, value)


class _Sandbox(_Fill):
    """Fills in what the sandbox needs, and nothing of the user's settings."""

    def __init__(self, sandbox: SandboxAddress) -> None:
        super().__init__()
        self._address = sandbox

    def client(self, client: GuideDict) -> GuideDict:
        # Neither a proxy nor a CA bundle leads to a server on this machine.
        kept = {key: value for key, value in client.items() if key not in ("auth", "proxy", "ca_bundle")}
        return {
            **self.references(kept),
            "base_url": self._address.base_url,
            "auth": self.auth(client.get("auth")),
        }

    def auth(self, _auth: Any) -> Any:
        return {
            "type": "oauth2",
            "client_id": self._address.client_id,
            "client_secret": self._address.client_secret,
            "token_url": _joined(self._address.base_url, TOKEN_PATH),
        }

    def secret(self, _name: str) -> str:
        return "sandbox"


class _Settings(_Fill):
    """Fills in the settings of a connection, and notes all that are missing."""

    def __init__(self, connection: str) -> None:
        super().__init__()
        self._connection = connection
        self._base_url = self._address()

    def _address(self) -> str:
        try:
            configured = base_url(self._connection)
        except ConfigurationError as error:
            self.mistakes.extend(error.mistakes)
            return ""
        if configured is None:
            self._missing("base_url", "config.toml", "https://api.example.com")
        return configured or ""

    def client(self, client: GuideDict) -> GuideDict:
        kept = {key: value for key, value in client.items() if key != "auth"}
        filled: GuideDict = {**self.references(kept), "base_url": self._base_url}
        if client.get("auth") is not None:
            filled["auth"] = self.auth(client["auth"])
        for name in ("proxy", "ca_bundle"):
            configured = _text(f"sources.{self._connection}.{name}")
            if configured is not None:
                filled[name] = configured
        if filled.get("ca_bundle"):
            filled["ca_bundle"] = str(_in_project(filled["ca_bundle"]))
        return filled

    def auth(self, auth: Any) -> Any:
        if auth is None:
            return None
        words = {"type": auth} if isinstance(auth, str) else {"type": "bearer", **auth}
        for name in SETTINGS_OF_AUTH.get(words["type"], ()):
            words.setdefault(name, f"${{secret:{name}}}")
        filled: GuideDict = self.references(words)
        key = {"oauth2": "token_url", "oauth2_client_credentials": "access_token_url"}.get(words["type"])
        if key is not None:
            filled[key] = self._token_url(filled.get(key))
        return filled

    def _token_url(self, of_file: str | None) -> str:
        configured = _text(f"sources.{self._connection}.token_url")
        url = configured or of_file or TOKEN_PATH
        return url if "://" in url else _joined(self._base_url, url)

    def secret(self, name: str) -> str:
        keys = [f"sources.{self._connection}.{name}"]
        if self._connection == GUIDES_OWN_CONNECTION and name in GUIDES_OWN_SECRETS:
            keys.append(name)
        try:
            found = next((value for value in map(_secret, keys) if value is not None), None)
        except ConfigurationError as error:
            self.mistakes.extend(error.mistakes)
            return ""
        if found is None:
            self._missing(name, "secrets.toml", "...")
        return found or ""

    def _missing(self, name: str, file: str, example: str) -> None:
        key = f"sources.{self._connection}.{name}"
        misplaced = file == "secrets.toml" and _text(key) is not None
        hint = " (it stands in .dlt/config.toml, which is not for secrets: move it)" if misplaced else ""
        self.mistakes.append(
            f"{key} is missing{hint}: set the environment variable {key.upper().replace('.', '__')}, or write"
            f' {name} = "{example}" in .dlt/{file} under [sources.{self._connection}]'
        )


def _joined(address: str, path: str) -> str:
    return f"{address.rstrip('/')}/{path.lstrip('/')}"
