from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sapool.base.files import (
    FileError,
    check_path,
    check_replaceable,
    leftovers,
    write_bytes_atomically,
    write_text_atomically,
)


def dead_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path, kind in (("link", "link"), ("broken", "link"), ("folder", "folder"), ("pipe", "device, pipe or socket")):
        with pytest.raises(FileError, match=f"{path} is a {kind}"):
            write_bytes_atomically(tmp_path / path, b"new")
    with pytest.raises(FileError, match="--out /dev/null is a device"):
        check_replaceable(Path("/dev/null"), "--out")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert (tmp_path / "link").is_symlink()
    write_bytes_atomically(tmp_path / "file", b"new")
    write_bytes_atomically(tmp_path / "made" / "file", b"new")
    assert (tmp_path / "file").read_bytes() == (tmp_path / "made" / "file").read_bytes() == b"new"


def test_a_folder_that_is_a_link_is_written_into(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "large disk")
    write_bytes_atomically(tmp_path / "runs" / "file", b"new")
    assert (tmp_path / "large disk" / "file").read_bytes() == b"new"


def test_what_a_killed_writer_left_goes_and_all_else_stays(tmp_path: Path) -> None:
    gone, alive = dead_process(), os.getppid()
    left = tmp_path / f".a[1].json.{gone}.tmp"
    names = (f".a[1].json.{alive}.tmp", f".b.json.{gone}.tmp", ".a[1].json.tmp", f"a[1].json.{gone}.tmp", ".c.x.tmp")
    for path in (left, *(tmp_path / name for name in names)):
        path.write_bytes(b"half")
    assert leftovers(tmp_path) == []  # as another machine's, which may be at work
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    assert leftovers(tmp_path, "a[1].json") == [left]
    assert {path.name for path in leftovers(tmp_path)} == {left.name, f".b.json.{gone}.tmp"}
    write_bytes_atomically(tmp_path / "a[1].json", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a[1].json", *names}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a\x1b[2J", r"printable characters, got 'a\\x1b\[2J'"),
        ("a\0b", "printable characters"),
        ("a\nb", "printable characters"),
        ("x" * 201, "at most 200 bytes"),
        ("/".join("x" * 100 for _ in range(40)), "3000 in all"),
        ("\N{SNOWMAN}" * 67, "at most 200 bytes"),
    ],
)
def test_a_path_that_no_file_can_have_is_one_short_line(path: str, said: str) -> None:
    with pytest.raises(FileError, match=said) as refused:
        check_path(path, "--out")
    assert str(refused.value).startswith("--out must")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize("path", ["x" * 200, "[/b] :smile: \N{SNOWMAN}", "a/b c/../d"])
def test_unusual_paths_are_paths(path: str, tmp_path: Path) -> None:
    check_path(path)
    write_bytes_atomically(tmp_path / path, b"")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file.json"
    write_text_atomically(path, "old")

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_text_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]
