"""Show indexed names in docstrings as code, for the Python page of the site.

Markdown takes the brackets of `attention[layer][head]` for a link. A docstring is also read in an
editor and by help(), where backquotes around every such name would only be noise.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_INDEXED = re.compile(r"(?<![`\w])\w+(?:\[[\w ]+\]){2,}(?!`)")


class IndexedNames(griffe.Extension):
    """Puts backquotes around a name with two or more indices."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of one object, but not the examples in it."""
        if obj.docstring:
            lines = obj.docstring.value.split("\n")
            obj.docstring.value = "\n".join(
                line if line.lstrip().startswith((">>>", "...")) else _INDEXED.sub(r"`\g<0>`", line)
                for line in lines
            )
