"""The fault matrix: what an API does wrong, what the user then sees, and what becomes of the rows.

The faults and the words stand here; `test_fault_matrix` runs each over real HTTP into a real DuckDB file,
and compares the words with what it saw. `python -m messaging_assets_tests.fault_matrix` writes the table
into the README.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

from messaging_assets.sandbox import At, Broken, Change, Delete, Edit, Faults, Insert, Move, Sandbox
from messaging_assets.sandbox.faults import Kind

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- fault matrix -->", "<!-- end of fault matrix -->"
HEADERS = ("", "what the API does", "what the user sees", "rows exact")

# The workspace in which every fault happens, and how many rows are asked for at once.
MESSAGES, CHANNELS, USERS, PAGE = 300, 8, 30, 20
# Seconds, for faults that are about time.
HURRIED = {"timeouts": {"connect": 0.4, "read": 0.2}}
# Beyond the present.
LATER = "2999-01-01T00:00:00Z"
NARROW = {"max_body_megabytes": 1}
# Where the answers stood that went wrong, as an error names it.
FIRST, HALFWAY = "/v1/messages, offset 0", "/v1/messages, offset 95"


@dataclass(frozen=True)
class Fault:
    """One row of the matrix.

    Attributes:
        does: What the API does, in words.
        sees: What the user sees: the outcome of the checks, or the error of the sync.
        exact: What becomes of the rows: `yes`, with how many were rejected or not marked as deleted;
            `kept as before` where the sync fails; `not promised` where it can prove nothing.
        faults: What the sandbox is ordered to do.
        happens: What happens at the source since the last sync, beside what always does.
        earlier: What happened there before the last sync, if anything did.
        resource: The list that is read.
        error_handler: What the connection says of it, beside one retry without a wait.
        client: What the connection says of its client.
        address: The address that it names, given the sandbox's.
        command: The command line that syncs, in place of a call.
        spares_others: Whether the other lists are read as ever.
    """

    does: str
    sees: str
    exact: str = "yes"
    faults: Faults = field(default_factory=Faults)
    happens: Callable[[Sandbox], object] = lambda _: None
    earlier: Callable[[Sandbox], object] | None = None
    resource: str = "messages"
    error_handler: Mapping[str, Any] = field(default_factory=dict)
    client: Mapping[str, Any] = field(default_factory=dict)
    address: Callable[[str], str] = lambda address: address
    command: tuple[str, ...] = ()
    spares_others: bool = True


# What the user sees


def proved(how: str) -> str:
    """A sync that is complete."""
    return f"`complete` passes: proved (full): {how}"


def still(rows: int) -> str:
    """A sync of a list that did not change while it was read."""
    return proved(at_rest(rows))


def at_rest(rows: int) -> str:
    """The reason for that."""
    return f"the list held still: {rows} rows before, after and delivered"


def rejected(records: int) -> str:
    """Records that were kept aside."""
    return (
        f"`records_stored` warns: {records} records could not be stored and are in "
        "messaging._rejected_records"
    )


def withheld(rows: int, seen: int, why: str) -> str:
    """A sync that did not see rows, and does not mark them as deleted."""
    return f"{rows} rows were not seen; {at_rest(seen)}; no deletion was marked: {why}"


def fails(what: str, place: str = HALFWAY) -> str:
    """A sync that fails."""
    return f"the sync fails: {what} ({place})"


STILL = still(MESSAGES)
ASCENDING = proved("the list is ordered by created_at and id, ascending, so anchored paging misses nothing")
DESCENDING = proved("the list is ordered by created_at and id, descending, so anchored paging misses nothing")
TWICE = proved("two passes in a row delivered the same rows, and the head is unmoved")
TOO_MANY = withheld(41, 260, "41 of 300 rows would vanish, more than max_deleted_share (10%) allows")
TOO_MANY_HIDDEN = (
    "61 rows were not seen; two passes in a row delivered the same rows, and the head is unmoved; no "
    "deletion was marked: 61 of 300 rows would vanish, more than max_deleted_share (10%) allows"
)
KEYLESS = "records came without an id and may be among them"
CUT = "the answer of the API was cut off or its length is wrong"

# What the sandbox is ordered to do


def meanwhile(change: Change, **faults: Any) -> Faults:
    """Let something happen while the list is read, just before its fourth page."""
    return Faults(script=[At(4, change)], **faults)


def every_page(change: Change, **faults: Any) -> Faults:
    """Let something happen before each page."""
    return Faults(script=[At(1, change, every=1)], **faults)


def broken(kind: Kind, *, position: int | None = 100, **settings: Any) -> Faults:
    """Let each answer go wrong that holds the row at a place of the list."""
    return Faults(broken=[Broken(kind, resource="messages", position=position, **settings)])


def each_once(kinds: Sequence[Kind]) -> Faults:
    """Let each of these happen to a page of its own, once."""
    places = range(10, MESSAGES, PAGE + 9)
    return Faults(
        broken=[
            Broken(kind, resource="messages", position=place, times=1, status=503)
            for kind, place in zip(kinds, places, strict=False)
        ]
    )


# What happens at the source


def put(*records: Any) -> Callable[[Sandbox], object]:
    """Put records among the others, as they stand."""

    def happen(sandbox: Sandbox) -> None:
        for record in records:
            sandbox.raw_row("messages", record, 50)

    return happen


def repeat(to: int, **fields: Any) -> Callable[[Sandbox], object]:
    """Let the row at place 50 stand at another one too."""
    return lambda sandbox: sandbox.raw_row("messages", {**sandbox.rows("messages")[50], **fields}, to)


def spoil(**fields: Any) -> Callable[[Sandbox], object]:
    """Let a row that is held come with other fields."""

    def happen(sandbox: Sandbox) -> None:
        row = sandbox.rows("messages")[70]
        sandbox.replace("messages", row["id"], {**row, **fields})

    return happen


def replace(*records: tuple[object, Any]) -> Callable[[Sandbox], object]:
    """Put other records in the place of some, which are named by their ids."""

    def happen(sandbox: Sandbox) -> None:
        for identity, record in records:
            sandbox.replace("messages", identity, record)

    return happen


def reshape(change: Callable[[Any], Any], resource: str = "messages") -> Callable[[Sandbox], object]:
    """Let every row be sent another way."""
    return lambda sandbox: sandbox.reshape(resource, change)


def delete(count: int, resource: str = "messages") -> Callable[[Sandbox], object]:
    """Let rows vanish, from place 100 on where there are so many."""
    return lambda sandbox: sandbox.workspace.delete_at(resource, 100, count)


def restore(*numbers: int) -> Callable[[Sandbox], object]:
    """Let rows that vanished be there again."""

    def happen(sandbox: Sandbox) -> None:
        for number in numbers:
            sandbox.restore("messages", f"M{number:09}")

    return happen


# The matrix

PAGING = [
    Fault("returns 7 rows a page, whatever is asked", STILL, faults=Faults(page_cap=7)),
    Fault("returns 5 rows more than asked", STILL, faults=Faults(extra_rows=5)),
    Fault("ignores limit: 13 rows a page", STILL, faults=Faults(ignore_limit=True, page_cap=13)),
    Fault("ignores limit: all rows at once", STILL, faults=Faults(ignore_limit=True)),
    Fault("returns one row a page", still(8), faults=Faults(page_cap=1), resource="channels"),
    Fault("gives no total", ASCENDING, faults=Faults(total="absent")),
    Fault("gives a total of null", ASCENDING, faults=Faults(total="null")),
    Fault("gives the total as a text", STILL, faults=Faults(total="text")),
    Fault("gives a total that is 7 too high", TWICE, faults=Faults(total="wrong")),
    Fault("gives a total that is 7 too low", ASCENDING, faults=Faults(total="wrong", total_error=-7)),
    Fault("a row is inserted at the head while it is read", ASCENDING, faults=meanwhile(Insert())),
    Fault("50 rows are inserted at the head while it is read", ASCENDING, faults=meanwhile(Insert(count=50))),
    Fault(
        "50 rows are inserted in the middle while it is read",
        still(350),
        faults=meanwhile(Insert(where="middle", count=50)),
    ),
    Fault(
        "50 rows are inserted at the tail while it is read",
        ASCENDING,
        faults=meanwhile(Insert(where="tail", count=50)),
    ),
    Fault("a row is deleted at the head while it is read", ASCENDING, faults=meanwhile(Delete())),
    Fault("25 rows are deleted at the head while it is read", ASCENDING, faults=meanwhile(Delete(count=25))),
    Fault(
        "25 rows are deleted in the middle while it is read",
        ASCENDING,
        faults=meanwhile(Delete(where="middle", count=25)),
    ),
    Fault(
        "25 rows are deleted at the tail while it is read",
        ASCENDING,
        faults=meanwhile(Delete(where="tail", count=25)),
    ),
    Fault("unread rows move to the head while it is read", STILL, faults=meanwhile(Move(count=3))),
    Fault(
        "unread rows move to the head while it is read, without a total",
        TWICE,
        faults=meanwhile(Move(count=3), total="absent"),
    ),
    Fault(
        "unread rows move in among those that were read",
        STILL,
        faults=Faults(script=[At(8, Move(count=3, to=30))]),
    ),
    Fault(
        "30 rows move from the head to the tail while it is read",
        STILL,
        faults=meanwhile(Move(where="head", count=30, to="tail")),
    ),
    Fault("holds a row twice, side by side", TWICE, happens=repeat(50)),
    Fault("holds a row twice, pages apart", TWICE, happens=repeat(250)),
    Fault(
        "holds a row twice, with other content: the later one counts", TWICE, happens=repeat(250, text="x")
    ),
    Fault("lists the newest first", STILL, faults=Faults(order="descending")),
    Fault(
        "lists the newest first, without a total; 25 rows are deleted while it is read",
        DESCENDING,
        faults=meanwhile(Delete(where="middle", count=25), order="descending", total="absent"),
    ),
    Fault(
        "lists by update, newest first; unread rows are edited while it is read",
        STILL,
        faults=meanwhile(Edit(where="tail", count=3), order="updated"),
    ),
    Fault(
        "lists by update, newest first, without a total; unread rows are edited while it is read",
        TWICE,
        faults=meanwhile(Edit(where="tail", count=3), order="updated", total="absent"),
    ),
    Fault(
        "lists by update, oldest first; rows are edited while it is read",
        STILL,
        faults=meanwhile(Edit(where="middle", count=3), order="updated_ascending"),
    ),
    Fault(
        "lists by update, oldest first; 100 rows are edited while it is read",
        STILL,
        faults=meanwhile(Edit(where="middle", count=100), order="updated_ascending"),
    ),
    Fault("lists in no order", STILL, faults=Faults(order="none")),
    Fault("lists in no order, without a total", TWICE, faults=Faults(order="none", total="absent")),
    Fault(
        "lists in no order, without a total; a row is inserted before each page",
        "`complete` fails: not proved: the list is not ordered by created_at or id, the API reports no "
        "total, and no two passes in a row agree",
        "not promised, nothing marked",
        faults=every_page(Insert(where="random"), order="none", total="absent"),
    ),
    Fault("hides rows after slicing: short pages", TWICE, faults=Faults(hidden_share=0.08)),
    Fault(
        "hides 25 rows after slicing: an empty page in mid-list",
        TWICE,
        faults=Faults(hidden_first=120, hidden_last=144),
    ),
    Fault(
        "hides 25 rows after slicing, without a total",
        TWICE,
        faults=Faults(hidden_first=120, hidden_last=144, total="absent"),
    ),
    Fault(
        "hides 60 rows after slicing: three empty pages in mid-list",
        f"`complete` fails: {TOO_MANY_HIDDEN}",
        "yes, 61 not marked",
        faults=Faults(hidden_first=120, hidden_last=179),
    ),
    Fault(
        "grows at its end as fast as it is read",
        ASCENDING,
        faults=every_page(Insert(where="tail", count=40, fields={"created_at": LATER})),
    ),
    Fault(
        "grows as fast as it is read, in no order",
        "`complete` fails: not proved: the list grows as fast as it is read",
        "not promised, nothing marked",
        faults=every_page(Insert(where="tail", count=40), order="none"),
    ),
    Fault(
        "ignores offset: the first page for ever",
        "the sync fails: the API returns its first page whatever the offset (asked for 304) (/v1/messages)",
        "kept as before",
        faults=Faults(ignore_offset=True),
        spares_others=False,
    ),
    Fault("answers side by side overtake each other", STILL, faults=Faults(latency_jitter=0.01)),
]

DELETIONS = [
    Fault("20 of 300 rows are gone", still(280), happens=delete(20)),
    Fault(
        "rows that were gone are there again",
        still(289),
        earlier=delete(20),
        happens=restore(*range(102, 111)),
    ),
    Fault(
        "40 of 300 rows are gone", f"`complete` fails: {TOO_MANY}", "yes, 41 not marked", happens=delete(40)
    ),
    Fault(
        "40 of 300 rows are gone; `messaging sync --reconcile`",
        f"exit code 1: FAILED messaging__messages: complete: {TOO_MANY}",
        "yes, 41 not marked",
        happens=delete(40),
        command=("sync", "--reconcile"),
    ),
    Fault(
        "40 of 300 rows are gone; `messaging sync --reconcile --accept-deletions`",
        "exit code 0",
        happens=delete(40),
        command=("sync", "--reconcile", "--accept-deletions"),
    ),
    Fault("5 of 8 rows are gone", still(3), happens=delete(5, "channels"), resource="channels"),
    Fault(
        "all rows are gone at once",
        f"`complete` fails: {withheld(8, 0, 'the source returned nothing at all')}",
        "yes, 8 not marked",
        happens=delete(8, "channels"),
        resource="channels",
    ),
    Fault(
        "returns no row, and a total of 300",
        "`complete` fails: not proved: the API returned no row, and a total of 300",
        "not promised, nothing marked",
        faults=Faults(hidden_first=-1000),
    ),
]

RECORDS = [
    Fault(
        "records without id",
        f"`complete` fails: {withheld(1, 300, f'2 {KEYLESS}')}; {rejected(2)}",
        "yes, 2 rejected, 1 not marked",
        happens=put({"text": "x"}, {"id": None}),
    ),
    Fault(
        "records that are no objects",
        f"`complete` fails: {withheld(1, 300, f'4 {KEYLESS}')}; {rejected(4)}",
        "yes, 4 rejected, 1 not marked",
        happens=put("text", None, [1], 7),
    ),
    Fault(
        "an id of another type",
        f"{still(301)}; {rejected(1)}",
        "yes, 1 rejected",
        happens=put({"id": 7, "text": "x"}),
    ),
    Fault(
        "a created_at that is no point in time, in a row that is held",
        f"{STILL}; {rejected(1)}",
        "yes, 1 rejected",
        happens=spoil(created_at="soon"),
    ),
    Fault(
        "a text with half of a surrogate pair",
        f"{still(301)}; {rejected(1)}",
        "yes, 1 rejected",
        happens=put({"id": "half", "text": "\ud83d"}),
    ),
    Fault(
        "records that were rejected come well",
        still(302),
        earlier=put({"id": "late", "created_at": "soon"}, {"id": 7}),
        happens=replace(("late", {"id": "late", "created_at": "2026-01-01T00:00:00Z"}), (7, {"id": "7"})),
    ),
    Fault(
        "numbers become texts, texts become objects",
        f"{still(8)}; `columns_stable` warns: name: VARCHAR became JSON; member_count: BIGINT became VARCHAR",
        happens=reshape(
            lambda row: {**row, "name": {"en": row["name"]}, "member_count": f"about {row['member_count']}"},
            "channels",
        ),
        resource="channels",
    ),
    Fault(
        "fields come and go",
        f"{STILL}; `columns_stable` warns: mood: new, VARCHAR",
        happens=reshape(lambda row: {name: row[name] for name in row if name != "text"} | {"mood": "good"}),
    ),
    Fault(
        "nested values, null bytes, numbers beyond 64 bits",
        f"{STILL}; `columns_stable` warns: big: new, VARCHAR; nested: new, JSON",
        happens=reshape(
            lambda row: {**row, "text": "a\x00b", "big": 2**70, "nested": {"list": [1, {"n": 2**65}]}}
        ),
    ),
    Fault(
        "texts of 1 MB",
        still(303),
        happens=put(*({"id": f"long {i}", "text": str(i) * 1_000_000} for i in range(3))),
    ),
    Fault(
        "times with an offset, as seconds, milliseconds and microseconds",
        still(304),
        happens=put(
            {"id": "offset", "created_at": "2026-03-29T02:10:00+05:45"},
            {"id": "s", "created_at": 1774746600},
            {"id": "ms", "created_at": 1774746600123},
            {"id": "us", "created_at": "1774746600123456"},
        ),
    ),
]

_WRONG_ANSWERS: Sequence[tuple[Kind, str, str]] = (
    ("malformed", "JSON that breaks off", "the answer is not JSON, so many bytes long"),
    ("html", "HTML with status 200", "the answer is HTML, so many bytes long"),
    ("empty", "status 200 without a body", "the answer is not JSON, so many bytes long"),
    (
        "not_ok",
        "`ok: false` with status 200",
        "the API answered with an error object (`ok` is false) and status 200",
    ),
    ("no_data", "no `data`, with status 200", "the answer is JSON, but `data` is missing"),
    ("null_data", "`data: null`, with status 200", "the answer is JSON, but `data` holds no list"),
    ("cut", "a body that is cut off", CUT),
    ("long_length", "fewer bytes than content-length says", CUT),
    ("short_length", "a content-length that is too small", "the answer is not JSON, so many bytes long"),
)

ANSWERS = [
    *(
        Fault(f"{words}, always", fails(f"{what}, in 2 attempts"), "kept as before", faults=broken(kind))
        for kind, words, what in _WRONG_ANSWERS
    ),
    Fault(
        "each of these nine and 503, once, for one page each",
        f"{STILL}; 10 retries",
        faults=each_once([*(kind for kind, *_ in _WRONG_ANSWERS), "status"]),
    ),
    Fault(
        "500 for one page, always",
        fails("the API answers 500 Internal Server Error, in 2 attempts"),
        "kept as before",
        faults=broken("status"),
    ),
    Fault(
        "500 for one page, always; `messaging sync --reconcile`",
        "exit code 1: FAILED messaging__messages: the API answers 500 Internal Server Error, in 2 attempts "
        f"({HALFWAY})",
        "kept as before",
        faults=broken("status"),
        command=("sync", "--reconcile"),
    ),
    Fault(
        "403 for this list",
        fails("the API refuses this to this client (403)"),
        "kept as before",
        faults=broken("status", status=403),
    ),
    Fault(
        "says nothing",
        fails("the API sent nothing for 0.2 s (time-out), in 2 attempts", FIRST),
        "kept as before",
        faults=broken("hang", position=None),
        client=HURRIED,
    ),
    Fault(
        "sends a byte now and then",
        fails("the answer of the API took longer than 2.4 s (time-out)", FIRST),
        "kept as before",
        faults=broken("slow", position=None),
        client=HURRIED,
        error_handler={"max_retries": 0},
    ),
    Fault("redirects within the host", STILL, faults=broken("redirect")),
    Fault(
        "redirects for ever",
        fails("more than 5 redirects"),
        "kept as before",
        faults=broken("redirect", location="loop"),
    ),
    Fault(
        "redirects to another host",
        fails(
            "the API redirects to another host, http://elsewhere.invalid:80, and credentials never follow "
            "there"
        ),
        "kept as before",
        faults=broken("redirect", location="http://elsewhere.invalid"),
    ),
    Fault(
        "a body larger than the limit",
        fails("the answer is larger than 1 MB", "/v1/messages, offset 38"),
        "kept as before",
        happens=put({"id": "long", "text": "x" * 1_100_000}),
        client=NARROW,
    ),
    Fault(
        "64 MB in 64 kB of gzip",
        fails("the answer is larger than 1 MB"),
        "kept as before",
        faults=broken("bomb", megabytes=64),
        client=NARROW,
    ),
    Fault(
        "its host has no address (DNS)",
        fails(
            "the host name messaging.invalid cannot be resolved (DNS), in 2 attempts",
            "http://messaging.invalid/v1/messages, offset 0",
        ),
        "kept as before",
        address=lambda _: "http://messaging.invalid",
        spares_others=False,
    ),
    Fault(
        "its port speaks no TLS",
        fails(
            "no secure connection to the API (TLS), in 2 attempts", "https://the API/v1/messages, offset 0"
        ),
        "kept as before",
        address=lambda address: address.replace("http:", "https:"),
        spares_others=False,
    ),
]

AREAS = {"Paging": PAGING, "Deletions": DELETIONS, "Records": RECORDS, "Answers": ANSWERS}
MATRIX = [(area, fault) for area, faults in AREAS.items() for fault in faults]


def cells() -> list[Sequence[str]]:
    """The table as it is promised."""
    return [(area, fault.does, fault.sees, fault.exact) for area, fault in MATRIX]


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """The table as the README has it."""
    return tabulate([[cell.replace("|", "\\|") for cell in row] for row in rows], HEADERS, tablefmt="github")


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """The table as a terminal shows it."""
    return tabulate(rows, HEADERS, maxcolwidths=[None, 44, 66, 20])


def in_readme(readme: str) -> str:
    """What stands between the markers of the README."""
    return readme.partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    """Writes the table into the README."""
    readme = README.read_text(encoding="utf-8")
    before, after = readme.split(BEGIN)[0], readme.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n\n{as_markdown(cells())}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
