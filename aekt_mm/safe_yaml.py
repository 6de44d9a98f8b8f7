"""Safe YAML loading, in the place of MMEngine's, which builds any object that a file names.

Once ``import aekt_mm`` has run, that holds for every config of the process, with its bases, and for
whatever else ``mmengine.load`` reads.
"""

from typing import Any

import yaml
from mmengine.fileio import YamlHandler, register_handler

#: What MMEngine's own dumping of configs may write beside plain YAML.
PLAIN_TAGS = ('tuple', 'list', 'dict', 'str', 'unicode', 'bytes', 'bool', 'int', 'float', 'complex')


_Base: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class DataLoader(_Base):
    """YAML's safe loader, which also knows Python's plain types."""

    def construct_undefined(self, node: yaml.Node) -> None:
        """Refuse what is no data."""
        raise yaml.constructor.ConstructorError(
            None,
            None,
            f'could not determine a constructor for the tag {node.tag!r}, which is no data: YAML '
            'is read without running code',
            node.start_mark,
        )


DataLoader.add_constructor(None, DataLoader.construct_undefined)
for _tag in PLAIN_TAGS:
    _name = f'tag:yaml.org,2002:python/{_tag}'
    DataLoader.add_constructor(_name, yaml.FullLoader.yaml_constructors[_name])


@register_handler(['yaml', 'yml'])
class SafeYamlHandler(YamlHandler):
    """MMEngine's reading and writing of YAML, without code."""

    def load_from_fileobj(self, file: Any, **kwargs) -> Any:
        """Read a file.

        Raises:
            yaml.constructor.ConstructorError: If it names an object that is no data.
        """
        return super().load_from_fileobj(file, **{**kwargs, 'Loader': DataLoader})
