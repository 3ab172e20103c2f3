from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from sapool.export import measure_arena, model_header
from sapool.tflite import read_graph


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


CLASSES = ['a "quoted" one', "new\nline", "*/ ??/", "å", "e", "f", "g", "h", "i", "j"]


@pytest.mark.parametrize("compiler", [["gcc", "-std=c11"], ["gcc", "-xc++", "-std=c++17"]])
def test_what_firmware_reads_is_what_the_model_has(exported: Path, tmp_path: Path, compiler: list[str]) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    graph = read_graph(exported)
    source, result = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    classes = CLASSES[: result.shape[-1]]
    text = model_header(exported, measure_arena(exported), mean=mean, std=std, classes=classes)
    (tmp_path / "model.h").write_text(text)
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "model.h"\n'
        "int main(void) { int i; static const int shape[] = SAPOOL_INPUT_SHAPE; (void)sapool_mean; (void)sapool_std;\n"
        ' printf("%d %d %d %d %d %.9g %d %d %.9g %d %d", shape[0], SAPOOL_INPUT_HEIGHT, SAPOOL_INPUT_WIDTH,'
        " SAPOOL_INPUT_CHANNELS, SAPOOL_INPUT_BYTES, (double)SAPOOL_INPUT_SCALE, SAPOOL_INPUT_ZERO_POINT,"
        " SAPOOL_OUTPUT_BYTES, (double)SAPOOL_OUTPUT_SCALE, SAPOOL_OUTPUT_ZERO_POINT, SAPOOL_CLASSES);\n"
        ' for (i = 0; i < SAPOOL_INPUT_CHANNELS; i++) printf(" %.9g %.9g", (double)sapool_pixel_factor[i],'
        " (double)sapool_pixel_offset[i]);\n"
        " for (i = 0; i < SAPOOL_CLASSES; i++) { putchar(0); fputs(sapool_labels[i], stdout); }\n"
        " return sapool_model[4] != 'T' || sapool_model_len < 8 || SAPOOL_ARENA_BYTES_32BIT > SAPOOL_ARENA_BYTES; }\n"
    )
    program = tmp_path / "main"
    subprocess.run([*compiler, "-Wall", "-Werror", str(tmp_path / "main.c"), "-o", str(program)], check=True)
    facts, *names = subprocess.run([str(program)], capture_output=True, check=True).stdout.split(b"\0")
    assert [name.decode() for name in names] == list(classes)
    numbers = [float(n) for n in facts.split()]
    wanted = [*source.shape, source.bytes, source.scale, source.zero_point, result.bytes, result.scale]
    assert numbers[:11] == pytest.approx([*wanted, result.zero_point, result.shape[-1]], rel=1e-6)
    # A pixel's value by the header's factor and offset is what normalising and quantising it gives.
    for channel, (m, deviation) in enumerate(zip(mean, std, strict=True)):
        factor, offset = numbers[11 + 2 * channel : 13 + 2 * channel]
        for pixel in (0, 1, 128, 255):
            real = (pixel / 255 - m) / deviation
            assert pixel * factor + offset == pytest.approx(real / source.scale + source.zero_point, abs=1e-3)


def test_facts_of_another_model_are_refused(exported: Path) -> None:
    arena = measure_arena(exported)
    with pytest.raises(ValueError, match=r"classes must name each of \d+ outputs, got 1"):
        model_header(exported, arena, classes=["one"])
    with pytest.raises(ValueError, match="mean must have 1 value or one for each of 3 channels, got 2"):
        model_header(exported, arena, mean=(0.5, 0.5))
