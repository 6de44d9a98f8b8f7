"""Write the table of recipes and the index of each folder of them, from the recipes themselves.

python tools/analysis_tools/recipe_table.py

Writes docs/en/recipes.md between its markers and configs/*/metafile.yml; figures come from
configs/results.yml.
"""

import argparse
from pathlib import Path

import yaml

from aekt_mm.analysis.recipe_table import (
    COLLECTIONS,
    figures,
    find_recipes,
    markdown,
    metafile,
    read_recipe,
)
from aekt_mm.files import replace_text

ROOT = Path(__file__).parents[2]
MARKER = '<!-- what follows is written by tools/analysis_tools/recipe_table.py -->\n'


def generated() -> dict[Path, str]:
    """Return the files that are made of the recipes, with their text."""
    configs = ROOT / 'configs'
    recipes = [read_recipe(path) for path in find_recipes(configs)]
    results = yaml.safe_load((configs / 'results.yml').read_text(encoding='utf-8'))
    page = ROOT / 'docs' / 'en' / 'recipes.md'
    introduction, _, _ = page.read_text(encoding='utf-8').partition(MARKER)
    files = {page: introduction + MARKER + '\n' + figures(results) + '\n' + markdown(recipes)}
    for method in COLLECTIONS:
        own = [recipe for recipe in recipes if recipe.method == method]
        files[configs / method / 'metafile.yml'] = metafile(method, own, results)
    return files


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    ).parse_args()
    for path, text in generated().items():
        replace_text(path, text)
        print(path.relative_to(ROOT))


if __name__ == '__main__':
    main()
