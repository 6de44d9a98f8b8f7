"""Of a JPEG that is cut to tiles the pixels are those of the whole."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aekt_mm.datasets.jpeg_tiles import (
    SIGNATURE,
    WORTHWHILE,
    JpegHeader,
    cut,
    read_header,
    with_table_of_tiles,
)

EXIF = Image.Exif()
EXIF[0x0112] = 6


def jpeg(height=90, width=150, mode='RGB', **options):
    """Return a JPEG with sharp edges and grain, which tell blocks and places apart, and a table."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[height // 3 :, : width // 2] //= 4
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, 'JPEG', **{'quality': 80, **options})
    return with_table_of_tiles(buffer.getvalue())


def decoded(data):
    return cv2.imdecode(np.frombuffer(bytes(data), np.uint8), cv2.IMREAD_COLOR)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 130),
    st.integers(1, 130),
    st.sampled_from(['4:4:4', '4:2:2', '4:2:0', 'grey']),
    st.sampled_from(
        [dict(restart_marker_blocks=n) for n in (1, 2, 3)] + [dict(restart_marker_rows=1)]
    ),
    st.booleans(),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4),
)
def test_bit_for_bit_within_the_box(height, width, colors, restarts, optimize, draws):
    options = dict(mode='L') if colors == 'grey' else dict(subsampling=colors)
    data = jpeg(height, width, optimize=optimize, **options, **restarts)
    top, left = int(draws[0] * height), int(draws[1] * width)
    box = top, left, 1 + int(draws[2] * (height - top)), 1 + int(draws[3] * (width - left))
    part, first_row, first_column = cut(data, read_header(data), box)
    rows, columns = slice(top, top + box[2]), slice(left, left + box[3])
    seen = decoded(part)[
        rows.start - first_row : rows.stop - first_row,
        columns.start - first_column : columns.stop - first_column,
    ]
    assert np.array_equal(seen, decoded(data)[rows, columns])


def test_no_more_than_the_tiles_around_the_box():
    data = jpeg(160, 320, subsampling='4:2:0', restart_marker_blocks=2)
    header = read_header(data)
    assert header[:3] == (160, 320, (16, 32))
    for box, size, place in (
        ((50, 70, 5, 20), (16, 32), (48, 64)),
        ((48, 64, 16, 32), (48, 96), (32, 32)),  # the neighbours of its colours, too
        ((150, 300, 10, 20), (16, 32), (144, 288)),
        ((0, 0, 1, 1), (16, 32), (0, 0)),
    ):
        part, *corner = cut(data, header, box)
        with Image.open(io.BytesIO(part)) as image:
            image.load()
            assert (image.height, image.width) == size
        assert tuple(corner) == place
        assert len(part) < len(data) * 0.25


def test_most_of_an_image_is_not_worth_a_cut():
    data = jpeg(160, 160, subsampling='4:4:4', restart_marker_blocks=1)
    for side in range(1, 159):
        part, *_ = cut(data, read_header(data), (1, 1, side, side))
        tiles = (side + 1) // 8 + 1
        assert (part is data) == (tiles**2 > WORTHWHILE * 400)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(progressive=True, restart_marker_blocks=1),
        dict(restart_marker_blocks=4),  # of ten in a row: tiles would not be in columns
    ],
)
def test_without_tiles_the_whole(options):
    data = jpeg(**options)
    header = read_header(data)
    assert header[:3] == (90, 150, None)
    assert cut(data, header, (0, 0, 5, 5)) == (data, 0, 0)


def without_table(data):
    start, end = read_header(data).table
    return data[: start - 4 - len(SIGNATURE)] + data[end:]


def test_a_table_changes_nothing_else():
    data = jpeg(restart_marker_blocks=1)
    bare = without_table(data)
    assert read_header(bare).table is None
    assert with_table_of_tiles(bare) == data
    assert np.array_equal(decoded(bare), decoded(data))
    assert cut(bare, read_header(bare), (0, 0, 5, 5)) == (bare, 0, 0)


def test_no_table_of_other_markers_than_the_header_promises():
    data = without_table(jpeg(restart_marker_blocks=1))
    marker = data.index(b'\xff\xd3', read_header(data).pixels)
    for torn in (data[:-40], data + b'\0', data[:marker] + data[marker + 2 :]):
        assert with_table_of_tiles(torn) is torn
    assert with_table_of_tiles(b'no image') == b'no image'


def test_no_table_of_more_tiles_than_a_segment_has_room_for():
    side = 8 * 181  # 181 * 181 = 32,761
    for width, has_room in ((side, True), (side + 1, False)):
        header = read_header(jpeg(side, width, 'L', restart_marker_blocks=1))
        assert header.tile == (8, 8) and (header.table is not None) == has_room


def test_a_table_of_other_pixels_is_not_used():
    data = jpeg(restart_marker_blocks=1)
    header = read_header(data)
    for torn in (data[:-40], data + b'\0', data[: header.pixels] + data[header.pixels + 1 :]):
        assert read_header(torn) == header
        assert cut(torn, header, (0, 0, 5, 5)) == (torn, 0, 0)
    start, end = header.table
    begin = start - len(SIGNATURE)
    for missing in (1, 2, end - start):
        length = (2 + end - begin - missing).to_bytes(2, 'big')
        shorter = data[: begin - 2] + length + data[begin : end - missing] + data[end:]
        assert read_header(shorter).table == (start, end - missing)
        assert cut(shorter, read_header(shorter), (0, 0, 5, 5)) == (shorter, 0, 0)


@pytest.mark.parametrize('before', [b'', b'\xff\xe2\x00\x06\xff\xda\x00\x01', b'\xff\xff'])
def test_rotation_is_seen_wherever_it_stands(before):
    """After a segment that looks like the start of pixels, and after a fill byte."""
    data = jpeg(exif=EXIF)
    start = data.index(b'\xff\xe1')
    assert read_header(data[:start] + before + data[start:]) is None


def test_what_is_no_upright_jpeg_of_grey_or_rgb_pixels():
    assert isinstance(read_header(jpeg(exif=Image.Exif())), JpegHeader)
    assert read_header(jpeg(mode='CMYK')) is None
    assert read_header(b'no image') is None
    data = jpeg(restart_marker_blocks=1)
    for length in range(read_header(data).pixels + 1):
        assert read_header(data[:length]) is None
