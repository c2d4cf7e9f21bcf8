"""The anchors of models that give raw maps. The graph does not hold them, so they are assumed.

The numbers are those of the models' own configurations, (width, height) in network pixels:
https://github.com/ultralytics/yolov5/tree/v7.0/models and
https://github.com/WongKinYiu/yolov7/tree/main/cfg/deploy
"""

import onnx

from sluice.models import Anchors

_YOLOV5: Anchors = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
_YOLOV7: Anchors = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
# YOLOv5 and YOLOv7 share these.
_FOUR_MAPS: Anchors = (
    ((19, 27), (44, 40), (38, 94)),
    ((96, 68), (86, 152), (180, 137)),
    ((140, 301), (303, 264), (238, 542)),
    ((436, 615), (739, 380), (925, 792)),
)
# The detecting module is the last: its number is the length of the model, which tells the family.
_YOLOV7_MODULES = ("model.105.", "model.121.")


def usual_anchors(model: onnx.ModelProto, maps: int) -> tuple[str, Anchors] | None:
    """Return the anchors that a model with so many raw maps has by default, and whose they are.

    None where no family has so many maps with three anchors a cell.
    """
    if maps == 4:
        return "YOLOv5 and YOLOv7 with four maps", _FOUR_MAPS
    if maps != 3:
        return None
    names = [tensor.name for tensor in model.graph.initializer]
    names += [node.name.replace("/", ".") + "." for node in model.graph.node]
    if any(module in name for name in names for module in _YOLOV7_MODULES):
        return "YOLOv7", _YOLOV7
    return "YOLOv5", _YOLOV5
