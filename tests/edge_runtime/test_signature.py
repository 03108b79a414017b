"""Signatures by the real ssh-keygen with throw-away keys."""

import json
import os
import shutil
import subprocess
import zipfile

import pytest

from edge_runtime import check, load, signature, store
from edge_runtime.bundle import open_bundle
from edge_runtime.errors import BadBundle, Missing
from edge_runtime.install import install

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen (openssh-client)")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two key pairs, `ours` and `theirs`, and the file of allowed signers, which holds the first."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name]
        subprocess.run(command, check=True)
    allowed = "".join((folder / f"{name}.pub").read_text() for name in ("ours",))
    (folder / "allowed").write_text(f"kitchen@example.org {allowed}")
    return folder


@pytest.fixture
def sign(keys, policy, tmp_path, monkeypatch):
    """`sign(key, namespace)` gives a signed copy of the bundle; signatures are asked for."""
    monkeypatch.setenv("LOKMA_TRUSTED_SIGNERS", str(keys / "allowed"))

    def signed(key="ours", namespace="lokma"):
        folder = shutil.copytree(policy.folder, tmp_path / "signed")
        if key:
            command = ["ssh-keygen", "-q", "-Y", "sign", "-f", keys / key, "-n", namespace, folder / "manifest.json"]
            subprocess.run(command, check=True, capture_output=True)
        return folder

    return signed


def zipped(folder, target):
    with zipfile.ZipFile(target, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    return target


def test_a_signed_bundle_opens_and_names_its_signer_as_a_folder_and_as_a_zip(sign, tmp_path):
    folder = sign()
    for path in (folder, zipped(folder, tmp_path / "signed.zip")):
        assert signature.signer(open_bundle(path).source) == "kitchen@example.org"
        assert load(path).predict([0.1, 0, 0, 0]).task == "policy"


def test_an_unsigned_bundle_is_refused_where_a_signature_is_asked_for_and_nowhere_else(sign, monkeypatch, policy):
    with pytest.raises(BadBundle, match=r"is not signed, and LOKMA_TRUSTED_SIGNERS asks for it"):
        load(sign(key=None))
    with pytest.raises(BadBundle, match="is not signed"):
        open_bundle(policy.zip)
    monkeypatch.delenv("LOKMA_TRUSTED_SIGNERS")
    assert signature.signer(open_bundle(policy.zip).source) is None


def test_without_the_variable_no_process_is_started(policy, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    assert open_bundle(policy.folder).name == "tiny-balance"


@pytest.mark.parametrize("change", ["name", "space"])
def test_an_altered_manifest_is_refused(sign, change):
    file = sign() / "manifest.json"
    text = file.read_text()
    file.write_text(text.replace("tiny-balance", "tiny-balancE", 1) if change == "name" else text + " ")
    with pytest.raises(BadBundle, match=r"altered after \(ssh-keygen: .*(incorrect signature|verification failed)"):
        open_bundle(file.parent)


def test_an_altered_artifact_is_refused_by_its_hash(sign):
    folder = sign()
    data = bytearray((folder / "xnnpack-fp32.pte").read_bytes())
    data[-1] ^= 1
    (folder / "xnnpack-fp32.pte").write_bytes(data)
    with pytest.raises(BadBundle, match="was altered or damaged"):
        load(folder)


def test_an_altered_artifact_whose_hash_was_mended_in_the_manifest_is_refused(sign):
    folder = sign()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["artifacts"][0]["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadBundle, match="not signed by anybody in"):
        load(folder)


@pytest.mark.parametrize(
    ("key", "namespace", "says"),
    [("theirs", "lokma", "No principal matched"), ("ours", "file", "namespace")],
)
def test_another_key_or_a_signature_for_another_purpose_does_not_count(sign, key, namespace, says):
    with pytest.raises(BadBundle, match=rf"not signed by anybody in .*{says}"):
        open_bundle(sign(key, namespace))


@pytest.mark.parametrize("garbage", [b"", b"hello", b"\xff" * 1000, b"x" * 70_000])
def test_a_signature_that_is_none_is_refused(sign, garbage):
    folder = sign()
    (folder / "manifest.json.sig").write_bytes(garbage)
    with pytest.raises(BadBundle, match="sign"):
        open_bundle(folder)


def test_a_signature_of_another_bundle_is_refused(sign, pictures):
    folder = sign()
    for name in ("manifest.json", "onnx-fp32.onnx", "xnnpack-fp32.pte"):
        shutil.copy(pictures.folder / name, folder / name)
    with pytest.raises(BadBundle, match="altered after"):
        open_bundle(folder)


def test_a_second_name_for_a_key_and_a_first_name_that_is_not_valid_now(sign, keys, tmp_path, monkeypatch):
    key = (keys / "ours.pub").read_text()
    allowed = tmp_path / "allowed"
    allowed.write_text(f'old@example.org valid-before="20200101" {key}new@example.org namespaces="lokma" {key}')
    monkeypatch.setenv("LOKMA_TRUSTED_SIGNERS", str(allowed))
    assert signature.signer(open_bundle(sign()).source) == "new@example.org"


def test_a_bare_artifact_is_refused_where_a_signature_is_asked_for(policy, monkeypatch):
    path = policy.folder / "xnnpack-fp32.pte"
    signature.refuse_bare(path)
    monkeypatch.setenv("LOKMA_TRUSTED_SIGNERS", "anything")
    with pytest.raises(BadBundle, match=r"xnnpack-fp32.pte is one artifact without a signature"):
        signature.refuse_bare(path)


def test_what_is_missing_to_check_a_signature_is_named_and_nothing_is_loaded(sign, monkeypatch, tmp_path):
    folder = sign()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(Missing, match="needs ssh-keygen; on Debian: apt install openssh-client"):
            open_bundle(folder)
    monkeypatch.setenv("LOKMA_TRUSTED_SIGNERS", str(tmp_path / "gone"))
    with pytest.raises(Missing, match="gone, which is not a file; nothing is loaded without it"):
        open_bundle(folder)


def test_an_ssh_keygen_that_hangs_is_given_up(sign, monkeypatch, tmp_path):
    folder = sign()
    (tmp_path / "ssh-keygen").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "ssh-keygen").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(signature, "_TIMEOUT_S", 0.2)
    with pytest.raises(Missing, match=r"did not answer within 0.2 s, so the signature is not checked"):
        open_bundle(folder)


def test_check_and_info_refuse_what_load_refuses(sign, lokma):
    folder = sign("theirs")
    for verb in ("check", "info"):
        done = lokma(verb, folder)
        assert done.returncode == 2 and "not signed by anybody" in done.stderr
    with pytest.raises(BadBundle, match="not signed"):
        check.check(folder)


def test_install_takes_the_signature_along_and_signs_an_unsigned_copy_over(sign, policy, monkeypatch):
    trusted = os.environ["LOKMA_TRUSTED_SIGNERS"]
    with pytest.raises(BadBundle, match="is not signed"):
        install(policy.zip, tune=False)
    assert store.installed("tiny-balance") is None
    monkeypatch.delenv("LOKMA_TRUSTED_SIGNERS")
    install(policy.zip, tune=False)
    monkeypatch.setenv("LOKMA_TRUSTED_SIGNERS", trusted)
    with pytest.raises(BadBundle, match="is not signed"):
        open_bundle("tiny-balance")
    folder = sign()
    assert install(folder, tune=False).changed and not install(folder, tune=False).changed
    assert signature.signer(open_bundle("tiny-balance").source) == "kitchen@example.org"
