"""Progress of a long loop."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from mmengine.dist import is_main_process
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar('T')

#: How many plain lines a loop prints where there is no terminal to draw a bar on.
LINES = 10


def track(items: Sequence[T], description: str, console: Console | None = None) -> Iterator[T]:
    """Iterate, and show how far it is: a bar on a terminal, or else a plain line now and then.

    One process of a distributed run shows it.

    Args:
        items: What to iterate over.
        description: What they are, as the label of the bar and the end of a line.
        console: Where to show it. By default standard output.

    Examples:
        >>> list(track(range(3), 'images'))
        1 of 3 images
        2 of 3 images
        3 of 3 images
        [0, 1, 2]
    """
    console = console or Console()
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    plain = is_main_process() and not console.is_terminal
    hidden = plain or not is_main_process()
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=hidden) as progress:
        task = progress.add_task(description, total=len(items))
        for number, item in enumerate(items, 1):
            yield item
            progress.advance(task)
            if plain and number * LINES // len(items) > (number - 1) * LINES // len(items):
                console.print(f'{number:,} of {len(items):,} {description}', highlight=False)
