"""Reading what a data set says is there, with a name for what can't be read."""

import mmcv
import mmpretrain
from mmengine.fileio import list_from_file

from aekt_mm.registry import DATASETS, TRANSFORMS


@TRANSFORMS.register_module()
class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
    """mmcv's, which says which file it can't read.

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


@DATASETS.register_module()
class Food101(mmpretrain.datasets.Food101):
    """mmpretrain's, which says which line of its lists is none."""

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
