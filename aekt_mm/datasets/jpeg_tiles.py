"""Cutting a JPEG to the tiles that a crop needs, without decoding it.

Restart markers split the coded pixels of a JPEG into segments that can be decoded each by itself
(ITU-T T.81, B.2.4.4 and E.2.4). Where they split every row of blocks alike, the segments are a grid
of tiles. Those of some of its rows and columns, with their markers numbered anew and under a header
of their size, are again a JPEG, which any decoder reads.

Where tiles lie is found by searching the coded pixels, which costs as much as all else of a cut. So
a JPEG is searched once, when it is written (``with_table_of_tiles``), and what was found goes with
it in a segment for applications, which other readers skip.
"""

import io
from struct import pack, unpack_from
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

#: Top, left, height and width in pixels.
Box = tuple[int, int, int, int]

#: Of all tiles at most, for a cut to save more than it costs.
WORTHWHILE = 0.8

# markers
BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2  # frames of Huffman codes
RESTART, END_OF_IMAGE, START_OF_SCAN, RESTART_INTERVAL = 0xD0, 0xD9, 0xDA, 0xDD
EXIF, TABLE = 0xE1, 0xE9  # segments for applications

#: Markers as they follow on each other, as many as a table has room for.
RESTARTS = (RESTART | np.arange(2**15) & 7).astype(np.uint8)

#: What a table begins with. For each tile a little-endian uint16 follows: how many bytes it has,
#: with its marker.
SIGNATURE = b'aekt tiles\0'


class JpegHeader(NamedTuple):
    """The header of an upright JPEG of grey or RGB pixels.

    Attributes:
        height: In pixels.
        width: In pixels.
        tile: Height and width of its tiles in pixels. None: it has none.
        frame: Where the segment begins that says its size.
        table: Where the entries of the table of its tiles begin and end. None: it has none.
        pixels: Where the coded pixels begin.
    """

    height: int
    width: int
    tile: tuple[int, int] | None
    frame: int
    table: tuple[int, int] | None
    pixels: int


def read_header(data: bytes) -> JpegHeader | None:
    """Walk over a JPEG's segments to its pixels.

    None for everything that wants more than decoding: other formats, CMYK, rotated images, and
    where segments do not follow on each other as they should.
    """
    place, frame, table, interval = 2, None, None, 0
    if not data.startswith(b'\xff\xd8'):
        return None
    while place + 4 < len(data):
        begin, marker, length = unpack_from('>BBH', data, place)
        content, after = place + 4, place + 2 + length
        if begin != 0xFF or after + 2 > len(data):
            return None
        if marker == START_OF_SCAN:
            return _header(data, frame, table, interval, content, after)
        if marker in (BASELINE, EXTENDED, PROGRESSIVE):
            frame = place
        elif marker == RESTART_INTERVAL:
            (interval,) = unpack_from('>H', data, content)
        elif marker == TABLE and data.startswith(SIGNATURE, content):
            table = content + len(SIGNATURE), after
        elif marker == EXIF and data.startswith(b'Exif\0\0', content) and _is_rotated(data):
            return None
        place = after
    return None


def _is_rotated(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def _header(
    data: bytes,
    frame: int | None,
    table: tuple[int, int] | None,
    interval: int,
    scan: int,
    pixels: int,
) -> JpegHeader | None:
    if frame is None:
        return None
    length, bits, height, width, components = unpack_from('>HBHHB', data, frame + 2)
    if bits != 8 or components not in (1, 3) or length != 8 + 3 * components:
        return None
    tile = None
    if interval and data[frame + 1] != PROGRESSIVE and data[scan] == components:
        sampling = data[frame + 11 : frame + 2 + length : 3]
        # blocks of several components are interleaved, those of a single one are not
        down = 8 * max(s & 15 for s in sampling) if components > 1 else 8
        across = 8 * max(s >> 4 for s in sampling) if components > 1 else 8
        if -(-width // across) % interval == 0:
            tile = down, across * interval
    return JpegHeader(height, width, tile, frame, table, pixels)


def with_table_of_tiles(data: bytes) -> bytes:
    """Return a JPEG with the table by which it can be cut, and all else as it was.

    It is the JPEG itself if it has no tiles, or not as many as its header has us expect, or more
    than a segment has room for (32,761).
    """
    header = read_header(data)
    content = np.frombuffer(data, np.uint8)
    if header is None or header.tile is None or content[-1] != END_OF_IMAGE:
        return data
    markers = np.flatnonzero(content[header.pixels : -1] == 0xFF) + header.pixels
    markers = markers[content[markers + 1] != 0]  # else it is a coded 255
    lengths = np.diff(markers + 2, prepend=header.pixels)
    rows, columns = _grid(header)
    segment = SIGNATURE + lengths.astype('<u2').tobytes()
    if len(lengths) != rows * columns or lengths.max() >= 2**16 or len(segment) + 2 >= 2**16:
        return data
    return (
        data[: header.frame]
        + pack('>BBH', 0xFF, TABLE, len(segment) + 2)
        + segment
        + data[header.frame :]
    )


def _grid(header: JpegHeader) -> tuple[int, int]:
    """Return how many rows and columns of tiles there are."""
    assert header.tile is not None  # whoever calls has seen to it
    down, across = header.tile
    return -(-header.height // down), -(-header.width // across)


def cut(data: bytes, header: JpegHeader, box: Box) -> tuple[bytes | bytearray, int, int]:
    """Cut a JPEG to the tiles around a box.

    The pixels within the box are then those of the whole image, bit for bit: the tiles go a pixel
    beyond it, which is as far as a decoder looks that smooths colours between their samples.

    Args:
        data: The JPEG.
        header: Its header.
        box: Within the image.

    Returns:
        A JPEG, and where its top and its left lie in the image. It is the whole image if most of
        its tiles are needed, if it has none, no table of them, or one of other pixels.
    """
    whole = data, 0, 0
    if header.tile is None or header.table is None:
        return whole
    (down, across), (rows, columns), (top, left, height, width) = header.tile, _grid(header), box
    first_row, row_end = max(top - 1, 0) // down, min((top + height) // down + 1, rows)
    first_column, column_end = (
        max(left - 1, 0) // across,
        min((left + width) // across + 1, columns),
    )
    tall, wide = row_end - first_row, column_end - first_column
    if tall * wide > WORTHWHILE * rows * columns:
        return whole
    start, end = header.table
    lengths = np.frombuffer(data, '<u2', (end - start) // 2, start)
    ends = header.pixels + lengths.cumsum()
    if len(ends) != rows * columns or ends[-1] != len(data):
        return whole
    lengths, ends = (
        each.reshape(rows, columns)[first_row:row_end, first_column:column_end]
        for each in (lengths, ends)
    )
    top, left = first_row * down, first_column * across
    head = bytearray(data[: header.pixels])
    head[header.frame + 5 : header.frame + 9] = pack(
        '>HH', min(tall * down, header.height - top), min(wide * across, header.width - left)
    )
    return _joined(data, head, lengths, ends), top, left


def _joined(data: bytes, head: bytearray, lengths: np.ndarray, ends: np.ndarray) -> bytearray:
    """Put tiles behind a header, with their markers counted from 0 to 7 as they now follow."""
    runs = zip((ends[:, 0] - lengths[:, 0]).tolist(), ends[:, -1].tolist())
    jpeg = bytearray().join([head, *(data[start:end] for start, end in runs)])
    last_bytes = lengths.cumsum() + (len(head) - 1)
    np.frombuffer(jpeg, np.uint8)[last_bytes] = RESTARTS[: len(last_bytes)]
    jpeg[-1] = END_OF_IMAGE
    return jpeg
