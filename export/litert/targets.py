"""What a .tflite is written for: the choices that each kind of hardware needs, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spinenet_tf.export.check.verify import ExportError
from spinenet_tf.inference.inspection import inspect

INPUTS = ("float32", "uint8")
OUTPUTS = ("raw", "decoded", "detections", "postprocess")
MAX_RANK = 4  # of raw outputs' graphs, which every target takes
CUSTOM = "TFLite_Detection_PostProcess"

# What GPUs and NPUs of phones run of a SpineNet; one operation more, and they refuse the file.
ACCELERATED = frozenset(
    {
        *("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"),
        *("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN"),
        *("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "EXP", "LOGISTIC", "RELU", "RELU6", "HARD_SWISH"),
        *("CONCATENATION", "DEPTH_TO_SPACE", "PAD", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR"),
        *("QUANTIZE", "DEQUANTIZE"),
    }
)
# What LiteRT's CPU kernels run, but no delegate: written by mistake, these cut a graph into pieces.
UNWANTED = frozenset({"ADD_N", "TILE", "BROADCAST_TO", "SHAPE", "PACK", "STRIDED_SLICE", "VAR_HANDLE", "READ_VARIABLE"})


@dataclass(frozen=True)
class Target:
    """The choices for one kind of hardware."""

    upsampling: str  # as `nets.resample.NearestUpsample` is to write it
    inputs: tuple[str, ...]  # those of `INPUTS` that it takes, the default first
    outputs: tuple[str, ...]  # those of `OUTPUTS` that it runs, the default first
    ops: frozenset[str] | None = None  # all that it runs; None: whatever LiteRT's CPU kernels do

    @property
    def xnnpack(self) -> bool:
        """Whether XNNPACK runs it, for which int8 stems are rewritten: see `rewrites.stem`."""
        return self.upsampling == "concat"

    def takes(self, outputs: str, ops: set[str]) -> list[str]:
        """Return the operations among `ops` that it does not take in a file with these outputs."""
        if self.ops is not None:
            return sorted(ops - self.ops)
        # Decoding is for the CPU anyway, and small.
        refused = UNWANTED & ops if outputs == "raw" else set()
        return sorted(refused | {name for name in ops if name.startswith("Flex")})


# cpu: XNNPACK has no resize, and runs concatenation and depth-to-space: where the sides are multiples of 128, all is
# one partition. gpu, npu: one resize, and nothing behind the raw outputs. mediapipe: pixels in, and the custom
# operation behind that its tools read, which is the CPU's.
TARGETS = {
    "cpu": Target("concat", INPUTS, OUTPUTS),
    "gpu": Target("resize", ("float32",), ("raw",), ACCELERATED),
    "npu": Target("resize", INPUTS, ("raw",), ACCELERATED),
    "mediapipe": Target("concat", ("uint8",), ("postprocess",)),
}


def find_target(name: str, inputs: str | None, outputs: str | None) -> tuple[Target, str, str]:
    """Return a target, and the inputs and outputs of a file for it; None is its default.

    Raises:
        ValueError: an unknown name, or inputs or outputs that the target does not take.
    """
    if name not in TARGETS:
        raise ValueError(f"Valid targets are {tuple(TARGETS)}. Received: target={name!r}")
    target = TARGETS[name]
    inputs, outputs = inputs or target.inputs[0], outputs or target.outputs[0]
    if inputs not in target.inputs:
        raise ValueError(f"Valid inputs for the target {name} are {target.inputs}. Received: inputs={inputs!r}")
    if outputs not in target.outputs:
        raise ValueError(f"Valid outputs for the target {name} are {target.outputs}. Received: outputs={outputs!r}")
    return target, inputs, outputs


def check_graph(file: Path, target: Target, outputs: str) -> None:
    """Hold a .tflite against what its target runs.

    Raises:
        ExportError: it has an operation or a rank that the target refuses.
    """
    found = inspect(file)
    refused = target.takes(outputs, set(found.ops))
    if refused:
        raise ExportError(f"The target does not run the operations {refused} of this model. Received: {found.ops}")
    if outputs == "raw" and found.max_rank > MAX_RANK:
        raise ExportError(f"The target takes tensors of rank {MAX_RANK} at most. Received: rank={found.max_rank}")
