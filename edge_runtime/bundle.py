"""A bundle: the one folder (or the same folder as a `.zip`) with all that a device needs of a model.

Reading one is reading a stranger's file: no pickle, no path leaves the folder, sizes are checked at
every load and hashes the first time a file is seen, and every refusal is a `BadBundle` that says why.

>>> from edge_runtime import examples
>>> bundle = open_bundle(examples.path("digits.zip"))
>>> bundle.spec.task, [artifact.id for artifact in bundle.artifacts]
('multiclass', ['xnnpack-fp32', 'onnx-fp32', 'xnnpack-int8', 'onnx-int8'])
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_runtime import __version__, store
from edge_runtime.errors import BadBundle, BadInput, BadRequest
from edge_runtime.frozen import frozen
from edge_runtime.source import MANIFEST, MAX_ENTRIES, Folder, Source, safe
from edge_runtime.spec import ModelSpec, is_text, read_json

SCHEMA_VERSION = 1
SIGNATURE = "manifest.json.sig"  # where ssh-keygen -Y sign puts it
CARD = "MODEL_CARD.md"
MAX_MANIFEST_BYTES = 4 << 20
MAX_FILE_BYTES = 4 << 30
MAX_GOLDEN_BYTES = 64 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}")


@frozen
class Artifact:
    """One runnable file of a bundle. `details` keeps the measured rest: parity, accuracy, verdict, recipe."""

    id: str
    file: str
    engine: str
    precision: str
    sha256: str
    size_bytes: int
    details: Mapping[str, Any] = {}


@frozen
class Golden:
    """A stored reference case: a raw input, and what the eager model and each artifact answered to it.

    `tensor` is a PNG of the pixels that go into the model; None for rows, and in bundles of older exports.
    """

    id: str
    input: bytes | list[float]
    reference: tuple[float, ...]
    outputs: Mapping[str, tuple[float, ...]]
    tensor: bytes | None = None


@frozen
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
            verify: True hashes a file even if it was hashed before and looks unchanged. Where signatures are
                asked for every load does: the memory of hashes is not signed.

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
                always = verify or os.environ.get("LOKMA_TRUSTED_SIGNERS")
                digest = store.sha256_of(path) if always else store.remembered_sha256(path)
            except OSError as error:
                raise BadBundle(f"{path} cannot be read: {error.strerror or error}") from error
        else:
            found = self.source.read(artifact.file, artifact.size_bytes)
            digest = store.sha256_of_bytes(found)
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

    def files(self) -> dict[str, int]:
        """The names of the bundle's files, and the most bytes that are read of each.

        Raises:
            BadBundle: the manifest names a file outside the bundle.
        """
        names = {MANIFEST: MAX_MANIFEST_BYTES, **{one.file: one.size_bytes for one in self.artifacts}}
        for case in _list(self.manifest, "golden"):
            for entry in (case, case.get("tensor")) if isinstance(case, dict) else ():
                if isinstance(entry, dict) and "file" in entry:
                    names.setdefault(safe(entry["file"]), MAX_GOLDEN_BYTES)
        for name in (SIGNATURE, CARD):
            with contextlib.suppress(BadBundle):  # neither must be there
                names.setdefault(name, min(self.source.size(name), MAX_MANIFEST_BYTES))
        return names

    def verify(self) -> None:
        """Hashes every file that the manifest names.

        Raises:
            BadBundle: one is missing, damaged or altered.
        """
        for artifact in self.artifacts:
            self.content(artifact, verify=True)
        self.golden()

    def _golden(self, case: Any) -> Golden:
        try:
            given = self._golden_file(case) if "file" in case else [float(value) for value in case["input"]]
            outputs = {str(key): tuple(map(float, values)) for key, values in case["outputs"].items()}
            tensor = None if case.get("tensor") is None else self._golden_file(case["tensor"])
            return Golden(str(case["id"]), given, tuple(map(float, case["reference"])), outputs, tensor)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadBundle(f"a golden case of {self.source.path} cannot be read: {error!r}") from error

    def _golden_file(self, case: Mapping[str, Any]) -> bytes:
        name = safe(case["file"])
        given = self.source.read(name, MAX_GOLDEN_BYTES)
        if len(given) != case["size_bytes"] or store.sha256_of_bytes(given) != case["sha256"]:
            raise BadBundle(f"{name} of {self.source.path} was altered or damaged; fetch the bundle again")
        return given


def open_bundle(path: str | Path) -> Bundle:
    """Opens a bundle folder or its `.zip` and checks everything but the artifacts' bytes.

    A plain name always means the installed bundle where there is one, whatever lies in the working
    directory (a warning says if something of that name does); `./digits` is always the folder here.

    Args:
        path: the folder, the `.zip`, or the name of an installed bundle. A `Path` has no leading `./`
            any more, so that `Path("./digits")` is the plain name; a string keeps it.

    Raises:
        BadInput: nothing is there.
        BadBundle: it is damaged, unsafe, or of a schema that this version does not know; or it is
            unsigned, or altered since, and `LOKMA_TRUSTED_SIGNERS` is set.
        Missing: `LOKMA_TRUSTED_SIGNERS` is set and the signature cannot be looked at here.
    """
    source = _source(path)
    manifest = source.read(MANIFEST, MAX_MANIFEST_BYTES)
    if os.environ.get("LOKMA_TRUSTED_SIGNERS"):
        from edge_runtime import signature

        signature.signer(source, manifest)  # of these very bytes, which hold the hashes of all other files
    return _read(source, read_json(manifest, f"the {MANIFEST} of {source.path}"))


def _source(given: str | Path) -> Source:
    path, active = Path(given), None
    try:
        active = store.installed(str(given))
    except BadBundle as error:  # a service may be kept out of its user's home, and has a path all the same
        if not (isinstance(error.__cause__, PermissionError) and os.path.lexists(path)):
            raise
    if active is not None and active.folder.is_dir():
        if os.path.lexists(path):
            import logging

            taken = f"{given} means the installed bundle, version {active.active}"
            logging.getLogger(__name__).warning("%s; what lies here is %s", taken, path.absolute())
        return Folder(active.folder)
    try:
        if path.is_dir():
            return Folder(path)
        if path.is_file():
            from edge_runtime.zipped import Zip

            return Zip(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    names = ", ".join(store.installed_names())
    here = f"; installed here: {names}" if names else ""
    raise BadInput(f"{path} does not exist; give a bundle folder, its .zip, or a .onnx or .pte file{here}")


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
        file=safe(entry["file"]),
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
