"""Object detection with any pooling in the backbone: detectors, COCO data, COCO evaluation, drawing."""

from sapool.detection.annotation_file import AnnotationFile, read_annotations
from sapool.detection.augment import BOX_AUGMENTATIONS, AugmentedBoxes
from sapool.detection.boxes import BoxDataset, Target, annotations_of, collate, make_target, without_crowds
from sapool.detection.coco import CocoBoxes, find_coco, ground_truth, write_coco
from sapool.detection.config import DETECTION_RECIPES, DetectConfig, read_detection_recipe
from sapool.detection.digits import ScatteredBoxes
from sapool.detection.drawing import draw_boxes, write_drawing
from sapool.detection.evaluation import (
    ClassPrecision,
    DetectionRecord,
    as_coco_results,
    detect,
    evaluate_results,
    write_results,
)
from sapool.detection.features import FeatureLevel, FeatureMaps, plan_backbone, planned_features, probe_features
from sapool.detection.memory import JoinedMaps, export_backbone, profile_backbone
from sapool.detection.models import DETECTORS, make_detector
from sapool.detection.splits import BOX_DATA_SETS, BoxSplits, load_boxes
from sapool.detection.training import DetectorRecord, train_detector

__all__ = [
    "AnnotationFile",
    "AugmentedBoxes",
    "BOX_AUGMENTATIONS",
    "BOX_DATA_SETS",
    "BoxDataset",
    "BoxSplits",
    "ClassPrecision",
    "CocoBoxes",
    "DETECTION_RECIPES",
    "DETECTORS",
    "DetectConfig",
    "DetectionRecord",
    "DetectorRecord",
    "FeatureLevel",
    "FeatureMaps",
    "JoinedMaps",
    "ScatteredBoxes",
    "Target",
    "annotations_of",
    "as_coco_results",
    "collate",
    "detect",
    "draw_boxes",
    "evaluate_results",
    "export_backbone",
    "find_coco",
    "ground_truth",
    "load_boxes",
    "make_detector",
    "make_target",
    "plan_backbone",
    "planned_features",
    "probe_features",
    "profile_backbone",
    "read_annotations",
    "read_detection_recipe",
    "train_detector",
    "without_crowds",
    "write_coco",
    "write_drawing",
    "write_results",
]
