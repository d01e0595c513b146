"""What the sandbox is told to do wrong: which answers fail, how lists behave, what changes when.

Only the orders stand here, as plain data that tests write and the command line parses. How an order is
carried out stands in `answers` (the way of an answer over the wire) and `application` (the lists).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from messaging_assets.sandbox.listing import Key
from messaging_assets.sandbox.rows import mixed
from messaging_assets.sandbox.workspace import Order, Where, Workspace

Kind = Literal[
    "status",
    "hang",
    "cut",
    "long_length",
    "short_length",
    "html",
    "malformed",
    "empty",
    "not_ok",
    "null_data",
    "no_data",
    "slow",
    "redirect",
    "bomb",
]
KINDS: Mapping[str, str] = {
    "status": "answers with the status of `status=`, with Retry-After if `retry_after=` gives seconds "
    "(as an HTTP date with `retry_after_as=date`)",
    "hang": "accepts the request and says nothing (`seconds=` ends it with a 504)",
    "cut": "closes the connection when half of the body is sent",
    "long_length": "promises more bytes than it sends, and closes the connection",
    "short_length": "promises and sends fewer bytes than the body has",
    "html": "answers 200 with an HTML page",
    "malformed": "answers 200 with JSON that breaks off",
    "empty": "answers 200 with no body at all",
    "not_ok": 'answers 200 with {"ok": false, "error": "internal_error"}',
    "null_data": 'answers 200 with "data": null',
    "no_data": 'answers 200 without "data"',
    "slow": "sends the body a byte at a time, `seconds=` apart (0.05)",
    "redirect": "redirects to the same address, to the host of `location=`, or for ever with `location=loop`",
    "bomb": "answers with gzip that unpacks to `megabytes=` of JSON (1024)",
}
"""What can go wrong with an answer, each in a few words."""

Total = Literal["right", "absent", "null", "text", "wrong"]
ExpiresIn = Literal["number", "text", "missing"]
ClientAuthentication = Literal["any", "body", "basic"]
RateLimitHeaders = Literal["none", "seconds", "epoch", "draft"]


@dataclass(frozen=True)
class Broken:
    """One way in which answers go wrong, and which of them do.

    Without conditions every answer of the lists does. With several, all of them must hold.

    Args:
        kind: What goes wrong, one of `KINDS`.
        resource: Only answers about this resource; `token` for the token endpoint, `members` for the
            members of a channel.
        rate: Only this share of the answers, drawn from the sandbox's seed.
        times: Only so many answers, then never again.
        after: Only when so many answers, for which the other conditions hold, have gone well.
        position: Only pages that hold the row at this place of the list.
        status: The status for kind `status`; for kind `redirect` 307 unless given.
        retry_after: Seconds for the header Retry-After.
        retry_after_as: Whether the header holds seconds or a date.
        seconds: For `slow` the wait between two bytes, for `hang` how long it hangs (0: for ever).
        location: For `redirect` the base URL of another host, or `loop`.
        megabytes: How large a `bomb` is when unpacked.

    Example:
        >>> Broken.parse("429,retry_after=2,times=3,resource=users")
        Broken(kind='status', resource='users', rate=1.0, times=3, after=0, position=None, status=429, \
retry_after=2.0, retry_after_as='seconds', seconds=0.0, location='', megabytes=1024)
    """

    kind: Kind
    resource: str | None = None
    rate: float = 1.0
    times: int | None = None
    after: int = 0
    position: int | None = None
    status: int = 500
    retry_after: float | None = None
    retry_after_as: Literal["seconds", "date"] = "seconds"
    seconds: float = 0.0
    location: str = ""
    megabytes: int = 1024

    @classmethod
    def parse(cls, text: str) -> "Broken":
        """Read `KIND,name=value,...`; a number as the kind is a status."""
        kind, *settings = text.split(",")
        values: dict[str, Any] = dict(map(_setting, settings))
        if kind.isdigit():
            kind, values = "status", {"status": kind, **values}
        return cls(**_typed(cls, {"kind": kind, **values}))


@dataclass(frozen=True)
class Change:
    """Something that happens to rows of a resource at a moment of the test's choice."""

    resource: str = "messages"
    count: int = 1
    where: Where = "head"

    def apply(self, workspace: Workspace) -> None:
        """Let it happen."""
        raise NotImplementedError

    @classmethod
    def parse(cls, text: str) -> "Change":
        """Read `insert|delete|edit|move,RESOURCE,name=value,...`."""
        word, resource, *settings = text.split(",")
        if word not in _CHANGES:
            raise ValueError(f"{word!r} is none of {', '.join(_CHANGES)}")
        kind = _CHANGES[word]
        return kind(**_typed(kind, {"resource": resource, **dict(map(_setting, settings))}))


@dataclass(frozen=True)
class Insert(Change):
    """Rows are inserted side by side; `fields` are the same in each."""

    fields: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, workspace: Workspace) -> None:
        """Insert them."""
        for place in range(self.count):
            where = self.where + place if isinstance(self.where, int) else self.where
            workspace.insert(self.resource, where, **self.fields)


@dataclass(frozen=True)
class Delete(Change):
    """Rows that stand side by side are deleted."""

    def apply(self, workspace: Workspace) -> None:
        """Delete them."""
        workspace.delete_at(self.resource, self.where, self.count)


@dataclass(frozen=True)
class Edit(Change):
    """Rows that stand side by side are edited: the given fields, or the text."""

    fields: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, workspace: Workspace) -> None:
        """Edit them."""
        workspace.edit_at(self.resource, self.where, self.count, **self.fields)


@dataclass(frozen=True)
class Move(Change):
    """Rows that stand side by side move to another place, without being changed."""

    where: Where = "tail"
    to: Where = "head"

    def apply(self, workspace: Workspace) -> None:
        """Move them."""
        workspace.move_at(self.resource, self.where, self.count, self.to)


_CHANGES: Mapping[str, type[Change]] = {"insert": Insert, "delete": Delete, "edit": Edit, "move": Move}


@dataclass(frozen=True)
class At:
    """A change that happens just before a page is served.

    Args:
        page: Before which page of the resource, counted from 1 since the faults were ordered.
        change: What happens: a `Change`, or any function of the workspace.
        resource: The resource whose pages are counted.
        every: Again before each so many further pages; 0 means once.

    Example:
        >>> At.parse("3,delete,messages,count=5,where=tail").change
        Delete(resource='messages', count=5, where='tail')
    """

    page: int
    change: Change | Callable[[Workspace], object]
    resource: str = "messages"
    every: int = 0

    def due(self, page: int) -> bool:
        """Tell whether the change happens before this page."""
        if page == self.page:
            return True
        return self.every > 0 and page > self.page and (page - self.page) % self.every == 0

    def apply(self, workspace: Workspace) -> None:
        """Let the change happen."""
        if isinstance(self.change, Change):
            self.change.apply(workspace)
        else:
            self.change(workspace)

    @classmethod
    def parse(cls, text: str) -> "At":
        """Read `PAGE[/EVERY],CHANGE,RESOURCE,name=value,...`; the resource's own pages are counted."""
        pages, _, change = text.partition(",")
        page, _, every = pages.partition("/")
        parsed = Change.parse(change)
        return cls(int(page), parsed, parsed.resource, int(every or 0))


@dataclass(kw_only=True)
class Faults:
    """Everything that the sandbox is ordered to do wrong; by default nothing.

    Fields may be changed while the sandbox runs; `Sandbox.order` replaces them all and begins to count
    anew.

    Example:
        >>> faults = Faults(page_cap=50, broken=[Broken("status", status=503, rate=0.1)])
        >>> Faults.from_json(faults.to_json()) == faults
        True
    """

    order: Annotated[
        Order,
        "Order of the lists: by creation (ascending, descending), by update (updated: newest first, "
        "updated_ascending), none (random, but always the same), unstable (another start each time).",
    ] = "ascending"
    page_cap: Annotated[int | None, "Return at most so many rows a page, whatever is asked."] = None
    extra_rows: Annotated[int, "Return so many rows more than asked."] = 0
    ignore_limit: Annotated[bool, "Ignore limit: pages of page_cap rows, or all rows at once."] = False
    ignore_offset: Annotated[bool, "Ignore offset: the first page for ever."] = False
    total: Annotated[Total, "What `total` says."] = "right"
    total_error: Annotated[int, "By how many rows a wrong total is off."] = 7
    hidden_share: Annotated[float, "Hide this share of the rows after slicing: pages are short."] = 0.0
    hidden_first: Annotated[int | None, "Hide rows after slicing from this number of a row on ..."] = None
    hidden_last: Annotated[int | None, "... to this one: empty pages in the middle of the list."] = None
    latency: Annotated[float, "Wait so many seconds before each answer."] = 0.0
    latency_jitter: Annotated[float, "Wait up to so many seconds more, at random."] = 0.0
    rate_limit: Annotated[int | None, "Answer 429 from so many requests a rate_limit_seconds on."] = None
    rate_limit_seconds: Annotated[float, "The period of rate_limit."] = 1.0
    rate_limit_headers: Annotated[
        RateLimitHeaders,
        "Say what is left of rate_limit: X-RateLimit-* with a reset in seconds or as epoch, or RateLimit-*.",
    ] = "none"
    gzip: Annotated[bool, "Compress answers for clients that accept it."] = False
    token_life: Annotated[float, "Seconds for which a token is valid."] = 3600.0
    token_uses: Annotated[int | None, "Revoke a token early, after so many requests."] = None
    expires_in: Annotated[ExpiresIn, "What `expires_in` of a token's answer is."] = "number"
    client_authentication: Annotated[
        ClientAuthentication, "Accept id and secret in the body, as HTTP Basic, or either way."
    ] = "any"
    token_scope: Annotated[str | None, "Refuse token requests without this scope."] = None
    token_audience: Annotated[str | None, "Refuse token requests without this audience."] = None
    statuses: Mapping[int, float] = field(default_factory=dict)
    broken: Sequence[Broken] = ()
    script: Sequence[At] = ()

    def __post_init__(self) -> None:
        self.statuses = dict(self.statuses)
        self.broken = list(self.broken)
        self.script = list(self.script)

    def all_broken(self) -> list[Broken]:
        """Return what goes wrong with answers, the rates of statuses included."""
        rates = [Broken("status", status=status, rate=rate) for status, rate in self.statuses.items()]
        return [*self.broken, *rates]

    def hides(self, key: Key, seed: int) -> bool:
        """Tell whether a row is hidden for good: it keeps its place, but no answer holds it."""
        first, last = self.hidden_first, self.hidden_last
        if (first is not None or last is not None) and (first or 0) <= key <= (key if last is None else last):
            return True
        return self.hidden_share > 0 and mixed(key, seed + 99) % 1_000_000 < self.hidden_share * 1_000_000

    def to_json(self) -> str:
        """Return the faults as JSON; functions in a script can't be written."""
        values = asdict(self)
        values["script"] = [_written(at) for at in self.script]
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> "Faults":
        """Read what `to_json` wrote."""
        values = json.loads(text)
        values["statuses"] = {int(status): rate for status, rate in values["statuses"].items()}
        values["broken"] = [Broken(**broken) for broken in values["broken"]]
        values["script"] = [_read(at) for at in values["script"]]
        return cls(**values)


def scalar_faults() -> list[tuple[str, Any, Any, str]]:
    """Return name, type, default and description of each fault that is a single value."""
    types = get_type_hints(Faults, include_extras=True)
    return [
        (entry.name, get_args(types[entry.name])[0], entry.default, get_args(types[entry.name])[1])
        for entry in fields(Faults)
        if get_origin(types[entry.name]) is Annotated
    ]


def _written(at: At) -> dict[str, Any]:
    if not isinstance(at.change, Change):
        raise TypeError("a function in a script can't be handed to another process: use a Change")
    word = next(word for word, kind in _CHANGES.items() if type(at.change) is kind)
    return asdict(at) | {"change": {"word": word, **asdict(at.change)}}


def _read(values: dict[str, Any]) -> At:
    change = values["change"]
    kind = _CHANGES[change.pop("word")]
    return At(**values | {"change": kind(**change)})


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not of the form name=value")
    return name, value


def _typed(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return texts as the types of the fields of a dataclass that they are for."""
    types = get_type_hints(kind)
    for name in values:
        if name not in types:
            raise ValueError(f"{name!r} is none of {', '.join(types)}")
    return {name: _value(name, types[name], value) for name, value in values.items()}


def _value(name: str, kind: Any, text: str) -> Any:
    if kind is str or kind == str | None:
        return text
    choices = [
        choice for part in (kind, *get_args(kind)) for choice in get_args(part) if isinstance(choice, str)
    ]
    if text in choices:
        return text
    for number in (int, float):
        if kind is number or number in get_args(kind):
            return _number(name, number, text, choices)
    raise ValueError(f"{name}: {text!r} is none of {', '.join(choices)}")


def _number(name: str, number: type[int] | type[float], text: str, choices: Sequence[str]) -> int | float:
    try:
        return number(text)
    except ValueError:
        wanted = "a whole number" if number is int else "a number"
        expected = f"none of {', '.join(choices)}, nor {wanted}" if choices else f"not {wanted}"
        raise ValueError(f"{name}: {text!r} is {expected}") from None
