"""YAML runs no code, in bases neither, and keeps Python's plain types."""

import mmengine
import pytest
from mmengine.config import Config
from yaml.constructor import ConstructorError

from aekt_mm.engine.recipes import load_recipe


@pytest.mark.parametrize(
    'value',
    [
        '!!python/object/apply:pathlib.Path.touch [{trace}]',
        '!!python/object/apply:os.system ["touch {trace}"]',
        '!!python/object/new:pathlib.Path ["{trace}"]',
        '!!python/name:os.system',
        '!!python/module:os',
    ],
)
@pytest.mark.parametrize('where', ['itself', 'base', 'base_of_python'])
def test_no_code_runs(value, where, tmp_path):
    trace = tmp_path / 'trace'
    bad, heir = tmp_path / 'bad.yml', tmp_path / ('a.py' if where == 'base_of_python' else 'a.yaml')
    bad.write_text(f'model: {{type: A}}\nx: {value.format(trace=trace)}\n', encoding='utf-8')
    heir.write_text('_base_ = "bad.yml"' if heir.suffix == '.py' else '_base_: bad.yml')
    with pytest.raises(ValueError, match=r'can not be read: ConstructorError: could not determine'):
        load_recipe(bad if where == 'itself' else heir)
    with pytest.raises(ConstructorError):
        Config.fromfile(heir)
    with pytest.raises(ConstructorError):
        mmengine.load(bad)
    assert not trace.exists()


def test_plain_types_stay(tmp_path):
    settings = dict(scale=(32, 32), mean=[1.5], sets={'a': (1, (2,))}, raw=b'\x00', at=1j)
    Config(settings).dump(tmp_path / 'a.yaml')
    assert '!!python/tuple' in (tmp_path / 'a.yaml').read_text()
    assert Config.fromfile(tmp_path / 'a.yaml').to_dict() == settings
