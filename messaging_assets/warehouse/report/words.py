"""Numbers, times and names as people read them. Always in English, whatever the machine's language is."""

from datetime import date, datetime, timedelta
from unicodedata import east_asian_width

LONGEST_NAME = 28
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def shown(name: str, longest: int = LONGEST_NAME) -> str:
    """A name that somebody chose, fit to be shown: on one line, not too long, without invisible characters.

    Example:
        >>> shown("general\\n\\u202etxt.exe"), shown("a" * 40), shown(" ")
        ('general txt.exe', 'aaaaaaaaaaaaaaaaaaaaaaaaaaa…', '(no name)')
    """
    # What is not printable could end the picture's XML, or turn the text around it.
    clean = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    # Of a very long name the width of its beginning decides.
    clean = clean[: longest + 1]
    if _width(clean) > longest:
        while _width(clean) > longest - 1:
            clean = clean[:-1].rstrip()
        clean = f"{clean}…"
    return clean or "(no name)"


# Twenty-eight of them leave no room for a chart beside them, where the only font is DejaVu Sans.
_WIDE = frozenset("MWmw@%—")


def _width(text: str) -> int:
    """How wide a text is, in letters: those of East Asia, most pictures and our widest count twice."""
    return sum(2 if letter in _WIDE or east_asian_width(letter) in "WF" else 1 for letter in text)


def sentence(text: str) -> str:
    """A text as the beginning of a sentence.

    Example:
        >>> sentence("as on Mon 23 Nov")
        'As on Mon 23 Nov'
    """
    return text[:1].upper() + text[1:]


def number(value: float) -> str:
    """A whole number.

    Example:
        >>> number(1234567)
        '1,234,567'
    """
    return f"{value:,.0f}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number of things.

    Example:
        >>> counted(1, "message"), counted(1200, "message"), counted(2, "person", "people")
        ('1 message', '1,200 messages', '2 people')
    """
    return f"{number(count)} {one if count == 1 else many or f'{one}s'}"


def change(now: float, before: float) -> str:
    """How much more or less something is than before.

    Example:
        >>> change(108, 100), change(50, 100), change(100, 100), change(3, 0), change(0, 0)
        ('+8 %', '-50 %', '±0 %', 'new', '±0 %')
    """
    if not before:
        return "new" if now else "±0 %"
    percent = round((now / before - 1) * 100)
    if not percent:
        return "±0 %"
    return f"{percent:+,} %"


def compared(now: float, before: float) -> str:
    """The same as `change`, within a sentence.

    Example:
        >>> compared(108, 100), compared(50, 100)
        ('8 % more than in the week before', '50 % less than in the week before')
        >>> compared(3, 0), compared(3, 3)
        ('after none in the week before', 'as many as in the week before')
    """
    if not before:
        return "after none in the week before" if now else "as in the week before"
    percent = round((now / before - 1) * 100)
    if not percent:
        return "as many as in the week before"
    return f"{number(abs(percent))} % {'more' if percent > 0 else 'less'} than in the week before"


def day(value: date) -> str:
    """A day, short.

    Example:
        >>> day(date(2026, 3, 29))
        'Sun 29 Mar'
    """
    return f"{weekday(value.isoweekday())[:3]} {value.day} {_MONTHS[value.month - 1][:3]}"


def day_in_full(value: date) -> str:
    """A day in full.

    Example:
        >>> day_in_full(date(2026, 3, 29))
        'Sunday 29 March 2026'
    """
    return f"{weekday(value.isoweekday())} {value.day} {_MONTHS[value.month - 1]} {value.year}"


def weekday(number_of_day: int) -> str:
    """The name of a day of the week, 1 for Monday.

    Example:
        >>> weekday(7)
        'Sunday'
    """
    return _WEEKDAYS[number_of_day - 1]


def duration(seconds: float) -> str:
    """How long something takes.

    Example:
        >>> duration(45), duration(600), duration(5400), duration(86_400), duration(200_000)
        ('45 s', '10 min', '1.5 h', '1 day', '2.3 days')
    """
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            digits = 1 if seconds < 10 * size and unit != "min" else 0
            value = f"{seconds / size:.{digits}f}".removesuffix(".0")
            return f"{value} {'day' if value == '1' and unit == 'days' else unit}"
    return f"{seconds:.0f} s"


def age(moment: datetime, now: datetime) -> str:
    """How long ago something was.

    Example:
        >>> now = datetime(2026, 3, 29)
        >>> age(now, now), age(datetime(2026, 3, 28, 1), now), age(datetime(2026, 3, 1), now)
        ('just now', '23 hours ago', '28 days ago')
    """
    minutes = int((now - moment) / timedelta(minutes=1))
    if minutes < 1:
        return "just now"
    for unit, size in (("day", 1440), ("hour", 60)):
        if minutes >= 2 * size:
            return f"{counted(minutes // size, unit)} ago"
    return f"{counted(minutes, 'minute')} ago"
