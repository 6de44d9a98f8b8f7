"""Print a recipe with everything it inherits, as Python or YAML.

    python tools/misc/print_config.py configs/aekt/aekt_r34_r18_imagenet.py --format yaml
    python tools/misc/print_config.py nkd_resnet56_resnet20_cifar100

What is printed is a recipe itself: it builds the same model, data and schedule.
"""

import argparse
import sys

import yaml

from aekt_mm.engine.command_line import Options
from aekt_mm.engine.launching import override
from aekt_mm.engine.recipes import load_recipe


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('config', help='path or name of the recipe')
    parser.add_argument('--format', choices=['py', 'yaml'], default='py', help='Python or YAML')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the config, as in model.losses.aekt.beta=2.0',
    )
    args = parser.parse_args()
    try:
        cfg = load_recipe(args.config)
        override(cfg, args.cfg_options)
    except (OSError, ValueError) as error:
        sys.exit(f'print_config: {error}')
    if args.format == 'yaml':
        text = yaml.safe_dump(_plain(cfg.to_dict()), sort_keys=False, allow_unicode=True)
    else:
        text = cfg.pretty_text
    print(text, end='')


def _plain(value: object) -> object:
    """Return a config with lists where it has tuples, which YAML does not know."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


if __name__ == '__main__':
    main()
