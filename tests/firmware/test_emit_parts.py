"""Pieces of C, read back by a compiler."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sapool.firmware.emit_parts import Constants, array, literal, numbers, unsigned
from sapool.firmware.rows import Blob, Layer

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")


def run(folder: Path, text: str) -> list[int]:
    """Return what a program prints."""
    head = "#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n"
    (folder / "a.c").write_text(head + text)
    subprocess.run(["gcc", *WARNINGS, str(folder / "a.c"), "-o", str(folder / "a")], check=True)
    done = subprocess.run([str(folder / "a")], capture_output=True, text=True, check=True)
    return [int(n) for n in done.stdout.split()]


@pytest.mark.parametrize(
    ("highest", "ctype"),
    [(0, "uint8_t"), (255, "uint8_t"), (256, "uint16_t"), (65535, "uint16_t"), (65536, "uint32_t")],
)
def test_the_smallest_type(highest: int, ctype: str) -> None:
    assert unsigned(highest) == ctype


def test_numbers_come_back_from_a_compiler(tmp_path: Path) -> None:
    values = [0, -1, 2**31 - 1, -(2**31), *range(-40, 40)]
    main = f'int main(void) {{ for (int i = 0; i < {len(values)}; i++) printf("%d ", (int)made[i]); return 0; }}'
    assert run(tmp_path, array("int32_t", "made", values) + "\n" + main) == values


def test_lines_are_as_long_as_told() -> None:
    assert numbers([1, 2, 3, 4, 5], per_line=2) == "  1, 2,\n  3, 4,\n  5,"
    assert literal(-(2**31)) == "INT32_MIN"


def test_an_array_of_nothing_is_still_c(tmp_path: Path) -> None:
    made = array("uint8_t", "made", [])
    assert run(tmp_path, f'{made}\nint main(void) {{ printf("%d", (int)sizeof(made)); return 0; }}') == [1]


def test_equal_constants_exist_once() -> None:
    held = Constants("net")
    one = held.add(Blob("int8_t", np.array([1, 2], np.int8), "one"))
    assert held.add(Blob("int8_t", np.array([1, 2], np.int8), "other")) == one
    assert held.add(Blob("int16_t", np.array([1, 2], np.int16))) != one  # another type
    assert held.add(Blob("int8_t", np.array([2, 1], np.int8))) != one
    assert held.bytes == 2 + 4 + 2
    assert len(re.findall("extern const", held.declarations())) == 3


def test_structs_name_their_arrays(tmp_path: Path) -> None:
    held = Constants("net")
    layer = Layer("sapool_x", (Blob("int8_t", np.array([5, 6], np.int8)), 7, None, -(2**31)))
    made = held.struct(layer)
    text = (
        f"{held.definitions('')}\ntypedef struct {{ const int8_t *a; int b; const int8_t *c; int32_t d; }} sapool_x;\n"
        f"static const sapool_x x = {made};\n"
        'int main(void) { printf("%d %d %d %d", x.a[1], x.b, x.c == NULL, (int)x.d); return 0; }'
    )
    assert run(tmp_path, text) == [6, 7, 1, -(2**31)]


def test_rows_of_structs_and_labels_that_end_comments(tmp_path: Path) -> None:
    held = Constants("net")
    rows = np.array([[1, 2, 3], [4, 5, -(2**31)]])
    held.add(Blob("sapool_channel", rows, "a */ b \\\nc"))
    text = (
        f"typedef struct {{ int32_t a, b, c; }} sapool_channel;\n{held.definitions('')}\n"
        'int main(void) { for (int i = 0; i < 2; i++) printf("%d %d %d ", (int)net_data0[i].a, (int)net_data0[i].b,'
        " (int)net_data0[i].c); return 0; }"
    )
    assert run(tmp_path, text) == rows.reshape(-1).tolist()
