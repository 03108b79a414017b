"""Charts of a model: its training, its errors, its sensitive layers, its returns, its field accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from mobile_demo.dashboard.charts import INK, PADDING, PAPER, inked, legend, named, percent, plain
from mobile_demo.dashboard.training import Curve, figure
from mobile_demo.words import Words

LINE = "#2f7fc1"
RIGHT, WRONG = "#2a9187", "#d9730d"
HEIGHT = 190


def curve(found: Curve, words: Words, dark: bool = False) -> alt.Chart:
    """One quantity over the training; the axes follow the language."""
    frame = pd.DataFrame(found.points, columns=["over", "value"])
    share = found.key.endswith("accuracy") and frame["value"].between(0, 1).all()
    drawn = (
        alt.Chart(frame, title=alt.TitleParams(figure(found.key, words), anchor="start", fontSize=13, color=INK[dark]))
        .mark_line(color=LINE, strokeWidth=2, point=alt.OverlayMarkDef(size=18) if len(frame) < 60 else False)
        .encode(
            x=alt.X("over:Q", title=words(found.over), axis=alt.Axis(labelExpr=plain(words), grid=False, tickCount=5)),
            y=alt.Y(
                "value:Q",
                title=None,
                scale=alt.Scale(zero=False),
                axis=alt.Axis(labelExpr=percent(words) if share else plain(words), tickCount=4),
            ),
        )
        .properties(height=HEIGHT, padding=PADDING)
    )
    return inked(drawn, dark)


def confusion(cells: Sequence[dict[str, Any]], words: Words, dark: bool = False) -> alt.LayerChart:
    """The confusion matrix: the true label to the left, the answer below; numbers in the cells where there is room."""
    frame = pd.DataFrame(cells)
    names = list(dict.fromkeys(frame["truth"]))
    frame["colour"] = [shade(row.share, row.truth == row.answer, dark) for row in frame.itertuples()]
    frame["ink"] = [ink(colour) for colour in frame["colour"]]
    x = alt.X("answer:N", sort=names, title=words("answered"), axis=alt.Axis(labelAngle=0 if len(names) < 6 else -45))
    y = alt.Y("truth:N", sort=names, title=words("truth"))
    size = 62 if len(names) <= 6 else 36
    boxes = (
        alt.Chart(frame)
        .mark_rect(cornerRadius=4, stroke=INK[dark], strokeOpacity=0.25)
        .encode(
            x=x,
            y=y,
            color=alt.Color("colour:N", scale=None),
            tooltip=[alt.Tooltip("said:N", title=words("answered"))],
        )
    )
    counts = (
        alt.Chart(frame[frame["count"] > 0])
        .mark_text(fontSize=14 if len(names) <= 12 else 9, fontWeight=600)
        .encode(x=x, y=y, text="count:Q", color=alt.Color("ink:N", scale=None))
    )
    return inked((boxes + counts).properties(height=size * len(names) + 70, padding=PADDING), dark)


def shade(share: float, right: bool, dark: bool) -> str:
    """A cell's colour: from the paper towards green (right) or orange (wrong), the further the larger its share."""
    paper, full = PAPER[dark], RIGHT if right else WRONG
    depth = 0.0 if share == 0 else 0.12 + 0.88 * share
    mixed = (round(a + (b - a) * depth) for a, b in zip(_rgb(paper), _rgb(full), strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def ink(colour: str) -> str:
    """Black or white, whichever has the higher contrast on a colour (WCAG 2.2's relative luminance)."""
    linear = [c / 12.92 if (c := v / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for v in _rgb(colour)]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def sensitivity(bars: Sequence[dict[str, Any]], words: Words, dark: bool = False) -> alt.Chart:
    """The error that each layer brings, the largest first."""
    frame = pd.DataFrame(bars)
    drawn = (
        alt.Chart(frame)
        .mark_bar(height={"band": 0.6}, color=WRONG)
        .encode(
            y=alt.Y("layer:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=200)),
            x=alt.X("error:Q", title=words("error"), axis=alt.Axis(labelExpr=plain(words), tickCount=5)),
        )
        .properties(height=24 * len(frame) + 60, padding=PADDING)
    )
    return inked(drawn, dark)


def returns(values: Sequence[float], words: Words, dark: bool = False) -> alt.Chart:
    """The return of each episode."""
    frame = pd.DataFrame({"episode": range(1, len(values) + 1), "value": values})
    axis = alt.Axis(labelExpr=plain(words), grid=False, tickCount=5)
    drawn = (
        alt.Chart(frame)
        .mark_bar(color=LINE)
        .encode(
            x=alt.X("episode:Q", title=words("episode_number"), axis=axis),
            y=alt.Y("value:Q", title=words("episode_return"), axis=alt.Axis(labelExpr=plain(words), tickCount=4)),
        )
        .properties(height=HEIGHT + 40, padding=PADDING)
    )
    return inked(drawn, dark)


def field(points: Sequence[dict[str, Any]], words: Words, dark: bool = False) -> alt.LayerChart:
    """Field accuracy beside test accuracy, each with its interval."""
    frame = pd.DataFrame(points)
    systems, kinds = list(dict.fromkeys(frame["system"])), list(dict.fromkeys(frame["what"]))
    y = named(systems)
    beside = alt.YOffset("what:N", sort=kinds)
    colour = alt.Color("what:N", scale=alt.Scale(domain=kinds, range=[WRONG, LINE]), legend=legend(kinds))
    axis = alt.Axis(labelExpr=percent(words), tickCount=5)
    base = alt.Chart(frame).encode(y=y, yOffset=beside, color=colour)
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("accuracy_low:Q", title=words("accuracy"), scale=alt.Scale(domain=[0, 1]), axis=axis),
        x2="accuracy_high:Q",
    )
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(
        x=alt.X("accuracy:Q", scale=alt.Scale(domain=[0, 1])),
        tooltip=[
            alt.Tooltip("system:N", title=words("system")),
            alt.Tooltip("said_accuracy:N", title=words("accuracy")),
        ],
    )
    return inked((bars + dots).properties(height=52 * len(systems) + 90, padding=PADDING), dark)
