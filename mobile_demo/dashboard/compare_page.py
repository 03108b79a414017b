"""The page *Compare*: device, GPU, cloud and phone in one table, and the charts of its rows."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from benchmarks.verdicts import verdict
from mobile_demo.dashboard import charts, compare
from mobile_demo.dashboard.link import kept
from mobile_demo.dashboard.runs import Measurement
from mobile_demo.dashboard.scene import Scene, chart, repeat, scene, section, table, take
from mobile_demo.dashboard.views import target_words, told_apart

IN_CHARTS = 14


def main() -> None:
    """The page from top to bottom."""
    here = scene()
    words = here.words
    st.title(words("ask_compare"), anchor=False)
    known = here.records.targets(here.bundle)
    targets = st.pills(
        words("target"),
        known,
        selection_mode="multi",
        format_func=lambda target: target_words(target, words),
        **kept("target", known, []),
    )
    systems, total = here.records.newest(here.bundle, targets or (), here.device or None)
    if not systems:
        st.info(words("no_match"))
        repeat(words, f"lokma bench bundles/{here.bundle}", said="")
        return
    policy = all(one.accuracy is None or one.accuracy.right is None for one in systems)
    section(words, "ask_table")
    table(compare.COLUMNS, compare.heads(policy, words), compare.rows(systems, words), words)
    if total > len(systems):
        st.caption(words("shown_of", shown=len(systems), total=words.number(total)))
    st.caption(words("table_note"))
    take(compare.plain(systems), f"lokma-{here.bundle}", words)
    repeat(words, f"lokma bench bundles/{here.bundle} --on {','.join(targets or known)}")
    drawn = systems[:IN_CHARTS]
    _front(drawn, policy, here)
    _stages(drawn, here)
    _percentiles(drawn, here)
    _pair(systems, here)


def _front(systems: Sequence[Measurement], policy: bool, here: Scene) -> None:
    words = here.words
    section(words, "ask_front")
    axis = st.segmented_control(
        words("cost"),
        list(compare.AXES),
        format_func=lambda key: words(f"cost_{key}"),
        required=True,
        label_visibility="collapsed",
        **kept("cost", list(compare.AXES), "latency"),
    )
    points = compare.trade_points(systems, words, axis)
    if not points:
        st.caption(words("not_measured"))
        return
    chart(
        charts.trade(points, words, policy, here.dark, axis),
        words("trade_alt", count=len(points)),
        f"accuracy-{axis}",
        words,
    )
    st.caption(words("trade_note"))


def _stages(systems: Sequence[Measurement], here: Scene) -> None:
    bars = compare.stage_bars(systems, here.words)
    if bars:
        section(here.words, "ask_stages")
        alt = here.words("stages_alt", count=len(systems))
        chart(charts.stages(bars, here.words, here.dark), alt, "stages", here.words)
        st.caption(here.words("stages_note"))


def _percentiles(systems: Sequence[Measurement], here: Scene) -> None:
    section(here.words, "ask_percentiles")
    points = compare.percentile_points(systems, here.words)
    alt = here.words("percentiles_alt", count=len(systems))
    chart(charts.percentiles(points, here.words, here.dark), alt, "percentiles", here.words)
    st.caption(here.words("percentiles_note"))


def _pair(systems: Sequence[Measurement], here: Scene) -> None:
    """The paired verdict of any two measurements, those of the table first."""
    words = here.words
    section(words, "ask_pair")
    known = {one.id: one for one in (*systems, *here.records.all_of(here.bundle, here.device or None))}
    if len(known) < 2:
        st.caption(words("pair_two"))
        return
    names = compare.labels(list(known.values()), words, numbered=False)
    named = told_apart({key: f"{names[key]} · {words.moment(one.time)}" for key, one in known.items()})
    with st.container(horizontal=True):
        a, b = (
            st.selectbox(
                words(f"pair_{key}"),
                list(named),
                format_func=named.__getitem__,
                width=300,
                **kept(key, list(named), list(named)[place]),
            )
            for place, key in enumerate("ab")
        )
    both = here.records.whole([a, b]) if a != b else []
    if len(both) < 2:
        st.caption(words("pair_two"))
        return
    rows = compare.verdict_rows(verdict(*both), names[a], names[b], words)
    table(("", "", ""), compare.verdict_heads(words), rows, words)
    st.caption(words("pair_note"))
    repeat(words, f"lokma compare {a} {b}")


if __name__ == "__main__":
    main()
