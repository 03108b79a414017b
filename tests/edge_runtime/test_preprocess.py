import contextlib
import io
import struct
import sys
import threading
import types
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, features

from edge_runtime.errors import BadInput
from edge_runtime.preprocess import MAX_PIXELS, open_picture, to_pixels
from edge_runtime.spec import ImageSpec

IMAGE = ImageSpec(resize=18, crop=16)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100


def encoded(picture, kind, **options):
    handle = io.BytesIO()
    picture.save(handle, kind, **options)
    return handle.getvalue()


def seen(source, image=IMAGE, exact=True):
    """The tensor of a picture: int (crop, crop, 3)."""
    pixels = to_pixels(open_picture(source, image, exact=exact), image)
    return np.frombuffer(pixels, np.uint8).reshape(image.crop, image.crop, 3).astype(int)


def png_of(*chunks):
    """A PNG of these chunks, whatever they say."""
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def solid(color, mode="RGB", size=(40, 30)):
    return Image.new(mode, size, color)


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("width", "height"),
    [
        (64, 64),
        (65, 64),
        (101, 67),
        (67, 101),
        (512, 384),
        (384, 512),
        (513, 511),
        (30, 29),
        (17, 31),
        (333, 200),
    ],
)
@pytest.mark.parametrize(("resize", "crop"), [(18, 16), (255, 224), (224, 224), (57, 33)])
def test_pixels_are_torchvisions_resize_and_center_crop(draw, tmp_path, width, height, resize, crop, kernel):
    """To one level, in few pixels: Pillow takes a crop's edges as float32, which tips a rounding of x.5."""
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    picture = draw(width, height, 1)
    picture.save(tmp_path / "picture.png")
    theirs = CenterCrop(crop)(Resize(resize, InterpolationMode(kernel), antialias=True)(picture))
    drift = np.abs(seen(tmp_path / "picture.png", ImageSpec(resize, crop, kernel)) - np.asarray(theirs))
    assert drift.max() <= 1 and (drift > 0).mean() < 0.04  # 0.031 at most was seen


def test_a_picture_of_the_models_own_size_is_not_changed(draw):
    picture = draw(18, 18, 0)
    assert (seen(picture) == np.asarray(picture)[1:17, 1:17]).all()


@pytest.mark.parametrize(("width", "height"), [(1, 9000), (9000, 1), (1, 1), (3, 2)])
def test_the_longest_and_the_smallest_pictures_are_read(width, height):
    assert (seen(solid((10, 200, 30), size=(width, height))) == (10, 200, 30)).all()


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
def test_the_two_directions_keep_their_order_in_tall_pictures_too(draw, kernel):
    picture, image = draw(300, 900, 5), ImageSpec(32, 30, kernel)
    across = picture.resize((32, 900), Image.Resampling[kernel.upper()])
    both = np.asarray(across.resize((32, 96), Image.Resampling[kernel.upper()])).astype(int)[33:63, 1:31]
    assert np.abs(seen(picture, image) - both).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(draw, orientation):
    upright = draw(40, 30, 2)
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # stored turned the other way
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turns[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "PNG", exif=exif)
    assert (seen(data) == seen(upright)).all()
    with Image.open(io.BytesIO(data)) as lazy:
        assert (seen(lazy) == seen(upright)).all()
        assert lazy.size == stored.size  # the caller's own picture is left as it was


def test_cmyk_grey_and_palette_become_rgb():
    assert np.abs(seen(encoded(solid((0, 255, 255, 0), "CMYK"), "JPEG")) - (255, 0, 0)).max() <= 2
    assert (seen(encoded(solid(77, "L"), "PNG")) == 77).all()
    assert (seen(encoded(solid(1, "1"), "PNG")) == 255).all()
    assert (seen(encoded(solid((9, 8, 7)).convert("P", palette=Image.Palette.ADAPTIVE), "GIF")) == (9, 8, 7)).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_seen_on_white(mode):
    nothing = solid((0,) * len(mode), mode)
    assert (seen(encoded(nothing, "PNG")) == 255).all()
    half = solid((0, 0, 0, 128)[-len(mode) :], mode)
    assert (seen(encoded(half, "PNG")) == 127).all()


def test_a_palette_with_a_transparent_color_is_seen_on_white():
    picture = solid(0, "P")
    picture.putpalette([200, 0, 0, 0, 0, 200])
    assert (seen(encoded(picture, "PNG", transparency=0)) == 255).all()
    assert (seen(encoded(picture, "PNG", transparency=1)) == (200, 0, 0)).all()


@pytest.mark.parametrize(("grey", "expected"), [(0, 0), (200, 0), (32768, 127), (65535, 255)])
def test_16_bit_grey_is_scaled_to_8_bits_however_dark_it_is(grey, expected):
    sixteen = Image.fromarray(np.full((30, 40), grey, np.uint16))
    assert (seen(encoded(sixteen, "PNG")) == expected).all()
    assert (seen(encoded(sixteen, "TIFF")) == expected).all()


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((30, 40), 70_000, np.int32), "holds 32-bit grey, so nothing says what white is"),
        (np.full((30, 40), 0.5, np.float32), "holds floats, so nothing says what white is"),
    ],
)
def test_a_picture_without_a_white_is_refused(array, says):
    with pytest.raises(BadInput, match=says):
        seen(encoded(Image.fromarray(array), "TIFF"))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "MPO", *(["WEBP"] if features.check("webp") else [])])
def test_the_first_frame_of_an_animation_is_read(kind):
    first, second = solid((250, 0, 0)), solid((0, 0, 250))
    data = encoded(first, kind, save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert np.abs(seen(data) - (250, 0, 0)).max() <= 4  # MPO and WebP are lossy


def test_16_bit_color_is_scaled_to_8_bits():
    rows = b"".join(b"\0" + struct.pack(">HHH", 65535, 32768, 0) * 40 for _ in range(30))
    head = struct.pack(">IIBBBBB", 40, 30, 16, 2, 0, 0, 0)
    data = png_of((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    assert (seen(data) == (255, 128, 0)).all()


@pytest.mark.parametrize("exact", [True, False])
def test_a_large_cmyk_photograph_and_a_turned_one_are_read_at_a_reduced_scale_too(draw, exact):
    data, image = encoded(solid((0, 255, 255, 0), "CMYK", (400, 300)), "JPEG"), ImageSpec(18, 16)
    assert np.abs(seen(data, image, exact=exact) - (255, 0, 0)).max() <= 2
    upright, exif = draw(400, 300, 2), Image.Exif()
    exif[0x0112] = 6
    turned = encoded(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)
    difference = np.abs(seen(turned, image, exact=exact) - seen(upright, image))
    assert difference.max() <= 9 and difference.mean() < 3  # 6 and 1.8; lying on its side: 79 and 23


def test_a_mono_jpeg_is_read_at_a_reduced_scale_too(draw):
    grey = draw(400, 300, 2).convert("L")
    assert np.abs(seen(encoded(grey, "JPEG", quality=95), exact=False) - seen(grey)).max() <= 6


@pytest.mark.parametrize("form", ["path", "bytes", "file"])
def test_heic_says_what_reads_it(tmp_path, monkeypatch, form):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where it is not installed
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(HEIC)
    source = {"path": path, "bytes": HEIC, "file": io.BytesIO(HEIC)}[form]
    with pytest.raises(BadInput, match="is HEIC; pip install pillow-heif reads it here, or save it as JPEG"):
        seen(source)


def test_heic_is_read_where_its_plug_in_is_installed_and_imports_it_only_then(draw, monkeypatch):
    picture, registered = draw(40, 30, 4), []

    class HeifFile(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            self._mode, self._size = "RGB", picture.size

        def load(self):
            self.im = picture.im
            return Image.Image.load(self)

    def register():
        registered.append(True)
        Image.register_open("HEIF", HeifFile, lambda head: head[4:8] == b"ftyp")

    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    plug_in = types.ModuleType("pillow_heif")
    plug_in.register_heif_opener = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", plug_in)
    with pytest.raises(BadInput, match="is not a picture"):
        seen(b"text" * 20)
    seen(encoded(picture, "PNG"))
    assert not registered
    assert (seen(HEIC) == seen(picture)).all() and registered == [True]


def test_a_picture_of_the_models_size_is_its_own_tensor(draw):
    picture = draw(16, 16, 1)
    assert (seen(picture, ImageSpec(16, 16)) == np.asarray(picture)).all()
    assert (seen(picture, ImageSpec(18, 16)) != np.asarray(picture)).any()  # 18 asks for a resize before the crop


@pytest.mark.skipif(not features.check("webp"), reason="this Pillow has no WebP")
def test_webp_bmp_and_ppm_are_read(draw):
    picture = draw(40, 30, 3)
    for kind, options in (("WEBP", {"lossless": True}), ("BMP", {}), ("PPM", {}), ("TIFF", {})):
        assert (seen(encoded(picture, kind, **options)) == seen(picture)).all()


def test_every_way_to_give_a_picture_sees_the_same(draw, tmp_path):
    data, path = encoded(draw(40, 30, 4), "PNG"), tmp_path / "ü n.png"
    path.write_bytes(data)
    first = seen(path)
    with path.open("rb") as handle, Image.open(path) as pil:
        handle.seek(10)
        for source in (str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), handle, pil):
            assert (seen(source) == first).all()
        assert not handle.closed


def test_a_stream_that_cannot_seek_is_read(draw):
    class Pipe(io.RawIOBase):
        def __init__(self, data):
            self.rest = io.BytesIO(data)

        def read(self, size=-1):
            return self.rest.read(size)

    assert (seen(Pipe(encoded(draw(40, 30, 4), "WEBP", lossless=True))) == seen(draw(40, 30, 4))).all()


def test_bad_files_are_one_clear_line(draw, tmp_path):
    data = encoded(draw(200, 150, 0), "JPEG")
    cases = {
        "cut.jpg": (data[: len(data) // 2], "damaged or cut-off picture: .*truncated"),
        "head.jpg": (data[:30], "damaged or cut-off picture|is not a picture"),
        "text.jpg": (b"not a picture at all, only text", "text.jpg is not a picture that can be read here"),
        "empty.jpg": (b"", "empty.jpg is empty"),
        "cut.png": (encoded(draw(200, 150, 0), "PNG")[:5000], "damaged or cut-off picture"),
        "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is not a picture"),
    }
    for name, (content, says) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match=says):
            seen(tmp_path / name, exact=False)
    with pytest.raises(BadInput, match=r"missing.jpg does not exist"):
        seen(tmp_path / "missing.jpg")
    with pytest.raises(BadInput, match=r"is a folder, not a picture"):
        seen(tmp_path)
    with pytest.raises(BadInput, match=r"/dev/null is not a file"):
        seen("/dev/null")
    with pytest.raises(BadInput, match=r"cannot be read: .*null byte|does not exist"):
        seen("a\0b")
    with pytest.raises(BadInput, match=r"cannot be read: File name too long|does not exist"):
        seen("x" * 5000)
    with pytest.raises(BadInput, match="a int is not a picture; give a path, bytes"):
        seen(5)
    with pytest.raises(BadInput, match="was opened as text; open it in binary mode"):
        seen(io.StringIO("text"))
    with pytest.raises(BadInput, match="0 x 0 pixels; at least one"):
        seen(Image.new("RGB", (0, 0)))


def test_a_lazy_picture_that_is_cut_off_is_refused(draw):
    data = encoded(draw(200, 150, 0), "JPEG")
    with (
        Image.open(io.BytesIO(data[: len(data) // 2])) as lazy,
        pytest.raises(BadInput, match="cut-off picture"),
    ):
        seen(lazy)


def bomb(width, height):
    """A PNG of one colour, a few kilobytes, that says it is huge."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return png_of((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100_000, 9)), (b"IEND", b""))


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (MAX_PIXELS + 1, 1), (9_000, 10_000)])
def test_a_picture_bomb_is_refused_before_it_unpacks(width, height):
    with pytest.raises(BadInput, match=r"89,000,000 are read|the 89,000,000 pixels that are read"):
        seen(bomb(width, height))


@pytest.mark.parametrize(("width", "height"), [(9_000, 10_000), (13_000, 13_500)])
def test_a_picture_above_pillows_own_limit_is_refused_in_our_one_line(width, height):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with pytest.raises(BadInput, match=f"has {width} x {height} pixels; at least one and at most 89,000,000"):
            seen(bomb(width, height))
    assert heard == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_every_format_is_told_by_its_content(draw, kind):
    opened = open_picture(encoded(draw(60, 40, 2), kind), IMAGE)
    assert opened.size == (60, 40) and opened.mode == "RGB"


def test_a_reduced_decode_of_a_large_jpeg_stays_close_to_the_exact_one(draw):
    data, image = encoded(draw(1200, 900, 6), "JPEG", quality=90), ImageSpec(64, 56)
    fast, exact = seen(data, image, exact=False), seen(data, image)
    assert open_picture(data, image).size == (300, 225) and open_picture(data, image, exact=True).size == (
        1200,
        900,
    )
    assert np.abs(fast - exact).mean() < 1.0 and np.abs(fast - exact).max() <= 8  # measured: 0.5 and 4


def test_a_jpeg_below_four_times_the_models_size_is_decoded_in_full(draw):
    data, image = encoded(draw(300, 255, 6), "JPEG"), ImageSpec(64, 56)
    assert (seen(data, image, exact=False) == seen(data, image)).all()


def test_eight_threads_see_the_same(draw):
    data = encoded(draw(300, 200, 7), "JPEG")
    found = []
    threads = [threading.Thread(target=lambda: found.append(seen(data).tobytes())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1


WHOLE = [
    encoded(solid((9, 8, 7)).convert("P"), "GIF"),
    encoded(
        solid((9, 8, 7)),
        "JPEG",
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
    ),
    encoded(solid((9, 8, 7, 6), "RGBA"), "PNG"),
    encoded(solid((9, 8, 7)), "TIFF"),
    encoded(solid((9, 8, 7)), "WEBP"),
    encoded(solid((9, 8, 7)), "BMP"),
]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=6),
    st.integers(0),
)
def test_a_damaged_file_of_any_format_is_read_or_refused(data, changes, cut):
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata and reads on
        with contextlib.suppress(BadInput):
            assert seen(bytes(damaged[: len(damaged) - cut % 50]), exact=False).shape == (16, 16, 3)
