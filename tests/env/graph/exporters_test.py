#!/usr/bin/python3
"""Models as PyTorch exports them, run by amc-engine, must give PyTorch's own outputs.

usage: exporters_test.py AMC_ENGINE. Needs python3-torch and python3-torchvision, and the exporter
script in $AMC_TEST_DATA/tools; skips (77) without them unless AMC_REQUIRE=1.
"""
import importlib.util
import os
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")


def skip(reason):
    print(reason)
    sys.exit(1 if os.environ.get("AMC_REQUIRE") == "1" else 77)


try:
    import numpy
    import torch
    import torchvision  # noqa: F401, the exporter script needs it
    from torch import nn
    from torch.nn import functional as F
except ImportError as error:
    skip(f"cannot import: {error}")
if "AMC_TEST_DATA" not in os.environ:
    skip("AMC_TEST_DATA is not set")


class Patterns(nn.Module):
    """What exporters turn into arithmetic on shapes: views by size, shuffles, computed pads."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, padding=1)
        self.grouped = nn.Conv2d(8, 16, 3, groups=2, stride=2, padding=1)
        self.gate = nn.Conv2d(16, 16, 1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu6(self.grouped(x + F.hardswish(self.depthwise(x))))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        first, second = x.chunk(2, 1)
        x = self.pool(torch.cat([second, first, x], 1))
        x = F.pad(x[:, :, ::2, 1:], (1, 0, 0, 1))
        return F.softmax(self.head(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)), 1)


def export(model, path, size, opset, dynamic=True, keep_bn=False):
    mode = torch.onnx.TrainingMode.PRESERVE if keep_bn else torch.onnx.TrainingMode.EVAL
    axes = {"input": {0: "N"}, "logits": {0: "N"}} if dynamic else None
    torch.onnx.export(model, torch.randn(1, 3, size, size), path, opset_version=opset,
                      input_names=["input"], output_names=["logits"], dynamic_axes=axes,
                      training=mode, do_constant_folding=not keep_bn)


def difference(engine, folder, model, path, size):
    """The largest difference of five outputs, relative to the largest output."""
    images = numpy.random.RandomState(0).randn(5, 3, size, size).astype("float32")
    x, y = os.path.join(folder, "x.npy"), os.path.join(folder, "y.npy")
    numpy.save(x, images)
    subprocess.run([engine, "infer", path, "--input", x, "--output", y], check=True)
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    return float(numpy.abs(numpy.load(y) - expected).max() / numpy.abs(expected).max())


def main(engine):
    tool = os.path.join(os.environ["AMC_TEST_DATA"], "tools/export_torchvision.py")
    spec = importlib.util.spec_from_file_location("export_torchvision", tool)
    torchvision_models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(torchvision_models)
    torch.manual_seed(0)
    patterns = Patterns().eval()
    cases = [(f"patterns, opset {opset}, {kind}", patterns, 16, opset, kind)
             for opset in (11, 13, 16) for kind in ("dynamic batch", "fixed batch", "batch norm")]
    for name in ("squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "mnasnet0_5",
                 "resnet18"):
        cases.append((name, torchvision_models.build(name), 64, 13, "dynamic batch"))
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        for name, model, size, opset, kind in cases:
            export(model, path, size, opset, kind != "fixed batch", kind == "batch norm")
            error = difference(engine, folder, model, path, size)
            print(f"{name}: {error:.1e}", flush=True)
            failures += not error < 1e-5  # not a number fails too
    return 1 if failures else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1]))
