import runpy
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'misc' / 'print_config.py'


@pytest.fixture
def print_config(monkeypatch, capsys):
    """Run the tool in this process and return what it printed."""
    monkeypatch.chdir(ROOT)

    def print_config(*args):
        monkeypatch.setattr('sys.argv', [str(TOOL), *args])
        capsys.readouterr()
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return print_config


def plain(value):
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize('kind', ['py', 'yaml'])
def test_what_is_printed_is_the_recipe(kind, print_config, tmp_path):
    recipe = 'configs/dkd/dkd_deit-base_deit-small_imagenet.py'
    text = print_config(
        recipe, '--format', kind, '--cfg-options', 'model.losses.dkd.beta=3.0', 'log_level=DEBUG'
    )
    (tmp_path / f'printed.{kind}').write_text(text)
    expected = Config.fromfile(ROOT / recipe)
    expected.merge_from_dict({'model.losses.dkd.beta': 3.0, 'log_level': 'DEBUG'})
    printed = Config.fromfile(tmp_path / f'printed.{kind}')
    assert plain(printed.to_dict()) == plain(expected.to_dict())
    assert '_base_' not in text
    if kind == 'yaml':  # that any reader of YAML takes
        assert yaml.safe_load(text) == plain(expected.to_dict())


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['configs/none.py'], 'none.py'),
        (
            ['configs/kd/kd_r34_r18_imagenet.py', '--cfg-options', 'modle.losses.kd.alpha=1'],
            "has no 'modle'; did you mean model?",
        ),
    ],
)
def test_bad_input_is_one_line(args, message, print_config):
    with pytest.raises(SystemExit) as ended:
        print_config(*args)
    assert str(ended.value.code).startswith('print_config: ')
    assert message in str(ended.value.code)
