import runpy
from pathlib import Path

import pytest
import timm
import torch
import torchvision
import yaml
from fvcore.nn import FlopCountAnalysis, parameter_count

from aekt_mm.analysis.recipe_table import (
    COLLECTIONS,
    figures,
    find_recipes,
    markdown,
    metafile,
    read_recipe,
)

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools/analysis_tools/recipe_table.py'))


def test_help_writes_nothing(tool, monkeypatch, capsys):
    main = tool['main']
    monkeypatch.setitem(main.__globals__, 'generated', lambda: pytest.fail('it writes'))
    monkeypatch.setattr('sys.argv', ['recipe_table.py', '--help'])
    with pytest.raises(SystemExit, match='0'):
        main()
    assert 'Write the table of recipes' in capsys.readouterr().out


@pytest.mark.slow
def test_documentation_and_metafiles_are_up_to_date(tool):
    for path, text in tool['generated']().items():
        assert path.read_text(encoding='utf-8') == text, (
            f'{path.name} is not what the recipes say: run tools/analysis_tools/recipe_table.py'
        )


def test_a_recipe_is_read_from_its_name_and_its_networks():
    recipe = read_recipe(CONFIGS / 'aekt' / 'aekt_r34_r18_imagenet.py')
    assert (recipe.method, recipe.teacher, recipe.student) == ('aekt', 'r34', 'r18')
    assert (recipe.dataset, recipe.image_size, recipe.epochs) == ('imagenet', 224, 100)
    for size, name in ((recipe.teacher_size, 'resnet34'), (recipe.student_size, 'resnet18')):
        model = getattr(torchvision.models, name)().eval()
        assert size.parameters == parameter_count(model)['']
        flops = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta['_ops'] * 1e9
        assert size.multiply_adds == pytest.approx(flops, rel=3e-3)


def test_attention_is_counted():
    """timm's without fused attention is matrix products that fvcore counts."""
    recipe = read_recipe(CONFIGS / 'vanilla' / 'vanilla_deit-tiny_imagenet.py')
    model = timm.create_model('deit_tiny_patch16_224').eval()
    for block in model.blocks:
        block.attn.fused_attn = False
    expected = FlopCountAnalysis(model, torch.zeros(1, 3, 224, 224)).total()
    assert recipe.student_size.multiply_adds == pytest.approx(expected, rel=2e-3)
    assert recipe.student_size.parameters == parameter_count(model)['']


def test_every_recipe_has_a_row():
    paths = find_recipes(CONFIGS)
    assert {path.name for path in paths} == {
        path.name for method in COLLECTIONS for path in (CONFIGS / method).glob('*.py')
    }
    page = (ROOT / 'docs/en/recipes.md').read_text(encoding='utf-8')
    for path in paths:
        assert f'| `{path.stem}` |' in page


def test_a_row_shows_teacher_student_and_ratio():
    recipes = [
        read_recipe(CONFIGS / 'vanilla' / 'vanilla_resnet8_cifar100.py'),
        read_recipe(CONFIGS / 'kd' / 'kd_resnet20_resnet8_cifar100.py'),
    ]
    *_, alone, distilled = markdown(recipes).strip().splitlines()
    assert alone.endswith('| 32 | 240 |  | resnet8 | 83.9 k |  | 12.7 M |  |')
    assert distilled.endswith(
        '| 32 | 240 | resnet20 | resnet8 | 278 k → 83.9 k | 3.3 | 41.2 M → 12.7 M | 3.3 |'
    )


def test_published_and_measured_figures_are_kept_apart():
    recipe = read_recipe(CONFIGS / 'kd' / 'kd_resnet20_resnet8_cifar100.py')
    results = [
        dict(source='a paper', top1={recipe.path.stem: 50.0, 'another': 1.0}),
        dict(command='train RECIPE', top1={recipe.path.stem: 49.5}),
    ]
    [model] = yaml.safe_load(metafile('kd', [recipe], results))['Models']
    assert model['Results'] == [
        {
            'Task': 'Image Classification',
            'Dataset': 'CIFAR-100',
            'Metrics': {
                'Top 1 Accuracy (published)': 50.0,
                'Top 1 Accuracy (measured here)': 49.5,
            },
        }
    ]
    assert model['Metadata']['Figure published'] == 'a paper'
    assert model['Metadata']['Figure measured here'] == f'train {model["Config"]}'
    for wrong in (dict(top1={}), dict(source='a', command='b', top1={})):
        with pytest.raises(ValueError, match='a result needs the source'):
            metafile('kd', [recipe], [wrong])


def test_figures_have_a_column_for_each_method():
    results = [
        dict(source='a paper', top1={'nkd_r34_r18_imagenet': 71.96, 'vanilla_r18_imagenet': 69.0}),
        dict(source='another', top1={'kd_r34_r18_imagenet': 70.0, 'aekt_r34_r18_imagenet': 72.0}),
        dict(command='train', top1={'aekt_r34_r18_imagenet': 71.5, 'kd_a_b_cifar100_8e': 50.0}),
        dict(source='a third', note='of 120 epochs', top1={'dist_r34_r18_imagenet': 72.07}),
    ]
    lines = figures(results).splitlines()
    assert '| teacher → student | KD | DIST | NKD | AEKT |' in lines
    assert '| r34 → r18 | 70.00 | 72.07† | 71.96 | 72.00 *71.50* |' in lines
    assert '| a → b, 8 epochs | *50.00* |' in lines
    sources = ['- NKD: a paper', '- KD, AEKT: another', '- DIST: a third. † of 120 epochs']
    assert lines[-3:] == sources


def test_the_model_index_is_read_by_the_fields_reader():
    modelindex = pytest.importorskip('modelindex', reason='model-index is not installed')
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    models = {model.name: model for model in index.models}
    assert set(models) == {path.stem for path in find_recipes(CONFIGS)}
    for model in models.values():
        assert (ROOT / model.config).is_file()
    assert models['kd_r34_r18_imagenet'].results[0].metrics == {'Top 1 Accuracy (published)': 71.03}
    for collection in index.collections:
        assert (ROOT / collection.readme).is_file()
