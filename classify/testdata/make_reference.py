#!/usr/bin/env python3
"""Write reference.json: a small problem and what scikit-learn's LogisticRegression makes of it."""

import json

import numpy as np
from sklearn import __version__
from sklearn.linear_model import LogisticRegression

random = np.random.default_rng(0)
labels = np.array([0] * 12 + [1] * 9 + [2] * 15)
x = (random.normal(size=(3, 4))[labels] + random.normal(size=(36, 4)) + 5).astype(np.float32)
test = (random.normal(size=(5, 4)) + 5).astype(np.float32)
cases = []
for c in [0.05, 1, 20]:
    fit = LogisticRegression(C=c, multi_class="multinomial", tol=1e-10, max_iter=10000).fit(x.astype(float), labels)
    cases.append({"c": c, "weight": fit.coef_.round(6).tolist(), "bias": fit.intercept_.round(6).tolist(),
                  "probabilities": fit.predict_proba(test.astype(float)).round(6).tolist()})
two = LogisticRegression(C=1, multi_class="multinomial", tol=1e-10, max_iter=10000)
two.fit(x[labels < 2].astype(float), labels[labels < 2])
cases.append({"c": 1, "two": True, "probabilities": two.predict_proba(test.astype(float)).round(6).tolist()})
json.dump({"sklearn": __version__, "x": x.tolist(), "labels": labels.tolist(), "test": test.tolist(), "cases": cases},
          open("reference.json", "w"))
