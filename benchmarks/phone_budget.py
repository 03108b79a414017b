"""The phone page's budget, in Chromium: the same answers as the runtime, a first answer soon, many phones at once.

`python -m benchmarks.phone_budget [--json] [--only GROUP]` (about eight minutes; the first time it makes two large
bundles too) prints each row, appends a record a group and exits 1 where one does not hold. Nothing here is a phone: a
browser on this machine, its main thread slowed down where the row says so.
"""

from __future__ import annotations

import contextlib
import gzip
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import budget, paired
from benchmarks.environment import busy
from benchmarks.paired import Row
from benchmarks.phone_bundles import SEEDED, png, seeded
from edge_runtime import load
from edge_runtime.bundle import MANIFEST, open_bundle
from edge_runtime.errors import Missing
from edge_runtime.spec import ModelSpec
from mobile_demo import phone_site
from mobile_demo.phone_host import Site
from mobile_demo.screenshot import browser
from train.data import image_data

FOOD = Path("bundles") / "foodvision-mini"
MIN_SAME = {"onnx-fp32": 0.99, "onnx-int8": 0.97}  # from the JPEG
MAX_PIXELS, MAX_MB, MAX_S, MAX_PAGE_BYTES, PHONES = 1, 9.5, 15.0, 100_000, 30
MBIT_S, ROUND_TRIP_MS, SLOWER = 10, 40, 4
PATIENCE_MS = 240_000
# what every question to the page needs: the page's own modules, the bundle and an open session
OPENED = """
  const [{openBundle, content}, {openSession}, {ask}, {check}] = await Promise.all(
    ['bundle.js', 'engine.js', 'runner.js', 'check.js'].map((name) => import(new URL(name, document.baseURI).href)));
  const site = await (await fetch('site.json')).json();
  const bundle = await openBundle(new URL(`bundles/${site.bundles[0]}/`, document.baseURI).href, site);
  const artifact = bundle.artifacts.find((one) => one.id === wanted);
  const session = await openSession(site, bundle.spec, await content(bundle, artifact));
"""
SPANS = "performance.getEntriesByType('measure').filter((one) => /^lokma-/.test(one.name)).map((one) => one.duration)"
ANSWERS = (
    """async ([wanted, urls]) => {"""
    + OPENED
    + """
  const found = [];
  for (const url of urls) found.push((await ask(bundle.spec, session, await (await fetch(url)).blob())).values);
  session.close();
  return found;
}"""
)
CHECKED = (
    """async ([wanted]) => {"""
    + OPENED
    + """
  const found = await check(site, bundle, artifact, session);
  session.close();
  return found;
}"""
)


def pictures() -> list[Row]:
    """The test pictures: the same best label as the runtime, from the same pixels and from the JPEG."""
    paths = [example.path for example in image_data("foodvision-mini").test]
    opened = open_bundle(_food())
    given = {f"{number}.jpg": path.read_bytes() for number, path in enumerate(paths)}
    given |= {f"{number}.png": _decoded(path, opened.spec.image) for number, path in enumerate(paths)}
    found: list[Row] = []
    with Site(_food(), given) as site, browser() as chromium:
        page = chromium.new_context().new_page()
        page.goto(f"{site.url}words.en.json")  # the page's host, without the page
        page.set_default_timeout(PATIENCE_MS)
        for artifact, kind, least in (
            ("onnx-fp32", "png", 1.0),
            ("onnx-fp32", "jpg", MIN_SAME["onnx-fp32"]),
            ("onnx-int8", "jpg", MIN_SAME["onnx-int8"]),
        ):
            with contextlib.closing(load(_food(), artifact, exact=True)) as predictor:
                wanted = [predictor.predict(path).index for path in paths]
            urls = [f"pictures/{number}.{kind}" for number in range(len(paths))]
            answers = page.evaluate(ANSWERS, [artifact, urls])
            same = sum(
                max(range(len(row)), key=row.__getitem__) == best for row, best in zip(answers, wanted, strict=True)
            )
            name = (
                f"{artifact}: same best label as the runtime, {'the same pixels' if kind == 'png' else 'from the JPEG'}"
            )
            share = same / len(paths)
            found.append(paired.row(name, share, least, share >= least, len(paths), f"{same} of {len(paths)}"))
        for artifact in MIN_SAME:
            told = page.evaluate(CHECKED, [artifact])
            note = f"answers: raw {told['raw']:.1e}, tensor {told['tensor']:.1e}"
            holds = told["ok"] and told["pixels"] <= MAX_PIXELS
            name = f"{artifact}: golden tensors, levels of 255"
            found.append(paired.row(name, told["pixels"], MAX_PIXELS, holds, told["cases"], note))
    return found


def first_answer() -> list[Row]:
    """A cold cache, 10 Mbit/s and a processor four times slower: how much, and how long to the first answer."""
    with Site(_food()) as site, browser() as chromium:
        context = chromium.new_context(viewport={"width": 390, "height": 844}, device_scale_factor=2)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        rate = MBIT_S * 1e6 / 8
        slow = {"offline": False, "latency": ROUND_TRIP_MS, "downloadThroughput": rate, "uploadThroughput": rate}
        session.send("Network.emulateNetworkConditions", slow)
        session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        began = time.monotonic()
        page.goto(site.url, wait_until="commit")
        page.locator("#samples button").first.click()  # it waits for the model
        page.locator("#answer:not([hidden])").wait_for()
        took_s, sent_mb = time.monotonic() - began, site.sent_bytes / 1e6
        spans = page.evaluate(SPANS)
        worker_s = sum(spans) / 1e3
    whole_s = took_s + (SLOWER - 1) * worker_s
    note = (
        f"{MBIT_S} Mbit/s, {ROUND_TRIP_MS} ms, {SLOWER}x: {took_s:.1f} s seen, of them {worker_s:.1f} s in the "
        f"engine's worker, which DevTools does not slow down and which count {SLOWER} times here"
    )
    return [
        paired.row("cold cache to the first answer, MB", sent_mb, MAX_MB, sent_mb <= MAX_MB, 1),
        paired.row("cold cache to the first answer, s", whole_s, MAX_S, whole_s <= MAX_S, 1, note),
    ]


def size() -> list[Row]:
    """The page without engine, bundle and samples, as gzip."""
    made = phone_site.files([open_bundle(_food())])
    own = [file for name, file in made.items() if not name.startswith(("engine/", "bundles/", "samples/"))]
    count = sum(len(gzip.compress(file.read(), 6)) for file in own)
    name = "the page without engine and bundle, gzip, bytes"
    return [paired.row(name, count, MAX_PAGE_BYTES, count < MAX_PAGE_BYTES, len(own))]


def crowd() -> list[Row]:
    """Thirty phones load page, engine and bundle at once: all answer."""
    failed: list[str] = []
    with Site(_food()) as site, browser() as chromium:
        pages = []
        for _ in range(PHONES):
            page = chromium.new_context().new_page()
            page.on("requestfailed", lambda request: failed.append(request.url))
            page.on("pageerror", lambda error: failed.append(str(error)))
            pages.append(page)
        began = time.monotonic()
        for page in pages:
            page.goto(f"{site.url}?threads=1", wait_until="commit")
            page.locator("#samples button").first.click(timeout=PATIENCE_MS)
        for page in pages:
            page.locator("#answer:not([hidden])").wait_for(timeout=PATIENCE_MS)
        answered = sum(page.locator("#answer:not([hidden])").count() for page in pages)
        took_s = time.monotonic() - began
    note = f"{took_s:.0f} s until all had; {len(failed)} requests failed" + "".join(f"; {one}" for one in failed[:2])
    holds = answered == PHONES and not failed
    return [paired.row("browser contexts at once that answered", answered, PHONES, holds, PHONES, note)]


def large() -> list[Row]:
    """Seeded EfficientNet-B2 and ViT-B/16 pass the page's own check."""
    found = []
    for name in SEEDED:
        folder = seeded(name, _lowered)
        with Site(folder) as site, browser() as chromium:
            page = chromium.new_context().new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.goto(f"{site.url}words.en.json")
            told = page.evaluate(CHECKED, ["onnx-fp32"])
        note = f"raw {told['raw']:.1e}, tensor {told['tensor']:.1e}, pixels {told['pixels']} of 255"
        found.append(paired.row(f"{name}: golden cases that agree", told["cases"], 3, told["ok"], told["cases"], note))
    return found


GROUPS: dict[str, Callable[[], list[Row]]] = {
    "pictures": pictures,
    "first-answer": first_answer,
    "size": size,
    "crowd": crowd,
    "large": large,
}


def _decoded(path: Path, image: Any) -> bytes:
    """A picture's pixels as the runtime decodes them, without loss."""
    from edge_runtime.preprocess import open_picture

    return png(open_picture(path, image, exact=True))


def _lowered(model: Any, spec: ModelSpec, pixels: Any) -> bytes:
    from export.lowering import lower
    from export.recipes import Job

    return lower("onnx-fp32", Job(model, spec, pixels, pixels[:1])).data


def _food() -> Path:
    if not (FOOD / MANIFEST).is_file():
        raise Missing(f"{FOOD} is not here; make demo trains and exports it")
    return FOOD


def measured(names: Sequence[str]) -> Iterator[Row]:
    """The groups' rows, one after another; a record of each is appended as it is done."""
    run = uuid.uuid4().hex
    for name in names:
        flags, found = busy(), GROUPS[name]()
        scenario = {"budget": "phone", "group": name, "run": run}
        budget.keep(
            budget.record(
                scenario, found, flags, bundle={"name": FOOD.name}, notes=["Chromium on this machine, no phone"]
            )
        )
        yield from found


def main(argv: list[str]) -> int:
    """Prints the rows."""
    args = budget.parser("phone_budget", __doc__, GROUPS).parse_args(argv)
    return budget.answered("phone_budget", lambda: budget.show(measured(budget.chosen(args.only, GROUPS)), args.json))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
