"""The store on disk: generations, crashes, damage, and other processes."""
from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from amt_mm.atomic_write import part_of
from amt_mm.saliency import (
    SaliencyMapsLostError,
    SaliencyStore,
    SaliencyStoreError,
    fingerprint,
)

NUM, GRID, ID = 6, (3, 4), fingerprint(['a.jpg', 'b.jpg'])


def _store(root, **changes):
    return SaliencyStore(**{
        **dict(root=root, num_images=NUM, grid=GRID, dataset_id=ID), **changes
    })


def _maps(seed):
    return np.random.default_rng(seed).random((NUM, *GRID), np.float32)


@pytest.fixture
def store(tmp_path):
    """A store whose generation 2 is in use."""
    store = _store(tmp_path / 'saliency')
    store.reset()
    store.write(2, _maps(2))
    return store


def _files(store):
    return sorted(path.name for path in store.root.iterdir())


def _holds(store, generation, seed):
    """Check that a reader, old or new, finds the maps of a generation."""
    for reader in (store, _store(store.root)):
        assert reader.generation == generation
        np.testing.assert_array_equal(
            [reader.read(i) for i in range(NUM)],
            _maps(seed).astype(np.float16))
    store.verify(generation)


@pytest.mark.parametrize('chunk', [1 << 16, 4])
def test_round_trip(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr('amt_mm.saliency.store.CHUNK', chunk)
    store = _store(tmp_path / 'below' / 'saliency')
    with pytest.raises(SaliencyMapsLostError, match='SaliencyUpdateHook mak'):
        store.read(0)
    store.reset()
    assert store.read(0) is None  # before the first generation
    assert store.generation is None and store.generations == []
    store.write(2, _maps(2))
    _holds(store, 2, 2)
    expected = _maps(2).astype(np.float16)
    assert store.read(0).dtype == np.float16
    for index in (-1, NUM):
        with pytest.raises(IndexError, match=rf'in \[0, 6\), got {index}'):
            store.read(index)
    with pytest.raises(ValueError, match='read-only'):
        store.read(0)[:] = 0
    # numpy reads them too, of two bytes a cell and four an image
    records = np.load(store.path(2), allow_pickle=False)
    np.testing.assert_array_equal(records['map'], expected)
    header = store.path(2).stat().st_size - NUM * (3 * 4 * 2 + 4)
    assert 0 < header <= 192
    # it may be moved with its run, and pickled without its handle
    moved = _store(shutil.move(store.root, tmp_path / 'moved'))
    fresh = len(pickle.dumps(moved))
    np.testing.assert_array_equal(moved.read(0), expected[0])
    assert len(pickle.dumps(moved)) == fresh
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(moved)).read(0), expected[0])


@pytest.mark.parametrize('keep, held', [(1, [8]), (2, [6, 8]),
                                        (9, [2, 4, 6, 8])])
def test_generations_and_pruning(store, keep, held):
    for generation in (4, 6, 8):
        store.write(generation, _maps(generation), keep)
    assert store.generation == 8 and store.generations == held
    assert _files(store) == [f'epoch_{g:04d}.npy' for g in held] + [
        'manifest.json']
    for generation in held:
        store.verify(generation)


def test_generations_come_back_and_stay(store):
    store.write(4, _maps(4))
    for generation in (2, 4, 2):
        store.activate(generation)
        _holds(store, generation, generation)
    store.write(3, _maps(3), keep=1)  # older than one that is held
    _holds(store, 3, 3)
    store.write(3, _maps(9))  # once more
    _holds(store, 3, 9)
    for generation in (6, 8):
        store.write(generation, _maps(generation), 1, needed=[3, None])
    assert store.generations == [3, 8]
    store.activate(None)
    assert store.read(1) is None and store.generations == [3, 8]
    store.activate(3)
    _holds(store, 3, 9)
    with pytest.raises(SaliencyMapsLostError, match=r'no generation 7, .*8'):
        store.verify(7)
    with pytest.raises(ValueError, match=r'shape \(6, 3, 4\), got \(5, 3, 4'):
        store.write(9, _maps(9)[:5])
    assert store.generation == 3 and len(_files(store)) == 3
    store.reset()
    assert _files(store) == ['manifest.json'] and store.read(0) is None


# ---- crashes


class Crash(Exception):
    pass


@pytest.mark.parametrize('module, function, call', [
    (np.lib.format, 'write_array_header_1_0', 1),
    (os, 'fsync', 1), (os, 'replace', 1), (os, 'fsync', 2),  # the maps
    (os, 'fsync', 3), (os, 'replace', 2)])  # the manifest
def test_a_crash_while_writing_leaves_the_old_generation(store, monkeypatch,
                                                         module, function,
                                                         call):
    genuine, calls = getattr(module, function), []

    def crash(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            if 'header' in function:  # half of the file is there
                args[0].write(b'\x93NUMPY')
            raise Crash
        return genuine(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, function, crash)
        with pytest.raises(Crash):
            store.write(4, _maps(4))
    assert not list(store.root.glob('*.part'))
    _holds(store, 2, 2)
    # and the next attempt succeeds and leaves no orphan
    store.write(5, _maps(5), keep=1)
    _holds(store, 5, 5)
    (store.root / 'epoch_0004.npy.host.1.part').write_bytes(b'x')
    store.clean()  # what a killed writer left
    assert _files(store) == ['epoch_0005.npy', 'manifest.json']


# ---- damage


@pytest.mark.parametrize('position', [-1, -5, -28])
def test_a_flipped_bit_is_found(store, position):
    store.read(0)
    with open(store.path(2), 'r+b') as file:
        file.seek(position, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(position, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    for reader in (store, _store(store.root)):
        assert reader.read(0) is not None  # the others are whole
        with pytest.raises(SaliencyMapsLostError,
                           match='0002.npy: the map of image 5 is damaged.*Re'
                           'sume from the last checkpoint'):
            reader.read(5)
        with pytest.raises(SaliencyMapsLostError, match='0002.npy is damaged'):
            reader.verify(2)


def test_a_file_that_changes_while_it_is_read(store):
    store.read(0)
    deleted = store.path(2).rename(store.path(4))
    np.testing.assert_array_equal(store.read(5),
                                  _maps(2)[5].astype(np.float16))
    for size in (200, 64, 0):
        os.truncate(deleted, size)
        with pytest.raises(SaliencyMapsLostError, match='image 5 is damaged'):
            store.read(5)
    # records that changed places
    store.write(6, _maps(6))
    np.save(store.path(6), np.load(store.path(6))[[1, 0, 2, 3, 4, 5]])
    with pytest.raises(SaliencyMapsLostError, match='image 0 is damaged'):
        store.read(0)


def test_links_in_the_store_are_not_followed(store, tmp_path):
    victim = tmp_path / 'victim'
    victim.write_text('precious')
    store.path(4).symlink_to(victim)
    part_of(store.path(4)).symlink_to(victim)
    store.write(4, _maps(4))
    assert victim.read_text() == 'precious'
    store.verify(4)


def _replace(path, content):
    path.unlink()
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)


class Trap:
    sprung = False

    def __setstate__(self, state):
        Trap.sprung = True


def _pickle(path):
    trap = Trap()
    trap.state = 1
    np.save(path, np.array([trap] * NUM, object), allow_pickle=True)


def _savez(path):
    with open(path, 'wb') as file:
        np.savez(file, a=np.zeros(3))


def _records(dtype, num=NUM, grid=GRID):
    """Return a function that saves records of a kind."""
    kind = [('map', dtype, grid), ('crc32', '<u4')]
    return lambda path: np.save(path, np.zeros(num, kind))


def _header(shape):
    text = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}}}"
    return b'\x93NUMPY\x01\x00v\x00' + text.ljust(117).encode() + b'\n'


@pytest.mark.parametrize('content', [
    0, 5, 64, 128, 150, _header('(-6,)'), _header('(10**30,)'),
    _header('(10**12, 10**12)'), lambda path: None, Path.mkdir, _pickle,
    _savez, lambda path: path.symlink_to('/dev/zero'),
    lambda path: path.symlink_to(__file__),
    lambda path: np.save(path, _maps(2).astype('<f2')), _records('<f4'),
    _records('>f2'), _records('<f2', 5), _records('<f2', grid=(4, 3))])
def test_other_files_in_place_of_the_maps(store, content):
    _replace(store.path(2), store.path(2).read_bytes()[:content]
             if isinstance(content, int) else content)
    for call in (lambda s: s.read(0), lambda s: s.verify(2)):
        with pytest.raises(SaliencyMapsLostError, match='epoch_0002.npy'):
            call(_store(store.root))
    assert not Trap.sprung


@pytest.mark.parametrize('content', [
    b'', b'{', b'[]', b'null', b'3', b'\xff\xfe\x00', b'[' * 10**5,
    b'{"num_images": 6, "grid": 3, "dataset_id": "x", "format": 1}',
    dict(format=1), dict(current=True), dict(current=-1), dict(current=[]),
    dict(generations={'../../x': dict(crc32=1)}),
    dict(generations={'2': dict(crc32=float('inf'))}),
    dict(generations={'2': dict(crc32=float('nan'))}),
    dict(generations={'2': 3}), dict(generations=[2]), dict(grid=3),
    Path.mkdir])
def test_other_files_in_place_of_the_manifest(store, content):
    held = json.loads(store.manifest.read_text())
    if isinstance(content, dict):
        content = json.dumps({**held, **content}).encode()
    _replace(store.manifest, content)
    for call in (lambda s: s.read(0), lambda s: s.generation,
                 lambda s: s.verify(2), lambda s: s.activate(2)):
        with pytest.raises(SaliencyMapsLostError, match='manifest.json'):
            call(_store(store.root))


@pytest.mark.parametrize('changes, message', [
    (dict(num_images=7), r'it has .*\(6, .*, training has \(7, '),
    (dict(grid=(4, 3)), r'\(6, \(3, 4\), .* \(6, \(4, 3\)'),
    (dict(dataset_id=fingerprint(['c.jpg'])), ID[:12]),
])
def test_another_data_set_is_refused(store, changes, message):
    other = _store(store.root, **changes)
    for call in (lambda: other.read(0), lambda: other.activate(2)):
        with pytest.raises(SaliencyStoreError, match=message) as caught:
            call()
        # not damage: making the maps anew would destroy another run's
        assert not isinstance(caught.value, SaliencyMapsLostError)
    _store(store.root).verify(2)


def test_fingerprint_knows_names_and_order():
    names = ['a.jpg', 'b.jpg', 'caf\udce9.jpg']
    assert fingerprint(names) == fingerprint(iter(names))
    different = {fingerprint(n) for n in (
        names, names[::-1], names[:2], ['a.jp', 'gb.jpg'], ['a.jpgb.jpg'])}
    assert len(different) == 5
