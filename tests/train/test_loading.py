"""Pictures come out the same from this process and from others, in order, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from edge_runtime.errors import BadData, BadRequest
from edge_runtime.spec import ImageSpec
from train import loading
from train.data import batches, image_folder
from train.loading import BATCH, FEW, loaded, threads_left, workers
from train.views import PLAIN, View

TINY = ImageSpec(resize=8, crop=8, filter="bicubic")


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(loading, "workers", lambda *_: 2)


@pytest.mark.parametrize("view", [PLAIN, View("part", 3)], ids=str)
def test_other_processes_decode_the_same_pixels_in_the_same_order(make_pictures, monkeypatch, view):
    examples = image_folder(make_pictures(count=40), "x").train
    alone, beside = [], []
    for found, count in ((alone, 0), (beside, 2)):
        monkeypatch.setattr(loading, "workers", lambda *_, count=count: count)
        found += batches(examples, TINY, view)
    assert [chosen for chosen, _ in alone] == [chosen for chosen, _ in beside]
    assert [len(chosen) for chosen, _ in beside] == [BATCH, BATCH, 80 - 2 * BATCH]
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(alone, beside, strict=True))


def test_a_damaged_picture_is_named_from_another_process_and_two_of_a_hundred_are_refused(make_pictures, two, caplog):
    root = make_pictures(count=50)
    examples = image_folder(root, "x").train
    examples[7].path.write_bytes(b"no picture")
    read = [example for chosen, _ in batches(examples, TINY) for example in chosen]
    assert read == [*examples[:7], *examples[8:]] and f"left out: {examples[7].path}" in caplog.text
    examples[9].path.write_bytes(b"nor this")
    with pytest.raises(BadData, match=r"more than 1% of 100 pictures cannot be read; first: .*15.png"):
        list(batches(examples, TINY))


def test_reading_pictures_draws_no_number_that_a_training_would_draw(make_pictures, two):
    examples = image_folder(make_pictures(count=20), "x").train
    before = torch.get_rng_state()
    list(batches(examples, TINY))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_process_that_is_killed_is_one_sentence(make_pictures, two, monkeypatch):
    monkeypatch.setattr(loading, "pixels_of", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    paths = [example.path for example in image_folder(make_pictures(count=20), "x").train]
    with pytest.raises(BadRequest, match="a process that decodes pictures was killed, perhaps for want of memory"):
        list(loaded(paths, TINY, PLAIN))


def test_how_many_processes_decode_is_set_from_the_machine(monkeypatch):
    monkeypatch.setattr(loading, "SHARED", Path("none"))
    for cores, wanted in ((1, 1), (2, 1), (16, 4)):
        monkeypatch.setattr(loading, "cores", lambda cores=cores: cores)
        assert workers(FEW, 224) == wanted and workers(FEW - 1, 224) == 0
        assert threads_left(FEW, 224) == max(2, cores - wanted)
    monkeypatch.setattr(loading, "current", lambda: type("Gpu", (), {"words": lambda _: {"device": "cuda"}})())
    assert workers(FEW, 224) == 15


def test_a_small_shared_memory_means_fewer_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "SHARED", tmp_path)
    monkeypatch.setattr(loading, "cores", lambda: 64)
    monkeypatch.setattr(loading.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 64_000_000}))
    assert workers(FEW, 224) == 3 and workers(FEW, 336) == 1 and workers(FEW, 1000) == 0


SLOW = """
    import sys, time
    from pathlib import Path
    from edge_runtime.spec import ImageSpec
    from train import loading
    from train.views import PLAIN, pixels_of

    def slow(*given):
        time.sleep(0.05)
        return pixels_of(*given)

    loading.pixels_of, loading.workers = slow, lambda *_: 2
    for batch in loading.loaded(sorted(Path(sys.argv[1]).rglob("*.png")), ImageSpec(8, 8), PLAIN):
        print("read", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("stop", [lambda pid: os.killpg(pid, signal.SIGINT), lambda pid: os.kill(pid, signal.SIGKILL)])
def test_ctrl_c_or_a_kill_leaves_no_process_behind(make_pictures, stop):
    root = make_pictures(count=100)
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW), str(root)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as reader:  # fmt: skip
        assert reader.stdout is not None and reader.stdout.readline() == b"read\n"
        assert len(_session(reader.pid)) == 3
        stop(reader.pid)
        reader.wait(20)
        end = time.monotonic() + 20  # a child notices within five seconds that nobody takes its pictures
        while _session(reader.pid) and time.monotonic() < end:
            time.sleep(0.1)
        assert not _session(reader.pid)


def _session(leader: int) -> list[int]:
    """The processes of a session that run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found
