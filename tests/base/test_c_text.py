"""What a C compiler reads back from the literals is what was written."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sapool.base.c_text import c_comment, c_float, c_string

TEXTS = ["plain", 'a "b" \\ c', "line\nend\ttab\r", "??/ ??= trigraphs", "å 猫 1", "\x01\x7f9", "%d", ""]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
@pytest.mark.parametrize("standard", [["-std=c99"], ["-xc++", "-std=c++11"]])
def test_a_compiler_reads_what_was_written(tmp_path: Path, standard: list[str]) -> None:
    numbers = [0.0, 1.0, -2.5, 1 / 255, 1e-30, 3.4e38, 16777217.0]
    strings = ", ".join(c_string(text) for text in TEXTS)
    comments = "\n".join(f"// {c_comment(text)}\n/* {c_comment(text + '*/')} */" for text in TEXTS)
    (tmp_path / "main.c").write_text(
        f"#include <stdio.h>\n{comments}\nstatic const char *const texts[] = {{ {strings} }};\n"
        f"static const float numbers[] = {{ {', '.join(c_float(n) for n in numbers)} }};\n"
        f'int main(void) {{ int i; for (i = 0; i < {len(TEXTS)}; i++) fwrite(texts[i], 1, sizeof "", stdout), '
        "fputs(texts[i], stdout); fwrite(numbers, 4, sizeof numbers / 4, stdout); return 0; }\n"
    )
    program = tmp_path / "main"
    subprocess.run(["gcc", *standard, "-Wall", "-Werror", "-trigraphs", tmp_path / "main.c", "-o", program], check=True)
    read = subprocess.run([program], capture_output=True, check=True).stdout
    wanted = b"".join((text.encode() or b"\0")[:1] + text.encode() for text in TEXTS)
    assert read == wanted + np.array(numbers, np.float32).tobytes()
