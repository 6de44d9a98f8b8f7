"""What tools say at the terminal when something that they need is absent."""

import multiprocessing
import sys
from pathlib import Path

import pytest


def without(package, tool, path):
    """Run a tool where a package is not installed, in a process that forgets what it imported."""
    for name in list(sys.modules):
        if name.split('.')[0] == package or name.startswith('aekt_mm.analysis'):
            del sys.modules[name]
    sys.modules[package] = None
    sys.exit(tool(path, '--help'))


@pytest.mark.parametrize(
    ('path', 'package', 'extra'),
    [
        ('study.py', 'pandas', 'studies'),
        ('study.py', 'pydantic', 'studies'),
        ('report.py', 'jinja2', 'analysis'),
        ('analysis_tools/plot_study.py', 'matplotlib', 'analysis'),
        ('analysis_tools/analyse.py', 'scipy', 'analysis'),
    ],
)
def test_a_tool_names_the_package_it_lacks_and_how_to_install_it(path, package, extra, tool, capfd):
    context = multiprocessing.get_context('fork')
    process = context.Process(target=without, args=(package, tool, f'tools/{path}'))
    process.start()
    process.join()
    assert process.exitcode == 1
    name = Path(path).stem
    expected = f"{name}: {package} is not installed: pip install -e '.[{extra}]'"
    said = capfd.readouterr().err
    assert said.strip().splitlines()[-1] == expected
    assert 'Traceback' not in said
