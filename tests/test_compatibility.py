"""The releases of the stack are checked on import."""

import sys
from importlib import import_module

import pytest

from aekt_mm.compatibility import SUPPORTED, check_stack

pytestmark = pytest.mark.stack


def test_what_is_installed_works():
    check_stack()


@pytest.mark.parametrize('name', SUPPORTED)
@pytest.mark.parametrize('version', ['0.1.0', '7.0.0'])
def test_another_release_is_refused(name, version, monkeypatch):
    monkeypatch.setattr(import_module(name), '__version__', version)
    with pytest.raises(ImportError) as error:
        check_stack()
    lowest, beyond, install = SUPPORTED[name]
    for part in (f'{name}>={lowest},<{beyond}', f'{name} {version} is installed', install):
        assert part in str(error.value)


@pytest.mark.parametrize('name', SUPPORTED)
def test_a_missing_package_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(ImportError, match=f'needs {name}.*not installed: pip install'):
        check_stack()


@pytest.mark.parametrize('name', SUPPORTED)
def test_the_lowest_release_and_none_beyond_are_taken(name, monkeypatch):
    lowest, beyond, _ = SUPPORTED[name]
    package = import_module(name)
    monkeypatch.setattr(package, '__version__', lowest)
    check_stack()
    monkeypatch.setattr(package, '__version__', beyond)
    with pytest.raises(ImportError):
        check_stack()
