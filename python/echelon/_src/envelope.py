# SPDX-License-Identifier: Apache-2.0
"""What a pickled callable travels in; checked before anything is unpickled.

Little-endian:

    0   4   magic, "EcPy"
    4   2   version, 1
    6   1   serializer: 1, cloudpickle
    7   1   flags, 0
    8   8   size of the payload
    16  32  SHA-256 of the payload
    48      the payload; what follows it is not looked at
"""

from __future__ import annotations

import hashlib
import io
import struct
from typing import Any, Callable, Union

MAGIC = b"EcPy"
VERSION = 1
CLOUDPICKLE = 1
_HEADER = struct.Struct("<4sHBBQ32s")

Buffer = Union[bytes, bytearray, memoryview]


class EnvelopeError(ValueError):
    """Not an envelope, or not one that can be opened here; says what was found and expected."""


def seal(write: Callable[[Any], None]) -> memoryview:
    """An envelope around what `write(file)` writes, made in place: the payload is not copied."""
    file = io.BytesIO()
    file.write(bytes(_HEADER.size))
    write(file)
    whole = file.getbuffer()
    payload = whole[_HEADER.size :]
    digest = hashlib.sha256(payload).digest()
    _HEADER.pack_into(whole, 0, MAGIC, VERSION, CLOUDPICKLE, 0, len(payload), digest)
    return whole


def open_sealed(envelope: Buffer, immutable: bool = False) -> memoryview:
    """The payload. Raises EnvelopeError.

    immutable: it lies in a file of this machine that the sender has sealed, and the digest was
    taken there; eight children would take it eight times, of the same memory.
    """
    view = memoryview(envelope).cast("B")
    if len(view) < _HEADER.size:
        raise EnvelopeError(f"an envelope of {len(view)} bytes; its header has {_HEADER.size}")
    magic, version, serializer, flags, size, digest = _HEADER.unpack_from(view)
    if magic != MAGIC:
        raise EnvelopeError(f"an envelope begins with {MAGIC!r}, this with {magic!r}")
    if version != VERSION:
        raise EnvelopeError(f"an envelope of version {version}; this Echelon reads {VERSION}")
    if serializer != CLOUDPICKLE:
        raise EnvelopeError(f"serializer {serializer} is not known; {CLOUDPICKLE} is cloudpickle")
    if flags != 0:
        raise EnvelopeError(f"flags {flags:#x} are not known; 0 was expected")
    payload = view[_HEADER.size :]
    if size > len(payload):
        raise EnvelopeError(f"a payload of {size} bytes was announced and {len(payload)} came")
    payload = payload[:size]
    if not immutable and hashlib.sha256(payload).digest() != digest:
        raise EnvelopeError("the payload is not what was sealed: its SHA-256 differs")
    return payload
