"""Runs one command of score_sde and writes where its time went, as JSON.

python scripts/measured_command.py REPORT.json sample --workdir=runs/digits

Called by ``python scripts/benchmark_commands.py``. It measures from outside, by the events
of JAX and by the import statements of Python, so that it measures any version.
"""

import builtins
import importlib
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STAGES = {
    "/jax/core/compile/jaxpr_trace_duration": "traces",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "traces",
    "/jax/core/compile/backend_compile_duration": "compilations",
}
"""The stage of each event of JAX; lowering counts as a part of tracing."""


class Clock:
    """The seconds of the main thread in each stage, and the programs of JAX.

    Attributes:
        seconds: by stage; none is counted twice.
        programs: the names of the programs that were compiled, or read from the cache.
        traces: the number of functions that were traced.
        hits: the number of programs that the compilation cache had.
    """

    def __init__(self) -> None:
        stages = ("imports", "restores", "traces", "compilations")
        self.seconds: dict[str, float] = dict.fromkeys(stages, 0.0)
        self.programs: list[str] = []
        self.traces = self.hits = 0
        self._inside: set[str] = set()
        self._watched: set[str] = set()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, whose outermost calls are timed as a part of ``stage``."""

        def run(*args: Any, **options: Any) -> Any:
            is_inner = stage in self._inside
            if is_inner or threading.current_thread() is not threading.main_thread():
                return function(*args, **options)
            self._inside.add(stage)
            before, start = sum(self.seconds.values()), time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                others = sum(self.seconds.values()) - before
                self.seconds[stage] += time.perf_counter() - start - others
                self._inside.remove(stage)
                self._watch_new_modules()

        return run

    def _watch_new_modules(self) -> None:
        """Start to measure the libraries that have just been imported."""
        if "jax" in sys.modules and "jax" not in self._watched:
            self._watched.add("jax")  # first, since an import statement comes here again
            import jax

            jax.monitoring.register_event_duration_secs_listener(self._note_duration)
            jax.monitoring.register_event_listener(self._note)
        if "orbax.checkpoint" in sys.modules and "orbax" not in self._watched:
            self._watched.add("orbax")
            import orbax.checkpoint as ocp

            for kind in (ocp.Checkpointer, ocp.PyTreeCheckpointHandler):
                for name in ("restore", "metadata"):
                    setattr(kind, name, self.timed("restores", getattr(kind, name)))

    def _note_duration(self, event: str, duration_secs: float, **about: Any) -> None:
        if event not in STAGES:
            return
        self.seconds[STAGES[event]] += duration_secs
        if event.endswith("backend_compile_duration"):
            self.programs.append(str(about.get("fun_name")))
        self.traces += event.endswith("jaxpr_trace_duration")

    def _note(self, event: str, **about: Any) -> None:
        del about
        self.hits += event == "/jax/compilation_cache/cache_hits"


def main(report: Path, arguments: list[str]) -> int:
    """Run a command, and write the report, whatever the command's exit."""
    clock, start = Clock(), time.perf_counter()
    builtins.__import__ = clock.timed("imports", builtins.__import__)
    importlib.import_module = clock.timed("imports", importlib.import_module)
    try:
        from score_sde.cli import main as command

        return command(arguments)
    finally:
        total = time.perf_counter() - start
        found = {**clock.seconds, "run": total - sum(clock.seconds.values())}
        numbers = {"num_traces": clock.traces, "hits": clock.hits, "programs": clock.programs}
        report.write_text(json.dumps({**found, **numbers}), encoding="utf-8")


if __name__ == "__main__":
    del sys.path[0]  # the folder of the scripts
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
