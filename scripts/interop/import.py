#!/usr/bin/env python3
"""Compares the features of `moco embed` from imported checkpoints with PyTorch's.

    scripts/interop/import.py --moco ./moco --data CIFAR/test.tar

It needs torch, torchvision and Pillow. It makes torchvision's ResNet-18 and ResNet-50 at full width, with random
weights and batch norm statistics, and saves them as MoCo v1 and v2, lightly and solo-learn do: with their key names, in
PyTorch's zip and legacy formats. It makes torchvision's vit_b_16 with random weights, too. `moco import` reads each file, both sides where there are two, and `moco embed`
encodes real images. The rows must be what torchvision's modules compute from the same pixels. A misplaced tensor would
show, because no two of the networks have the same weights.

The images are cut to the size of a view and stored as PNG, so that both sides see the same pixels. The exit code is 1
if any feature differs by more than --within."""

import argparse
import collections
import copy
import functools
import io
import itertools
import json
import os
import subprocess
import sys
import tarfile
import tempfile

import numpy
import torch
import torch.nn as nn
import torchvision
from PIL import Image

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of the policies v1 and v2


def contents(data):
    """The images of a folder or a tar archive, in the order of their names."""
    def wanted(name):
        return name.lower().endswith((".jpg", ".jpeg", ".png"))
    if os.path.isdir(data):
        names = sorted(os.path.join(d, f) for d, _, files in os.walk(data) for f in files if wanted(f))
        for name in names:
            with open(name, "rb") as f:
                yield f.read()
    else:
        with tarfile.open(data) as tar:
            members = sorted((m for m in tar.getmembers() if m.isfile() and wanted(m.name)), key=lambda m: m.name)
            for member in members:
                yield tar.extractfile(member).read()


def views(data, count, size, folder):
    """Writes count images of size x size to a folder and returns them as PyTorch takes them."""
    rows = []
    for i, raw in enumerate(itertools.islice(contents(data), 0, 97 * count, 97)):  # so that classes differ
        image = Image.open(io.BytesIO(raw)).convert("RGB").resize((size + 8, size + 8), Image.BICUBIC)
        image = torchvision.transforms.functional.center_crop(image, size)
        image.save(os.path.join(folder, "%04d.png" % i))
        rows.append(torchvision.transforms.functional.normalize(torchvision.transforms.functional.to_tensor(image), MEAN, STD))
    if len(rows) < count:
        sys.exit("import.py: %s holds too few images: %d can be taken, --images asks for %d" % (data, len(rows), count))
    return torch.stack(rows)


@functools.lru_cache(None)
def network(seed, arch, head, x):
    """torchvision's network, whose batch norms have seen the images."""
    torch.manual_seed(seed)
    net = getattr(torchvision.models, arch)()
    inside = net.fc.in_features
    net.fc = {"linear": lambda: nn.Linear(inside, 128),
              "mlp": lambda: nn.Sequential(nn.Linear(inside, inside), nn.ReLU(), nn.Linear(inside, 128)),
              "none": nn.Identity}[head]()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(0.5 + torch.rand_like(module.weight))
                module.bias.copy_(0.3 * torch.randn_like(module.bias))
        for _ in range(3):
            net.train()(x)
    return net.eval()


@functools.lru_cache(None)
def transformer(seed, arch):
    """torchvision's transformer, with weights large enough that it tells images apart."""
    torch.manual_seed(seed)
    net = getattr(torchvision.models, arch)()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.dim() == 2:
                p.copy_(1.5 * torch.randn_like(p) / p.shape[1] ** 0.5)
            else:
                p.add_((0.3 if "pos" in name else 0.1) * torch.randn_like(p))
    return net.eval()


def prefixed(prefix, module):
    return collections.OrderedDict((prefix + name, v) for name, v in module.state_dict().items())


def checkpoints(x, quick, only):
    """Yields name, content, whether in the legacy format, and the network of each side."""
    archs = ["resnet18"] if quick else ["resnet18", "resnet50"]
    for arch, (version, head), legacy in itertools.product(archs, [("v1", "linear"), ("v2", "mlp")], [False, True]):
        name = "moco_%s_%s_%s.pth.tar" % (version, arch, "legacy" if legacy else "zip")
        if only not in name:
            continue
        q, k = network(1, arch, head, x), network(2, arch, head, x)
        state = prefixed("module.encoder_q.", q)
        state.update(prefixed("module.encoder_k.", k))
        state.update({"module.queue": torch.randn(128, 4096), "module.queue_ptr": torch.zeros(1, dtype=torch.long)})
        optimizer = torch.optim.SGD(q.parameters(), 0.03, momentum=0.9)
        content = {"epoch": 200, "arch": arch, "state_dict": state, "optimizer": optimizer.state_dict()}
        yield name, content, legacy, {"query": q, "key": k}
    for arch in archs:
        name = "lightly_%s.ckpt" % arch
        if only in name:
            q, k = network(3, arch, "none", x), network(4, arch, "none", x)
            state = prefixed("backbone.", nn.Sequential(*list(q.children())[:-1]))
            state.update(prefixed("backbone_momentum.", nn.Sequential(*list(k.children())[:-1])))
            state["projection_head.layers.0.weight"] = torch.randn(128, 128)
            yield name, {"epoch": 9, "state_dict": state}, False, {"query": q, "key": k}
        name = "solo_learn_%s.ckpt" % arch
        if only in name:
            q, k = network(5, arch, "none", x), network(6, arch, "none", x)
            state = prefixed("backbone.", q)
            state.update(prefixed("momentum_backbone.", k))
            state.update({"classifier.weight": torch.randn(10, 512), "classifier.bias": torch.randn(10)})
            yield name, {"epoch": 9, "state_dict": state}, False, {"query": q, "key": k}
        name = "torchvision_%s.pth" % arch
        if only in name:
            q = network(7, arch, "linear", x)
            yield name, q.state_dict(), False, {"query": q}
    for arch in ["vit_b_16"]:
        name = "torchvision_%s.pth" % arch
        if only in name and x.shape[3] == 224:
            q = transformer(8, arch)
            yield name, q.state_dict(), False, {"query": q}


@functools.lru_cache(None)
def theirs(net, x):
    net = copy.deepcopy(net).double()
    with torch.no_grad():
        head = net(x.double())
        setattr(net, "heads" if hasattr(net, "heads") else "fc", nn.Identity())
        backbone = net(x.double())
    return {"head": nn.functional.normalize(head).numpy(), "backbone": nn.functional.normalize(backbone).numpy()}


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit("import.py: %s\n%s" % (" ".join(command), done.stderr))
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moco", required=True, help="the binary")
    parser.add_argument("--data", required=True, help="images: a folder or a tar archive")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--within", type=float, default=1e-4, help="the largest difference of a feature that passes")
    parser.add_argument("--quick", action="store_true", help="no ResNet-50")
    parser.add_argument("--only", default="", help="files whose name contains it")
    options = parser.parse_args()
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        pictures, rows = os.path.join(folder, "png"), os.path.join(folder, "rows.npy")
        model = os.path.join(folder, "encoder.safetensors")
        os.mkdir(pictures)
        x = views(options.data, options.images, options.size, pictures)
        print("PyTorch %s, torchvision %s, %d images of %d pixels\n"
              % (torch.__version__, torchvision.__version__, len(x), options.size))
        print("| file | side | used | left out | features | largest difference | largest feature |\n"
              "|---|---|---|---|---|---|---|")
        for name, content, legacy, sides in checkpoints(x, options.quick, options.only):
            path = os.path.join(folder, name)
            torch.save(content, path, _use_new_zipfile_serialization=not legacy)
            for side, net in sides.items():
                told = json.loads(run(options.moco, "import", path, "--out", model, "--side", side,
                                      "--size", str(options.size), "--force", "--json").splitlines()[-1])
                for layer, want in theirs(net, x).items():
                    run(options.moco, "embed", "--model", model, "--data", pictures, "--out", rows, "--features", layer,
                        "--batch", str(len(x)), "--force")
                    got = numpy.load(rows)
                    os.remove(rows)
                    difference = float(numpy.abs(got - want).max()) if got.shape == want.shape else float("inf")
                    worst = max(worst, difference)
                    print("| %s | %s | %d | %d | %s | %.1e | %.2f |"
                          % (name, side, len(told["used"]), len(told["left_out"]), layer, difference,
                             numpy.abs(want).max()), flush=True)
            os.remove(path)
    print("\nThe largest difference is %.1e, and %.0e was allowed." % (worst, options.within))
    sys.exit(worst > options.within)


main()
