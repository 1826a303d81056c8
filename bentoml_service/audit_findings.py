"""What a verification of the audit trail found, rows of one kind taken together."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding", "Findings"]

_MEANING = {
    "missing": "deleted without a pruning's proof",
    "altered": "altered, moved, or chained anew without the key",
    "inserted": "inserted outside the signed chain",
    "spliced": "genuine, but not the successor of the row before",
    "unknown_key": "signed with an audit key that is not here",
    "rewritten": "rewritten",
}
_MOST = 1000  # findings that are listed: a trail that is altered everywhere needs no longer list


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: ``missing``, ``altered``, ``inserted``, ``spliced``, ``unknown_key``, ``rewritten``, ``head``, ``cut``,
            ``schema``, ``anchor`` or ``unreadable``.
        text: one sentence.
        first: first sequence number that it is about, None where it is about no row.
        last: last one.
    """

    code: str
    text: str
    first: int | None = None
    last: int | None = None


class Findings:
    """Findings in the order in which they come; neighbouring rows of one code become one."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._more = 0
        self._run: tuple[str, int, int] | None = None

    def add(self, code: str, text: str, first: int | None = None, last: int | None = None) -> None:
        """A finding of its own."""
        self._end_run()
        if len(self._found) < _MOST:
            self._found.append(Finding(code, text, first, last))
        else:
            self._more += 1

    def rows(self, code: str, first: int, last: int, why: str = "") -> None:
        """Rows ``first`` to ``last``, with a reason of their own or the code's meaning."""
        if why:
            self.add(code, f"{_named(first, last)}: {why}.", first, last)
        elif self._run and self._run[0] == code and self._run[2] + 1 == first:
            self._run = (code, self._run[1], last)
        else:
            self._end_run()
            self._run = (code, first, last)

    def all(self) -> tuple[Finding, ...]:
        """Everything found; a last one says how many were left out."""
        self._end_run()
        more = [Finding("more", f"{self._more} more findings are not listed.")] if self._more else []
        return (*self._found, *more)

    def _end_run(self) -> None:
        if self._run is not None:
            (code, first, last), self._run = self._run, None
            self.add(code, f"{_named(first, last)}: {_MEANING[code]}.", first, last)


def _named(first: int, last: int) -> str:
    return f"Row {first}" if first == last else f"Rows {first}-{last}"
