"""How far a loop is: a bar on a terminal, and a few lines elsewhere."""

from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aekt_mm.progress import LINES, track


@given(st.integers(0, 3000))
def test_a_few_plain_lines_and_the_last_one(count):
    console = Console(file=StringIO(), force_terminal=False)
    assert list(track(range(count), 'images', console)) == list(range(count))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == min(count, LINES)
    assert lines[-1:] == ([f'{count:,} of {count:,} images'] if count else [])
    assert '\r' not in console.file.getvalue()


def test_a_bar_on_a_terminal():
    console = Console(file=StringIO(), force_terminal=True, width=80)
    assert list(track('abc', 'letters', console)) == ['a', 'b', 'c']
    shown = console.file.getvalue()
    assert '3/3' in shown
    assert 'of 3 letters' not in shown
