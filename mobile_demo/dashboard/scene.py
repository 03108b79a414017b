"""What every page is given, and the few things that all of them draw: tables, charts, what to take away.

`app.py` makes the scene once a run and leaves it in the session, where the pages, files of their own, find it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from mobile_demo.catalogue.terms import TERMS
from mobile_demo.dashboard import markup
from mobile_demo.dashboard.charts import INK, PAPER
from mobile_demo.dashboard.compare import as_csv
from mobile_demo.dashboard.store import Records
from mobile_demo.dashboard.views import Row
from mobile_demo.words import Words

KEPT = "scene"


@dataclass(frozen=True)
class Scene:
    """The language, the records, what is chosen for all pages, and the folders."""

    words: Words
    records: Records
    bundle: str
    device: str
    here: str
    results: Path
    bundles: Path
    runs: Path
    dark: bool

    @property
    def folder(self) -> Path:
        """Where the chosen bundle lies: its folder, or the `.zip` beside where the folder would be."""
        zipped = self.bundles / f"{self.bundle}.zip"
        return zipped if zipped.is_file() and not (self.bundles / self.bundle).is_dir() else self.bundles / self.bundle


def scene() -> Scene:
    """The scene that `app.py` left for the page."""
    found: Scene = st.session_state[KEPT]
    return found


def section(words: Words, key: str) -> None:
    """A question as the head of a section."""
    st.header(words(key), anchor=False)


def table(keys: Sequence[str], heads: Sequence[str], rows: Sequence[Row], words: Words, chosen: str = "") -> None:
    """A table whose heads explain themselves.

    Args:
        keys: of the heads, in the glossary where they are in it.
        heads: their texts.
        rows: of a view.
        words: the page's language.
        chosen: the word that marks the chosen row.
    """
    terms = [words(TERMS[key].key) if key in TERMS else "" for key in keys]
    st.html(markup.table(heads, rows, chosen, terms))


def chart(drawn: Any, alt: str, name: str, words: Words) -> None:
    """A chart, and its picture to take away, which is made only when it is asked for."""
    st.altair_chart(drawn, alt=alt)
    with st.container(key=f"take-{name}"):
        st.download_button(
            words("take_png"),
            _png(drawn.to_json()),
            f"{name}.png",
            "image/png",
            key=f"png-{name}",
            type="tertiary",
            icon=":material/download:",
            on_click="ignore",
        )


def _png(spec: str) -> Callable[[], bytes]:
    def made() -> bytes:
        import vl_convert

        whole = json.loads(spec)
        dark = whole["config"]["axis"]["labelColor"] == INK[True]
        whole |= {"width": 860, "background": PAPER[dark]}
        return bytes(vl_convert.vegalite_to_png(json.dumps(whole), scale=2))

    return made


def take(lines: Sequence[dict[str, Any]], name: str, words: Words) -> None:
    """A table as CSV and as JSON."""
    with st.container(horizontal=True, key=f"take-{name}"):
        for kind, made in (("csv", as_csv), ("json", _json)):
            st.download_button(
                words(f"take_{kind}"),
                _made(made, lines),
                f"{name}.{kind}",
                "text/csv" if kind == "csv" else "application/json",
                key=f"{kind}-{name}",
                type="tertiary",
                icon=":material/download:",
                on_click="ignore",
            )


def _made(write: Callable[[Sequence[dict[str, Any]]], str], lines: Sequence[dict[str, Any]]) -> Callable[[], str]:
    return lambda: write(lines)


def _json(lines: Sequence[dict[str, Any]]) -> str:
    return json.dumps(list(lines), ensure_ascii=False, indent=1) + "\n"


def repeat(words: Words, *commands: str, said: str = "repeat") -> None:
    """The commands that make a figure."""
    if said:
        st.caption(words(said))
    st.code("\n".join(commands), language=None, wrap_lines=True)
