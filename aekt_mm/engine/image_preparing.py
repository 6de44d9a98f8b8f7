"""Write an image set once in the form that training reads fastest.

See :mod:`aekt_mm.datasets.prepared_images` for the form.
"""

import hashlib
import io
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import mmcv
from mmengine import fileio
from PIL import ExifTags, Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aekt_mm.datasets.jpeg_tiles import with_table_of_tiles
from aekt_mm.datasets.prepared_images import (
    ROWS,
    VERSION,
    ArrowBackend,
    PreparedIndex,
    digest_file,
    import_arrow,
    read_manifest,
)
from aekt_mm.files import remove_partials, replace_file, replace_text, with_checksum

#: Images of a file; a kill loses the files that were being written.
IMAGES_PER_FILE = 2048

KINDS = {
    'L': 'grey',
    'LA': 'grey',
    '1': 'grey',
    'I': 'grey',
    'F': 'grey',
    'P': 'palette',
    'PA': 'palette',
    'CMYK': 'CMYK',
}


def prepare_images(
    dataset: Any,
    folder: str | Path,
    short_side: int | None = 256,
    quality: int = 90,
    workers: int | None = None,
    images_per_file: int = IMAGES_PER_FILE,
    origin: dict | None = None,
) -> dict:
    """Write the images of an mmpretrain dataset as a prepared set.

    Images whose short side is longer than ``short_side`` are shrunk to it (Lanczos) and kept as
    JPEGs (4:2:0); JPEGs of RGB or grey pixels that are small enough keep their bytes. Rotated
    images are turned upright, palette, CMYK and 16-bit ones become RGB, all as mmpretrain reads
    them. Images that can't be read whole are left out, and named in the manifest. What is written
    does not depend on the number of workers. Killed and called again, it goes on.

    Args:
        dataset: An mmpretrain dataset of image files with one label each.
        folder: Where the set goes.
        short_side: In pixels, at least 1. None: all bytes are kept.
        quality: Of JPEGs, 1 to 100.
        workers: Processes; by default as many as there are cores. 0: this one.
        images_per_file: Of each file but the last.
        origin: What the manifest is to say of the dataset, see
            :func:`~aekt_mm.engine.prepared_sets.origin`.

    Returns:
        The sealed manifest: ``images``, how many; ``counts``, of what kinds; ``left_out``, which
        and why.

    Raises:
        ValueError: If an option is out of its range, the dataset has something else than image
            files with one label each, or the folder has another set.
        OSError: If an image file can't be opened, or the disk is full.
    """
    if short_side is not None and not (isinstance(short_side, int) and short_side >= 1):
        raise ValueError(f'short_side must be at least 1 pixel or None, but is {short_side!r}')
    if not (isinstance(quality, int) and 1 <= quality <= 100):
        raise ValueError(f'quality must be a whole number from 1 to 100, but is {quality!r}')
    if workers is not None and not (isinstance(workers, int) and workers >= 0):
        raise ValueError(f'workers must be a whole number of at least 0, but is {workers!r}')
    folder = Path(folder)
    images = _annotations(dataset)
    plan = dict(
        version=VERSION,
        source=_digest_of_list(images),
        short_side=short_side,
        quality=None if short_side is None else quality,
        images_per_file=images_per_file,
        classes=list(dataset.metainfo['classes']),
    )
    manifest = _open(folder, plan, origin)
    if manifest['files'] is None:
        remove_partials(folder)
        write = partial(
            _write_file, folder, short_side=short_side, quality=quality, schema=_schema(plan)
        )
        _write_files(folder, images, images_per_file, workers, write)
        manifest = _seal(folder, {**plan, 'origin': origin}, -(-len(images) // images_per_file))
    return manifest


def prepare_image(data: bytes, short_side: int | None, quality: int) -> tuple[bytes, list[str]]:
    """Return the bytes to keep of an image, and what was particular about it.

    Args:
        data: An image file's content.
        short_side: In pixels; None: keep the bytes.
        quality: Of a JPEG.

    Returns:
        The bytes, and any of 'grey', 'palette', 'CMYK', 'rotated', 'not JPEG', and 'kept' or
        're-encoded'.

    Raises:
        ValueError: If the image can't be read whole.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()  # to its last byte, which OpenCV does not ask for
            mode, form, size = image.mode, image.format, image.size
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        pixels = mmcv.imfrombytes(data)  # as LoadImageFromFile has them: upright, BGR, uint8
    except Exception as error:  # decoders raise what they like
        raise ValueError(f'{type(error).__name__}: {error}') from error
    if pixels is None:
        raise ValueError('OpenCV can not read it')

    kinds = [KINDS[mode.partition(';')[0]]] if mode.partition(';')[0] in KINDS else []
    kinds += ['rotated'] * (orientation in range(2, 9)) + ['not JPEG'] * (form != 'JPEG')
    ready = form == 'JPEG' and mode in ('RGB', 'L') and 'rotated' not in kinds
    if short_side is None or (ready and min(size) <= short_side):
        return data, [*kinds, 'kept']
    height, width = pixels.shape[:2]
    upright = Image.fromarray(pixels[..., ::-1])
    scale = short_side / min(height, width)
    if scale < 1:
        upright = upright.resize(
            (round(width * scale), round(height * scale)), Image.Resampling.LANCZOS
        )
    # with Huffman codes of its own an image is smaller and faster to decode, and with restart
    # markers it can be cut to a crop's tiles first; pixels are the same. Two blocks of 16 pixels
    # make a tile where a row has an even number: half as many are found and numbered faster
    columns = -(-upright.width // 16)
    buffer = io.BytesIO()
    upright.save(
        buffer,
        'JPEG',
        quality=quality,
        subsampling='4:2:0',
        optimize=True,
        restart_marker_blocks=1 + (columns % 2 == 0),
    )
    return with_table_of_tiles(buffer.getvalue()), [*kinds, 're-encoded']


def verify_images(folder: str | Path) -> int:
    """Read every image of a prepared set against its checksum, and return how many there are.

    Raises:
        FileNotFoundError: If there is no prepared set.
        ValueError: If it is incomplete, torn, or an image is damaged; the message says which.
    """
    index, backend = PreparedIndex(folder), ArrowBackend()
    for number in range(len(index)):
        backend.get(index.image(number)['img_path'])
    return len(index)


def digest_of_source(dataset: Any) -> str:
    """Return what a manifest has as ``source``: a digest of the images' names and labels.

    Args:
        dataset: As of :func:`prepare_images`.
    """
    return _digest_of_list(_annotations(dataset))


def _annotations(dataset: Any) -> list[tuple[str, str, int]]:
    """Return (name, path, label) of each image; the name is the path below the set's folder."""
    prefix = str(getattr(dataset, 'img_prefix', '') or '')
    images = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path, label = info.get('img_path'), info.get('gt_label')
        if path is None or not isinstance(label, Integral):
            raise ValueError(
                f'{type(dataset).__name__} can not be prepared: sample {index} has '
                + ('no image file' if path is None else f'the label {label!r}, not a class index')
            )
        name = path[len(prefix) :].lstrip('/') if path.startswith(prefix) else Path(path).name
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f'{ascii(path)[1:-1]} can not be prepared: its name is not UTF-8, rename it'
            ) from error
        images.append((name, path, int(label)))
    if not images:
        raise ValueError(f'{type(dataset).__name__} has no images')
    return images


def _digest_of_list(images: list[tuple[str, str, int]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, _, label in images:
        digest.update(f'{name}\0{label}\n'.encode())
    return digest.hexdigest()


def _open(folder: Path, plan: dict, origin: dict | None) -> dict:
    """Begin a set, or go on with the one that is there if it is the same."""
    if not (folder / 'manifest.json').exists():
        folder.mkdir(parents=True, exist_ok=True)
        begun = {**plan, 'origin': origin, 'files': None}
        _write_json(folder / 'manifest.json', with_checksum(begun))
    manifest = read_manifest(folder)
    found = [
        f'{name}: the folder has {manifest.get(name)!r:.60}, asked for is {value!r:.60}'
        for name, value in plan.items()
        if manifest.get(name) != value
    ]
    if found:
        raise ValueError(
            f'{folder} has another prepared set: take another folder or remove it\n  '
            + '\n  '.join(found)
        )
    return manifest


def _schema(plan: dict) -> Any:
    """Return the Arrow schema, with the note by which Hugging Face's ``datasets`` knows images."""
    arrow = import_arrow()
    names, label = plan['classes'], dict(_type='Value', dtype='int64')
    if len(set(names)) == len(names):  # which those of ImageNet are not; ClassLabel asks for it
        label = dict(_type='ClassLabel', names=names)
    features = dict(
        image=dict(_type='Image'),
        label=label,
        crc32=dict(_type='Value', dtype='uint32'),
    )
    image = arrow.struct([('bytes', arrow.binary()), ('path', arrow.string())])
    return arrow.schema(
        [('image', image), ('label', arrow.int64()), ('crc32', arrow.uint32())],
        metadata={'huggingface': json.dumps(dict(info=dict(features=features)))},
    )


def _write_files(
    folder: Path, images: list, images_per_file: int, workers: int | None, write: partial
) -> None:
    """Write the files that are not there yet, several at a time."""
    missing = [
        number
        for number in range(-(-len(images) // images_per_file))
        if not _note(folder, number).exists()
    ]
    parts = {n: images[n * images_per_file :][:images_per_file] for n in missing}
    workers = (os.cpu_count() or 1) if workers is None else workers
    console = Console()
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(f'{folder.name}, images', total=sum(map(len, parts.values())))
        for number in _in_processes(write, parts, workers):
            progress.advance(task, len(parts[number]))


def _in_processes(write: partial, parts: dict[int, list], workers: int) -> Iterator[int]:
    if workers == 0:
        for number, part in parts.items():
            yield write(number, part)
        return
    with ProcessPoolExecutor(workers) as pool:
        try:
            for future in as_completed([pool.submit(write, *item) for item in parts.items()]):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_file(
    folder: Path, number: int, images: list, *, short_side: int | None, quality: int, schema: Any
) -> int:
    """Write one file, and then the note that it is there."""
    arrow = import_arrow()
    counts: Counter[str] = Counter()
    left_out, rows, written = {}, [], 0
    path = folder / f'{number:05}.arrow'

    def write(partial_path: Path) -> None:
        nonlocal written
        with partial_path.open('wb') as file, arrow.ipc.new_file(file, schema) as writer:
            for name, source, label in images:
                data = fileio.get(source)  # a file that is not there stops it all
                try:
                    data, kinds = prepare_image(data, short_side, quality)
                except ValueError as error:
                    left_out[name] = str(error)
                    continue
                counts.update(kinds)
                image = dict(bytes=data, path=name)
                rows.append(dict(image=image, label=label, crc32=zlib.crc32(data)))
                if len(rows) == ROWS:
                    written += _write_rows(writer, rows, schema)
            written += _write_rows(writer, rows, schema)

    replace_file(path, write)
    note = dict(
        name=path.name,
        images=written,
        bytes=path.stat().st_size,
        counts=dict(counts),
        left_out=left_out,
    )
    _write_json(_note(folder, number), note)
    return number


def _write_rows(writer: Any, rows: list[dict], schema: Any) -> int:
    arrow, count = import_arrow(), len(rows)
    if count:
        writer.write_batch(arrow.RecordBatch.from_pylist(rows, schema=schema))
        rows.clear()
    return count


def _note(folder: Path, number: int) -> Path:
    return folder / f'{number:05}.json'


def _seal(folder: Path, plan: dict, files: int) -> dict:
    """Write index and manifest: the set is complete."""
    arrow = import_arrow()
    notes = [json.loads(_note(folder, k).read_text(encoding='utf-8')) for k in range(files)]
    names, labels, content = [], [], hashlib.blake2b(digest_size=16)
    for note in notes:
        table = arrow.ipc.open_file(arrow.memory_map(str(folder / note['name']))).read_all()
        for batch in table.to_batches():
            names += batch.column('image').field('path').to_pylist()
            labels += batch.column('label').to_pylist()
            content.update(batch.column('crc32').to_numpy())
    left_out = {name: why for note in notes for name, why in note['left_out'].items()}
    if not labels:
        raise ValueError(f'none of the {len(left_out)} images can be read: {left_out}')
    path = folder / 'index.arrow'
    batch = arrow.record_batch(
        [arrow.array(names, arrow.string()), arrow.array(labels, arrow.int64())],
        names=['path', 'label'],
    )

    def write(partial_path: Path) -> None:
        with partial_path.open('wb') as file, arrow.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)

    replace_file(path, write)
    index = digest_file(path)
    content.update(index.encode())
    manifest = dict(
        **plan,
        images=len(labels),
        counts=dict(sum((Counter(note['counts']) for note in notes), Counter())),
        left_out=left_out,
        index=index,
        digest=content.hexdigest(),
        files=[{key: note[key] for key in ('name', 'images', 'bytes')} for note in notes],
    )
    manifest = with_checksum(manifest)
    _write_json(folder / 'manifest.json', manifest)
    for number in range(files):
        _note(folder, number).unlink()
    return manifest


def _write_json(path: Path, content: dict) -> None:
    replace_text(path, json.dumps(content, indent=1) + '\n')
