"""The files of the phone page: its own, the engine's, the bundles' and the samples', by their relative names.

The server answers from this table and `lokma phone --out` writes it to a folder: there is no other list.

>>> from edge_runtime import examples
>>> from edge_runtime.bundle import open_bundle
>>> made = files([open_bundle(examples.path("digits.zip"))])                           # doctest: +SKIP
>>> made["index.html"].media, made["bundles/digits/manifest.json"].media               # doctest: +SKIP
('text/html', 'application/json')
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

import edge_runtime
from edge_runtime import check, store
from edge_runtime.bundle import SCHEMA_VERSION, Bundle
from edge_runtime.errors import BadInput, BadRequest, Missing
from edge_runtime.examples import path as example
from mobile_demo.catalogue.phone import TEXTS

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path(__file__).resolve().parent / "phone"
ENGINE = ROOT / "node_modules" / "onnxruntime-web"
GLUE, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
RUNS = "onnxruntime"  # the engine whose artifacts a browser runs
ASK_ABOVE_BYTES = 40_000_000  # a larger artifact is loaded on a tap
PREFIX = "phone_"  # of the page's keys in the catalogue
MEDIA = {
    ".css": "text/css",
    ".gz": "application/gzip",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
}
# file: (where it comes from, the licence, its address)
SAMPLES = {
    "china.jpg": ("danielbuechele, Flickr", "CC BY 2.0", "https://www.flickr.com/photos/danielbuechele/6061409035/"),
    "flower.jpg": ("vultilion, Flickr", "CC BY 2.0", "https://www.flickr.com/photos/vultilion/6056698931/"),
}
INK, PAPER = (194, 50, 31), (255, 248, 238)  # the brand's tomato, on cream


@dataclass(frozen=True)
class File:
    """One file of the page: bytes, or a path that is read when somebody asks.

    `kept` files are stored by the page's service worker from the start, so that it opens without a network.
    """

    media: str
    content: bytes | Path
    sha256: str
    kept: bool = True

    def read(self) -> bytes:
        """The whole content."""
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


def files(bundles: Sequence[Bundle], collector: str | None = None) -> dict[str, File]:
    """The whole page: relative name -> file.

    Args:
        bundles: what it can run; the first one is opened where the address names none.
        collector: where, relative to the page, records are posted; None saves them to a file instead.

    Raises:
        BadRequest: a bundle has no artifact that a browser can run, or two have one name.
        BadBundle: a bundle is damaged.
        Missing: the engine is not installed.
    """
    found = {**_page(), **_engine(), **_samples()}
    found["site.json"] = _json(_site(bundles, collector, found))
    found["kept.js"] = _kept(found)
    for bundle in bundles:
        found |= _bundle(bundle)
    return found


def write(folder: Path, made: Mapping[str, File]) -> int:
    """Writes the page as one static folder, for any host and any path below it; returns its size in bytes.

    Raises:
        BadRequest: the folder holds something else, or cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / "kept.js").is_file())):
        raise BadRequest(f"{folder} is not empty and no phone page; give --out a new folder")
    total = 0
    try:
        for name, file in made.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            total += target.write_bytes(file.read())
    except OSError as error:
        raise BadRequest(f"the page cannot be written to {folder}: {error.strerror or error}") from error
    return total


def _page() -> dict[str, File]:
    """What is written in this clone, the words and the icons."""
    own = [path for path in sorted(PAGE.iterdir()) if path.suffix in MEDIA and not path.name.startswith("tsconfig")]
    found = {path.name: _bytes(path.name, path.read_bytes()) for path in own}
    for column, language in enumerate(("en", "tr")):
        texts = {key.removeprefix(PREFIX): both[column] for key, both in TEXTS.items()}
        found[f"words.{language}.json"] = _json(texts)
    for side in (192, 512):
        found[f"icon-{side}.png"] = _bytes("icon.png", icon(side))
    return found


def _engine() -> dict[str, File]:
    """onnxruntime-web's two files, the second compressed, and the licence texts that its package lacks."""
    if not (ENGINE / "dist" / WASM).is_file():
        raise Missing("the phone page needs onnxruntime-web: run npm ci in lokma's clone (it comes with Node.js)")
    found = {f"engine/{GLUE}": _bytes(GLUE, (ENGINE / "dist" / GLUE).read_bytes())}
    found[f"engine/{WASM}.gz"] = _path(f"{WASM}.gz", _compressed(ENGINE / "dist" / WASM))
    spec = importlib.util.find_spec("onnxruntime")
    for name in ("LICENSE", "ThirdPartyNotices.txt"):
        text = Path(spec.origin).parent / name if spec and spec.origin else None
        if text is None or not text.is_file():
            raise Missing("the phone page ships the licence texts of the onnxruntime wheel: pip install onnxruntime")
        found[f"engine/{name.removesuffix('.txt')}.txt"] = _path("x.txt", text, kept=False)
    return found


def _compressed(path: Path) -> Path:
    """A file's gzip, made once and kept by its hash."""
    kept = store.home() / "phone" / f"{store.remembered_sha256(path)[:16]}.wasm.gz"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        half = kept.with_suffix(f".{os.getpid()}")
        half.write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
        half.replace(kept)
    return kept


def _samples() -> dict[str, File]:
    """Pictures that packages carry, with their sources in `site.json`; none where the package is not here."""
    found = {"samples/seven.png": _bytes("seven.png", Path(example("seven.png")).read_bytes())}
    spec = importlib.util.find_spec("sklearn")
    folder = Path(spec.origin).parent / "datasets" / "images" if spec and spec.origin else Path()
    for name in SAMPLES:
        if (folder / name).is_file():
            found[f"samples/{name}"] = _path(name, folder / name)
    return found


def _site(bundles: Sequence[Bundle], collector: str | None, found: Mapping[str, File]) -> dict[str, object]:
    """What the page must know of its host and of this lokma."""
    names = [bundle.name for bundle in bundles]
    if len(set(names)) != len(names):
        raise BadRequest(f"two bundles have one name: {', '.join(sorted(names))}")
    samples = [
        {"file": f"samples/{name}", "source": source, "licence": licence, "address": address}
        for name, (source, licence, address) in SAMPLES.items()
        if f"samples/{name}" in found
    ]
    return {
        "lokma": edge_runtime.__version__,
        "schema_version": SCHEMA_VERSION,
        "bundles": names,
        "collector": collector,
        "samples": [*samples, {"file": "samples/seven.png", "source": "lokma", "licence": "Apache-2.0", "address": ""}],
        "engine": {"glue": f"engine/{GLUE}", "version": _engine_version(), "wasm": _stored(f"engine/{WASM}.gz", found)},
        "tolerance": check.TOLERANCE,
        "rounding": check.ROUNDING,
        "ask_above_bytes": ASK_ABOVE_BYTES,
    }


def _stored(name: str, found: Mapping[str, File]) -> dict[str, object]:
    content = found[name].content
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    return {"file": name, "size_bytes": size, "sha256": found[name].sha256}


def _engine_version() -> str:
    return str(json.loads((ENGINE / "package.json").read_text())["version"])


def _kept(found: Mapping[str, File]) -> File:
    """The service worker's list: a changed file changes it, which is how a browser learns of a new version."""
    names = {name: file.sha256[:16] for name, file in sorted(found.items()) if file.kept and name != "sw.js"}
    version = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
    text = f"self.KEPT = {json.dumps({'version': version, 'files': names}, indent=1)};\n"
    return _bytes("kept.js", text.encode(), kept=False)


def _bundle(bundle: Bundle) -> dict[str, File]:
    """A bundle's manifest, card, golden cases and those artifacts that a browser runs."""
    here = {one.file: one for one in bundle.artifacts if one.engine == RUNS}
    if not here:
        others = ", ".join(one.id for one in bundle.artifacts)
        raise BadRequest(f"{bundle.name} has no .onnx artifact, which is what a browser runs; it has {others}")
    elsewhere = {one.file for one in bundle.artifacts} - set(here)
    found: dict[str, File] = {}
    for name, limit in bundle.files().items():
        if name in elsewhere or name.endswith(".sig"):
            continue
        address = f"bundles/{bundle.name}/{name}"
        if name in here:
            found[address] = File(_media(name), bundle.content(here[name]), here[name].sha256, kept=False)
        else:
            found[address] = _bytes(name, bundle.source.read(name, limit), kept=False)
    return found


def icon(side: int) -> bytes:
    """The icon as a PNG of `side` px: a bitten round of bread, drawn four times as large and reduced."""
    big = 4 * side
    picture = Image.new("RGB", (big, big), INK)
    draw = ImageDraw.Draw(picture)

    def disc(x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
        draw.ellipse([(x - radius) * big, (y - radius) * big, (x + radius) * big, (y + radius) * big], fill=colour)

    disc(0.5, 0.5, 0.32, PAPER)
    for x, y, radius in ((0.80, 0.29, 0.13), (0.665, 0.165, 0.105), (0.86, 0.46, 0.095)):
        disc(x, y, radius, INK)
    for x, y in ((0.37, 0.43), (0.50, 0.60), (0.36, 0.62), (0.55, 0.40), (0.66, 0.57)):
        disc(x, y, 0.034, INK)
    handle = io.BytesIO()
    picture.resize((side, side), Image.Resampling.LANCZOS).save(handle, "PNG", optimize=True)
    return handle.getvalue()


def _json(value: object) -> File:
    return _bytes("x.json", json.dumps(value, ensure_ascii=False, sort_keys=True).encode())


def _bytes(name: str, content: bytes, kept: bool = True) -> File:
    return File(_media(name), content, store.sha256_of_bytes(content), kept)


def _path(name: str, path: Path, kept: bool = True) -> File:
    try:
        return File(_media(name), path, store.remembered_sha256(path), kept)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error


def _media(name: str) -> str:
    return MEDIA.get(Path(name).suffix, "application/octet-stream")
