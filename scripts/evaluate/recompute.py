#!/usr/bin/env python3
"""Repeats `moco eval knn` and `moco eval linear` with NumPy and PyTorch, on the features that `moco embed` writes.

  moco embed --model run --data train.tar --out train.npy --features backbone
  moco embed --model run --data test.tar  --out test.npy  --features backbone
  moco eval linear --model run --train train.tar --test test.tar --save probe.safetensors
  scripts/evaluate/recompute.py train.npy test.npy --k 200 --k 20 --t 0.1 --rate 0.03 --probe probe.safetensors
  moco eval knn    --model run --train train.tar --test test.tar --features backbone --k 200,20

The classifiers follow the papers' definitions. kNN is the weighted vote of Wu et al. 2018 with k neighbours and
temperature t. Linear is softmax regression by torch.optim.SGD: momentum 0.9, no weight decay, the rate divided by
ten after 60% and 80% of the epochs. Its rows have length one times the root of their dimension, as in moco. The
order of images is PyTorch's own, so the linear accuracies differ as much as another order changes them. --probe
applies a classifier that --save wrote to the test features, by its metadata alone.
"""
import argparse
import json
import math
import struct

import numpy as np
import torch


def load(path):
    with open(path + ".jsonl") as manifest:
        labels = [json.loads(line)["label"] for line in manifest]
    return np.load(path), labels


def knn(bank, bank_labels, queries, labels, k, t, classes):
    votes = np.zeros((len(queries), classes))
    for at in range(0, len(queries), 500):
        similarity = queries[at:at + 500].astype(np.float64) @ bank.astype(np.float64).T
        nearest = np.argpartition(-similarity, k, axis=1)[:, :k]
        weight = np.exp(np.take_along_axis(similarity, nearest, 1) / t)
        for c in range(classes):
            votes[at:at + 500, c] = (weight * (bank_labels[nearest] == c)).sum(1)
    return 100 * (votes.argmax(1) == labels).mean()


def linear(train, train_labels, test, labels, rate, epochs, batch, classes, seed):
    torch.manual_seed(seed)
    scale = math.sqrt(train.shape[1])
    x, y = torch.from_numpy(train) * scale, torch.from_numpy(train_labels)
    model = torch.nn.Linear(train.shape[1], classes)
    torch.nn.init.normal_(model.weight, 0, 0.01)
    torch.nn.init.zeros_(model.bias)
    sgd = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(sgd, [epochs * 60 // 100, epochs * 80 // 100])
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for at in range(0, len(x) - batch + 1, batch):
            chosen = order[at:at + batch]
            sgd.zero_grad()
            torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            sgd.step()
        schedule.step()
    with torch.no_grad():
        return 100 * (model(torch.from_numpy(test) * scale).argmax(1).numpy() == labels).mean()


def saved(path, test, test_names):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    array = {n: np.frombuffer(data[slice(*e["data_offsets"])], "<f4").reshape(e["shape"])
             for n, e in header.items() if n != "__metadata__"}
    about = header["__metadata__"]
    logits = float(about["scale"]) * test @ array["weight"].T + array["bias"]
    names = json.loads(about["classes"])
    return 100 * np.mean([names[c] == n for c, n in zip(logits.argmax(1), test_names)])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("train", help="features of the training images: .npy with its .npy.jsonl beside it")
    p.add_argument("test", help="features of the test images")
    p.add_argument("--k", type=int, action="append", help="neighbours that vote; 200 if not given (may be given several times)")
    p.add_argument("--t", type=float, action="append", help="temperature; 0.1 if not given (may be given several times)")
    p.add_argument("--rate", type=float, action="append",
                   help="learning rate of a linear classifier (may be given several times)")
    p.add_argument("--probe", help="a classifier that moco eval linear --save wrote")
    p.add_argument("--epochs", type=int, default=100)
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    train, train_names = load(a.train)
    test, test_names = load(a.test)
    names = sorted(set(train_names))
    train_labels = np.array([names.index(n) for n in train_names])
    labels = np.array([names.index(n) for n in test_names])
    for k in a.k or [200]:
        for t in a.t or [0.1]:
            print(f"kNN, k {k}, t {t}: {knn(train, train_labels, test, labels, k, t, len(names)):.2f}%", flush=True)
    if a.probe:
        print(f"saved classifier: {saved(a.probe, test, test_names):.2f}%", flush=True)
    for rate in a.rate or []:
        top1 = linear(train, train_labels, test, labels, rate, a.epochs, a.batch, len(names), a.seed)
        print(f"linear, rate {rate}: {top1:.2f}%", flush=True)


if __name__ == "__main__":
    main()
