"""The build file of each kind of project, and the page that says how to call the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sapool.firmware.program import CProgram


def _cmake(program: CProgram) -> dict[str, str]:
    name, sources = program.name, " ".join(program.sources)
    text = f"""cmake_minimum_required(VERSION 3.13)
project({name} C)

add_library({name} STATIC {sources} {name}_selftest.c)
target_include_directories({name} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})
target_compile_options({name} PRIVATE -O2)
set_target_properties({name} PROPERTIES C_STANDARD 99)

if(CMAKE_PROJECT_NAME STREQUAL PROJECT_NAME)
  add_executable({name}_example main.c)
  target_link_libraries({name}_example {name})
endif()
"""
    return {"CMakeLists.txt": text}


def _arduino(program: CProgram) -> dict[str, str]:
    name = program.name
    properties = f"""name={name}
version=1.0.0
author=sapool
maintainer=sapool
sentence=A neural network as plain C.
paragraph=Made by sapool build.
category=Data Processing
url=https://example.invalid
architectures=*
includes={name}.h
"""
    sketch = f"""#include <{name}.h>

extern "C" int {name}_selftest(void);
static {name}_t network;

void setup() {{
  Serial.begin(115200);
  Serial.println({name}_selftest() == 0 ? "right" : "wrong");
  {name}_init(&network);
}}

void loop() {{}}
"""
    return {"library.properties": properties, f"examples/{name}/{name}.ino": sketch}


def _esp_idf(program: CProgram) -> dict[str, str]:
    listed = " ".join(f'"{source}"' for source in (*program.sources, f"{program.name}_selftest.c"))
    text = f"""idf_component_register(SRCS {listed} INCLUDE_DIRS ".")
target_compile_options(${{COMPONENT_LIB}} PRIVATE -O2)
"""
    return {"CMakeLists.txt": text}


def _zephyr(program: CProgram) -> dict[str, str]:
    listed = "\n  ".join((*program.sources, f"{program.name}_selftest.c"))
    text = f"""zephyr_include_directories(.)
zephyr_library()
zephyr_library_sources(
  {listed}
)
zephyr_library_compile_options(-O2)
"""
    return {"CMakeLists.txt": text, "zephyr/module.yml": f"name: {program.name}\nbuild:\n  cmake: .\n"}


PROJECTS: Mapping[str, Callable[[CProgram], dict[str, str]]] = {
    "cmake": _cmake,
    "arduino": _arduino,
    "esp-idf": _esp_idf,
    "zephyr": _zephyr,
}


def project_files(kind: str, program: CProgram) -> dict[str, str]:
    """Return the build files of a project kind, and README.md."""
    return PROJECTS[kind](program) | {"README.md": _readme(program)}


def _readme(program: CProgram) -> str:
    name, up = program.name, program.name.upper()
    height, width, channels = (*program.input_shape, 1, 1, 1)[:3]
    rows = "a row at a time, so that the image is never whole in RAM" if program.stream_input else "whole"
    return f"""# {name}

A neural network as plain C (C99 or C++): no interpreter, no library, no allocation. It takes images of
{height} x {width} x {channels} ({program.input_dtype}), {rows}.

| for {program.core} | bytes |
|---|---|
| RAM: `{name}_t`, which you place ({up}_RAM_BYTES) | {program.ram_bytes:,} |
| stack at its deepest ({up}_STACK_BYTES) | {program.stack_bytes:,} |
| flash: weights and tables | {program.flash_bytes - program.code_bytes:,} |
| flash: code (about) | {program.code_bytes:,} |

One image takes {program.macs:,} multiply-accumulates, about {program.instructions:,} instructions; the most
expensive row {program.worst_push_macs:,} multiply-accumulates.

```c
#include "{name}.h"

static {name}_t network;

{name}_init(&network);
for (int row = 0; row < {up}_HEIGHT; row++) {{
  read_row({name}_row(&network)); /* {up}_ROW_BYTES, by DMA if you like */
  scores = {name}_push(&network); /* NULL until the last row */
}}
best = {name}_argmax(scores);
```

Compile {", ".join(f"`{source}`" for source in program.sources)}; the `.h` files must be found. `{name}_selftest.c`
is for your own board and compiler: `{name}_selftest()` returns 0 where the outputs are right. Real values are
`(q - {up}_OUTPUT_ZERO_POINT) * {up}_OUTPUT_SCALE`. `-DSAPOOL_WEIGHTS_SECTION='".name"'` places the weights; the
state goes where you put it. Outputs stay until the next image's first row is written.
"""
