#!/usr/bin/python3
"""Known answers from PyTorch: small networks as ONNX with inputs and outputs.

Needs Debian's python3-torch. usage: pytorch_networks.py run|train OUT_DIR
run: for each network NAME.onnx, NAME.in and NAME.out (float32, N x C x H x W and N x classes).
train: before.onnx, images.u8 (N x 3 x 8 x 8), labels.u8 and after.onnx, the network after three
epochs of one batch each (see TRAIN below, which trainer_golden_test.cc repeats).
"""
import math
import os
import sys

import torch
from torch import nn
from torch.nn import functional as F

TRAIN = {"epochs": 3, "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "label_smoothing": 0.1}


class Residual(nn.Module):
    """Batch norms, strides, a shortcut by slicing and channel padding."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.linear = nn.Linear(16, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(x))
        x = F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)))
        return self.linear(x.mean((2, 3)))


class Mobile(nn.Module):
    """Depthwise and grouped convolutions, squeeze and excite, ReLU6, hard swish."""

    def __init__(self):
        super().__init__()
        self.expand = nn.Conv2d(3, 12, 1)
        self.depthwise = nn.Conv2d(12, 12, 5, padding=2, groups=12)
        self.grouped = nn.Conv2d(12, 18, 3, padding=1, groups=3)
        self.squeeze = nn.Conv2d(18, 4, 1)
        self.excite = nn.Conv2d(4, 18, 1)
        self.linear = nn.Linear(18, 5)

    def forward(self, x):
        x = F.hardswish(self.depthwise(F.relu6(self.expand(x))))
        x = F.leaky_relu(self.grouped(x), 0.2)
        scale = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return self.linear(F.adaptive_avg_pool2d(x * scale, 1).flatten(1)).softmax(1)


class Branches(nn.Module):
    """Concatenation, channel shuffle, splits, dilation and every kind of pool."""

    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=2, dilation=2)
        self.right = nn.Conv2d(3, 4, (1, 3), padding=(0, 1))
        self.last = nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect")
        self.linear = nn.Linear(6 * 16, 5)

    def forward(self, x):
        x = torch.cat([torch.sigmoid(self.left(x)), self.right(x)], 1)
        n, c, h, w = 2, 8, 8, 8
        x = x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        a, b = x.chunk(2, 1)
        x = torch.cat([b - 0.5, a * 2], 1)
        x = F.max_pool2d(x, 3, stride=1, padding=1) + F.avg_pool2d(x, 3, stride=1, padding=1)
        x = F.avg_pool2d(F.max_pool2d(self.last(x), 2, ceil_mode=True), 3, stride=1, padding=1,
                         count_include_pad=False)
        return self.linear(x.flatten(1))


def export(model, path, batch=2, dynamic=True):
    torch.onnx.export(
        model, torch.randn(batch, 3, 8, 8), path, opset_version=13, input_names=["input"],
        output_names=["logits"], do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}} if dynamic else None)


def randomize(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def run(out):
    for network in (Residual, Mobile, Branches):
        name = os.path.join(out, network.__name__.lower())
        model = randomize(network())
        export(model, name + ".onnx", dynamic=network is not Branches)
        x = torch.randn(2, 3, 8, 8)
        with torch.no_grad():
            y = model(x)
        x.numpy().tofile(name + ".in")
        y.numpy().tofile(name + ".out")


def train(out):
    model = randomize(Residual())
    export(model, os.path.join(out, "before.onnx"))
    images = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8)
    labels = torch.randint(0, 5, (12,), dtype=torch.uint8)
    images.numpy().tofile(os.path.join(out, "images.u8"))
    labels.numpy().tofile(os.path.join(out, "labels.u8"))
    decayed = [p for p in model.parameters() if p.dim() > 1]
    spared = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": TRAIN["weight_decay"]}, {"params": spared}],
        lr=TRAIN["lr"], momentum=TRAIN["momentum"], nesterov=True)
    model.train()
    x = (images.float() / 255 - 0.5) / 0.25
    for epoch in range(TRAIN["epochs"]):
        for group in optimizer.param_groups:
            group["lr"] = TRAIN["lr"] * 0.5 * (1 + math.cos(math.pi * epoch / TRAIN["epochs"]))
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels.long(),
                        label_smoothing=TRAIN["label_smoothing"]).backward()
        optimizer.step()
    export(model.eval(), os.path.join(out, "after.onnx"))


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    {"run": run, "train": train}[sys.argv[1]](sys.argv[2])
