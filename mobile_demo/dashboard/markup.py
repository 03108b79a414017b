"""The page's own HTML: key figures, tables, facts. Every text is escaped; the style is in `style.css`.

Streamlit's own table is drawn on a canvas, where a number cannot carry its interval in a second line.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mobile_demo.dashboard.views import Row, Tile

_SIGNS = {True: ("kept", "✓"), False: ("lost", "✗")}


def brand(name: str, tagline: str, language: str) -> str:
    """The head of the page, with a script that names the page's language: Streamlit's own page says `en`."""
    script = f'<script>document.documentElement.lang = "{escape(language)}"</script>'
    return f'<div class="lk-brand"><i></i>{escape(name)}</div><div class="lk-tagline">{escape(tagline)}</div>{script}'


def tiles(found: Sequence[Tile], whose: str) -> str:
    """A system's key figures side by side; two a line on a phone."""
    return f'<div class="lk-whose">{escape(whose)}</div><div class="lk-tiles">{"".join(map(_tile, found))}</div>'


def _tile(one: Tile) -> str:
    lines = "".join(f'<div class="lk-small">{escape(text)}</div>' for text in (one.against, one.interval) if text)
    name, figure = escape(one.name), escape(one.figure)
    return f'<div class="lk-tile"><div class="lk-name">{name}</div><div class="lk-figure">{figure}</div>{lines}</div>'


def table(heads: Sequence[str], rows: Sequence[Row], chosen: str = "", terms: Sequence[str] = ()) -> str:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        heads: the columns' heads.
        rows: of a view.
        chosen: the word that marks the chosen row.
        terms: what each head means, "" for none: shown when it is pointed at, tapped or reached by the keyboard.
    """
    numeric = rows[0].numeric if rows else ()
    explained = terms or [""] * len(heads)
    head = "".join(
        f'<th scope="col"{_side(right)}>{term(text, means)}</th>'
        for text, right, means in zip(heads, numeric, explained, strict=True)
    )
    body = "".join(_row(row, chosen) for row in rows)
    return (
        f'<div class="lk-scroll" tabindex="0"><table class="lk-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def term(text: str, means: str) -> str:
    """A word with its explanation at the foot of the window; the plain word where there is none."""
    if not means:
        return escape(text)
    return (
        f'<span class="lk-term" tabindex="0">{escape(text)}'
        f'<span class="lk-means" role="tooltip">{escape(means)}</span></span>'
    )


def _row(row: Row, chosen: str) -> str:
    cells = []
    marks = row.marks or (None,) * len(row.cells)
    for index, (text, under, right, kept) in enumerate(zip(row.cells, row.under, row.numeric, marks, strict=True)):
        tag = 'th scope="row"' if index == 0 else "td"
        mark = f'<span class="lk-mark">{escape(chosen)}</span>' if index == 0 and row.chosen and chosen else ""
        second = f'<div class="lk-small">{escape(under)}</div>' if under else ""
        sign = "" if kept is None else f'<span class="lk-{_SIGNS[kept][0]}" aria-hidden="true">{_SIGNS[kept][1]}</span>'
        cells.append(f"<{tag}{_side(right)}>{sign}{escape(text)}{mark}{second}</{tag.split()[0]}>")
    opened = '<tr class="lk-chosen">' if row.chosen else "<tr>"
    return f"{opened}{''.join(cells)}</tr>"


def said(markdown: str, good: bool | None) -> str:
    """The answer as a card: its sentence, `**key figures**` strong, the edge coloured by whether it is a yes."""
    parts = escape(markdown).split("**")
    text = "".join(f"<strong>{part}</strong>" if index % 2 else part for index, part in enumerate(parts))
    kind = {True: "yes", False: "no", None: "open"}[good]
    return f'<div class="lk-answer lk-is-{kind}"><p>{text}</p></div>'


def picture_card(source: str, line: str, under: str) -> str:
    """A small picture with what was said of it; the name alone where there is no picture."""
    image = f'<img src="{escape(source)}" alt="{escape(line)}">' if source else ""
    small = f'<div class="lk-small">{escape(under)}</div>'
    return f'<figure class="lk-wrong">{image}<figcaption>{escape(line)}{small}</figcaption></figure>'


def facts(found: Sequence[tuple[str, str]]) -> str:
    """Names and what they are, as a description list."""
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in found)
    return f'<dl class="lk-facts">{pairs}</dl>'


def _side(right: bool) -> str:
    return ' class="lk-right"' if right else ""
