"""Which releases of the OpenMMLab stack this package works with."""

from importlib import import_module

#: import name: (lowest release that works, first release that is not known to, how to install it)
SUPPORTED = {
    'mmengine': ('0.10.7', '1.0.0', "pip install 'onedl-mmengine>=0.10.12'"),
    'mmcv': ('2.2.0', '3.0.0', "pip install 'onedl-mmcv>=2.3.6'"),
    'mmpretrain': ('1.2.0', '2.0.0', "pip install 'onedl-mmpretrain>=1.3.6'"),
}


def check_stack() -> None:
    """Check that MMEngine, MMCV and MMPretrain are installed in releases that work.

    Raises:
        ImportError: If one of them is missing or of another release; the message says what was
            found, what is needed and the command that installs it.
    """
    for name, (lowest, beyond, install) in SUPPORTED.items():
        try:
            version = import_module(name).__version__
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise ImportError(
                f'aekt_mm needs {name}>={lowest}, which is not installed: {install}'
            ) from error
        from mmengine.utils import digit_version

        if not digit_version(lowest) <= digit_version(version) < digit_version(beyond):
            raise ImportError(
                f'aekt_mm needs {name}>={lowest},<{beyond}, but {name} {version} is '
                f'installed: {install}'
            )
