"""Load an artifact and run it on NumPy arrays. Needs NumPy only."""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from compiler import library_abi as abi
from compiler.artifact.manifest import Artifact, read_artifact
from compiler.errors import ArtifactError, InputError, LimitError, OtherMachineError
from compiler.library_arrays import checked_inputs, pointers, tensor_specs

_MACHINE_NAMES = {"AMD64": "x86_64", "arm64": "aarch64"}  # as in a triple
_SYSTEM_NAMES = {"linux": "Linux", "darwin": "macOS"}


def load(path: str | Path, threads: int = 1) -> Library:
    """Return the library of the artifact in the folder `path`.

    Args:
        threads: how many threads share the work of one call, the calling one included.

    Raises:
        ArtifactError: the artifact is damaged or of another version.
        OtherMachineError: it was made for another processor or system; names what is missing.
        InputError: `threads` is less than 1.
    """
    artifact = read_artifact(Path(path))
    _refuse_other_system(artifact)
    try:
        model = abi.open_model(_unique_spelling(artifact), artifact.manifest.symbol_prefix)
    except (OSError, AttributeError, ValueError) as cause:
        raise ArtifactError(
            f"{artifact.path}: {artifact.manifest.shared_library} cannot be loaded",
            why=str(cause),
            fix="compile the model again on this machine",
        ) from cause
    _refuse_other_cpu(artifact, model)
    return Library(artifact, model, _checked_threads(threads))


class Library:
    """A loaded model. Any number of threads may call `run` at the same time.

    Each call that runs at the same time as another has a session, with an arena of its own;
    sessions are kept for later calls until `close`.
    """

    def __init__(self, artifact: Artifact, model: abi.Model, threads: int) -> None:
        self.artifact = artifact
        self.inputs = tensor_specs(artifact.manifest.inputs)
        self.outputs = tensor_specs(artifact.manifest.outputs)
        self.threads = threads
        self._model = model
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._is_closed = False

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name. A bfloat16 array is passed as the uint16 of its bits.

        Raises:
            InputError: an array has the wrong name, dtype or shape, or the library is closed.
            LimitError: there is not enough memory.
        """
        session = self._take()
        try:
            return session.run(inputs)
        finally:
            self._give_back(session)

    def session(self, threads: int | None = None) -> Session:
        """Return a session, for one call at a time; `threads` as in `load`, whose is the default.

        Raises:
            InputError: `threads` is less than 1.
            LimitError: there is not enough memory, or no thread could be started.
        """
        threads = self.threads if threads is None else threads
        return Session(self, self._model, _checked_threads(threads))

    def close(self) -> None:
        """Free the sessions of `run`, those in use when their call ends."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self) -> Session:
        with self._lock:
            if self._is_closed:
                raise _closed("library")
            if self._idle:
                return self._idle.pop()
        return self.session()

    def _give_back(self, session: Session) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(session)
                return
        session.close()


class Session:
    """Arena and threads of their own. Serves one call at a time."""

    def __init__(self, library: Library, model: abi.Model, threads: int) -> None:
        self._handle = ctypes.c_void_p()
        self._library = library
        self._model = model
        self.threads = threads
        size = ctypes.sizeof(abi.Options)
        options = abi.Options(struct_size=size, threads=threads)
        error = model.create(ctypes.byref(self._handle), ctypes.byref(options))
        if error == abi.E_MEMORY:
            raise LimitError(
                f"{library.artifact.path}: no session could be made",
                why=f"it needs {_session_bytes(library, threads):,} bytes and {threads} threads; "
                "memory or threads could not be had",
                fix="free some memory, or use fewer threads",
            )
        if error == abi.E_DEVICE:
            raise OtherMachineError(
                f"{library.artifact.path}: no session could be made",
                why="the GPU's driver refused to load the library's device code",
                fix="update the driver, or compile the model with an older CUDA toolkit",
            )
        if error != abi.OK:
            raise _unexpected(model, error)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name, as `Library.run`.

        Raises:
            InputError: an array has the wrong name, dtype or shape, the session is closed, or it
                is running another call.
        """
        if not self._handle:
            raise _closed("session")
        arrays = checked_inputs(self._library.inputs, inputs)
        outputs = [np.empty(spec.shape, spec.array_dtype) for spec in self._library.outputs]
        error = self._model.session_run(self._handle, pointers(arrays), pointers(outputs))
        if error == abi.E_BUSY:
            raise InputError(
                "the session is running another call",
                why="its arena holds one call's values",
                fix="give each thread a session of its own, or call Library.run",
            )
        if error != abi.OK:
            raise _unexpected(self._model, error)
        names = (spec.name for spec in self._library.outputs)
        return dict(zip(names, outputs, strict=True))

    def close(self) -> None:
        """Free memory and threads. Not while a call runs."""
        handle, self._handle = self._handle, ctypes.c_void_p()
        self._model.destroy(handle)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()


def _session_bytes(library: Library, threads: int) -> int:
    memory = library.artifact.manifest.memory
    return memory.arena_bytes + (threads - 1) * memory.worker_scratch_bytes


def _checked_threads(threads: int) -> int:
    if threads < 1:
        raise InputError(
            f"threads={threads} is not possible",
            why="the calling thread always takes part",
            fix="give 1 or more",
        )
    return threads


def _refuse_other_system(artifact: Artifact) -> None:
    target = artifact.manifest.target
    architecture = target.triple.split("-", 1)[0]
    machine = _MACHINE_NAMES.get(platform.machine(), platform.machine())
    needed = "macOS" if "-apple-macos" in target.triple else "Linux"
    same_system = _SYSTEM_NAMES.get(sys.platform) == needed
    if architecture != machine or not same_system:
        needs = "" if same_system else f"it needs {needed}, "
        raise OtherMachineError(
            f"{artifact.path} was compiled for {target.triple}",
            why=f"{needs}this machine is {machine} with {sys.platform}",
            fix="compile the model for this machine, or run it where it was compiled for",
        )


def _refuse_other_cpu(artifact: Artifact, model: abi.Model) -> None:
    missing = model.missing_cpu_feature()
    if missing is not None and artifact.manifest.target.family == "gpu":
        raise OtherMachineError(
            f"{artifact.path} needs {missing.decode()}",
            why=f"it was compiled for the GPUs of {artifact.manifest.target.name}; this machine "
            "does not offer that",
            fix="run it on a machine with such a GPU and its driver, or compile the model with "
            "--target host",
        )
    if missing is not None:
        raise OtherMachineError(
            f"{artifact.path} needs the CPU feature {missing.decode()}",
            why=f"it was compiled for {artifact.manifest.target.name}; this machine or its "
            "operating system does not offer that feature",
            fix="compile the model with --target host, or run it on such a machine",
        )


def _unique_spelling(artifact: Artifact) -> str:
    """Return a path of the shared library that is spelt differently for other content.

    glibc gives back what it loaded before from an equal path, even if there is another file
    there now. Each bit of the digest's first 16 digits is one slash or two.
    """
    shared = artifact.library_path.relative_to(artifact.path)
    digest = int(artifact.manifest.files[shared.as_posix()][:16], 16)
    slashes = "".join("./" if digest >> bit & 1 else ".//" for bit in range(64))
    return f"{(artifact.path / shared).parent.resolve()}/{slashes}{shared.name}"


def _closed(what: str) -> InputError:
    return InputError(
        f"the {what} is closed",
        why="its memory was given back",
        fix="load the artifact again" if what == "library" else "make another session",
    )


def _unexpected(model: abi.Model, error: int) -> RuntimeError:
    return RuntimeError(f"tunesmith error {error}: {model.error_string(error).decode()}")
