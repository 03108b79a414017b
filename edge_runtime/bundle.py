"""A bundle: the one folder (or the same folder as a `.zip`) with all that a device needs of a model.

Reading one is reading a stranger's file: no pickle, no path leaves the folder, sizes are checked at
every load and hashes the first time a file is seen, and every refusal is a `BadBundle` that says why.

>>> from edge_runtime import examples
>>> bundle = open_bundle(examples.path("digits.zip"))
>>> bundle.spec.task, [artifact.id for artifact in bundle.artifacts]
('multiclass', ['xnnpack-fp32', 'onnx-fp32', 'xnnpack-int8', 'onnx-int8'])
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from edge_runtime import __version__, store
from edge_runtime.errors import BadBundle, BadInput, BadRequest
from edge_runtime.spec import ModelSpec, is_text, read_json

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20
MAX_FILE_BYTES = 4 << 30
MAX_GOLDEN_BYTES = 64 << 20
MAX_ENTRIES = 1000
MAX_RATIO = 100  # weights hardly shrink in a .zip; what grows more than this and above 64 MB is a bomb
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}")
_ZIP_ERRORS = (  # what zipfile lets through from a damaged or hostile file
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class Artifact:
    """One runnable file of a bundle. `details` keeps the measured rest: parity, accuracy, verdict, recipe."""

    id: str
    file: str
    engine: str
    precision: str
    sha256: str
    size_bytes: int
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Golden:
    """A stored reference case: a raw input, and what the eager model and each artifact answered to it."""

    id: str
    input: bytes | list[float]
    reference: tuple[float, ...]
    outputs: Mapping[str, tuple[float, ...]]


class Source(Protocol):
    """Where a bundle's files lie. `read` never returns more than `limit` bytes: it refuses instead."""

    path: Path

    def size(self, name: str) -> int:
        """The file's size in bytes."""

    def read(self, name: str, limit: int) -> bytes:
        """The whole file."""

    def file(self, name: str) -> Path | None:
        """Where the file lies on disk, or None inside a zip."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest as it stands, and the parts of it that were read and checked."""

    source: Source
    manifest: Mapping[str, Any]
    spec: ModelSpec
    artifacts: tuple[Artifact, ...]

    @property
    def name(self) -> str:
        """The bundle's name."""
        return str(self.manifest["name"])

    @property
    def version(self) -> int:
        """Grows by one with every export under the same name."""
        return int(self.manifest["version"])

    def artifact(self, name: str) -> Artifact:
        """The artifact with this id.

        Raises:
            BadRequest: there is none; the message lists those that exist.
        """
        for artifact in self.artifacts:
            if artifact.id == name:
                return artifact
        known = ", ".join(artifact.id for artifact in self.artifacts)
        raise BadRequest(f"{self.source.path} has no artifact {name!r}; it has {known}")

    def content(self, artifact: Artifact, verify: bool = False) -> Path | bytes:
        """An artifact's file (a folder's) or bytes (a zip's), checked against size and hash.

        Args:
            artifact: one of `artifacts`.
            verify: True hashes a file even if it was hashed before and looks unchanged.

        Raises:
            BadBundle: it is missing, or its size or hash differs from the manifest's.
        """
        size = self.source.size(artifact.file)
        if size != artifact.size_bytes:
            raise BadBundle(f"{artifact.file} has {size} bytes; the manifest says {artifact.size_bytes}")
        path = self.source.file(artifact.file)
        if path is not None:
            found: Path | bytes = path
            try:
                digest = store.sha256_of(path) if verify else store.remembered_sha256(path)
            except OSError as error:
                raise BadBundle(f"{path} cannot be read: {error.strerror or error}") from error
        else:
            found = self.source.read(artifact.file, artifact.size_bytes)
            digest = hashlib.sha256(found).hexdigest()
        if digest != artifact.sha256:
            raise BadBundle(
                f"{artifact.file} of {self.source.path} was altered or damaged: its sha256 is {digest[:9]}…, "
                f"the manifest says {artifact.sha256[:9]}…; fetch the bundle again"
            )
        return found

    def golden(self) -> tuple[Golden, ...]:
        """The stored reference cases; a picture's input is its encoded bytes, any other a list of numbers.

        Raises:
            BadBundle: a case is malformed, or its file is missing or altered.
        """
        return tuple(self._golden(case) for case in _list(self.manifest, "golden"))

    def _golden(self, case: Any) -> Golden:
        try:
            given = self._golden_file(case) if "file" in case else [float(value) for value in case["input"]]
            outputs = {str(key): tuple(map(float, values)) for key, values in case["outputs"].items()}
            return Golden(str(case["id"]), given, tuple(map(float, case["reference"])), outputs)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadBundle(f"a golden case of {self.source.path} cannot be read: {error!r}") from error

    def _golden_file(self, case: Mapping[str, Any]) -> bytes:
        name = _safe(case["file"])
        given = self.source.read(name, MAX_GOLDEN_BYTES)
        if len(given) != case["size_bytes"] or hashlib.sha256(given).hexdigest() != case["sha256"]:
            raise BadBundle(f"{name} of {self.source.path} was altered or damaged; fetch the bundle again")
        return given


def open_bundle(path: str | Path) -> Bundle:
    """Opens a bundle folder or its `.zip` and checks everything but the artifacts' bytes.

    Raises:
        BadInput: nothing is there.
        BadBundle: it is damaged, unsafe, or of a schema that this version does not know.
    """
    path = Path(path)
    source = _source(path)
    return _read(source, read_json(source.read(MANIFEST, MAX_MANIFEST_BYTES), f"the {MANIFEST} of {path}"))


def _source(path: Path) -> Source:
    try:
        if path.is_dir():
            return Folder(path)
        if path.is_file():
            return Zip(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    raise BadInput(f"{path} does not exist; give a bundle folder, its .zip, or a .onnx or .pte file")


def _read(source: Source, manifest: dict[str, Any]) -> Bundle:
    version = manifest.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise BadBundle(
            f"{source.path} has the manifest schema {version!r}; this lokma reads {SCHEMA_VERSION}. "
            "Update lokma, or export the bundle again"
        )
    _check_runtime(source, manifest.get("needs_runtime"))
    if not is_text(manifest.get("name")) or type(manifest.get("version")) is not int:
        raise BadBundle(f"the manifest of {source.path} needs a name and a whole-number version")
    if not isinstance(manifest.get("spec"), dict):
        raise BadBundle(f"the manifest of {source.path} has no model spec")
    spec = ModelSpec.from_dict(manifest["spec"])
    artifacts = tuple(_artifact(source, entry) for entry in _list(manifest, "artifacts"))
    if not artifacts:
        raise BadBundle(f"{source.path} lists no artifacts")
    if len({artifact.id for artifact in artifacts}) != len(artifacts):
        raise BadBundle(f"{source.path} lists an artifact twice")
    return Bundle(source, manifest, spec, artifacts)


def _check_runtime(source: Source, needs: Any) -> None:
    """Refuses a bundle that was written for a newer lokma than this one."""
    if not isinstance(needs, str) or not _VERSION.fullmatch(needs):
        raise BadBundle(f"{source.path} needs the lokma {needs!r}; a version such as {__version__} must stand there")
    if _numbers(needs) > _numbers(__version__):
        raise BadBundle(f"{source.path} needs lokma {needs}; this is {__version__}. Update lokma")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _artifact(source: Source, entry: Any) -> Artifact:
    keys = ("id", "file", "engine", "precision", "sha256")
    if not isinstance(entry, dict) or not all(is_text(entry.get(key)) for key in keys):
        raise BadBundle(f"an artifact of {source.path} lacks one of {', '.join(keys)}")
    size = entry.get("size_bytes")
    if type(size) is not int or not 0 < size <= MAX_FILE_BYTES or not _SHA256.fullmatch(entry["sha256"]):
        raise BadBundle(f"the artifact {entry['id']!r} of {source.path} has no valid size and sha256")
    return Artifact(
        id=entry["id"],
        file=_safe(entry["file"]),
        engine=entry["engine"],
        precision=entry["precision"],
        sha256=entry["sha256"],
        size_bytes=size,
        details={key: value for key, value in entry.items() if key not in (*keys, "size_bytes")},
    )


def _list(manifest: Mapping[str, Any], key: str) -> list[Any]:
    value = manifest.get(key, [])
    if not isinstance(value, list) or len(value) > MAX_ENTRIES:
        raise BadBundle(f"the manifest's {key} must be a list of at most {MAX_ENTRIES}")
    return value


def _safe(name: Any) -> str:
    """Refuses a file name that could leave the bundle."""
    if is_text(name):
        path = PurePosixPath(name)
        if not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in name:
            return str(name)
    raise BadBundle(f"the bundle names the file {name!r}; only plain names inside the bundle are read")


class Folder:
    """A bundle as a folder. Links that lead out of it are refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path.resolve()

    def file(self, name: str) -> Path:
        """Where the file lies on disk."""
        try:
            found = (self._root / _safe(name)).resolve()
            if not found.is_relative_to(self._root):
                raise BadBundle(f"{name} of {self.path} is a link out of the bundle")
            if not found.is_file():
                raise BadBundle(f"{self.path} has no {name}; it is not a bundle, or not a whole one")
        except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links
            raise BadBundle(f"{name} of {self.path} cannot be read: {error}") from error
        return found

    def size(self, name: str) -> int:
        """The file's size in bytes."""
        return self.file(name).stat().st_size

    def read(self, name: str, limit: int) -> bytes:
        """The whole file, refused above `limit` bytes."""
        try:
            with self.file(name).open("rb") as handle:
                return _bounded(handle.read(limit + 1), name, limit)
        except OSError as error:
            raise BadBundle(f"{name} of {self.path} cannot be read: {error.strerror or error}") from error


class Zip:
    """A bundle as a `.zip`; members are read into memory, nothing is unpacked to disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except _ZIP_ERRORS as error:
            problem = f"neither a folder nor a readable .zip ({error})"
            raise BadBundle(f"{path} is not a bundle: {problem}") from error
        if len(entries) > MAX_ENTRIES:
            raise BadBundle(f"{path} holds {len(entries)} files; a bundle has at most {MAX_ENTRIES}")
        for entry in entries:
            _check_entry(path, entry)
        self._sizes = {entry.filename: entry.file_size for entry in entries}
        if len(self._sizes) != len(entries):
            raise BadBundle(f"{path} holds a file twice")
        self._prefix = _prefix(path, list(self._sizes))

    def file(self, name: str) -> None:
        """None: nothing of a zip lies on disk."""

    def size(self, name: str) -> int:
        """The member's size in bytes, unpacked."""
        try:
            return self._sizes[self._prefix + _safe(name)]
        except KeyError as error:
            raise BadBundle(f"{self.path} has no {name}; it is not a bundle, or not a whole one") from error

    def read(self, name: str, limit: int) -> bytes:
        """The whole member, refused above `limit` bytes."""
        if self.size(name) > limit:
            raise BadBundle(f"{name} unpacks to {self.size(name)} bytes; at most {limit} are read")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._prefix + name) as member:
                return _bounded(member.read(limit + 1), name, limit)
        except _ZIP_ERRORS as error:
            raise BadBundle(f"{name} of {self.path} is damaged: {error}") from error


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    _safe(entry.filename)
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise BadBundle(f"{entry.filename} of {path} is a link; a bundle holds plain files only")
    if entry.flag_bits & 1:
        raise BadBundle(f"{entry.filename} of {path} is encrypted; zip the bundle without a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadBundle(f"{entry.filename} of {path} is compressed in a way that is not read; use deflate")
    if entry.file_size > max(64 << 20, MAX_RATIO * entry.compress_size):
        sizes = f"{entry.compress_size} bytes that unpack to {entry.file_size}"
        raise BadBundle(f"{entry.filename} of {path} is a bomb: {sizes}")


def _prefix(path: Path, names: list[str]) -> str:
    """A zip made by right-clicking the folder holds everything one level down; both forms are read."""
    inside = [name for name in names if name.endswith("/" + MANIFEST) and name.count("/") == 1]
    if MANIFEST in names:
        return ""
    if len(inside) != 1:
        raise BadBundle(f"{path} has no {MANIFEST}; it is not a bundle, or not a whole one")
    return inside[0].removesuffix(MANIFEST)


def _bounded(data: bytes, name: str, limit: int) -> bytes:
    if len(data) > limit:
        raise BadBundle(f"{name} is larger than the {limit} bytes that are read")
    return data
