"""The page *Devices*: who reported, how right the answers are outside, what a device says of itself, and uploads."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from edge_runtime.doctor import doctor
from edge_runtime.errors import LokmaError
from mobile_demo import collector
from mobile_demo.dashboard import devices, model_charts
from mobile_demo.dashboard.runs import Accuracy
from mobile_demo.dashboard.scene import Scene, chart, repeat, scene, section, table
from mobile_demo.dashboard.store import Device, Field
from mobile_demo.dashboard.views import told_apart

DEVICE_KEYS = ("device", "memory", "", "", "")
FIELD_KEYS = ("", "system", "field_accuracy", "test_accuracy", "", "")


def main() -> None:
    """The page from top to bottom."""
    here = scene()
    words, now = here.words, datetime.now(UTC)
    st.title(words("ask_devices"), anchor=False)
    found = here.records.devices()
    section(words, "ask_who")
    table(DEVICE_KEYS, devices.device_heads(words), devices.device_rows(found, here.here, words, now), words)
    _field(here.records.field(), here, now)
    _doctor(found, here)
    _upload(here)


def _field(found: list[Field], here: Scene, now: datetime) -> None:
    words = here.words
    section(words, "ask_field")
    if not found:
        st.markdown(words("field_empty"))
        repeat(words, f"lokma phone bundles/{here.bundle}", said="")
        return
    tested = _tested(found, here)
    table(FIELD_KEYS, devices.field_heads(words), devices.field_rows(found, tested, words, now), words)
    points = devices.field_points(found, tested, words)
    chart(model_charts.field(points, words, here.dark), words("field_alt", count=len(found)), "field", words)
    st.caption(words("field_note"))


def _tested(found: list[Field], here: Scene) -> dict[tuple[str, str], Accuracy]:
    """The newest accuracy on the test side of each file that was asked about."""
    tested = {}
    for bundle in {one.bundle for one in found}:
        for identifier, artifact in here.records.judged(bundle):
            one = here.records.measurement(identifier)
            if one is not None and one.accuracy is not None and one.accuracy.right is not None:
                tested[bundle, artifact] = one.accuracy
    return tested


def _doctor(found: list[Device], here: Scene) -> None:
    words = here.words
    section(words, "ask_doctor")
    if st.button(words("examine"), key="examine"):
        st.session_state["examined"] = doctor()["checks"]
    st.caption(words("examine_note"))
    if "examined" in st.session_state:
        rows = devices.finding_rows(st.session_state["examined"], words)
        table(("", "", ""), devices.finding_heads(words), rows, words)
    others = told_apart({one.fingerprint: one.cpu for one in found if one.fingerprint != here.here})
    if others:
        chosen = st.selectbox(words("device"), list(others), format_func=others.__getitem__, key="looked", width=320)
        checks = devices.findings_of(here.records.newest_of(chosen))
        if checks:
            table(("", "", ""), devices.finding_heads(words), devices.finding_rows(checks, words), words)
        else:
            st.caption(words("no_findings"))
            repeat(words, "lokma doctor", said="")


def _upload(here: Scene) -> None:
    """A file that a phone page saved where it could not post; the collector judges it as it does a post."""
    words = here.words
    section(words, "ask_upload")
    given = st.file_uploader(words("upload_record"), type=["json", "jsonl"], key="record")
    if given is None:
        return
    try:
        count = collector.keep(collector.accept(given.getvalue()), here.results)
    except LokmaError as error:
        st.error(words("record_refused", name=given.name, detail=error))
        return
    st.success(words("record_taken", count=count) if count else words("record_known"))


if __name__ == "__main__":
    main()
