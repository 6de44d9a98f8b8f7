"""Write a recipe's image sets once in the form that training reads fastest.

    python tools/dataset_converters/prepare_images.py configs/vanilla/vanilla_r18_imagenet.py FOLDER
    python tools/train.py configs/aekt/aekt_r34_r18_imagenet.py --prepared FOLDER

Each set goes into a folder of its own: FOLDER/train, FOLDER/val. Training images are shrunk to a
short side of 256 pixels and kept as JPEGs in a few large files; smaller JPEGs, and all images to be
tested on, keep their bytes. Killed and called again, it goes on where it was. With --verify every
image is read against its checksum.
"""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from rich.filesize import decimal

from aekt_mm.engine.command_line import (
    Options,
    add_traceback_argument,
    one_line_errors,
    whole_number,
)
from aekt_mm.engine.image_preparing import prepare_images, verify_images
from aekt_mm.engine.launching import check_files, override
from aekt_mm.engine.prepared_sets import image_sets, origin
from aekt_mm.engine.recipes import load_recipe
from aekt_mm.registry import DATASETS, build


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('config', help='path or name of the recipe whose image sets to prepare')
    parser.add_argument('folder', type=Path, help='where they go')
    parser.add_argument('--sets', nargs='+', help='which; all, if not given')
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        '--short-side',
        type=whole_number(1),
        default=256,
        help='of training images, in pixels (256)',
    )
    size.add_argument('--keep-bytes', action='store_true', help='keep all images as they are')
    parser.add_argument('--quality', type=int, default=90, help='of JPEGs that are written (90)')
    parser.add_argument(
        '--workers',
        type=whole_number(0),
        help='processes; as many as cores, if not given; 0: this one',
    )
    parser.add_argument('--verify', action='store_true', help='check every image of sets there are')
    parser.add_argument(
        '--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE', help='as of train.py'
    )
    add_traceback_argument(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors('prepare_images', args):
        run(args)


def run(args: argparse.Namespace) -> None:
    cfg = load_recipe(args.config)
    if args.cfg_options is not None:
        override(cfg, args.cfg_options)
    sets = image_sets(cfg)
    if not sets:
        raise ValueError(f'the config {args.config} has no train_dataloader with a dataset')
    for name in args.sets or sets:
        if name not in sets:
            raise ValueError(f'{args.config} has no image set {name!r}: it has {", ".join(sets)}')
    sets = {name: sets[name] for name in args.sets or sets}
    if args.verify:
        for name in sets:
            print(f'{args.folder / name}: all {verify_images(args.folder / name)} images are whole')
        return
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    for name, dataset in sets.items():
        kind = DATASETS.get(dataset['type'])
        if not (isinstance(kind, type) and issubclass(kind, BaseDataset)):
            raise ValueError(
                f'{name}_dataloader reads {dataset["type"]}, which is no data set of image files: '
                'there is nothing to prepare'
            )
    loaders = {loader: cfg[loader] for loader in (f'{name}_dataloader' for name in sets)}
    check_files(Config(dict(model={}, **loaders)), *loaders)
    for name, dataset in sets.items():
        manifest = prepare_images(
            build(DATASETS, dict(dataset, pipeline=[])),
            args.folder / name,
            # accuracies are compared with others', which are of the images as they are
            short_side=None if args.keep_bytes or name != 'train' else args.short_side,
            quality=args.quality,
            workers=args.workers,
            origin=origin(dataset),
        )
        report(args.folder / name, manifest)


def report(folder: Path, manifest: dict) -> None:
    size = sum(file['bytes'] for file in manifest['files'])
    counts = ', '.join(f'{count:,} {kind}' for kind, count in sorted(manifest['counts'].items()))
    print(
        f'{folder}: {manifest["images"]:,} images in {len(manifest["files"])} files, '
        f'{decimal(size)}, {decimal(size // manifest["images"])} an image ({counts})'
    )
    for name, why in manifest['left_out'].items():
        print(f'left out: {name}: {why}')


if __name__ == '__main__':
    main()
