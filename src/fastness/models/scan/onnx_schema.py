"""The messages of an ONNX file, by field number: whatever stands in none of these is for review.

Kinds: `i` whole numbers, `f` four-byte and `d` eight-byte fractions (alone or packed), `s` bytes that are stepped over,
`t:NAME` a text that is kept under that name, and the name of another message.

Source: onnx 1.23.2, `onnx/onnx-ml.proto`; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping

SCHEMA: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {
        1: "i", 2: "t:text", 3: "t:text", 4: "t:text", 5: "i", 6: "t:text", 7: "GraphProto", 8: "OperatorSetIdProto",
        14: "StringStringEntryProto", 20: "TrainingInfoProto", 25: "FunctionProto", 26: "DeviceConfigurationProto",
    },
    "OperatorSetIdProto": {1: "s", 2: "i"},
    "GraphProto": {
        1: "NodeProto", 2: "s", 5: "TensorProto", 10: "t:text", 11: "ValueInfoProto", 12: "ValueInfoProto",
        13: "ValueInfoProto", 14: "TensorAnnotation", 15: "SparseTensorProto", 16: "StringStringEntryProto",
    },
    "StringStringEntryProto": {1: "t:key", 2: "t:value"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto", 3: "StringStringEntryProto", 4: "StringStringEntryProto"},
    "FunctionProto": {
        1: "t:name", 4: "s", 5: "s", 6: "s", 7: "NodeProto", 8: "t:text", 9: "OperatorSetIdProto", 10: "t:domain",
        11: "AttributeProto", 12: "ValueInfoProto", 13: "s", 14: "StringStringEntryProto",
    },
    "DeviceConfigurationProto": {1: "s", 2: "i", 3: "s"},
    "NodeProto": {
        1: "t:input", 2: "t:output", 3: "s", 4: "t:op", 5: "AttributeProto", 6: "t:text", 7: "t:domain", 8: "s",
        9: "StringStringEntryProto", 10: "NodeDeviceConfigurationProto",
    },
    "TensorProto": {
        1: "i", 2: "i", 3: "TensorProto.Segment", 4: "f", 5: "i", 6: "s", 7: "i", 8: "t:name", 9: "s", 10: "d", 11: "i",
        12: "t:text", 13: "StringStringEntryProto", 14: "i", 16: "StringStringEntryProto",
    },
    "TensorProto.Segment": {1: "i", 2: "i"},
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto", 3: "i"},
    "ValueInfoProto": {1: "s", 2: "TypeProto", 3: "t:text", 4: "StringStringEntryProto"},
    "TensorAnnotation": {1: "s", 2: "StringStringEntryProto"},
    "AttributeProto": {
        1: "s", 2: "f", 3: "i", 4: "t:text", 5: "TensorProto", 6: "GraphProto", 7: "f", 8: "i", 9: "t:text",
        10: "TensorProto", 11: "GraphProto", 13: "t:text", 14: "TypeProto", 15: "TypeProto", 20: "i", 21: "s",
        22: "SparseTensorProto", 23: "SparseTensorProto",
    },
    "NodeDeviceConfigurationProto": {1: "s", 2: "ShardingSpecProto", 3: "i"},
    "ShardingSpecProto": {1: "s", 2: "i", 3: "IntIntListEntryProto", 4: "ShardedDimProto"},
    "IntIntListEntryProto": {1: "i", 2: "i"},
    "ShardedDimProto": {1: "i", 2: "SimpleShardedDimProto"},
    "SimpleShardedDimProto": {1: "i", 2: "s", 3: "i"},
    "TypeProto": {
        1: "TypeProto.Tensor", 4: "TypeProto.Sequence", 5: "TypeProto.Map", 6: "s", 7: "TypeProto.Opaque",
        8: "TypeProto.SparseTensor", 9: "TypeProto.Optional",
    },
    "TypeProto.Tensor": {1: "i", 2: "TensorShapeProto"},
    "TypeProto.SparseTensor": {1: "i", 2: "TensorShapeProto"},
    "TypeProto.Sequence": {1: "TypeProto"},
    "TypeProto.Optional": {1: "TypeProto"},
    "TypeProto.Map": {1: "i", 2: "TypeProto"},
    "TypeProto.Opaque": {1: "s", 2: "s"},
    "TensorShapeProto": {1: "TensorShapeProto.Dimension"},
    "TensorShapeProto.Dimension": {1: "i", 2: "s", 3: "s"},
}  # fmt: skip
