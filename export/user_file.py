"""`path/to/file.py:function`: her code runs in a child process, which hands back an exported program and nothing else.

>>> split("models/food.py:make")
(PosixPath('models/food.py'), 'make')
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edge_runtime.errors import BadInput, BadRequest
from export import user_child
from export.asked import Asked, spec_of
from export.sources import Plan, Source
from train.user_data import Data


def split(typed: str) -> tuple[Path, str]:
    """The file and the function's name."""
    file, _, function = typed.rpartition(":")
    return Path(file), function


def plan(typed: str, asked: Asked, data: Data | None) -> Plan:
    """What would be done.

    Raises:
        BadInput: the file is not there.
        BadRequest: no function is named.
    """
    path, function = split(typed)
    if not path.is_file():
        raise BadInput(f"{path} does not exist; give path/to/file.py:function")
    if not function.isidentifier():
        raise BadRequest(f"{typed}: name the function that returns the module, as {path}:make")
    spec, missing = spec_of(path.stem, asked, data)
    if spec is None:
        return Plan("file.py:function", typed, path.stem, None, missing, data)
    image = spec.image
    child = Child(path, function, (3, image.crop, image.crop) if image else spec.inputs[0].sample_shape)

    def load() -> Source:
        from export.program import source_of_program

        return source_of_program(child.program(), spec, asked, typed)

    return Plan("file.py:function", typed, path.stem, spec, missing, data, child.content, load, close=child.close)


class Child:
    """The process of one module; it starts when it is first asked, and imports her file once."""

    def __init__(self, path: Path, function: str, shape: tuple[int, ...]) -> None:
        self.path, self.function, self.shape = path, function, shape
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._content = ""

    def content(self) -> str:
        """A hash of her module's weights, its code, and the files of her folder that it read.

        Raises:
            BadInput: her file cannot be imported, or her function fails; the message holds the line.
        """
        if self._process is None:
            self._start()
            self._content = str(self._answer()["content"])
        return self._content

    def program(self) -> Any:
        """Her module as an exported program.

        Raises:
            BadInput: it does not take the shape, or torch.export cannot trace it; with torch's explanation.
        """
        from export.program import load_program

        self.content()
        self._tell("trace")
        self._answer()
        assert self._folder is not None
        program = load_program(Path(self._folder.name) / "module.pt2")
        self.close()  # what is killed from here on leaves no copy of her weights behind
        return program

    def close(self) -> None:
        """Ends the process and removes what it wrote."""
        if self._process is not None:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lokma-")
        ours = Path(__file__).resolve().parent.parent
        request = {
            "file": str(self.path.resolve()),
            "function": self.function,
            "path": [place for place in sys.path if place and Path(place).resolve() != ours and Path(place).exists()],
            "shape": self.shape,
            "to": str(Path(self._folder.name) / "module.pt2"),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-I", user_child.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what she and torch print; what went wrong comes as an answer
            text=True,
        )
        self._tell(json.dumps(request))

    def _tell(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            print(line, file=self._process.stdin, flush=True)
        except BrokenPipeError:  # it has ended; the answer says why
            return

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise BadInput(
                f"{self.path} ended Python by itself (code {code}) before its module was there; "
                'put what it runs under `if __name__ == "__main__":`'
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BadInput(str(answer["error"]))
        return answer
