"""The phone page's budget, in Chromium: the same answers as the runtime, a first answer soon, many phones at once.

`python -m benchmarks.phone_budget [--json] [--only GROUP]` (about eight minutes; the first time it makes two large
bundles too) prints each row, appends a record a group and exits 1 where one does not hold. Nothing here is a phone: a
browser on this machine, its main thread slowed down where the row says so.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import budget, efficientnet_b2, paired
from benchmarks.environment import busy
from benchmarks.paired import Row
from benchmarks.photographs import generated
from edge_runtime import __version__, load, store
from edge_runtime.bundle import MANIFEST, SCHEMA_VERSION, open_bundle
from edge_runtime.errors import Missing
from edge_runtime.spec import ImageSpec, Label, ModelSpec, Normalise, TensorSpec
from mobile_demo import phone_site
from mobile_demo.screenshot import browser
from mobile_demo.server import free_port
from train.data import image_data
from train.provenance import code_sha256

FOOD = Path("bundles") / "foodvision-mini"
MIN_SAME = {"onnx-fp32": 0.99, "onnx-int8": 0.97}  # from the JPEG
MAX_PIXELS, MAX_MB, MAX_S, MAX_PAGE_BYTES, PHONES = 1, 9.5, 15.0, 100_000, 30
MBIT_S, ROUND_TRIP_MS, SLOWER = 10, 40, 4
SEEDED = {"efficientnet_b2": 288, "vit_b_16": 224}  # the side in pixels
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


class Site:
    """The page on a port of its own: pictures beside it, and a count of the bytes that went out.

    Args:
        bundle: the folder.
        pictures: name -> encoded picture, served at `/pictures/NAME`.
    """

    def __init__(self, bundle: Path, pictures: dict[str, bytes] | None = None) -> None:
        import uvicorn
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import Response
        from starlette.routing import Route

        from mobile_demo.phone_routes import HEADERS, routes

        given = pictures or {}

        async def picture(request: Request) -> Response:
            return Response(given[request.path_params["name"]], headers=HEADERS)

        self._records = tempfile.TemporaryDirectory(prefix="lokma-phone-")
        page = routes([bundle], "budget", Path(self._records.name))
        self._app = Starlette(routes=[Route("/pictures/{name}", picture), *page])
        self.sent_bytes = 0
        self.url = f"http://localhost:{(port := free_port())}/"
        self._server = uvicorn.Server(
            uvicorn.Config(self._counted, port=port, log_level="error", lifespan="off", interface="asgi3")
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    async def _counted(self, scope: Any, receive: Any, send: Any) -> None:
        async def counting(message: Any) -> None:
            heads = sum(len(name) + len(value) + 4 for name, value in message.get("headers", ()))
            self.sent_bytes += len(message.get("body", b"")) + heads
            await send(message)

        await self._app(scope, receive, counting)

    def __enter__(self) -> Site:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._records.cleanup()


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
        folder = seeded(name)
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


def seeded(name: str) -> Path:
    """A bundle of one fp32 artifact of a torchvision network with seeded weights, made once and kept in the store."""
    side = SEEDED[name]
    code = code_sha256("export.contract", "export.to_onnx", "benchmarks.phone_budget")
    where = store.home() / "budget" / f"phone-{name}-{code[:12]}"
    if (where / MANIFEST).is_file():
        return where
    import torch
    import torchvision
    from PIL import Image

    from edge_runtime import engines
    from edge_runtime.predictor import Predictor
    from export.lowering import lower
    from export.recipes import Job

    classes = len(efficientnet_b2.LABELS)
    spec = ModelSpec(
        name=name,
        task="multiclass",
        inputs=(TensorSpec("pixels", "uint8", ("batch", side, side, 3), "RGB, 0 to 255"),),
        outputs=(TensorSpec("probabilities", "float32", ("batch", classes), "probability"),),
        labels=tuple(Label(label, label, label) for label in efficientnet_b2.LABELS),
        image=ImageSpec(resize=side, crop=side, filter="bicubic"),
        normalise=Normalise((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    )
    shots = [generated(side + 40, side + 90, seed) for seed in range(8)]
    pixels = torch.stack([torch.frombuffer(bytearray(_cut(one, spec.image)), dtype=torch.uint8) for one in shots])
    pixels = pixels.reshape(-1, side, side, 3)
    if name == efficientnet_b2.NAME.replace("-", "_"):
        model = efficientnet_b2.network(pixels)
    else:
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, weights=None, num_classes=classes)
        torch.nn.init.normal_(model.heads.head.weight, std=0.5)  # torchvision starts it at 0: all answers were alike
        model = model.eval().requires_grad_(False)
    found = lower("onnx-fp32", Job(model, spec, pixels, pixels[:1]))
    (where / "golden").mkdir(parents=True, exist_ok=True)
    file = where / "onnx-fp32.onnx"
    file.write_bytes(found.data)
    session = engines.open_session("onnxruntime", file, None, spec.inputs, spec.outputs)
    predictor = Predictor(spec, None, session, exact=True)  # type: ignore[arg-type]  # no bundle is there yet
    cases = []
    for number, shot in enumerate(shots[:3]):
        raw, tensor = _png(shot), _png(Image.frombytes("RGB", (side, side), _cut(shot, spec.image)))
        case = {"id": f"golden-{number}", **_kept(where, f"golden/{number}.png", raw)}
        values = list(predictor.predict(raw).values)
        stored = _kept(where, f"golden/{number}.tensor.png", tensor)
        cases.append({**case, "tensor": stored, "reference": values, "outputs": {"onnx-fp32": values}})
    predictor.close()
    entry = {"id": "onnx-fp32", "engine": "onnxruntime", "precision": "fp32"}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "version": 1,
        "needs_runtime": __version__,
        "spec": spec.to_dict(),
        "artifacts": [{**entry, "file": file.name, "sha256": _digest(found.data), "size_bytes": len(found.data)}],
        "golden": cases,
        "provenance": {"seed": 0, "weights": "seeded, not trained"},
        "licences": {},
    }
    (where / MANIFEST).write_text(json.dumps(manifest))
    return where


def _kept(where: Path, name: str, data: bytes) -> dict[str, Any]:
    (where / name).write_bytes(data)
    return {"file": name, "sha256": _digest(data), "size_bytes": len(data)}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _png(picture: Any) -> bytes:
    handle = io.BytesIO()
    picture.save(handle, "PNG")
    return handle.getvalue()


def _cut(picture: Any, image: Any) -> bytes:
    from edge_runtime.preprocess import to_pixels

    return to_pixels(picture, image)


def _decoded(path: Path, image: Any) -> bytes:
    """A picture's pixels as the runtime decodes them, without loss."""
    from edge_runtime.preprocess import open_picture

    return _png(open_picture(path, image, exact=True))


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
