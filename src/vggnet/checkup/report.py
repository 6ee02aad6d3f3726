"""The report of `vggnet doctor`: facts, findings and the self-test, as text to paste and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from vggnet.checkup.facts import Facts, collect
from vggnet.checkup.findings import findings
from vggnet.checkup.self_test import Outcome, self_test
from vggnet.console import say
from vggnet.errors import MachineFault
from vggnet.hardware import choose_device

_BYTES = ("total", "free", "memory", "free for this process", "file size", "address space")
_MARKS = {True: "passed", False: "FAILED", None: "left out"}


@dataclass(frozen=True)
class CheckupReport:
    """What `vggnet doctor` found. `outcomes` is empty where the self-test was left out."""

    facts: Facts
    findings: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the tests of the self-test that failed."""
        return tuple(outcome.name for outcome in self.outcomes if outcome.passed is False)

    @property
    def passed(self) -> bool:
        """Whether no test of the self-test failed."""
        return not self.failed

    def check(self) -> None:
        """Raise MachineFault where a test of the self-test failed."""
        if self.failed:
            raise MachineFault(f"the self-test failed ({', '.join(self.failed)}): send the text above with your report")

    def to_dict(self) -> dict[str, Any]:
        return {
            "facts": self.facts,
            "findings": list(self.findings),
            "self_test": [asdict(outcome) for outcome in self.outcomes],
            "passed": self.passed,
        }

    def to_text(self) -> str:
        """Return the report as lines for people."""
        return "\n".join(self._lines()) + "\n"

    def print(self) -> None:
        say(self.to_text().rstrip("\n"))

    def _lines(self) -> Iterator[str]:
        for subject, values in self.facts.items():
            yield subject
            width = max((len(name) for name in values), default=0)
            for name, value in values.items():
                yield f"  {name:{width}}  {_in_words(name, value)}"
        if self.findings:
            yield "what is unusual"
            yield from (f"  {sentence}" for sentence in self.findings)
        if self.outcomes:
            yield "self-test"
            width = max(len(outcome.name) for outcome in self.outcomes)
            for each in self.outcomes:
                yield f"  {each.name:{width}}  {_MARKS[each.passed]}, {each.seconds:.1f} s: {each.found}"


def examine(device: str = "auto", *, quick: bool = False) -> CheckupReport:
    """Collect the facts and run the self-test (not with `quick`) on `device`. Raises UserError for a wrong device."""
    chosen = choose_device(device)
    facts = collect(chosen)
    return CheckupReport(facts, tuple(findings(facts)), () if quick else tuple(self_test(chosen)))


def _in_words(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(key, each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _BYTES and isinstance(value, int):
        return f"{value / 1e9:,.1f} GB"
    return str(value)
