"""The tab *Try it*: one input through every file of the bundle, and a server in the cloud where one is named."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from edge_runtime import engines, load
from edge_runtime.bundle import Bundle
from edge_runtime.errors import BadInput, LokmaError
from edge_runtime.predictor import Predictor
from mobile_demo.dashboard import markup, trial
from mobile_demo.dashboard.scene import Scene, section


def draw(bundle: Bundle, here: Scene) -> None:
    """A picture, or a row of numbers, through all of them."""
    section(here.words, "ask_try_picture" if bundle.spec.image else "ask_try_numbers")
    if bundle.spec.image:
        _try_picture(bundle, here)
    else:
        _try_numbers(bundle, here)


def predictor_of(path: Path, artifact: str) -> Predictor:
    """A loaded artifact of the bundle as it is now, shared by all visitors."""
    return _predictor(str(path), artifact, trial.stamp(path))


def _try_picture(bundle: Bundle, here: Scene) -> None:
    words, path = here.words, here.folder
    given = st.file_uploader(words("upload"), key=f"picture-{path}")
    server = st.text_input(words("cloud_url"), key="cloud", help=words("cloud_help"), width=420)
    st.caption(words("upload_stays"))
    if given is None:
        return
    data = given.getvalue()
    try:
        outcomes = _outcomes(bundle, here, data, given.name)
    except BadInput as error:
        st.error(words("bad_picture", name=given.name))
        st.caption(f"{words('detail')}: {error}")
        return
    if server:
        outcomes.append(trial.ask_cloud(server, bundle.spec, data, words))
    with st.container(horizontal=True):
        if any(outcome.time for outcome in outcomes):  # else nobody has looked yet whether it is a picture
            st.image(data, caption=words("your_picture"), width=220)
        with st.container(width="stretch"):
            _show(outcomes, bundle, here)


def _try_numbers(bundle: Bundle, here: Scene) -> None:
    words = here.words
    unit = bundle.spec.inputs[0].unit
    if unit:
        st.caption(words("numbers_of", unit=unit))
    with st.container(horizontal=True):
        numbers = [
            st.number_input(
                dict(enumerate(bundle.spec.columns)).get(index) or words("number", index=index + 1),
                value=value,
                format="%.4f",
                key=f"number-{here.folder}-{index}",
                width=160,
            )
            for index, value in enumerate(trial.starting_numbers(bundle))
        ]
    try:
        outcomes = _outcomes(bundle, here, [float(number or 0) for number in numbers], "")
    except BadInput as error:
        st.error(words("bad_numbers"))
        st.caption(f"{words('detail')}: {error}")
        return
    _show(outcomes, bundle, here)


def _outcomes(bundle: Bundle, here: Scene, given: bytes | list[float], name: str) -> list[trial.Outcome]:
    """Every artifact's answer; one that cannot run here says so in its line."""
    outcomes = []
    for artifact in bundle.artifacts:
        if not engines.available(artifact.engine):
            outcomes.append(trial.Outcome(artifact.id, artifact.engine, here.words("engine_missing")))
            continue
        try:
            outcomes.append(trial.ask(predictor_of(here.folder, artifact.id), given, name, here.words))
        except BadInput:
            raise
        except LokmaError as error:
            outcomes.append(trial.failed(artifact.id, artifact.engine, error, here.words))
    return outcomes


def _show(outcomes: list[trial.Outcome], bundle: Bundle, here: Scene) -> None:
    heads = trial.heads(bundle.spec, here.words)
    st.html(markup.table(heads, trial.rows(outcomes)))
    st.caption(here.words("answers_note"))


@st.cache_resource(max_entries=16, show_spinner=False)
def _predictor(path: str, artifact: str, stamp: int) -> Predictor:
    """All take the same thread count, as `.pte` files must."""
    del stamp
    return load(path, artifact)
