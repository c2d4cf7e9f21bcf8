"""The detector of codes that ships with Sluice: rendered, trained, exported and measured.

One seed determines all steps. Two coordinate frames are used: *scene* pixels are those of a
rendered photo of any aspect ratio. *Network* pixels are those of the square letterbox of side
``SIZE``.

Boxes are float32 (x1, y1, x2, y2) unless a docstring says otherwise.
"""

CLASSES = ("qr_code", "barcode", "marker")
SIZE = 416
"""Side of the network's square input, in pixels."""
TOP_K = 300
"""The number of anchors that leave the ONNX graph: those with the highest best-class score."""
STRIDES = (8, 16, 32)
PAD_VALUE = 114
"""Grey value of the letterbox's border."""
