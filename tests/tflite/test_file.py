from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from sapool.export import run_images
from sapool.tflite import count_macs, read_graph
from sapool.tflite.edit import shorten_names
from sapool.tflite.file import (
    TfliteError,
    load_tflite,
    pack,
    parse,
    resolver_method,
    schema,
    short_name,
)
from tests.conftest import images


def externalize(data: bytes) -> bytes:
    """Write every constant behind the flatbuffer, as the quantiser does with large ones."""
    model = parse(data)
    constants = [buffer for buffer in model.buffers if buffer.data is not None and len(buffer.data)]
    contents = [bytes(bytearray(buffer.data)) for buffer in constants]
    for buffer, content in zip(constants, contents, strict=True):
        buffer.data, buffer.offset, buffer.size = None, 2, len(content)
    start = -(-len(pack(model)) // 16) * 16 + 64
    for buffer, content in zip(constants, contents, strict=True):
        buffer.offset = start
        start += -(-len(content) // 16) * 16
    packed = bytearray(pack(model))
    for buffer, content in zip(constants, contents, strict=True):
        packed.extend(bytes(buffer.offset - len(packed)))
        packed.extend(content)
    return bytes(packed)


def outputs(data: bytes, folder: Path) -> NDArray[Any]:
    path = folder / "model.tflite"
    path.write_bytes(data)
    return run_images(path, images())


def test_external_constants_come_inline_and_aligned(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    outside = externalize(data)
    assert any(b.offset > 1 for b in _raw_buffers(outside))
    inside = pack(parse(outside))
    assert not any(b.offset for b in _raw_buffers(inside))
    np.testing.assert_array_equal(outputs(inside, tmp_path), outputs(data, tmp_path))
    fb = schema().Model.GetRootAsModel(inside, 0)
    for index in range(fb.BuffersLength()):
        buffer = fb.Buffers(index)
        if buffer.DataLength():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            assert start % 16 == 0


def _raw_buffers(data: bytes) -> list[Any]:
    fb = schema()
    return list(fb.ModelT.InitFromObj(fb.Model.GetRootAsModel(data, 0)).buffers)


def test_packing_keeps_the_model(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    again = pack(parse(data))
    assert read_graph(again).kinds() == read_graph(data).kinds()
    interpreter = Interpreter(model_content=again)
    assert list(interpreter.get_signature_list()) == ["serving_default"]
    np.testing.assert_array_equal(outputs(again, tmp_path), outputs(data, tmp_path))


def test_names_are_short_and_the_input_keeps_its(exported: Path) -> None:
    graph = read_graph(exported)
    assert max(len(tensor.name) for tensor in graph.tensors) < 64
    graph.change_tensor(0, name="a.b.Wrapper/torch.nn.modules.conv.Conv2d_0;;a.b.Other/x.Y_1;17")
    shorten_names(graph)
    assert graph.tensors[0].name == "1;17"


def test_a_short_name_is_the_path_of_modules_and_its_own_short_name() -> None:
    wrapper = "litert_torch._convert.to_channel_last_io.ChannelLastIOWrapper"
    norm = f"{wrapper}/torch.nn.modules.container.Sequential_stem/torch.nn.modules.batchnorm.BatchNorm2d_1"
    conv = f"{wrapper}/torch.nn.modules.container.Sequential_stem/torch.nn.modules.conv.Conv2d_0"
    assert short_name(f"{norm};;{conv};17") == "stem.0;17"
    for name in ("stem.0;17", f"{wrapper};3", "serving_default_args_0:0", "MobilenetV2/Conv/Relu6;2"):
        assert short_name(short_name(name)) == short_name(name)
    assert short_name("stem.0;17") == "stem.0;17"


def test_macs_are_counted_by_hand(exported: Path) -> None:
    tokens, width = 4 * 4, 8
    stem = 16 * 16 * 8 * (4 * 4 * 3)  # the folded kernel is 4 x 4
    embedding = tokens * width * (4 * 4 * 8)
    head = tokens * width * width + 2 * tokens * tokens * width
    restoration = tokens * 8 * 2 * width
    assert count_macs(read_graph(exported.read_bytes())) == stem + embedding + 2 * head + restoration + 8 * 4


@pytest.mark.parametrize(
    ("operator", "method"),
    [
        ("CONV_2D", "AddConv2D"),
        ("DEPTHWISE_CONV_2D", "AddDepthwiseConv2D"),
        ("AVERAGE_POOL_2D", "AddAveragePool2D"),
        ("MAX_POOL_2D", "AddMaxPool2D"),
        ("FULLY_CONNECTED", "AddFullyConnected"),
        ("BATCH_MATMUL", "AddBatchMatMul"),
        ("RESIZE_NEAREST_NEIGHBOR", "AddResizeNearestNeighbor"),
        ("LOGISTIC", "AddLogistic"),
        ("SOFTMAX", "AddSoftmax"),
        ("PADV2", "AddPadV2"),
        ("L2_NORMALIZATION", "AddL2Normalization"),
        ("TRANSPOSE_CONV", "AddTransposeConv"),
        ("STRIDED_SLICE", "AddStridedSlice"),
    ],
)
def test_resolver_methods_are_tflms(operator: str, method: str) -> None:
    assert resolver_method(operator) == method


def test_what_is_no_tflite_is_named(tmp_path: Path, exported: Path) -> None:
    with pytest.raises(TfliteError, match=r"nothing\.tflite: no such file"):
        load_tflite(tmp_path / "nothing.tflite")
    text = tmp_path / "text.tflite"
    text.write_text("hello, world")
    with pytest.raises(TfliteError, match=r"text\.tflite: not a \.tflite file"):
        load_tflite(text)
    data = exported.read_bytes()
    for length in (0, 7, 12, 100, len(data) // 2, len(data) - 200):
        short = tmp_path / f"short{length}.tflite"
        short.write_bytes(data[:length])
        with pytest.raises(TfliteError, match=rf"short{length}\.tflite"):
            read_graph(short)
