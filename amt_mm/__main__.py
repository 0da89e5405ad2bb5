"""The functions of `amt_mm` from the command line, with the same arguments.

    python -m amt_mm pretrain out=runs/a data=DIR
    python -m amt_mm pretrain out=runs/a data=DIR1 data=DIR2 model=vit-base
    python -m amt_mm pretrain out=runs/a resume=True
    python -m amt_mm estimate_cost model=vit-base epochs=400
    python -m amt_mm extract run=runs/a data=DIR out=features.npz
    python -m amt_mm export run=runs/a to=onnx

A value is taken as it is written, with spaces and commas. `python -m amt_mm
pretrain` alone lists its arguments.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_type_hints

from amt_mm.arguments import check_choice

CALLS = ('pretrain', 'extract', 'export', 'estimate_cost')


def read_arguments(function: Callable, pairs: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE by the types of a function's arguments.

    A key that comes several times has the list of its values. Raises
    ValueError if a pair is wrong; of an unknown key the function tells.
    """
    import amt_mm
    hints = {**get_type_hints(amt_mm.pretrain), **get_type_hints(function)}
    texts: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, text = pair.partition('=')
        if not (key and equals):
            raise ValueError(f'arguments must be of the form KEY=VALUE, got '
                             f'{pair!r}.')
        texts.setdefault(key, []).append(text)
    arguments: dict[str, Any] = {}
    for key, values in texts.items():
        hint = hints.get(key, str)
        kinds = get_args(hint) or (hint, )
        read = [read_value(key, text, kinds) for text in values]
        if len(read) > 1 and Sequence[str] not in kinds:
            raise ValueError(f'{key} must be given once, got {values}.')
        arguments[key] = read if len(read) > 1 else read[0]
    return arguments


def read_value(key: str, text: str, kinds: Sequence[Any]) -> Any:
    """Turn a text into what an argument takes."""
    if text == 'None' and type(None) in kinds:
        return None
    if bool in kinds:
        return text == check_choice(key, text, ('True', 'False')) == 'True'
    if int in kinds:
        try:
            return int(text)
        except ValueError:
            raise ValueError(f'{key} must be an integer, got {text!r}.'
                             ) from None
    return text


def main(argv: Sequence[str]) -> str:
    """Call what the command line names; return what it prints."""
    if not argv or argv[0] in ('-h', '--help', 'help'):
        return str(__doc__)
    name, *pairs = argv
    check_choice('the call', name, CALLS)
    import amt_mm
    function = getattr(amt_mm, name)
    if not pairs or pairs[0] in ('-h', '--help'):
        return f'{name}{inspect.signature(function)}\n\n{function.__doc__}'
    result = function(**read_arguments(function, pairs))
    if name == 'extract':
        features, names = result
        return f'features {features.shape} of {len(names):,} images'
    return str(result)


if __name__ == '__main__':
    try:
        sys.stdout.write(main(sys.argv[1:]) + '\n')
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise SystemExit(f'amt_mm: {error}') from error
