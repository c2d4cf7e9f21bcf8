"""Descriptions, told from outputs and metadata: each row of the table of decision 41."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sluice.errors import UnsupportedModel
from sluice.models import ChannelOrder, Layout, Placement, Task
from sluice.repository.description import Description, Overrides, describe
from sluice.repository.metadata import parse
from sluice.repository.onnx_file import GraphTensor, OnnxFile
from tests.support.graphs import NEWEST_OPSET, Value, constant_outputs

COCO = [f"name{i}" for i in range(80)]
ULTRALYTICS = {
    "task": "detect", "names": str(dict(enumerate(COCO))), "imgsz": "[640, 640]", "stride": "32",
    "head": "Detect", "end2end": "False", "args": "{'nms': None}", "batch": "1",
}  # fmt: skip


def metadata(task: str = "detect", classes: int = 80, **changes: str | None) -> dict[str, str]:
    """Metadata as Ultralytics writes it, with changes; None leaves a key out."""
    values = {**ULTRALYTICS, "task": task, "names": str(COCO[:classes]), **changes}
    return {key: value for key, value in values.items() if value is not None}


def described(
    outputs: Mapping[str, Value] | onnx.ModelProto,
    properties: Mapping[str, str] | None = None,
    overrides: Overrides | None = None,
    **graph: Any,
) -> Description:
    """The description of a tiny graph. The path has no meaning and no file."""
    made = outputs
    if not isinstance(made, onnx.ModelProto):
        made = constant_outputs(outputs, metadata=properties, **graph)
    file = OnnxFile.from_model(Path("nothing/v5-seg-pose.onnx"), made)
    return describe(file, parse(file.metadata), overrides or Overrides())


def given(**options: Any) -> Overrides:
    names = options.pop("names", COCO)
    return Overrides(names=tuple(names), **options)


def grid_table(strides: tuple[int, ...], side: int, values: int, decoded: bool) -> np.ndarray:
    """A table (1, A, values) with the centres of a grid, or with offsets of 0.3 cells."""
    cells = [
        (x * stride + stride / 2, y * stride + stride / 2)
        for stride in strides
        for y in range(side // stride)
        for x in range(side // stride)
    ]
    table = np.full((1, len(cells), values), 0.3, np.float32)
    if decoded:
        table[0, :, :2] = cells
    return table


PROTOTYPES = {"output1": (1, 32, 160, 160)}
ANCHOR_FREE, END, ANCHORS = Layout.ANCHOR_FREE, Layout.END_TO_END, Layout.ANCHORS
NMS = {"args": "{'nms': True}"}
END2END = {"end2end": "True"}

ROWS: list[tuple[str, dict[str, Value], dict[str, str], tuple[Task, Layout, int]]] = [
    ("v8 to 26", {"o": (1, 84, 8400)}, metadata(), (Task.DETECT, ANCHOR_FREE, 0)),
    ("v8-p6", {"o": (1, 84, 8500)}, metadata(), (Task.DETECT, ANCHOR_FREE, 0)),
    ("v3-tiny-u", {"o": (1, 84, 2000)}, metadata(), (Task.DETECT, ANCHOR_FREE, 0)),
    ("one class", {"o": (1, 5, 8400)}, metadata(classes=1), (Task.DETECT, ANCHOR_FREE, 0)),
    ("nms=True", {"o": (1, 300, 6)}, metadata(**NMS), (Task.DETECT, END, 0)),
    ("v10", {"o": (1, 300, 6)}, metadata(**END2END), (Task.DETECT, END, 0)),
    ("v10, one class", {"o": (1, 300, 6)}, metadata(classes=1, **END2END), (Task.DETECT, END, 0)),
    ("v10, two classes", {"o": (1, 300, 6)}, metadata(classes=2, **END2END), (Task.DETECT, END, 0)),
    ("-seg", {"o": (1, 116, 8400), **PROTOTYPES}, metadata("segment"),
     (Task.SEGMENT, ANCHOR_FREE, 32)),
    ("-seg, prototypes first", {**PROTOTYPES, "o": (1, 116, 8400)}, metadata("segment"),
     (Task.SEGMENT, ANCHOR_FREE, 32)),
    ("-seg, nms=True", {"o": (1, 300, 38), **PROTOTYPES}, metadata("segment", **NMS),
     (Task.SEGMENT, END, 32)),
    ("-seg, nms=True, 34 classes", {"o": (1, 300, 38), **PROTOTYPES},
     metadata("segment", 34, **NMS), (Task.SEGMENT, END, 32)),
    ("-pose", {"o": (1, 56, 8400)}, metadata("pose", 1, kpt_shape="[17, 3]"),
     (Task.POSE, ANCHOR_FREE, 51)),
    ("-pose, D=2", {"o": (1, 29, 8400)}, metadata("pose", 1, kpt_shape="[12, 2]"),
     (Task.POSE, ANCHOR_FREE, 24)),
    ("-pose, nms=True", {"o": (1, 300, 57)}, metadata("pose", 1, kpt_shape="[17, 3]", **NMS),
     (Task.POSE, END, 51)),
    ("-pose, 7 values nms=True", {"o": (1, 300, 10)},
     metadata("pose", 3, kpt_shape="[2, 2]", **NMS), (Task.POSE, END, 4)),
    ("-obb", {"o": (1, 20, 8400)}, metadata("obb", 15), (Task.OBB, ANCHOR_FREE, 1)),
    ("-obb, nms=True", {"o": (1, 300, 7)}, metadata("obb", 15, **NMS), (Task.OBB, END, 1)),
    ("-obb, end2end, 3 classes", {"o": (1, 300, 7)}, metadata("obb", 3, **END2END),
     (Task.OBB, END, 1)),
    ("RT-DETR before 8.4", {"o": (1, 300, 84)}, metadata(head=None, end2end=None, args=None),
     (Task.DETECT, Layout.QUERIES, 0)),
    ("RT-DETR", {"o": (1, 300, 6)}, metadata(head="RTDETRDecoder"),
     (Task.DETECT, Layout.RANKED_QUERIES, 0)),
    ("v5", {"o": (1, 25200, 85)}, {"stride": "32", "names": str(COCO)}, (Task.DETECT, ANCHORS, 0)),
    ("v5, one class", {"o": (1, 25200, 6)}, {"stride": "32", "names": "{0: 'a'}"},
     (Task.DETECT, ANCHORS, 0)),
    ("v5-p6", {"o": (1, 25500, 85)}, {"stride": "64", "names": str(COCO)},
     (Task.DETECT, ANCHORS, 0)),
    ("v3-tiny", {"o": (1, 6000, 85)}, {"stride": "32", "names": str(COCO)},
     (Task.DETECT, ANCHORS, 0)),
    ("v5-seg", {"o": (1, 25200, 117), **PROTOTYPES}, {"stride": "32", "names": str(COCO)},
     (Task.SEGMENT, ANCHORS, 32)),
    ("v5, not in place", {
        "a": (1, 3, 80, 80, 85), "b": (1, 3, 40, 40, 85), "c": (1, 3, 20, 20, 85),
        "o": (1, 25200, 85)}, {"stride": "32", "names": str(COCO)}, (Task.DETECT, ANCHORS, 0)),
    ("v9's own repository, with maps", {
        "a": (1, 144, 80, 80), "b": (1, 144, 40, 40), "c": (1, 144, 20, 20), "o": (1, 84, 8400)},
        {"names": str(COCO)}, (Task.DETECT, ANCHOR_FREE, 0)),
    ("selected inside", {"o": (1, 7, 300)}, metadata(classes=3), (Task.DETECT, ANCHOR_FREE, 0)),
    ("-cls", {"o": (1, 80)}, metadata("classify", imgsz="[224, 224]"),
     (Task.CLASSIFY, ANCHOR_FREE, 0)),
]  # fmt: skip


class TestTable:
    @pytest.mark.parametrize("opset", [11, NEWEST_OPSET])
    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
    def test_each_row_is_told(self, row: Any, opset: int) -> None:
        _, outputs, properties, expected = row
        description = described(outputs, properties, opset=opset)
        assert (description.task, description.layout, description.extras) == expected
        assert description.outputs[0].name == "o"
        assert [o.name for o in description.outputs[1:]] == ["output1"] * (expected[2] == 32)

    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
    def test_each_row_with_open_axes_is_told_by_a_run(self, row: Any) -> None:
        _, outputs, properties, expected = row
        declared = {
            name: ("batch", *[f"side{i}" for i in range(len(shape) - 1)])
            for name, shape in outputs.items()
        }
        properties = {**properties, "imgsz": "[640, 640]"}
        description = described(
            outputs,
            properties,
            image=("batch", 3, "height", "width"),
            declared=declared,
        )
        assert (description.task, description.layout, description.extras) == expected
        assert description.batch == -1
        assert description.outputs[0].shape == (-1,) * len(outputs["o"])

    def test_outputs_without_a_declared_shape_are_run(self) -> None:
        description = described({"o": (1, 84, 8400)}, metadata(), declared={"o": None})
        assert description.outputs == (GraphTensor("o", "FP32", (1, 84, 8400)),)

    def test_the_name_of_the_file_tells_nothing(self) -> None:
        made = constant_outputs({"o": (1, 84, 8400)}, metadata=metadata())
        for name in ("yolov5s-seg.onnx", "rtdetr-l.onnx", "yolov10n-cls.onnx"):
            file = OnnxFile.from_model(Path(name), made)
            description = describe(file, parse(file.metadata), Overrides())
            assert (description.task, description.layout) == (Task.DETECT, ANCHOR_FREE)

    def test_three_maps_alone_are_read_as_maps_by_rising_stride(self) -> None:
        outputs: dict[str, Value] = {
            "c": (1, 3, 20, 20, 85), "a": (1, 3, 80, 80, 85), "b": (1, 3, 40, 40, 85),
        }  # fmt: skip
        description = described(outputs, overrides=given())
        assert description.layout is Layout.MAPS
        assert [output.name for output in description.outputs] == ["a", "b", "c"]
        assert description.anchors is not None
        assert description.anchors[0][0] == (10, 13)
        assert any("those of YOLOv5 are assumed" in note for note in description.notes)

    def test_yolov7s_maps_have_other_anchors(self) -> None:
        outputs: dict[str, Value] = {
            "a": (1, 3, 80, 80, 85), "b": (1, 3, 40, 40, 85), "c": (1, 3, 20, 20, 85),
        }  # fmt: skip
        made = constant_outputs(outputs)
        made.graph.node[-1].name = "/model/model.105/Reshape"
        description = described(made, overrides=given())
        assert description.anchors is not None
        assert description.anchors[0][0] == (12, 16)
        own = (((1, 2),) * 3,) * 3
        assert described(outputs, overrides=given(anchors=own)).anchors == own
        with pytest.raises(UnsupportedModel, match="--anchors"):
            described(outputs, overrides=given(anchors=own[:2]))

    def test_rows_without_a_batch_axis_are_yolov7s(self) -> None:
        outputs: dict[str, Value] = {"o": np.ones((4, 7), np.float32)}
        description = described(
            outputs, overrides=given(), declared={"o": ("rows", 7)}, operators=["Identity"]
        )
        assert (description.task, description.layout) == (Task.DETECT, Layout.ROWS)
        assert description.outputs == (GraphTensor("o", "FP32", (-1, 7)),)

    def test_rows_of_an_open_batch_are_told_by_the_operator(self) -> None:
        made = constant_outputs(
            {"o": np.ones((4, 7), np.float32)},
            image=("batch", 3, 640, 640),
            declared={"o": ("rows", 7)},
        )
        made.graph.node.append(helper.make_node("NonMaxSuppression", ["a", "b"], ["c"]))
        description = described(made, overrides=given())
        assert description.layout is Layout.ROWS
        assert description.batch == 1
        assert description.input.shape == (1, 3, 640, 640)

    def test_a_classifier_of_seven_classes_is_none_of_rows(self) -> None:
        description = described(
            {"o": (1, 7)},
            metadata("classify", 7, imgsz="[64, 64]"),
            image=("batch", 3, "height", "width"),
            declared={"o": ("batch", 7)},
        )
        assert description.task is Task.CLASSIFY

    def test_the_last_of_two_whole_heads_is_used(self) -> None:
        description = described({"a": (1, 84, 8400), "b": (1, 84, 8400)}, metadata())
        assert [output.name for output in description.outputs] == ["b"]
        assert any("last of them is used: b." in note for note in description.notes)


class TestNumbersOfOneRun:
    """Sizes alone do not tell these apart."""

    def test_two_classes_of_queries_from_rows_with_a_class_id(self) -> None:
        rows = np.full((1, 300, 6), 0.4, np.float32)
        assert described({"o": rows}, overrides=given(names="ab")).layout is Layout.QUERIES
        rows[..., 5] = 1
        assert described({"o": rows}, overrides=given(names="ab")).layout is Layout.RANKED_QUERIES
        rows[0, 0, :4] = 300
        rows[0, 1:] = 0
        assert described({"o": rows}, overrides=given(names="ab")).layout is END
        rows[:] = 0
        assert described({"o": rows}, overrides=given(names="ab")).layout is END

    def test_a_suppressing_operator_tells_without_a_run(self) -> None:
        made = constant_outputs({"o": np.full((1, 300, 6), 0.4, np.float32)})
        made.graph.node.append(
            helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["kept"])
        )  # the graph can't be loaded
        assert described(made, overrides=given(names="ab")).layout is END

    def test_yolox_with_and_without_its_grid(self) -> None:
        raw = grid_table((8, 16, 32), 640, 85, decoded=False)
        description = described({"output": raw}, overrides=given())
        assert description.layout is Layout.GRID
        decoded = grid_table((8, 16, 32), 640, 85, decoded=True)
        assert described({"output": decoded}, overrides=given()).layout is ANCHORS
        for table in (raw, decoded):
            description = described({"output": table}, overrides=given())
            assert description.letterbox is Placement.CORNER
            assert description.channel_order is ChannelOrder.BGR
            assert description.pixel_max == 255
            assert any("YOLOX" in note for note in description.notes)

    def test_yolox_from_yolov6_by_the_objectness_and_from_ultralytics_by_a_name(self) -> None:
        table = grid_table((8, 16, 32), 640, 85, decoded=True)
        assert described({"output0": table}, overrides=given()).letterbox is Placement.CENTRE
        table[..., 4] = 1
        description = described({"outputs": table}, overrides=given())
        assert description.layout is ANCHORS
        assert description.letterbox is Placement.CENTRE
        assert description.pixel_max == 1

    def test_a_person_may_say_that_the_grid_is_not_applied(self) -> None:
        table = grid_table((8, 16, 32), 640, 85, decoded=True)
        description = described({"o": table}, overrides=given(layout=Layout.GRID))
        assert description.layout is Layout.GRID
        assert description.letterbox is Placement.CORNER

    def test_a_person_knows_better(self) -> None:
        table = grid_table((8, 16, 32), 640, 85, decoded=False)
        description = described(
            {"o": table},
            overrides=given(
                layout=ANCHORS, letterbox=Placement.CENTRE, channel_order=ChannelOrder.RGB,
                pixel_max=1,
            ),
        )  # fmt: skip
        assert description.layout is ANCHORS
        assert description.letterbox is Placement.CENTRE
        assert description.channel_order is ChannelOrder.RGB
        assert description.pixel_max == 1

    def test_logits_of_a_classifier_are_noted(self) -> None:
        logits = np.array([[3, -1, 2]], np.float32)
        description = described({"o": logits}, overrides=given(names="abc"), image=(1, 3, 224, 224))
        assert any("logits" in note for note in description.notes)
        even = np.full((1, 3), 1 / 3, np.float32)
        description = described({"o": even}, overrides=given(names="abc"), image=(1, 3, 224, 224))
        assert not description.notes


class TestPreparation:
    def test_queries_take_stretched_images(self) -> None:
        description = described({"o": (1, 300, 84)}, metadata(head=None, end2end=None))
        assert description.letterbox is Placement.STRETCH
        assert (description.channel_order, description.pixel_max) == (ChannelOrder.RGB, 1)

    def test_a_rectangular_classifier_takes_stretched_images(self) -> None:
        properties = metadata("classify", 3)
        third = np.full((1, 3), 1 / 3, np.float32)
        wide = described({"o": third}, properties, image=(1, 3, 224, 320))
        assert wide.letterbox is Placement.STRETCH
        square = described({"o": third}, properties, image=(1, 3, 224, 224))
        assert square.letterbox is Placement.CENTRE


class TestInput:
    def test_fixed_sides_are_those_of_the_canvas(self) -> None:
        description = described({"o": (1, 84, 126)}, metadata(), image=(1, 3, 64, 96))
        assert description.imgsz == (64, 96)
        assert not description.notes

    def test_another_size_for_fixed_sides_is_refused(self) -> None:
        with pytest.raises(UnsupportedModel, match="fixed to 640 x 640 pixels, so --imgsz 320,320"):
            described({"o": (1, 84, 8400)}, metadata(), given(imgsz=(320, 320)))
        assert described({"o": (1, 84, 8400)}, metadata(), given(imgsz=(640, 640)))

    @pytest.mark.parametrize(
        ("overrides", "size", "noted"),
        [
            (None, (640, 640), False),
            ((320, 480), (320, 480), False),
            ((321, 1536), (352, 1536), True),
        ],
    )
    def test_open_sides_take_the_option_or_the_metadata(
        self, overrides: tuple[int, int] | None, size: tuple[int, int], noted: bool
    ) -> None:
        rows = sum(size[0] // s * (size[1] // s) for s in (8, 16, 32))
        description = described(
            {"o": (1, 84, rows)},
            metadata(),
            given(imgsz=overrides),
            image=(1, 3, "height", "width"),
            declared={"o": (1, 84, "anchors")},
        )
        assert description.imgsz == size
        assert description.input.shape == (1, 3, -1, -1)
        assert any("rounded up to 352" in note for note in description.notes) is noted

    def test_a_size_that_nobody_gives_is_a_default_with_a_note(self) -> None:
        open_image = ("batch", 3, "height", "width")
        names = {"names": str(COCO)}
        description = described({"o": (1, 84, 8400)}, names, image=open_image)
        assert description.imgsz == (640, 640)
        assert any("--imgsz" in note for note in description.notes)
        assert described({"o": (1, 80)}, names, image=open_image).imgsz == (224, 224)

    @pytest.mark.parametrize(
        ("image", "dtype", "last", "channels", "batch"),
        [
            ((1, 3, 640, 640), TensorProto.FLOAT, False, 3, 1),
            ((4, 3, 640, 640), TensorProto.FLOAT16, False, 3, 4),
            (("n", 640, 640, 3), TensorProto.UINT8, True, 3, -1),
            ((1, 1, 640, 640), TensorProto.FLOAT, False, 1, 1),
            (("n", "c", "h", "w"), TensorProto.FLOAT, False, 3, -1),
        ],
    )
    def test_channels_and_batch_are_told(
        self, image: tuple[Any, ...], dtype: int, last: bool, channels: int, batch: int
    ) -> None:
        description = described({"o": (1, 84, 8400)}, metadata(), image=image, dtype=dtype)
        assert description.channels_last is last
        assert description.channels == channels
        assert description.batch == batch

    def test_grey_images_for_open_channels_are_told_by_the_metadata(self) -> None:
        properties = metadata(channels="1")
        made = described({"o": (1, 84, 8400)}, properties, image=("n", "c", "h", "w"))
        assert made.channels == 1

    def test_a_graph_that_fails_at_a_size_says_so(self) -> None:
        made = constant_outputs(
            {"o": (1, 84, 8400)},
            metadata=metadata(),
            image=(1, 3, "height", "width"),
            declared={"o": (1, 84, "anchors")},
        )
        made.graph.node.append(helper.make_node("Expand", ["images", "o.shape"], ["broken"]))
        made.graph.output.append(
            helper.make_tensor_value_info("broken", TensorProto.FLOAT, ["a", "b", "c"])
        )
        with pytest.raises(UnsupportedModel, match=r"fails on an input of .*--imgsz"):
            described(made)


class TestNames:
    @pytest.mark.parametrize(
        ("outputs", "properties"),
        [
            ({"o": (1, 84, 8400)}, metadata(classes=3)),
            ({"o": (1, 84, 8400)}, metadata(classes=79)),
            ({"o": (1, 8400, 85)}, metadata(classes=3)),
            ({"o": (1, 25200, 85)}, {"names": "['a', 'b', 'c']"}),
            ({"o": (1, 116, 8400), **PROTOTYPES}, metadata("segment", 3)),
            ({"o": (1, 112 + 24, 8400)}, metadata("pose", 3, kpt_shape="[26, 2]")),
            ({"o": (1, 85, 8400)}, metadata("obb", 3)),
            ({"o": (1, 80)}, metadata("classify", 3)),
            ({"o": (1, 80)}, {"names": "['a', 'b', 'c']"}),
        ],
    )
    def test_names_that_do_not_fit_are_refused_with_both_numbers(
        self, outputs: dict[str, Value], properties: dict[str, str]
    ) -> None:
        count = len(parse(properties).names or ())
        with pytest.raises(UnsupportedModel, match=f"{count} class names don't fit") as error:
            described(outputs, properties)
        assert "80 classes" in str(error.value)
        assert "--names" in str(error.value)

    def test_more_names_than_an_option_gives_are_asked_for(self) -> None:
        with pytest.raises(UnsupportedModel, match="give --names with the names of its 80 classes"):
            described({"o": (1, 84, 8400)})
        with pytest.raises(UnsupportedModel, match="give --names with the names of its classes"):
            described({"o": (1, 300, 6)}, metadata(**{**END2END, "names": None}))

    def test_the_reason_of_unreadable_names_is_told(self) -> None:
        with pytest.raises(UnsupportedModel, match="names='cat, dog' is left out"):
            described({"o": (1, 84, 8400)}, {"names": "cat, dog"})

    def test_an_option_replaces_the_names_of_the_file(self) -> None:
        names = tuple(f"other{i}" for i in range(80))
        description = described({"o": (1, 84, 8400)}, metadata(classes=3), Overrides(names=names))
        assert description.names == names

    def test_yolox_of_one_class_is_no_end_to_end_model(self) -> None:
        with pytest.raises(UnsupportedModel, match=r"80 class names.* 1 class;"):
            described({"o": (1, 8400, 6)}, overrides=given())


class TestKeypoints:
    def test_two_forms_that_fit_are_asked_for(self) -> None:
        properties = metadata("pose", 1)
        with pytest.raises(UnsupportedModel, match="--kpt-shape 4,3 or --kpt-shape 6,2"):
            described({"o": (1, 17, 8400)}, properties)
        overrides = Overrides(kpt_shape=(6, 2))
        assert described({"o": (1, 17, 8400)}, properties, overrides).kpt_shape == (6, 2)

    @pytest.mark.parametrize(("values", "shape"), [(51, (17, 3)), (34, (17, 2))])
    def test_one_form_that_fits_is_taken(self, values: int, shape: tuple[int, int]) -> None:
        description = described({"o": (1, 5 + values, 8400)}, metadata("pose", 1))
        assert description.kpt_shape == shape

    def test_a_shape_that_does_not_fit_is_refused(self) -> None:
        overrides = Overrides(kpt_shape=(20, 3))
        with pytest.raises(UnsupportedModel, match="no task pose with 20 keypoints of 3 values"):
            described({"o": (1, 56, 8400)}, metadata("pose", 1), overrides)

    def test_other_tasks_have_none(self) -> None:
        description = described({"o": (1, 84, 8400)}, metadata(kpt_shape="[17, 3]"))
        assert description.kpt_shape is None


class TestRefusals:
    @pytest.mark.parametrize(
        "outputs",
        [
            {"boxes": (1, 8400, 4), "scores": (1, 8400, 80)},
            {"scores": (1, 300, 80), "boxes": (1, 300, 4)},
            {"p3": (1, 255, 80, 80), "p4": (1, 255, 40, 40), "p5": (1, 255, 20, 20)},
            {"mask": (1, 19, 640, 640)},
            {"features": (1, 256, 20, 20)},
            {"o": (1, 3, 4)},
            {"boxes": (1, 100, 4), "scores": (1, 100)},
            {"ids": np.zeros((1, 84, 8400), np.int64)},
            {"o": (2, 84, 8400)},
        ],
    )
    @pytest.mark.parametrize("names", [None, COCO])
    def test_unknown_outputs_are_refused_with_their_sizes(
        self, outputs: dict[str, Value], names: list[str] | None
    ) -> None:
        overrides = Overrides(names=tuple(names) if names else None)
        with pytest.raises(UnsupportedModel, match="none is one that Sluice serves") as error:
            described(outputs, overrides=overrides)
        assert all(name in str(error.value) for name in outputs)

    def test_a_table_of_unusual_sizes_needs_somebody_who_knows_it(self) -> None:
        for shape in ((1, 26, 37), (1, 300, 84)):
            with pytest.raises(UnsupportedModel, match="give --names, --task and --layout"):
                described({"text": shape})
        description = described({"o": (1, 26, 37)}, overrides=given(names=COCO[:33]))
        assert description.layout is Layout.QUERIES
        with pytest.raises(UnsupportedModel, match="names of its 80 classes"):
            described({"o": (1, 300, 84)}, overrides=Overrides(layout=Layout.QUERIES))

    def test_an_option_against_the_outputs_is_refused(self) -> None:
        for options in ({"task": Task.SEGMENT}, {"layout": Layout.ROWS}, {"task": Task.CLASSIFY}):
            with pytest.raises(UnsupportedModel, match=r"fit no (task|layout)"):
                described({"o": (1, 84, 8400)}, metadata(), given(**options))

    def test_metadata_against_the_outputs_is_refused_and_an_option_helps(self) -> None:
        properties = metadata("segment")
        with pytest.raises(UnsupportedModel, match="fit no task segment"):
            described({"o": (1, 84, 8400)}, properties)
        description = described({"o": (1, 84, 8400)}, properties, Overrides(task=Task.DETECT))
        assert description.task is Task.DETECT

    def test_an_unknown_task_is_told_with_the_outputs(self) -> None:
        with pytest.raises(UnsupportedModel, match="task='semantic' is left out"):
            described({"mask": (1, 19, 640, 640)}, metadata("semantic", 19))

    def test_a_rotated_box_is_only_read_where_somebody_says_so(self) -> None:
        with pytest.raises(UnsupportedModel, match="--task obb"):
            described({"o": (1, 84, 8400)}, overrides=given(names=COCO[:79]))
        overrides = given(names=COCO[:79], task=Task.OBB)
        assert described({"o": (1, 84, 8400)}, overrides=overrides).extras == 1
