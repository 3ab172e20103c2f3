"""What is zipped behind a flatbuffer: labels and descriptions that applications look up by the file's end."""

from __future__ import annotations

import io
import zipfile
import zlib

MOST_BYTES = 64 << 20  # of all members together: more is handed on without being unpacked
_UNREADABLE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)


def trailer_of(data: bytes) -> bytes:
    """Return the zip archive at the end of a file; empty where there is none."""
    if b"PK\x05\x06" not in data[-(1 << 16) - 22 :]:
        return b""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            start = min((info.header_offset for info in archive.infolist()), default=len(data))
    except _UNREADABLE:
        return b""
    return data[start:] if 8 <= start < len(data) and data[start : start + 2] == b"PK" else b""


def with_trailer(data: bytes, trailer: bytes) -> bytes:
    """Return a flatbuffer with an archive behind it, whose offsets count from the start of the whole file."""
    if not trailer:
        return data
    stream = io.BytesIO(data)
    try:
        with zipfile.ZipFile(io.BytesIO(trailer)) as old, zipfile.ZipFile(stream, "a") as new:
            if sum(info.file_size for info in old.infolist()) > MOST_BYTES:
                return data + trailer
            new.comment = old.comment
            for info in old.infolist():
                new.writestr(info, old.read(info))
    except _UNREADABLE:
        return data + trailer
    return stream.getvalue()
