from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from sapool.export import measure_arena, model_header


@pytest.mark.parametrize("compiler", [["gcc", "-std=c11"], ["gcc", "-xc++", "-std=c++17"]])
def test_the_header_compiles_and_holds_the_model(exported: Path, tmp_path: Path, compiler: list[str]) -> None:
    data, arena = exported.read_bytes(), measure_arena(exported)
    (tmp_path / "model.h").write_text(model_header(data, arena))
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "model.h"\n'
        "int main(void) { fwrite(sapool_model, 1, sapool_model_len, stdout);"
        ' fprintf(stderr, "%d %d", (int)SAPOOL_ARENA_BYTES, (int)((unsigned long)sapool_model % 16)); return 0; }\n'
    )
    program = tmp_path / "main"
    subprocess.run([*compiler, "-Wall", "-Werror", str(tmp_path / "main.c"), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, check=True)
    assert done.stdout == data
    reserve, misalignment = (int(n) for n in done.stderr.split())
    assert arena.total_bytes <= reserve <= arena.total_bytes + 32
    assert misalignment == 0


def test_the_header_lists_every_operator(exported: Path) -> None:
    arena = measure_arena(exported)
    text = model_header(exported.read_bytes(), arena)
    assert f"MicroMutableOpResolver<{len(arena.operators)}>" in text
    assert len(re.findall(r"resolver\.Add\w+\(\);", text)) == len(arena.operators)
    assert "resolver.AddBatchMatMul();" in text
