"""Text of Markdown pages, and the part of a page that comes from a run of the demo."""

import re
import textwrap

BEGIN = "<!-- demo: begin -->"
END = "<!-- demo: end -->"


def wrapped(text: str, indent: str = "") -> str:
    """The text in lines of 100 columns, all but the first indented."""
    return textwrap.fill(
        " ".join(text.split()),
        width=100,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def with_demo_part(page: str, part: str) -> str:
    """The page with another part between its two markers."""
    return re.sub(f"{BEGIN}\n.*{END}", lambda _: f"{BEGIN}\n{part}{END}", page, flags=re.S)
