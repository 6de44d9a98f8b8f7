"""Mistakes that need more of a config than one option, which tests/data/mistakes.yaml has."""

import pytest

from aekt_mm.engine.config_check import check_config

pytestmark = pytest.mark.stack


@pytest.mark.parametrize('place', ['', 'model.'])
@pytest.mark.parametrize('name', ['mean', 'std'])
def test_a_normalisation_of_two_channels(digits_recipe, place, name):
    own = dict(type='ClsDataPreprocessor', mean=[1.0] * 3, std=[1.0] * 3)
    part = digits_recipe.model if place else digits_recipe
    part.data_preprocessor = own
    check_config(digits_recipe)
    digits_recipe.merge_from_dict({f'{place}data_preprocessor.{name}': [1.0, 2.0]})
    message = rf'{place}data_preprocessor\.{name} must be three numbers, but is \[1\.0, 2\.0\]'
    with pytest.raises(ValueError, match=message):
        check_config(digits_recipe)


def test_predictions_are_drawn_by_who_can(digits_recipe):
    hook = dict(type='VisualizationHook', enable=True)
    digits_recipe.default_hooks.visualization = hook
    check_config(digits_recipe)
    digits_recipe.visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
    with pytest.raises(ValueError, match='visualizer is a Visualizer, which can not draw'):
        check_config(digits_recipe)
    hook['enable'] = False
    digits_recipe.default_hooks.visualization = hook
    check_config(digits_recipe)
