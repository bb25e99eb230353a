"""A run as trace events, the JSON that Perfetto and chrome://tracing open."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compiler.measure.profile_result import CallProfile
from compiler.runners.profile_harness import Span

_PROCESS = 1  # any number: there is one process


def trace_events(
    spans: Sequence[Span], calls: Sequence[CallProfile], *, title: str, threads: int
) -> dict[str, Any]:
    """Return one complete event (times in us) for each thread's share of each phase.

    Args:
        calls: in program order; `Span.call` is an index into it.
        title: name of the process.
    """
    names = ["calling thread", *(f"helper {i}" for i in range(1, threads))]
    events = [_name_event("process_name", 0, title)]
    events += [_name_event("thread_name", thread, name) for thread, name in enumerate(names)]
    events += [_span_event(span, calls[span.call]) for span in spans]
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _name_event(kind: str, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": _PROCESS, "tid": thread, "args": {"name": name}}


def _span_event(span: Span, call: CallProfile) -> dict[str, Any]:
    return {
        "name": call.operator,
        "cat": call.schedule_source,
        "ph": "X",
        "ts": span.begin_ns / 1e3,
        "dur": (span.end_ns - span.begin_ns) / 1e3,
        "pid": _PROCESS,
        "tid": span.thread,
        "args": {
            "call": call.index,
            "kernel": call.kernel,
            "phase": span.phase,
            "work items": span.items,
            "schedule": call.schedule,
            "macs of the call": call.rates.macs,
            "bytes of the call": call.rates.bytes,
            "ONNX nodes": list(call.onnx_nodes),
        },
    }


def write_trace(path: Path, trace: dict[str, Any]) -> None:
    """Write the file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(trace) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
