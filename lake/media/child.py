"""The decoding child: reads calls from one pipe, answers on another. Started by ``lake.media.child_process`` alone.

python -m lake.media.child IN OUT module:FUNCTIONS MEMORY_BYTES
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import msgpack

from lake.errors import ModelError, RecordError
from lake.media.child_process import HEADER, REQUEST_HEADER
from lake.media.guard import deny_network_and_programs, die_with_parent, limit_process
from lake.media.limits import NO_RESULT, Limits
from lake.media.reply import ByAnalysis, line, packed, text
from lake.model import Media, Sniffed, Technical

if TYPE_CHECKING:
    from lake.analysis.base import Analysis

SWITCH_S = 0.0005
"""After how long Python's lock is asked for. Decode and readers hand each other frames of a tenth of that: by default
each waits for 5 ms whenever another thread has the lock."""
Function = Callable[[dict[str, Any]], Any]


def _probe(args: dict[str, Any]) -> dict[str, Any]:
    from lake.media.probe import probe

    sniffed = Sniffed(args["content_type"], args["media_kind"])
    return probe(sniffed, args["data"], args["path"], args["size_bytes"], Limits(**args["limits"])).to_plain()


def _analyze(args: dict[str, Any]) -> ByAnalysis:
    """Several analyses of one recording, which is decoded once; each has rows or a failure of its own."""
    threads = min(args.get("threads", 1), os.cpu_count() or 1)
    facts = (args["sha256"], args["content_type"], args["media_kind"], args["data"], args["path"])
    media = Media(*facts, Technical(), threads)
    modules = args.get("modules") or {}
    jobs = {name: functools.partial(_one, name, params, modules.get(name)) for name, params in args["analyses"].items()}
    if len(jobs) == 1 and threads == 1:
        return ByAnalysis({name: job(media) for name, job in jobs.items()})
    from lake.media.one_pass import together

    limits_s: Mapping[str, float] = args.get("limits_s") or {}
    found = together(media, jobs, limits_s)
    return ByAnalysis({name: found[name] if name in found else _late(limits_s[name]) for name in jobs})


def _late(limit_s: float) -> dict[str, Any]:
    return {"error_class": "LimitExceeded", "message": NO_RESULT.format(limit_s=limit_s)}


def _one(name: str, params: Mapping[str, Any], module: dict[str, str] | None, media: Media) -> dict[str, Any]:
    try:
        return {"rows": list(_analysis(name, module).run(media, params))}
    except (RecordError, ModelError) as error:
        return {"error_class": type(error).__name__, "message": text(error)}
    except MemoryError:
        return {"error_class": "LimitExceeded", "message": f"{name} needs more memory than one recording may use"}
    except Exception as error:
        return {"error_class": type(error).__name__, "message": line(error)}


def _analysis(name: str, module: dict[str, str] | None) -> Analysis:
    """An analysis by name, of a user's file if it is given."""
    if module is None:
        from lake.analysis.registry import ANALYSES

        return ANALYSES[name]
    return _own(name, module["path"], module["source"])


@functools.lru_cache(64)
def _own(name: str, path: str, source: str) -> Analysis:
    from lake.analysis.user_module import UserModule, analyses_of

    return analyses_of(UserModule(path, source))[name]


FUNCTIONS: dict[str, str | Function] = {
    "probe": _probe,
    "analyze": _analyze,
    "load_models": "lake.models.loaded:load_all",
    "waveform": "lake.media.preview:waveform",
    "first_page": "lake.media.preview:first_page",
}
"""What the child offers; adding one is one line here. A text names ``module:function``, imported when called."""


def answer(functions: Mapping[str, str | Function], request: dict[str, Any]) -> dict[str, Any]:
    """Run one call; whatever it raises is its answer."""
    started = time.perf_counter()
    try:
        function = functions[request["function"]]
        if isinstance(function, str):
            module, name = function.split(":")
            function = getattr(importlib.import_module(module), name)
        reply: dict[str, Any] = {"value": function(request["args"])}
    except (RecordError, ModelError) as error:
        reply = {"error_class": type(error).__name__, "message": text(error)}
    except MemoryError:
        reply = {"error_class": "LimitExceeded", "message": "needs more memory than one recording may use"}
    except Exception as error:
        reply = {"error_class": type(error).__name__, "message": line(error)}
    reply["seconds"] = time.perf_counter() - started
    # Not imported for those who have no models: it knows what loads them.
    if models := sys.modules.get("lake.models.loaded"):
        reply["model_loads"] = models.LOADS.total()
    if (one_pass := sys.modules.get("lake.media.one_pass")) and one_pass.lingers():
        reply["spent"] = True
    return reply


def serve(requests: BinaryIO, replies: BinaryIO, functions: Mapping[str, str | Function]) -> None:
    """Answer calls until the pipe closes."""
    while header := requests.read(REQUEST_HEADER.size):
        length, data_length = REQUEST_HEADER.unpack(header)
        request = msgpack.unpackb(requests.read(length), strict_map_key=False)
        if data_length:
            request["args"]["data"] = requests.read(data_length)
        _reply(replies, answer(functions, request))


def _reply(replies: BinaryIO, document: dict[str, Any]) -> None:
    frame = packed(document)
    replies.write(HEADER.pack(len(frame)) + frame)
    replies.flush()


def main() -> None:
    source, sink, functions, memory_bytes = sys.argv[1:5]
    die_with_parent()
    sys.setswitchinterval(SWITCH_S)
    requests, replies = os.fdopen(int(source), "rb"), os.fdopen(int(sink), "wb")
    module, name = functions.split(":")
    offered = getattr(importlib.import_module(module), name)
    limit_process(int(memory_bytes))
    deny_network_and_programs()
    _reply(replies, {"ready": True})
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # who started it reads no more of that
    serve(requests, replies, offered)


if __name__ == "__main__":
    main()
