"""Write the lists of images that mmpretrain's CustomDataset reads of Tiny ImageNet.

    unzip tiny-imagenet-200.zip -d data
    python tools/dataset_converters/tiny_imagenet.py data/tiny-imagenet-200

The folder gets meta/{train,val,classes}.txt; images stay where they are. Labels are the positions
of the WordNet ids in alphabetical order, as torchvision's ImageFolder numbers them.
"""

import argparse
import sys
from pathlib import Path

from aekt_mm.files import replace_text


def write_lists(folder: Path) -> None:
    """Write ``meta/train.txt``, ``meta/val.txt`` (``FILE LABEL``) and ``meta/classes.txt``.

    Raises:
        FileNotFoundError: If the folder is not Tiny ImageNet as its archive unpacks.
        ValueError: If an image of validation is of a class that training does not have.
    """
    annotations = folder / 'val' / 'val_annotations.txt'
    for needed in (folder / 'train', folder / 'words.txt', annotations):
        if not needed.exists():
            raise FileNotFoundError(
                f'{needed} is not there: unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip '
                f'so that it is'
            )
    ids = sorted(path.name for path in (folder / 'train').iterdir() if path.is_dir())
    label = {wordnet_id: number for number, wordnet_id in enumerate(ids)}

    train = [
        f'{image.relative_to(folder / "train").as_posix()} {label[wordnet_id]}'
        for wordnet_id in ids
        for image in sorted((folder / 'train' / wordnet_id / 'images').iterdir())
    ]
    val = []
    for line in _lines(annotations):
        image, wordnet_id, *_ = line.split('\t')
        if wordnet_id not in label:
            raise ValueError(f'{annotations}: {image} is of {wordnet_id}, which train/ has not')
        val.append(f'{image} {label[wordnet_id]}')
    words = dict(line.split('\t', 1) for line in _lines(folder / 'words.txt'))
    classes = [words[wordnet_id] for wordnet_id in ids]

    (folder / 'meta').mkdir(exist_ok=True)
    for name, lines in (('train', train), ('val', val), ('classes', classes)):
        text = ''.join(f'{line}\n' for line in lines)
        replace_text(folder / 'meta' / f'{name}.txt', text)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding='utf-8').splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('folder', type=Path, help='where the archive is unpacked')
    args = parser.parse_args()
    try:
        write_lists(args.folder)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'tiny_imagenet: {error}')


if __name__ == '__main__':
    main()
