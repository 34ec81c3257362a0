"""metrics.csv in the run's folder: a row for each line of metrics.jsonl, a column per scalar."""

from __future__ import annotations

from collections.abc import Mapping

from clan.config.tree import Config
from clan.core.files import append_line, write_whole
from clan.core.text import csv_line
from clan.runs.folder import RunFolder
from clan.runs.sinks.contract import numbers


class CSV:
    """Adds rows; the file is written anew from metrics.jsonl at the start and for new columns."""

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Write what metrics.jsonl holds; see `clan.runs.sinks.contract.Sink`."""
        self._run, self._file = run, run.path / "metrics.csv"
        self._columns: list[str] = []
        self._write_anew()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row; the line in metrics.jsonl comes first."""
        if set(values) <= set(self._columns):
            append_line(self._file, csv_line([step, *(values.get(n, "") for n in self._columns)]))
        else:
            self._write_anew()

    def close(self) -> None:
        """Nothing waits."""

    def _write_anew(self) -> None:
        records = [(record["step"], numbers(record)) for record in self._run.read_metrics()]
        columns = dict.fromkeys(name for _, values in records for name in values)
        self._columns = list(columns)
        rows: list[list[object]] = [["step", *columns]]
        rows += [[step, *(values.get(n, "") for n in columns)] for step, values in records]
        write_whole(self._file, "".join(f"{csv_line(row)}\n" for row in rows))
