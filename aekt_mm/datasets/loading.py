"""mmpretrain's loaders, with errors that name the file."""

from pathlib import PurePath

import mmcv
import mmpretrain
from mmengine.fileio import list_from_file
from mmengine.logging import print_log

from aekt_mm.registry import DATASETS, TRANSFORMS


@TRANSFORMS.register_module()
class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
    """mmcv's, with errors that name the file.

    Of an empty file OpenCV says ``cv2.error``, and of one that is cut off nothing.
    """

    def transform(self, results: dict) -> dict | None:
        """Load an image.

        Raises:
            ValueError: If the file is not there or no image.
        """
        try:
            return super().transform(results)
        except Exception as error:  # readers of images raise whatever they stumble over
            path = results['img_path']
            raise ValueError(f'{path} can not be read as an image: {_reason(error)}') from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return 'there is no such file'
    if isinstance(error, OSError):
        return str(error)
    return 'it is empty, cut off or of another kind'


#: What ends the names of image files.
IMAGE_SUFFIXES = {
    '.avif', '.bmp', '.gif', '.heic', '.heif', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm',
    '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp',
}  # fmt: skip


@DATASETS.register_module()
class CustomDataset(mmpretrain.datasets.CustomDataset):
    """mmpretrain's, with a warning of the files that it leaves out.

    Images of other suffixes than its ``extensions`` are counted and one of each kind is named, in a
    warning. ``extensions=['.webp', ...]`` takes others in.
    """

    def load_data_list(self) -> list[dict]:
        """Load paths and labels.

        Raises:
            ValueError: If there are none, or the name of a class's folder is not UTF-8.
        """
        self.left_out: dict[str, list[str]] = {}
        try:
            images = super().load_data_list()
        except RuntimeError as error:  # none is found
            known = f'{self.img_prefix} has no image of {", ".join(sorted(self.extensions))}'
            raise ValueError(f'{known}{self._others()}') from error
        wrong = [name for name in getattr(self, 'folder_to_idx', ()) if not _printable(name)]
        if wrong:
            names = ', '.join(ascii(name) for name in wrong[:3])
            raise ValueError(
                f'{self.img_prefix} has folders whose names are not UTF-8, and those of classes '
                f'are written into logs and checkpoints: rename {names}'
            )
        if self.left_out:
            print_log(f'{self.img_prefix} is read in part{self._others()}', 'current', level=30)
        return images

    def _others(self) -> str:
        """Say which images are left out, and how to take them in."""
        if not self.left_out:
            return ''
        kinds = [
            f'{len(names)} of {suffix} (such as {ascii(min(names))[1:-1]})'
            for suffix, names in sorted(self.left_out.items())
        ]
        suffixes = [repr(suffix) for suffix in sorted({*self.extensions, *self.left_out})]
        return (
            f', images are left out: {", ".join(kinds)}. To take them in, set '
            f'extensions=[{", ".join(suffixes)}]'
        )

    def is_valid_file(self, filename: str) -> bool:
        """Check whether a file is an image to be read, and note which others there are."""
        valid = super().is_valid_file(filename)
        suffix = PurePath(filename).suffix.lower()
        if not valid and suffix in IMAGE_SUFFIXES:
            self.left_out.setdefault(suffix, []).append(filename)
        return valid


def _printable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@DATASETS.register_module()
class Food101(mmpretrain.datasets.Food101):
    """mmpretrain's, with errors that name the bad line of a list."""

    def load_data_list(self) -> list[dict]:
        """Load paths and labels.

        Raises:
            ValueError: If a line of ``meta/train.txt`` or ``meta/test.txt`` is not of the form
                CLASS/NAME; the message has its number.
        """
        for number, line in enumerate(list_from_file(self.ann_file), 1):
            name, slash, image = line.partition('/')
            if name not in self.METAINFO['classes'] or not slash or not image or '/' in image:
                raise ValueError(
                    f'line {number} of {self.ann_file} must be CLASS/NAME, as in '
                    f'apple_pie/1005649, but is {line!r}'
                )
        return super().load_data_list()
