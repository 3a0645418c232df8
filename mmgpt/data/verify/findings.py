"""What the doctor says: findings, and the report that holds them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal[
    'missing_image',
    'corrupt_image',
    'oversized_image',
    'dangling_context',
    'self_context',
    'image_count',
    'empty_answer',
    'truncated_answer',
    'duplicate_id',
    'wrong_type',
    'bad_base64',
    'bad_video',
    'no_target',
    'split_token',
    'leak',
]
KINDS: tuple[Kind, ...] = get_args(Kind)
Severity = Literal['error', 'warning']

Place = tuple[str, int]  # a file, and the number of an entry in it, from 0


@dataclass(frozen=True)
class Fault:
    """What is wrong with an entry, before it is said where the entry stands."""

    kind: Kind
    message: str
    fix: str
    severity: Severity = 'error'


@dataclass(frozen=True)
class Finding:
    """A fault and where it is.

    Args:
        kind: one of ``KINDS``.
        severity: an 'error' would stop a run or spoil a sample; a 'warning' is for people to judge.
        file: that holds the fault.
        line: of the file, from 1; None where the file has no lines or the fault is of the whole file.
        id: of the sample or image; None where there is none.
        message: what was expected and what came.
        fix: what to do.
        drops: the entries that ``--fix`` leaves out on account of it.
    """

    kind: Kind
    severity: Severity
    file: str
    line: int | None
    id: str | None
    message: str
    fix: str
    drops: tuple[Place, ...] = ()

    @property
    def where(self) -> str:
        """File, line and id, for people to read."""
        line = '' if self.line is None else f':{self.line}'
        return f'{self.file}{line}' + ('' if self.id is None else f' [{self.id}]')

    def to_dict(self) -> dict[str, Any]:
        """What the report shows."""
        names = ('kind', 'severity', 'file', 'line', 'id', 'message', 'fix')
        return {name: getattr(self, name) for name in names}


@dataclass
class Report:
    """Everything the doctor found.

    Args:
        samples: how many samples the sets have.
        findings: in the order of files and lines.
        answer_lengths: set -> figures of :func:`mmgpt.data.verify.answers.describe_lengths`.
    """

    samples: int = 0
    findings: list[Finding] = field(default_factory=list)
    answer_lengths: dict[str, dict[str, Any]] = field(default_factory=dict)
    _known: set[tuple] = field(default_factory=set, repr=False)

    @property
    def errors(self) -> int:
        """The number of findings that are errors."""
        return sum(finding.severity == 'error' for finding in self.findings)

    @property
    def warnings(self) -> int:
        """The number of findings that are warnings."""
        return len(self.findings) - self.errors

    def add(self, findings: Iterable[Finding]) -> None:
        """Takes findings in; one that is known already is left out (two sets may share a file)."""
        for finding in findings:
            key = (finding.kind, finding.file, finding.line, finding.id, finding.message)
            if key not in self._known:
                self._known.add(key)
                self.findings.append(finding)

    def sort(self) -> None:
        """Puts the findings into the order of files and lines."""
        self.findings.sort(key=lambda f: (f.file, f.line or 0, f.id or '', KINDS.index(f.kind)))

    def summary(self, most: int = 10) -> str:
        """The report for people to read, with at most so many findings of each kind."""
        lines = []
        for kind in KINDS:
            found = [finding for finding in self.findings if finding.kind == kind]
            lines += [f'{f.severity} {kind} {f.where}: {f.message}\n    {f.fix}' for f in found[:most]]
            if len(found) > most:
                lines.append(f'… and {len(found) - most} more of {kind}')
        for name, lengths in self.answer_lengths.items():
            if lengths['answers']:
                lines.append(
                    f'{name}: {lengths["answers"]} answers of {lengths["p5"]} to {lengths["p95"]} words '
                    f'(5th to 95th percentile), median {lengths["median"]}'
                )
        if short := {name: lengths['warning'] for name, lengths in self.answer_lengths.items() if lengths['warning']}:
            lines.append(f'note: short answers in {", ".join(short)}: {next(iter(short.values()))}')
        lines.append(f'{self.samples} samples, {self.errors} errors, {self.warnings} warnings')
        return '\n'.join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, as ``--json`` writes it."""
        return {
            'samples': self.samples,
            'errors': self.errors,
            'warnings': self.warnings,
            'findings': [finding.to_dict() for finding in self.findings],
            'answer_lengths': self.answer_lengths,
        }
