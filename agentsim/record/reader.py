"""Reading a log: deliveries one by one, counts, findings, a data frame."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agentsim.errors import ProblemError, UserError
from agentsim.record.log import LogDamaged, LogReader, NotALog
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Codec, MessageError

if TYPE_CHECKING:
    import pandas

    from agentsim.dcop.problem import Problem
    from agentsim.runtime.agent import Agent


class Log(LogReader):
    """A log as a stream of deliveries.

    Args:
        source: a path, or the bytes of a log kept in memory.
        solver: the solver's class, for logs of solvers that are not registered; by default it is found by the name
            in the header. Where neither is there, deliveries come without their decoded message.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, solver: type[Agent] | None = None) -> None:
        super().__init__(source)
        self._solver = solver
        self._codec: Codec | None = None
        self._codec_made = False

    def __iter__(self) -> Iterator[Delivery]:
        """Yield every delivery in order; LogDamaged where the log is damaged, a quiet end where it is cut."""
        for record in self.records():
            if type(record[0]) is int:
                yield self.delivery(record)

    def delivery(self, record: tuple[Any, ...]) -> Delivery:
        """Return a delivery record as a `Delivery`; LogDamaged if its payload is no message of the solver."""
        if not self._codec_made:
            self._codec_made = True
            solver = self.solver
            self._codec = Codec(solver.all_messages()) if solver is not None else None
        if self._codec is None:
            return Delivery._make((*record, None))
        try:
            return Delivery._make((*record, self._codec.decode(record[6], record[10])))
        except MessageError as error:
            raise LogDamaged(self.name, 0, f"delivery {record[0]} from {record[4]}: {error}") from None

    @property
    def solver(self) -> type[Agent] | None:
        """The solver's class, or None when it is not known here."""
        if self._solver is None:
            from agentsim.runtime.setup import find_solver

            header = self.header
            if header is not None:
                try:
                    self._solver = find_solver(str(header.get("solver")))[1]
                except UserError:
                    return None
        return self._solver

    @property
    def problem(self) -> Problem:
        """The problem that was solved; UserError when the header was cut off or makes no sense."""
        from agentsim.dcop.formats import decode_problem

        header = self.header
        if header is None:
            raise UserError(f"{self.name}: the log was cut off within its header")
        try:
            return decode_problem(header.get("problem"))
        except ProblemError as error:
            raise UserError(f"{self.name}: header: {error}") from None

    def summary(self) -> dict[str, Any]:
        """Read the whole log and return whole, damaged, deliveries, by_type, header, findings, result."""
        by_type: Counter[str] = Counter()
        fates: Counter[str] = Counter()
        findings: dict[str, Any] = {}
        result: Any = None
        damaged: str | None = None
        header: dict[str, Any] | None = None
        try:
            header = self.header
            for record in self.records():
                if type(record[0]) is int:
                    by_type[record[6]] += 1
                elif record[0] == "fate":
                    fates[record[1]] += 1
                elif record[0] == "finding":
                    findings[record[2]] = record[3]
                elif record[0] == "result":
                    result = record[1]
        except LogDamaged as error:
            damaged = str(error)
        return {
            "whole": bool(self.whole) and damaged is None,
            "damaged": damaged,
            "deliveries": by_type.total(),
            "by_type": dict(sorted(by_type.items())),
            "fates": dict(sorted(fates.items())),
            "header": header,
            "findings": findings,
            "result": result,
        }

    def to_frame(self) -> pandas.DataFrame:
        """Return the deliveries as a pandas data frame, a column per field; needs pandas."""
        try:
            import pandas
        except ImportError:
            raise UserError("to_frame() needs the package pandas") from None
        columns = Delivery._fields[:-1]
        return pandas.DataFrame((r for r in self.records() if type(r[0]) is int), columns=list(columns))

    @property
    def size(self) -> int:
        """Bytes that the log has; NotALog if its file is gone."""
        with self._open() as file:
            return file.seek(0, os.SEEK_END)

    def _repr_html_(self) -> str | None:
        from agentsim.record.display import log_html

        try:
            return log_html(Log(self._source, self._solver))  # another reader: what this one has read stays as it is
        except NotALog:
            return None  # the file is gone or is another by now; a notebook then shows the plain text


def open_log(path: str | os.PathLike[str], solver: type[Agent] | None = None) -> Log:
    """Open a log for reading.

    Args:
        path: the file.
        solver: the solver's class, when it is not a registered one.

    Raises:
        NotALog: no such file, or not a log.
    """
    return Log(path, solver)
