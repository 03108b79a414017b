"""Every sentence of the pages in English and Turkish, and numbers and dates as each language writes them (Babel).

>>> english, turkish = Words("en"), Words("tr")
>>> english.percent(0.967), turkish.percent(0.967)
('96.7\\xa0%', '%96,7')
>>> english.duration(12_400_000), turkish.duration(12_400_000)
('12.4\\xa0ms', '12,4\\xa0ms')
>>> turkish("threads", count=2)
'2 iş parçacığı'
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from babel.dates import format_datetime, format_timedelta
from babel.lists import format_list
from babel.numbers import format_decimal, format_percent

from mobile_demo.catalogue import CATALOGUE

LANGUAGES = {"en": "English", "tr": "Türkçe"}
# (nanoseconds, unit, digits), largest first; Babel writes 12,4 msn, people and TERMS write 12,4 ms
_TIMES = {
    "en": ((1e9, "s", 2), (1e6, "ms", 1), (1e3, "µs", 1)),
    "tr": ((1e9, "sn", 2), (1e6, "ms", 1), (1e3, "µs", 1)),
}
_PERCENT = {"en": "#,##0{}\xa0%", "tr": "%#,##0{}"}
_JOINED = "\u2060"  # no line break beside the dash
_SPACE = "\xa0"  # a number and its unit stay on one line


class Words:
    """The catalogue in one language: `words(key, name=value)` gives a sentence; the methods give numbers."""

    def __init__(self, language: str) -> None:
        self.language = language if language in LANGUAGES else "en"
        self._column = list(LANGUAGES).index(self.language)

    def __call__(self, key: str, **values: object) -> str:
        """The sentence with its values filled in.

        Raises:
            KeyError: the catalogue has no such key (our own bug).
        """
        # a percent sign never starts a line
        text = CATALOGUE[key][self._column].replace("95 %", f"95{_SPACE}%")
        return text.format(**values)

    def number(self, value: float, digits: int = 0) -> str:
        """A number with the language's decimal and thousands separators."""
        return str(format_decimal(value, f"#,##0{_decimals(digits)}", locale=self.language))

    def percent(self, share: float, digits: int = 1) -> str:
        """A share of 1 as percent: `96.7 %`, `%96,7`."""
        pattern = _PERCENT[self.language].format(_decimals(digits))
        return str(format_percent(share, pattern, locale=self.language))

    def duration(self, nanoseconds: float) -> str:
        """A time in the unit that keeps it short: µs below 1 ms, seconds from 1 s on."""
        times = _TIMES[self.language]
        size, unit, digits = next((row for row in times if nanoseconds >= row[0]), times[-1])
        return self.number(nanoseconds / size, digits) + _SPACE + unit

    def scientific(self, value: float) -> str:
        """A number over many orders of magnitude: `2.8E-6`."""
        digits, exponent = f"{value:.1e}".split("e")
        return f"{self.number(float(digits), 1)}E{int(exponent)}"

    def listed(self, names: Iterable[str]) -> str:
        """Names as a sentence lists them: `a, b and c`."""
        return str(format_list(list(names), locale=self.language)).replace(", and ", " and ")

    def ratio(self, value: float) -> str:
        """One figure over another, with two digits that say something: `0.31`, `0.027`."""
        return self.number(value, 2 if value >= 0.1 else 3)

    def size(self, count: float) -> str:
        """A size in decimal units: `53.1 MB`, `12.9 kB`."""
        for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
            if count >= size:
                return self.number(count / size, 0 if count >= 100 * size else 1) + _SPACE + unit
        return self.number(count) + _SPACE + ("bayt" if self.language == "tr" else "bytes")

    def span(self, low: str, high: str) -> str:
        """An interval of two numbers that are written already: `0.29 to 0.34`, `0,29–0,34`."""
        return f"{low}{_JOINED}–{_JOINED}{high}" if self.language == "tr" else f"{low} to {high}"

    def moment(self, time: datetime) -> str:
        """A date and time in UTC: `23 November 2026, 09:22 UTC`."""
        return f"{format_datetime(time, 'd MMMM y, HH:mm', tzinfo=UTC, locale=self.language)} UTC"

    def ago(self, time: datetime, now: datetime) -> str:
        """How long ago something was: `3 hours ago`, `3 saat önce`."""
        return str(format_timedelta(min(time - now, -timedelta(seconds=1)), add_direction=True, locale=self.language))


def _decimals(digits: int) -> str:
    return "." + "0" * digits if digits else ""
