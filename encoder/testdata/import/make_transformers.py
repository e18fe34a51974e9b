#!/usr/bin/env python3
"""Makes the checkpoints of vision transformers in this folder, and of MoCo v3, and transformers.json:
their features in float64.

    python3 testdata/import/make_transformers.py     # needs torch and torchvision; writes beside itself

Each network has the structure and the names that its project has published, and random weights; it is
small: 16 channels, two blocks. torchvision's is torchvision's own. Images are make_import.py's."""

import collections
import copy
import json
import os
import struct

import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision

from make_import import FOLDER, ResNet, features, images, prefixed

DIM, DEPTH, HEADS = 16, 2, 2


def attend(q, k, v, heads):
    """Softmax attention over [N,T,C]."""
    split = lambda t: t.unflatten(2, (heads, -1)).transpose(1, 2)
    q, k, v = split(q), split(k), split(v)
    p = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(3)
    return (p @ v).transpose(1, 2).flatten(2)


def at_size(positions, prefix, grid, how):
    """Position embeddings for another number of patches, in the way of each project: to the size, by a
    factor that is a little too large (DINO, DINOv2), or with antialiasing (timm, DINOv2 with registers)."""
    first, patches = positions[:, :prefix], positions[:, prefix:]
    old = round(patches.shape[1] ** 0.5)
    if old == grid:
        return positions
    patches = patches.unflatten(1, (old, old)).permute(0, 3, 1, 2)
    if how == "offset":
        factor = (grid + 0.1) / old
        patches = F.interpolate(patches, scale_factor=(factor, factor), mode="bicubic")
    else:
        patches = F.interpolate(patches, size=(grid, grid), mode="bicubic", antialias=how == "antialias")
    return torch.cat([first, patches.flatten(2).transpose(1, 2)], 1)


class Scale(nn.Module):
    """LayerScale, whose parameter is gamma in timm and DINOv2 and lambda1 in transformers."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        self.register_parameter(name, nn.Parameter(torch.ones(DIM)))

    def forward(self, x):
        return x * getattr(self, self.name)


class Attention(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x):
        return self.proj(attend(*self.qkv(x).chunk(3, 2), self.heads))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(DIM, 4 * DIM), nn.Linear(4 * DIM, DIM)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A block as timm, DINO, DINOv2 and MoCo v3 have it."""

    def __init__(self, heads, scale):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(DIM, 1e-6), Attention(heads)
        self.ls1 = Scale("gamma") if scale else nn.Identity()
        self.norm2, self.mlp = nn.LayerNorm(DIM, 1e-6), Mlp()
        self.ls2 = Scale("gamma") if scale else nn.Identity()

    def forward(self, x):
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Timm(nn.Module):
    """timm's VisionTransformer and what others have made of it.

    extra names the tokens between the class token and the patches, embedded tells how many of all the
    tokens before the patches have positions, chunks divides the blocks as DINOv2's training does."""

    def __init__(self, patch, size, heads=HEADS, scale=False, extra=None, embedded=1, chunks=0, head=None, how="antialias"):
        super().__init__()
        self.extra, self.embedded, self.how = extra or {}, embedded, how
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        for name, n in self.extra.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(1, n, DIM)))
        self.pos_embed = nn.Parameter(torch.zeros(1, embedded + (size // patch) ** 2, DIM))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, DIM, patch, patch)
        blocks = [Block(heads, scale) for _ in range(DEPTH)]
        if chunks:
            each = DEPTH // chunks
            blocks = [nn.Sequential(*[nn.Identity()] * i, *blocks[i:i + each]) for i in range(0, DEPTH, each)]
        self.blocks, self.norm = nn.Sequential(*blocks), nn.LayerNorm(DIM, 1e-6)
        if head is not None:
            self.head = head

    def backbone(self, x):
        x = self.patch_embed.proj(x)
        grid, x = x.shape[3], x.flatten(2).transpose(1, 2)
        before = [self.cls_token] + [getattr(self, name) for name in self.extra]
        positions = at_size(self.pos_embed, self.embedded, grid, self.how)
        # The last tokens before the patches are those without a position.
        bare = torch.cat(before, 1).expand(len(x), -1, -1)
        without = torch.zeros(1, bare.shape[1] - self.embedded, DIM, dtype=x.dtype)
        positions = torch.cat([positions[:, :self.embedded], without, positions[:, self.embedded:]], 1)
        x = torch.cat([bare, x], 1) + positions
        return self.norm(self.blocks(x))[:, 0]

    def forward(self, x):
        x = self.backbone(x)
        return self.head(x) if hasattr(self, "head") else x


def module(**children):
    m = nn.Module()
    for name, child in children.items():
        setattr(m, name, child)
    return m


class Transformers(nn.Module):
    """ViTModel (dinov2: Dinov2Model) of transformers: three projections, its own names, epsilon 1e-12 (1e-6)."""

    def __init__(self, patch, size, dinov2):
        super().__init__()
        self.dinov2 = dinov2
        self.embeddings = module(patch_embeddings=module(projection=nn.Conv2d(3, DIM, patch, patch)))
        self.embeddings.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.embeddings.position_embeddings = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, DIM))
        if dinov2:
            self.embeddings.mask_token = nn.Parameter(torch.zeros(1, DIM))
        self.encoder = module(layer=nn.ModuleList(self.layer() for _ in range(DEPTH)))
        self.layernorm = self.norm()

    def norm(self):
        return nn.LayerNorm(DIM, 1e-6 if self.dinov2 else 1e-12)

    def layer(self):
        projections = module(query=nn.Linear(DIM, DIM), key=nn.Linear(DIM, DIM), value=nn.Linear(DIM, DIM))
        attention = module(attention=projections, output=module(dense=nn.Linear(DIM, DIM)))
        if self.dinov2:
            return module(norm1=self.norm(), attention=attention, layer_scale1=Scale("lambda1"), norm2=self.norm(),
                          mlp=Mlp(), layer_scale2=Scale("lambda1"))
        return module(attention=attention, intermediate=module(dense=nn.Linear(DIM, 4 * DIM)),
                      output=module(dense=nn.Linear(4 * DIM, DIM)), layernorm_before=self.norm(), layernorm_after=self.norm())

    def backbone(self, x):
        x = self.embeddings.patch_embeddings.projection(x)
        grid, x = x.shape[3], x.flatten(2).transpose(1, 2)
        x = torch.cat([self.embeddings.cls_token.expand(len(x), -1, -1), x], 1)
        x = x + at_size(self.embeddings.position_embeddings, 1, grid, "size")
        for layer in self.encoder.layer:
            p, out = layer.attention.attention, layer.attention.output.dense
            y = (layer.norm1 if self.dinov2 else layer.layernorm_before)(x)
            y = out(attend(p.query(y), p.key(y), p.value(y), HEADS))
            if self.dinov2:
                x = x + layer.layer_scale1(y)
                x = x + layer.layer_scale2(layer.mlp(layer.norm2(x)))
            else:
                x = x + y
                x = x + layer.output.dense(F.gelu(layer.intermediate.dense(layer.layernorm_after(x))))
        return self.layernorm(x)[:, 0]

    forward = backbone


class Torchvision(nn.Module):
    """torchvision's own network, with the features before its head."""

    def __init__(self, patch, size):
        super().__init__()
        self.net = torchvision.models.VisionTransformer(size, patch, DEPTH, HEADS, DIM, 4 * DIM, num_classes=6)

    def backbone(self, x):
        headless = copy.deepcopy(self.net)
        headless.heads = nn.Identity()
        return headless(x)

    def forward(self, x):
        return self.net(x)


def projector(inside, layers, hidden=12, out=8):
    """MoCo v3's: linear layers without bias, each with a batch norm, the last of which has no parameters."""
    sizes, parts = [inside] + [hidden] * (layers - 1) + [out], []
    for i in range(layers):
        last = i == layers - 1
        parts += [nn.Linear(sizes[i], sizes[i + 1], bias=False), nn.BatchNorm1d(sizes[i + 1], affine=not last)]
        parts += [] if last else [nn.ReLU()]
    return nn.Sequential(*parts)


def drawn(seed, make, size, policy="v1"):
    """A network with random weights that float16 holds. It must tell the images apart."""
    for attempt in range(100):
        torch.manual_seed(1000 * seed + attempt)
        net = make()
        with torch.no_grad():
            for name, p in net.named_parameters():
                if p.dim() == 1 and name.endswith("weight") or "gamma" in name or "lambda1" in name:
                    p.copy_(1 + 0.3 * torch.randn_like(p))
                elif p.dim() == 2 and "mask" not in name:
                    p.copy_(torch.randn_like(p) / p.shape[1] ** 0.5)
                elif p.dim() == 4:
                    p.copy_(torch.randn_like(p) / p[0].numel() ** 0.5)
                else:
                    p.copy_(0.3 * torch.randn_like(p))
            if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules()):
                net.train()
                for _ in range(6):
                    net(torch.randn(16, 3, size, size))
            net = net.eval().half().float()
            x = images(policy, size).float()
            if min(torch.pdist(F.normalize(f(x))).min() for f in (net.backbone, net)) > 0.01:
                return net
    raise SystemExit("no seed gives features that differ")


def half(state):
    return collections.OrderedDict((n, v.half() if v.is_floating_point() else v) for n, v in state.items())


def save_safetensors(path, state):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    names = {torch.float16: "F16", torch.float32: "F32"}
    for n, v in state.items():
        size = v.numel() * v.element_size()
        header[n] = {"dtype": names[v.dtype], "shape": list(v.shape), "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(raw)) + raw)
        for v in state.values():
            f.write(v.contiguous().numpy().tobytes())


def sincos(net):
    """MoCo v3's fixed position embeddings."""
    grid, quarter = round((net.pos_embed.shape[1] - 1) ** 0.5), DIM // 4
    omega = 1 / 10000 ** (torch.arange(quarter) / quarter)
    a, b = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    a, b = a.flatten()[:, None] * omega, b.flatten()[:, None] * omega
    with torch.no_grad():
        net.pos_embed[0, 0] = 0
        net.pos_embed[0, 1:] = torch.cat([a.sin(), a.cos(), b.sin(), b.cos()], 1).half().float()


def main():
    cases = []

    def case(name, content, sides, size, policy="v1", heads=HEADS, layers=("backbone", "head"), **want):
        path = os.path.join(FOLDER, name)
        if name.endswith(".safetensors"):
            save_safetensors(path, content)
        else:
            torch.save(content, path, _use_new_zipfile_serialization=False)
        rows = {s: {k: v for k, v in features(n, policy, size).items() if k in layers} for s, n in sides.items()}
        # The views' policy is v1, with the family's normalisation.
        cases.append(dict(file=name, policy="v1", size=size, heads=heads, sides=rows, **want))

    # MoCo v3 as main_moco.py saves it: both encoders with their projectors, and the predictor.
    def vit():
        net = Timm(8, 32, heads=4, head=projector(DIM, 3))
        return net

    pair = {}
    for seed, side in ((21, "query"), (22, "key")):
        pair[side] = drawn(seed, vit, 32)
        sincos(pair[side])
    state = prefixed("module.base_encoder.", pair["query"])
    state.update(prefixed("module.momentum_encoder.", pair["key"]))
    state.update(prefixed("module.predictor.", projector(8, 2)))
    case("moco_v3_vit.pth.tar", {"epoch": 300, "arch": "vit_small", "state_dict": half(state)}, pair, 32, heads=4,
         kind="MoCo v3", arch="vit_ti8", head="mlp_bn")

    def resnet():
        net = ResNet("resnet18", 1 / 64, False, "none")
        net.fc = projector(8, 2)
        return net

    pair = {"query": drawn(23, resnet, 64), "key": drawn(24, resnet, 64)}
    state = prefixed("module.base_encoder.", pair["query"])
    state.update(prefixed("module.momentum_encoder.", pair["key"]))
    state.update(prefixed("module.predictor.", projector(8, 2)))
    case("moco_v3_resnet.pth.tar", {"epoch": 300, "arch": "resnet18", "state_dict": half(state)}, pair, 32, heads=0,
         kind="MoCo v3", arch="resnet18", stem="imagenet", head="mlp_bn")

    # DINO as main_dino.py saves it: the student within DistributedDataParallel, the teacher without.
    # Its positions are for 40 pixels.
    pair = {"query": drawn(25, lambda: Timm(8, 40, how="offset"), 32), "key": drawn(26, lambda: Timm(8, 40, how="offset"), 32)}
    student, teacher = prefixed("module.backbone.", pair["query"]), prefixed("backbone.", pair["key"])
    student["module.head.mlp.0.weight"] = teacher["head.mlp.0.weight"] = torch.randn(8, DIM)
    case("dino.pth", {"student": half(student), "teacher": half(teacher), "epoch": 100}, pair, 32,
         layers=("backbone",), kind="DINO", arch="vit_ti8", head="none")

    # DINOv2: blocks in chunks, registers, LayerScale, a mask token, positions for 70 pixels.
    net = drawn(27, lambda: Timm(14, 70, scale=True, extra={"register_tokens": 4}, chunks=2), 56)
    state = prefixed("backbone.", net)
    state["backbone.mask_token"], state["dino_head.last_layer.weight_g"] = torch.zeros(1, DIM), torch.ones(4, 1)
    case("dinov2.pth", {"teacher": half(state)}, {"key": net}, 56, layers=("backbone",), kind="DINOv2", arch="vit_ti14", head="none")

    net = drawn(28, lambda: Torchvision(8, 32), 32)
    case("torchvision_vit.pth", half(net.net.state_dict()), {"query": net}, 32, kind="torchvision", arch="vit_ti8", head="linear")

    # timm: registers, no token but the patches with a position.
    net = drawn(29, lambda: Timm(8, 32, extra={"reg_token": 2}, embedded=0, head=nn.Linear(DIM, 6)), 32, "half")
    case("timm_registers.safetensors", half(net.state_dict()), {"query": net}, 32, "half", kind="timm", arch="vit_ti8", head="linear")

    # DeiT's distilled network: a second token, with a position, and a second head.
    net = drawn(30, lambda: Timm(8, 32, extra={"dist_token": 1}, embedded=2, head=nn.Linear(DIM, 6)), 32)
    state = net.state_dict()
    state.update({"head_dist.weight": torch.randn(6, DIM), "head_dist.bias": torch.randn(6)})
    case("deit_distilled.pth", {"model": half(state)}, {"query": net}, 32, layers=("backbone",), kind="DeiT", arch="vit_ti8", head="none")

    net = drawn(31, lambda: Transformers(8, 32, False), 32, "half")
    state = prefixed("vit.", net)
    state.update({"classifier.weight": torch.randn(6, DIM), "classifier.bias": torch.randn(6)})
    case("transformers_vit.safetensors", half(state), {"query": net}, 32, "half", layers=("backbone",), kind="transformers' ViT", arch="vit_ti8", head="none")

    net = drawn(32, lambda: Transformers(14, 70, True), 56)
    case("transformers_dinov2.safetensors", half(net.state_dict()), {"query": net}, 56, layers=("backbone",), kind="transformers' DINOv2", arch="vit_ti14", head="none")

    with open(os.path.join(FOLDER, "transformers.json"), "w") as f:
        json.dump({"torch": torch.__version__, "torchvision": torchvision.__version__, "cases": cases}, f, indent=1)
        f.write("\n")


main()
