#!/usr/bin/env python3
"""Compare `moco classify` with scikit-learn's LogisticRegression on the same features.

    moco embed --model run --data cifar10/train.tar --out train.npy
    moco embed --model run --data cifar10/test.tar --out test.npy
    scripts/classify/compare.py --moco moco --train cifar10/train.tar --test cifar10/test.tar \
        --train-vectors train.npy --test-vectors test.npy

For each number of labels a class it draws labelled pictures some times, lets moco classify the test
pictures, and prints accuracies as a table in Markdown: moco's; LogisticRegression's with the C that
moco chose; and LogisticRegressionCV's, which chooses its own C by its own folds. Beside them stand
the accuracy that moco expected and its expected calibration error, over 15 bins of confidence.

It needs Python 3 with NumPy and scikit-learn.
"""

import argparse
import csv
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV


def vectors(path):
    """Rows, labels and paths of a .npy that `moco embed` wrote."""
    rows = [json.loads(line) for line in open(f"{path}.jsonl", encoding="utf-8")]
    return np.load(path), np.array([r["label"] for r in rows]), [r["path"] for r in rows]


def calibration_error(right, confidence, bins=15):
    """Expected calibration error (Guo et al. 2017)."""
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    return sum(abs((right[at == b] - confidence[at == b]).sum()) for b in range(bins)) / len(right)


def classify(args, folder, labelled):
    """The predictions of moco by path, and its last events."""
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([("path", "label"), *labelled])
    done = subprocess.run(
        [args.moco, "classify", "--train", args.train, "--train-vectors", args.train_vectors,
         "--labels", folder / "labels.csv", "--data", args.test, "--vectors", args.test_vectors,
         "--out", folder / "out.csv", "--json"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    expected, last = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    rows = csv.DictReader(open(folder / "out.csv", encoding="utf-8"))
    return {r["path"]: (r["label"], float(r["confidence"])) for r in rows}, expected, last


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--moco", default="moco", help="the program")
    for name in ["train", "test", "train-vectors", "test-vectors"]:
        p.add_argument(f"--{name}", required=True)
    p.add_argument("--budgets", default="1,10,100", help="labels a class")
    p.add_argument("--draws", type=int, default=5, help="random draws of the labelled pictures")
    p.add_argument("--cv-up-to", type=int, default=100, help="largest budget for LogisticRegressionCV, which is slow")
    args = p.parse_args()
    x, labels, paths = vectors(args.train_vectors)
    test_x, test_labels, test_paths = vectors(args.test_vectors)
    print("| labels a class | moco | LogisticRegression, same C | LogisticRegressionCV | expected | calibration error |"
          " expected within its interval |")
    print("|---|---|---|---|---|---|---|")
    for budget in map(int, args.budgets.split(",")):
        table, inside = [], 0
        for draw in range(args.draws):
            random = np.random.default_rng([budget, draw])
            keep = np.concatenate([random.permutation(np.flatnonzero(labels == c))[:budget] for c in np.unique(labels)])
            with tempfile.TemporaryDirectory() as folder:
                said, expected, last = classify(args, Path(folder), [(paths[i], labels[i]) for i in keep])
            right = np.array([said[q][0] == c for q, c in zip(test_paths, test_labels)])
            confidence = np.array([said[q][1] for q in test_paths])
            same = LogisticRegression(C=expected["c"], max_iter=3000).fit(x[keep], labels[keep])
            own = None
            if 1 < budget <= args.cv_up_to:
                strengths = expected["c"] * 10.0 ** np.arange(-2, 2.5, 0.5)
                cv = LogisticRegressionCV(Cs=strengths, cv=min(5, budget), scoring="neg_log_loss", max_iter=1000)
                own = (cv.fit(x[keep], labels[keep]).predict(test_x) == test_labels).mean()
            table.append([right.mean(), same.score(test_x, test_labels), own, last["expected_accuracy"],
                          calibration_error(right, confidence)])
            inside += last["low"] <= right.mean() <= last["high"]
        means = [f"{100 * np.mean(column):.2f}%" if column[0] is not None else "-" for column in zip(*table)]
        print(f"| {budget} | " + " | ".join(means) + f" | {inside} of {args.draws} |", flush=True)


if __name__ == "__main__":
    main()
