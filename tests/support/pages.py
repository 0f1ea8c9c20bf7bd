"""Pages of the dashboard as tests read them: texts by `data-testid`, links, tags and attributes."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from support.site import Site


class Page(HTMLParser):
    """The parts of a page that tests look at."""

    def __init__(self, html: str) -> None:
        """Read a page."""
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.links: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.attributes |= found.keys()
        self.links += [value for name in ("href", "src") if (value := found.get(name))]
        name = found.get("data-testid")
        if name:
            self.texts.setdefault(name, []).append("")
        if tag not in ("meta", "link", "br"):
            self._open.append((tag, name))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for _, name in self._open:
            if name:
                self.texts[name][-1] += f" {data}"

    def text(self, name: str) -> list[str]:
        """Return the texts of all elements of that `data-testid`, with single spaces."""
        return [" ".join(text.split()) for text in self.texts.get(name, [])]


def page(site: Site, path: str = "/dashboard", status: int = 200, **options: Any) -> Page:
    """Return the page at an address, which must answer with `status`."""
    answer = site.client.get(path, **options)
    assert answer.status_code == status, answer.text
    return Page(answer.text)
