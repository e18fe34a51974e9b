"""Make photos of 12 megapixels of a folder of pictures, such as Debian's wallpapers.

    apt-get download mate-backgrounds gnome-backgrounds plasma-workspace-wallpapers
    for p in *.deb; do dpkg -x $p wallpapers; done
    scripts/jpeg/photos.py wallpapers photos 200

Crops of 4:3 at several places and scales, resized to 4000x3000, with a little noise as a sensor has
it, as JPEG of quality 85 with halved chroma: 2.6 MB each. The same arguments give the same crops.
"""

import os
import random
import sys

from PIL import Image, ImageChops


def sources(folder):
    for where, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(where, name)
            if not name.lower().endswith((".jpg", ".png")) or os.path.getsize(path) < 100_000:
                continue
            try:
                size = Image.open(path).size
            except OSError:
                continue
            if min(size) >= 1000 and size[0] * size[1] < 40_000_000:
                yield path


def photo(picture, scale):
    width, height = picture.size
    w = min(width, height * 4 / 3) * scale
    h = w * 3 / 4
    x, y = random.uniform(0, width - w), random.uniform(0, height - h)
    large = picture.resize((4000, 3000), Image.BICUBIC, (x, y, x + w, y + h))
    noise = Image.merge("RGB", [Image.effect_noise(large.size, 6)] * 3)
    return ImageChops.add(large, noise, 1, -128)


def main(folder, out, count):
    random.seed(1)
    paths = sorted(sources(folder))
    os.makedirs(out, exist_ok=True)
    for n in range(int(count)):
        scale = random.uniform(0.6, 1) if n >= len(paths) else 1
        picture = Image.open(paths[n % len(paths)]).convert("RGB")
        photo(picture, scale).save(f"{out}/photo-{n:03d}.jpg", quality=85, subsampling=2)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
