"""Whether executors are as the driver is: their facts and clocks compared, each difference a finding by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lake.catalog.doctor import Check
from lake.cluster.facts import MISSING

MAX_CLOCK_OFFSET_S = 2.0
"""Beyond this, times in the record of runs and the age of leases mean different things on different machines."""

ADVICE = {
    "code": "let spark.ship_code send the driver's, or install it there anew",
    "java": "run the same Java on every node",
    "clock": "set the clocks by one time server",
}
SAME_PACKAGES = "install the same packages, or let spark.environment send them"


@dataclass(frozen=True)
class Answer:
    """What one executor said of itself."""

    executor: str
    """``host:process``."""
    facts: Mapping[str, str]
    least_offset_s: float
    most_offset_s: float
    """Its clock less the driver's lies between the two: when it was asked, and when the answer was there, are known."""


def merged(answers: Iterable[Answer]) -> list[Answer]:
    """One answer for each executor: of several, the facts of the last and the narrowest bounds of its clock."""
    found: dict[str, Answer] = {}
    for answer in answers:
        before = found.get(answer.executor, answer)
        found[answer.executor] = replace(
            answer,
            least_offset_s=max(before.least_offset_s, answer.least_offset_s),
            most_offset_s=min(before.most_offset_s, answer.most_offset_s),
        )
    return [found[name] for name in sorted(found)]


def compare(driver: Mapping[str, str], answers: Sequence[Answer], alive: int, wanted: int | None) -> list[Check]:
    """A check for their number, for each fact of the driver or of any executor, and for the clocks.

    ``alive`` is how many executors there are, ``wanted`` how many the profile asks for.
    """
    names = list(dict.fromkeys([*driver, *(name for answer in answers for name in answer.facts)]))
    return [
        _number(len(answers), alive, wanted),
        *(_fact(name, driver.get(name, f"{MISSING}not known"), answers) for name in names if answers),
        *([_clock(answers)] if answers else []),
    ]


def _number(asked: int, alive: int, wanted: int | None) -> Check:
    if asked < max(alive, 1):
        return Check("cluster executors", False, f"{asked} of {alive} executors answered")
    if wanted is not None and asked < wanted:
        detail = f"{asked} executors, spark.resources asks for {wanted}: has the cluster the cores and memory free?"
        return Check("cluster executors", False, detail)
    return Check("cluster executors", True, f"{asked} asked")


def _fact(name: str, wanted: str, answers: Sequence[Answer]) -> Check:
    others = defaultdict(list)
    for answer in answers:
        value = answer.facts.get(name, f"{MISSING}not known")
        if value != wanted:
            others[value].append(answer.executor)
    if others:
        said = "; ".join(f"{', '.join(executors)}: {value}" for value, executors in others.items())
        return Check(f"cluster {name}", False, f"{said}; driver: {wanted}; {ADVICE.get(name, SAME_PACKAGES)}")
    return Check(f"cluster {name}", not wanted.startswith(MISSING), f"{wanted}, as the driver")


def _clock(answers: Sequence[Answer]) -> Check:
    """Fails only where an offset is certain: an answer that took long says little."""
    wrong = []
    for answer in answers:
        if answer.least_offset_s > MAX_CLOCK_OFFSET_S:
            wrong.append(f"{answer.executor}: at least {answer.least_offset_s:,.1f} s ahead of the driver")
        elif answer.most_offset_s < -MAX_CLOCK_OFFSET_S:
            wrong.append(f"{answer.executor}: at least {-answer.most_offset_s:,.1f} s behind the driver")
    if wrong:
        return Check("cluster clock", False, f"{'; '.join(wrong)}; {ADVICE['clock']}")
    bound = max(max(abs(answer.least_offset_s), abs(answer.most_offset_s)) for answer in answers)
    return Check("cluster clock", True, f"within {bound:,.1f} s of the driver's")
