from small_detector import classifier, detector, exported, images, stirred

__all__ = ["classifier", "detector", "exported", "images", "stirred"]
