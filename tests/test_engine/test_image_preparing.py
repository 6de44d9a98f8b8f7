"""A prepared set has the images that were asked for, whoever wrote it and however often."""

import io
import json
import signal
import zlib
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from mmengine import fileio
from PIL import Image

from aekt_mm.datasets.jpeg_tiles import read_header
from aekt_mm.datasets.prepared_images import PreparedIndex
from aekt_mm.engine import image_preparing
from aekt_mm.engine.image_preparing import prepare_image, prepare_images, verify_images
from aekt_mm.registry import DATASETS, build

pytestmark = pytest.mark.stack

pa = pytest.importorskip('pyarrow')


def photo(height=120, width=180, seed=0):
    """Smooth noise, which survives JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image, form='JPEG', **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(**options):
    return encoded(Image.fromarray(photo(**options)), quality=95)


def dataset(folder):
    return build(DATASETS, dict(type='CustomDataset', data_root=str(folder), pipeline=[]))


@pytest.fixture
def images(tmp_path):
    """Ten JPEGs of 120x180 pixels in two classes."""
    folder = tmp_path / 'images'
    for index in range(10):
        path = folder / ('ant', 'bee')[index % 2] / f'{index}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(seed=index))
    return folder


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_shrinks_to_the_short_side():
    for size, expected in (((120, 180), (60, 90)), ((270, 90), (180, 60)), ((99, 99), (60, 60))):
        original = photo(*size)
        data, kinds = prepare_image(encoded(Image.fromarray(original), quality=100), 60, 95)
        assert decoded(data).shape == (*expected, 3)
        assert kinds == ['re-encoded']
        reference = cv2.resize(original, expected[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(decoded(data).astype(float) - reference).mean() < 6


@pytest.mark.parametrize('width, tile', [(330, (16, 16)), (345, (16, 32))])
def test_jpegs_have_tiles_that_cost_little(width, tile):
    original = Image.fromarray(photo(height=256, width=width))
    data, _ = prepare_image(encoded(original, 'PNG'), 256, 90)
    header = read_header(data)
    assert header.tile == tile and header.table is not None
    plain = encoded(original, quality=90, subsampling='4:2:0', optimize=True)
    assert np.array_equal(decoded(data), decoded(plain))
    assert len(data) < len(plain) * 1.25  # of smooth noise; of photographs 1.04


def test_small_jpegs_and_all_bytes_are_kept_on_demand():
    data = jpeg()
    assert prepare_image(data, 120, 90) == (data, ['kept'])
    assert prepare_image(data, None, 90) == (data, ['kept'])
    small = encoded(Image.fromarray(photo()), 'PNG')
    assert prepare_image(small, None, 90) == (small, ['not JPEG', 'kept'])
    kept, kinds = prepare_image(small, 256, 90)
    assert kept[:2] == b'\xff\xd8' and kinds == ['not JPEG', 're-encoded']
    assert decoded(kept).shape == (120, 180, 3)


def test_quality_is_that_of_the_jpeg():
    data = jpeg(height=400, width=600)
    sizes = [len(prepare_image(data, 256, quality)[0]) for quality in (50, 90, 95)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2]


ROTATED = Image.Exif()
ROTATED[0x0112] = 6
ODD = {
    'grey': (encoded(Image.fromarray(photo()).convert('L')), ['grey', 're-encoded']),
    'palette': (
        encoded(Image.fromarray(photo()).convert('P'), 'PNG'),
        ['palette', 'not JPEG', 're-encoded'],
    ),
    'cmyk': (encoded(Image.fromarray(photo()).convert('CMYK')), ['CMYK', 're-encoded']),
    'rotated': (encoded(Image.fromarray(photo()), exif=ROTATED), ['rotated', 're-encoded']),
    'transparent': (
        encoded(Image.fromarray(photo()).convert('RGBA'), 'PNG'),
        ['not JPEG', 're-encoded'],
    ),
    'deep': (
        encoded(Image.fromarray(photo()[..., 0].astype(np.uint16) * 257), 'PNG'),
        ['grey', 'not JPEG', 're-encoded'],
    ),
}


@pytest.mark.parametrize('name', ODD)
def test_odd_images_become_what_mmpretrain_reads(name):
    data, expected_kinds = ODD[name]
    prepared, kinds = prepare_image(data, 60, 95)
    assert kinds == expected_kinds
    seen = mmcv.imfrombytes(data)  # what LoadImageFromFile makes of it
    height, width = seen.shape[:2]
    assert min(decoded(prepared).shape[:2]) == 60
    again = mmcv.imfrombytes(prepared)
    assert (height > width) == (again.shape[0] > again.shape[1])
    reference = cv2.resize(seen, again.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(again.astype(float) - reference).mean() < 8


@pytest.mark.parametrize('data', [b'', b'no image', jpeg()[:900], jpeg()[:-60]])
def test_broken_images(data):
    with pytest.raises(ValueError):
        prepare_image(data, 60, 90)


def test_a_set_has_names_labels_classes_and_counts(images, tmp_path):
    (images / 'ant' / 'x.jpg').write_bytes(ODD['cmyk'][0])
    (images / 'ant' / 'torn.jpg').write_bytes(jpeg()[:900])
    manifest = prepare_images(dataset(images), tmp_path / 'out', 60, workers=0, images_per_file=4)
    assert manifest['images'] == 11
    assert manifest['counts'] == {'CMYK': 1, 're-encoded': 11}
    assert list(manifest['left_out']) == ['ant/torn.jpg']
    assert [file['images'] for file in manifest['files']] == [4, 3, 4]
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        '00000.arrow',
        '00001.arrow',
        '00002.arrow',
        'index.arrow',
        'manifest.json',
    ]
    index = PreparedIndex(tmp_path / 'out')
    names = [info['img_path'].split('.arrow/')[1].split('/', 1)[1] for info in index]
    assert names == sorted(
        [f'{"ab"[k % 2]}{"ne"[k % 2]}{"te"[k % 2]}/{k}.jpg' for k in range(10)] + ['ant/x.jpg']
    )
    assert [info['gt_label'] for info in index] == [0] * 6 + [1] * 5
    assert index.manifest['classes'] == ['ant', 'bee']
    assert verify_images(tmp_path / 'out') == 11


def test_any_reader_of_arrow_files_reads_it(images, tmp_path):
    prepare_images(dataset(images), tmp_path / 'out', None, workers=0)
    table = pa.ipc.open_file(str(tmp_path / 'out' / '00000.arrow')).read_all()
    rows = table.to_pylist()
    files = sorted(images.rglob('*.jpg'))
    assert [row['image']['bytes'] for row in rows] == [path.read_bytes() for path in files]
    assert [row['crc32'] for row in rows] == [zlib.crc32(path.read_bytes()) for path in files]
    features = json.loads(table.schema.metadata[b'huggingface'])['info']['features']
    assert features['label'] == {'_type': 'ClassLabel', 'names': ['ant', 'bee']}
    assert list(features) == table.column_names


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_whoever_writes_it_and_after_a_kill(images, tmp_path, monkeypatch):
    (images / 'bee' / 'torn.jpg').write_bytes(jpeg()[:900])
    options = dict(short_side=60, images_per_file=3)
    prepare_images(dataset(images), tmp_path / 'one', workers=0, **options)
    prepare_images(dataset(images), tmp_path / 'two', workers=2, **options)
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')

    seen = []

    def killed_at_the_eighth(data, *options):
        seen.append(data)
        if len(seen) == 8:
            signal.raise_signal(signal.SIGINT)
        return prepare_image(data, *options)

    monkeypatch.setattr(image_preparing, 'prepare_image', killed_at_the_eighth)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    with pytest.raises(KeyboardInterrupt):
        prepare_images(dataset(images), tmp_path / 'three', workers=0, **options)
    signal.signal(signal.SIGINT, before)
    with pytest.raises(ValueError, match='is incomplete: the same call of'):
        PreparedIndex(tmp_path / 'three')
    prepare_images(dataset(images), tmp_path / 'three', workers=0, **options)
    assert len(seen) == 8 + 11 - 6  # two files of three were there
    assert contents(tmp_path / 'three') == contents(tmp_path / 'one')

    prepare_images(dataset(images), tmp_path / 'three', workers=0, **options)
    assert len(seen) == 8 + 11 - 6  # there is nothing to do


def test_what_can_not_be_prepared(images, tmp_path):
    def prepare(images=images, folder='out', **options):
        return prepare_images(dataset(images), tmp_path / folder, workers=0, **options)

    for options, message in (
        (dict(short_side=0), 'short_side must be at least 1 pixel or None, but is 0'),
        (dict(quality=0), 'quality must be a whole number from 1 to 100, but is 0'),
        (dict(quality=90.5), 'quality must be'),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(**options)
    assert not (tmp_path / 'out').exists()

    prepare(short_side=60)
    with pytest.raises(ValueError, match='short_side: the folder has 60, asked for is 30'):
        prepare(short_side=30)
    (images / 'bee' / 'more.jpg').write_bytes(jpeg())
    with pytest.raises(ValueError, match='source: the folder has'):
        prepare(short_side=60)

    memory = build(DATASETS, dict(type='CustomDataset', data_root=str(images), pipeline=[]))
    memory.get_data_info = lambda index: dict(img=photo(), gt_label=0)
    with pytest.raises(ValueError, match='sample 0 has no image file'):
        prepare_images(memory, tmp_path / 'memory', workers=0)
    memory.get_data_info = lambda index: dict(img_path='x', gt_label=[0, 1])
    with pytest.raises(ValueError, match=r'sample 0 has the label \[0, 1\], not a class index'):
        prepare_images(memory, tmp_path / 'memory', workers=0)

    known = dataset(images)
    (images / 'ant' / '0.jpg').unlink()
    with pytest.raises(FileNotFoundError):
        prepare_images(known, tmp_path / 'gone', workers=0)

    for path in images.rglob('*.jpg'):
        path.write_bytes(b'nothing')
    with pytest.raises(ValueError, match='none of the 10 images can be read'):
        prepare(folder='broken')


def test_damage_is_found(images, tmp_path):
    folder = tmp_path / 'out'
    prepare_images(dataset(images), folder, 60, workers=0, images_per_file=5)
    file = folder / '00001.arrow'
    whole = file.read_bytes()
    image = PreparedIndex(folder)[7]['img_path']
    place = whole.index(fileio.get(image)) + 100
    file.write_bytes(whole[:-1])
    with pytest.raises(
        ValueError, match=r'00001.arrow should have \d+ bytes, but has \d+: it is torn'
    ):
        PreparedIndex(folder)
    file.unlink()
    with pytest.raises(ValueError, match='but is not there'):
        PreparedIndex(folder)

    # in a copy: this process has mapped the files of this folder
    other = tmp_path / 'copy'
    other.mkdir()
    for name, content in {**contents(folder), file.name: whole}.items():
        (other / name).write_bytes(content)
    (other / file.name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(
        ValueError, match=f'{Path(image).name}, image 2 of .*00001.arrow, is damaged'
    ):
        verify_images(other)
    index = other / 'index.arrow'
    index.write_bytes(index.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r'index\.arrow is not there, torn or damaged'):
        PreparedIndex(other)
    manifest = other / 'manifest.json'
    text = manifest.read_text()
    first, second = json.loads(text)['classes'][:2]
    assert 'checksum' in json.loads(text)
    manifest.write_text(text.replace(f'"{first}"', f'"{second}"'))
    with pytest.raises(ValueError, match=r'manifest\.json is damaged: it has changed since'):
        PreparedIndex(other)
    manifest.write_text(text.replace('"version": 1', '"version": 2'))
    with pytest.raises(ValueError, match='has version 2, but this release reads 1'):
        PreparedIndex(other)
    manifest.write_text('{')
    with pytest.raises(ValueError, match='is no manifest of a prepared image set'):
        PreparedIndex(other)
