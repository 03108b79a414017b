"""The page *Answer*: which file keeps the accuracy and the rate that are asked for, and why each other one does not."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from mobile_demo.dashboard import charts, cloud, compare, markup, views
from mobile_demo.dashboard.answer import Answer, Question, answer
from mobile_demo.dashboard.link import kept
from mobile_demo.dashboard.runs import Run, Runs, runs
from mobile_demo.dashboard.said import in_words
from mobile_demo.dashboard.scene import Scene, chart, repeat, scene, section, table
from mobile_demo.words import Words


def main() -> None:
    """The page from top to bottom."""
    here = scene()
    words = here.words
    title = st.empty()
    with st.container(horizontal=True, key="question"):
        found, run = _choose(here)
        question = _question(words)
    title.title(views.title(run, question, words), anchor=False)
    if run is None:
        st.info(words("no_match"))
        repeat(words, f"lokma bench bundles/{here.bundle}", said="")
        return
    run = _with_accuracy(run, here)
    told = answer(run, question)
    good = None if told.verdict == "nothing" else told.chosen is not None
    st.html(markup.said(views.sentence(told, words, here.here), good))
    tiles = views.tiles(told, words)
    if tiles:
        st.html(markup.tiles(tiles, views.named(told.chosen, words) if told.chosen else ""))
    section(words, "ask_why")
    table(
        ("system", "accuracy", "p90", ""),
        views.gate_heads(told, words),
        views.gates(told, words),
        words,
        words("chosen"),
    )
    for line in views.rule(told, words):
        st.caption(line)
    on_phones = all(one.target == "phone" for one in run.systems)
    repeat(words, f"lokma {'phone' if on_phones else 'bench'} bundles/{run.bundle}")
    section(words, "ask_cloud")
    _cloud(told, here)
    _trade(run, here)
    _source(run, found.unreadable, words)


def _choose(here: Scene) -> tuple[Runs, Run | None]:
    """The newest run of the bundle on the device, or an older one that is chosen."""
    known = dict(here.records.runs(here.bundle, here.device))
    if not known:
        return Runs((), 0), None
    chosen = next(iter(known))
    if len(known) > 1:
        named = views.told_apart({key: here.words.moment(known[key]) for key in known})
        linked = kept("run", list(named))
        chosen = st.selectbox(here.words("run"), list(named), format_func=named.__getitem__, width=300, **linked)
    found = runs(here.records.run(here.bundle, chosen))
    return found, found.runs[0] if found.runs else None


def _question(words: Words) -> Question:
    floor = st.number_input(
        words("floor"),
        0.0,
        100.0,
        95.0,
        1.0,
        "%.1f",
        key="floor",
        help=words("floor_help"),
        bind="query-params",
        width=150,
    )
    fps = st.number_input(
        words("fps"),
        0.1,
        100_000.0,
        30.0,
        5.0,
        "%.1f",
        key="fps",
        help=words("fps_help"),
        bind="query-params",
        width=150,
    )
    return Question(round(floor / 100, 6), fps)


def _with_accuracy(run: Run, here: Scene) -> Run:
    """A phone does not judge its files: the accuracy of the very same file is taken, and where it was measured said."""
    systems = []
    for one in run.systems:
        judged = here.records.accuracy_of(one.sha256) if one.accuracy is None and one.sha256 else None
        if judged is not None and judged.accuracy is not None:
            one = replace(one, accuracy=replace(judged.accuracy, elsewhere=judged.cpu))
        systems.append(one)
    return replace(run, systems=tuple(systems))


def _cloud(told: Answer, here: Scene) -> None:
    """What the cloud took, and the network from which on it would be faster than the file that was chosen here."""
    words = here.words
    measured, _ = here.records.newest(here.bundle, ("cloud",))
    own = told.chosen or next(iter(told.run.device), None)
    commands = [
        f"lokma serve bundles/{here.bundle}",
        f"lokma bench bundles/{here.bundle} --on device,cloud=http://127.0.0.1:8000",
    ]
    if not measured or own is None:
        st.markdown(words("cloud_missing"))
        repeat(words, *commands, said="")
        return
    even = cloud.crossing(here.records.studies(here.bundle, cloud.STUDY), told.run.host["fingerprint"], own.system)
    for line in cloud.sentences(own, measured, words, reckon=even is None):
        st.markdown(line)
    if even is not None:
        st.markdown(cloud.measured_even(even, words))
        commands.append(f"python -m benchmarks.break_even bundles/{here.bundle} --device {even.device}")
    table(cloud.KEYS, cloud.heads(words), cloud.rows(own, measured, words), words)
    st.caption(words("cloud_note"))
    repeat(words, *commands)


def _trade(run: Run, here: Scene) -> None:
    words = here.words
    points = compare.trade_points(run.systems, words)
    if points:
        section(words, "ask_trade")
        drawn = charts.trade(points, words, policy=run.task == "policy", dark=here.dark)
        chart(drawn, words("trade_alt", count=len(points)), "accuracy-latency", words)
        st.caption(words("trade_note"))


def _source(run: Run, unreadable: int, words: Words) -> None:
    section(words, "ask_source")
    st.html(markup.facts(views.facts(run, words)))
    warning = views.flags(run, words)
    if warning:
        st.warning(warning)
    for note in run.notes:
        st.info(words("note", note=in_words(note, words)))
    if unreadable:
        st.caption(words("unreadable", count=words.number(unreadable)))


if __name__ == "__main__":
    main()
