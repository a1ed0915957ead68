"""The models of a run: chosen and checked on the driver, brought to the executor before its child starts.

An analysis names the tasks it needs models for. What is chosen in the settings (``analysis.models``) or on the command
line fills them, by the task of the model; a model's name is no parameter of the analysis, its bytes are its identity.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lake.analysis.base import Analysis
from lake.errors import ModelError, UsageError
from lake.media.sandbox import Call, Prelude, Sandbox
from lake.models.base import Model
from lake.models.cache import localized
from lake.models.device import Device
from lake.models.loaded import entry_of

if TYPE_CHECKING:
    from lake.store.objects import ObjectStore

LOAD_LIMIT_S = 600.0
Chosen = Mapping[str, str | Sequence[str]]
"""URIs of models by analysis."""


@dataclass(frozen=True)
class Node:
    """What an executor needs to have models; travels with the tasks."""

    cache_dir: str
    """Folder for models that are fetched, on every machine."""
    device: Device = "cpu"


def runnable(analyses: Iterable[Analysis], chosen: Chosen) -> list[Analysis]:
    """Those that have all their models: an analysis that needs one and was given none does nothing."""
    return [a for a in analyses if a.name in chosen or None not in a.models.values()]


def with_models(analysis: Analysis, chosen: Chosen, resolve: Callable[[str], Model]) -> Analysis:
    """An analysis with its models found and checked; ``resolve`` is ``lake.models.resolve.resolve`` on a lake.

    Raises:
        UsageError: a model is missing, or does another task than the analysis needs.
        ModelError: a model is absent or altered.
    """
    given = chosen.get(analysis.name, ())
    wanted = dict(analysis.models)
    found: dict[str, Model] = {}
    for uri in (given,) if isinstance(given, str) else given:
        model = resolve(uri)
        if model.task not in wanted:
            needed = " and ".join(wanted) or "nothing"
            raise UsageError(f"{uri} is a model for {model.task}, and {analysis.name} needs one for {needed}")
        if model.task in found:
            raise UsageError(f"{analysis.name} was given two models for {model.task}: {found[model.task].uri}, {uri}")
        found[model.task] = model
    for task, own in wanted.items():
        if task not in found:
            if own is None:
                raise UsageError(
                    f"{analysis.name} needs a model for {task}: `lake models list` shows what there is, choose by"
                    f" --model {analysis.name}=URI or analysis.models in the settings"
                )
            found[task] = resolve(own)
    return replace(analysis, resolved=found)


def choose_models(
    analyses: Mapping[str, Analysis],
    chosen: Chosen,
    resolve: Callable[[str], Model],
    known: Collection[str],
    *,
    all_of_them: bool,
) -> dict[str, Analysis]:
    """The analyses of a run with their models; where ``all_of_them`` are meant, those that lack a model are left out.

    Raises:
        UsageError: a model is chosen for an analysis that is not among the ``known`` ones; see ``with_models``.
        ModelError: a model is absent or altered.
    """
    for name in chosen:
        if name not in known:
            raise UsageError(f"a model is chosen for {name!r}, which is no analysis: known are {', '.join(known)}")
    meant = runnable(analyses.values(), chosen) if all_of_them else list(analyses.values())
    return {analysis.name: with_models(analysis, chosen, resolve) for analysis in meant}


def on_this_machine(
    analyses: Mapping[str, Analysis], names: Iterable[str], node: Node | None, store: ObjectStore, sandbox: Sandbox
) -> dict[str, Analysis]:
    """The analyses, those in ``names`` with the local files of their models as the parameter ``models``.

    Runs on the executor, once a task: files are brought to the cache and compared with their checksums once a process,
    models are loaded once a child, those of a child that replaces it too, outside the time that a recording is given.

    Raises:
        ModelError: a model does not get here or cannot be loaded. That is no recording's fault, so the job fails.
    """
    ready = dict(analyses)
    entries: list[dict[str, str]] = []
    sandbox.prelude = None  # of the task before
    for name in set(names):
        analysis = analyses[name]
        if not analysis.resolved:
            continue
        if node is None:
            raise ModelError(f"the run says nowhere to keep the models of {name}")
        local = {
            task: entry_of(model, localized(model, store, Path(node.cache_dir)), node.device)
            for task, model in analysis.resolved.items()
        }
        entries += local.values()
        ready[name] = replace(analysis, params={**analysis.params, "models": local})
    if entries:
        load(sandbox, entries)
    return ready


def load(sandbox: Sandbox, entries: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """Have the child, and each that replaces it, load models; returns how often it loaded each so far, by URI.

    Raises:
        ModelError: one cannot be loaded, or takes the child down; of a later child, ``sandbox.map`` raises it.
    """
    named = ", ".join(sorted({entry["uri"] for entry in entries}))
    call = Call("models", "load_models", {"entries": [dict(entry) for entry in entries]}, time_limit_s=LOAD_LIMIT_S)
    loads: dict[str, int] = sandbox.prepare(Prelude(call, lambda why: ModelError(f"cannot load {named}: {why}")))
    return loads
