"""The frame of all pages: language, navigation, the filters that they share, and the watch for new records.

`lokma dashboard` starts it. The folders come from the environment: `LOKMA_RESULTS`, `LOKMA_BUNDLES`, `LOKMA_RUNS`.
"""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from benchmarks import results
from benchmarks.environment import host
from edge_runtime.errors import LokmaError
from mobile_demo.dashboard import live, markup
from mobile_demo.dashboard.link import kept
from mobile_demo.dashboard.scene import KEPT, Scene
from mobile_demo.dashboard.store import Records
from mobile_demo.dashboard.views import told_apart
from mobile_demo.words import LANGUAGES, Words

HERE = Path(__file__).resolve().parent
EXAMPLE = "foodvision-mini"
PAGES = ("answer", "compare", "model", "devices")
ALL = ""  # of the devices
LOOK_EVERY_S = 1.0
PHONE, TOKEN = "/phone", "LOKMA_PHONE_TOKEN"  # where the phone page is mounted, and what its posts must bear


def main() -> None:
    """Head, filters, the chosen page, and what the records lack."""
    words = _language()
    st.set_page_config(page_title=words("page_title"), page_icon=str(HERE / "icon.svg"), layout="wide")
    pages = {
        name: st.Page(f"{name}_page.py", title=words(f"page_{name}"), url_path=name, default=name == PAGES[0])
        for name in PAGES
    }
    page = st.navigation(list(pages.values()), position="hidden")
    st.html(HERE / "style.css")
    _head(words, pages, page)
    seen = live.stamps(results.folder())
    try:
        with st.spinner(words("loading"), show_time=False):
            records = live.opened(results.folder(), seen)
    except LokmaError as error:
        st.error(words("bad_results", detail=error))
        return
    bundles = records.bundles()
    if bundles or page is pages["devices"]:
        with st.container(horizontal=True, key="filters"):
            st.session_state[KEPT] = _filters(words, records, bundles, every=page is pages["compare"])
        page.run()
    else:
        _empty(words)
    if records.dropped:
        st.caption(words("dropped", count=words.number(records.dropped)))
    if words.language != "en":
        st.caption(words("streamlit_note"))
    _watch(results.folder(), seen)


def _language() -> Words:
    """The chosen language, which the link keeps as `?lang=`; without it the browser's, else English."""
    asked = (st.query_params.get("lang") or st.context.locale or "")[:2].lower()
    return Words(st.session_state.setdefault("language", asked if asked in LANGUAGES else "en"))


def _head(words: Words, pages: dict[str, st.Page], page: st.Page) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="head"):
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
    with st.container(horizontal=True, key="nav"):
        for name, one in pages.items():
            with st.container(width="content", key=f"nav-{'on' if one is page else 'off'}-{name}"):
                st.page_link(one, label=words(f"page_{name}"), query_params=dict(st.query_params))


def _keep_language() -> None:
    st.query_params["lang"] = st.session_state["language"]


def _filters(words: Words, records: Records, bundles: list[str], every: bool) -> Scene:
    """The bundle and the device, which every page shares; on *Compare* the device may be any."""
    bundle = st.selectbox(words("bundle"), bundles, key="bundle", bind="query-params", width=260) if bundles else ""
    found = {one.fingerprint: one for one in records.devices(bundle)} if bundle else {}
    device, here = ALL, host()["fingerprint"]
    if found:
        cpus = {key: f"{one.cpu} · {words('this_machine')}" if key == here else one.cpu for key, one in found.items()}
        named = ({ALL: words("all_devices")} if every else {}) | told_apart(cpus)
        linked = kept("device-any" if every else "device", list(named))
        device = st.selectbox(words("device"), list(named), format_func=named.__getitem__, width=320, **linked)
    return Scene(
        words,
        records,
        bundle or "",
        device or ALL,
        here,
        results.folder(),
        _bundles(),
        Path(os.environ.get("LOKMA_RUNS") or _bundles().parent / "runs"),
        st.context.theme.type == "dark",
    )


def _empty(words: Words) -> None:
    st.title(words("empty"), anchor=False)
    st.markdown(words("empty_how"))
    there = sorted(path.parent.name for path in _bundles().glob("[!.]*/manifest.json"))
    st.code(f"lokma bench bundles/{there[0] if there else EXAMPLE}", language=None, wrap_lines=True)
    st.caption(words("empty_where", folder=results.folder().resolve()))


def _bundles() -> Path:
    return Path(os.environ.get("LOKMA_BUNDLES") or "bundles")


@st.fragment(run_every=LOOK_EVERY_S)
def _watch(folder: Path, seen: live.Stamps) -> None:
    """Draws the page anew where records have come, while nobody reloads it."""
    if live.stamps(folder) != seen:
        st.rerun()


if __name__ == "__main__":
    main()
