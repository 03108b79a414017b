"""The tab of a policy: what its episodes returned, and one of them played before your eyes."""

from __future__ import annotations

import streamlit as st

from edge_runtime import engines
from edge_runtime.bundle import Bundle
from edge_runtime.errors import LokmaError
from mobile_demo.dashboard import episode, model_charts
from mobile_demo.dashboard.scene import Scene, chart, repeat, section
from mobile_demo.dashboard.try_tab import predictor_of


def draw(bundle: Bundle, here: Scene) -> None:
    """Returns, then an episode."""
    words = here.words
    section(words, "ask_returns")
    known = {artifact: identifier for identifier, artifact in here.records.judged(here.bundle)}
    if known:
        artifact = st.selectbox(words("from_record"), list(known), key="returned", width=260)
        kept = ((here.records.record(known[artifact]) or {}).get("accuracy") or {}).get("returns") or []
        values = [float(value) for value in kept if isinstance(value, int | float)]
        if len(set(values)) == 1:
            st.markdown(words("returns_equal", count=len(values), value=words.number(values[0], 1)))
        elif values:
            drawn = model_charts.returns(values, words, here.dark)
            chart(drawn, words("returns_alt", count=len(values)), "returns", words)
    repeat(words, f"lokma run bundles/{here.bundle} --env {_environment(bundle) or 'ENVIRONMENT'}")
    section(words, "ask_episode")
    able = [artifact.id for artifact in bundle.artifacts if engines.available(artifact.engine)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(words("system"), able, key="player", width=260)
        seed = st.number_input(words("episode_seed"), 0, 1_000_000, 0, key="seed", width=160)
        pressed = st.button(words("play_episode"), key="play")
    if pressed and chosen:
        try:
            predictor = predictor_of(here.folder, chosen)
            states, total = episode.play(predictor, _environment(bundle), int(seed))
        except LokmaError as error:
            st.error(f"{words('detail')}: {error}")
            return
        st.image(episode.gif(states), caption=words("episode_alt"), width="content")
        st.caption(words("episode_said", system=chosen, value=words.number(total, 1), steps=len(states)))


def _environment(bundle: Bundle) -> str:
    return str((bundle.manifest.get("provenance", {}).get("data") or {}).get("name") or "")
