"""What tools say at the terminal when something that they need is absent."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
WITHOUT = 'import runpy, sys; sys.modules[sys.argv.pop(1)] = None; '


@pytest.mark.parametrize(
    ('tool', 'package', 'extra'),
    [
        ('study.py', 'pandas', 'studies'),
        ('study.py', 'pydantic', 'studies'),
        ('report.py', 'jinja2', 'analysis'),
        ('analysis_tools/plot_study.py', 'matplotlib', 'analysis'),
        ('analysis_tools/analyse.py', 'scipy', 'analysis'),
    ],
)
def test_a_tool_names_the_package_it_lacks_and_how_to_install_it(tool, package, extra):
    run = 'del sys.argv[0]; runpy.run_path(sys.argv[0], run_name="__main__")'
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT + run, package, TOOLS / tool, '--help'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    name = Path(tool).stem
    expected = f"{name}: {package} is not installed: pip install -e '.[{extra}]'"
    assert done.stderr.strip().splitlines()[-1] == expected
    assert 'Traceback' not in done.stderr
