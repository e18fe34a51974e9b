#!/usr/bin/env python3
"""Repeats `moco eval linear --views` with PyTorch and torchvision.

It trains a linear classifier by SGD on random crops and flips, encoded by a frozen encoder.

  moco eval linear --model encoder.safetensors --train train --test test --views --epochs 5
  scripts/evaluate/views.py encoder.safetensors train test --epochs 5 --rate 0.1 --rate 1

train and test are folders with a folder for each class. Crops are RandomResizedCrop's: 0.08 to 1 of the area, as in
the policy "cifar". Features are the pooled ones in float32, scaled to length one times the root of their dimension,
as in moco. Views and order are PyTorch's own, so accuracies differ as much as other views change them.
"""
import argparse
import json
import math
import os
import struct
import sys

import numpy as np
import torch
from torch import nn
from torchvision import datasets, transforms

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "compare"))
from torch_side import Encoder  # noqa: E402


def load(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    about = header.pop("__metadata__")
    kind = {"F32": "<f4", "I64": "<i8"}
    arrays = {n: np.frombuffer(data[slice(*e["data_offsets"])], kind[e["dtype"]]).reshape(e["shape"])
              for n, e in header.items()}
    tensors = {n: torch.from_numpy(array.copy()) for n, array in arrays.items()}
    encoder = Encoder(about["arch"], about["stem"], float(about["width"]), int(about["dim"]))
    encoder.load_state_dict(tensors)
    encoder.fc = nn.Identity()
    return encoder.eval(), about


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("encoder", help="an encoder.safetensors with a linear head")
    p.add_argument("train", help="labelled images: a folder with a folder a class")
    p.add_argument("test")
    p.add_argument("--rate", type=float, action="append", required=True, help="learning rate (may be given several times)")
    p.add_argument("--epochs", type=int, default=100)
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    encoder, about = load(a.encoder)
    size = int(about["size"])
    to_tensor = [transforms.ToTensor(), transforms.Normalize(*[[float(v) for v in about[k].split()] for k in ("mean", "std")])]
    crop_and_flip = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    train = datasets.ImageFolder(a.train, transforms.Compose(crop_and_flip + to_tensor))
    test = datasets.ImageFolder(a.test, transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size)] + to_tensor))
    batches = torch.utils.data.DataLoader(train, a.batch, shuffle=True, drop_last=True)

    @torch.no_grad()
    def features(x):
        y = nn.functional.normalize(encoder(x), dim=1)
        return y * math.sqrt(y.shape[1])

    dim = features(test[0][0][None]).shape[1]
    models, steps, schedules = [], [], []
    for rate in a.rate:
        m = nn.Linear(dim, len(train.classes))
        nn.init.normal_(m.weight, 0, 0.01)
        nn.init.zeros_(m.bias)
        models.append(m)
        steps.append(torch.optim.SGD(m.parameters(), lr=rate, momentum=0.9))
        schedules.append(torch.optim.lr_scheduler.MultiStepLR(steps[-1], [a.epochs * 60 // 100, a.epochs * 80 // 100]))
    for _ in range(a.epochs):
        for x, y in batches:
            f = features(x)
            for m, sgd in zip(models, steps):
                sgd.zero_grad()
                nn.functional.cross_entropy(m(f), y).backward()
                sgd.step()
        for s in schedules:
            s.step()
    right = np.zeros(len(models))
    with torch.no_grad():
        for x, y in torch.utils.data.DataLoader(test, a.batch):
            f = features(x)
            for i, m in enumerate(models):
                right[i] += (m(f).argmax(1) == y).sum().item()
    for rate, n in zip(a.rate, right):
        print(f"linear on views, rate {rate}: {100 * n / len(test):.2f}%")


if __name__ == "__main__":
    main()
