"""The path is in every error."""
from __future__ import annotations

from pathlib import Path

import mmcv
import numpy as np
import pytest
from image_bytes import encode, noise
from mmengine.fileio import BaseStorageBackend, register_backend

from amt_mm.datasets.transforms import LoadImage, UnreadableImageError


def test_loads_as_mmcv_does(jpeg_folder: Path) -> None:
    path = str(jpeg_folder / '0.jpg')
    results = LoadImage()(dict(img_path=path))
    np.testing.assert_array_equal(results['img'], mmcv.imread(path))
    assert results['img_shape'] == results['ori_shape'] == (48, 40)


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('content', [None, b'', b'no image'])
def test_error_names_the_file(tmp_path: Path, content: bytes | None,
                              backend: str) -> None:
    path = tmp_path / 'x.jpg'
    if content is not None:
        path.write_bytes(content)
    load = LoadImage(imdecode_backend=backend)
    with pytest.raises(UnreadableImageError, match=f'the image {path}: '):
        load(dict(img_path=str(path)))


@register_backend('in_memory', prefixes='memory')
class InMemory(BaseStorageBackend):
    """A backend that is no disk."""

    files: dict = {}

    def get(self, filepath: str) -> bytes:
        self.files['reads'] = self.files.get('reads', 0) + 1
        return self.files[filepath]

    def get_text(self, filepath: str) -> str:
        return self.get(filepath).decode()


@pytest.mark.parametrize('name', ['x.jpg', 'x.webp'])
@pytest.mark.parametrize('backend_args', [None, dict(backend='in_memory')])
def test_another_backend_is_read_once(monkeypatch: pytest.MonkeyPatch,
                                      name: str,
                                      backend_args: dict | None) -> None:
    path = f'memory://{name}'
    content = encode(noise(), 'PNG')
    monkeypatch.setattr(InMemory, 'files', {path: content})
    image = LoadImage(backend_args=backend_args)(dict(img_path=path))['img']
    np.testing.assert_array_equal(image, np.asarray(noise())[..., ::-1])
    assert InMemory.files['reads'] == 1
    InMemory.files[path] = content[:-20]
    with pytest.raises(UnreadableImageError, match=f'{path}: .*cut off'):
        LoadImage(backend_args=backend_args)(dict(img_path=path))


def test_options_of_mmcv(tmp_path: Path) -> None:
    path = tmp_path / 'x.png'
    path.write_bytes(encode(noise().convert('RGBA'), 'PNG'))
    found = {}
    for name, options in dict(
            grey=dict(color_type='grayscale'), all=dict(
                color_type='unchanged'), float=dict(to_float32=True)).items():
        results = LoadImage(**options)(dict(img_path=str(path)))
        assert results['img_shape'] == results['ori_shape'] == (48, 64)
        found[name] = results['img'].shape[2:], results['img'].dtype
    assert found == dict(grey=((), np.uint8), all=((4, ), np.uint8),
                         float=((3, ), np.float32))
    path.write_bytes(b'')
    assert LoadImage(ignore_empty=True)(dict(img_path=str(path))) is None


def test_all_images_are_kept_and_read_only(tmp_path, jpeg_folder):
    path = tmp_path / 'x.jpg'
    path.write_bytes((jpeg_folder / '0.jpg').read_bytes())
    load, plain = LoadImage(keep_all=True), LoadImage()
    expected = plain(dict(img_path=str(path)))['img']
    load(dict(img_path=str(path)))
    path.unlink()
    image = load(dict(img_path=str(path)))['img']
    np.testing.assert_array_equal(image, expected)
    assert not image.flags.writeable
    with pytest.raises(UnreadableImageError, match='x.jpg'):
        plain(dict(img_path=str(path)))
