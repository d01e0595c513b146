"""Reads a page as a browser does, as far as the tests need it: sections, tables, links, attributes."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "hr"}


@dataclass
class Part:
    """An element with an id: its text, and the rows of the tables in it."""

    text: str = ""
    rows: list[list[str]] = field(default_factory=list)


class Page(HTMLParser):
    """A page that was read.

    Attributes:
        parts: The elements with an id.
        text: All text that is shown.
        tags: The names of all elements.
        attributes: All attributes: element, name, value.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.parts: dict[str, Part] = {}
        self.text = ""
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend((tag, name, value or "") for name, value in attrs)
        identity = dict(attrs).get("id")
        # Within a drawing ids are the drawing's own.
        part = identity if identity and "svg" not in (name for name, _ in self._open) else None
        if part:
            assert part not in self.parts, f"two elements are called {part}"
            self.parts[part] = Part()
        for found in self._within():
            if tag == "tr":
                found.rows.append([])
            if tag in ("td", "th"):
                found.rows[-1].append("")
        if tag not in VOID:
            self._open.append((tag, part))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend((tag, name, value or "") for name, value in attrs)

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag, f"{opened} is closed by {tag}"

    def handle_data(self, data: str) -> None:
        names = [name for name, _ in self._open]
        if "style" in names:
            return
        self.text += data
        for found in self._within():
            found.text += data
            if "td" in names or "th" in names:
                found.rows[-1][-1] += data

    def _within(self) -> list[Part]:
        return [self.parts[part] for _, part in self._open if part]
