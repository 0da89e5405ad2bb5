"""Weighted k-NN, against the whole matrix of similarities."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from amt_mm.evaluation import (
    count_not_finite,
    draw_subsets,
    labels_of,
    linear_probe,
    nearest,
    top_accuracies,
    vote,
    weighted_knn,
)


def features(num, width=6, seed=0):
    return torch.randn(
        num, width, generator=torch.Generator().manual_seed(seed))


def naive(queries, bank, labels, num_classes, k, temperature):
    """Classify one query after the other, in float64."""
    rows = []
    for query in queries.double():
        similarity = F.cosine_similarity(query[None], bank.double())
        order = similarity.argsort(descending=True)[:k]
        row = torch.zeros(num_classes, dtype=torch.float64)
        for i in order:
            row[labels[i]] += (similarity[i] / temperature).exp()
        rows.append(row / row.sum())
    return torch.stack(rows)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 30), st.integers(1, 10),
    st.integers(1, 31), st.data())
def test_any_blocks_give_what_the_whole_matrix_gives(
        num_queries, num_bank, query_block, bank_block, data):
    k = data.draw(st.integers(1, num_bank))
    queries, bank = features(num_queries), features(num_bank, seed=1)
    labels = torch.arange(num_bank) % 4
    found = nearest(queries, bank, k, query_block, bank_block)
    assert found.ids.shape == found.similarity.shape == (num_queries, k)
    assert (found.similarity.diff(dim=1) <= 0).all()
    scores = vote(found, labels, 4, 0.07)
    expected = naive(queries, bank, labels, 4, k, 0.07)
    torch.testing.assert_close(scores.double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize('block', [1, 2, 3, 50])
def test_equal_neighbours_all_count(block):
    """A tie leaves open which image is named, but not how alike it is."""
    bank = torch.tensor([[1., 0], [3, 0], [2, 0], [0, 1]]).repeat(4, 1)
    found = nearest(torch.tensor([[1., 0]]), bank, 10, 1, block)
    assert found.similarity.tolist() == [[1.] * 10]
    assert found.ids.unique().numel() == 10
    assert (found.ids % 4 < 3).all()


def test_small_temperatures_and_half_precision():
    bank = features(10)
    scores = weighted_knn(bank, bank, torch.arange(10), 10, 5, 1e-3)
    torch.testing.assert_close(scores, torch.eye(10))
    exact, half = (nearest(features(5, seed=1), own, 3)
                   for own in (bank, bank.half()))
    torch.testing.assert_close(half.similarity, exact.similarity, atol=2e-3,
                               rtol=0)


@pytest.mark.parametrize('k, temperature, message', [
    (9, .07, 'at most the 8 images.*got 9'),
    (0, .07, 'k must be an integer >= 1'), (2, 0, 'temperature')])
def test_wrong_numbers(k, temperature, message):
    with pytest.raises(ValueError, match=message):
        weighted_knn(features(2), features(8), torch.arange(8), 8, k,
                     temperature)


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_features_that_are_not_finite(bad):
    broken = features(8)
    broken[3, 1] = broken[3, 2] = broken[5, 0] = bad
    assert count_not_finite(broken) == count_not_finite(broken.half()) == 2
    for classify in (nearest, linear_probe):
        args = (1, ) if classify is nearest else (torch.arange(8), 8)
        with pytest.raises(ValueError, match='queries .* 2 of 8 rows'):
            classify(broken, features(8), *args)
        with pytest.raises(ValueError, match='bank .* 2 of 8 rows'):
            classify(features(8), broken, *args)


def test_accuracies():
    labels = torch.tensor([1, 0, 5])
    scores = torch.tensor([[.1, .9, 0, 0, 0, 0], [.3, .6, .1, 0, 0, 0],
                           [.4, .3, .2, .1, 0, 0]])
    # the last query's class had no vote
    assert top_accuracies(scores, labels) == pytest.approx(
        {1: 100 / 3, 5: 200 / 3})
    assert list(top_accuracies(scores[:2, :3], labels[:2])) == [1]


def test_linear_probe_finds_the_optimum():
    """It has converged, and scale and shift of a feature are nothing."""
    bank, queries = features(400), features(100, seed=1)
    labels, truth = ((x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
                     for x in (bank, queries))
    scores = linear_probe(queries, bank, labels, 4)
    assert top_accuracies(scores, truth)[1] > 90
    torch.testing.assert_close(scores.sum(1), torch.ones(100))
    moved = linear_probe(queries * 7 + 3, bank * 7 + 3, labels, 4)
    torch.testing.assert_close(scores, moved, atol=1e-3, rtol=0)
    longer = linear_probe(queries, bank, labels, 4, num_iters=1000)
    torch.testing.assert_close(scores, longer, atol=1e-3, rtol=0)
    bank[:, 2] = 1  # a constant feature does no harm
    assert top_accuracies(linear_probe(bank, bank, labels, 4), labels)[1] > 90


def test_subsets_are_disjoint_and_the_same_again(jpeg_folder):
    from mmpretrain.datasets import CustomDataset
    dataset = CustomDataset(data_root=str(jpeg_folder), with_label=False)
    paths = [[part.get_data_info(i)['img_path'] for i in range(len(part))]
             for part in draw_subsets(dataset, 5, 2)]
    assert [len(own) for own in paths] == [5, 2]
    assert len({*paths[0], *paths[1]}) == 7
    again = draw_subsets(dataset, 5)[0]
    assert [again.get_data_info(i)['img_path']
            for i in range(5)] == paths[0]
    assert len(draw_subsets(dataset, 50)[0]) == 8
    with pytest.raises(ValueError, match='gt_label >= 0.*None'):
        labels_of(dataset)
