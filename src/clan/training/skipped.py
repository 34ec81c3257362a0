"""Images that a training left out because they cannot be read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

import torch
from lightning.fabric import Fabric
from pydantic import BaseModel, ConfigDict, TypeAdapter
from torch import Tensor

from clan.core.errors import RunError, counted
from clan.core.files import write_whole
from clan.core.jsonfile import parse_json
from clan.runs.folder import RunFolder
from clan.training.display import Display
from clan.training.domains import Domains
from clan.training.processes import on_rank_zero


class Entry(BaseModel):
    """A line of ``skipped.jsonl``."""

    model_config = ConfigDict(extra="forbid")

    domain: str
    """``source`` or ``target``."""
    name: str
    """Of the item."""
    reason: str
    """The file, and what is wrong with it."""


_ENTRY = TypeAdapter(Entry)


class Skipped:
    """Counts and lists the images that could not be read, over all processes and resumes.

    Args:
        run: in whose folder ``skipped.jsonl`` lists them; it may not exist yet.
        fabric: gives rank and processes.
        domains: of the run.
        display: tells of each image once.
        skips: whether images may be left out.

    Raises:
        RunError: a resumed run has left out too many, or its list is damaged.
    """

    def __init__(
        self, run: RunFolder, fabric: Fabric, domains: Domains, display: Display, skips: bool
    ) -> None:
        self._file, self._run, self._fabric = run.path / "skipped.jsonl", run, fabric
        self._display = display
        self._images = {"source": len(domains.source), "target": len(domains.target or ())}
        self._known: dict[tuple[str, str], str] = {}
        self._new: dict[tuple[str, str], str] = {}
        for number, line in enumerate(self._lines(), start=1):
            where = f"{self._file}, line {number} is no line of skipped images"
            entry = parse_json(line, _ENTRY, where, RunError)
            self._known[entry.domain, entry.name] = entry.reason
        if skips:
            self._refuse_many()

    def note(self, domain: str, skipped: Sequence[tuple[str, str]]) -> None:
        """Note names and reasons of images of a domain, met by this process."""
        for name, reason in skipped:
            if (domain, name) not in self._known:
                self._new.setdefault((domain, name), reason)

    def settle(self) -> None:
        """List what was noted since the last call; all processes must call.

        Raises:
            RunError: too many images of a domain, or the list cannot be written.
        """
        found = self._gathered()
        if not found:
            return
        self._known |= found
        on_rank_zero(self._fabric, self._write)
        for (domain, _), reason in found.items():
            self._display.message(
                f"warning: an image of the {domain} is skipped, another takes its place: {reason}"
            )
        self._refuse_many()

    def _gathered(self) -> dict[tuple[str, str], str]:
        """Return what is new on any process."""
        own, self._new = self._new, {}
        if self._fabric.world_size == 1:
            return own
        count = torch.tensor(len(own), device=self._fabric.device)
        if not int(cast(Tensor, self._fabric.all_reduce(count, reduce_op="sum"))):
            return {}
        found: dict[tuple[str, str], str] = {}
        for rank in range(self._fabric.world_size):
            found |= self._fabric.broadcast(own, src=rank)
        return {key: found[key] for key in sorted(found)}

    def _refuse_many(self) -> None:
        for domain, images in self._images.items():
            reasons = [reason for (of, _), reason in self._known.items() if of == domain]
            most = max(1, images // 100)
            if len(reasons) > most:
                raise RunError(
                    f"{len(reasons)} of {counted(images, 'image')} of the {domain} cannot be read, "
                    f"and data.on_error=skip allows {most} (1 %, and always one). {self._file} "
                    f"lists them; the last is {reasons[-1]}. Mend the files and delete the list, "
                    f"then: {self._run.resume_command}"
                )

    def _write(self) -> None:
        entries = (
            {"domain": domain, "name": name, "reason": reason}
            for (domain, name), reason in self._known.items()
        )
        write_whole(self._file, "".join(f"{json.dumps(entry)}\n" for entry in entries))

    def _lines(self) -> list[bytes]:
        return self._file.read_bytes().splitlines() if self._file.is_file() else []
