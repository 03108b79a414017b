"""Pictures from a stream: splits the MJPEG of a camera into its frames, and keeps up with it.

`rpicam-vid --codec mjpeg -o - | lokma run BUNDLE -` reads this way. JPEG markers: ITU-T T.81, annex B.

>>> jpeg = b"\\xff\\xd8\\xff\\xda\\x00\\x02data\\xff\\xd9"
>>> [name for name, _ in frames(iter([jpeg + jpeg, b""]).__next__)]
['frame 1', 'frame 2']
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator

from edge_runtime.errors import BadInput

MAX_BYTES = 64 << 20  # of one picture on stdin; far above any camera's
_START = b"\xff\xd8\xff"
# Coded data end at the next marker; 00 (a stuffed byte) and D0 to D7 (restarts) belong to them, FF is filling.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_ALONE = (0x01, *range(0xD0, 0xD8))  # markers without a length

Frame = tuple[str, bytes | BadInput]


def frames(read: Callable[[], bytes]) -> Iterator[Frame]:
    """Splits a stream of JPEGs; anything else is one picture, up to the stream's end.

    The thumbnail inside a frame's EXIF has a start and an end of its own, so the segments are walked by their
    lengths. A damaged or cut-off frame is yielded as its error.

    Args:
        read: gives the next bytes, as many as are there; b"" at the end.
    """
    stream, count = _Stream(read), 0
    try:
        if not stream.has(len(_START)) or not stream.data.startswith(_START):
            while stream.has(len(stream.data) + 1):
                pass
            yield "stdin", bytes(stream.data) or BadInput("nothing came on stdin")
            return
        while stream.seek_start():
            count += 1
            end, damage = stream.frame()
            yield f"frame {count}", BadInput(f"frame {count} {damage}") if damage else bytes(stream.data[:end])
            if stream.is_photograph:
                return
            del stream.data[:end]
    except BadInput as error:
        yield "stdin", error


class _Stream:
    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self.data = bytearray()
        self.is_photograph = False  # a phone's: behind it lies a smaller copy or a gain map, not the next frame

    def has(self, size: int) -> bool:
        """Reads until there are `size` bytes; False where the stream ends before."""
        while len(self.data) < size:
            if len(self.data) > MAX_BYTES:
                raise BadInput(f"stdin holds a picture of more than the {MAX_BYTES:,} bytes that are read")
            more = self._read()
            if not more:
                return False
            self.data += more
        return True

    def seek_start(self) -> bool:
        """Drops what lies before the next frame; False where there is none."""
        while (start := self.data.find(_START)) < 0:
            del self.data[:-2]
            if not self.has(len(self.data) + 1):
                return False
        del self.data[:start]
        return True

    def frame(self) -> tuple[int, str]:
        """Where the frame at the start of `data` ends, and "" or how it is damaged."""
        data, at = self.data, 2
        while self.has(at + 2):
            marker = data[at + 1]
            if data[at] != 0xFF or marker in (0x00, 0xD8):
                return at, f"is damaged at its byte {at}"
            if marker == 0xD9:
                return at + 2, ""
            if marker == 0xFF or marker in _ALONE:
                at += 1 if marker == 0xFF else 2
                continue
            if not self.has(at + 8):
                break
            self.is_photograph |= marker == 0xE2 and data[at + 4 : at + 8] == b"MPF\0"
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            while marker == 0xDA and (found := _MARKER.search(data, at)) is None:
                at = max(at, len(data) - 1)  # the last byte may be half a marker
                if not self.has(len(data) + 1):
                    break
            at = found.start() if marker == 0xDA and found else at
        return len(data), f"is cut off: the stream ended after {len(data)} of its bytes"


class Newest:
    """Frames as they come, but of those that came while the last was answered only the newest.

    So the answer stays as young as the camera's picture however slow the model; `dropped` counts the others.
    Errors are never dropped.
    """

    def __init__(self, source: Iterable[Frame]) -> None:
        self._source = source
        self._waiting: list[Frame] = []
        self._ended = False
        self._changed = threading.Condition()
        self.dropped = 0

    def __iter__(self) -> Iterator[Frame]:
        threading.Thread(target=self._fill, daemon=True).start()
        while True:
            with self._changed:
                while not self._waiting and not self._ended:
                    self._changed.wait(1)  # not for ever: Windows hears no Ctrl-C meanwhile
                if not self._waiting:
                    return
                frame = self._waiting.pop(0)
            yield frame

    def _fill(self) -> None:
        try:
            for frame in self._source:
                self._add(frame)
        except OSError as error:
            self._add(("stdin", BadInput(f"stdin cannot be read: {error.strerror or error}")))
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _add(self, frame: Frame) -> None:
        with self._changed:
            if isinstance(frame[1], bytes):
                errors = [one for one in self._waiting if not isinstance(one[1], bytes)]
                self.dropped += len(self._waiting) - len(errors)
                self._waiting = errors
            self._waiting.append(frame)
            self._changed.notify()
