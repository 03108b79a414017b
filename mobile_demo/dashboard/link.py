"""Choices that the page's link keeps by the option itself.

Streamlit's own binding keeps the label, which changes with the language and may be the same twice: two phones of one
kind. `st.selectbox(label, list(named), format_func=named.__getitem__, **kept("device", list(named)))`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st


def kept(key: str, options: Sequence[str], default: Any = None) -> dict[str, Any]:
    """The arguments that give a widget its choice from the link, and write a new one there.

    Args:
        key: of the widget, and in the link.
        options: what may be chosen; anything else in the link is passed over.
        default: what is chosen where the link says nothing: an option, a list where several may be chosen, or None
            for the first option.
    """
    asked = [one for one in st.query_params.get_all(key) if one in options]
    if isinstance(default, list):
        st.session_state[key] = asked or default
    elif asked or options:
        st.session_state[key] = asked[0] if asked else default or options[0]
    return {"key": key, "on_change": _write, "args": (key,)}


def _write(key: str) -> None:
    st.query_params[key] = st.session_state[key]
