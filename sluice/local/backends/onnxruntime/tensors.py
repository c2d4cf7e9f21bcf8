"""Converts Triton's tensors to arrays and back, without a copy.

The stub is built against numpy 1, and Python 3.13 has numpy 2 only. There the stub's conversions
fail without an error: an input has strides of 0, an output has a size of 0.

With numpy 2, tensors pass by DLPack (https://dmlc.github.io/dlpack/latest/c_api.html). This module
reads and writes DLPack by hand. The stub and numpy rename a used capsule differently: a capsule
passed from one to the other leaves an exception behind.
"""

import ctypes
from typing import Any

import numpy as np

NUMPY_2 = int(np.__version__.split(".")[0]) >= 2


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]

_NAME = b"dltensor"
_CPU = 1
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}  # by numpy's kind of a dtype
_KINDS = {code: kind for kind, code in _CODES.items()}

_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

_exported: dict[int, Any] = {}  # the arrays that Triton still uses, by the address of `_Managed`


def array_of(tensor: Any) -> Any:
    """The memory of the stub's tensor, as an array. The array is valid as long as the tensor."""
    if not NUMPY_2:
        return tensor.as_numpy()
    capsule = tensor.__dlpack__()
    source = _Managed.from_address(_pointer(capsule, _NAME)).tensor
    kind = _KINDS[source.dtype.code]
    dtype = np.dtype(bool if kind == "b" else f"{kind}{source.dtype.bits // 8}")
    shape = tuple(source.shape[axis] for axis in range(source.ndim))
    size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if not size:
        return np.empty(shape, dtype)
    memory = (ctypes.c_byte * size).from_address(source.data + source.byte_offset)
    return np.frombuffer(memory, dtype).reshape(shape)


def tensor_of(tensors: Any, name: str, array: Any) -> Any:
    """A tensor of the stub's class `tensors` over an array's memory. Triton copies the memory."""
    array = np.ascontiguousarray(array)
    return tensors.from_dlpack(name, _Exported(array)) if NUMPY_2 else tensors(name, array)


class _Exported:
    """Exports an array by DLPack. The stub asks for the device first, then for the capsule."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return (_CPU, 0)

    def __dlpack__(self, **_: Any) -> Any:
        array = self._array
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        dtype = _DataType(_CODES[array.dtype.kind], array.dtype.itemsize * 8, 1)
        managed = _Managed(
            _Tensor(array.ctypes.data, _Device(_CPU, 0), array.ndim, dtype, shape, None, 0),
            None,
            _forget,
        )
        _exported[ctypes.addressof(managed)] = (managed, shape, array)
        # No destructor: the stub takes the tensor over and calls the deleter.
        return _new(ctypes.addressof(managed), _NAME, None)


@_Deleter
def _forget(managed: Any) -> None:
    _exported.pop(ctypes.addressof(managed.contents), None)
