"""From what a person holds to the tensor a model takes: decode, resize, crop. Pillow only, no numpy.

This is the one implementation: calibration, evaluation, parity and the device all call it, so that
training and device cannot see different pixels. A JPEG that is at least four times the model's size is
decoded at a reduced scale (libjpeg does that in the frequency domain) unless `exact=True`.

>>> from PIL import Image
>>> from edge_runtime.spec import ImageSpec
>>> pixels = to_pixels(Image.new("RGB", (640, 480), "red"), ImageSpec(resize=8, crop=4))
>>> len(pixels), pixels[:3]
(48, b'\\xff\\x00\\x00')
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from edge_runtime.errors import BadInput
from edge_runtime.spec import ImageSpec

MAX_PIXELS = 89_000_000  # seven 12-megapixel photographs; a bomb lies far above
# What is decoded. Pillow knows more, among them EPS, which it hands to Ghostscript, a program of its own.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "PPM", "AVIF", "HEIF")
_FILTERS = {  # the kernel, and how many pixels it reaches to each side
    "bilinear": (Image.Resampling.BILINEAR, 1),
    "bicubic": (Image.Resampling.BICUBIC, 2),
    "lanczos": (Image.Resampling.LANCZOS, 3),
}
# Pillow's plugins let these through from a damaged file; its own errors derive from OSError and ValueError.
_DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def open_picture(source: Any, image: ImageSpec, exact: bool = False) -> Image.Image:
    """Decodes a picture to upright RGB.

    Args:
        source: a path, encoded bytes, a binary file object, or a PIL image.
        image: the model's sizes; they decide how much detail a JPEG must keep.
        exact: True decodes every pixel; False may decode a large JPEG at a reduced scale.

    Raises:
        BadInput: missing, empty, truncated, not a picture, or above `MAX_PIXELS`.
    """
    name, handle = _open(source)
    try:
        if isinstance(handle, Image.Image):
            _check_size(name, handle)
            return _upright_rgb(name, handle.copy())
        with _identified(name, handle) as picture:
            _check_size(name, picture)
            if not exact and min(picture.size) >= 4 * image.resize:
                picture.draft("RGB", _reduced(picture.size, image.resize))
            return _upright_rgb(name, picture)
    except UnidentifiedImageError as error:
        raise BadInput(f"{name} is not a picture that can be read here; give a JPEG, PNG or WebP") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput(f"{name} unpacks to more than the {MAX_PIXELS:,} pixels that are read") from error
    except _DAMAGED as error:
        raise BadInput(f"{name} is a damaged or cut-off picture: {error}") from error
    finally:
        if handle is not source:
            handle.close()


def to_pixels(picture: Image.Image, image: ImageSpec) -> bytes:
    """Resizes the short side, cuts the middle square, and gives RGB bytes of shape (crop, crop, 3).

    Only what is kept is resampled. The result is that of resizing everything, across and then down, and
    cropping after, to one level: Pillow takes the edges of a crop as float32. The two directions are two
    calls because Pillow chooses their order by version and aspect ratio, which moved pixels by 20 levels.
    """
    if picture.size == (image.crop, image.crop) and image.resize == image.crop:
        return picture.tobytes()
    kernel, reach = _FILTERS[image.filter]
    width, height = picture.size
    short = min(width, height)
    new_width, new_height = image.resize * width // short, image.resize * height // short
    left, top = round((new_width - image.crop) / 2), round((new_height - image.crop) / 2)
    across, down = width / new_width, height / new_height
    margin = reach * max(1.0, down) + 1
    first, last = max(0, int(top * down - margin)), min(height, math.ceil((top + image.crop) * down + margin))
    if last - first > height // 2:
        first, last = 0, height  # cutting off less would cost more than it saves
    else:
        picture = picture.crop((0, first, width, last))
    columns = (left * across, 0, (left + image.crop) * across, last - first)
    picture = picture.resize((image.crop, last - first), kernel, box=columns)
    rows = (0, top * down - first, image.crop, (top + image.crop) * down - first)
    return picture.resize((image.crop, image.crop), kernel, box=rows).tobytes()


def _open(source: Any) -> tuple[str, Any]:
    """Returns a name for messages and a binary file object or PIL image."""
    if isinstance(source, Image.Image):
        return "the picture", source
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "the picture given as bytes", io.BytesIO(source)
    if hasattr(source, "read"):
        return _open_file_object(source)
    if not isinstance(source, (str, os.PathLike)):
        kind = type(source).__name__
        raise BadInput(f"a {kind} is not a picture; give a path, bytes, a file object or a PIL image")
    path = Path(source)
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a folder, not a picture")
        if not path.is_file():  # a pipe or a device would be waited for
            raise BadInput(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
        if path.stat().st_size == 0:
            raise BadInput(f"{path} is empty")
        return str(path), path.open("rb")
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _open_file_object(source: Any) -> tuple[str, Any]:
    name = str(getattr(source, "name", "the picture given as a file object"))
    if not isinstance(source.read(0), bytes):
        raise BadInput(f"{name} was opened as text; open it in binary mode")
    seekable = hasattr(source, "seekable") and source.seekable()
    return name, source if seekable else io.BytesIO(source.read())


def _identified(name: str, handle: Any) -> Image.Image:
    """Opens by content. The five common formats are tried before Pillow imports its other plugins."""
    handle.seek(0)
    if handle.read(3) == b"\xff\xd8\xff":
        from PIL import JpegImagePlugin  # noqa: F401  (registers itself; the other plugins take 10 ms to import)
    else:
        Image.preinit()
    try:
        return _opened(handle)
    except UnidentifiedImageError:
        Image.init()
        handle.seek(0)
        if _is_heic(handle.read(12)):
            _register_heif(name)
        handle.seek(0)
        return _opened(handle)


def _opened(handle: Any) -> Image.Image:
    """As `Image.open`, which would warn above a limit of its own, in two lines, before `_check_size` refuses."""
    handle.seek(0)
    head = handle.read(16)
    for factory, accept in (Image.OPEN[name] for name in FORMATS if name in Image.OPEN):
        taken = accept is None or accept(head)
        if not taken or isinstance(taken, str):  # a string: why this Pillow cannot read that format
            continue
        handle.seek(0)
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):  # how a plugin declines
            return factory(handle, "")
    raise UnidentifiedImageError


def _is_heic(head: bytes) -> bool:
    """Whether a file begins as a phone's HEIC does: a box `ftyp` with one of its brands (ISO/IEC 23008-12)."""
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1")


def _register_heif(name: str) -> None:
    """Pillow reads HEIC through a plug-in, which is imported when the first such file comes."""
    try:
        import pillow_heif
    except ImportError as error:
        raise BadInput(f"{name} is HEIC; pip install pillow-heif reads it here, or save it as JPEG") from error
    pillow_heif.register_heif_opener()


def _check_size(name: str, picture: Image.Image) -> None:
    if not 0 < picture.width * picture.height <= MAX_PIXELS:
        size = f"{picture.width} x {picture.height}"
        raise BadInput(f"{name} has {size} pixels; at least one and at most {MAX_PIXELS:,} are read")


def _upright_rgb(name: str, picture: Image.Image) -> Image.Image:
    ImageOps.exif_transpose(picture, in_place=True)
    return _to_rgb(name, picture)


def _to_rgb(name: str, picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        picture.load()
        return picture
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        picture = _from_16_bit(name, picture)
    elif picture.mode == "F":
        raise BadInput(f"{name} holds floats, so nothing says what white is; convert it to 8 or 16 bits")
    elif picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        canvas = Image.new("RGBA", picture.size, "white")  # what a viewer shows behind a transparent picture
        picture = Image.alpha_composite(canvas, picture.convert("RGBA"))
    return picture.convert("RGB")


def _from_16_bit(name: str, picture: Image.Image) -> Image.Image:
    """Scales 16-bit grey to 8 bits. Pillow holds it in 32 bits for some formats and versions."""
    picture = picture.convert("I")
    low, high = picture.getextrema()
    if not 0 <= low <= high <= 65535:  # type: ignore[operator]  # pairs of pairs are for pictures of many bands
        raise BadInput(f"{name} holds 32-bit grey, so nothing says what white is; convert it to 8 or 16 bits")
    return picture.convert("F").point(lambda value: value * (255 / 65535)).convert("L")


def _reduced(size: tuple[int, int], short: int) -> tuple[int, int]:
    """The smallest size that libjpeg may decode to: its short side is still twice the model's."""
    factor = 2 * short / min(size)
    return int(size[0] * factor), int(size[1] * factor)
