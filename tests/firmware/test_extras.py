"""Files beside a program's own, compiled and run here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sapool.firmware.extras import Pixels, labels_file, main_file, pixels_file, selftest_file, selftest_images
from sapool.firmware.generate import Planned, plan_program, write_source
from sapool.tflite.graph import Quantization, Tensor
from tests.firmware.random_networks import Maker

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")


def planned(channels: int) -> Planned:
    make = Maker(0)
    source = make.tensor((1, 4, 256, channels), Quantization((0.02,), (-3,)))
    make.graph.set_inputs([source])
    make.graph.set_outputs([make.pool(source, "MAX_POOL_2D")])
    return plan_program(make.graph, "net", "host")


def run(folder: Path, made: Planned, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    for name, text in {**write_source(made).files, **files}.items():
        (folder / name).write_text(text)
    units = [str(folder / name) for name in ("net.c", "net_weights.c", *files) if name.endswith(".c")]
    subprocess.run(["gcc", *STRICT, *units, "-o", str(folder / "a")], check=True)
    return subprocess.run([str(folder / "a")], capture_output=True, text=True, check=False)


def test_images_of_the_self_test_by_32_bit_arithmetic() -> None:
    tensor = Tensor("t", (1, 3, 5, 2), "int8", Quantization((1.0,), (0,)))
    wanted = []
    for at in range(90):
        mixed = (at * 2654435761 + 12345) % 2**32
        mixed ^= mixed >> 15
        byte = mixed * 2246822519 % 2**32 >> 24
        wanted.append(byte - 256 if byte > 127 else byte)
    images = selftest_images(tensor)
    assert images.dtype == np.int8
    assert images.shape == (3, 3, 5, 2)
    assert images.reshape(-1).tolist() == wanted


def test_the_self_test_says_which_image_is_wrong(tmp_path: Path) -> None:
    made = planned(1)
    right = outputs_of(tmp_path, made, selftest_images(made.program.stores[made.program.source].tensor))
    for wrong in (None, 0, 2):
        told = right.copy()
        if wrong is not None:
            told[wrong, -1] ^= 1
        done = run(tmp_path, made, selftest_file(made, [told]) | main_file(made))
        assert done.returncode == (0 if wrong is None else wrong + 1)


def outputs_of(folder: Path, made: Planned, images: NDArray[np.int8]) -> NDArray[np.uint8]:
    size = made.program.stores[made.program.outputs[0]].bytes
    values = ", ".join(str(int(v)) for v in images.reshape(-1))
    text = (
        '#include "net.h"\n#include <stdio.h>\nstatic net_t state;\n'
        f"static const int8_t images[] = {{{values}}};\n"
        "int main(void) { for (int n = 0; n < 3; n++) { net_init(&state);\n"
        "const int8_t *out = net_run(&state, images + n * NET_INPUT_BYTES);\n"
        f'for (int i = 0; i < {size}; i++) printf("%d ", out[i]); }} return 0; }}\n'
    )
    printed = run(folder, made, {"show.c": text}).stdout
    return np.array([int(n) for n in printed.split()], np.int8).view(np.uint8).reshape(3, size)


def test_labels_are_utf_8_without_trigraphs(tmp_path: Path) -> None:
    labels = ("cat", "Käse", "日本", "what??!")
    text = labels_file("net", labels)["net_labels.c"]
    assert text.isascii()
    (tmp_path / "net.h").write_text(f"extern const char *const net_labels[{len(labels)}];\n")
    (tmp_path / "net_labels.c").write_text(text)
    main = '#include <stdio.h>\n#include "net.h"\nint main(void) { for (int i = 0; i < 4; i++) puts(net_labels[i]); }\n'
    (tmp_path / "main.c").write_text(main)
    files = [str(tmp_path / name) for name in ("net_labels.c", "main.c")]
    subprocess.run(["gcc", *STRICT, "-trigraphs", *files, "-o", str(tmp_path / "a")], check=True)
    assert subprocess.run([str(tmp_path / "a")], capture_output=True, check=True).stdout.decode().split() == list(
        labels
    )
    assert labels_file("net", ()) == {}


def table(text: str, channel: int) -> list[int]:
    return [int(n) for n in re.findall(r"^  \{(.*)\},$", text, re.MULTILINE)[channel].split(",")]


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_scaled_and_quantised(channels: int) -> None:
    mean, std = (0.5, 0.4, 0.3)[:channels], (0.25, 0.2, 0.3)[:channels]
    text = pixels_file(planned(channels), Pixels(mean, std))["net_pixels.c"]
    for n in range(channels):
        real = (np.arange(256) / 255 - mean[n]) / std[n] / 0.02 - 3
        assert np.abs(np.array(table(text, n)) - np.clip(real, -128, 127)).max() <= 0.501


def test_other_images_have_no_pixels() -> None:
    assert pixels_file(planned(2), Pixels()) == {}


@pytest.mark.parametrize("kind", ["rgb888", "rgb565"])
def test_rows_of_pixels_are_looked_up(kind: str, tmp_path: Path) -> None:
    made = planned(3)
    files = pixels_file(made, Pixels((0.5,), (0.25,)))
    fill = (
        "pixels[3 * i] = (uint8_t)i, pixels[3 * i + 1] = (uint8_t)(i + 1), pixels[3 * i + 2] = 7;"
        if kind == "rgb888"
        else "pixels[i] = (uint16_t)(i * 257);"
    )
    ctype = "uint8_t" if kind == "rgb888" else "uint16_t"
    main = (
        f'#include "net_pixels.h"\n#include <stdio.h>\nstatic net_t state;\nstatic {ctype} pixels[768];\n'
        f"int main(void) {{ net_init(&state); const int8_t *row = net_row(&state);\n"
        f"for (int i = 0; i < 256; i++) {{ {fill} }}\nnet_push_{kind}(&state, pixels);\n"
        'for (int i = 0; i < 768; i++) printf("%d ", row[i]);\nreturn 0; }\n'
    )
    printed = run(tmp_path, made, files | {"main.c": main}).stdout
    got = np.array([int(n) for n in printed.split()]).reshape(256, 3)
    looked = np.array([table(files["net_pixels.c"], n) for n in range(3)])
    at = np.arange(256)
    if kind == "rgb888":
        colours = np.stack([at, (at + 1) % 256, np.full(256, 7)], 1)
    else:
        words = at * 257
        parts = ((words >> 11, 31), (words >> 5 & 63, 63), (words & 31, 31))
        colours = np.stack([np.floor(part * 255 / most + 0.5).astype(int) for part, most in parts], 1)
    near = np.abs(got - np.stack([looked[n][colours[:, n]] for n in range(3)], 1))
    assert near.max() <= (0 if kind == "rgb888" else 1)  # bits repeated are the nearest of 256, or its neighbour
