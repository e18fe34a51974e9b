#!/usr/bin/env python3
"""Checks in real PyTorch, torchvision and NumPy what `moco export` writes.

  scripts/interop/export.py --moco ./moco --model run --images photos/

It exports the encoder as a PyTorch state dict and as safetensors, and runs the lines of Python that `moco export`
prints for each, of a transformer under timm's names or, with --names, torchvision's. Then it compares the features of
that project's module with the rows of `moco embed`, head and backbone, on the same PNG files. Rows have length one. The PNG files are made from the first images of a folder, at the
size of the encoder's views, so that both sides see the same pixels.

For a bottleneck ResNet of width 1 it also exports detectron2's pickle and loads it with pickle and NumPy, as detectron2
does. Names and values must be those that the official converter (facebookresearch/moco,
detection/convert-pretrain-to-detectron2.py) would write of the state dict. Other encoders must be refused.

Prints the largest absolute differences and exits with 1 if one is above --tolerance.
"""
import argparse
import collections
import json
import os
import pickle
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torchvision
from PIL import Image


def moco(binary, *arguments):
    """Runs a command of moco and returns the last of its lines of JSON."""
    out = subprocess.run([binary, *arguments, "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(out.stdout.decode().strip().splitlines()[-1])


def make_pngs(folder, images, count, size):
    """Writes the first images of a folder as PNG files of size x size, and returns their number."""
    names = sorted(os.path.join(at, name) for at, _, names in os.walk(images) for name in names
                   if name.lower().endswith((".png", ".jpg", ".jpeg")))[:count]
    os.makedirs(folder, exist_ok=True)
    for i, name in enumerate(names):
        Image.open(name).convert("RGB").resize((size, size), Image.BICUBIC).save(os.path.join(folder, "%04d.png" % i))
    return len(names)


def embed(a, work, pngs, layer):
    """The rows of moco embed, by file name."""
    out = os.path.join(work, layer + ".npy")
    moco(a.moco, "embed", "--model", a.model, "--data", pngs, "--features", layer, "--precision", "fp32", "--out", out,
         "--batch", str(a.count), "--force")
    with open(out + ".jsonl") as manifest:
        names = [os.path.basename(json.loads(line)["path"]) for line in manifest]
    return names, np.load(out)


def rows(m, images):
    with torch.no_grad():
        x = torch.cat([m(image[None]) for image in images]).double()
    return torch.nn.functional.normalize(x).numpy()


def official(state):
    """The names that the official converter gives, by ours: its rules, in its order."""
    names = {}
    for name in state:
        new = name if "layer" in name else "stem." + name
        for i in (1, 2, 3, 4):
            new = new.replace("layer%d" % i, "res%d" % (i + 1))
        for i in (1, 2, 3):
            new = new.replace("bn%d" % i, "conv%d.norm" % i)
        names[name] = new.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
    return names


def detectron2(a, work, config, state):
    path = os.path.join(work, "detectron2.pkl")
    bottleneck = config["arch"] in ("resnet50", "resnet101", "resnet152")
    fits = bottleneck and config["stem"] == "imagenet" and float(config["width"]) == 1
    if not fits:
        refused = subprocess.run([a.moco, "export", "--model", a.model, "--out", path],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert refused.returncode == 1 and not os.path.exists(path), refused.stdout
        print("detectron2: refused, as it should be: " + refused.stdout.decode().strip())
        return 0
    moco(a.moco, "export", "--model", a.model, "--out", path)
    with open(path, "rb") as f:
        obj = pickle.load(f, encoding="latin1")
    with open(path, "rb") as f:
        assert pickle.load(f)["__author__"] == obj["__author__"]
    assert obj["matching_heuristics"] is True and set(obj) == {"model", "__author__", "matching_heuristics"}
    model = obj["model"]
    want = official({name: t for name, t in state.items() if not name.startswith("fc.")})
    assert set(model) == set(want.values()), set(model) ^ set(want.values())
    worst = 0
    for name, t in state.items():
        if name in want:
            got = model[want[name]]
            assert isinstance(got, np.ndarray) and got.shape == tuple(t.shape) and got.dtype == t.numpy().dtype, name
            torch.as_tensor(got)
            worst = max(worst, float(np.abs(got - t.numpy()).max()))
    print("detectron2: %d arrays, the names of the official converter but for the head, largest difference %g"
          % (len(model), worst))
    return worst


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--moco", required=True, help="the binary")
    p.add_argument("--model", required=True, help="folder of a run, or an encoder.safetensors")
    p.add_argument("--images", required=True, help="folder of JPEG or PNG files")
    p.add_argument("--names", choices=["timm", "torchvision"], help="whose names a transformer gets; timm, unless given")
    p.add_argument("--count", type=int, default=10, help="images to compare on")
    p.add_argument("--work", help="folder for what is written; a temporary one if not given")
    p.add_argument("--tolerance", type=float, default=1e-4)
    a = p.parse_args()
    work = a.work or tempfile.mkdtemp()
    os.makedirs(work, exist_ok=True)
    config = moco(a.moco, "info", a.model)["metadata"]
    print("PyTorch %s, torchvision %s, NumPy %s; %s, stem %s, width %s, head %s (%s), %s px" % (
        torch.__version__, torchvision.__version__, np.__version__,
        *(config[k] for k in ("arch", "stem", "width", "head", "dim", "size"))))
    pngs = os.path.join(work, "png")
    count = make_pngs(pngs, a.images, a.count, int(config["size"]))
    assert count > 0, "no images in " + a.images
    embedded = {layer: embed(a, work, pngs, layer) for layer in ("head", "backbone")}
    mean, std = ([float(v) for v in config[k].split()] for k in ("mean", "std"))
    view = torchvision.transforms.Compose([torchvision.transforms.ToTensor(), torchvision.transforms.Normalize(mean, std)])
    images = [view(Image.open(os.path.join(pngs, name))) for name in embedded["head"][0]]
    worst = 0
    for kind in ("pth", "safetensors"):
        file = os.path.join(work, "encoder." + kind)
        done = moco(a.moco, "export", "--model", a.model, "--out", file, "--force", *(["--names", a.names] if a.names else []))
        space = {}
        exec("\n".join(done["loader"]), space)
        m, state = space["m"], space["state"]
        assert set(m.state_dict()) == set(state), set(m.state_dict()) ^ set(state)
        if hasattr(m, "fc") or not a.names:
            assert list(m.state_dict()) == list(state), "another order than the module's"
        assert not m.training and all(t.dtype == torch.int64 for name, t in state.items() if name.endswith("num_batches_tracked"))
        if kind == "pth":
            assert isinstance(state, collections.OrderedDict)
            strict = torch.load(file, weights_only=True)
            assert all(torch.equal(strict[name], t) for name, t in state.items())
        spread = {}
        for layer in ("head", "backbone"):
            if layer == "backbone":
                setattr(m, next(name for name in ("fc", "heads", "head") if hasattr(m, name)), torch.nn.Identity())
            other = rows(m, images)
            ours = embedded[layer][1]
            assert other.shape == ours.shape, (other.shape, ours.shape)
            spread[layer] = np.abs(other - ours).max()
            worst = max(worst, spread[layer])
            assert np.abs(ours - ours[0]).max() > 100 * a.tolerance, "all images have the same features: nothing is compared"
        print("%s: %d tensors, largest difference of features on %d images: head %.2g, backbone %.2g" % (
            kind, len(state), count, spread["head"], spread["backbone"]))
    worst = max(worst, detectron2(a, work, config, state))
    if worst > a.tolerance:
        sys.exit("FAILED: a difference of %g is above %g" % (worst, a.tolerance))


if __name__ == "__main__":
    main()
