from small_detector import detector, exported, images

__all__ = ["detector", "exported", "images"]
