"""Text of Markdown pages."""

import textwrap


def wrapped(text: str, indent: str = "") -> str:
    """The text in lines of 100 columns, all but the first indented."""
    return textwrap.fill(
        " ".join(text.split()),
        width=100,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
