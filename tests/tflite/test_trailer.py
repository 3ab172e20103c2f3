from __future__ import annotations

import io
import zipfile

import pytest

from sapool.tflite import read_graph, write_graph
from tests.memory.handmade import Tensor, build, single

LABELS = b"cat\ndog\n"


def appended(data: bytes, *, joined: bool) -> bytes:
    """A file with labels behind it: written into it (offsets from its start), or an archive of its own joined to it."""
    stream = io.BytesIO(b"" if joined else data)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", LABELS)
        archive.comment = b"made elsewhere"
    return data + stream.getvalue() if joined else stream.getvalue()


@pytest.mark.parametrize("joined", [False, True])
def test_what_is_zipped_behind_a_file_stays_when_the_file_changes(joined: bool) -> None:
    plain = build(single("RELU", [Tensor((1, 4))], [Tensor((1, 4))]))
    graph = read_graph(appended(plain, joined=joined))
    for note in ("short", "long" * 500):
        graph.metadata[note] = note.encode()
        data = write_graph(graph)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.read("labels.txt") == LABELS
            assert archive.comment == b"made elsewhere"
            # Counted from the start of the file, as readers in C take it.
            assert data[archive.infolist()[0].header_offset :].startswith(b"PK\x03\x04")
        end = data.rindex(b"PK\x05\x06")
        size, at = (int.from_bytes(data[end + i : end + i + 4], "little") for i in (12, 16))
        assert at + size == end
    assert set(read_graph(data).metadata) == {"short", "long" * 500}


def test_a_file_without_an_archive_has_no_trailer() -> None:
    assert read_graph(build(single("RELU", [Tensor((1, 4))], [Tensor((1, 4))]))).trailer == b""
