import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_runtime import store, writing
from edge_runtime.errors import BadBundle, BadRequest, Missing

KILLED = """
import sys, time
from pathlib import Path
from edge_runtime.writing import whole_folder
for version in range(1, 100_000):
    with whole_folder(Path(sys.argv[1])) as folder:
        for name in range(20):
            (folder / str(name)).write_text(str(version))
    print("written", flush=True)
"""


def write(target: Path, text: str) -> None:
    with writing.whole_folder(target) as folder:
        for name in ("a", "b"):
            (folder / name).write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    write(tmp_path / "deep" / "one", "old")
    write(tmp_path / "deep" / "one", "new")
    assert names(tmp_path / "deep") == ["one"]
    assert (tmp_path / "deep/one/a").read_text() == "new"
    assert (tmp_path / "deep/one").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug"), SystemExit(1)])
def test_what_interrupts_the_writing_leaves_the_old_folder(tmp_path, error):
    write(tmp_path / "one", "old")
    with pytest.raises(type(error)), writing.whole_folder(tmp_path / "one") as folder:
        (folder / "a").write_text("half")
        raise error
    assert names(tmp_path) == ["one"] and (tmp_path / "one/a").read_text() == "old"


def test_a_full_disk_is_one_clear_line_and_leaves_the_old_folder(tmp_path, monkeypatch):
    write(tmp_path / "one", "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadRequest, match=r"cannot write .*one: No space left on device; nothing was changed"):
        write(tmp_path / "one", "new")
    assert names(tmp_path) == ["one"] and (tmp_path / "one/a").read_text() == "old"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_an_interruption_between_the_two_renames_brings_the_old_folder_back(tmp_path, monkeypatch, error):
    write(tmp_path / "one", "old")
    rename = Path.rename

    def interrupted(self, target):
        if Path(target).name == "one" and not self.name.endswith(".old"):
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises((KeyboardInterrupt, BadRequest)):
        write(tmp_path / "one", "new")
    assert names(tmp_path) == ["one"] and (tmp_path / "one/a").read_text() == "old"


def test_a_missing_file_in_the_body_is_named(tmp_path):
    with (
        pytest.raises(BadRequest, match=r"No such file or directory \(.*gone"),
        writing.whole_folder(tmp_path / "one"),
    ):
        (tmp_path / "gone").read_text()
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_a_link_of_that_name_is_not_replaced(tmp_path, kind):
    (tmp_path / "real").mkdir()
    if kind == "file":
        (tmp_path / "one").write_text("mine")
    else:
        (tmp_path / "one").symlink_to(tmp_path / "real")
    with pytest.raises(BadRequest, match="a file or a link of that name is there"):
        write(tmp_path / "one", "new")
    assert names(tmp_path) == ["one", "real"]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRequest, match=r"cannot write beside .*Not a directory|File exists"):
        write(tmp_path / "file" / "one", "new")


def test_a_kill_at_any_moment_leaves_a_whole_folder_or_none_and_the_next_call_clears_up(tmp_path):
    target, draw = tmp_path / "one", random.Random(0)
    found = {"whole": 0, "none": 0}
    for _ in range(12):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"written\n"
        time.sleep(draw.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        found["whole" if target.exists() else "none"] += 1
        if target.exists():
            versions = {(target / str(name)).read_text() for name in range(20)}
            assert len(versions) == 1 and names(target) == sorted(map(str, range(20)))
    write(target, "after")
    assert names(tmp_path) == ["one"] and names(target) == ["a", "b"]
    assert found["whole"] >= 6  # "none" where the kill fell between the two renames


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_an_old_folder_that_a_killed_process_set_aside_comes_back(tmp_path):
    aside = tmp_path / f".one.{dead_process()}.abcdefgh.old"
    aside.mkdir()
    (aside / "a").write_text("old")
    with pytest.raises(RuntimeError), writing.whole_folder(tmp_path / "one"):
        raise RuntimeError("a bug")
    assert names(tmp_path) == ["one"] and (tmp_path / "one/a").read_text() == "old"


def test_what_a_living_process_or_another_target_builds_is_left_alone(tmp_path):
    dead = dead_process()
    mine = [f".one.{os.getpid()}.abcdefgh", f".one.{dead}.{dead}.abcdefgh", f".one.{dead}.notours"]
    for name in mine:
        (tmp_path / name).mkdir()
    write(tmp_path / "one", "new")
    assert names(tmp_path) == sorted([*mine, "one"])


def test_the_home_folder_is_the_environments(monkeypatch, tmp_path):
    assert store.home() == tmp_path / "home"
    monkeypatch.delenv("LOKMA_HOME")
    monkeypatch.setenv("HOME", "/somewhere")
    assert store.home() == Path("/somewhere/.lokma")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def nobody(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)
    with pytest.raises(Missing, match="set LOKMA_HOME"):
        store.home()


ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


@pytest.fixture
def hashed(monkeypatch):
    """The files that were really hashed; every file counts as settled."""
    seen: list[str] = []
    real = store.sha256_of
    monkeypatch.setattr(store, "sha256_of", lambda path: (seen.append(path.name), real(path))[1])
    monkeypatch.setattr(store, "_SETTLED_NS", -1)
    return seen


def test_a_file_is_hashed_once_until_it_changes(tmp_path, hashed):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert [store.remembered_sha256(file) for _ in range(3)] == [ABC] * 3 and hashed == ["file"]
    file.write_bytes(b"abd")
    os.utime(file, ns=(0, 0))
    assert store.remembered_sha256(file) != ABC and len(hashed) == 2
    (tmp_path / "other").write_bytes(b"abc")
    (tmp_path / "other").replace(file)
    assert store.remembered_sha256(file) == ABC and len(hashed) == 3


def test_a_time_stamp_that_was_set_back_does_not_hide_a_change(tmp_path, hashed):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    stat = file.stat()
    store.remembered_sha256(file)
    time.sleep(0.02)  # one tick of the file system's clock
    file.write_bytes(b"abd")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.remembered_sha256(file) != ABC


def test_a_file_written_this_moment_is_not_remembered_yet(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert store.remembered_sha256(file) == ABC
    assert not (store.home() / "seen.json").exists()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"x": 5}', b"[" * 100_000])
def test_a_damaged_memory_costs_a_hash_and_nothing_else(tmp_path, hashed, damage):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    store.home().mkdir(parents=True)
    (store.home() / "seen.json").write_bytes(damage)
    assert store.remembered_sha256(file) == ABC
    assert store.remembered_sha256(file) == ABC and hashed == ["file"]


def test_a_memory_that_holds_nonsense_for_a_file_is_not_believed(tmp_path, hashed):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    store.home().mkdir(parents=True)
    (store.home() / "seen.json").write_text(json.dumps({str(file): ["x"]}))
    assert store.remembered_sha256(file) == ABC


def test_a_home_that_cannot_be_written_costs_a_hash_and_nothing_else(tmp_path, hashed, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    monkeypatch.setenv("LOKMA_HOME", str(file / "not a folder"))
    assert [store.remembered_sha256(file) for _ in range(2)] == [ABC] * 2 and hashed == ["file"] * 2


def test_the_memory_keeps_the_newest_files_only(tmp_path, hashed, monkeypatch):
    monkeypatch.setattr(store, "MAX_REMEMBERED", 3)
    for name in "abcd":
        (tmp_path / name).write_bytes(b"abc")
        store.remembered_sha256(tmp_path / name)
    kept = json.loads((store.home() / "seen.json").read_text())
    assert [Path(path).name for path in kept] == ["b", "c", "d"]


def test_a_file_is_replaced_whole_or_stands_as_it_was(tmp_path, monkeypatch):
    writing.replace_file(tmp_path / "file", b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            writing.replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old" and names(tmp_path) == ["file"]
    writing.replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new" and names(tmp_path) == ["file"]


def test_a_file_is_flushed_before_the_rename_and_its_folder_after(tmp_path, monkeypatch):
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("flush"), fsync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda self, target: (done.append("rename"), replace(self, target))[1])
    writing.replace_file(tmp_path / "file", b"new")
    assert done == ["flush", "rename", "flush"]


def test_a_lock_is_held_by_one_and_freed_by_the_end_of_its_process(tmp_path):
    lock = tmp_path / "deep" / ".lock"
    code = (
        "import sys, time; from pathlib import Path; from edge_runtime import writing\n"
        "with writing.locked(Path(sys.argv[1]), 'busy'): print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"held\n"
    with pytest.raises(BadRequest, match=r"^busy$"), writing.locked(lock, "busy"):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    with writing.locked(lock, "busy"):
        assert lock.exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"active": "3", "previous": null}', '{"active": true, "previous": 1}']
)
def test_a_damaged_note_of_what_is_active_is_named(text):
    file = store.home() / "bundles" / "digits" / "active.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(BadBundle, match=r"active.json cannot be read .*; install digits again"):
        store.installed("digits")
    assert store.installed_names() == ["digits"]


def test_what_a_killed_repair_set_aside_comes_back_unless_an_install_holds_the_lock():
    folder = store.home() / "bundles" / "digits"
    (folder / f".3.{dead_process()}.abcdefgh.old").mkdir(parents=True)  # that of another container looks as dead
    (folder / "active.json").write_text('{"active": 3, "previous": null}')
    with writing.locked(folder / ".lock", "busy"):
        assert not store.installed("digits").folder.exists()
    assert store.installed("digits").folder.exists()


def test_a_user_without_a_home_has_nothing_installed(monkeypatch):
    def nobody():
        raise Missing("this user has no home folder")

    monkeypatch.setattr(store, "home", nobody)
    assert store.installed("digits") is None and store.installed_names() == []


def test_a_name_that_is_no_bundles_name_is_not_looked_for():
    (store.home() / "x").mkdir(parents=True)
    (store.home() / "x" / "active.json").write_text('{"active": 1, "previous": null}')
    assert store.installed("../x") is None and store.installed("") is None and store.installed("x\n") is None
