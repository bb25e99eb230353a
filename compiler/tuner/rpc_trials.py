"""Link kernels into libraries that boards load for a trial."""

from __future__ import annotations

from pathlib import Path

from compiler.artifact.cpu_check import cpu_check_source
from compiler.program import CompiledKernel
from compiler.target_spec import TargetSpec, required_cpu_features
from compiler.toolchain import run_tool
from compiler.tuner import trial_files
from compiler.tuner.trial import KernelData
from compiler.tuner.trial_board import TrialLibrary
from compiler.tuner.trial_objects import TrialObjects, renamed_object

_SOURCES = (
    *("rpc_board.c", "rpc_trial.c"),
    *("board_words.h", "trial_call.h", "tvm_ffi_abi.h"),
)


class RpcTrials:
    """A folder with what libraries are linked of, each object compiled once."""

    def __init__(self, spec: TargetSpec, folder: Path) -> None:
        """Raises:
        ToolchainError: the target's compiler is not there.
        """
        self._macos = spec.llvm.is_macos
        self._objects = TrialObjects(spec, folder, _SOURCES)
        self._harness = self._objects.compiled("src/rpc_trial.c")
        check = cpu_check_source(
            required_cpu_features(spec), architecture=spec.llvm.architecture, macos=self._macos
        )
        asked = (
            self._objects.compiled("src/rpc_board.c"),
            self._objects.compiled("src/cpu_check.c", check),
        )
        self.questions = folder / f"questions{self._suffix}"
        self._link(folder, self.questions, asked)

    def build(self, kernel: CompiledKernel, data: KernelData, folder: Path) -> TrialLibrary:
        """Put the kernel's library into `folder`.

        Raises:
            ToolchainError: it cannot be linked.
        """
        code = folder / "kernel.o"
        code.write_bytes(renamed_object(kernel))
        called = self._objects.of_calls(kernel, trial_files.pointer_count(kernel, data))
        library = folder / f"trial{self._suffix}"
        self._link(folder, library, (self._harness, code.name, *called))
        return TrialLibrary(path=library, call=trial_files.encoded_call(kernel, data))

    @property
    def _suffix(self) -> str:
        return ".dylib" if self._macos else ".so"  # TVM loads what ends like a library

    def _link(self, folder: Path, library: Path, objects: tuple[str, ...]) -> None:
        # Else what is missing would be found out on the board only.
        whole = () if self._macos else ("-Wl,-z,defs",)
        command = (*self._objects.toolchain.cc, "-shared", *whole, "-o", library.name, *objects)
        run_tool((*command, "-lm"), folder=folder)
