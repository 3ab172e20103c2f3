"""Run many small ``.tflite`` files on TensorFlow Lite Micro in one subprocess; read what its allocator recorded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_RUNNER = """
import json, os, sys
from tflite_micro import runtime
for path, size in json.load(sys.stdin):
    os.write(2, f"MODEL {path}\\n".encode())
    try:
        with open(path, "rb") as file:
            runtime.Interpreter.from_bytes(file.read(), arena_size=size).print_allocations()
    except RuntimeError:
        pass
"""


class Arena(NamedTuple):
    head: int
    tail: int


def allocations(
    models: Mapping[str, bytes], folder: Path, arena_bytes: Mapping[str, int] | None = None
) -> dict[str, Arena | None]:
    """Return head and tail of each model; None for one that the interpreter refuses (it must not abort).

    ``arena_bytes`` is what each is given (4 MiB without).
    """
    paths = {}
    for name, data in models.items():
        paths[name] = folder / f"{name}.tflite"
        paths[name].write_bytes(data)
    given = [(str(path), arena_bytes[name] if arena_bytes else 1 << 22) for name, path in paths.items()]
    command = [sys.executable, "-P", "-c", _RUNNER]
    said = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True).stderr
    told = dict(part.split("\n", 1) for part in said.split("MODEL ")[1:])
    return {name: _sizes(told[str(path)]) for name, path in paths.items()}


def _sizes(report: str) -> Arena | None:
    head, tail = (re.search(rf"Arena allocation {part} (\d+) bytes", report) for part in ("head", "tail"))
    return Arena(int(head[1]), int(tail[1])) if head and tail else None
