import io
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_runtime import frames as module
from edge_runtime.errors import BadInput
from edge_runtime.frames import Newest, frames


def jpeg(color, **options):
    handle = io.BytesIO()
    Image.effect_noise((48, 40), 60).convert("RGB").point(lambda value: value ^ color).save(handle, "JPEG", **options)
    return handle.getvalue()


THUMBNAIL = b"Exif\0\0" + jpeg(9)  # a JPEG inside a segment of a JPEG, as every phone writes it
FILM = [
    jpeg(1),
    jpeg(2, exif=THUMBNAIL),
    jpeg(3, progressive=True),
    jpeg(4, restart_marker_blocks=1),
    jpeg(5, quality=100),
]


def split(data, chunk=1 << 16):
    """What comes of a stream whose reads give at most `chunk` bytes."""
    handle = io.BytesIO(data)
    return list(frames(lambda: handle.read(chunk)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(range(len(FILM))), min_size=1, max_size=4), st.integers(1, 3000))
def test_a_film_is_split_into_its_frames_however_its_bytes_come(order, chunk):
    expected = [(f"frame {count}", FILM[index]) for count, index in enumerate(order, 1)]
    assert split(b"".join(FILM[index] for index in order), chunk) == expected


def test_what_stands_between_frames_is_skipped():
    film = b"--boundary\r\nContent-Type: image/jpeg\r\n\r\n".join([b"", *FILM[:3]])
    assert [data for _, data in split(FILM[0] + film + b"\r\n--boundary--")] == [FILM[0], *FILM[:3]]


@pytest.mark.parametrize("kept", [3, 20, 200, 700])
def test_a_last_frame_that_is_cut_off_is_named(kept):
    found = split(FILM[0] + FILM[1][:kept])
    assert found[0] == ("frame 1", FILM[0]) and found[1][0] == "frame 2" and len(found) == 2
    assert str(found[1][1]) == f"frame 2 is cut off: the stream ended after {kept} of its bytes"


def test_after_a_frame_that_lost_bytes_the_next_one_is_found():
    found = split(FILM[0] + FILM[1][:-50] + FILM[2] + FILM[3])
    assert [data for _, data in found if isinstance(data, bytes)] == [FILM[0], FILM[2], FILM[3]]
    assert "frame 2 is damaged at its byte" in str(found[1][1])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 400), st.integers(1, 50))
def test_any_bytes_end_in_frames_or_errors(junk, place, chunk):
    data = bytearray(FILM[0] + FILM[1])
    data[place : place + len(junk)] = junk
    assert all(isinstance(found, (bytes, BadInput)) for _, found in split(bytes(data), chunk))


def test_anything_but_a_jpeg_is_one_picture():
    handle = io.BytesIO()
    Image.new("RGB", (20, 20)).save(handle, "PNG")
    assert split(handle.getvalue(), 7) == [("stdin", handle.getvalue())]
    (name, error), *rest = split(b"")
    assert (name, str(error), rest) == ("stdin", "nothing came on stdin", [])


def test_a_photograph_with_a_second_picture_behind_it_is_one_picture():
    handle = io.BytesIO()
    first, second = Image.new("RGB", (48, 40), "red"), Image.new("RGB", (48, 40), "blue")
    first.save(handle, "MPO", save_all=True, append_images=[second])
    ((name, data),) = split(handle.getvalue())
    assert name == "frame 1" and Image.open(io.BytesIO(data)).getpixel((9, 9))[0] > 200


def test_a_picture_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    for start in (b"\xff\xd8\xff\xda\0\2", b"no jpeg"):
        chunks = iter([start, *[b"\1" * 1000] * 200])
        ((name, error),) = frames(lambda chunks=chunks: next(chunks))
        assert name == "stdin" and "holds a picture of more than the 100,000 bytes" in str(error)


def test_of_frames_that_came_meanwhile_the_newest_is_answered_and_the_others_are_counted():
    busy, broken = threading.Event(), BadInput("frame 5 is cut off")

    def camera():
        yield "frame 1", b"1"
        busy.wait(10)
        yield from [("frame 2", b"2"), ("frame 3", b"3"), ("frame 4", b"4"), ("frame 5", broken)]

    newest = Newest(camera())
    source = iter(newest)
    assert next(source) == ("frame 1", b"1")
    busy.set()
    with newest._changed:
        assert newest._changed.wait_for(lambda: newest._ended, 10)
    assert list(source) == [("frame 4", b"4"), ("frame 5", broken)] and newest.dropped == 2


def test_a_model_that_is_faster_than_the_camera_misses_nothing():
    taken = threading.Semaphore(1)

    def camera():
        for count in range(20):
            assert taken.acquire(timeout=10)
            yield f"frame {count}", b"x"

    newest, seen = Newest(camera()), []
    for name, _ in newest:
        seen.append(name)
        taken.release()
    assert seen == [f"frame {count}" for count in range(20)] and newest.dropped == 0


def test_a_stream_that_breaks_is_named():
    def camera():
        yield "frame 1", b"1"
        raise OSError(5, "Input/output error")

    assert str(list(Newest(camera()))[-1][1]) == "stdin cannot be read: Input/output error"
