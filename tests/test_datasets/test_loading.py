"""What can't be read is named, in training and in evaluation, and other images are as mmcv's."""

import logging

import cv2
import mmcv
import mmpretrain
import numpy as np
import pytest
from PIL import Image

from aekt_mm.datasets import Food101, LoadImageFromFile, ViewDataset
from aekt_mm.engine.image_preparing import prepare_images
from aekt_mm.models.teachers.identity import _content
from aekt_mm.registry import DATASETS, TRANSFORMS, build
from aekt_mm.structures import ViewKey

pytestmark = pytest.mark.stack


@pytest.fixture
def folder(tmp_path):
    """Three images of a class, and one that is cut off."""
    (tmp_path / 'a').mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        cv2.imwrite(str(tmp_path / f'a/{index}.png'), image)
    whole = (tmp_path / 'a/1.png').read_bytes()
    (tmp_path / 'a/1.png').write_bytes(whole[:100])
    return tmp_path


def views(folder, **options):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    inner = dict(type='CustomDataset', data_root=str(folder), pipeline=pipeline)
    return build(DATASETS, dict(type='ViewDataset', dataset=inner, **options))


@pytest.mark.parametrize('content', [b'', b'not an image', None])
def test_a_file_that_is_no_image_is_named(content, folder):
    if content is not None:
        (folder / 'a/1.png').write_bytes(content)
    message = r'a/1\.png can not be read as an image: it is empty, cut off or of another kind$'
    with pytest.raises(ValueError, match=message):
        views(folder)[ViewKey(0, 0, 1)]
    with pytest.raises(ValueError, match=message):  # as in evaluation
        views(folder).dataset[1]
    (folder / 'a/1.png').unlink()
    reader = build(TRANSFORMS, dict(type='LoadImageFromFile'))
    with pytest.raises(ValueError, match=r'a/1\.png can not .*: there is no such file'):
        reader(dict(img_path=str(folder / 'a/1.png')))


def test_as_many_are_passed_over_as_is_allowed(folder, caplog):
    (folder / 'a/2.png').write_bytes(b'')
    with caplog.at_level(logging.WARNING):
        logging.getLogger('mmengine').propagate = True
        dataset = views(folder, max_unreadable=2)
        for _ in range(2):
            item = dataset[ViewKey(0, 0, 1)]
    # the next that can be read, under the sample's own number: a cached teacher has it there
    assert np.array_equal(item['inputs'], dataset[ViewKey(0, 0, 3)]['inputs'])
    assert item['data_samples'].sample_idx == 1
    assert dataset.unreadable == {1, 2}
    with pytest.raises(ValueError, match=r'a/2\.png .*\(2 unreadable, max_unreadable is 1\)'):
        views(folder, max_unreadable=1)[ViewKey(0, 0, 1)]
    for index in range(4):
        (folder / f'a/{index}.png').write_bytes(b'')
    with pytest.raises(ValueError, match='no sample that can be read'):
        views(folder, max_unreadable=9)[ViewKey(0, 0, 1)]
    with pytest.raises(ValueError, match='max_unreadable must be at least 0, but is -1'):
        ViewDataset(dataset.dataset, max_unreadable=-1)


class TestWhatIsLeftOut:
    @pytest.fixture(autouse=True)
    def said(self, monkeypatch):
        said = []
        log = lambda text, *_, **__: said.append(text)  # noqa: E731
        monkeypatch.setattr('aekt_mm.datasets.loading.print_log', log)
        return said

    def read(self, folder, **options):
        return build(DATASETS, dict(type='CustomDataset', data_root=str(folder), **options))

    def test_it_is_counted_and_named(self, folder, said):
        assert len(self.read(folder)) == 4 and not said
        for name in ('x.webp', 'y.WEBP', 'z.gif', 'notes.txt', 'none'):
            (folder / 'a' / name).touch()
        dataset = self.read(folder)
        assert isinstance(dataset, mmpretrain.datasets.CustomDataset)
        assert len(dataset) == 4
        assert said == [
            f'{folder}/ is read in part, images are left out: 1 of .gif (such as z.gif), 2 of '
            ".webp (such as x.webp). To take them in, set extensions=['.bmp', '.gif', '.jpeg', "
            "'.jpg', '.pgm', '.png', '.ppm', '.tif', '.webp']"
        ]
        assert len(self.read(folder, extensions=['.png', '.webp', '.gif'])) == 7
        assert len(said) == 1

    def test_all_of_it(self, folder):
        for path in folder.glob('a/*'):
            path.rename(path.with_suffix('.webp'))
        with pytest.raises(
            ValueError, match=r'has no image of \.bmp, .*, images are left out: 4 of'
        ):
            self.read(folder)

    def test_names_that_are_not_utf8(self, folder, tmp_path):
        (folder / 'a/\udcff.png').write_bytes((folder / 'a/0.png').read_bytes())
        dataset = self.read(folder)
        assert len(dataset) == 5
        assert _content(dataset) != _content(self.read(folder, indices=4))
        with pytest.raises(
            ValueError, match=r'\\udcff\.png can not be prepared: its name is not UTF-8'
        ):
            prepare_images(dataset, tmp_path / 'set', workers=0)
        (folder / 'caf\udce9').mkdir()
        with pytest.raises(ValueError, match=r"not UTF-8, .*: rename 'caf\\udce9'"):
            self.read(folder)


@pytest.mark.parametrize('kind', ['grey', 'palette', 'cmyk', '16-bit', 'rotated', 'gif', 'tiny'])
def test_every_kind_of_image_is_read_as_mmcv_reads_it(kind, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image, path, options = Image.fromarray(pixels), tmp_path / 'image.png', {}
    if kind == 'grey':
        image = image.convert('L')
    elif kind == 'palette':
        image = image.convert('P')
    elif kind == '16-bit':
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif kind == 'tiny':
        image = image.resize((1, 1))
    elif kind == 'gif':
        path = path.with_suffix('.gif')
    else:
        path = path.with_suffix('.jpg')
        image = image.convert('CMYK') if kind == 'cmyk' else image
        if kind == 'rotated':
            options['exif'] = Image.Exif()
            options['exif'][0x0112] = 6
    image.save(path, **options)
    found = LoadImageFromFile()(dict(img_path=str(path)))['img']
    height, width = (1, 1) if kind == 'tiny' else (30, 20) if kind == 'rotated' else (20, 30)
    assert found.shape == (height, width, 3) and found.dtype == np.uint8
    stock = mmcv.transforms.LoadImageFromFile()(dict(img_path=str(path)))['img']
    assert np.array_equal(found, stock)


def test_a_bad_line_of_a_list_is_named(tmp_path):
    (tmp_path / 'meta').mkdir()
    lists = tmp_path / 'meta/train.txt'
    lists.write_text('apple_pie/1\nwaffles/2\n')
    found = build(DATASETS, dict(type='Food101', data_root=str(tmp_path)))
    assert isinstance(found, Food101)
    stock = mmpretrain.datasets.Food101(str(tmp_path))
    assert [found.get_data_info(i) for i in range(2)] == [stock.get_data_info(i) for i in range(2)]
    for line in ('apple_pie', 'no_such_dish/1', 'apple_pie/', 'apple_pie/1/2', ''):
        lists.write_text(f'apple_pie/1\n{line}\nwaffles/2\n')
        with pytest.raises(ValueError, match=rf"line 2 of .*train\.txt must be .* but is '{line}'"):
            Food101(str(tmp_path))
