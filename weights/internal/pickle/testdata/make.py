#!/usr/bin/env python3
"""Writes one value in each protocol of pickle: protocol-0.pkl to protocol-5.pkl."""
import argparse
import collections
import pathlib
import pickle
import sys
import types


class Sub(collections.OrderedDict):
    pass


Sub.__module__, Sub.__qualname__ = "cfg", "Sub"
sys.modules["cfg"] = types.ModuleType("cfg")
sys.modules["cfg"].Sub = Sub
sub = Sub(lr=0.1)
sub.note = "x"
shared = [1]
value = {
    "text": "h\u00e9\u20ac\n\\u0041",
    "numbers": [0, 255, 256, 65536, -1, 2**31, -(2**40), 2**70, True, False, None, 1.5, float("inf")],
    "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    "bytes": b"\x00\xff",
    "set": {7},
    "frozen": frozenset([8]),
    "shared": [shared, shared],
    "namespace": argparse.Namespace(a=1),
    "sub": sub,
    "path": pathlib.PurePosixPath("a/b"),
    "complex": 1j,
}
for protocol in range(6):
    with open(f"protocol-{protocol}.pkl", "wb") as f:
        pickle.dump(value, f, protocol)
