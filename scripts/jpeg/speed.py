#!/usr/bin/python3
"""Times moco's JPEG decoder beside Pillow and djpeg, in turns, and prints the least processor time of each.

  speed.py --make IMAGE OUT       a photo of 12 megapixels from a larger picture: OUT-base.jpg, OUT-prog.jpg
  speed.py FILE... [--path PATH]  a table in milliseconds, for 1/1, 1/2, 1/4 and 1/8

Pillow is timed from bytes in memory to its own pixels (draft mode for reduced sizes), djpeg from its
start to PPM in /dev/null, moco from bytes to RGB, through its benchmark. All use one thread, but for
Go's garbage collection, whose time counts. Run it from the repository.
"""
import argparse, io, re, resource, subprocess
from PIL import Image

SCALES = (1, 2, 4, 8)


def make(source, out):
    Image.MAX_IMAGE_PIXELS = None
    image = Image.open(source).convert("RGB")
    w, h = image.size
    cut_w, cut_h = min(w, h * 4 // 3), min(h, w * 3 // 4)
    left, top = (w - cut_w) // 2, (h - cut_h) // 2
    image = image.crop((left, top, left + cut_w, top + cut_h)).resize((4000, 3000), Image.LANCZOS)
    for name, progressive in (("base", False), ("prog", True)):
        image.save(f"{out}-{name}.jpg", quality=85, subsampling="4:2:0", progressive=progressive)


def timed(f, who):
    def spent():
        usage = resource.getrusage(who)
        return usage.ru_utime + usage.ru_stime
    start = spent()
    f()
    return 1000 * (spent() - start)


def pillow(data, scale):
    image = Image.open(io.BytesIO(data))
    if scale > 1:
        image.draft("RGB", (image.width // scale, image.height // scale))
    image.load()


def djpeg(name, scale):
    subprocess.run(["djpeg", "-scale", f"1/{scale}", "-outfile", "/dev/null", name], check=True)


def moco(name, path, repeats):
    """The least time of each scale on a kernel path."""
    out = subprocess.run(["go", "test", "./internal/jpeg", "-run", "^$", "-bench", "Decode/" + path, "-photo", name,
                          "-benchtime", f"{repeats}x"], stdout=subprocess.PIPE, check=True, text=True).stdout
    times = {}
    for scale, ms in re.findall(r"^BenchmarkDecode/\S+/1:(\d)\S*\s.*?([\d.]+) min-ms", out, re.M):
        times[int(scale)] = float(ms)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--path", default="avx2", help="moco's kernel path: avx2 or portable")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    if args.make:
        make(*args.files)
        return
    print("| file | decoder | " + " | ".join(f"1/{s}" for s in SCALES) + " |")
    print("|---|---|" + "---|" * len(SCALES))
    for name in args.files:
        with open(name, "rb") as f:
            data = f.read()
        least = {}
        for _ in range(args.rounds):
            for scale in SCALES:
                for _ in range(args.repeats):
                    ms = timed(lambda: pillow(data, scale), resource.RUSAGE_SELF)
                    least["Pillow", scale] = min(least.get(("Pillow", scale), 1e9), ms)
                    ms = timed(lambda: djpeg(name, scale), resource.RUSAGE_CHILDREN)
                    least["djpeg", scale] = min(least.get(("djpeg", scale), 1e9), ms)
            for scale, ms in moco(name, args.path, args.repeats).items():
                least["moco", scale] = min(least.get(("moco", scale), 1e9), ms)
        for who in ("moco", "Pillow", "djpeg"):
            times = " | ".join(f"{least[who, scale]:.1f}" for scale in SCALES)
            print(f"| {name.split('/')[-1]} | {who} | {times} |", flush=True)


if __name__ == "__main__":
    main()
