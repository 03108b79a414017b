"""Charts of measurements, as Altair specifications made from the views. Colours tell engines, shapes precisions.

Blue, orange and grey stay apart under every common colour blindness and have a contrast of at least 3 to 1
on the light and on the dark background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from mobile_demo.dashboard.compare import AXES
from mobile_demo.words import Words

ENGINE_COLOURS = {"executorch": "#2f7fc1", "onnxruntime": "#d9730d", "torch": "#7d8590"}
OTHER_COLOUR = "#a8559b"
STAGE_COLOURS = ("#9aa5b1", "#5d6875", "#c9a227", "#d9730d", "#2a9187", "#7b5ea7")  # in the order of `runs.STAGES`
PERCENTILE_COLOURS = ("#2a9187", "#b8860b", "#b3423a")
PRECISION_SHAPES = {"fp32": "circle", "int8": "diamond", "fp16": "triangle-up"}
OTHER_SHAPE = "square"
INK = {False: "#4a5463", True: "#b3bcc7"}  # of axes and legends, by dark theme: Streamlit's own is too pale
PAPER = {False: "#ffffff", True: "#11161d"}  # the backgrounds, as `.streamlit/config.toml` has them
WIDE_RANGE = 20  # the slowest is so many times the fastest: only a logarithmic axis still shows both
PADDING = {"left": 0, "right": 4, "top": 6, "bottom": 0}
PLOT, LINE = 330, 16  # pixels of the large chart, and of half a line of its legend, which takes two columns on a phone
LETTER, SYMBOL = 7, 34  # pixels of a legend's letter, at most, and of its symbol with the room around it


def trade(
    points: Sequence[dict[str, Any]], words: Words, policy: bool, dark: bool = False, axis: str = "latency"
) -> alt.LayerChart:
    """Accuracy against a cost, a point a system with its 95 % intervals, and the line of those no other beats.

    Args:
        points: of `compare.trade_points`.
        words: the page's language; the axes follow it too.
        policy: whether the accuracy is a mean return, not a share.
        dark: the dark theme.
        axis: a key of `compare.AXES`: the cost.
    """
    frame = pd.DataFrame(points)
    highest = frame["cost_high"].max()
    cost = _time(highest, words) if axis == "latency" else _size(highest, words)
    name = words(AXES[axis][0])
    across = alt.X(
        "cost:Q",
        title=name,
        scale=_cost_scale(frame["cost_low"].min(), highest),
        axis=alt.Axis(labelExpr=cost, grid=False, tickCount=6),
    )
    up = alt.Y(
        "accuracy:Q",
        title=words("axis_return" if policy else "axis_accuracy"),
        scale=_accuracy_scale(frame["accuracy_low"].min(), frame["accuracy_high"].max(), policy),
        axis=alt.Axis(labelExpr=plain(words) if policy else percent(words), tickCount=5),
    )
    systems = list(frame["system"])
    colours = [ENGINE_COLOURS.get(engine, OTHER_COLOUR) for engine in frame["engine"]]
    shapes = [PRECISION_SHAPES.get(precision, OTHER_SHAPE) for precision in frame["precision"]]
    below = legend(systems, symbolSize=110, symbolOpacity=1)
    colour = alt.Color("system:N", scale=alt.Scale(domain=systems, range=colours), legend=below)
    shape = alt.Shape("system:N", scale=alt.Scale(domain=systems, range=shapes), legend=below)
    tooltip = [
        alt.Tooltip("system:N", title=words("system")),
        alt.Tooltip("said_cost:N", title=name),
        alt.Tooltip("said_accuracy:N", title=words("axis_return" if policy else "axis_accuracy")),
    ]
    base = alt.Chart(frame)
    front = (
        alt.Chart(frame[frame["front"]])
        .mark_line(color=INK[dark], strokeDash=[4, 4], strokeWidth=1.2, interpolate="step-after")
        .encode(x=across, y=up)
    )
    upright = base.mark_rule(strokeWidth=1.5, opacity=0.55).encode(
        x=across, y=up.copy(), y2="accuracy_high:Q", color=colour
    )
    upright.encoding.y.shorthand = "accuracy_low:Q"
    level = base.mark_rule(strokeWidth=1.5, opacity=0.55).encode(x=across.copy(), x2="cost_high:Q", y=up, color=colour)
    level.encoding.x.shorthand = "cost_low:Q"
    marks = base.mark_point(filled=True, size=150, opacity=1).encode(
        x=across, y=up, color=colour, shape=shape, tooltip=tooltip
    )
    return inked((front + upright + level + marks).properties(height=PLOT + LINE * len(systems), padding=PADDING), dark)


def percentiles(points: Sequence[dict[str, Any]], words: Words, dark: bool = False) -> alt.LayerChart:
    """p50, p90 and p99 of each system as dots on a line: the longer the line, the less steady.

    Args:
        points: of `compare.percentile_points`.
        words: the page's language.
        dark: the dark theme.
    """
    frame = pd.DataFrame(points)
    systems, names = list(dict.fromkeys(frame["system"])), list(dict.fromkeys(frame["percentile"]))
    y = named(systems)
    x = alt.X(
        "ms:Q",
        title=words("axis_percentiles"),
        scale=_cost_scale(frame["ms"].min(), frame["ms"].max()),
        axis=alt.Axis(labelExpr=_time(frame["ms"].max(), words), tickCount=6),
    )
    between = (
        alt.Chart(frame).mark_line(color=INK[dark], strokeWidth=2, opacity=0.5).encode(y=y, x=x, detail="system:N")
    )
    dots = (
        alt.Chart(frame)
        .mark_point(filled=True, size=110, opacity=1)
        .encode(
            y=y,
            x=x,
            color=alt.Color(
                "percentile:N", scale=alt.Scale(domain=names, range=list(PERCENTILE_COLOURS)), legend=legend(names)
            ),
            tooltip=[
                alt.Tooltip("system:N", title=words("system")),
                alt.Tooltip("percentile:N", title=words("percentile")),
                alt.Tooltip("said_time:N", title=words("axis_percentiles")),
            ],
        )
    )
    return inked((between + dots).properties(height=34 * len(systems) + 110, padding=PADDING), dark)


def stages(bars: Sequence[dict[str, Any]], words: Words, dark: bool = False) -> alt.Chart:
    """The medians of the stages, a stacked bar a system in the order given.

    Args:
        bars: of `compare.stage_bars`.
        words: the page's language.
        dark: the dark theme.
    """
    frame = pd.DataFrame(bars)
    systems = list(dict.fromkeys(frame["system"]))
    ordered = frame.sort_values("order")
    names, orders = list(dict.fromkeys(ordered["stage"])), list(dict.fromkeys(ordered["order"]))
    time = _time(frame.groupby("system")["ms"].sum().max(), words)
    drawn = (
        alt.Chart(frame)
        .mark_bar(height={"band": 0.62})
        .encode(
            y=named(systems),
            x=alt.X(
                "sum(ms):Q",
                title=words("axis_time"),
                axis=alt.Axis(labelExpr=time, tickCount=6),
            ),
            color=alt.Color(
                "stage:N",
                scale=alt.Scale(domain=names, range=[STAGE_COLOURS[order] for order in orders]),
                legend=legend(names, symbolType="square"),
            ),
            order=alt.Order("order:Q"),
            tooltip=[
                alt.Tooltip("system:N", title=words("system")),
                alt.Tooltip("stage:N", title=words("stage")),
                alt.Tooltip("said_time:N", title=words("axis_time")),
            ],
        )
        .properties(height=38 * len(systems) + 110, padding=PADDING)
    )
    return inked(drawn, dark)


def named(systems: Sequence[str]) -> alt.Y:
    """An axis of systems; where one ran stands in a second line below its name, so that a phone's chart keeps room."""
    lines = "split(replace(datum.label, ' · ', '\\n'), '\\n')"
    up = -6 if any(" · " in one for one in systems) else 0  # two lines in the middle of their band
    axis = alt.Axis(ticks=False, domain=False, labelPadding=8, labelLimit=200, labelOffset=up, labelExpr=lines)
    return alt.Y("system:N", sort=list(systems), title=None, axis=axis)


def legend(names: Sequence[str], **more: Any) -> alt.Legend:
    """A legend under the chart, in as many columns as its longest name leaves room for, two at least."""
    entry = LETTER * max(map(len, names), default=1) + SYMBOL
    count = f"max({min(2, len(names))}, min({len(names)}, floor(width / {entry})))"
    room = f"width / {count} - {SYMBOL}"
    columns, limit = alt.ExprRef(count), alt.ExprRef(room)
    return alt.Legend(title=None, orient="bottom", columns=columns, offset=6, labelLimit=limit, **more)


def inked(chart: Any, dark: bool) -> Any:
    """The chart with axes and legends that can be read on the theme's background."""
    ink = INK[dark]
    return chart.configure_axis(labelColor=ink, titleColor=ink).configure_legend(labelColor=ink, titleColor=ink)


def _cost_scale(low: float, high: float) -> alt.Scale:
    if low > 0 and high / low > WIDE_RANGE:
        return alt.Scale(type="log", domain=[low / 1.3, high * 1.3], nice=False)
    return alt.Scale(domain=[0, high * 1.06], nice=False)


def _accuracy_scale(low: float, high: float, policy: bool) -> alt.Scale:
    if policy:
        room = max((high - low) * 0.3, abs(high) * 0.02)
        return alt.Scale(domain=[low - room, high + room], zero=False, nice=False)
    return alt.Scale(domain=[max(0.0, low - 0.02), min(1.0, high + 0.02)], zero=False, nice=False)


def _time(highest_ms: float, words: Words) -> str:
    """A Vega expression that labels an axis of milliseconds; in microseconds where all of it is below one."""
    scale, unit = (1000, "µs") if highest_ms < 1 else (1, "ms")
    return f"{plain(words, scale)} + ' {unit}'"


def _size(highest_mb: float, words: Words) -> str:
    """A Vega expression that labels an axis of megabytes; in kilobytes where all of it is below one."""
    scale, unit = (1000, "kB") if highest_mb < 1 else (1, "MB")
    return f"{plain(words, scale)} + ' {unit}'"


def percent(words: Words) -> str:
    """A Vega expression that labels an axis of shares."""
    number = "format(datum.value * 100, '.0f')"
    return f"'%' + {number}" if words.language == "tr" else f"{number} + ' %'"


def plain(words: Words, scale: int = 1) -> str:
    """A Vega expression that labels an axis of numbers."""
    number = f"format(datum.value * {scale}, '~r')"
    return f"replace({number}, '.', ',')" if words.language == "tr" else number
