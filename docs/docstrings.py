"""Prepare docstrings and signatures for the Python page of the site.

The site reads docstrings as Markdown, which takes the brackets of `attention[layer][head]` for a
link and the `>>>` of an example for a quotation. In an editor and in help() both are right as they
are, so only the site changes them.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_INDEXED = re.compile(r"(?<![`\w])\w+(?:\[[\w ]+\]){2,}(?!`)")


def prepared(text: str) -> str:
    """The docstring with examples as code blocks, and names with two or more indices as code."""
    lines, in_example = [], False
    for line in text.split("\n"):
        if not in_example and line.startswith(">>>"):
            lines.append("```pycon")
            in_example = True
        elif in_example and not line:
            lines.append("```")
            in_example = False
        lines.append(line if in_example else _INDEXED.sub(r"`\g<0>`", line))
    return "\n".join([*lines, *(["```"] if in_example else [])])


class Docstrings(griffe.Extension):
    """Prepares the docstring of every object."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """griffe has made an object."""
        if obj.docstring:
            obj.docstring.value = prepared(obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """`Config` and `MicroGPT` get constructors with the fields as keyword arguments.

        A field of `Config` has its default alone, without range and sentence.
        """
        shared = _parameters(pkg["config.HyperParameters"])
        for name in ("config.Config", "model.MicroGPT"):
            parameters = griffe.Parameters(*shared, *_parameters(pkg[name]))
            pkg[name].set_member("__init__", griffe.Function("__init__", parameters=parameters))


def _parameters(kind: griffe.Class) -> list[griffe.Parameter]:
    """The annotated attributes of a class, as `config.KeywordArguments` takes them."""
    parameters = []
    for field in kind.members.values():
        if isinstance(field, griffe.Attribute) and "class-attribute" in field.labels:
            default = field.value
            if isinstance(default, griffe.ExprCall) and str(default.function) == "_option":
                default = default.arguments[0]
            keyword = griffe.ParameterKind.keyword_only
            parameters.append(
                griffe.Parameter(
                    field.name, annotation=field.annotation, kind=keyword, default=default
                )
            )
    return parameters
