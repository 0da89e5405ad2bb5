"""Kill training runs at bad moments and see that nothing is lost.

    python tests/torture.py
    python tests/torture.py --kills 200 --seed 7

A small run is killed again and again, each time `--resume` goes on, and its
end must equal, bit for bit, that of a run that was never killed. After each
kill the saliency maps and the checkpoints on disk must be whole. Kills come

- from outside at a random moment: to the process alone or with its workers;
- from inside before the n-th operation on a file of the work dir, for every n;
- as SIGTERM and as Ctrl-C, which must end in order.

Prints what was done and found; the exit status is 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import mmpretrain.models  # noqa: F401 (before the forks)
import torch
from processes import free_port
from yapf.yapflib import yapf_api

import amt_mm.engine
import amt_mm.models  # noqa: F401
from amt_mm.engine.hooks.atomic_checkpoint_hook import find_damage
from amt_mm.saliency import SaliencyStore
from projects.demo.demo_data import write_demo_data

# formatting the config of a checkpoint takes longer than an epoch
yapf_api.FormatCode = lambda text, **options: (text, True)

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / 'configs' / 'mae_amt_vit-t_30e_demo.py'
# as few as remove a checkpoint and maps that others have replaced
EPOCHS, NUM_IMAGES = 4, 12
OPTIONS = [
    'model.backbone.arch.embed_dims=32', 'model.backbone.arch.num_layers=2',
    'model.backbone.arch.num_heads=4', 'model.backbone.arch._delete_=True',
    'model.backbone.arch.feedforward_channels=64', 'model.neck.embed_dim=32',
    'model.neck.decoder_embed_dim=32', f'train_cfg.max_epochs={EPOCHS}',
    'train_dataloader.batch_size=4', 'train_dataloader.num_workers=1',
    'custom_hooks.1.interval=1', 'custom_hooks.1.begin=1',
    'custom_hooks.1.num_workers=0', 'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.checkpoint.max_keep_ckpts=2',
]


class Lost(AssertionError):
    """Something that must survive a kill did not."""


class Run:
    """A training in a work dir, each attempt in processes of its own.

    Args:
        work_dir (Path): Its folder.
        images (Path): What it trains on.
        world_size (int): Processes of an attempt.
    """

    def __init__(self, work_dir: Path, images: Path, world_size: int) -> None:
        self.work_dir, self.images = work_dir, images
        self.world_size = world_size
        self.log = work_dir.with_suffix('.log')
        self.pids: list[int] = []

    def start(self, kill_before: int | None = None) -> None:
        """Start or resume it; perhaps kill it before its n-th operation."""
        self.log.write_bytes(b'')
        port = str(free_port())
        self.pids = [self._fork(rank, port, kill_before)
                     for rank in range(self.world_size)]

    def _fork(self, rank: int, port: str, kill_before: int | None) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.setsid()
            log = os.open(self.log, os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 1), os.dup2(log, 2)
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), MASTER_PORT=port,
                MASTER_ADDR='127.0.0.1', WORLD_SIZE=str(self.world_size))
            if kill_before is not None:
                sys.addaudithook(Suicide(self.work_dir, kill_before))
            launcher = 'none' if self.world_size == 1 else 'pytorch'
            sys.argv = [
                'train.py', str(CONFIG), '--work-dir', str(self.work_dir),
                '--resume', '--launcher', launcher, '--cfg-options',
                *OPTIONS, f'data_root={self.images}']
            runpy.run_path(str(ROOT / 'tools' / 'train.py'),
                           run_name='__main__')
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        finally:
            sys.stdout.flush()
            os._exit(status)

    def count(self, text: str) -> int:
        """Count a text in the log."""
        return self.log.read_text(errors='replace').count(text)

    def wait(self, until: Callable[[], bool] = lambda: False,
             seconds: float = 120) -> int | None:
        """Wait for its end, and return its status, or None at a condition."""
        end = time.monotonic() + seconds
        while not until():
            pid, status = os.waitpid(self.pids[0], os.WNOHANG)
            if pid:
                for other in self.pids[1:]:  # as a launcher does
                    with suppress(ProcessLookupError):
                        os.killpg(other, signal.SIGKILL)
                    os.waitpid(other, 0)
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                raise Lost(f'hangs: {self.log.read_text()[-2000:]}')
            time.sleep(0.005)
        return None


class Suicide:
    """An audit hook that kills its process before its n-th operation."""

    EVENTS = ('open', 'os.rename', 'os.remove', 'os.mkdir', 'os.truncate')

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.left = str(folder), number

    def __call__(self, event: str, args: tuple) -> None:
        if event not in self.EVENTS or self.folder not in str(args[0]):
            return
        if event == 'open' and not any(c in str(args[1]) for c in 'wax+'):
            return  # reading harms nothing
        if any(part in str(args[0]) for part in ('.py', '.log', 'vis_data')):
            return  # mmengine's copy of the config, and its logs
        os.write(1, f'operation on {args[0]}: {event}\n'.encode())
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def check_whole(run: Run) -> None:
    """See that what lies in the work dir of a killed run is whole."""
    root = run.work_dir / 'saliency'
    if (root / 'manifest.json').exists():
        found = json.loads((root / 'manifest.json').read_text())
        store = SaliencyStore(root, found['num_images'], found['grid'],
                              found['dataset_id'])
        for generation in store.generations:
            store.verify(generation)
        if store.generation not in (None, *store.generations):
            raise Lost(f'generation {store.generation} is not held')
    for path in run.work_dir.glob('epoch_*.pth'):
        if find_damage(path):
            raise Lost(f'{path} {find_damage(path)}')
    pointer = run.work_dir / 'last_checkpoint'
    if pointer.exists() and not Path(pointer.read_text()).is_file():
        raise Lost(f'last_checkpoint names {pointer.read_text()!r}')


def files(run: Run) -> list[str]:
    """Name what a run has in its folders, but for its logs."""
    return sorted(
        str(path.relative_to(run.work_dir))
        for path in run.work_dir.rglob('*')
        if path.is_file() and not path.parent.name[:2].isdigit()
        and 'vis_data' not in path.parts)


def compare(run: Run, reference: Run) -> None:
    """See that two finished runs have the same files, weights and maps."""
    if files(run) != files(reference):
        raise Lost(f'files {files(run)}, expected {files(reference)}')
    found, expected = (
        torch.load(r.work_dir / f'epoch_{EPOCHS}.pth', weights_only=False)
        for r in (run, reference))
    for part in ('state_dict', 'optimizer', 'param_schedulers',
                 'saliency_generation'):
        if not same(found[part], expected[part]):
            raise Lost(f'{part} differs from that of the uninterrupted run')
    for path in (reference.work_dir / 'saliency').iterdir():
        twin = run.work_dir / 'saliency' / path.name
        if path.read_bytes() != twin.read_bytes():
            raise Lost(f'{twin} differs')


def same(one: object, two: object) -> bool:
    """Compare nested containers of tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(
            same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


class Torture:
    """Kill runs, resume them, and look at what is left.

    Args:
        folder (Path): Where everything goes.
        seed (int): Decides the moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.num_runs = self.num_finished = 0
        write_demo_data(folder / 'data', NUM_IMAGES, 2, 64)
        # by the number of processes, a run that is not killed
        self.references: dict[int, Run] = {}

    def new_run(self, world_size: int = 1) -> Run:
        """Begin in a folder of its own."""
        self.reference(world_size)
        return self._make_run(world_size)

    def reference(self, world_size: int = 1) -> Run:
        """Return the run that is not killed, which lists its operations."""
        if world_size not in self.references:
            run = self.references[world_size] = self._make_run(world_size)
            run.start(kill_before=10**9)
            if run.wait():
                raise Lost(run.log.read_text()[-3000:])
        return self.references[world_size]

    def _make_run(self, world_size: int) -> Run:
        self.num_runs += 1
        return Run(self.folder / f'run{self.num_runs}',
                   self.folder / 'data' / 'train', world_size)

    def kill_at_random(self, num: int, world_size: int = 1) -> None:
        """Kill so many times at random moments."""
        run, done = self.new_run(world_size), 0
        while done < num:
            run.start()
            status = self._wait_for_moment(run)
            if status is None:
                status = self._kill(run)
            if self._look(run, status, 'random'):
                run = self.new_run(world_size)
            else:
                done += 1
        self.finish(run)

    def _wait_for_moment(self, run: Run) -> int | None:
        # by the lines of its log, as a busy machine takes longer for them
        reference = self.reference(run.world_size)
        lines = reference.count('\n') - reference.count('operation on')
        number = self.random.randrange(lines)
        status = run.wait(lambda: run.count('\n') >= number)
        if status is not None:
            return status
        until = time.monotonic() + self.random.uniform(0, 0.2)
        return run.wait(lambda: time.monotonic() > until)

    def _kill(self, run: Run) -> int:
        victim = self.random.choice(run.pids)
        self.random.choice([os.kill, os.killpg])(victim, signal.SIGKILL)
        if victim != run.pids[0]:
            # the first one has lost its peer; a launcher ends it soon
            soon = time.monotonic() + self.random.uniform(0, 0.5)
            if run.wait(lambda: time.monotonic() > soon) is None:
                os.kill(run.pids[0], signal.SIGKILL)
                run.wait()
            return -signal.SIGKILL
        return run.wait()  # type: ignore[return-value]

    def kill_before_operations(self, numbers: Iterable[int]) -> None:
        """Kill a run before its n-th operation on a file, for each n."""
        for number in numbers:
            run = self.new_run()
            run.start(kill_before=number)
            # unless it has fewer operations
            if not self._look(run, run.wait(), 'operation'):
                self.finish(run)

    def stop_in_order(self) -> None:
        """Send SIGTERM amid a run and Ctrl-C amid the resumed one."""
        run = self.new_run()
        for signum in (signal.SIGTERM, signal.SIGINT):
            run.start()
            run.wait(lambda: run.count('Epoch(train)') > 3)
            os.kill(run.pids[0], signum)
            status = run.wait()
            said = f'stopped by {signum.name}: --resume goes on'
            if status != 128 + signum or not run.count(said):
                raise Lost(f'{signum.name}: status {status}, '
                           f'{run.log.read_text()[-1000:]}')
            if list(run.work_dir.rglob('*.part')):
                raise Lost(f'{signum.name} leaves parts')
            self.kills[signum.name] += 1
        self.finish(run)

    def finish(self, run: Run) -> None:
        """Resume to the end, undisturbed, and compare."""
        run.start()
        if not self._look(run, run.wait(), 'nobody'):
            raise Lost(f'killed by nobody: {run.log.read_text()[-3000:]}')

    def _look(self, run: Run, status: int, kind: str) -> bool:
        """Check what an attempt left; return whether it reached the end."""
        if status not in (0, -signal.SIGKILL):
            raise Lost(f'status {status}: {run.log.read_text()[-3000:]}')
        check_whole(run)
        if status:
            self.kills[kind] += 1
            return False
        compare(run, self.references[run.world_size])
        self.num_finished += 1
        return True


def torture(args: argparse.Namespace, folder: Path) -> str:
    """Do all of it and say what was done."""
    start = time.monotonic()
    tests = Torture(folder, args.seed)
    tests.kill_at_random(args.kills)
    total = tests.reference().count('operation on')
    step = max(1, -(-total // max(args.operations, 1)))
    tests.kill_before_operations(range(step // 2, total, step))
    tests.kill_at_random(args.two_processes, world_size=2)
    tests.stop_in_order()
    kills = ', '.join(f'{n} {what}' for what, n in sorted(tests.kills.items()))
    return (f'{tests.num_runs} runs, {tests.num_finished} finished and bit '
            f'for bit as those never killed, in {time.monotonic() - start:.0f}'
            f' s; kills by kind: {kills}; {total} operations on files in a '
            'run')


def main() -> None:
    """Run in a folder that goes afterwards, unless something was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=75,
                        help='at random moments (default: %(default)s)')
    parser.add_argument('--operations', type=int, default=10**9,
                        help='before so many operations (default: all)')
    parser.add_argument('--two-processes', type=int, default=10,
                        help='of runs in two processes')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix='torture'))
    try:
        sys.stdout.write(torture(args, folder) + '\n')
    except Lost as error:
        raise SystemExit(f'LOST, see {folder}: {error}') from error
    shutil.rmtree(folder)


if __name__ == '__main__':
    main()
