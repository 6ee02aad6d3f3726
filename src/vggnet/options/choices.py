"""The values that an option can have, each set of them defined here once for the command line and for Python. No torch.

A name that ends in `Name` has `auto` among its values, and the name without that end has what `auto` becomes.
"""

from typing import Literal

# a net and its input
InitMethod = Literal["glorot", "gaussian", "he"]
Orientation = Literal["apply", "ignore"]

# how anything is computed and read
Precision = Literal["fp32", "bf16", "bf16-cudnn", "int8"]
TrainPrecision = Literal["bf16", "fp32"]
ExchangeFormat = Literal["fp32", "bf16"]  # of gradients between ranks
PrecisionName = Literal["auto", "bf16", "fp32"]
InferencePrecisionName = Literal["auto", "bf16", "fp32", "int8", "bf16-cudnn"]
StepName = Literal["auto", "fused", "compiled", "plain"]
Decoder = Literal["processes", "scaled", "gpu"]
DecoderName = Literal["auto", "processes", "scaled", "gpu"]
BadImages = Literal["stop", "skip"]
OnDivergence = Literal["stop", "lower-rate"]
ImageCheck = Literal["headers", "decode", "none"]

# tests and training on boxes
TableName = Literal["table3", "table4", "table5", "table6"]
Boxes = Literal["pcr", "scr"]
BoxLoss = Literal["euclidean", "smooth-l1", "giou"]
Merging = Literal["overfeat", "centroid"]

# descriptors and transfer
Pool = Literal["stack", "average", "max"]
TransferProtocol = Literal["caltech", "voc", "actions"]
Regions = Literal["both", "image", "box"]
Competition = Literal["comp1", "comp2", "comp9", "comp10"]

# weight files
Layout = Literal["torchvision", "timm", "keras", "onnx", "caffe", "matconvnet", "vggnet"]
WrittenLayout = Literal["vggnet", "torchvision", "timm"]
ExportFormat = Literal["onnx", "torch-export", "openvino"]
