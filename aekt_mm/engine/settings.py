"""Settings as data: parsed without running code, flattened to dotted names."""

import ast
from typing import Any


def read_literal(text: str) -> Any:
    """Return the value that a text says in Python, where ``dict(key=value)`` is one too.

    Raises:
        ValueError: If it is anything else.

    Examples:
        >>> read_literal("[dict(type='StepLR', step_size=2), {'a': (1, None)}]")
        [{'type': 'StepLR', 'step_size': 2}, {'a': (1, None)}]
    """
    try:
        return ast.literal_eval(_Dicts().visit(ast.parse(text.strip(), mode='eval')))
    except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f'{text} is no value of Python') from error


def read_settings(text: str) -> dict[str, Any]:
    r"""Return what a config in Python sets, of one that only sets values, as MMEngine keeps it.

    Raises:
        ValueError: If it does anything else.

    Examples:
        >>> read_settings("seed = 3\nmodel = dict(type='LogitDistiller')")
        {'seed': 3, 'model': {'type': 'LogitDistiller'}}
    """
    settings = {}
    try:
        for line in ast.parse(text).body:
            if not isinstance(line, ast.Assign) or not isinstance(line.targets[0], ast.Name):
                raise TypeError('a line sets nothing')
            value = _Dicts().visit(ast.Expression(line.value))
            settings[line.targets[0].id] = ast.literal_eval(value)
    except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f'no settings in Python: {error}') from error
    return settings


def flatten(value: Any, prefix: str = '') -> dict[str, Any]:
    """Return a config's settings by dotted name.

    Examples:
        >>> flatten(dict(model=dict(type='A', depth=8), hooks=[dict(type='B')], lr=0.1))
        {'model.type': 'A', 'model.depth': 8, 'hooks.0.type': 'B', 'lr': 0.1}
    """
    plain = isinstance(value, list | tuple) and not any(isinstance(v, dict | list) for v in value)
    if plain or not isinstance(value, dict | list | tuple) or not value:
        return {prefix: list(value) if plain else value}
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    found: dict[str, Any] = {}
    for key, part in parts:
        found |= flatten(part, f'{prefix}.{key}' if prefix else str(key))
    return found


class _Dicts(ast.NodeTransformer):
    """Writes ``dict(key=value)`` as ``{'key': value}``, and numbers that no literal has."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(float(node.id)) if node.id in ('inf', 'nan') else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args:
            return node  # which no literal has
        if any(keyword.arg is None for keyword in node.keywords):
            return node
        keys: list[ast.expr | None] = [ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict(keys, [keyword.value for keyword in node.keywords])
