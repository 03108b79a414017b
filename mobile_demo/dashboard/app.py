"""The page: `lokma dashboard` starts it. It asks the views, and draws; no figure is made here.

The folders come from the environment: `LOKMA_RESULTS` (records) and `LOKMA_BUNDLES` (for *try it*).
"""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from benchmarks import results
from benchmarks.environment import host
from edge_runtime import engines, load
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.errors import BadInput, LokmaError
from edge_runtime.predictor import Predictor
from edge_runtime.store import sha256_of
from mobile_demo.dashboard import charts, markup, trial, views
from mobile_demo.dashboard.answer import answer
from mobile_demo.dashboard.runs import Run, Runs, runs
from mobile_demo.words import LANGUAGES, Words

HERE = Path(__file__).resolve().parent
BUNDLES = "LOKMA_BUNDLES"
EXAMPLE = "foodvision-mini"


def main() -> None:
    """The page from top to bottom."""
    words = _head()
    found = _records(*_stamps(results.folder()))
    measured = runs(found.records)
    dropped = found.dropped + measured.unreadable
    if measured.runs:
        run = _choose(measured, words)
        _answer(run, words)
        _trade(run, words)
        _table(run, words)
        _stages(run, words)
        _try_it(run, words)
        _source(run, words)
    else:
        _empty(words)
    if dropped:
        st.caption(words("dropped", count=words.number(dropped)))
    if words.language != "en":
        st.caption(words("streamlit_note"))


def _head() -> Words:
    """The brand and the language switch, which is kept in the link as `?lang=`.

    A link without it starts at the browser's language where that is one of ours, else at English.
    """
    asked = (st.query_params.get("lang") or st.context.locale or "")[:2].lower()
    words = Words(st.session_state.setdefault("language", asked if asked in LANGUAGES else "en"))
    st.set_page_config(page_title=words("page_title"), layout="wide")
    st.html(HERE / "style.css")
    with st.container(horizontal=True, horizontal_alignment="distribute", key="head"):
        st.html(
            markup.brand(words("brand"), words("tagline"), words.language),
            width="content",
            unsafe_allow_javascript=True,  # one line of ours: it tells a screen reader the page's language
        )
        st.segmented_control(
            words("language"),
            list(LANGUAGES),
            format_func=LANGUAGES.__getitem__,
            key="language",
            required=True,
            on_change=_keep_language,
            label_visibility="collapsed",
        )
    return words


def _keep_language() -> None:
    st.query_params["lang"] = st.session_state["language"]


def _choose(measured: Runs, words: Words) -> Run:
    st.title(words("ask_which"), anchor=False)
    with st.container(horizontal=True):
        bundle = st.selectbox(words("bundle"), measured.bundles, key="bundle", bind="query-params", width=280)
        of_bundle = {run.id: run for run in measured.of(bundle)}
        if len(of_bundle) == 1:
            return next(iter(of_bundle.values()))
        chosen = st.selectbox(
            words("run"),
            list(of_bundle),
            key=f"run-{bundle}",
            format_func=lambda key: f"{words.moment(of_bundle[key].time)}, {of_bundle[key].host['cpu']}",
            width=440,
        )
    return of_bundle[chosen]


def _answer(run: Run, words: Words) -> None:
    found = answer(run)
    with st.container(key="answer"):
        st.markdown(views.sentence(found, words, host()["fingerprint"]))
    tiles = views.tiles(found, words)
    if tiles:
        st.html(markup.tiles(tiles, found.chosen.name if found.chosen else ""))
    warning = views.flags(run, words)
    if warning:
        st.warning(warning)
    for note in run.notes:
        st.info(words("note", note=note))
    reasons = views.reasons(found, words)
    if reasons:
        with st.expander(words("how_chosen")):
            st.markdown("\n".join(f"- {line}" for line in reasons))


def _trade(run: Run, words: Words) -> None:
    points = views.trade_points(run, words)
    if points:
        st.header(words("ask_trade"), anchor=False)
        chart = charts.trade(points, words, policy=run.task == "policy", dark=_dark())
        st.altair_chart(chart, alt=words("trade_alt", count=len(points)))
        st.caption(words("trade_note"))


def _table(run: Run, words: Words) -> None:
    st.header(words("ask_table"), anchor=False)
    st.html(markup.table(views.heads(run, words), views.rows(answer(run), words), words("chosen")))
    st.caption(words("table_note"))


def _stages(run: Run, words: Words) -> None:
    st.header(words("ask_stages"), anchor=False)
    st.altair_chart(
        charts.stages(views.stage_bars(run, words), words, dark=_dark()),
        alt=words("stages_alt", count=len(run.systems)),
    )
    st.caption(words("stages_note"))


def _source(run: Run, words: Words) -> None:
    st.header(words("ask_source"), anchor=False)
    st.html(markup.facts(views.facts(run, words)))
    st.caption(words("repeat"))
    st.code(f"lokma bench bundles/{run.bundle}", language=None, wrap_lines=True)


def _empty(words: Words) -> None:
    st.title(words("empty"), anchor=False)
    st.markdown(words("empty_how"))
    there = sorted(path.parent.name for path in _bundles().glob("[!.]*/manifest.json"))
    st.code(f"lokma bench bundles/{there[0] if there else EXAMPLE}", language=None, wrap_lines=True)
    st.caption(words("empty_where", folder=results.folder().resolve()))


def _try_it(run: Run, words: Words) -> None:
    path = trial.folder_of(_bundles(), run.bundle)
    if not trial.is_there(path):
        asks = "ask_try_picture" if run.thing == "thing_picture" else "ask_try_numbers"
        st.header(words(asks), anchor=False)
        st.markdown(words("no_bundle", folder=path))
        st.code(f"lokma export runs/{run.bundle}", language=None, wrap_lines=True)
        return
    try:
        bundle = open_bundle(path)
        st.header(words("ask_try_picture" if bundle.spec.image else "ask_try_numbers"), anchor=False)
        if path.is_dir() and run.sha256 and sha256_of(path / "manifest.json") != run.sha256:
            st.caption(words("other_bundle", folder=path))
        if bundle.spec.image:
            _try_picture(bundle, path, words)
        else:
            _try_numbers(bundle, path, words)
    except LokmaError as error:
        st.error(words("bad_bundle", folder=path))
        st.caption(f"{words('detail')}: {error}")


def _try_picture(bundle: Bundle, path: Path, words: Words) -> None:
    given = st.file_uploader(words("upload"), key=f"picture-{path}")
    st.caption(words("upload_stays"))
    if given is None:
        return
    data = given.getvalue()
    try:
        outcomes = _outcomes(bundle, path, data, given.name, words)
    except BadInput as error:
        st.error(words("bad_picture", name=given.name))
        st.caption(f"{words('detail')}: {error}")
        return
    with st.container(horizontal=True):
        if any(outcome.time for outcome in outcomes):  # else nobody has looked yet whether it is a picture
            st.image(data, caption=words("your_picture"), width=220)
        with st.container(width="stretch"):
            _show(outcomes, bundle, words)


def _try_numbers(bundle: Bundle, path: Path, words: Words) -> None:
    unit = bundle.spec.inputs[0].unit
    if unit:
        st.caption(words("numbers_of", unit=unit))
    with st.container(horizontal=True):
        numbers = [
            st.number_input(
                words("number", index=index + 1),
                value=value,
                format="%.4f",
                key=f"number-{path}-{index}",
                width=160,
            )
            for index, value in enumerate(trial.starting_numbers(bundle))
        ]
    try:
        outcomes = _outcomes(bundle, path, [float(number or 0) for number in numbers], "", words)
    except BadInput as error:
        st.error(words("bad_numbers"))
        st.caption(f"{words('detail')}: {error}")
        return
    _show(outcomes, bundle, words)


def _outcomes(bundle: Bundle, path: Path, given: bytes | list[float], name: str, words: Words) -> list[trial.Outcome]:
    """Every artifact's answer; one that cannot run here says so in its line."""
    outcomes = []
    for artifact in bundle.artifacts:
        if not engines.available(artifact.engine):
            outcomes.append(trial.Outcome(artifact.id, artifact.engine, words("engine_missing")))
            continue
        try:
            predictor = _predictor(str(path), artifact.id, trial.stamp(path))
            outcomes.append(trial.ask(predictor, given, name, words))
        except BadInput:
            raise
        except LokmaError as error:
            outcomes.append(trial.failed(artifact.id, artifact.engine, error, words))
    return outcomes


def _show(outcomes: list[trial.Outcome], bundle: Bundle, words: Words) -> None:
    st.html(markup.table(trial.heads(bundle.spec, words), trial.rows(outcomes), words("chosen")))
    st.caption(words("answers_note"))


def _dark() -> bool:
    return st.context.theme.type == "dark"


def _bundles() -> Path:
    return Path(os.environ.get(BUNDLES) or "bundles")


def _stamps(folder: Path) -> tuple[str, tuple[tuple[str, int, int], ...]]:
    """What the records depend on: the folder, and each file's name, size and time of change."""
    files = [folder] if folder.is_file() else sorted(folder.glob("*.jsonl"))
    return str(folder), tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@st.cache_data(max_entries=2, show_spinner=False)
def _records(folder: str, stamps: tuple[tuple[str, int, int], ...]) -> results.Found:
    del stamps  # only part of the cache's key
    return results.read(Path(folder))


@st.cache_resource(max_entries=16, show_spinner=False)
def _predictor(path: str, artifact: str, stamp: int) -> Predictor:
    """A loaded artifact, shared by all visitors; all take the same thread count, as `.pte` files must."""
    del stamp
    return load(path, artifact)


if __name__ == "__main__":
    main()
