"""The options of Mask R-CNN, with the published values as defaults."""

from __future__ import annotations

from dataclasses import dataclass

from spinenet_tf.heads.detector import DetectionOptions
from spinenet_tf.nets.options import MAX_CHANNELS, option
from spinenet_tf.ops.anchors import AnchorSpec

TOWERS = ("auto", "full", "separable")
NORMALIZERS = ("samples", "model_garden")
MAX_ROIS = 1 << 16
MASK_CROP = 14  # side of the features that the mask head reads
MASK_SIZE = 2 * MASK_CROP  # side of a predicted mask
BOX_CROP = 7  # side of the features that the box head reads
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # scale the box deltas (y, x, height, width) of the box head


@dataclass(frozen=True)
class MaskRCNNOptions(DetectionOptions):
    """The options of Mask R-CNN; the defaults are those of SpineNet-49 in the TF1 zoo and in TF Model Garden.

    See `ops.anchors.AnchorSpec` for the anchors. A ROI (region of interest) is a box that the second stage classifies.
    """

    # Number of convs of the first stage, the region proposal network (RPN).
    rpn_depth: int = option(1, 0, 100, of_weights=True)
    rpn_width: int = option(256, 1, MAX_CHANNELS, of_weights=True)  # channels of these convs
    num_scales: int = option(1, 1, 100, of_weights=True)  # anchor sizes per octave
    aspect_ratios: tuple[float, ...] = option(AnchorSpec.aspect_ratios, above=0, of_weights=True)  # width / height
    anchor_size: float = option(AnchorSpec.size, above=0, of_weights=True)  # side of the smallest square, in strides
    # Kind of the 3x3 convs of the RPN and both ROI heads; "auto" is "separable" on mobile nets and "full" on others.
    tower: str = option("auto", choices=TOWERS, of_weights=True)
    rpn_positive_iou: float = option(0.7, 0, 1)  # anchors from this IoU on are positive
    rpn_negative_iou: float = option(0.3, 0, 1)  # anchors below this IoU with every box are negative
    rpn_samples: int = option(256, 1, MAX_ROIS)  # anchors per image that the score loss counts
    rpn_positive_share: float = option(0.5, 0, 1)  # maximum share of positives among them
    rpn_huber_delta: float = option(1 / 9, above=0)  # of the loss of the RPN's boxes
    # What the score loss of the RPN is divided by: "samples" is rpn_samples, as in the TF1 zoo; "model_garden" is
    # roi_samples, which halves this loss.
    rpn_normalizer: str = option("samples", choices=NORMALIZERS)

    level_proposals: int = option(1000, 1, MAX_ROIS)  # proposals of each level before NMS, when detecting
    level_proposals_training: int = option(2000, 1, MAX_ROIS)  # proposals of each level before NMS, in training
    proposals: int = option(1000, 1, MAX_ROIS)  # proposals of all levels after NMS, when detecting
    proposals_training: int = option(1000, 1, MAX_ROIS)  # proposals of all levels after NMS, in training
    proposal_iou_threshold: float = option(0.7, 0, 1)  # NMS drops a proposal with at least this IoU with a better one

    roi_samples: int = option(512, 1, MAX_ROIS)  # ROIs per image that the box head learns from
    roi_positive_share: float = option(0.25, 0, 1)  # maximum share of positives among them
    roi_positive_iou: float = option(0.5, 0, 1)  # ROIs from this IoU on are positive, all others are background
    mask_samples: int = option(128, 1, MAX_ROIS)  # ROIs per image that the mask head learns from

    box_depth: int = option(4, 0, 100, of_weights=True)  # number of convs of the box head
    box_width: int = option(256, 1, MAX_CHANNELS, of_weights=True)  # channels of these convs
    fc_depth: int = option(1, 0, 100, of_weights=True)  # number of dense layers after them
    fc_width: int = option(1024, 1, MAX_CHANNELS, of_weights=True)  # units of each dense layer
    mask_depth: int = option(4, 0, 100, of_weights=True)  # number of convs of the mask head before its upsampling
    mask_width: int = option(256, 1, MAX_CHANNELS, of_weights=True)  # channels of these convs
    box_huber_delta: float = option(1.0, above=0)  # of the loss of the box head's boxes

    iou_threshold: float = option(0.5, 0, 1)  # NMS drops a box with at least this IoU with a better one of its class
    pre_nms_top_k: int = option(5000, 1)  # number of candidates for NMS
    background: bool = option(False, of_weights=True)  # class 0 is the background, as in TF Model Garden
    plus_one: bool = option(False)  # corners of boxes are inclusive pixels, as in the TF1 zoo

    @property
    def first_channel(self) -> int:
        """The channel of class 0 in the second stage: channel 0 is the background."""
        return 0 if self.background else 1

    @property
    def score_normalizer(self) -> int:
        """The number per image that the score loss of the RPN is divided by."""
        return self.rpn_samples if self.rpn_normalizer == "samples" else self.roi_samples

    def channels(self, num_classes: int) -> int:
        """Return the number of channels of the second stage: the classes and the background."""
        return num_classes + self.first_channel

    def anchor_spec(self, min_level: int, max_level: int) -> AnchorSpec:
        """Return the spec of the anchors on these levels."""
        return AnchorSpec(min_level, max_level, self.num_scales, self.aspect_ratios, self.anchor_size)
