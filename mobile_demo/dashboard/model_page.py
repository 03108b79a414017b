"""The page *Model*: how it was trained, what int8 costs, who ran its layers, how it plays, and what it says to you."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from benchmarks.layers import layers
from edge_runtime.bundle import Bundle, open_bundle
from edge_runtime.errors import LokmaError
from edge_runtime.store import sha256_of
from mobile_demo.dashboard import markup, model, model_charts, training, try_tab
from mobile_demo.dashboard.policy_tab import draw as draw_policy
from mobile_demo.dashboard.scene import Scene, chart, repeat, scene, section, table
from mobile_demo.dashboard.trial import is_there
from mobile_demo.words import Words

FILE_KEYS = ("system", "size", "accuracy", "parity", "verdict_accuracy", "verdict_speed")


def main() -> None:
    """The page from top to bottom."""
    here = scene()
    words = here.words
    st.title(words("ask_model"), anchor=False)
    bundle = _opened(here)
    if bundle is None:
        return
    labels = words.listed(getattr(label, words.language) for label in bundle.spec.labels[:10])
    task = words(f"task_{bundle.spec.task}", labels=labels)
    st.markdown(words("model_line", task=task, number=bundle.version, count=len(bundle.artifacts)))
    measured = here.records.bundle_sha256(here.bundle)
    if here.folder.is_dir() and measured and sha256_of(here.folder / "manifest.json") != measured:
        st.caption(words("other_bundle", folder=here.folder))
    draws = {"tab_training": _training, "tab_quantization": _quantization, "tab_layers": _layers}
    if bundle.spec.task == "policy":
        draws["tab_policy"] = draw_policy
    draws["tab_try"] = try_tab.draw
    for tab, draw in zip(st.tabs([words(key) for key in draws]), draws.values(), strict=True):
        with tab:
            draw(bundle, here)


def _opened(here: Scene) -> Bundle | None:
    words, path = here.words, here.folder
    if not is_there(path):
        st.markdown(words("no_bundle", folder=path))
        repeat(words, f"lokma export runs/{here.bundle}", said="")
        return None
    try:
        return open_bundle(path)
    except LokmaError as error:
        st.error(words("bad_bundle", folder=path))
        st.caption(f"{words('detail')}: {error}")
        return None


def _training(bundle: Bundle, here: Scene) -> None:
    words, run = here.words, here.runs / here.bundle
    section(words, "ask_curves")
    curves = training.curves(training.history(run))
    if curves:
        with st.container(horizontal=True, key="curves"):
            for curve in curves:
                with st.container(width=480):
                    st.altair_chart(model_charts.curve(curve, words, here.dark), alt=words("curves_alt", count=1))
    else:
        st.markdown(words("no_history", folder=run))
        recipe = bundle.manifest.get("provenance", {}).get("recipe") or "RECIPE"
        repeat(words, f"lokma train {recipe}", said="")
    results = training.results(bundle.manifest)
    if results:
        section(words, "ask_results")
        rows = training.result_rows(results, words)
        st.html(markup.table((words("result"), words("value")), rows))
    if bundle.spec.task in ("multiclass", "binary"):
        _errors(bundle, here)


def _errors(bundle: Bundle, here: Scene) -> None:
    """The confusion matrix and the most confidently wrong inputs of one artifact's newest record."""
    words = here.words
    section(words, "ask_confusion")
    known = {artifact: identifier for identifier, artifact in here.records.judged(here.bundle)}
    found = {}
    for artifact, identifier in known.items():
        whole = here.records.record(identifier)
        judged = training.judged(whole, len(bundle.spec.labels)) if whole else None
        if judged:
            found[artifact] = judged
    if not found:
        st.markdown(words("no_predictions"))
        repeat(words, f"lokma bench bundles/{here.bundle}", said="")
        return
    artifact = st.selectbox(words("from_record"), list(found), key="confused", width=260)
    judged = found[artifact]
    names = [getattr(label, words.language) for label in bundle.spec.labels]
    cells = training.confusion(judged, names, words)
    with st.container(width=620):
        drawn = model_charts.confusion(cells, words, here.dark)
        chart(drawn, words("confusion_alt", n=len(judged.truths)), "confusion", words)
    section(words, "ask_wrong")
    wrong = training.most_confidently_wrong(judged)
    if not wrong:
        st.markdown(words("wrong_none"))
        return
    pictures = [training.picture_of(one.name) for one in wrong]
    cards = [_card(one, picture, names, words) for one, picture in zip(wrong, pictures, strict=True)]
    st.html(f'<div class="lk-wrongs">{"".join(cards)}</div>')
    if not any(pictures):
        st.caption(words("wrong_away"))


def _card(one: training.Wrong, picture: Path | None, names: list[str], words: Words) -> str:
    line = words(
        "wrong_line", answer=names[one.answer], probability=words.percent(one.probability), truth=names[one.truth]
    )
    return markup.picture_card(training.thumbnail(picture) if picture else "", line, one.name)


def _quantization(bundle: Bundle, here: Scene) -> None:
    words, manifest = here.words, bundle.manifest
    section(words, "ask_files")
    table(FILE_KEYS, model.artifact_heads(words), model.artifacts(manifest, words), words)
    rows = model.ladder(manifest, words)
    if rows:
        section(words, "ask_ladder")
        table(("system", "", "", "parity", "", ""), model.ladder_heads(words), rows, words)
        st.caption(words("ladder_note"))
    section(words, "ask_sensitivity")
    name, bars = model.sensitivity(manifest)
    if bars:
        st.caption(words("sensitivity_note", name=name))
        alt = words("sensitivity_alt", count=len(bars))
        chart(model_charts.sensitivity(bars, words, here.dark), alt, "sensitivity", words)
    else:
        st.markdown(words("no_sensitivity"))
    repeat(words, f"lokma export runs/{here.bundle}")


def _layers(bundle: Bundle, here: Scene) -> None:
    words = here.words
    rows = model.delegation(bundle.manifest, words)
    if rows:
        section(words, "ask_ran")
        table(("system", "operators", "", "", ""), model.delegation_heads(words), rows, words)
    section(words, "ask_slowest")
    artifact = st.selectbox(words("system"), [one.id for one in bundle.artifacts], key="profiled", width=260)
    if st.button(words("take_apart"), key="apart"):
        _take_apart(artifact, here)
    st.caption(words("layers_note"))
    repeat(words, f"lokma bench bundles/{here.bundle} --layers --artifacts {artifact}")


def _take_apart(artifact: str, here: Scene) -> None:
    """One file's operators, timed now: a look inside, which is no record."""
    words = here.words
    try:
        found = layers(here.folder, artifact)[0]
    except LokmaError as error:
        st.error(words("not_apart", name=artifact))
        st.caption(f"{words('detail')}: {error}")
        return
    threads, time = words("threads", count=found["threads"]), words.duration(found["total_ns"])
    st.markdown(words("layers_said", name=artifact, threads=threads, time=time))
    keys = ("operators", "", "", "", "")
    table(keys, model.layer_heads(words), model.layers(found["rows"], words), words)


if __name__ == "__main__":
    main()
