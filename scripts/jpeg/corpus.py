#!/usr/bin/python3
"""Makes JPEG files of many kinds and records the CRC-32 of the pixels that Pillow reads from them.

  corpus.py DIR [--files N] [--seed N]      N drawn files, with cjpeg and jpegtran (libjpeg-turbo-progs)
  corpus.py DIR --tar FILE [--files N]      the JPEG files of a tar
  corpus.py DIR --sums                      the sums of the files that are already in DIR
  corpus.py DIR ... --zip FILE              a zip of it all, as internal/jpeg/testdata/pillow.zip is
                                            (--files 260 --longest 40 --seed 11)

Then compare:  go test ./internal/jpeg -run TestPillow -corpus DIR

DIR/sums.txt has a line for each file and scale: name, scale, width, height, CRC, or "error" where
Pillow refuses the file. Pillow should be that of Debian (python3-pil), which uses libjpeg-turbo.
"""
import argparse, io, os, random, subprocess, tarfile, zipfile, zlib
import numpy as np
from PIL import Image

SAMPLINGS = ["1x1", "2x1", "2x2", "1x2", "4x1", "4x2", "1x4", "4x4", "3x1", "2x4", "1x1,2x2,2x2", "2x2,1x1,1x2",
             "2x2,2x1,1x1", "2x2,2x1,2x1", "2x1,1x1,2x1", "1x1,1x2,2x1", "2x2,1x2,1x2", "4x2,1x1,2x1"]
SCRIPTS = [
    "0,1,2: 0-0, 0, 0;",                                                     # DC alone: all AC is estimated
    "0,1,2: 0-0, 0, 1; 0: 1-5, 0, 2; 0: 6-63, 0, 2;",                        # low bits and chroma's AC are missing
    "0: 0-0,0,0; 1: 0-0,0,0; 2: 0-0,0,0; 0: 1-9,0,0; 0: 10-63,0,0; 1: 1-63,0,1; 1: 1-63,1,0; 2: 1-63,0,0;",
    "0,1,2: 0-0, 0, 3; 0,1,2: 0-0, 3, 2; 0: 1-63, 0, 3; 0: 1-63, 3, 2; 0,1,2: 0-0, 2, 1; 0,1,2: 0-0, 1, 0;",
    "0,1: 0-0, 0, 0; 2: 0-0, 0, 0; 0: 1-63, 0, 0;",
    "0; 1; 2;", "0,1; 2;", "1,2; 0;",                                        # sequential, several scans
]


def picture(rng, w, h):
    """Gradients, edges and noise: coefficients of all sizes."""
    y, x = np.mgrid[0:h, 0:w].astype(float)
    planes = []
    for _ in range(3):
        a = rng.uniform(0, 255) + rng.uniform(-4, 4) * x + rng.uniform(-4, 4) * y
        a += rng.choice([0, 0, 60, 128]) * np.sin(x * rng.uniform(0, 3) + y * rng.uniform(0, 3))
        a += rng.choice([0, 20, 200]) * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1) > rng.uniform(-20, 40))
        planes.append(a + np.random.default_rng(rng.randrange(1 << 30)).normal(0, rng.choice([0, 0, 5, 60]), (h, w)))
    return np.clip(np.stack(planes, 2), 0, 255).astype(np.uint8)


def run(*command, data):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def draw(rng, scratch, longest):
    """One file of a drawn kind."""
    w, h = rng.randint(1, longest), rng.randint(1, longest)
    image = Image.fromarray(picture(rng, w, h))
    kind = rng.choice(["cjpeg"] * 8 + ["cmyk", "pillow", "damaged", "damaged"])
    quality = rng.choice([1, 5, 20, 50, 75, 85, 90, 95, 98, 100])
    out = io.BytesIO()
    if kind == "cmyk":
        image.convert("CMYK").save(out, "JPEG", quality=quality, progressive=rng.random() < 0.3)
        return marked(rng, out.getvalue())
    if kind == "pillow":
        image.convert(rng.choice(["RGB", "L"])).save(out, "JPEG", quality=quality, optimize=rng.random() < 0.5,
                                                     progressive=rng.random() < 0.3)
        return out.getvalue()
    options = ["-quality", str(quality)]
    options += rng.choice([[], ["-sample", rng.choice(SAMPLINGS)], ["-sample", rng.choice(SAMPLINGS)], ["-grayscale"],
                           ["-rgb"]])
    script = os.path.join(scratch, "scans.txt")
    choice = rng.choice(["baseline", "baseline", "optimize", "progressive", "progressive", "scans", "arithmetic"])
    if choice == "scans" and "-grayscale" not in options:
        with open(script, "w") as f:
            f.write(rng.choice(SCRIPTS))
        options += ["-scans", script]
    elif choice == "arithmetic":
        options += ["-arithmetic"] + rng.choice([[], ["-progressive"]])
    elif choice not in ("baseline", "scans"):
        options += ["-" + choice]
    options += rng.choice([[], [], ["-restart", rng.choice(["1", "2", "1B", "7B"])]])
    image.save(out, "PPM")
    try:
        data = run("cjpeg", *options, data=out.getvalue())
    except subprocess.CalledProcessError:  # an MCU of more than 10 blocks
        return draw(rng, scratch, longest)
    return damage(rng, data) if kind == "damaged" else data


def marked(rng, data):
    """A CMYK file without Adobe's marker, or one that says that it is YCCK."""
    at = data.find(b"Adobe")
    what = rng.choice(["as it is", "without", "ycck"])
    if at < 0 or what == "as it is":
        return data
    if what == "ycck":
        return data[:at + 11] + b"\2" + data[at + 12:]
    return data[:at - 4] + data[at + 10 + 2:]


def damage(rng, data):
    """Changes bytes of the entropy-coded data, cuts the end off, puts bytes between."""
    start = data.find(b"\xff\xda") + 14
    b = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 3])):
        if start < len(b) - 2:
            b[rng.randrange(start, len(b) - 2)] = rng.randrange(256)
    what = rng.choice(["", "", "cut", "ended", "extra"])
    if what in ("cut", "ended") and start < len(b):
        del b[rng.randrange(start, len(b)):]
    if what == "ended":
        b += b"\xff\xd9"
    if what == "extra":
        at = b.find(b"\xff\xdb")
        b[at:at] = b"\1\2\xff\0\3"
    return bytes(b)


def sums(name, data):
    """The lines of sums.txt for a file."""
    lines = []
    for scale in (1, 2, 4, 8):
        try:
            image = Image.open(io.BytesIO(data))
            w, h = image.size
            if min(w, h) < scale:
                continue
            if scale > 1:
                image.draft(None, (w // scale, h // scale))
            image = image.convert("RGB")
            lines.append(f"{name} {scale} {image.width} {image.height} {zlib.crc32(image.tobytes()):08x}")
        except (OSError, SyntaxError):
            return [f"{name} 1 error"]
    return lines


def files(args):
    if args.tar:
        with tarfile.open(args.tar) as tar:
            n = 0
            for member in tar:
                if member.isfile() and member.name.endswith((".jpg", ".jpeg")) and (not args.files or n < args.files):
                    n += 1
                    yield member.name.replace("/", "_"), tar.extractfile(member).read()
    elif args.sums:
        for name in sorted(os.listdir(args.dir)):
            if name != "sums.txt":
                with open(os.path.join(args.dir, name), "rb") as f:
                    yield name, f.read()
    else:
        rng = random.Random(args.seed)
        for n in range(args.files or 1000):
            yield f"{n:05d}.jpg", draw(rng, args.dir, args.longest)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir")
    parser.add_argument("--files", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=int, default=70, help="the longest side of drawn pictures")
    parser.add_argument("--tar")
    parser.add_argument("--sums", action="store_true")
    parser.add_argument("--zip")
    args = parser.parse_args()
    os.makedirs(args.dir, exist_ok=True)
    lines = []
    for name, data in files(args):
        if not args.sums:
            with open(os.path.join(args.dir, name), "wb") as f:
                f.write(data)
        lines += sums(name, data)
    scans = os.path.join(args.dir, "scans.txt")
    if os.path.exists(scans):
        os.remove(scans)
    with open(os.path.join(args.dir, "sums.txt"), "w") as f:
        f.write("\n".join(lines) + "\n")
    if args.zip:
        with zipfile.ZipFile(args.zip, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
            for name in sorted(os.listdir(args.dir)):
                with open(os.path.join(args.dir, name), "rb") as f:
                    z.writestr(zipfile.ZipInfo(name), f.read(), zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    main()
