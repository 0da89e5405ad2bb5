"""Break the program on purpose, and see which tests notice.

    python tests/mutants.py                 all, in less than half an hour
    python tests/mutants.py crop_drops_flip another_name

A mutant is one change of one file. Each is made in a copy of the checkout, in
which the tests named for it are run: it is killed if one of them fails. Those
that live end the program with status 1. ``make test`` does not run this.

After code has moved, the file and the text of its mutants move along; their
names, and that every one is killed, stay.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
RUNS = 'test_golden/test_golden_runs.py'
MASKS = 'test_golden/test_golden_masks.py'
INPUT = 'test_golden/test_golden_input.py'
SCHEDULES = 'test_golden/test_golden_schedules.py'
WEIGHTS = 'test_golden/test_golden_weights.py'
COSTS = 'test_golden/test_golden_costs.py::test_changed_configs'
ENCODERS = 'test_golden/test_golden_encoders.py'
STORE = 'test_saliency/test_store.py'
UPDATES = 'test_engine/test_saliency_update_hook.py'


class Mutant(NamedTuple):
    """What is changed, and who notices."""

    name: str
    path: str  # below amt_mm
    old: str
    new: str
    tests: tuple[str, ...]  # below tests


MUTANTS = [
    # ---- masking
    Mutant('layout_swaps_roles', 'masking/layouts.py',
           '(MASKED, counts.masked), (THROWN, counts.thrown),\n'
           '                      (VISIBLE, counts.visible))',
           '(MASKED, counts.masked), (VISIBLE, counts.visible),\n'
           '                      (THROWN, counts.thrown))',
           (RUNS, MASKS, 'test_masking/test_layouts.py')),
    Mutant('counts_ceil_for_floor', 'masking/plan.py',
           'masked = floor(num_tokens * r)', 'masked = ceil(num_tokens * r)',
           (MASKS, 'test_masking/test_plan.py')),
    Mutant('counts_floor_for_ceil', 'masking/plan.py',
           'masked, thrown = ceil(num_tokens * r), ceil(num_tokens * t)',
           'masked, thrown = floor(num_tokens * r), floor(num_tokens * t)',
           (MASKS, 'test_masking/test_plan.py')),
    Mutant('counts_floor_each_share', 'masking/plan.py',
           'thrown = floor(num_tokens * (r + t)) - masked',
           'thrown = floor(num_tokens * t)',
           (MASKS, 'test_masking/test_plan.py')),
    Mutant('counts_in_binary', 'masking/plan.py',
           'Fraction(str(mask_ratio)), Fraction(str(throw_ratio))',
           'Fraction(mask_ratio), Fraction(throw_ratio)',
           ('test_masking/test_plan.py', )),
    Mutant('predicted_are_the_last', 'masking/plan.py',
           'masked = np.random.permutation(np.flatnonzero(flags == MASKED))',
           'masked = np.flatnonzero(flags == MASKED)',
           ('test_masking/test_plan.py', )),
    Mutant('plan_sorts_thrown_first', 'masking/plan.py',
           'np.argsort(flat.view(np.uint8)', 'np.argsort(flat',
           (RUNS, 'test_masking/test_plan.py')),
    Mutant('plan_swaps_rows_and_columns', 'masking/plan.py',
           'return rows, ids // width, ids % width',
           'return rows, ids % width, ids // width',
           (RUNS, 'test_masking/test_plan.py')),
    Mutant('attention_favours_the_dull', 'masking/orderings.py',
           'arrivals / np.maximum', 'arrivals * np.maximum',
           (RUNS, MASKS, 'test_masking/test_orderings.py')),
    Mutant('temperature_upside_down', 'masking/orderings.py',
           '**(1 / self.temperature)', '**self.temperature',
           (MASKS, 'test_masking/test_orderings.py')),
    Mutant('uniform_mix_forgotten', 'masking/orderings.py',
           'return (1 - mix) * odds + mix / len(odds) if mix else odds',
           'return odds', (MASKS, 'test_masking/test_orderings.py')),
    Mutant('ties_in_order', 'masking/orderings.py',
           'np.lexsort((ties, keys_L))',
           'np.argsort(keys_L, kind="stable")',
           ('test_masking/test_orderings.py', )),
    Mutant('grid_never_shifted', 'masking/orderings.py',
           'np.random.randint(0, 4, 2)', 'np.array([0, 0])', (MASKS, )),
    Mutant('block_of_one_aspect', 'masking/orderings.py',
           'np.random.uniform(log_aspect, -log_aspect)',
           'np.random.uniform(log_aspect, log_aspect)',
           (MASKS, 'test_masking/test_orderings.py')),
    Mutant('hints_rounded_down', 'masking/layouts.py',
           'return ceil(Fraction(str(ratio)) * number)',
           'return int(Fraction(str(ratio)) * number)',
           (MASKS, 'test_masking/test_layouts.py')),
    Mutant('schedule_never_ends', 'masking/schedules.py',
           'share = min(max(share, 0.), 1.)', 'share = max(share, 0.)',
           (COSTS, 'test_masking/test_schedules.py')),
    Mutant('warm_up_with_later_ratios',
           'datasets/transforms/amt_mask_generator.py',
           'return Strategy(self.warmup_counts, ',
           'return Strategy(self.counts, ',
           (RUNS, 'test_datasets/test_transforms/test_amt_mask_generator.py')),
    # ---- saliency
    Mutant('crop_drops_flip', 'saliency/geometry.py',
           'columns = columns[::-1]', 'columns = columns',
           (MASKS, INPUT, 'test_saliency/test_geometry.py')),
    Mutant('crop_of_a_crop_is_the_last', 'saliency/geometry.py',
           'return (left + inner[0] * width,', 'return (inner[0] * width,',
           ('test_saliency/test_geometry.py', )),
    Mutant('crop_of_whole_cells', 'saliency/geometry.py',
           'edges = start * num_cells +', 'edges = start * num_cells // 1 +',
           (MASKS, INPUT, 'test_saliency/test_geometry.py')),
    Mutant('scores_not_scaled', 'saliency/attention.py',
           "getattr(attn, 'scale', heads[1]**-0.5)", '1.',
           (RUNS, 'test_saliency/test_attention.py')),
    Mutant('heads_scaled_before_the_mean', 'saliency/attention.py',
           'return min_max(attn_BHL.mean(1))',
           'return min_max(attn_BHL).mean(1)',
           (RUNS, 'test_saliency/test_attention.py')),
    Mutant('saliency_in_training_mode', 'engine/sources/model_saliency.py',
           '        self.model.eval()\n', '',
           (f'{RUNS}::test_run[simmim_drop_path]', )),
    Mutant('write_skips_fsync', 'atomic_write.py',
           '            os.fsync(file.fileno())\n', '            pass\n',
           (STORE, )),
    Mutant('map_not_checked', 'saliency/store.py',
           "is_whole = zlib.crc32(content[:-4], index) == record['crc32']",
           'is_whole = True', (STORE, )),
    Mutant('checksum_not_compared', 'saliency/store.py',
           'if checksum != expected:', 'if False:',
           (STORE, )),
    Mutant('store_keeps_one', 'saliency/store.py',
           '*sorted(held)[-keep:]', '*sorted(held)[-1:]', (STORE, )),
    Mutant('store_forgets_what_is_needed', 'saliency/store.py',
           'generation, *needed}', 'generation}', (STORE, )),
    Mutant('fingerprint_joins_names', 'saliency/store.py',
           "+ b'\\0')", ')', (STORE, )),
    # ---- data
    Mutant('sample_seed_without_epoch',
           'datasets/transforms/amt_mask_generator.py',
           'place = [seed, epoch, int(index)]', 'place = [seed, int(index)]',
           (RUNS, INPUT, 'test_datasets/test_transforms/test_seed_sample.py')),
    Mutant('worker_not_seeded', 'datasets/transforms/amt_mask_generator.py',
           'np.random.seed(place)', 'pass',
           (INPUT, 'test_datasets/test_transforms/test_seed_sample.py')),
    Mutant('repeats_alike', 'datasets/transforms/amt_mask_generator.py',
           'place.append(repeat)', 'pass',
           (INPUT, 'test_datasets/test_repeat_sampler.py')),
    Mutant('repeats_of_other_images', 'datasets/repeat_sampler.py',
           'manual_seed(self.seed + cycle)',
           'manual_seed(self.seed + self.epoch)',
           (INPUT, 'test_datasets/test_repeat_sampler.py')),
    Mutant('box_in_the_other_unit',
           'datasets/transforms/random_resized_crop_with_box.py',
           'box = (left / width, top / height, right / width, '
           'bottom / height)',
           'box = (left / height, top / width, right / height, '
           'bottom / width)',
           (INPUT, )),
    Mutant('resized_another_way',
           'datasets/transforms/random_resized_crop_with_box.py',
           'bottom / reduction), self.scale, self.interpolation,',
           "bottom / reduction), self.scale, 'bilinear',", (INPUT, )),
    Mutant('decoded_too_coarse', 'datasets/transforms/load_resized_crop.py',
           'fits = min(side // wanted', 'fits = max(side // wanted',
           (INPUT, 'test_datasets/test_transforms/test_load_resized_crop.py')),
    Mutant('size_of_the_reduced_image',
           'datasets/transforms/load_resized_crop.py',
           "        loaded['ori_shape'] = drawn.shape\n", '', (INPUT, )),
    # ---- models
    Mutant('attention_in_bfloat16', 'models/attention.py',
           'query.float(), key.float(), value.float()', 'query, key, value',
           ('test_models/test_all_methods.py', )),
    Mutant('keys_for_values', 'models/attention.py',
           'query, key, value = (part', 'query, value, key = (part',
           (RUNS, 'test_models/test_all_methods.py')),
    Mutant('loss_scaled_by_the_batch', 'models/mae.py',
           'pred, target, plan.loss_weights(self.saliency_weight))',
           'pred, target, plan.loss_weights(self.saliency_weight)) * 2',
           (RUNS, 'test_models/test_mae.py')),
    Mutant('pixels_not_normalised', 'models/mae.py',
           'return (target - mean) / std', 'return target - mean',
           (RUNS, 'test_models/test_mae.py')),
    Mutant('mask_tokens_without_place', 'models/mae.py',
           'masked = self.mask_token + pos_embed[0, 1:][',
           'masked = self.mask_token + 0 * pos_embed[0, 1:][',
           (RUNS, 'test_models/test_mae.py')),
    Mutant('block_weights_of_another_layer', 'models/cross_decoder.py',
           'self.block_weights, latent, 1)',
           'self.block_weights.flip(0), latent, 1)',
           (RUNS, 'test_models/test_cross_decoder.py')),
    Mutant('kept_rows_off_by_one', 'models/vit.py',
           'plan.ids_masked + 1], 1)', 'plan.ids_masked], 1)',
           (RUNS, 'test_models/test_simmim.py')),
    Mutant('bias_transposed', 'models/simmim.py',
           'rows[:, :, None], rows[:, None, :]]',
           'rows[:, None, :], rows[:, :, None]]',
           (RUNS, 'test_models/test_simmim.py')),
    Mutant('target_of_the_visible', 'models/maskfeat.py',
           'return hog[rows, plan.ids_masked]',
           'return hog[rows, plan.ids_visible[:, :1].expand_as('
           'plan.ids_masked)]',
           (RUNS, 'test_models/test_maskfeat.py')),
    Mutant('patch_embedding_of_another_start', 'models/mae.py',
           'self.patch_embed.projection.weight.data.flatten(1))',
           'self.patch_embed.projection.weight.data)', (RUNS, WEIGHTS)),
    Mutant('tokens_start_at_zero', 'models/simmim.py',
           'nn.init.trunc_normal_(self.mask_token, std=.02)', 'pass',
           (RUNS, WEIGHTS)),
    Mutant('vitdet_global_first', 'models/vitdet.py',
           'for i in range(1, NUM_GLOBAL + 1)})',
           'for i in range(NUM_GLOBAL)} - {-1})',
           (ENCODERS, 'test_models/test_vitdet.py')),
    # ---- runs
    Mutant('torch_not_seeded', 'engine/hooks/epoch_seed_hook.py',
           'torch.manual_seed(self.seed + 1_000_003 * runner.epoch '
           '+ get_rank())', 'pass',
           (f'{RUNS}::test_run[simmim_drop_path]', )),
    Mutant('update_one_epoch_late', 'engine/hooks/saliency_update_hook.py',
           'epochs = range(begin, max_epochs, interval)',
           'epochs = range(begin + 1, max_epochs, interval)',
           (RUNS, SCHEDULES, COSTS)),
    Mutant('checkpoint_names_no_maps', 'engine/hooks/saliency_update_hook.py',
           'checkpoint[GENERATION_KEY] = self.state.current',
           'checkpoint[GENERATION_KEY] = None', (UPDATES, )),
    Mutant('update_draws_from_training', 'engine/whole_images.py',
           '        generator=torch.Generator())', '        )',
           (f'{UPDATES}::test_updates_leave_training_numbers_alone', )),
    Mutant('maps_in_another_order', 'engine/hooks/saliency_update_hook.py',
           'maps.values[index] = values',
           'maps.values[index.flip(0) if hasattr(index, "flip") '
           'else index[::-1]] = values', (RUNS, UPDATES)),
    Mutant('saliency_costs_nothing', 'engine/cost.py',
           'return steps + len(self.updates) * self.saliency_macs',
           'return steps', (COSTS, )),
    Mutant('rate_of_one_process', 'engine/cost.py',
           'real = cfg.train_dataloader.batch_size * world_size',
           'real = cfg.train_dataloader.batch_size',
           (COSTS, 'test_configs.py::test_effective_batch_and_rate')),
    Mutant('batch_beyond_memory', 'engine/fit_size.py',
           'min(recipe, steps, fitting)', 'min(recipe, steps)',
           ('test_api.py::test_batch_size_follows_from_memory_images_and_'
            'recipe', )),
    Mutant('run_over_a_run', 'api.py', 'if not resume:', 'if False:',
           ('test_api.py::test_a_folder_in_use_is_refused', )),
    # ---- weights in and out
    Mutant('encoder_loaded_in_silence', 'weights/pretrained.py',
           "print_log(report, logger='current', level=logging.INFO)", 'pass',
           ('test_weights/test_load.py::test_report_reaches_the_log', )),
    Mutant('averaged_weights_left', 'weights/layouts.py',
           "for name in (*averaged, 'state_dict'", "for name in ('state_dict'",
           ('test_weights/test_foreign_files.py', )),
    Mutant('patches_by_the_transpose', 'weights/grid.py',
           'torch.linalg.pinv(transposed)', 'transposed.T',
           ('test_weights/test_adapt.py', )),
    Mutant('timm_without_eps', 'weights/export/write.py',
           'if vit.eps != EPS:', 'if False:',
           ('test_weights/test_export.py', )),
    Mutant('hidden_layers_swapped', 'weights/layouts.py',
           "'ln1.': 'norm1.',\n    'ln2.': 'norm2.'",
           "'ln1.': 'norm2.',\n    'ln2.': 'norm1.'",
           (ENCODERS, 'test_weights/test_export.py')),
]


def run_tests(folder: Path, tests: list[str]) -> None:
    """Run tests of a checkout, in a process of its own."""
    with open(os.devnull, 'w') as null:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(null.fileno(), stream.fileno())
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # two mutants in a second look alike
    os.environ.update(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE='1',
                      OMP_NUM_THREADS='1')
    sys.exit(pytest.main(
        ['-q', '-x', '-p', 'no:cacheprovider',
         *(f'tests/{test}' for test in tests)]))


def status_of(folder: Path, tests: list[str]) -> int:
    """Return pytest's exit status: 0 all passed, 1 some failed."""
    # forked from a process that has mmpretrain, which takes long to import
    process = get_context('fork').Process(
        target=run_tests, args=(folder, tests))
    process.start()
    process.join()
    return process.exitcode or 0


def is_killed(folder: Path, mutant: Mutant) -> bool:
    """Make a mutant, run its tests, and undo it."""
    path = folder / 'amt_mm' / mutant.path
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f'{mutant.name}: {mutant.old!r} must be in '
                         f'{mutant.path} once, is {text.count(mutant.old)} '
                         'times.')
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        status = status_of(folder, [*mutant.tests])
        return status == pytest.ExitCode.TESTS_FAILED
    finally:
        path.write_text(text)


def copy_checkout(folder: Path) -> None:
    """Copy what is under version control, or would be."""
    names = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard'],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in names.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def main() -> int:
    """Run the mutants that are named, or all; return how many live."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', help='mutants; all by default')
    names = parser.parse_args().names
    if unknown := {*names} - {mutant.name for mutant in MUTANTS}:
        parser.error(f'no such mutants: {sorted(unknown)}')
    import mmpretrain.datasets
    import mmpretrain.models  # noqa: F401
    chosen = [m for m in MUTANTS if not names or m.name in names]
    alive = 0
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_checkout(folder)
        if status_of(folder, sorted({t for m in chosen for t in m.tests})):
            parser.error('the tests must pass before anything is broken.')
        for mutant in chosen:
            killed = is_killed(folder, mutant)
            alive += not killed
            sys.stdout.write(
                f'{"killed" if killed else "ALIVE"} {mutant.name}\n')
            sys.stdout.flush()
    sys.stdout.write(f'{len(chosen) - alive} of {len(chosen)} killed\n')
    return alive


if __name__ == '__main__':
    sys.exit(main() > 0)
