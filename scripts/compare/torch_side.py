"""PyTorch's side of the comparison: one job in one process.

The result is one line of JSON on standard output.

scripts/compare/run calls this; it can be called alone too (--help). It needs torch and torchvision, 1.13 or
later, and nothing of moco.

Jobs:
  train    whole training steps with data loading and views
  step     training steps on random input
  forward  features of random input by a frozen encoder
  export   write the frozen encoder as ONNX, with an input and PyTorch's features of it

A way (--way) is how PyTorch computes: words joined by "+".
  nchw | nhwc             memory format (nhwc is PyTorch's channels_last)
  autocast | cast         bfloat16 by autocast, or the whole network in bfloat16 (it keeps no float32 weights:
                          faster, but not fit for training)
  eager | frozen          forward only: plain module, or traced and frozen by torch.jit, batch norm folded into convolutions
  layer                   transformers only: blocks are PyTorch's own nn.TransformerEncoderLayer, which has a path of its own in
                          inference, rather than plain modules
"""

import argparse
import copy
import io
import json
import os
import re
import statistics
import sys
import tarfile
import time

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision import transforms
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
IMAGE_NAMES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class Encoder(ResNet):
    """torchvision's ResNet with scaled channel counts, a choice of stem, and a linear head of `dim` features."""

    def __init__(self, arch, stem, width, dim=128):
        nn.Module.__init__(self)
        block, layers = {"resnet10": (BasicBlock, (1, 1, 1, 1)), "resnet18": (BasicBlock, (2, 2, 2, 2)),
                         "resnet50": (Bottleneck, (3, 4, 6, 3))}[arch]
        planes = [max(1, round(64 * 2**i * width)) for i in range(4)]
        self._norm_layer, self.dilation, self.groups, self.base_width = nn.BatchNorm2d, 1, 1, 64
        self.inplanes = planes[0]
        size, stride, padding = {"cifar": (3, 1, 1), "strided": (3, 2, 1), "imagenet": (7, 2, 3)}[stem]
        self.conv1 = nn.Conv2d(3, planes[0], size, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(planes[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        for i in range(4):
            setattr(self, f"layer{i + 1}", self._make_layer(block, planes[i], layers[i], stride=1 if i == 0 else 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(planes[3] * block.expansion, dim)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")


def mlp(widths, last_norm):
    """MoCo v3's projector or predictor: linear layers without bias, batch norm, ReLU; the last norm without scale and shift."""
    layers = []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        layers.append(nn.Linear(a, b, bias=False))
        if i < len(widths) - 2:
            layers += [nn.BatchNorm1d(b), nn.ReLU(inplace=True)]
        elif last_norm:
            layers.append(nn.BatchNorm1d(b, affine=False))
    return nn.Sequential(*layers)


class Block(nn.Module):
    """A block of a transformer, the norms before attention and MLP."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        p = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1)
        x = x + self.proj((p @ v).transpose(1, 2).reshape(n, t, c))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """A vision transformer whose features are its class token. With hidden it has MoCo v3's projector of three layers."""

    WIDTHS = {"ti": 192, "s": 384, "b": 768}

    def __init__(self, arch, size, heads=0, hidden=0, layer=False):
        super().__init__()
        kind, patch = re.fullmatch(r"vit_(ti|s|b)(\d+)", arch).groups()
        width, patch = self.WIDTHS[kind], int(patch)
        heads = heads or width // 64
        self.patch = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + (size // patch) ** 2, width))

        def block():
            if not layer:
                return Block(width, heads)
            return nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0, activation="gelu", layer_norm_eps=1e-6,
                                              batch_first=True, norm_first=True)

        self.blocks = nn.Sequential(*(block() for _ in range(12)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = mlp([width, hidden, hidden, 256], True) if hidden else nn.Identity()

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def encoder_of(a, hidden=0):
    if a.arch.startswith("vit_"):
        return Transformer(a.arch, a.size, a.heads, hidden, "layer" in a.way.split("+"))
    return Encoder(a.arch, a.stem, a.width)


class Features(nn.Module):
    """What `moco bench --forward` computes: the head's features, L2-normalised."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x):
        return F.normalize(self.encoder(x).float(), dim=1)


class Moco:
    """Algorithm 1 of the paper. The momentum update is before the keys, as in the authors' code and in moco."""

    def __init__(self, a):
        self.a, self.way = a, set(a.way.split("+"))
        self.m, self.t, self.at = a.m, a.t, 0
        self.format = torch.channels_last if "nhwc" in self.way else torch.contiguous_format
        self.dtype = torch.bfloat16 if "cast" in self.way else torch.float32
        self.fq = encoder_of(a).to(memory_format=self.format).to(self.dtype).train()
        self.fk = copy.deepcopy(self.fq)
        self.q_parameters, self.k_parameters = list(self.fq.parameters()), list(self.fk.parameters())
        for p in self.k_parameters:
            p.requires_grad_(False)
        self.queue = F.normalize(torch.randn(a.queue, 128), dim=1)
        self.sgd = torch.optim.SGD(self.q_parameters, lr=a.lr, momentum=0.9, weight_decay=a.weight_decay)

    def encode(self, f, x):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="autocast" in self.way):
            y = f(x)
        return F.normalize(y.float(), dim=1)

    def images(self, x):
        return x.to(self.dtype).contiguous(memory_format=self.format)

    def step(self, x_q, x_k):
        """One step on two views [N,3,S,S] of each image; returns the loss."""
        n = x_q.shape[0]
        with torch.no_grad():
            torch._foreach_mul_(self.k_parameters, self.m)
            torch._foreach_add_(self.k_parameters, [p.detach() for p in self.q_parameters], alpha=1 - self.m)
            order = torch.randperm(n)
            k = self.encode(self.fk, self.images(x_k[order]))[torch.argsort(order)]
        q = self.encode(self.fq, self.images(x_q))
        positive = (q * k).sum(1, keepdim=True)
        logits = torch.cat([positive, q @ self.queue.t()], 1) / self.t
        loss = F.cross_entropy(logits, torch.zeros(n, dtype=torch.long))
        self.sgd.zero_grad(set_to_none=True)
        loss.backward()
        self.sgd.step()
        first = min(n, len(self.queue) - self.at)
        self.queue[self.at : self.at + first] = k[:first]
        self.queue[: n - first] = k[first:]
        self.at = (self.at + n) % len(self.queue)
        return loss.item()


class MocoV3:
    """Algorithm 1 of MoCo v3's paper: the keys of the batch from the momentum encoder, a predictor, a symmetric loss. The patches'
    projection and the positions are not trained."""

    def __init__(self, a):
        self.a, self.way, self.m, self.t = a, set(a.way.split("+")), a.m, a.t
        self.dtype = torch.bfloat16 if "cast" in self.way else torch.float32
        self.fq = encoder_of(a, hidden=4096)
        for p in (*self.fq.patch.parameters(), self.fq.position):
            p.requires_grad_(False)
        self.fq = self.fq.to(self.dtype).train()
        self.fk = copy.deepcopy(self.fq)
        self.predictor = mlp([256, 4096, 256], True).to(self.dtype).train()
        self.k_parameters = list(self.fk.parameters())
        for p in self.k_parameters:
            p.requires_grad_(False)
        self.q_parameters = [p for f in (self.fq, self.predictor) for p in f.parameters() if p.requires_grad]
        groups = [{"params": [p for p in self.q_parameters if (p.ndim == 2) == matrix], "weight_decay": decay}
                  for matrix, decay in ((True, a.weight_decay), (False, 0))]
        self.adamw = torch.optim.AdamW(groups, lr=a.lr, foreach=True)

    def step(self, x1, x2):
        """One step on two views [N,3,S,S] of each image; returns the loss."""
        x1, x2 = x1.to(self.dtype), x2.to(self.dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="autocast" in self.way):
            q = [self.predictor(self.fq(x)) for x in (x1, x2)]
            with torch.no_grad():
                torch._foreach_mul_(self.k_parameters, self.m)
                torch._foreach_add_(self.k_parameters, [p.detach() for p in self.fq.parameters()], alpha=1 - self.m)
                k = [self.fk(x) for x in (x1, x2)]
        q, k = ([F.normalize(f.float(), dim=1) for f in both] for both in (q, k))
        own = torch.arange(len(x1))
        loss = sum(2 * self.t * F.cross_entropy(a @ b.t() / self.t, own) for a, b in ((q[0], k[1]), (q[1], k[0])))
        self.adamw.zero_grad(set_to_none=True)
        loss.backward()
        self.adamw.step()
        return loss.item()


def read_images(path, most):
    """Up to `most` images below a folder or in a tar, evenly chosen, as decoded uint8 arrays [H,W,3]."""

    def decode(raw):
        return np.asarray(PIL.Image.open(io.BytesIO(raw)).convert("RGB"))

    def choose(names):
        return [names[i * len(names) // most] for i in range(most)] if len(names) > most else names

    if os.path.isdir(path):
        names = sorted(os.path.join(d, f) for d, _, files in os.walk(path) for f in files if f.lower().endswith(IMAGE_NAMES))
        images = []
        for name in choose(names):
            with open(name, "rb") as f:
                images.append(decode(f.read()))
        return images
    with tarfile.open(path) as tar:
        members = [m for m in tar if m.isfile() and m.name.lower().endswith(IMAGE_NAMES)]
        return [decode(tar.extractfile(m).read()) for m in choose(members)]


class Views(torch.utils.data.Dataset):
    """Batches of views: an index is a list of images, the result is uint8 [2,N,S,S,3]. The policy is moco's `cifar`."""

    def __init__(self, images, size):
        self.images = images
        self.view = transforms.Compose([
            transforms.RandomResizedCrop(size, scale=(0.08, 1), ratio=(3 / 4, 4 / 3)),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.RandomHorizontalFlip(),
        ])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, indices):
        pairs = [[np.asarray(self.view(PIL.Image.fromarray(self.images[i]))) for i in indices] for _ in range(2)]
        return torch.from_numpy(np.stack([np.stack(p) for p in pairs]))


def batches(a):
    """Endless batches of normalised float32 views [N,3,S,S].

    To normalise a whole batch at once is faster than image by image."""
    images = read_images(a.data, a.batch * (a.warmup + a.steps))
    if len(images) < a.batch:
        sys.exit(f"{a.data} holds {len(images)} images that can be read, fewer than a batch of {a.batch}: use a smaller --batch")
    views = Views(images, a.size)
    sampler = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(views), a.batch, drop_last=True)
    loader = torch.utils.data.DataLoader(views, sampler=sampler, batch_size=None, num_workers=a.workers,
                                         persistent_workers=a.workers > 0)
    mean, scale = torch.tensor(MEAN) * 255, 1 / (torch.tensor(STD) * 255)
    while True:
        for batch in loader:
            x = batch.float().sub_(mean).mul_(scale).permute(0, 1, 4, 2, 3)
            yield x[0], x[1]


def peak_memory():
    """The largest resident size of this process in bytes; None where the system does not tell."""
    try:
        with open("/proc/self/status") as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None


def timed(a, once):
    """Calls once() for the warm-up and then for the steps, and returns the seconds of each step."""
    for _ in range(a.warmup):
        once()
    times, last = [], time.perf_counter()
    for _ in range(a.steps):
        once()
        now = time.perf_counter()
        times.append(now - last)
        last = now
    return times


def train(a, data):
    """Steps of training on data, an iterator over pairs of views."""
    moco, losses = (MocoV3 if a.v3 else Moco)(a), []
    times = timed(a, lambda: losses.append(moco.step(*next(data))))
    return {"parameters": sum(p.numel() for p in moco.q_parameters), "loss": losses[-1], **summary(a, times)}


def random_batches(a):
    pair = [torch.rand(a.batch, 3, a.size, a.size) * 4 - 2 for _ in range(2)]
    while True:
        yield pair


def frozen_encoder(a):
    torch.manual_seed(0)
    features = Features(encoder_of(a)).eval()
    for p in features.parameters():
        p.requires_grad_(False)
    return features


def forward(a):
    way = set(a.way.split("+"))
    f, x = frozen_encoder(a), torch.rand(a.batch, 3, a.size, a.size) * 4 - 2
    memory_format = torch.channels_last if "nhwc" in way else torch.contiguous_format
    dtype = torch.bfloat16 if "cast" in way else torch.float32
    parameters = sum(p.numel() for p in f.parameters())
    with torch.no_grad():
        expected = f(x[:8])
    f, x = f.to(memory_format=memory_format).to(dtype), x.to(dtype).contiguous(memory_format=memory_format)
    # The cache of autocast is off while tracing. A frozen trace would keep its converted weights as
    # constants.
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled="autocast" in way,
                                         cache_enabled="frozen" not in way):
        if "frozen" in way:
            traced = torch.jit.freeze(torch.jit.trace(f, x))
            f = traced if "autocast" in way else torch.jit.optimize_for_inference(traced)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled="autocast" in way and "frozen" not in way):
        times = timed(a, lambda: f(x))
        difference = (f(x)[:8].float() - expected).abs().max().item()
    if not difference < (0.05 if way & {"autocast", "cast"} else 1e-3):
        sys.exit(f"the features of {a.way} differ by {difference} from those of the plain module")
    return {"parameters": parameters, "difference": difference, **summary(a, times)}


def export(a):
    """Writes the encoder to a.export + ".onnx", an input to ".input", and PyTorch's features of it to ".features".

    Input and features are raw float32."""
    f, x = frozen_encoder(a), torch.rand(a.batch, 3, a.size, a.size) * 4 - 2
    torch.onnx.export(f, x, a.export + ".onnx", input_names=["x"], output_names=["features"],
                      opset_version=13, do_constant_folding=True)
    with torch.no_grad():
        x.numpy().tofile(a.export + ".input")
        f(x).numpy().tofile(a.export + ".features")
    return {"file": a.export + ".onnx"}


def summary(a, times):
    return {
        "images_per_second": a.batch * len(times) / sum(times),
        "images_per_second_fastest": a.batch / min(times),
        "seconds_per_step_median": statistics.median(times),
        "seconds_per_step_fastest": min(times),
        "resident_bytes": peak_memory(),
    }


def about():
    """What decides the speed of this installation."""
    blas = set()
    try:
        with open("/proc/self/maps") as maps:
            blas = {os.path.realpath(line.split()[-1]) for line in maps if "blas" in line}
    except OSError:
        pass
    config = torch.__config__.show()
    return {
        "torch": torch.__version__, "torchvision": torchvision.__version__, "onednn": torch.backends.mkldnn.is_available(),
        "instructions": next((l.split(":")[1].strip() for l in config.splitlines() if "CPU capability" in l), "?"),
        "blas": sorted(blas), "mkl": torch.backends.mkl.is_available(), "threads": torch.get_num_threads(),
    }


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("job", choices=["about", "train", "step", "forward", "export"])
    p.add_argument("--way", default="nhwc")
    p.add_argument("--data", help="train: a folder or a tar of images")
    p.add_argument("--workers", type=int, default=0, help="train: processes that make views; 0 makes them between steps")
    p.add_argument("--export", help="export: where to, without suffix")
    p.add_argument("--arch", default="resnet18", help="resnet10, resnet18, resnet50, or vit_ti16, vit_s16, vit_b16 and the like")
    p.add_argument("--heads", type=int, default=0, help="of a transformer; 0: of 64 channels each")
    p.add_argument("--v3", action="store_true", help="step: MoCo v3's, for a transformer")
    p.add_argument("--stem", default="cifar", help="imagenet, strided or cifar")
    p.add_argument("--width", type=float, default=1)
    p.add_argument("--size", type=int, default=32)
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--queue", type=int, default=4096)
    p.add_argument("--m", type=float, default=0.99)
    p.add_argument("--t", type=float, default=0.1)
    p.add_argument("--lr", type=float, default=0.06)
    p.add_argument("--weight-decay", type=float, default=5e-4)
    p.add_argument("--warmup", type=int, default=2)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    job = {"about": lambda: {}, "train": lambda: train(a, batches(a)), "step": lambda: train(a, random_batches(a)),
           "forward": lambda: forward(a), "export": lambda: export(a)}[a.job]
    result = job()
    print(json.dumps({"job": a.job, "way": a.way, "workers": a.workers, **about(), **result}), flush=True)


if __name__ == "__main__":
    main()
