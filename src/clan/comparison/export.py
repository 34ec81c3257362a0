"""A comparison for programs: LaTeX and CSV."""

from __future__ import annotations

from clan.comparison.table import Comparison, missing
from clan.core.text import csv_line, one_line


def to_latex(comparison: Comparison) -> str:
    """Return a booktabs tabular: systems are lines, class heads are rotated; notes are comments.

    It needs ``booktabs`` and ``graphicx`` (``rotatebox``), and ``xcolor`` where infrequent
    classes are marked: they are blue, as in the paper.
    """
    columns = comparison.columns()
    if not comparison.wide:
        # classes first, the summary last
        summary = len(columns) - len(comparison.classes)
        columns = columns[summary:] + columns[:summary]
    heads = [_latex_head(comparison, column.heading) for column in columns]
    comments = (comparison.title, *_loss_sentences(comparison), *comparison.notes)
    out = [f"% {one_line(text)}" for text in comments]
    out += [rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\toprule"]
    out += [" & ".join(["system", *heads]) + r" \\"]
    for group in comparison.bold_groups():
        out.append(r"\midrule")
        for i in group:
            cells = [
                rf"\textbf{{{_escape(column.texts[i])}}}"
                if i in column.best
                else _escape(column.texts[i])
                for column in columns
            ]
            out.append(" & ".join([_escape(comparison.rows[i].name), *cells]) + r" \\")
    return "\n".join([*out, r"\bottomrule", r"\end{tabular}"]) + "\n"


def to_csv(comparison: Comparison) -> str:
    """Return one line per system, percent with four decimals, empty where there is no value.

    A wide comparison has three more columns: origin (``runs`` or ``printed``), architecture and
    family.
    """
    head = ["system", "subset", "seeds", "steps", "checkpoint", "miou", "miou_std", "gain"]
    about = ["origin", "architecture", "family"] if comparison.wide else []
    keys = [measure.key for measure in comparison.measures]
    lines = [csv_line([*head, "gap_closed", *about, *keys, *comparison.classes])]
    for index, row in enumerate(comparison.rows):
        numbers = [row.miou, row.std, row.gain, row.gap_closed]
        origin = ["printed" if row.printed else "runs", row.architecture, row.family]
        lines.append(
            csv_line(
                [
                    row.name,
                    comparison.subset,
                    " ".join(map(str, row.seeds)),
                    " ".join(map(str, row.steps)),
                    row.checkpoint,
                    *map(_four_decimals, numbers),
                    *(origin if comparison.wide else []),
                    *(_six_digits(measure.values[index]) for measure in comparison.measures),
                    *map(_four_decimals, row.iou.tolist()),
                ]
            )
        )
    return "".join(f"{line}\n" for line in lines)


def _loss_sentences(comparison: Comparison) -> list[str]:
    """Return the classes that got worse, a line per system."""
    transfer = comparison.negative_transfer
    if transfer is None or not transfer.systems:
        return []
    listed = [
        f"{system}: "
        + ", ".join(f"{c} {x.text}" for (s, c), x in transfer.losses.items() if s == system)
        for system in transfer.systems
    ]
    return [transfer.caption, *listed]


def _latex_head(comparison: Comparison, heading: str) -> str:
    if heading not in comparison.classes:
        return heading
    name = _escape(heading)
    if heading in comparison.infrequent:
        name = rf"\textcolor{{blue}}{{{name}}}"
    return rf"\rotatebox{{90}}{{{name}}}"


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}"}
    special |= {"†": r"$^\dagger$", "‡": r"$^\ddagger$"}
    special |= {"^": r"\textasciicircum{}"} | {c: f"\\{c}" for c in "&%$#_{}"}
    return "".join(special.get(c, c) for c in one_line(text))


def _four_decimals(value: float | None) -> str:
    return "" if value is None or missing(value) else f"{value:.4f}"


def _six_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
