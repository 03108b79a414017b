"""The two charts, as Altair specifications made from the views. Colours tell engines, shapes precisions.

Blue, orange and grey stay apart under every common colour blindness and have a contrast of at least 3 to 1
on the light and on the dark background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from mobile_demo.words import Words

ENGINE_COLOURS = {"executorch": "#2f7fc1", "onnxruntime": "#d9730d", "torch": "#7d8590"}
OTHER_COLOUR = "#a8559b"
STAGE_COLOURS = ("#8c98a6", "#5d6875", "#2a9187", "#b8860b")  # decode, preprocess, inference, postprocess
PRECISION_SHAPES = {"fp32": "circle", "int8": "diamond"}
OTHER_SHAPE = "square"
INK = {False: "#4a5463", True: "#b3bcc7"}  # of axes and legends, by dark theme: Streamlit's own is too pale
WIDE_RANGE = 20  # the slowest is so many times the fastest: only a logarithmic axis still shows both
PADDING = {"left": 0, "right": 4, "top": 6, "bottom": 0}
NARROW = 430  # pixels of plot below which the legend takes two columns


def trade(points: Sequence[dict[str, Any]], words: Words, policy: bool, dark: bool = False) -> alt.LayerChart:
    """Accuracy against latency, a point a system with both of its 95 % intervals.

    Args:
        points: of `views.trade_points`.
        words: the page's language; the axes follow it too.
        policy: whether the accuracy is a mean return, not a share.
        dark: the dark theme.
    """
    frame = pd.DataFrame(points)
    highest = frame["ms_high"].max()
    time = _time(highest, words)
    across = alt.X(
        "ms:Q",
        title=words("axis_latency"),
        scale=_latency_scale(frame["ms_low"].min(), highest),
        axis=alt.Axis(labelExpr=time, grid=False, tickCount=6),
    )
    up = alt.Y(
        "accuracy:Q",
        title=words("axis_return" if policy else "axis_accuracy"),
        scale=_accuracy_scale(frame["accuracy_low"].min(), frame["accuracy_high"].max(), policy),
        axis=alt.Axis(labelExpr=_plain(words) if policy else _percent(words), tickCount=5),
    )
    systems = list(frame["system"])
    colours = [ENGINE_COLOURS.get(engine, OTHER_COLOUR) for engine in frame["engine"]]
    shapes = [PRECISION_SHAPES.get(precision, OTHER_SHAPE) for precision in frame["precision"]]
    legend = alt.Legend(
        title=None,
        orient="bottom",
        columns=alt.ExprRef(f"width < {NARROW} ? 2 : {min(6, len(systems))}"),
        symbolSize=110,
        symbolOpacity=1,
        offset=6,
    )
    colour = alt.Color("system:N", scale=alt.Scale(domain=systems, range=colours), legend=legend)
    shape = alt.Shape("system:N", scale=alt.Scale(domain=systems, range=shapes), legend=legend)
    tooltip = [
        alt.Tooltip("system:N", title=words("system")),
        alt.Tooltip("said_time:N", title=words("axis_latency")),
        alt.Tooltip("said_accuracy:N", title=words("axis_return" if policy else "axis_accuracy")),
    ]
    base = alt.Chart(frame)
    upright = base.mark_rule(strokeWidth=1.5, opacity=0.55).encode(
        x=across, y=up.copy(), y2="accuracy_high:Q", color=colour
    )
    upright.encoding.y.shorthand = "accuracy_low:Q"
    level = base.mark_rule(strokeWidth=1.5, opacity=0.55).encode(x=across.copy(), x2="ms_high:Q", y=up, color=colour)
    level.encoding.x.shorthand = "ms_low:Q"
    marks = base.mark_point(filled=True, size=150, opacity=1).encode(
        x=across, y=up, color=colour, shape=shape, tooltip=tooltip
    )
    return _inked((upright + level + marks).properties(height=400, padding=PADDING), dark)


def stages(bars: Sequence[dict[str, Any]], words: Words, dark: bool = False) -> alt.Chart:
    """The medians of the stages, a stacked bar a system in the order given.

    Args:
        bars: of `views.stage_bars`.
        words: the page's language.
        dark: the dark theme.
    """
    frame = pd.DataFrame(bars)
    systems = list(dict.fromkeys(frame["system"]))
    names = list(dict.fromkeys(frame.sort_values("order")["stage"]))
    time = _time(frame.groupby("system")["ms"].sum().max(), words)
    drawn = (
        alt.Chart(frame)
        .mark_bar(height={"band": 0.62})
        .encode(
            y=alt.Y("system:N", sort=systems, title=None, axis=alt.Axis(ticks=False, domain=False, labelPadding=8)),
            x=alt.X(
                "sum(ms):Q",
                title=words("axis_time"),
                axis=alt.Axis(labelExpr=time, tickCount=6),
            ),
            color=alt.Color(
                "stage:N",
                scale=alt.Scale(domain=names, range=list(STAGE_COLOURS)),
                legend=alt.Legend(
                    title=None,
                    orient="bottom",
                    columns=alt.ExprRef(f"width < {NARROW} ? 2 : 4"),
                    symbolType="square",
                    offset=6,
                ),
            ),
            order=alt.Order("order:Q"),
            tooltip=[
                alt.Tooltip("system:N", title=words("system")),
                alt.Tooltip("stage:N", title=words("stage")),
                alt.Tooltip("said_time:N", title=words("axis_time")),
            ],
        )
        .properties(height=46 * len(systems) + 130, padding=PADDING)
    )
    return _inked(drawn, dark)


def _inked(chart: Any, dark: bool) -> Any:
    ink = INK[dark]
    return chart.configure_axis(labelColor=ink, titleColor=ink).configure_legend(labelColor=ink)


def _latency_scale(low: float, high: float) -> alt.Scale:
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
    return f"{_plain(words, scale)} + ' {unit}'"


def _percent(words: Words) -> str:
    number = "format(datum.value * 100, '.0f')"
    return f"'%' + {number}" if words.language == "tr" else f"{number} + ' %'"


def _plain(words: Words, scale: int = 1) -> str:
    number = f"format(datum.value * {scale}, '~r')"
    return f"replace({number}, '.', ',')" if words.language == "tr" else number
