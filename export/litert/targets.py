"""The hardware targets of a .tflite: their graph options, and the operations that they support."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spinenet_tf.export.check.verify import ExportError
from spinenet_tf.inference.coverage import MAX_RANK
from spinenet_tf.inference.inspection import Inspection, inspect

INPUTS = ("float32", "uint8")
OUTPUTS = ("raw", "decoded", "detections", "postprocess", "probabilities")
CUSTOM = "TFLite_Detection_PostProcess"

# LiteRT's CPU kernels support these operations, but no delegate does: they would split the graph into partitions.
UNWANTED = frozenset({"ADD_N", "TILE", "BROADCAST_TO", "SHAPE", "PACK", "VAR_HANDLE", "READ_VARIABLE"})


@dataclass(frozen=True)
class Target:
    """The options for one kind of hardware."""

    upsampling: str  # of `nets.nearest.pick`
    inputs: tuple[str, ...]  # the supported `INPUTS`, default first
    outputs: tuple[str, ...]  # the supported `OUTPUTS`, default first
    engine: str | None = None  # the engine of `inference.coverage` that runs the whole file; None: LiteRT's CPU kernels
    mediapipe: bool = False  # for MediaPipe Tasks, which need TFLite Model Metadata and stretch images

    @property
    def xnnpack(self) -> bool:
        """Whether XNNPACK runs the file; then int8 stems are rewritten (`rewrites.stem`)."""
        return self.upsampling == "concat"

    def refused(self, outputs: str, found: Inspection) -> list[str]:
        """Return the operations of a file with these outputs that the target does not support."""
        if self.engine:
            return sorted(found.engines[self.engine].leaves)
        # Decoding always runs on the CPU and is cheap, so other operations are allowed there.
        unwanted = UNWANTED & set(found.ops) if outputs == "raw" else set()
        return sorted(unwanted | {name for name in found.ops if name.startswith("Flex")})


# cpu: XNNPACK has no resize but supports concatenation, depth-to-space and slices, so that the graph is one partition.
# gpu, npu: resize, raw outputs only. mediapipe: pixel input, and the outputs that its ObjectDetector and its
# ImageClassifier expect; the custom operation runs on the CPU.
TARGETS = {
    "cpu": Target("concat", INPUTS, OUTPUTS),
    "gpu": Target("resize", ("float32",), ("raw",), "GPU"),
    "npu": Target("resize", INPUTS, ("raw",), "NPU"),
    "mediapipe": Target("concat", ("uint8",), ("postprocess", "probabilities"), mediapipe=True),
}


def find_target(
    name: str, inputs: str | None, outputs: str | None, known: tuple[str, ...] = OUTPUTS, selects: bool = False
) -> tuple[Target, str, str]:
    """Return a target by name, and the inputs and outputs of a file for it; None means the target's default.

    The default outputs are the first that the model also supports; `known` are those of the model, whose net selects
    the detections itself if `selects`.

    Raises:
        ValueError: the name is unknown, or the target does not support the inputs, the outputs or such a net.
    """
    if name not in TARGETS:
        raise ValueError(f"Valid targets are {tuple(TARGETS)}. Received: target={name!r}")
    target = TARGETS[name]
    if selects and target.engine:
        reason = "selects the detections inside the net, with operations that no GPU or NPU supports"
        raise ValueError(f"This model {reason}: use the target cpu. Received: target={name!r}")
    if selects and target.mediapipe:
        raise ValueError(
            f"MediaPipe's tasks have no detections with masks: use the target cpu. Received: target={name!r}"
        )
    inputs = inputs or target.inputs[0]
    outputs = outputs or next((kind for kind in target.outputs if kind in known), target.outputs[0])
    if inputs not in target.inputs:
        raise ValueError(f"Valid inputs for the target {name} are {target.inputs}. Received: inputs={inputs!r}")
    if outputs not in target.outputs:
        raise ValueError(f"Valid outputs for the target {name} are {target.outputs}. Received: outputs={outputs!r}")
    return target, inputs, outputs


def check_graph(file: Path, target: Target, outputs: str) -> None:
    """Check that the target supports every operation of a .tflite file, with the types and ranks of its tensors.

    Raises:
        ExportError: the target does not support an operation, a type or a rank.
    """
    found = inspect(file)
    refused = target.refused(outputs, found)
    if refused:
        reason = f"The target does not support the operations {refused}, or the types or ranks of their tensors"
        raise ExportError(f"{reason}. Received: {found.ops}")
    if outputs == "raw" and found.max_rank > MAX_RANK:
        raise ExportError(f"The target supports tensors up to rank {MAX_RANK}. Received: rank={found.max_rank}")
