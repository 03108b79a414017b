"""`lokma install --on` against a real sshd on loopback, with its own keys, configuration and home folder."""

import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from edge_runtime import remote
from edge_runtime.errors import BadInput, BadRequest, Missing

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = dict(os.environ)  # with the real LOKMA_HOME, where the executorch wheel is cached
NAME = "tiny-shapes"
PADDING = 3_000_000  # of the golden picture, so that a transfer can be cut in its middle

pytestmark = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None, reason="needs sshd and ssh (openssh-server, openssh-client)"
)

# In place of ssh: passes on at most CUT bytes of what is sent, then kills the connection; logs how much it was.
CUTTING_SSH = """
import os, subprocess, sys
log, cut = sys.argv[1], int(sys.argv[2])
child = subprocess.Popen(sys.argv[3:], stdin=subprocess.PIPE)
sent = 0
while data := os.read(0, 65536):
    data = data[:cut - sent]
    child.stdin.write(data)
    child.stdin.flush()
    sent += len(data)
    if sent == cut:
        import time
        time.sleep(0.5)  # what was sent is on its way
        child.kill()
        break
child.stdin.close()
if sent:
    with open(log, "a") as handle:
        handle.write(f"{sent}\\n")
sys.exit(child.wait() % 256 and 255)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An sshd; every session's HOME is the link `home`, so that each test can have an empty one."""
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized\nPermitRootLogin prohibit-password\nSetEnv HOME={folder}/home\n"
    )
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "config").write_text(
        f"Host pi\nHostName 127.0.0.1\nPort {port}\nUser {getpass.getuser()}\nIdentityFile {folder}/user\n"
        f"UserKnownHostsFile {folder}/known\nIdentitiesOnly yes\n"
    )
    separation = Path("/run/sshd")  # sshd wants this folder when root starts it; it is made at boot
    made = os.geteuid() == 0 and not separation.exists()
    if made:
        separation.mkdir()
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        time.sleep(0.05)
    (folder / "home").mkdir()
    probe = subprocess.run(["ssh", "-F", folder / "config", "pi", "echo $HOME"], capture_output=True, text=True)
    shutil.rmtree(folder / "home")
    if probe.stdout.strip() != f"{folder}/home":
        child.terminate()
        child.wait()
        pytest.skip(f"this sshd cannot be used here: {probe.stderr} {(folder / 'log').read_text()}")
    yield folder
    child.terminate()
    child.wait()
    if made:
        separation.rmdir()


@pytest.fixture
def pi(server, tmp_path, monkeypatch):
    """The home folder of a machine called `pi` that has this lokma on it."""
    home = tmp_path / "pi"
    bare(home, server, monkeypatch)
    program = home / ".lokma" / "venv" / "bin" / "lokma"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m edge_runtime.cli "$@"\n')
    program.chmod(0o755)
    return home


def bare(home, server, monkeypatch):
    home.mkdir()
    (server / "home").unlink(missing_ok=True)
    (server / "home").symlink_to(home)
    monkeypatch.setenv("LOKMA_SSH", f"ssh -F {server}/config")


@pytest.fixture
def make(pictures, tmp_path):
    """`make(version)` gives a bundle folder of that version, of about 3 MB."""

    def made(version, change=lambda manifest: None):
        import hashlib

        folder = tmp_path / f"bundle {version} it's"
        shutil.copytree(pictures.folder, folder, dirs_exist_ok=True)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["version"] = version
        case = manifest["golden"][0]
        data = (folder / case["file"]).read_bytes() + bytes(PADDING)
        (folder / case["file"]).write_bytes(data)
        case.update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return made


@pytest.fixture
def install(lokma):
    def call(*arguments, **options):
        return lokma("install", *arguments, "--on", "pi", "--no-tune", timeout=120, **options)

    return call


def active(home):
    return json.loads((home / ".lokma" / "bundles" / NAME / "active.json").read_text())


def incoming(home):
    return sorted(path.name for path in (home / ".lokma" / "incoming").iterdir())


def test_a_first_install_an_update_a_lower_version_and_a_rollback_there(pi, make, install):
    done = install(make(1))
    assert done.returncode == 0, done.stderr
    assert f"{NAME} 1 is active" in done.stdout and active(pi) == {"active": 1, "previous": None}
    assert (pi / ".lokma/bundles" / NAME / "1" / "onnx-int8.onnx").is_file() and incoming(pi) == []
    done = install(make(3), "--json")
    answer = json.loads(done.stdout)
    assert (answer["active"], answer["previous"], answer["changed"]) == (3, 1, True) and active(pi)["active"] == 3
    done = install(make(2))
    assert done.returncode == 2 and f"{NAME} 2 is older than 3, which is active here" in done.stderr
    assert incoming(pi) == []
    assert active(pi) == {"active": 3, "previous": 1}
    assert json.loads(install("--list", "--json").stdout)["installed"][0]["active"] == 3
    done = install("--rollback", NAME)
    assert done.returncode == 0 and f"{NAME} 1 is active again" in done.stdout and active(pi)["active"] == 1


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_cut_transfer_leaves_the_old_bundle_active_and_goes_on_where_it_stopped(
    pi, server, make, install, form, tmp_path, monkeypatch
):
    assert install(make(1)).returncode == 0
    bundle = make(2)
    if form == "zip":
        with zipfile.ZipFile(tmp_path / "two.zip", "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(bundle.rglob("*")):
                archive.write(path, path.relative_to(bundle))
        bundle = tmp_path / "two.zip"
    (tmp_path / "cutting.py").write_text(CUTTING_SSH)
    sent, cut = tmp_path / "sent", 1_000_000
    wrapped = f"{sys.executable} {tmp_path}/cutting.py {sent}"
    monkeypatch.setenv("LOKMA_SSH", f"{wrapped} {cut} ssh -F {server}/config")
    done = install(bundle)
    assert done.returncode == 3 and "sending to pi stopped; the same command goes on from there" in done.stderr
    assert active(pi) == {"active": 1, "previous": None} and sent.read_text().split() == [str(cut)]
    (part,) = incoming(pi)
    there = (pi / ".lokma/incoming" / part).stat().st_size
    assert part.endswith(".zip.part") and cut // 2 < there <= cut
    monkeypatch.setenv("LOKMA_SSH", f"{wrapped} {10**12} ssh -F {server}/config")
    assert install(bundle).returncode == 0 and active(pi) == {"active": 2, "previous": 1} and incoming(pi) == []
    (first, second), whole = map(int, sent.read_text().split()), PADDING
    assert first == cut and there + second > whole and second < whole + 200_000 - there


@pytest.mark.parametrize("damage", ["other bytes", "too long", "whole but damaged"])
def test_what_arrived_damaged_is_removed_and_never_installed(pi, make, install, damage, tmp_path):
    bundle = make(1)
    opened = remote.open_bundle(bundle)
    with remote.zipped(opened) as file, remote.zipped(opened) as again:
        assert file.read_bytes() == again.read_bytes()  # or nothing could go on
        name, size = f"{remote.sha256_of(file)}.zip", file.stat().st_size
    (pi / ".lokma/incoming").mkdir()
    length = {"other bytes": size // 2, "too long": size + 5, "whole but damaged": size}[damage]
    (pi / ".lokma/incoming" / f"{name}.part").write_bytes(b"x" * length)
    done = install(bundle)
    assert done.returncode == 3 and "arrived damaged on pi and was removed there; run the same" in done.stderr
    assert incoming(pi) == [] and not (pi / ".lokma/bundles").exists()
    assert install(bundle).returncode == 0 and active(pi)["active"] == 1


def test_a_bundle_that_fails_its_check_there_leaves_the_old_one_active(pi, make, install):
    assert install(make(1)).returncode == 0

    def wrong(manifest):
        manifest["golden"][0]["outputs"]["xnnpack-fp32"] = [9.0, -9.0, 0.0]

    done = install(make(2, wrong))
    assert done.returncode == 1 and "failed the check here and was not installed: xnnpack-fp32" in done.stderr
    assert active(pi) == {"active": 1, "previous": None}
    bundle = make(4)
    (bundle / "onnx-fp32.onnx").write_bytes(b"x" * (bundle / "onnx-fp32.onnx").stat().st_size)
    done = install(bundle)  # found here, before anything is sent
    assert done.returncode == 2 and "was altered or damaged" in done.stderr and active(pi)["active"] == 1


def test_a_machine_without_lokma_is_told_how_it_gets_one(server, make, install, tmp_path, monkeypatch):
    bare(tmp_path / "new", server, monkeypatch)
    done = install(make(1))
    assert done.returncode == 3 and "pi has no lokma; give --wheel lokma-….whl to install it there" in done.stderr


def test_a_wheel_makes_the_environment_there_once_and_one_that_fails_leaves_the_old(
    server, policy, install, tmp_path, monkeypatch
):
    home = tmp_path / "new"
    bare(home, server, monkeypatch)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    subprocess.run([*command, ROOT], check=True, env={**ENVIRONMENT, "LOKMA_PLATFORM": ""})
    (wheel,) = tmp_path.glob("lokma-*.whl")
    done = install(policy.zip, "--wheel", wheel)
    assert done.returncode == 0, done.stderr
    venv = home / ".lokma" / "venv"
    assert venv.is_symlink() and "tiny-balance 1 is active" in done.stdout and incoming(home) == []
    first = venv.resolve()
    broken = tmp_path / "broken" / wheel.name
    broken.parent.mkdir()
    broken.write_bytes(b"not a wheel")
    done = install(policy.zip, "--wheel", broken)
    assert done.returncode == 3 and f"installing {wheel.name} on pi failed (" in done.stderr and venv.resolve() == first
    done = install(policy.zip, "--wheel", wheel)
    assert done.returncode == 0 and "tiny-balance 1 is already active" in done.stdout
    assert wheel.name not in done.stderr and venv.resolve() == first


def test_what_is_no_wheel_is_refused(pi, tmp_path):
    with pytest.raises(BadInput, match=r"notes.txt is not a wheel; `make wheels` writes them to dist/"):
        remote.find("pi", tmp_path / "notes.txt")


def test_a_host_that_does_not_answer_and_one_that_is_an_option_are_named(pi, make, install, monkeypatch):
    (free, config) = free_port(), os.environ["LOKMA_SSH"]
    monkeypatch.setenv("LOKMA_SSH", f"{config} -p {free}")
    done = install(make(1))
    assert done.returncode == 3 and "pi did not answer (" in done.stderr and "refused" in done.stderr
    with pytest.raises(BadRequest, match="is not a host; give user@host"):
        remote.find("-oProxyCommand=touch /tmp/x")
    monkeypatch.setenv("LOKMA_SSH", "no-such-ssh")
    with pytest.raises(Missing, match=r"no-such-ssh cannot be started .* apt install openssh-client"):
        remote.find("pi")


def test_what_a_login_prints_is_not_taken_for_an_answer(pi, server, monkeypatch):
    noisy = pi / "noisy"
    noisy.write_text(f'#!/bin/sh\necho "Welcome to pi"; exec ssh -F {server}/config "$@"\n')
    noisy.chmod(0o755)
    monkeypatch.setenv("LOKMA_SSH", str(noisy))
    assert remote.find("pi") == f"{server}/home/.lokma/venv/bin/lokma"
