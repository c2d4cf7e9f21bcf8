"""Reading ONNX files, and refusing what is none, with what to do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sluice.errors import UnsupportedModel
from sluice.repository import onnx_file
from sluice.repository.onnx_file import GraphTensor, channels_last, read
from tests.support.graphs import NEWEST_OPSET, constant_outputs, save

DETECTOR = {"output0": (1, 84, 8400)}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("opset", [11, NEWEST_OPSET])
def test_a_model_gives_its_signature(tmp_path: Path, opset: int) -> None:
    made = constant_outputs(
        DETECTOR,
        image=("batch", 3, "height", 640),
        declared={"output0": ("batch", 84, "anchors")},
        metadata={"task": "detect"},
        opset=opset,
    )
    file = read(save(made, tmp_path / "model.onnx"))
    assert file.inputs == (GraphTensor("images", "FP32", (-1, 3, -1, 640)),)
    assert file.outputs == (GraphTensor("output0", "FP32", (-1, 84, -1)),)
    assert file.metadata == {"task": "detect"}
    assert file.opset == opset
    assert {"Shape", "Expand"} <= file.operators
    assert file.external_files == ()


def test_initializers_that_are_listed_as_inputs_do_not_count(tmp_path: Path) -> None:
    made = constant_outputs(DETECTOR)
    for tensor in made.graph.initializer:
        made.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    assert read(save(made, tmp_path / "m.onnx")).image.name == "images"


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "is empty"),
            (b"PK\x03\x04" + bytes(60), "PyTorch checkpoint"),
            (b"\x80\x02}q\x00.", "PyTorch checkpoint"),
            (b"<!DOCTYPE html><html></html>", "web page"),
            (b"\n <html>", "web page"),
            (b'<?xml version="1.0"?><net name="yolo"></net>', "OpenVINO"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
            (b"ftrt" + bytes(60), "TensorRT engine"),
            (b'\x20\x01\x00\x00{"description": "Ultralytics"}', "TensorRT engine"),
            (b"\x1c\x00\x00\x00TFL3" + bytes(60), "TFLite"),
            (b"\x89HDF\r\n\x1a\n", "Keras"),
            (b"\x1f\x8b\x08\x00", "unpack"),
            (b"names: [a, b]\n", "no ONNX"),
            (bytes(100), "no ONNX"),
            (b"\xff" * 100, "no ONNX"),
        ],
    )
    def test_each_is_called_by_its_kind(
        self, write: Callable[[bytes], Path], data: bytes, words: str
    ) -> None:
        with pytest.raises(UnsupportedModel, match=words):
            read(write(data))

    def test_every_cut_of_a_model_is_refused(self, write: Callable[[bytes], Path]) -> None:
        data = constant_outputs(DETECTOR).SerializeToString()
        for end in range(1, len(data)):
            with pytest.raises(UnsupportedModel, match="export"):
                read(write(data[:end]))

    def test_a_folder_and_a_missing_file_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedModel, match=r"is a folder; name the \.onnx file"):
            read(tmp_path)
        with pytest.raises(UnsupportedModel, match="check the path"):
            read(tmp_path / "none.onnx")

    def test_a_file_above_2_gb_is_refused_unread(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        with path.open("wb") as file:
            file.truncate(onnx_file.MAX_BYTES + 1)  # a hole: nothing is written
        with pytest.raises(UnsupportedModel, match="external data"):
            read(path)


class TestInputs:
    @pytest.mark.parametrize(
        ("image", "dtype", "words"),
        [
            ((1, 3, 640), TensorProto.FLOAT, "no image"),
            ((1, 4, 640, 640), TensorProto.FLOAT, "neither 1 nor 3 channels"),
            ((1, 640, 640, 4), TensorProto.UINT8, "neither 1 nor 3 channels"),
            ((1, 3, 640, 640), TensorProto.INT64, "export it again as FP32"),
            ((1, 3, 640, 640), TensorProto.DOUBLE, "export it again as FP32"),
            ((1, 3, 640, 640), TensorProto.STRING, "export it again as FP32"),
        ],
    )
    def test_an_input_that_is_no_image_is_refused(
        self, tmp_path: Path, image: tuple[int, ...], dtype: int, words: str
    ) -> None:
        made = constant_outputs(DETECTOR, image=image, dtype=dtype)
        with pytest.raises(UnsupportedModel, match=f"(?i){words}"):
            read(save(made, tmp_path / "m.onnx"))

    def test_two_inputs_and_none_are_refused(self, tmp_path: Path) -> None:
        made = constant_outputs(DETECTOR)
        made.graph.input.append(helper.make_tensor_value_info("text", TensorProto.INT64, [1, 77]))
        with pytest.raises(UnsupportedModel, match=r"2 inputs: images \(1, 3, 640, 640\), text"):
            read(save(made, tmp_path / "m.onnx"))
        del made.graph.input[:]
        with pytest.raises(UnsupportedModel, match="no input for an image"):
            read(save(made, tmp_path / "m.onnx"))

    @pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.FLOAT16, TensorProto.FLOAT])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_grey_and_colour_images_of_three_types_are_read(
        self, tmp_path: Path, dtype: int, channels: int
    ) -> None:
        made = constant_outputs(DETECTOR, image=(1, channels, 64, 64), dtype=dtype)
        assert read(save(made, tmp_path / "m.onnx")).image.shape == (1, channels, 64, 64)

    @pytest.mark.parametrize(
        ("shape", "last"),
        [
            ((1, 3, 640, 640), False),
            ((-1, 1, -1, -1), False),
            ((1, 640, 640, 3), True),
            ((-1, -1, -1, 1), True),
            ((1, 640, 640, -1), True),
            ((-1, -1, -1, -1), False),
            ((1, 1, 640, 3), True),
            ((1, 3, 640, 1), False),
        ],
    )
    def test_the_place_of_the_channels_is_told(self, shape: tuple[int, ...], last: bool) -> None:
        assert channels_last(shape) is last


class TestOperators:
    def test_those_of_plugins_are_refused_by_name(self, tmp_path: Path) -> None:
        made = constant_outputs(DETECTOR)
        made.graph.node.append(
            helper.make_node("EfficientNMS_TRT", ["output0"], ["rows"], domain="TRT")
        )
        with pytest.raises(UnsupportedModel, match=r"TRT::EfficientNMS_TRT; export it again"):
            read(save(made, tmp_path / "m.onnx"))

    def test_an_unknown_name_without_a_domain_is_refused_in_subgraphs_too(
        self, tmp_path: Path
    ) -> None:
        made = constant_outputs(DETECTOR)
        body = helper.make_graph([helper.make_node("BatchedNMS", ["a"], ["b"])], "then", [], [])
        made.graph.node.append(
            helper.make_node("If", ["a"], ["c"], then_branch=body, else_branch=body)
        )
        with pytest.raises(UnsupportedModel, match="lacks: BatchedNMS"):
            read(save(made, tmp_path / "m.onnx"))

    def test_functions_of_the_model_itself_are_known(self, tmp_path: Path) -> None:
        made = constant_outputs(DETECTOR)
        function = helper.make_function(
            "ours", "Same", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])],
            [helper.make_opsetid("", 13)],
        )  # fmt: skip
        made.functions.append(function)
        made.opset_import.append(helper.make_opsetid("ours", 1))
        made.graph.node.append(helper.make_node("Same", ["sides"], ["same"], domain="ours"))
        assert "Same" in read(save(made, tmp_path / "m.onnx")).operators

    def test_a_graph_that_onnx_runtime_refuses_is_explained(self, tmp_path: Path) -> None:
        made = constant_outputs(DETECTOR)
        made.graph.node.append(helper.make_node("Expand", ["images", "nothing"], ["x"]))
        file = read(save(made, tmp_path / "m.onnx"))
        with pytest.raises(UnsupportedModel, match=r"ONNX Runtime can't load m.onnx: .*nothing"):
            file.session()


class TestExternalData:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "model.onnx"
        made = constant_outputs(
            {"output0": np.full((1, 8, 21), 0.25, np.float32)}, image=(1, 3, 32, 32)
        )
        onnx.save(made, path, save_as_external_data=True, location="model.data", size_threshold=100)
        return path

    def test_weights_in_another_file_are_read_by_onnx_runtime(self, path: Path) -> None:
        file = read(path)
        assert file.external_files == (path.parent / "model.data",)
        session = file.session()
        (output,) = session.run(None, {"images": np.zeros((1, 3, 32, 32), np.float32)})
        assert (output == 0.25).all()

    def test_a_missing_file_is_named(self, path: Path) -> None:
        (path.parent / "model.data").unlink()
        with pytest.raises(UnsupportedModel, match=r"put model\.data into the folder"):
            read(path)

    def test_a_file_that_is_too_short_is_refused(self, path: Path) -> None:
        (path.parent / "model.data").write_bytes(bytes(600))
        with pytest.raises(UnsupportedModel, match="ends at 600 bytes, but 672 are needed"):
            read(path)

    @pytest.mark.parametrize("place", ["../model.data", "/etc/passwd", "..\\model.data"])
    def test_a_place_outside_the_folder_is_refused(self, tmp_path: Path, place: str) -> None:
        made = constant_outputs(DETECTOR)
        tensor = numpy_helper.from_array(np.zeros(4, np.float32), "weights")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
        made.graph.initializer.append(tensor)
        with pytest.raises(UnsupportedModel, match="outside its own folder"):
            read(save(made, tmp_path / "m.onnx"))
