"""Packaging, with the recipes and tools where MIM looks for them."""

import os
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
EXTRAS = ('analysis', 'digits', 'images', 'studies', 'onnx', 'tests', 'docs', 'openmmlab')
MIM_FILES = ('configs', 'tools', 'model-index.yml')


class BuildWithMIM(build_py):
    """Put recipes and tools into ``aekt_mm/.mim``: linked where installed editable, or copied."""

    def run(self) -> None:
        """Build the package, then what MIM needs."""
        super().run()
        package = ROOT if self.editable_mode else Path(self.build_lib)
        mim = package / 'aekt_mm' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in MIM_FILES:
            source, target = ROOT / name, mim / name
            if self.editable_mode:
                target.symlink_to(os.path.relpath(source, mim))
            elif source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copyfile(source, target)


def requirements(name: str) -> list[str]:
    """Return the requirements that a file lists."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def version() -> str:
    """Return the package's version without importing it."""
    scope: dict[str, str] = {}
    exec((ROOT / 'aekt_mm' / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


setup(
    name='aekt_mm',
    version=version(),
    description='Adaptive explicit knowledge transfer for image classifiers, on MMEngine',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='knowledge distillation, image classification, mmengine, mmpretrain',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 14)),
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['aekt_mm', 'aekt_mm.*']),
    package_data={'aekt_mm': ['py.typed'], 'aekt_mm.analysis': ['report.html']},
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    # the original distributions go over the onedl-* ones, which an extra can't take away;
    # requirements/openmmlab.txt says how to have them alone
    extras_require={name: requirements(name) for name in EXTRAS},
    cmdclass={'build_py': BuildWithMIM},
    zip_safe=False,
)
