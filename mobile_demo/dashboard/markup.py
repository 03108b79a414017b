"""The page's own HTML: key figures, tables, facts. Every text is escaped; the style is in `style.css`.

Streamlit's own table is drawn on a canvas, where a number cannot carry its interval in a second line.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mobile_demo.dashboard.views import Row, Tile


def brand(name: str, tagline: str, language: str) -> str:
    """The head of the page, with a script that names the page's language: Streamlit's own page says `en`."""
    script = f'<script>document.documentElement.lang = "{escape(language)}"</script>'
    return f'<div class="lk-brand">{escape(name)}</div><div class="lk-tagline">{escape(tagline)}</div>{script}'


def tiles(found: Sequence[Tile], whose: str) -> str:
    """A system's key figures side by side; two a line on a phone."""
    return f'<div class="lk-whose">{escape(whose)}</div><div class="lk-tiles">{"".join(map(_tile, found))}</div>'


def _tile(one: Tile) -> str:
    lines = "".join(f'<div class="lk-small">{escape(text)}</div>' for text in (one.against, one.interval) if text)
    name, figure = escape(one.name), escape(one.figure)
    return f'<div class="lk-tile"><div class="lk-name">{name}</div><div class="lk-figure">{figure}</div>{lines}</div>'


def table(heads: Sequence[str], rows: Sequence[Row], chosen: str) -> str:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        heads: the columns' heads.
        rows: of `views.rows`.
        chosen: the word that marks the chosen row.
    """
    numeric = rows[0].numeric if rows else ()
    head = "".join(
        f'<th scope="col"{_side(right)}>{escape(text)}</th>' for text, right in zip(heads, numeric, strict=True)
    )
    body = "".join(_row(row, chosen) for row in rows)
    return (
        f'<div class="lk-scroll" tabindex="0"><table class="lk-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(row: Row, chosen: str) -> str:
    cells = []
    for index, (text, under, right) in enumerate(zip(row.cells, row.under, row.numeric, strict=True)):
        tag = 'th scope="row"' if index == 0 else "td"
        mark = f'<span class="lk-mark">{escape(chosen)}</span>' if index == 0 and row.chosen else ""
        second = f'<div class="lk-small">{escape(under)}</div>' if under else ""
        cells.append(f"<{tag}{_side(right)}>{escape(text)}{mark}{second}</{tag.split()[0]}>")
    opened = '<tr class="lk-chosen">' if row.chosen else "<tr>"
    return f"{opened}{''.join(cells)}</tr>"


def facts(found: Sequence[tuple[str, str]]) -> str:
    """Names and what they are, as a description list."""
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in found)
    return f'<dl class="lk-facts">{pairs}</dl>'


def _side(right: bool) -> str:
    return ' class="lk-right"' if right else ""
