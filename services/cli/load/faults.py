"""What can be wrong with a row."""

from __future__ import annotations


class RowFault(Exception):
    """A row cannot become events; the text says what is wrong and what is expected."""
