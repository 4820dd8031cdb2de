"""Compare predictions with ground truth: COCO AP, accuracy, confusion matrices, and reports."""
