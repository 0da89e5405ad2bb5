"""Call a function many times in a process that may hang or crash."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from tool_process import SERVER

HANG, CRASH = 'hang', 'crash'
START_LIMIT = 300.  # seconds to import the libraries, on a busy machine


def watched(call: Callable[[Any], Any], arguments: Sequence[Any],
            limit: float) -> list[Any]:
    """Call a function with each argument, each for some seconds at most.

    Returns:
        list: What the calls returned; ``'hang'`` for one that took longer and
        ``'crash'`` for one that ended the process. The others go on in a new
        process.
    """
    results: list[Any] = []
    while len(results) < len(arguments):
        results += _until_it_fails(call, arguments[len(results):], limit)
    return results


def _until_it_fails(call: Callable[[Any], Any], arguments: Sequence[Any],
                    limit: float) -> list[Any]:
    ours, theirs = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=_serve, args=(call, arguments, theirs))
    process.start()
    theirs.close()  # so that its end is seen
    results: list[Any] = []
    try:
        if not ours.poll(START_LIMIT):
            raise TimeoutError('the process did not start.')
        ours.recv()
        while len(results) < len(arguments):
            if not ours.poll(limit):
                return [*results, HANG]
            results.append(ours.recv())
        return results
    except EOFError:
        return [*results, CRASH]
    finally:
        process.kill()
        process.join()
        ours.close()


def _serve(call: Callable[[Any], Any], arguments: Sequence[Any],
           pipe: Connection) -> None:
    pipe.send('ready')
    for argument in arguments:
        pipe.send(call(argument))
