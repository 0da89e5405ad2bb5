"""List the images of a folder or of a file, and say what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from mmengine.fileio import list_from_file

from .printable import printable

# of pictures that a user may expect to be taken
PICTURES = ('.jpg', '.jpeg', '.jfif', '.png', '.webp', '.bmp', '.ppm', '.pgm',
            '.pbm', '.tif', '.tiff', '.gif', '.avif', '.heic', '.heif', '.jp2',
            '.jxl', '.dng', '.cr2', '.nef', '.arw', '.psd', '.svg')
MAX_BYTES = 4096  # of a path on Linux


def find_images(
        root: str,
        is_image: Callable[[str], bool]) -> tuple[list[str], Counter[str]]:
    """List the images below a folder, in order, and count those left out.

    Links are followed; one that leads nowhere, and what is no regular file, is
    listed as any other: whoever reads it says that it cannot be read.

    Raises:
        OSError: If a folder below cannot be read.
        ValueError: If a link leads to a folder that it lies in.
    """
    images: list[str] = []
    left_out: Counter[str] = Counter()
    for path in _walk(root.rstrip(os.sep) or os.sep):
        if is_image(path):
            images.append(path)
        else:
            name = path.rsplit(os.sep, 1)[-1]
            ending = os.path.splitext(name)[1].lower()
            if ending in PICTURES and not name.startswith('.'):
                left_out[ending] += 1
    return sorted(images), left_out


def _walk(root: str) -> Iterator[str]:
    """Yield the paths of all files, relative to the root."""

    def stop(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(root, onerror=stop,
                                          followlinks=True):
        for name in folders:
            link = os.path.join(folder, name)
            if os.path.islink(link) and _leads_back(link, root):
                raise ValueError(
                    f'the link {printable(link)} leads to a folder that it '
                    'lies in, so its images would be listed without end.')
        below = os.path.relpath(folder, root)
        for name in names:
            yield name if below == os.curdir else os.path.join(below, name)


def _leads_back(link: str, root: str) -> bool:
    """Whether one comes by a link, from the root on, to the link again."""
    target, folder = os.path.realpath(link), os.path.dirname(link)
    while True:
        if _is_below(os.path.realpath(folder), target):
            return True
        if folder == root:
            return False
        folder = os.path.dirname(folder)


def read_names(ann_file: str, data_root: str, prefix: str) -> list[str]:
    """Read the paths of images, one a line; blank lines are none.

    Raises:
        ValueError: If a line is no path below ``data_root``.
    """
    try:
        lines: Sequence[str] = list_from_file(ann_file)
    except UnicodeDecodeError as error:
        raise ValueError(f'ann_file must be UTF-8, got {printable(ann_file)}: '
                         f'{error}') from error
    root = os.path.abspath(data_root)
    return [
        _checked(line, f'line {number} of ann_file {printable(ann_file)}',
                 root, prefix)
        for number, line in enumerate(lines, 1) if line.strip()
    ]


def _checked(name: str, where: str, root: str, prefix: str) -> str:
    """Return a name, or say what is wrong with it."""
    if '\0' in name or len(os.fsencode(name)) > MAX_BYTES:
        raise ValueError(
            f'{where} must be a path of at most {MAX_BYTES:,} bytes without '
            f'NUL, got {len(name):,} characters: {printable(name)}')
    if os.pardir in name or os.path.isabs(name):
        path = os.path.abspath(os.path.join(prefix, name))
        if not _is_below(path, root):
            raise ValueError(f'{where} must be below data_root '
                             f'{printable(root)}, got {printable(name)}')
    return name


def _is_below(path: str, folder: str) -> bool:
    return os.path.commonpath((path, folder)) == folder
