"""Check and measure amt_mm on a GPU, in the order of what is worth most.

    python projects/gpu_check/gpu_check.py --out DIR
    python projects/gpu_check/gpu_check.py --out DIR --phases numerics speed
    python projects/gpu_check/gpu_check.py --out DIR --device cpu --toy

Every check writes its JSON line to DIR/results.jsonl as soon as it is done; a
check that fails writes its error, and the next goes on. What has a result is
not done again. A phase is a process of its own with a time limit; those of one
group run together. --list names them.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
os.environ.setdefault('PYTHONPATH', str(ROOT))

from record import Recorder, Setting, is_fatal, read_lines  # noqa: E402

REST = float('inf')
IMPORTS = 90  # seconds that they may take


@dataclass(frozen=True)
class Phase:
    """Checks that share a process.

    Attributes:
        module (str): What to import.
        function (str): Of (setting, recorder).
        limit (float): Seconds that it may take.
        arguments (tuple): More of them.
    """

    module: str
    function: str
    limit: float
    arguments: tuple[str, ...] = ()


def warm(case: str, side: str) -> Phase:
    """Return a phase that compiles a step of ``compiled`` ahead."""
    return Phase('compiling', 'warm', 100, (case, side))


# together: what is not timed
GROUPS: tuple[dict[str, Phase], ...] = (
    dict(
        numerics=Phase('numerics', 'run', 60),
        run=Phase('runs', 'run', 75),
        distributed=Phase('runs', 'run_distributed', 75),
        compiled_run=Phase('runs', 'run_compiled', 70),
        warm_stock=warm('mae_b_256', 'stock_75'),
        warm_amt=warm('mae_b_256', 'amt_45_40'),
        warm_graphs_stock=warm('mae_b_64_graphs', 'stock_75'),
        warm_graphs_amt=warm('mae_b_64_graphs', 'amt_45_40'),
        warm_graphs_stock_t=warm('mae_t_128_graphs', 'stock_75'),
        warm_graphs_amt_t=warm('mae_t_128_graphs', 'amt_45_40')),
    dict(speed=Phase('speed', 'run', 140)),
    dict(compiled=Phase('compiling', 'run', 120)),
    dict(update=Phase('feeding', 'run_update', 40)),
    dict(input=Phase('feeding', 'run_input', 40)),
    dict(study=Phase('study', 'run', REST)))
PHASES = {name: phase for group in GROUPS for name, phase in group.items()}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, help='folder of the results')
    parser.add_argument('--phases', nargs='+', choices=[*PHASES],
                        default=[*PHASES], metavar='PHASE')
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--toy', action='store_true', help='a dry run')
    parser.add_argument('--budget', type=float, default=590.,
                        metavar='SECONDS', help='of everything')
    parser.add_argument('--photos', type=Path,
                        help='folder of photographs to decode')
    parser.add_argument('--study', type=Path, help='file, see study.py')
    parser.add_argument('--scratch', type=Path,
                        help='folder of what need not be kept')
    parser.add_argument('--list', action='store_true', help='name the phases')
    args = parser.parse_args()
    if not (args.list or args.out):
        parser.error('--out names the folder of the results.')
    return args


class Worker:
    """A phase in a process, started anew where the device fails it.

    The process imports what it needs at once and then waits for its turn.

    Args:
        name (str): Of the phase.
        setting (Setting): Of the command.
    """

    def __init__(self, name: str, setting: Setting) -> None:
        self.name, self.setting, self.starts = name, setting, 0
        self.start()

    def start(self) -> None:
        """Start, or start anew."""
        self.starts += 1
        # a forked process cannot use CUDA once the device was asked for
        context: Any = multiprocessing.get_context(
            'fork' if self.setting.device == 'cpu' else 'spawn')
        self.turn, other = context.Pipe()
        self.process = context.Process(
            target=work, args=(self.name, self.setting.out, other))
        self.process.start()
        other.close()

    def wait(self) -> None:
        """Wait for its imports, which count to no phase."""
        try:
            if self.turn.poll(IMPORTS):
                say(f'{self.name}: imported in {self.turn.recv():.1f} s')
        except EOFError:
            say(f'{self.name}: the import fails\n{tail(self.setting)}')

    def begin(self, end: float) -> None:
        """Let it begin, to end in its time limit or before ``end``."""
        # a dry run may be on a machine that has other work to do
        seconds = PHASES[self.name].limit * self.setting.pick(1, 5)
        self.setting = replace(
            self.setting, deadline=min(time.time() + seconds, end))
        self.go()

    def go(self) -> None:
        """Tell the process to begin; one that died already is seen later."""
        try:
            self.turn.send(self.setting)
        except OSError as error:
            say(f'{self.name}: {error}')

    def is_over(self) -> bool:
        """Look after the process; say whether the phase is over."""
        late = time.time() > self.setting.deadline + 3
        if self.process.is_alive() and not late:
            return False
        kill(self.process)  # or what it left behind
        status = self.process.exitcode
        if not late and status == 0:
            return True
        recorder = Recorder(self.name, self.setting, say)
        if recorder.current.exists():  # it died amid a check
            check = recorder.current.read_text()
            recorder.current.unlink()
            recorder.write(check, dict(
                error='past the time limit of the phase' if late else
                f'the process ended with status {status}',
                log=tail(self.setting)), 0.)
        if late or self.starts > 3:
            return True
        say(f'{self.name}: status {status}, goes on with the next check')
        self.start()
        self.go()
        return False


def work(name: str, out: Path, turn: Any) -> None:
    """Do a phase, in its turn; all that libraries print goes to the log."""
    os.setsid()
    terminal = os.dup(1)
    log = os.open(out / 'log.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND,
                  0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    start = time.time()
    preload()
    seconds = time.time() - start
    try:
        turn.send(seconds)
        setting = turn.recv()
    except (EOFError, OSError):  # the parent is gone
        os._exit(1)

    def tell(text: str) -> None:
        for file in (terminal, log):
            os.write(file, f'{text}\n'.encode())

    recorder = Recorder(name, setting, tell)
    # a spawned process would have its loaders spawn workers, which import all
    # of it again
    multiprocessing.set_start_method('fork', force=True)
    try:
        phase = PHASES[name]
        function = getattr(importlib.import_module(phase.module),
                           phase.function)
        function(setting, recorder, *phase.arguments)
    except BaseException as error:
        traceback.print_exc()
        if not is_fatal(error):  # else the check has a line
            recorder.write('phase', dict(
                error=f'{type(error).__name__}: {error}'[:1000],
                traceback=traceback.format_exc()[-3000:]), 0.)
        status = 1
    else:
        status = 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a process group or a worker must not hold it up


def kill(process: Any) -> None:
    """End a phase and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    process.join(10)


def tail(setting: Setting) -> str:
    """Return the end of the log."""
    log = setting.out / 'log.txt'
    return log.read_text(errors='replace')[-1500:] if log.exists() else ''


def say(text: str) -> None:
    """Show a line at once."""
    sys.stdout.write(f'{text}\n')
    sys.stdout.flush()


def preload() -> None:
    """Import what all phases need."""
    from mmengine.registry import init_default_scope

    import amt_mm.datasets
    import amt_mm.engine
    import amt_mm.evaluation
    import amt_mm.models
    import amt_mm.visualization  # noqa: F401
    import projects.benchmark  # noqa: F401
    init_default_scope('mmpretrain')


def run_groups(setting: Setting, names: Sequence[str], end: float) -> None:
    """Run the groups, one after the other."""
    workers = {name: Worker(name, setting) for name in PHASES if name in names}
    for group in GROUPS:
        chosen = [name for name in group if name in names]
        if not chosen:
            continue
        if time.time() > end:
            say(f'no time left for {" ".join(chosen)}')
            continue
        running = [workers[name] for name in chosen]
        for worker in running:
            worker.wait()
        begun = time.time()
        for worker in running:
            worker.begin(end)
        while running:
            running = [w for w in running if not w.is_over()]
            time.sleep(.05)
        say(f'--- {" ".join(chosen)}: {time.time() - begun:.0f} s from '
            f'{begun - setting.started:.0f} s on, '
            f'{end - time.time():.0f} s left')
    for worker in workers.values():
        kill(worker.process)


def main() -> None:
    """Parse, run the phases, sum up."""
    args = parse_args()
    if args.list:
        for name, phase in PHASES.items():
            say(f'{name:14s} {phase.limit:5.0f} s')
        return
    started = time.time()
    scratch = args.scratch or Path(tempfile.mkdtemp(prefix='gpu_check-'))
    for folder in (args.out, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault('TORCHINDUCTOR_CACHE_DIR',
                          str(scratch.resolve() / 'inductor'))
    # the processes of a group share the cores
    os.environ.setdefault('OMP_NUM_THREADS',
                          str(max(1, (os.cpu_count() or 1) // 4)))
    if args.device == 'cpu':
        preload()  # before the forks
    setting = Setting(
        device=args.device, toy=args.toy, out=args.out.resolve(),
        scratch=scratch.resolve(), photos=args.photos, study=args.study,
        started=started)
    run_groups(setting, args.phases, started + args.budget)
    failed = [line for line in read_lines(setting.results)
              if line['time'] >= started and (
                  'error' in line or line.get('ok') is False)]
    say(f'{len(failed)} checks failed: ' + ', '.join(
        f'{line["phase"]}/{line["check"]}' for line in failed))


if __name__ == '__main__':
    main()
