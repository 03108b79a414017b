"""What records say in English, in the page's language: the flags and notes of `lokma bench` and of the phone page.

What the table does not know stays as it is. A note of several parts (`a; b`) is taken part by part.

>>> in_words("server and client share this machine; cpu governor is powersave", Words("tr"))
'sunucu ve istemci aynı makinede; işlemci hız yöneticisi: powersave'
"""

from __future__ import annotations

import re

from mobile_demo.words import Words

NOISY = re.compile(r"noisy: the later passes took (?P<low>[\d.]+) to (?P<high>[\d.]+) of the earlier ones' time")
_TABLE = tuple(
    (re.compile(pattern), key)
    for pattern, key in (
        (r"other work: (?P<busy>\d+)% of the processors busy before the run", "flag_busy"),
        (r"heavy processes: (?P<names>[^;]+)", "flag_heavy"),
        (r"cpu governor is (?P<name>\S+)", "flag_governor"),
        (NOISY.pattern, "flag_noisy"),
        (r"throttled: (?P<detail>[^;]+)", "flag_throttled"),
        (r"not measured: no CUDA device", "flag_no_cuda"),
        (r"it runs on its battery", "flag_battery"),
        (r"plug it in", "flag_plug"),
        (r"the clock jumped by (?P<seconds>\S+) s while it was measured, or the machine slept", "flag_clock"),
        (r"partial: stopped by Ctrl-C", "flag_stopped"),
        (r"partial: it failed on the way: (?P<detail>.+)", "flag_failed"),
        (r"(?P<n>\d+) of (?P<of>\d+) queries got no answer: (?P<what>.+)", "flag_unanswered"),
        (r"it lasted (?P<seconds>[\d.]+) s, of (?P<least>[\d.]+) s at least", "flag_short"),
        (r"it had (?P<n>\d+) queries, of (?P<least>\d+) at least", "flag_few"),
        (r"p99 is (?P<p99>[\d.]+) ms, above Server's bound of (?P<bound>[\d.]+) ms", "flag_bound"),
        (
            r"(?P<late>\d+) of (?P<n>\d+) queries were above Server's bound of (?P<bound>[\d.]+) ms: "
            r"p99 is sure from (?P<needed>\d+) queries on",
            "flag_unsure",
        ),
        (r"the warm-up did not become stable", "flag_warm_up"),
        (r"the page was in the background for a while", "flag_background"),
        (r"server and client share this machine", "note_shared"),
        (r"the network (?P<name>\S+) between them is emulated", "note_network"),
        (r"cold start, memory and processor time are the client's own", "note_own"),
        (r"the server was up before", "note_up"),
        (r"the server says it is (?P<name>[^;]+)", "note_server"),
        (r"which file it runs is not known here", "note_unknown_file"),
        (r"measured in a browser by the phone page", "note_browser"),
        (r"its clock moves in steps of (?P<ns>\d+) ns", "note_clock"),
        (r"each latency is the mean of (?P<n>\d+) answers, for the clock's sake", "note_mean"),
    )
)
_CORE = re.compile(r"(\d+) % of a core")
_NUMBER = re.compile(r"\d+(?:\.(\d+))?")


def in_words(text: str, words: Words) -> str:
    """A flag or a note in the page's language."""
    whole = _known(text, words)
    if whole is not None:
        return whole
    parts = text.split("; ")
    return "; ".join(part if (said := _known(part, words)) is None else said for part in parts)


def _known(text: str, words: Words) -> str | None:
    for pattern, key in _TABLE:
        found = pattern.fullmatch(text)
        if found:
            return words(key, **{name: _value(value, words) for name, value in found.groupdict().items()})
    return None


def _value(text: str, words: Words) -> str:
    """A number as the language writes it; any other text as it is, but for the shares of a core in it."""
    found = _NUMBER.fullmatch(text)
    if found:
        return words.number(float(text), len(found[1] or ""))
    return _CORE.sub(lambda share: words("core_share", share=words.percent(int(share[1]) / 100, 0)), text)
