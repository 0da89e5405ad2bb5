"""The sentence that says whether a run learns."""

from __future__ import annotations

from math import nan

import pytest

from amt_mm.evaluation import Checkup, judge


def checkups(losses, *, heldout=None, **last):
    """Return checkups of a run, healthy but for what the last two have."""
    made = []
    for epoch, loss in enumerate(losses):
        values = dict(rank_me=9., spread=.4, entropy=.95, scale=1.1)
        if epoch >= len(losses) - 2:
            values.update(last)
        made.append(Checkup(epoch, loss, heldout_loss=heldout and
                            heldout[epoch], **values))
    return made


FALLING = [1.6, 1.2, 1., .9, .85, .82, .80, .79]


LEARNING = 'learning: the loss is 0.79, after 1.6 at first and 0.79 in epoch 7'


@pytest.mark.parametrize(('run', 'sentence'), [
    (checkups(FALLING), LEARNING),
    (checkups(FALLING, heldout=[1.6, 1.3, 1.1, 1., .93, .91, .89, .86]),
     'learning: the held-out loss is 0.86, after 1.6 at first and 0.86 in '
     'epoch 7'),
    (checkups([*FALLING[:4], .9, .899, .901, .9]),
     'no longer learning since epoch 3: the loss was 0.9 then and is 0.9'),
    (checkups([1.6] * 5),
     'no longer learning since epoch 0: the loss was 1.6 then and is 1.6'),
    (checkups([*FALLING, nan]), 'sick, diverging: the loss is not finite'),
    (checkups([*FALLING, 1.]),
     'sick, diverging: the loss is 1, after 0.79'),
    (checkups(FALLING, spread=.009),
     'sick, collapsed: the features of all images are nearly the same, RankMe '
     '9.00, 9.00 at first, spread 0.009, 0.400'),
    (checkups(FALLING, rank_me=1.15),
     'sick, collapsed: the features of all images are nearly the same, RankMe '
     '1.15, 9.00 at first, spread 0.400, 0.400'),
    (checkups(FALLING, rank_me=1.8, spread=.07), LEARNING),
    (checkups(FALLING, scale=70.),
     'sick, images not normalised: their standard deviation is 70, and should '
     'be near 1: compare mean and std of data_preprocessor with the values of '
     'the images'),
    (checkups(FALLING, scale=.005),
     'sick, images not normalised: their standard deviation is 0.005, and '
     'should be near 1: compare mean and std of data_preprocessor with the '
     'values of the images'),
    (checkups(FALLING, scale=None), LEARNING),
    (checkups(FALLING, entropy=1.),
     'sick, saliency uniform: the entropy of the maps is 1.0000, of 1 at '
     'most'),
])
def test_sentences(run, sentence):
    assert str(judge(run)) == sentence


def test_images_learnt_by_heart():
    lagging = [1.6, 1.2, 1., .9, .95, .95, .96, .97]
    verdict = judge(checkups(FALLING, heldout=lagging))
    assert (verdict.kind, verdict.sickness) == ('sick', 'memorising')
    assert verdict.why == (
        ': the held-out loss went from 0.9 in epoch 3 to 0.97, that of '
        'trained images from 0.9 to 0.79')
    # they lag, but gain as much since epoch 3; or lag no more than at first
    gaining = [1.6, 1.3, 1.1, 1.05, 1., .97, .96, .95]
    assert judge(checkups(FALLING, heldout=gaining)).kind == 'learning'
    harder = [1.8, 1.4, 1.2, 1.0, 1., 1., .99, .98]
    assert judge(checkups(FALLING, heldout=harder)).kind == 'learning'
    # neither gains: it is at its end
    ended = [1.6, 1.2, .9, .801, .8, .8, .8, .8]
    assert judge(checkups(ended, heldout=ended)).kind == 'no longer learning'


def test_features_far_below_those_at_first():
    """A collapse that is not complete: both fell, and not one alone."""
    run = [Checkup(epoch, loss, 24., .64)
           for epoch, loss in enumerate(FALLING[:6])]
    both = [Checkup(epoch, .98, 2.3, .08) for epoch in (6, 7)]
    assert judge([*run, *both]).sickness == 'collapsed'
    rank = [Checkup(epoch, .79, 2.3, .4) for epoch in (6, 7)]
    assert judge([*run, *rank]).kind == 'learning'
    spread = [Checkup(epoch, .79, 7., .08) for epoch in (6, 7)]
    assert judge([*run, *spread]).kind == 'learning'


def test_one_bad_checkup_is_no_collapse():
    """After the first epochs of healthy runs, features are close."""
    run = checkups(FALLING)
    run[-1] = Checkup(7, .79, rank_me=1.2, spread=.01)
    assert judge(run).kind == 'learning'


def test_a_pause_is_no_end():
    """A quarter of the run, and four checkups, must pass without a low."""
    long = [2. - .01 * i for i in range(20)]
    assert judge(checkups([*long, *[long[-1]] * 6])).kind == 'learning'
    assert judge(checkups([*long, *[long[-1]] * 7])).kind == \
        'no longer learning'
    assert judge(checkups([1., .9, .9, .9, .9])).kind == 'learning'


def test_losses_compare_under_plans_of_one_kind():
    """The first maps make the task harder: that is no end, and no rise."""
    run = [Checkup(epoch, loss, 9., .4, is_informed=epoch > 3)
           for epoch, loss in enumerate([1.6, 1., .8, .6, .9, .88, .87, .86])]
    assert str(judge(run)) == ('learning: the loss is 0.86, after 1.6 at first'
                               ' and 0.86 in epoch 7')
    run += [Checkup(epoch, .86, 9., .4, is_informed=True)
            for epoch in (8, 9, 10, 11)]
    assert judge(run).why == (' since epoch 7: the loss was 0.86 then and is '
                              '0.86')


def test_runs_without_maps_or_held_out_images():
    run = [Checkup(i, loss, 9., .4) for i, loss in enumerate(FALLING)]
    assert judge(run).kind == 'learning'
    mixed = [*run[:4], *(Checkup(i, FALLING[i], 9., .4, heldout_loss=.79)
                         for i in range(4, 8))]
    assert 'the loss is 0.79' in str(judge(mixed))
