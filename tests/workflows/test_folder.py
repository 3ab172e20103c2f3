from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sapool.workflows.folder import PRUNED, TRAIN, FolderConflictError, Kind, RunFolder

TEST = Kind("sapool test", files=("a.bin",))


def folder_in(place: Path) -> RunFolder:
    return RunFolder(place / "out", TEST)


def test_the_same_configuration_comes_back_and_another_is_refused(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    for _ in range(2):
        with folder.claimed({"a": 1, "b": (2, 3)}):
            pass
    with (
        pytest.raises(FolderConflictError, match=r"another configuration \(a is 1 there, 2 here\); choose another"),
        folder.claimed({"a": 2, "b": (2, 3)}),
    ):
        pass
    folder.file("config.json").write_text("{")
    with pytest.raises(FolderConflictError, match="is not JSON"):
        folder.claim({"a": 1})


def test_a_folder_from_when_no_budget_was_a_very_large_one_is_still_its_own(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    folder.path.mkdir()
    folder.file("config.json").write_text(json.dumps({"seed": 0, "ram_bytes": 1 << 40}))
    folder.claim({"seed": 0, "ram_bytes": None})
    with pytest.raises(FolderConflictError, match="ram_bytes is None there, 7 here"):
        folder.claim({"seed": 0, "ram_bytes": 7})


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name, said in (("thesis", "is no folder of sapool test"), ("file", "is a file, no folder")):
        with pytest.raises(FolderConflictError, match=said), RunFolder(tmp_path / name, TEST).claimed({"a": 1}):
            pass
    assert {path.name for path in tmp_path.rglob("*")} == {"thesis", "thesis.tex", "file"}


def test_two_at_once_are_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    with folder.claimed({"a": 1}):
        for config in ({"a": 1}, {"a": 2}):
            with (
                pytest.raises(FolderConflictError, match="out: another process is at work in it"),
                folder.claimed(config),
            ):
                pass
        assert json.loads(folder.file("config.json").read_text()) == {"a": 1}
    with folder.claimed({"a": 1}):
        pass


def test_a_child_does_not_keep_its_dead_parents_folder_locked(tmp_path: Path) -> None:
    code = """
import os, sys, time
from sapool.workflows.folder import TRAIN, RunFolder
with RunFolder(sys.argv[1], TRAIN).claimed({"a": 1}):
    if not os.fork():
        time.sleep(60)
    print("forked", flush=True)
    time.sleep(60)
"""
    run = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "forked\n"
        running.kill()
        running.wait()
        with RunFolder(tmp_path / "out", TRAIN).claimed({"a": 1}):
            os.killpg(running.pid, signal.SIGKILL)


def test_a_kill_before_the_configuration_is_in_place_does_not_lock_the_folder(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    folder.path.mkdir()
    folder.file(".config.json.12345.tmp").write_text('{"a"')
    with folder.claimed({"a": 1}):
        assert [path.name for path in folder.path.iterdir()] == ["config.json"]


def test_what_killed_writers_left_goes_at_the_next_start(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    with folder.claimed({"a": 1}):
        pass
    folder.file("checkpoints").mkdir()
    left = [folder.file(".record.json.7.tmp"), folder.file("checkpoints/.last.ckpt.99999.tmp")]
    kept = [folder.file(".hidden"), folder.file("checkpoints/last.ckpt"), folder.file(".mine.tmp")]
    for path in (*left, *kept):
        path.write_text("half")
    with folder.claimed({"a": 1}):
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in kept)


def fail_in(folder: RunFolder, file: str) -> None:
    with folder.claimed({"a": 1}):
        folder.file(file).touch()
        raise ValueError("failed")


def test_a_start_that_fails_at_once_leaves_nothing_and_later_work_is_kept(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    with pytest.raises(ValueError, match="failed"):
        fail_in(folder, "metrics.csv")
    assert not folder.path.exists()
    with pytest.raises(ValueError, match="failed"):
        fail_in(folder, "last.ckpt")
    assert folder.file("last.ckpt").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="failed"):
        fail_in(RunFolder(tmp_path / "mine", TEST), "metrics.csv")
    assert (tmp_path / "mine").is_dir()


def test_only_the_last_file_makes_it_whole(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    folder.path.mkdir()
    assert not folder.is_whole()
    folder.file("a.bin").write_bytes(b"1234")
    assert not folder.is_whole()
    folder.finish('{"x": 1}')
    assert folder.is_whole()
    assert folder.has({"a.bin": 4})
    assert not folder.has({"a.bin": 3})
    assert folder.read("x") == {"x": 1}
    folder.file("a.bin").unlink()
    assert not folder.is_whole()


@pytest.mark.parametrize(("text", "said"), [("{", "is damaged"), ("[]", "an object expected"), ("{}", "no 'x' in it")])
def test_a_damaged_record_is_named(text: str, said: str, tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    folder.finish(text)
    with pytest.raises(ValueError, match=said) as refused:
        folder.read("x")
    assert str(refused.value).startswith(f"{folder.file('record.json')} is damaged (")
    assert str(refused.value).endswith("): remove it and say the same command again")


def test_forgetting_takes_the_record_first_and_leaves_strangers(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, PRUNED)
    for name in ("record.json", "channels.json", "prune.json", "weights.safetensors", "thesis.tex"):
        folder.file(name).write_text("old")
    folder.forget()
    assert {path.name for path in tmp_path.iterdir()} == {"weights.safetensors", "thesis.tex"}


@pytest.mark.parametrize("name", ["x" * 300, "a\nb"])
def test_a_name_that_no_folder_can_have_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the folder must") as refused:
        RunFolder(tmp_path / name, TEST)
    assert "\n" not in str(refused.value)
