"""Who signed a bundle, by OpenSSH's own tool, which every Raspberry Pi has.

The signer runs `ssh-keygen -Y sign -f KEY -n lokma bundles/NAME/manifest.json`; the `manifest.json.sig` beside
it travels in the folder or `.zip`. The manifest holds the hash of every file that the runtime reads, so it is
all signed. Where `LOKMA_TRUSTED_SIGNERS` names a file of allowed signers (one `name keytype key` a line, see
ALLOWED SIGNERS in `man ssh-keygen`), a bundle that none of them signed is refused.
"""

from __future__ import annotations

import os
from pathlib import Path

from edge_runtime.bundle import MAX_MANIFEST_BYTES, SIGNATURE
from edge_runtime.errors import BadBundle, Missing
from edge_runtime.source import MANIFEST, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import CompletedProcess

VARIABLE = "LOKMA_TRUSTED_SIGNERS"
NAMESPACE = "lokma"  # a signature made for e-mail or git does not count
MAX_SIGNATURE_BYTES = 64 << 10
_TIMEOUT_S = 20


def signer(source: Source, manifest: bytes | None = None) -> str | None:
    """The name in the file of allowed signers whose key signed this bundle; None where none is asked for.

    Args:
        source: `bundle.source`.
        manifest: the manifest's bytes where they were read already.

    Raises:
        BadBundle: nobody in the file signed it, or it was altered after.
        Missing: ssh-keygen or the file of allowed signers is not here.
    """
    signers = _signers()
    if signers is None:
        return None
    import tempfile  # here, because every load imports this module and few ask for a signature

    data = source.read(MANIFEST, MAX_MANIFEST_BYTES) if manifest is None else manifest
    try:
        signed = source.read(SIGNATURE, MAX_SIGNATURE_BYTES)
    except BadBundle as error:
        raise BadBundle(f"{source.path} is not signed, and {VARIABLE} asks for it: {error}") from error
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / SIGNATURE
            file.write_bytes(signed)
            found = _keygen("find-principals", "-s", file, "-f", signers)
            for name in found.stdout.decode(errors="replace").splitlines():
                found = _keygen("verify", "-f", signers, "-I", name, "-n", NAMESPACE, "-s", file, message=data)
                if found.returncode == 0:
                    return name
    except OSError as error:
        raise Missing(f"the signature of {source.path} cannot be checked: {error}") from error
    said = found.stderr.decode(errors="replace").strip().splitlines()
    why = said[-1] if said else "no reason given"
    raise BadBundle(f"{source.path} is not signed by anybody in {signers}, or was altered after (ssh-keygen: {why})")


def refuse_bare(path: Path) -> None:
    """Refuses an artifact copied out of its bundle where a signature is asked for: it has none.

    Raises:
        BadBundle: `LOKMA_TRUSTED_SIGNERS` is set.
    """
    if os.environ.get(VARIABLE):
        raise BadBundle(f"{path} is one artifact without a signature, and {VARIABLE} asks for one; load its bundle")


def _signers() -> Path | None:
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    if not Path(path).is_file():
        raise Missing(f"{VARIABLE} names {path}, which is not a file; nothing is loaded without it")
    return Path(path)


def _keygen(verb: str, *arguments: str | Path, message: bytes = b"") -> CompletedProcess[bytes]:
    import subprocess

    command = ["ssh-keygen", "-Y", verb, *map(str, arguments)]
    try:
        return subprocess.run(command, input=message, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise Missing("checking a signature needs ssh-keygen; on Debian: apt install openssh-client") from error
    except subprocess.TimeoutExpired as error:
        raise Missing(f"ssh-keygen did not answer within {_TIMEOUT_S} s, so the signature is not checked") from error
