"""The dashboard's budget, in Chromium: soon there and quick to filter over a million records, and open to everybody.

`python -m benchmarks.dashboard_budget [--json] [--only GROUP]` (about three minutes; the first time it makes the
records too, which takes five more) prints each row, appends a record a group and exits 1 where one does not hold.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import budget, paired, results
from benchmarks.environment import busy
from benchmarks.paired import Row
from benchmarks.results import compact, schema
from benchmarks.results.speed import LATENCIES, PART, made_records
from edge_runtime import store
from edge_runtime.errors import Missing
from mobile_demo.dashboard.app import PAGES
from mobile_demo.dashboard.store import Records
from mobile_demo.screenshot import DRAWN_WITHIN_MS, HEIGHT, browser, open_page
from mobile_demo.server import free_port, serve
from mobile_demo.words import LANGUAGES
from train.provenance import code_sha256

FRESH, COMPACTED, SAMPLES = 20_000, 1_000_000, 20  # records, and latencies in a compacted one
FIRST_PAGE_S, FILTER_MS, APPEARS_S = 3.0, 500.0, 3.0
STARTS, CHANGES, ASKED, COMERS = 3, 10, 20, 6
LATE = FRESH + COMPACTED  # the number of the first record that comes later
WIDTHS = (390, 1440)
BUNDLES, SHOWN = Path("bundles"), ("foodvision-mini", "cartpole")
TAB_MS = 600  # until a tab is drawn
# From the key that chooses a bundle to the frame in which the table shows it.
WATCH = """() => {
  const before = document.querySelector('.lk-table').innerHTML;
  window.lokmaChanged = new Promise((done) => addEventListener('keydown', function chosen(event) {
    if (event.key !== 'Enter') return;
    removeEventListener('keydown', chosen, true);
    const began = performance.now();
    const look = () => {
      const table = document.querySelector('.lk-table');
      if (table && table.innerHTML !== before) done(performance.now() - began);
      else requestAnimationFrame(look);
    };
    look();
  }, true));
}"""


def speed() -> list[Row]:
    """The first page of a fresh server, the main table's questions, and a filter's change as it is seen."""
    place, started_s, first_s, later_s = prepared(), [], [], []
    seen: dict[str, list[float]] = {"bundle": [], "rate": []}
    with browser() as chromium:
        for _ in range(STARTS):
            began = time.perf_counter()
            with serve(place, BUNDLES, free_port()) as url:
                started_s.append(time.perf_counter() - began)
                first_s.append(_opened_s(chromium, url))
                later_s.append(_opened_s(chromium, url))
                seen["bundle"] += _changes_ms(chromium, f"{url}/compare?lang=en", _another_bundle)
                seen["rate"] += _changes_ms(chromium, f"{url}/?lang=en", _another_rate)
    records = Records(results.connect(place))
    asked_ms = []
    for bundle in records.bundles()[:ASKED]:
        began = time.perf_counter()
        records.devices(bundle), records.targets(bundle), records.newest(bundle)
        asked_ms.append(1e3 * (time.perf_counter() - began))
    there = f"{FRESH:,} fresh and {COMPACTED:,} compacted records"
    up = f"the slowest; the server itself was up after {max(started_s):.1f} s"
    usual = {name: f"the slowest; median {statistics.median(times):.0f}" for name, times in seen.items()}
    slow, again = max(seen["bundle"]), max(seen["rate"])
    return [
        _row(f"first page of a fresh server, s: {there}", max(first_s), FIRST_PAGE_S, STARTS, up),
        _row("first page for the next visitor, s", max(later_s), FIRST_PAGE_S, STARTS, "the slowest"),
        _row("what Compare asks for another bundle, ms", max(asked_ms), FILTER_MS, ASKED, "the slowest"),
        _row("another bundle on Compare, until it is seen, ms", slow, FILTER_MS, len(seen["bundle"]), usual["bundle"]),
        _row("another rate on Answer, until it is seen, ms", again, FILTER_MS, len(seen["rate"]), usual["rate"]),
    ]


def live() -> list[Row]:
    """From a record's last byte on disk to its device on a page that nobody reloads, over all those records."""
    place, took_s = prepared(), []
    late = place / "late.jsonl"
    late.unlink(missing_ok=True)
    with browser() as chromium, serve(place, BUNDLES, free_port()) as url:
        context = chromium.new_context(viewport={"width": WIDTHS[-1], "height": HEIGHT})
        page = open_page(context, f"{url}/devices?lang=en")
        try:
            for number, made in enumerate(made_records(range(LATE, LATE + COMERS), SAMPLES)):
                named = {"fingerprint": f"{number:06x}{LATE:06x}", "cpu": f"late comer {number}"}
                results.append([{**made, "host": {**made["host"], **named}}], late)
                began = time.perf_counter()
                page.get_by_text(named["cpu"]).first.wait_for(timeout=DRAWN_WITHIN_MS)
                took_s.append(time.perf_counter() - began)
        finally:
            late.unlink(missing_ok=True)
    note = f"the slowest; median {statistics.median(took_s):.2f}"
    return [_row("a new record until it is on the page, s", max(took_s), APPEARS_S, COMERS, note)]


def everybody() -> list[Row]:
    """Every page and tab with the real records, both languages and widths: console errors, axe-core's findings."""
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ModuleNotFoundError as error:
        raise Missing("axe-core is not here: pip install -e '.[test]' in lokma's clone") from error
    said: list[str] = []
    barriers: list[str] = []
    views = list(itertools.product(PAGES, SHOWN, LANGUAGES, WIDTHS))
    looked = 0
    with browser() as chromium, serve(results.folder(), BUNDLES, free_port()) as url:
        for name, bundle, language, width in views:
            context = chromium.new_context(viewport={"width": width, "height": HEIGHT})
            context.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
            context.on("weberror", lambda error: said.append(str(error.error)))
            page = open_page(context, f"{url}/{'' if name == PAGES[0] else name}?lang={language}&bundle={bundle}")
            for tab in page.get_by_role("tab").all() or [None]:
                if tab is not None:
                    tab.click()
                    page.wait_for_timeout(TAB_MS)
                found = Axe().run(page).response["violations"]
                barriers += [f"{name}: {one['id']}" for one in found if one["impact"] in ("serious", "critical")]
                looked += 1
            context.close()
    return [
        _row("console errors on all pages", len(said), 0, looked, "; ".join(dict.fromkeys(said))[:200]),
        _row("serious axe-core findings", len(barriers), 0, looked, "; ".join(dict.fromkeys(barriers))[:200]),
    ]


GROUPS: dict[str, Callable[[], list[Row]]] = {"speed": speed, "live": live, "everybody": everybody}


def prepared() -> Path:
    """The folder of seeded records, made once and kept in the store."""
    code = code_sha256("benchmarks.results.speed", "benchmarks.results.columns", "benchmarks.results.compact")
    place = store.home() / "budget" / f"records-{FRESH}-{COMPACTED}-{SAMPLES}-{code[:12]}"
    if place.is_dir():
        return place
    half = place.with_name(f"{place.name}.{os.getpid()}")
    half.mkdir(parents=True)
    for start in range(0, COMPACTED, PART):
        _write(half / f"part-{start}.jsonl", range(start, min(COMPACTED, start + PART)), SAMPLES)
        compact.compact(half)
    _write(half / "fresh.jsonl", range(COMPACTED, COMPACTED + FRESH), LATENCIES["fresh"])
    half.rename(place)
    return place


def _write(path: Path, numbers: range, latencies: int) -> None:
    with path.open("wb") as handle:
        handle.writelines(map(schema.line, made_records(numbers, latencies)))


def _opened_s(chromium: Any, url: str) -> float:
    """A browser with an empty cache, from asking for the page to its answer and its last chart."""
    context = chromium.new_context(viewport={"width": WIDTHS[-1], "height": HEIGHT})
    began = time.perf_counter()
    open_page(context, f"{url}/?lang=en").locator(".lk-answer").wait_for()
    took = time.perf_counter() - began
    context.close()
    return took


def _changes_ms(chromium: Any, url: str, choose: Callable[[Any, int], Any]) -> list[float]:
    """From the key that makes a choice to the frame in which the table shows it; `choose` gives the field."""
    context = chromium.new_context(viewport={"width": WIDTHS[-1], "height": HEIGHT})
    page = open_page(context, url)
    found = []
    for number in range(CHANGES):
        box = choose(page, number)
        page.evaluate(WATCH)
        box.press("Enter")
        found.append(page.evaluate("window.lokmaChanged"))
        page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
    context.close()
    return found


def _another_bundle(page: Any, number: int) -> Any:
    box = page.get_by_role("combobox").first
    box.click()
    box.fill(f"bundle-{11 + 7 * number}")
    page.get_by_role("option").first.wait_for()
    return box


def _another_rate(page: Any, number: int) -> Any:
    box = page.get_by_role("spinbutton").last
    box.fill(str(40 + number))
    return box


def _row(name: str, value: float, bound: float, n: int, note: str = "") -> Row:
    return paired.row(name, value, bound, value <= bound, n, note)


def measured(names: Sequence[str]) -> Iterator[Row]:
    """The groups' rows, one after another; a record of each is appended as it is done."""
    run = uuid.uuid4().hex
    for name in names:
        flags, found = busy(), GROUPS[name]()
        scenario = {"budget": "dashboard", "group": name, "run": run}
        budget.keep(budget.record(scenario, found, flags))
        yield from found


def main(argv: list[str]) -> int:
    """Prints the rows."""
    args = budget.parser("dashboard_budget", __doc__, GROUPS).parse_args(argv)
    return budget.answered(
        "dashboard_budget", lambda: budget.show(measured(budget.chosen(args.only, GROUPS)), args.json)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
