from small_detector import classifier, classifier_file, detector, exported, files_by_kind, images, stirred

__all__ = ["classifier", "classifier_file", "detector", "exported", "files_by_kind", "images", "stirred"]
