#!/usr/bin/env python3
"""Makes the checkpoints in this folder with PyTorch, and features.json: their features in float64.

    python3 testdata/import/make_import.py     # needs torch 1.13 or later; writes beside itself

The networks are ResNets of width 1/64 and 1/32 with torchvision's names. Images follow from a formula,
so they need not be stored."""

import argparse
import collections
import copy
import io
import json
import os
import pickle
import struct
import tarfile

import torch
import torch.nn as nn

FOLDER = os.path.dirname(os.path.abspath(__file__))
SIZE = 32
BLOCKS = {"resnet18": (False, [2, 2, 2, 2]), "resnet34": (False, [3, 4, 6, 3]), "resnet50": (True, [3, 4, 6, 3])}
VIEWS = {"v1": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), "cifar": ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
         "half": ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])}


class Block(nn.Module):
    def __init__(self, inside, planes, stride, bottleneck):
        super().__init__()
        self.bottleneck = bottleneck
        out = 4 * planes if bottleneck else planes
        if bottleneck:
            self.conv1, self.bn1 = nn.Conv2d(inside, planes, 1, bias=False), nn.BatchNorm2d(planes)
            self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
            self.conv3, self.bn3 = nn.Conv2d(planes, out, 1, bias=False), nn.BatchNorm2d(out)
        else:
            self.conv1, self.bn1 = nn.Conv2d(inside, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
            self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False), nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inside != out:
            self.downsample = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, arch, width, cifar, head):
        super().__init__()
        bottleneck, blocks = BLOCKS[arch]
        planes = [int(64 * width) << i for i in range(4)]
        if cifar:
            self.conv1 = nn.Conv2d(3, planes[0], 3, 1, 1, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, planes[0], 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(planes[0]), nn.ReLU()
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        inside = planes[0]
        for stage in range(4):
            layers = []
            for block in range(blocks[stage]):
                layers.append(Block(inside, planes[stage], 2 if stage > 0 and block == 0 else 1, bottleneck))
                inside = planes[stage] * (4 if bottleneck else 1)
            setattr(self, "layer%d" % (stage + 1), nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        if head == "linear":
            self.fc = nn.Linear(inside, 6)
        elif head == "mlp":
            self.fc = nn.Sequential(nn.Linear(inside, inside), nn.ReLU(), nn.Linear(inside, 6))
        else:
            self.fc = nn.Identity()

    def backbone(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.avgpool(self.layer4(self.layer3(self.layer2(self.layer1(x))))).flatten(1)

    def forward(self, x):
        return self.fc(self.backbone(x))


def network(seed, **options):
    """A network whose batch norms have seen data. It must tell the images apart: so few channels may not."""
    for attempt in range(100):
        net = attempted(1000 * seed + attempt, **options)
        x = images("v1").float()
        with torch.no_grad():
            apart = [torch.pdist(nn.functional.normalize(f(x))).min() for f in (net.backbone, net)]
        if min(apart) > 0.01:
            return net
    raise SystemExit("no seed gives features that differ")


def attempted(seed, arch="resnet18", width=1 / 64, cifar=False, head="none"):
    torch.manual_seed(seed)
    net = ResNet(arch, width, cifar, head)
    for name, p in net.named_parameters():
        if "bn" in name or "downsample.1" in name:
            with torch.no_grad():
                p.add_(0.3 * torch.randn_like(p))
    with torch.no_grad():
        for _ in range(6):
            net(torch.randn(16, 3, 64, 64))
    return net.eval()


def images(policy, size=SIZE):
    """Three images whose pixels follow from a formula, normalised."""
    i, y, x, c = torch.meshgrid(torch.arange(3), torch.arange(size), torch.arange(size), torch.arange(3), indexing="ij")
    pixels = (5 * x * (3 - i) + 3 * y * (i + 1) + 80 * c + x * y * i // 4 + 90 * i) % 256
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in VIEWS[policy])
    return ((pixels.double() / 255 - mean) / std).permute(0, 3, 1, 2)


def features(net, policy, size=SIZE):
    net = copy.deepcopy(net).double()
    with torch.no_grad():
        x = images(policy, size)
        out = {"backbone": net.backbone(x), "head": net(x)}
    return {name: [[round(f, 9) for f in row] for row in nn.functional.normalize(v).tolist()] for name, v in out.items()}


def prefixed(prefix, net):
    return collections.OrderedDict((prefix + k, v.clone()) for k, v in net.state_dict().items())


def sequential(prefix, net):
    """The names of an nn.Sequential of all children but the last, as lightly's examples make it."""
    return prefixed(prefix, nn.Sequential(*list(net.children())[:-1]))


def strided(state):
    """All weights as views of one storage, as slices of a flat buffer are. A few are transposed or channels last."""
    flat = torch.zeros(sum(v.numel() for v in state.values() if v.is_floating_point()) + 7, dtype=torch.float64)
    out, at = collections.OrderedDict(), 7
    for k, v in state.items():
        if not v.is_floating_point():
            out[k] = v
            continue
        part = flat[at:at + v.numel()]
        at += v.numel()
        if v.dim() == 4:
            n, c, h, w = v.shape
            part = part.view(n, h, w, c).permute(0, 3, 1, 2)
        elif v.dim() == 2:
            part = part.view(v.shape[1], v.shape[0]).t()
        else:
            part = part.view(v.shape)
        part.copy_(v)
        out[k] = part
    return out


def save_tar(path, state):
    """The format of the first releases. torch.load still reads it, but nothing writes it any more.

    This is written from its description."""
    storages, tensors = io.BytesIO(), io.BytesIO()
    pickle.dump(len(state), storages, 2)
    pickle.dump(len(state), tensors, 2)
    ids = {}
    for i, v in enumerate(state.values()):
        ids[id(v)] = 1000 + i
        kind = {torch.float32: torch.FloatStorage, torch.int64: torch.LongStorage}[v.dtype]
        pickle.dump((i, "cpu", kind), storages, 2)
        storages.write(struct.pack("<q", v.numel()) + v.contiguous().numpy().tobytes())
        pickle.dump((1000 + i, i, torch.FloatTensor), tensors, 2)
        n = v.dim()
        tensors.write(struct.pack("<ii%dq" % (2 * n + 1), n, 0, *v.shape, *v.contiguous().stride(), 0))
    pickle.dump([], storages, 2)
    body = io.BytesIO()
    pickler = pickle.Pickler(body, 2)
    pickler.persistent_id = lambda o: ids[id(o)] if torch.is_tensor(o) else None
    pickler.dump(state)
    with tarfile.open(path, "w:") as tar:
        for name, part in (("storages", storages), ("tensors", tensors), ("pickle", body)):
            info = tarfile.TarInfo(name)
            info.size = part.tell() if part is not body else len(body.getvalue())
            part.seek(0)
            tar.addfile(info, part)


def main():
    cases = []

    def case(name, query, key, policy, content, legacy, **want):
        path = os.path.join(FOLDER, name)
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        add(name, query, key, policy, **want)

    def add(name, query, key, policy, **want):
        sides = {"query": query, "key": key}
        cases.append(dict(file=name, policy=policy, size=SIZE, sides={s: features(n, policy) for s, n in sides.items() if n is not None}, **want))

    # MoCo v2 as main_moco.py saves it: DistributedDataParallel's module., both encoders, the queue and
    # the optimizer; here with the script's arguments too.
    q, k = network(1, head="mlp"), network(2, head="mlp")
    optimizer = torch.optim.SGD(q.parameters(), 0.03, momentum=0.9)
    q.train()
    q(torch.randn(4, 3, 64, 64)).square().sum().backward()
    q.eval()
    optimizer.step()
    state = prefixed("module.encoder_q.", q)
    state.update(prefixed("module.encoder_k.", k))
    state.update({"module.queue": torch.randn(6, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.long)})
    content = {"epoch": 200, "arch": "resnet18", "state_dict": state, "optimizer": optimizer.state_dict(), "args": argparse.Namespace(lr=0.03, cos=True)}
    case("moco_v2_legacy.pth.tar", q, k, "v1", content, True, kind="MoCo", arch="resnet18", stem="imagenet", head="mlp")

    q, k = network(3, head="linear"), network(4, head="linear")
    state = prefixed("module.encoder_q.", q)
    state.update(prefixed("module.encoder_k.", k))
    state.update({"module.queue": torch.randn(6, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.long)})
    case("moco_v1_zip.pth.tar", q, k, "v1", {"epoch": 200, "arch": "resnet18", "state_dict": state}, False, kind="MoCo", arch="resnet18", stem="imagenet", head="linear")

    # lightly: an nn.Sequential of torchvision's children, in half precision.
    q, k = network(5).half().float(), network(6).half().float()
    state = sequential("backbone.", q)
    state.update({"projection_head.layers.0.weight": torch.randn(8, 8), "projection_head.layers.2.weight": torch.randn(4, 8)})
    state.update(sequential("backbone_momentum.", k))
    state = collections.OrderedDict((n, v.half() if v.is_floating_point() else v) for n, v in state.items())
    case("lightly_half.ckpt", q, k, "v1", {"epoch": 3, "global_step": 99, "state_dict": state}, True, kind="lightly", arch="resnet18", stem="imagenet", head="none")

    # solo-learn: bottlenecks, a stem for small images, and a classifier and a projector beside the
    # backbone.
    q = network(7, arch="resnet50", width=1 / 32, cifar=True).half().float()
    state = prefixed("backbone.", q)
    state.update({"classifier.weight": torch.randn(10, 32), "classifier.bias": torch.randn(10), "projector.0.weight": torch.randn(4, 32)})
    state = collections.OrderedDict((n, v.half() if v.is_floating_point() else v) for n, v in state.items())
    case("solo_learn.ckpt", q, None, "cifar", {"epoch": 3, "state_dict": state, "hyper_parameters": {"lr": 0.3}}, True, kind="solo-learn", arch="resnet50", stem="cifar", head="none")

    # A plain state dict in float64, whose tensors are strided views of one storage.
    q = network(8, head="linear")
    case("torchvision_strided.pth", q, None, "v1", strided(q.state_dict()), False, kind="torchvision", arch="resnet18", stem="imagenet", head="linear")

    q = network(9, cifar=True, head="linear")
    save_tar(os.path.join(FOLDER, "old.tar"), collections.OrderedDict(q.state_dict()))
    back = torch.load(os.path.join(FOLDER, "old.tar"))
    assert all(torch.equal(back[n], v) for n, v in q.state_dict().items()), "PyTorch reads something else"
    add("old.tar", q, None, "cifar", kind="torchvision", arch="resnet18", stem="cifar", head="linear")

    with open(os.path.join(FOLDER, "features.json"), "w") as f:
        json.dump({"torch": torch.__version__, "cases": cases}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
