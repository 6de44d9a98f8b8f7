"""Loading speed of a user's own images, from files and prepared."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from mmengine.dataset import default_collate
from mmpretrain.datasets import BaseDataset
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from aekt_mm.datasets import CropDataset, ViewDataset, ViewSampler, whole_batch
from aekt_mm.engine.image_preparing import prepare_images
from aekt_mm.registry import TRANSFORMS, build

from .benchmarks import summarise, take_turns

ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
BATCH = 32


def images(
    folder: str | Path,
    count: int = 300,
    side: int = 224,
    short_side: int = 256,
    quality: int = 90,
    rounds: int = 3,
) -> dict[str, dict]:
    """Measure what a loader's worker does: reading, decoding, a random crop, a batch.

    All in this process, on one core, from the page cache, in the processor's time, which others on
    the machine do not take part in: in turn mmpretrain and torchvision on the
    files, with a mirrored half, and the same images prepared, read by mmpretrain's pipeline and by
    ``CropDataset``, whose images are mirrored on the device.

    Args:
        folder: Of images, at any depth.
        count: How many at most, evenly of all.
        side: Of the crops, in pixels.
        short_side: Of the prepared images, in pixels.
        quality: Of the prepared JPEGs.
        rounds: How often each is measured.

    Returns:
        Images a second and core, and under ``bytes`` what is read of an image, by way of loading.

    Raises:
        FileNotFoundError: If the folder has no images.
    """
    found = sorted(p for p in Path(folder).rglob('*') if p.suffix.lower() in ENDINGS)
    if not found:
        raise FileNotFoundError(f'{folder} has no images ({", ".join(ENDINGS)})')
    files = found[:: max(len(found) // count, 1)][:count]
    load, crop = dict(type='LoadImageFromFile'), dict(type='RandomResizedCrop', scale=side)
    flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
    pack = dict(type='PackInputs')
    with tempfile.TemporaryDirectory() as prepared, _one_thread():
        manifest = prepare_images(
            _Files(files, []), prepared, short_side=short_side, quality=quality, workers=0
        )

        images = dict(type='PreparedImages', data_root=prepared)
        datasets: dict[str, Any] = {
            'mmpretrain': _Files(files, [load, crop, flip, pack]),
            'torchvision': _Torchvision(files, side),
            'prepared': ViewDataset(dict(images, pipeline=[load, crop, flip, pack])),
            'prepared, decoded to size': CropDataset(images, side),
        }
        rates = {name: partial(_rate, dataset) for name, dataset in datasets.items()}
        figures = summarise(take_turns(rates, rounds))
        original = sum(path.stat().st_size for path in files) / len(files)
        read = sum(file['bytes'] for file in manifest['files']) / manifest['images']
    sizes = dict(zip(figures, (original, original, read, read)))
    return {'images/s': figures, 'bytes': summarise({k: [v] for k, v in sizes.items()})}


def _rate(dataset: Any) -> float:
    sampler = ViewSampler(dataset, seed=0) if isinstance(dataset, ViewDataset) else None
    collate = whole_batch if isinstance(dataset, CropDataset) else default_collate
    loader = DataLoader(dataset, BATCH, sampler=sampler, collate_fn=collate)
    started = time.process_time()
    for _ in loader:
        pass
    return len(dataset) / (time.process_time() - started)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread, as MMEngine does in a run."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


class _Files(BaseDataset):
    """Image files behind a pipeline of mmpretrain."""

    METAINFO = dict(classes=('image',))

    def __init__(self, files: Sequence[Path], pipeline: list) -> None:
        self.files = files
        super().__init__(ann_file='', pipeline=[build(TRANSFORMS, step) for step in pipeline])

    def load_data_list(self) -> list[dict]:
        return [dict(img_path=str(path), gt_label=0) for path in self.files]


class _Torchvision(Dataset):
    """Image files behind torchvision's transforms, as its reference training has them."""

    def __init__(self, files: Sequence[Path], side: int) -> None:
        self.files = files
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(side),
                transforms.RandomHorizontalFlip(),
                transforms.PILToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple:
        return self.transform(Image.open(self.files[index]).convert('RGB')), 0
