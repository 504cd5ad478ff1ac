"""YAML that people write: sources.yml, vars.yml, --vars."""

from typing import Any

import yaml

from viewer_personas.errors import InputError


def read_yaml(text: str, name: str) -> Any:
    """What a YAML text says; messages call it `name`.

    Raises `InputError` that names the line for no YAML, a repeated key, an alias to what it is part
    of, a date that does not exist, or a whole number beyond 64 bits.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" in line {mark.line + 1}" if mark else ""
        raise InputError(f"{name}: not valid YAML{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise InputError(f"{name}: not valid YAML: nested too deeply") from error


class _Loader(yaml.SafeLoader):
    """Safe YAML in which nothing is silently dropped, and nothing contains itself."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.deep_construct = True  # else an alias may stand inside what it names

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except yaml.constructor.ConstructorError as error:
            if error.problem == "found unconstructable recursive node":
                error.problem = "an alias names what it is part of"
            raise
        except (ValueError, OverflowError) as error:
            what = str(node.value)[:20]
            raise _error(f"{what}: there is no such number or date", node) from error
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise _error(f"{str(node.value)[:20]}: a number beyond 64 bits", node)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                raise _error(f"duplicate key {key}", node)
        return super().construct_mapping(node, deep)


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
