"""Numbers for a database's ids."""

from __future__ import annotations

import numpy as np

__all__ = ["IdTable"]


class IdTable:
    """From ids to numbers: a table over all possible ids where these are dense, otherwise a sorted list.

    Memory: 4 bytes for each possible id, or 12 for each that there is, whichever costs less and ids allow.
    """

    def __init__(self, ids: np.ndarray, numbers: np.ndarray, *, missing: int, source: str) -> None:
        """Table of ``numbers`` (n,), int32, by ``ids`` (n,), int64.

        Args:
            missing: the number of ids that are not there.
            source: which column of which table the ids are from, for the message.

        Raises:
            ValueError: if an id comes twice.
        """
        self._missing = missing
        highest, lowest = (int(ids.max()), int(ids.min())) if len(ids) else (0, 0)
        self._ids = None
        if lowest >= 0 and highest < 3 * len(ids) + (1 << 20):
            self._numbers = np.full(highest + 1, missing, dtype=np.int32)
            self._numbers[ids] = numbers
            met = np.zeros(highest + 1, dtype=bool)
            met[ids] = True
            distinct = int(met.sum())
        else:
            order = np.argsort(ids)
            self._ids, self._numbers = ids[order], numbers[order].astype(np.int32)
            distinct = 1 + int((np.diff(self._ids) > 0).sum())
        if distinct < len(ids):
            raise ValueError(
                f"{source}: expected every id once, got {len(ids)} rows for {distinct} ids; download the dump again"
            )

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        """The numbers of ``ids`` (k,), int32."""
        if self._ids is None:
            known = (ids >= 0) & (ids < len(self._numbers))
            return np.where(known, self._numbers[np.where(known, ids, 0)], np.int32(self._missing))
        at = np.searchsorted(self._ids, ids).clip(max=len(self._ids) - 1)
        return np.where(self._ids[at] == ids, self._numbers[at], np.int32(self._missing))
