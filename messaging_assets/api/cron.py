"""Whether a cron expression is one that the scheduler takes.

The common language only: five fields with `*`, numbers, names, ranges, lists and steps, or a name such
as `@daily`. What this accepts, Dagster accepts; Dagster itself is not imported here.
"""

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
NICKNAMES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
SHORT_MONTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


class _Field:
    """One of the five fields: its name, its bounds and the names that stand for its numbers."""

    def __init__(self, name: str, low: int, high: int, names: tuple[str, ...] = ()) -> None:
        self.name = name
        self.low = low
        self.high = high
        self.numbers = {word: low + position for position, word in enumerate(names)}

    def number(self, text: str) -> int | None:
        """The number that a word or some digits stand for, None for anything else."""
        if text.isascii() and text.isdigit():
            value = int(text) if len(text) <= 2 else -1
            return value if self.low <= value <= self.high else None
        return self.numbers.get(text.lower())

    def accepts(self, text: str) -> bool:
        return all(self._accepts_part(part) for part in text.split(","))

    def _accepts_part(self, part: str) -> bool:
        span, slash, step = part.partition("/")
        if slash and not (step.isascii() and step.isdigit() and 1 <= int(step[:4]) <= self.high):
            return False
        if span == "*":
            return True
        start, dash, end = span.partition("-")
        first, last = self.number(start), self.number(end) if dash else None
        if first is None or (dash and last is None):
            return False
        # A step needs something to step through: `5/10` means different things to different readers.
        return first < last if last is not None else not slash


FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, MONTHS),
    _Field("day of week", 0, 7, WEEKDAYS),
)


def mistake_in_cron(expression: str) -> str | None:
    """What is wrong with a cron expression.

    Args:
        expression: The expression, such as `*/15 * * * *`.

    Returns:
        None if it is right, else a message that names the field.
    """
    if expression in NICKNAMES:
        return None
    parts = expression.split()
    if len(parts) != len(FIELDS):
        return f"a cron expression has five fields, this one has {len(parts)}{_EXAMPLE}"
    for field, part in zip(FIELDS, parts, strict=True):
        if not field.accepts(part):
            return f"`{part}` is not a {field.name} ({field.low}-{field.high}){_EXAMPLE}"
    return _never(parts)


_EXAMPLE = (
    ": minute, hour, day of month, month, day of week, such as `*/15 * * * *` (every quarter of an hour),"
    " `30 3 * * *` (daily at 3:30), `0 9 * * mon-fri`, or `@hourly`, `@daily`, `@weekly`, `@monthly`"
)


def _never(parts: list[str]) -> str | None:
    """A message if the expression names a day that never comes."""
    day, month = FIELDS[2].number(parts[2]), FIELDS[3].number(parts[3])
    if month in SHORT_MONTHS and day is not None and day > SHORT_MONTHS[month]:
        return f"day {day} of month {month} never comes"
    return None
