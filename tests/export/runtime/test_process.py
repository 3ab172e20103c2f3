from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from sapool.export import InterpreterError, measure_arena
from sapool.export.runtime.inputs import random_inputs
from sapool.export.runtime.interpreters import run_model
from sapool.export.runtime.process import Job, scratch_folder, work
from sapool.tflite.file import TfliteError
from tests.memory.handmade import Graph, Op, Tensor, build, constant

ADD: tuple[str, dict[str, int]] = ("AddOptions", {})


def endless() -> bytes:
    """A loop that adds nothing to its counter while it is under ten."""
    number, truth = Tensor((1,), "int32", scales=()), Tensor((1,), "bool")
    loop = Op("WHILE", [0], [1], ("WhileOptions", {"condSubgraphIndex": 1, "bodySubgraphIndex": 2}))
    condition = Graph([number, constant([10]), truth], [Op("LESS", [0, 1], [2])], [0], [2])
    body = Graph([number, constant([0]), number], [Op("ADD", [0, 1], [2], ADD)], [0], [2])
    return build(Graph([number, number], [loop], [0], [1]), condition, body)


def workers_of(process: int) -> list[int]:
    """Return the processes whose parent is or was ``process``, by the folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"sapool-interpreter-{process}-" in path.read_bytes().decode(errors="replace"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def left_behind(process: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"sapool-interpreter-{process}-*"))


@pytest.mark.parametrize("engine", ["tflm", "litert"])
def test_a_model_that_never_ends_is_stopped_in_one_line(engine: str) -> None:
    data = endless()
    start = time.perf_counter()
    with pytest.raises(InterpreterError, match=r"mine: .* takes more than 1 s for one inference: stopped") as caught:
        run_model("mine", data, random_inputs(data, 3), "tflm" if engine == "tflm" else "litert", time_limit=1)
    assert caught.value.timed_out
    assert time.perf_counter() - start < 30  # most of it Python's start, on a busy machine
    assert "\n" not in str(caught.value)
    assert not workers_of(os.getpid())
    assert not left_behind(os.getpid())


def test_without_a_limit_a_small_model_has_a_short_one() -> None:
    data = endless()
    with pytest.raises(InterpreterError, match=r"mine: .* takes more than 1\.\d+ s for one inference: stopped"):
        run_model("mine", data, random_inputs(data, 1))


def test_measuring_says_how_long_it_waits(tmp_path: Path) -> None:
    path = tmp_path / "endless.tflite"
    path.write_bytes(endless())
    with pytest.raises(InterpreterError, match=r"endless\.tflite: .* more than 1 s"):
        measure_arena(path, time_limit=1)
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be over 0 and at most 86,400 s"):
            measure_arena(path, time_limit=seconds)


def test_a_worker_dies_with_its_parent_and_the_next_start_clears_up(tmp_path: Path) -> None:
    (tmp_path / "endless.tflite").write_bytes(endless())
    code = f"import sapool; sapool.measure_arena({str(tmp_path / 'endless.tflite')!r}, time_limit=300)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        while not workers_of(parent.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert workers_of(parent.pid)
        time.sleep(1)  # into its loop
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 10
    while workers_of(parent.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not workers_of(parent.pid)
    assert left_behind(parent.pid)
    with scratch_folder() as ours:
        assert not left_behind(parent.pid)
        with scratch_folder():
            assert ours.is_dir()  # a folder in use stays
    assert not ours.exists()


def test_memory_is_bounded() -> None:
    data = endless()
    with work(Job("litert", 1, 1, memory_bytes=64 << 20), data, random_inputs(data, 1)) as done:
        assert done.code != 0
        assert not done.timed_out


def test_sizes_are_checked_before_anything_is_made(tmp_path: Path) -> None:
    path = tmp_path / "huge.tflite"
    huge, small = Tensor((1, 50_000, 50_000, 4)), Tensor((1, 4))
    for graph, which in (
        (Graph([huge, small], [Op("RELU", [0], [1])], [0], [1]), "inputs"),
        (Graph([small, huge], [Op("RELU", [0], [1])], [0], [1]), "outputs"),
    ):
        path.write_bytes(build(graph))
        assert path.stat().st_size < 1000
        start = time.perf_counter()
        said = rf"huge\.tflite: 't\d', one of the {which}, is \(1, 50000, 50000, 4\) of int8: 10,000,000,000 bytes"
        with pytest.raises(TfliteError, match=said):
            measure_arena(path)
        assert time.perf_counter() - start < 5
    assert not left_behind(os.getpid())


def test_scratch_folders_do_not_follow_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    keep = tmp_path / "keep"
    keep.mkdir()
    (keep / "file").write_text("mine")
    (tmp_path / "sapool-interpreter-999999999-x").symlink_to(keep, target_is_directory=True)
    (tmp_path / "sapool-interpreter-999999999-y").mkdir()
    with scratch_folder():
        assert (keep / "file").read_text() == "mine"
        assert not (tmp_path / "sapool-interpreter-999999999-y").exists()
