"""The sentence that says whether a run learns."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest

from amt_mm.evaluation import Checkup, judge


def checkups(losses, *, heldout=None, harder=None, **last):
    """Return checkups of a run, healthy but for what the last two have.

    From epoch ``harder`` on, plans are by maps that add 0.3 to the losses.
    """
    made, others = [], heldout or losses
    for epoch, (loss, other) in enumerate(zip(losses, others, strict=True)):
        values = dict(rank_me=9., spread=.4, entropy=.95, scale=1.1)
        if epoch >= len(losses) - 2:
            values.update(last)
        more = .3 if harder is not None and epoch >= harder else 0.
        made.append(Checkup(
            epoch, loss + more,
            heldout_loss=other + more if heldout else None,
            gain=losses[epoch - 1] - loss if epoch else 0.,
            heldout_gain=others[epoch - 1] - other if epoch else 0., **values))
    return made


FALLING = [1.6, 1.2, 1., .9, .85, .82, .80, .79]
LONG = [2. - .01 * i for i in range(20)]


@pytest.mark.parametrize(('run', 'sentence'), [
    (checkups(FALLING), 'learning: the loss is 0.79, after 1.6 at first; its '
     'last low was in epoch 7'),
    (checkups(FALLING, heldout=[1.6, 1.3, 1.1, 1., .93, .91, .89, .86]),
     'learning: the held-out loss is 0.86, after 1.6 at first; its last low '
     'was in epoch 7'),
    (checkups([*FALLING[:4], .9, .899, .901, .9]),
     'no longer learning since epoch 3: the loss, now 0.9, has not fallen '
     'since under equal plans'),
    (checkups([*FALLING, nan]), 'sick, diverging: the loss is not finite'),
    (checkups([*FALLING, 1.]),
     'sick, diverging: the loss is 1, 0.21 above its lowest under equal '
     'plans'),
    (checkups(FALLING, spread=.009),
     'sick, collapsed: the features of all images are nearly the same, RankMe '
     '9.00, 9.00 at first, spread 0.009, 0.400'),
    (checkups(FALLING, scale=70.),
     'sick, images not normalised: their standard deviation is 70, and should '
     'be near 1: compare mean and std of data_preprocessor with the values of '
     'the images'),
    (checkups(FALLING, entropy=1.),
     'sick, saliency uniform: the entropy of the maps is 1.0000, of 1 at '
     'most'),
])
def test_sentences(run, sentence):
    assert str(judge(run)) == sentence


@pytest.mark.parametrize(('run', 'begin'), [
    (checkups([1.6] * 5), 'no longer learning since epoch 0'),
    (checkups(FALLING, rank_me=1.15), 'sick, collapsed'),
    (checkups(FALLING, rank_me=1.8, spread=.07), 'learning'),
    (checkups(FALLING, scale=.005), 'sick, images not normalised'),
    (checkups(FALLING, scale=None), 'learning'),
    # after the first epochs of healthy runs, features are close
    ([*checkups(FALLING)[:-1], replace(
        checkups(FALLING)[-1], rank_me=1.2, spread=.01)], 'learning'),
    # a pause is no end before a quarter of the run, and four checkups
    (checkups([*LONG, *[LONG[-1]] * 6]), 'learning'),
    (checkups([*LONG, *[LONG[-1]] * 7]), 'no longer learning'),
    (checkups([1., .9, .9, .9, .9]), 'learning'),
])
def test_limits(run, begin):
    assert str(judge(run)).startswith(begin)


def test_images_learnt_by_heart():
    lagging = [1.6, 1.2, 1., .93, .95, .95, .96, .97]
    verdict = judge(checkups(FALLING, heldout=lagging))
    assert (verdict.kind, verdict.sickness) == ('sick', 'memorising')
    assert verdict.why == (
        ': the held-out loss is 0.97, that of trained images 0.79; beside the '
        'start it lags by 22.8%, and did by 3.3% in epoch 3')
    # they lag by less; or as much as before; or as much as at first
    for heldout in ([1.6, 1.2, 1., .91, .88, .86, .85, .84],
                    [1.6, 1.29, 1.08, .97, .92, .89, .87, .86],
                    [1.8, 1.4, 1.2, 1.1, 1.05, 1.02, 1., .99]):
        assert judge(checkups(FALLING, heldout=heldout)).kind == 'learning'
    # by so much that it does not matter since when
    lagging = [1.6, 1.3, 1.1, 1.08, 1., .98, .96, .95]
    assert judge(checkups(FALLING, heldout=lagging)).sickness == 'memorising'
    # neither gains: it is at its end
    ended = [1.6, 1.2, .9, .801, .8, .8, .8, .8]
    assert judge(checkups(ended, heldout=ended)).kind == 'no longer learning'


def test_features_far_below_those_at_first():
    """A collapse that is not complete: both fell, and not one alone."""
    start = Checkup(0, 1.6, 24., .64)
    for rank, spread, is_one in ((2.3, .08, True), (2.3, .4, False),
                                 (7., .08, False)):
        run = [start, *checkups(FALLING, rank_me=rank, spread=spread)[1:]]
        assert (judge(run).sickness == 'collapsed') == is_one


def test_losses_compare_under_plans_of_one_kind():
    """New maps make the task harder: that is no end, and no rise."""
    verdict = judge(checkups(FALLING, harder=4))
    assert str(verdict) == ('learning: the loss is 1.09, after 1.6 at first; '
                            'its last low was in epoch 7')
    ended = judge(checkups([*FALLING, .79, .79, .79, .79], harder=4))
    assert ended.why == (' since epoch 7: the loss, now 1.09, has not fallen '
                         'since under equal plans')
    lagging = [1.6, 1.2, 1., .93, .95, .95, .96, .97]
    assert judge(checkups(FALLING, heldout=lagging, harder=4)).sickness == \
        'memorising'


def test_held_out_images_that_came_later():
    run = checkups(FALLING)
    run[4:] = [replace(checkup, heldout_loss=.79) for checkup in run[4:]]
    assert 'the loss is 0.79' in str(judge(run))
