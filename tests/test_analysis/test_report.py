"""Reports hold what was measured, need nothing else, and say what is missing."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

from aekt_mm.analysis.differing_images import SIDE, differing_images, picture
from aekt_mm.analysis.predictions import predict
from aekt_mm.analysis.report import report_runs, report_study, write_report
from aekt_mm.analysis.runs import read_runs
from aekt_mm.analysis.study_file import read_study

ROOT = Path(__file__).parents[2]
VOID = {'meta', 'img', 'br', 'link', 'input', 'wbr', 'path', 'use', 'image', 'rect'}


class Page(HTMLParser):
    """What a page is made of; fails where tags are not closed in turn."""

    def __init__(self, path):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], [], [], ''
        self.feed(path.read_text(encoding='utf-8'))
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attributes)

    def handle_startendtag(self, tag, attributes):
        for name, value in attributes:
            if name == 'id':
                self.ids.append(value)
            if name in ('src', 'href', 'xlink:href'):
                self.links.append(value)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (['style'], ['script']):
            self.text += f' {" ".join(data.split())}'


@pytest.fixture(scope='module')
def page(finished, tmp_path_factory):
    """A report of two arms, one with a name that is no HTML."""
    folder = tmp_path_factory.mktemp('report')
    odd = shutil.copytree(finished / 'alone', folder / '<b>$x$ & "y"')
    write_report(
        report_runs([str(odd), str(finished / 'aekt_0'), str(finished / 'aekt_1')]),
        folder / 'report.html',
    )
    return Page(folder / 'report.html')


def test_it_needs_nothing_else(page):
    assert all(link.startswith(('#', 'data:image/png;base64,')) for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith('#')} <= set(page.ids)


def test_it_shows_what_there_is(page, finished):
    assert '2 settings with up to 2 seeds, measured on 899 images' in page.text
    for heading in (
        'Summary',
        'Curves',
        'Similarity',
        'Explicit knowledge',
        'Class relations',
        'Gradient field',
        'Images on which student and teacher differ most',
        'Recipes',
        'Environment',
    ):
        assert f' {heading} ' in page.text
    found = predict(read_runs([str(finished / 'aekt_0'), str(finished / 'aekt_1')]))
    top1 = [
        100 * (logits.argmax(1) == found.labels).double().mean().item()
        for logits in found.students.values()
    ]
    spread = abs(top1[0] - top1[1]) / 2**0.5
    assert f' {sum(top1) / 2:.2f} ± {spread:.2f} ' in page.text
    assert 'loss. explicit. type RatioWeighted' in page.text  # may break at dots


def test_what_a_user_wrote_is_escaped(page):
    assert '<b>$x$ & "y"' in page.text  # as text: were it markup, it would not be
    assert 'b' not in page.open


def test_the_images_are_those_that_differ_most(predictions):
    student, teacher = predictions.pairs()['far']
    p, q = teacher.double().softmax(1), student.double().softmax(1)
    divergence = (p * (p / q).log()).sum(1)
    images = differing_images(predictions, count=3)['far']
    assert [image.number for image in images] == divergence.argsort(descending=True)[:3].tolist()
    assert images[0].divergence == pytest.approx(divergence.max().item())
    assert images[0].teacher[1] == pytest.approx(p[images[0].number].max().item())


def test_images_of_files_have_their_colours():
    """mmcv reads files as BGR, channels first."""
    red = torch.zeros(3, 300, 200, dtype=torch.uint8)
    red[2] = 255
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

    class Files(list):
        pass

    files = Files([dict(inputs=red)])
    files.pipeline = pipeline
    url = picture(files, 0)
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2])))
    assert image.getpixel((0, 0)) == (255, 0, 0)
    assert max(image.size) == SIDE


def test_what_is_missing_is_said(finished, tmp_path):
    folder = shutil.copytree(finished / 'aekt_0', tmp_path / 'aekt')
    config = next(folder.glob('*/vis_data/config.py'))
    text = config.read_text().replace(str(finished / 'teacher.pth'), '/gone/teacher.pth')
    config.write_text(text)
    report = report_runs([str(folder)])
    assert any('aekt is shown without its teacher' in note for note in report.notes)
    assert report.images == {}
    assert [section.title for section in report.sections if section.tables] == [
        'Summary',
        'Curves',
        'Explicit knowledge',
        'Class relations',
        'Gradient field',
    ]
    config.write_text(f'{text}\ntest_dataloader = test_evaluator = test_cfg = None')
    report = report_runs([str(folder)])
    assert any('has no test_dataloader' in note for note in report.notes)
    titles = [section.title for section in report.sections if section.tables]
    assert titles == ['Curves', 'Gradient field']


def test_a_checkpoint_of_another_network_is_an_error(finished):
    """And not a report of nothing."""
    spec = f'vanilla_resnet20_digits={finished / "alone/epoch_2.pth"}'
    with pytest.raises(ValueError, match=r'epoch_2\.pth does not fit ImageClassifier'):
        report_runs([spec])


def test_runs_of_other_images_are_not_compared(finished, tmp_path):
    other = shutil.copytree(finished / 'alone', tmp_path / 'other')
    config = next(other.glob('*/vis_data/config.py'))
    config.write_text(f"{config.read_text()}\ntest_dataloader['dataset']['split'] = 'train'")
    with pytest.raises(ValueError, match='alone and other do not have the same test images'):
        report_runs([str(finished / 'alone'), str(other)])


def test_a_study_needs_only_its_results(tmp_path):
    study = read_study(ROOT / 'configs/studies/digits.yaml')
    report = report_study(study, tmp_path / 'none')
    write_report(report, tmp_path / 'report.html')
    text = Page(tmp_path / 'report.html').text
    assert '4 settings with 20 seeds each,' in text
    assert ' +6.10 ± 1.50 ' in text  # what docs/en/results.md says of AEKT
    assert 'there are results, but no curves' in text


def test_a_study_with_its_trials(finished, tmp_path):
    recipe = ROOT / 'configs/aekt/aekt_resnet20_resnet8slim_digits.py'
    (tmp_path / 'study.yaml').write_text(
        f'baseline: aekt\nseeds: [0, 1]\narms: {{aekt: {{recipe: {recipe}}}}}'
    )
    rows = [f'aekt,{seed},{recipe.stem},{80 + seed}.0' for seed in (0, 1)]
    (tmp_path / 'study.csv').write_text('\n'.join(['arm,seed,settings,top1', *rows]))
    for seed in (0, 1):
        shutil.copytree(finished / f'aekt_{seed}', tmp_path / 'work' / 'aekt' / f'seed_{seed}')
    report = report_study(read_study(tmp_path / 'study.yaml'), tmp_path / 'work')
    titles = [section.title for section in report.sections]
    assert titles[:3] == ['Summary', 'Curves', 'Similarity']
    assert list(report.configs) == ['aekt']


def test_a_page_reads_in_light_and_dark():
    """Colours are the page's own, in both schemes; a raster has none that only one shows."""
    source = (ROOT / 'aekt_mm/analysis/report.html').read_text(encoding='utf-8')
    assert 'prefers-color-scheme: dark' in source
    schemes = [
        set(re.findall(r'(--\w+):', block)) for block in re.findall(r':root {(.*?)}', source, re.S)
    ]
    assert len(schemes) == 2
    assert schemes[0] == schemes[1]
