"""The keys of Mask R-CNN in the experiments of TF Model Garden."""

from __future__ import annotations

from spinenet_tf.heads.experiment_keys import ExperimentKeys
from spinenet_tf.heads.mask_rcnn.options import BOX_CROP, MASK_CROP, MASK_SIZE

_MODEL, _LOSSES, _PARSER = "task.model", "task.losses", "task.train_data.parser"
_RPN, _BOXES, _MASKS = (f"{_MODEL}.{head}" for head in ("rpn_head", "detection_head", "mask_head"))
_GENERATOR, _SAMPLER, _DETECTIONS = (
    f"{_MODEL}.{part}" for part in ("roi_generator", "roi_sampler", "detection_generator")
)

EXPERIMENT = ExperimentKeys(
    options={
        "rpn_depth": f"{_RPN}.num_convs",
        "rpn_width": f"{_RPN}.num_filters",
        "num_scales": f"{_MODEL}.anchor.num_scales",
        "aspect_ratios": f"{_MODEL}.anchor.aspect_ratios",
        "anchor_size": f"{_MODEL}.anchor.anchor_size",
        "rpn_positive_iou": f"{_PARSER}.rpn_match_threshold",
        "rpn_negative_iou": f"{_PARSER}.rpn_unmatched_threshold",
        "rpn_samples": f"{_PARSER}.rpn_batch_size_per_im",
        "rpn_positive_share": f"{_PARSER}.rpn_fg_fraction",
        "rpn_huber_delta": f"{_LOSSES}.rpn_huber_loss_delta",
        "level_proposals": f"{_GENERATOR}.test_pre_nms_top_k",
        "level_proposals_training": f"{_GENERATOR}.pre_nms_top_k",
        "proposals": f"{_GENERATOR}.test_num_proposals",
        "proposals_training": f"{_GENERATOR}.num_proposals",
        "proposal_iou_threshold": (f"{_GENERATOR}.nms_iou_threshold", f"{_GENERATOR}.test_nms_iou_threshold"),
        "roi_samples": f"{_SAMPLER}.num_sampled_rois",
        "roi_positive_share": f"{_SAMPLER}.foreground_fraction",
        "roi_positive_iou": (f"{_SAMPLER}.foreground_iou_threshold", f"{_SAMPLER}.background_iou_high_threshold"),
        "mask_samples": f"{_MODEL}.mask_sampler.num_sampled_masks",
        "box_depth": f"{_BOXES}.num_convs",
        "box_width": f"{_BOXES}.num_filters",
        "fc_depth": f"{_BOXES}.num_fcs",
        "fc_width": f"{_BOXES}.fc_dims",
        "mask_depth": f"{_MASKS}.num_convs",
        "mask_width": f"{_MASKS}.num_filters",
        "box_huber_delta": f"{_LOSSES}.frcnn_huber_loss_delta",
        "score_threshold": f"{_DETECTIONS}.pre_nms_score_threshold",
        "iou_threshold": f"{_DETECTIONS}.nms_iou_threshold",
        "max_detections": f"{_DETECTIONS}.max_num_detections",
        "pre_nms_top_k": f"{_DETECTIONS}.pre_nms_top_k",
    },
    fixed={
        "rpn_normalizer": "model_garden",  # no key chooses what TF Model Garden divides this loss by
        "tower": "full",  # "auto" is "separable" on mobile nets
    },
    needed={
        f"{_MODEL}.include_mask": True,  # otherwise a Faster R-CNN
        f"{_SAMPLER}.cascade_iou_thresholds": None,  # otherwise a Cascade R-CNN
        # TF Model Garden's predictors after separable convs are separable too, and those of this package are not.
        **{f"{head}.use_separable_conv": False for head in (_RPN, _BOXES, _MASKS)},
        f"{_BOXES}.class_agnostic_bbox_pred": False,
        f"{_MASKS}.class_agnostic": False,
        f"{_MASKS}.upsample_factor": MASK_SIZE // MASK_CROP,
        f"{_MODEL}.roi_aligner.crop_size": BOX_CROP,
        f"{_MODEL}.mask_roi_aligner.crop_size": MASK_CROP,
    },
    same={
        f"{_MODEL}.outer_boxes_scale": (1.0,),
        f"{_MODEL}.roi_aligner.sample_offset": (0.5,),
        f"{_MODEL}.mask_roi_aligner.sample_offset": (0.5,),
        f"{_GENERATOR}.pre_nms_score_threshold": (0.0,),
        f"{_GENERATOR}.pre_nms_min_size_threshold": (0.0,),
        f"{_GENERATOR}.test_pre_nms_score_threshold": (0.0,),
        f"{_GENERATOR}.test_pre_nms_min_size_threshold": (0.0,),
        f"{_SAMPLER}.background_iou_low_threshold": (0.0,),
        f"{_SAMPLER}.mix_gt_boxes": (True,),
        f"{_PARSER}.mask_crop_size": (112,),
        "task.train_data.decoder.simple_decoder.mask_binarize_threshold": (None,),
        f"{_LOSSES}.frcnn_class_loss_top_k_percent": (1.0,),
        **{f"{_LOSSES}.{part}_weight": (1.0,) for part in ("rpn_score", "rpn_box", "frcnn_class", "frcnn_box", "mask")},
    },
)
