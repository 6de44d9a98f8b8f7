"""Start-up messages of the stack that are held back, one by one.

Whatever is not listed here is said as it always was, also by the same code.
"""

import contextlib
import io
import logging
import warnings

#: Warnings by how their text begins, a regular expression.
WARNINGS = {
    # mmcv without compiled operators, which no image classifier uses
    r'Fail to import ``MultiScaleDeformableAttention``': UserWarning,
    # MMEngine's wrapper passes the option on, and PyTorch has no other that does the same
    r'`broadcast_buffers` is deprecated': FutureWarning,
    # one thread a process unless the user says otherwise, as torchrun does
    r'Setting (OMP|MKL)_NUM_THREADS environment variable for each process': UserWarning,
    # channels-last: for 1x1 convolutions two strides name one order of numbers, nothing is copied
    r'Grad strides do not match bucket view strides.*?sizes\(\) = \[\d+, \d+, 1, 1\]': UserWarning,
}

#: Lines of MMEngine's log by how they begin: its checkpoint hook's use of its own old names, and
#: that a resumed run loses the gradients that ResumeHook keeps.
LINES = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias of',
    'Resumed iteration number is not divisible by',
)

#: What is printed on import: an optional logger of onedl's makers is not installed.
PRINTED = ('Could not import OneDL',)


def silence_stack() -> None:
    """Hold back the warnings and what mmpretrain prints when its data sets are imported."""
    for beginning, category in WARNINGS.items():
        warnings.filterwarnings('ignore', f'(?s){beginning}', category)
    with contextlib.redirect_stdout(io.StringIO()) as held:
        import mmpretrain.datasets  # noqa: F401
    for line in held.getvalue().splitlines():
        if line not in PRINTED:
            print(line)


def about_the_run(record: logging.LogRecord) -> bool:
    """Return whether a line of the log is about the run; a filter of a logger.

    Examples:
        >>> line = dict(level=30, msg='"FileClient" will be deprecated in future.')
        >>> about_the_run(logging.makeLogRecord(line))
        False
    """
    return not str(record.msg).startswith(LINES)
