"""The guide's dictionary as a dlt source, and as one run's access to the API.

Translates the guide's words into dlt's: who authorises, what is tried again and how lists are paged is
handed to dlt's REST API source as objects of ours, and everything else as it stands. What the words may
be is `vocabulary.py`'s to say, where addresses and secrets come from `settings.py`'s.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, cast

from dlt.common.configuration import inject_section
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.common.schema.schema import Schema
from dlt.common.schema.typing import TSchemaContract
from dlt.extract import DltSource, Incremental
from dlt.sources import rest_api as dlt_rest_api
from dlt.sources.helpers.rest_client.detector import single_entity_path
from dlt.sources.helpers.rest_client.paginators import BasePaginator, OffsetPaginator
from dlt.sources.helpers.rest_client.utils import join_url
from dlt.sources.rest_api.config_setup import expand_and_index_resources, expand_placeholders

from messaging_assets.api.auth import Authorisers
from messaging_assets.api.clock import Clock
from messaging_assets.api.connection import GuideDict, Resource, connection_from_dict
from messaging_assets.api.error_handler import ErrorHandler
from messaging_assets.api.errors import ConfigurationError
from messaging_assets.api.page import PageDecoder, parse_json
from messaging_assets.api.paginator import AnchoredOffsetPaginator, OffsetSettings
from messaging_assets.api.request import ApiRequest, form_encoded, origin_of
from messaging_assets.api.session import DeferredAuth, Sending, TransportSession
from messaging_assets.api.settings import register_defaults
from messaging_assets.api.transport import MEBIBYTE, Timeouts, Transport
from messaging_assets.api.usage import Usage

# The words of `client` that speak of sending, which dlt's own client does not know.
SENDING_WORDS = (
    "auth",
    "error_handler",
    "timeouts",
    "proxy",
    "ca_bundle",
    "max_body_megabytes",
    "in_flight",
    "requests_per_second",
)
DLT_NAME = "rest_api"


def rest_api_source(
    config: GuideDict,
    name: str | None = None,
    section: str | None = None,
    max_table_nesting: int | None = None,
    root_key: bool | None = None,
    schema: Schema | None = None,
    schema_contract: TSchemaContract | None = None,
    parallelized: bool = False,
) -> DltSource:
    """Create a dlt source from the guide's dictionary, in place of dlt's function of this name.

    Args:
        config: The guide's dictionary as it stands, or whatever dlt's REST API source takes. It is not
            changed.
        name: The name of the source.
        section: The section of dlt's configuration.
        max_table_nesting: As in dlt.
        root_key: As in dlt.
        schema: As in dlt.
        schema_contract: As in dlt.
        parallelized: As in dlt.

    Returns:
        The source. Its connections are closed when it is no longer used, at the latest at exit.

    Raises:
        ConfigurationError: With all mistakes in the dictionary.

    Example:
        >>> source = rest_api_source({
        ...     "client": {"base_url": "https://api.example.com"},
        ...     "resources": [{"name": "users", "endpoint": {
        ...         "path": "/v1/users", "data_selector": "data",
        ...         "paginator": {"type": "offset", "limit": 100}}}]})
        >>> list(source.resources)
        ['users']
    """
    sections = ("sources", section or DLT_NAME, name or DLT_NAME)
    return Api(config, name=None, sections=sections).source(
        name=name,
        section=section,
        max_table_nesting=max_table_nesting,
        root_key=root_key,
        schema=schema,
        schema_contract=schema_contract,
        parallelized=parallelized,
    )


class Api(AbstractContextManager["Api"]):
    """One run's access to one connection's API: one transport, one token, one count of what was used.

    Its resources share the requests that may be under way at once and the rate: `in_flight` and
    `requests_per_second` of the client.

    Args:
        config: The guide's dictionary, with address and secrets in it. It is not changed.
        name: The connection's name, which the settings in error messages are named after; None for a
            dictionary that was handed over in Python.
        clock: The time.
        sections: Where dlt looks for what an `auth` leaves out.

    Raises:
        ConfigurationError: With all mistakes in the dictionary.

    Attributes:
        transport: Sends the requests. `transport.usage` counts all of them.

    Example:
        >>> with Api(configured_client(connection), name="messaging") as api:
        ...     request = api.endpoint_request("messages")
    """

    def __init__(
        self,
        config: GuideDict,
        *,
        name: str | None,
        clock: Clock | None = None,
        sections: tuple[str, ...] | None = None,
    ) -> None:
        register_defaults()
        self.name = name
        self._connection = connection_from_dict(name or "the configuration", config)
        client = self._connection.client
        if client.get("session") is not None:
            raise ConfigurationError(
                [
                    "client.session: a session of one's own cannot be used; headers, auth, timeouts, proxy"
                    " and ca_bundle say what it would do"
                ]
            )
        self.transport = Transport(
            timeouts=Timeouts(**(client.get("timeouts") or {})),
            proxy=client.get("proxy"),
            ca_bundle=client.get("ca_bundle"),
            max_body_bytes=int(client.get("max_body_megabytes", 256) * MEBIBYTE),
            in_flight=client.get("in_flight", 8),
            requests_per_second=client.get("requests_per_second"),
            clock=clock,
            name=name,
        )
        self._session = TransportSession(self.transport)
        self._usages: dict[str, Usage] = {}
        authorisers = Authorisers(
            self.transport,
            TransportSession(self.transport, in_turn=False),
            ErrorHandler.from_guide(client.get("error_handler")),
        )
        with _sections(sections or ("sources", name or DLT_NAME)):
            self._sendings = {
                resource.name: self._sending(resource, authorisers)
                for resource in self._connection.resources
                if resource.instance is None
            }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. For good."""
        self.transport.close()

    def usage(self, resource: str) -> Usage:
        """Return what a resource has used so far; it goes on counting."""
        return self._usages.setdefault(resource, Usage())

    def endpoint_request(self, resource: str) -> ApiRequest:
        """Return what to ask for to read a resource's list, without offset and limit.

        Args:
            resource: The name of a resource that does not depend on a parent.

        Returns:
            The request with address, parameters, headers, body, credentials and error handler. Parameters
            that narrow the list to what is new (`incremental`) are left out.

        Raises:
            ConfigurationError: The resource is read once for each row of a parent.
        """
        sending = self._sendings[resource]
        endpoint = self._static_endpoint(resource)
        headers = {**(self._connection.client.get("headers") or {}), **(endpoint.get("headers") or {})}
        data = endpoint.get("data")
        if isinstance(data, Mapping):
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
            data = form_encoded(data)
        path = endpoint["path"]
        return ApiRequest(
            path if "://" in path else join_url(self._connection.client["base_url"], path),
            method=str(endpoint.get("method") or "GET").upper(),
            params=endpoint.get("params") or {},
            headers={str(header): str(value) for header, value in headers.items()},
            body=data.encode() if isinstance(data, str) else data,
            json=endpoint.get("json") or None,
            authoriser=sending.authoriser,
            error_handler=sending.error_handler,
        )

    def source(self, *, name: str | None = None, **settings: Any) -> DltSource:
        """Return all resources as a dlt source, a new one at each call.

        Args:
            name: The name of the source; the connection's if not given.
            settings: What else dlt's `rest_api_source` takes.
        """
        return dlt_rest_api.rest_api_source(
            cast(Any, self._in_dlts_words()), name=cast(Any, name or self.name), **settings
        )

    # --- the guide's words in dlt's

    def _in_dlts_words(self) -> GuideDict:
        guide = self._connection.guide()
        client = {key: value for key, value in guide["client"].items() if key not in SENDING_WORDS}
        client["session"] = self._session
        if _is_offset(client.get("paginator")):
            # Each resource that uses it has a paginator of its own, for its own primary key.
            del client["paginator"]
        defaults = guide["resource_defaults"]
        if isinstance(defaults.get("endpoint"), Mapping):
            for word in ("auth", "error_handler"):
                defaults["endpoint"].pop(word, None)
        resources = [
            resource.instance or self._resource(resource, words)
            for resource, words in zip(self._connection.resources, guide["resources"], strict=True)
        ]
        return {"client": client, "resource_defaults": defaults, "resources": resources}

    def _resource(self, resource: Resource, words: dict[str, Any]) -> dict[str, Any]:
        endpoint = words["endpoint"] = dict(words.get("endpoint") or {})
        endpoint.pop("error_handler", None)
        endpoint["auth"] = DeferredAuth(self._sendings[resource.name])
        if (settings := offset_settings(resource)) is not None:
            endpoint["paginator"] = AnchoredOffsetPaginator(settings, _own_key(resource), _selector(resource))
        return words

    def _sending(self, resource: Resource, authorisers: Authorisers) -> Sending:
        client = self._connection.client
        authoriser = authorisers.of(resource.endpoint.get("auth", client.get("auth")))
        has_credentials = authoriser is not None or client.get("headers") or resource.endpoint.get("headers")
        own_address = resource.endpoint["path"] if "://" in resource.endpoint["path"] else ""
        origins = {origin_of(url) for url in (client["base_url"], own_address) if url}
        return Sending(
            authoriser,
            resource.error_handler,
            self.usage(resource.name),
            _check(resource),
            frozenset(origins) if has_credentials else frozenset(),
        )

    def _static_endpoint(self, resource: str) -> dict[str, Any]:
        """Return an endpoint as dlt understands it, with what is fixed filled in."""
        words = self._in_dlts_words()
        definition = next(r for r in words["resources"] if isinstance(r, dict) and r["name"] == resource)
        expanded = expand_and_index_resources([cast(Any, definition)], words["resource_defaults"] or {})
        endpoint = dict(cast(Any, expanded[resource])["endpoint"])
        params = {name: value for name, value in (endpoint.get("params") or {}).items() if _is_fixed(value)}
        try:
            return {
                **endpoint,
                "path": expand_placeholders(endpoint["path"], {}),
                "params": expand_placeholders(params, {}),
                "headers": expand_placeholders(endpoint.get("headers"), {}),
                "json": expand_placeholders(endpoint.get("json"), {}),
                "data": expand_placeholders(endpoint.get("data"), {}),
            }
        except (KeyError, IndexError, AttributeError):
            raise ConfigurationError(
                [f"resources: {resource} depends on other values and cannot be read as a list of its own"]
            ) from None


@contextmanager
def _sections(sections: tuple[str, ...]) -> Iterator[None]:
    """Have dlt look up what is missing where it would look for this source."""
    with inject_section(ConfigSectionContext(sections=sections)):
        yield


def _is_fixed(param: Any) -> bool:
    """Tell whether a parameter has a value of its own, not one of a parent or of an earlier run."""
    if isinstance(param, Incremental) or (isinstance(param, Mapping) and "type" in param):
        return False
    return not (isinstance(param, str) and "{incremental." in param)


def _is_offset(paginator: Any) -> bool:
    """Tell whether it is dlt's offset paginator. A subclass is the user's own, and stays as it is."""
    if isinstance(paginator, Mapping):
        return paginator.get("type") == "offset"
    return paginator == "offset" or type(paginator) is OffsetPaginator


def offset_settings(resource: Resource) -> OffsetSettings | None:
    """Return the settings of the resource's offset paginator, None where it has another one or none."""
    paginator = resource.paginator
    if not _is_offset(paginator):
        return None
    if resource.endpoint.get("paginator") is None and single_entity_path(resource.endpoint["path"]):
        # One entity and no list: dlt does not page there, whatever the client says.
        return None
    if isinstance(paginator, BasePaginator):
        return _settings_of(cast(OffsetPaginator, paginator))
    return OffsetSettings.from_config(paginator if isinstance(paginator, Mapping) else {})


def _settings_of(paginator: OffsetPaginator) -> OffsetSettings:
    return OffsetSettings(
        limit=paginator.limit,
        offset=paginator.initial_value,
        offset_param=paginator.param_name,
        limit_param=paginator.limit_param,
        offset_body_path=paginator.param_body_path,
        limit_body_path=paginator.limit_body_path,
        total_path=None if paginator.total_path is None else str(paginator.total_path),
        maximum_offset=paginator.maximum_value,
        stop_after_empty_page=bool(paginator.stop_after_empty_page),
        has_more_path=None if paginator.has_more_path is None else str(paginator.has_more_path),
    )


def _own_key(resource: Resource) -> tuple[str, ...]:
    """Return the key fields that the records themselves have: a parent's are added behind the paginator."""
    from_parent = tuple(f"_{field}" for field in resource.definition.get("include_from_parent") or ())
    own = tuple(
        field
        for field in resource.primary_key
        if not (field.startswith("_") and from_parent and field.endswith(from_parent))
    )
    return own or resource.primary_key


def _selector(resource: Resource) -> str | None:
    selector = resource.endpoint.get("data_selector")
    return None if selector is None else str(selector)


def _check(resource: Resource) -> Callable[[bytes], object] | None:
    """Return what an answer has to pass to count as one, None where response actions judge it."""
    if any(_judges_success(action) for action in resource.endpoint.get("response_actions") or ()):
        return None
    settings = offset_settings(resource)
    if settings is None:
        return parse_json
    return PageDecoder(_selector(resource), settings.total_path, settings.has_more_path)


def _judges_success(action: Any) -> bool:
    """Tell whether a response action may concern an answer with a status of success."""
    status = action.get("status_code") if isinstance(action, Mapping) else None
    return status is None or str(status).startswith("2")
