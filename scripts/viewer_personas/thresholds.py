"""Whether the vars make sense, by the macros with which dbt checks them too.

`check_definitions` of macros/definitions runs here without dbt, before anything else does: dbt
comes to it only after a load, and takes seconds to start.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from viewer_personas.errors import InputError

FILES = ("thresholds.sql", "check.sql")


class _Returned(Exception):
    """How dbt's `return` ends a macro with a value."""

    def __init__(self, value: Any) -> None:
        self.value = value


def check_thresholds(values: Mapping[str, Any], project: Path) -> None:
    """Raise `InputError` with the name, unit and range of the first var that makes no sense."""
    # here, because not every command needs a template engine
    import jinja2
    import pytz

    folder = project / "macros" / "definitions"
    text = "\n".join((folder / name).read_text(encoding="utf-8") for name in FILES)
    macros: dict[str, Any] = {}

    def call(name: str, *arguments: Any) -> Any:
        try:
            return macros[name](*arguments)
        except _Returned as returned:
            return returned.value

    # A macro that calls another one by its name would get its text, not what it returns.
    callers: dict[str, Callable[..., Any]] = {
        name: partial(call, name) for name in re.findall(r"macro (\w+)\(", text)
    }
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        re.sub(r"macro (\w+)\(", r"macro its_\1(", text),
        globals={
            **callers,
            "execute": True,
            "exceptions": SimpleNamespace(raise_compiler_error=_refuse),
            "modules": SimpleNamespace(pytz=pytz),
            "return": _return,
            "var": values.get,
        },
    )
    macros |= {name: getattr(template.module, f"its_{name}") for name in callers}
    call("check_definitions")


def refuse_unknown(
    given: Mapping[Any, Any], known: Mapping[str, Any], place: str, project: Path
) -> None:
    """Raise `InputError` for the first var that is not known; one of an earlier version is said to
    have moved."""
    for name, value in given.items():
        if name not in known:
            check_thresholds({**known, name: value}, project)
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"{place}: unknown variable {name}; {hint}")


def _return(value: Any) -> NoReturn:
    raise _Returned(value)


def _refuse(message: str) -> NoReturn:
    raise InputError(message)
