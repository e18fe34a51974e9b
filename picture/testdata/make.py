#!/usr/bin/env python3
"""Makes the pictures in kinds/ and writes want.tsv: what Pillow makes of them and of inputs/.

Needs Debian 12's python3-pil (9.4), libtiff-tools and webp. Run it in this folder. The files are committed; run it
again only to add kinds. With a folder and names of folders in it, it writes the want.tsv of other pictures, which
MOCO_PICTURES_DIR gives to the test. A line of want.tsv: file, width, height, CRC-32 of the RGB bytes on white, of those with
transparency dropped; or the first words of Pillow's error.
"""
import io, os, struct, subprocess, sys, zlib
from PIL import Image, ImageOps, PngImagePlugin

W, H = 23, 17


def rgb(w=W, h=H):
    im = Image.new("RGB", (w, h))
    im.putdata([((x * 11 + y * 3) % 256, (y * 15 + 20) % 256, (x * x + 7 * y + 40) % 256)
                for y in range(h) for x in range(w)])
    return im


def alpha(w=W, h=H):
    a = Image.new("L", (w, h))
    a.putdata([[0, 255, (x * 13 + y * 29) % 256, 128][(x // 3 + y // 2) % 4] for y in range(h) for x in range(w)])
    return a


def rgba():
    im = rgb().convert("RGBA")
    im.putalpha(alpha())
    return im


def la():
    return Image.merge("LA", (rgb().convert("L"), alpha()))


def pal(n=256):
    return rgb().quantize(n)


def save(name, im, **kw):
    im.save("kinds/" + name, **kw)


def write(name, b):
    open("kinds/" + name, "wb").write(b)


def tiffcp(name, source, *args):
    subprocess.run(["tiffcp", *args, "kinds/" + source, "kinds/" + name], check=True, stderr=subprocess.DEVNULL)


# ---- PNG -------------------------------------------------------------------------------------------------------

def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(w, h, depth, colour, rows, extra=b"", interlace=0, tail=b"", end=True):
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, interlace))
    out += extra + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows))) + tail
    return out + (chunk(b"IEND", b"") if end else b"")


def noise(n, seed=1):
    out = bytearray()
    for _ in range(n):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        out.append(seed >> 16 & 255)
    return bytes(out)


def adam7(w, h, bits, data):
    """The rows of the seven passes; data[y] are the pixels of a row, as whole bytes or bits."""
    rows = []
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for y in range(y0, h, dy):
            px = [data[y][x] for x in range(x0, w, dx)]
            if not px:
                continue
            if bits >= 8:
                rows.append(b"".join(px))
            else:
                s = "".join(format(p, "0%db" % bits) for p in px)
                s += "0" * (-len(s) % 8)
                rows.append(int(s, 2).to_bytes(len(s) // 8, "big"))
    return rows


def pngs():
    plte = chunk(b"PLTE", noise(768, 5))
    for depth in (1, 2, 4, 8):
        n = (W * depth + 7) // 8
        write("gray%d.png" % depth, png(W, H, depth, 0, [noise(n, y + 1) for y in range(H)]))
        write("palette%d.png" % depth, png(W, H, depth, 3, [noise(n, y + 1) for y in range(H)], plte))
        write("palette%d_trns.png" % depth, png(W, H, depth, 3, [noise(n, y + 1) for y in range(H)],
              plte + chunk(b"tRNS", noise(2 ** depth, 9))))
        data = [[v % 2 ** depth for v in noise(W, y + 3)] for y in range(H)]
        if depth == 8:
            data = [[bytes([v]) for v in r] for r in data]
        write("palette%d_interlaced.png" % depth, png(W, H, depth, 3, adam7(W, H, depth, data), plte, 1))
    short = chunk(b"PLTE", noise(30, 5))
    write("palette_short.png", png(W, H, 8, 3, [noise(W, y + 1) for y in range(H)], short))
    write("palette_one_trns.png", png(W, H, 4, 3, [noise((W + 1) // 2, y + 1) for y in range(H)],
          plte + chunk(b"tRNS", b"\xff\xff\0\xff")))
    write("gray1_trns.png", png(W, H, 1, 0, [noise(3, y + 1) for y in range(H)], chunk(b"tRNS", b"\0\0")))
    write("gray8_trns.png", png(W, H, 8, 0, [bytes((x * y) % 7 * 30 for x in range(W)) for y in range(H)],
          chunk(b"tRNS", b"\0\x3c")))
    write("rgb8_trns.png", png(W, H, 8, 2, [
          b"".join(bytes([1, 2, 3] if (x + y) % 3 else [9, x, y]) for x in range(W)) for y in range(H)],
          chunk(b"tRNS", b"\0\1\0\2\0\3")))
    write("rgb16.png", png(W, H, 16, 2, [noise(6 * W, y + 1) for y in range(H)]))
    write("rgba16.png", png(W, H, 16, 6, [noise(8 * W, y + 1) for y in range(H)]))
    write("la16.png", png(W, H, 16, 4, [noise(4 * W, y + 1) for y in range(H)]))
    save("la8.png", la())
    save("rgba8.png", rgba())
    save("rgb8.png", rgb())
    for kind, size in ((2, 3), (6, 4), (4, 2), (0, 1)):
        data = [[noise(size, 99 * y + x) for x in range(W)] for y in range(H)]
        write("interlaced_type%d.png" % kind, png(W, H, 8, kind, adam7(W, H, 8, data), b"", 1))
    for w, h in ((1, 1), (2, 3), (5, 1), (1, 9)):
        data = [[noise(3, 99 * y + x) for x in range(w)] for y in range(h)]
        write("interlaced_%dx%d.png" % (w, h), png(w, h, 8, 2, adam7(w, h, 8, data), b"", 1))
    rows = [noise(3 * W, y + 1) for y in range(H)]
    body = zlib.compress(b"".join(b"\0" + r for r in rows))
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, 8, 2, 0, 0, 0))
    write("many_idat.png", head + b"".join(chunk(b"IDAT", body[i:i + 50]) for i in range(0, len(body), 50)) + chunk(b"IEND", b""))
    write("idat_crc.png", head + chunk(b"IDAT", body)[:-4] + b"abcd" + chunk(b"IEND", b""))
    write("adler.png", head + chunk(b"IDAT", body[:-4] + b"abcd") + chunk(b"IEND", b""))
    write("no_adler.png", head + chunk(b"IDAT", body[:-4]) + chunk(b"IEND", b""))
    write("after_iend.png", head + chunk(b"IDAT", body) + chunk(b"IEND", b"") + b"garbage" * 9)
    write("bad_tail.png", head + chunk(b"IDAT", body) + b"\0\0\0\x04tEXtab")
    filters = bytearray()
    for y in range(40):
        filters += bytes([y % 5]) + noise(3 * W, y + 7)
    write("filters3.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", W, 40, 8, 2, 0, 0, 0)) +
          chunk(b"IDAT", zlib.compress(bytes(filters))) + chunk(b"IEND", b""))
    for colour, depth, size in ((0, 8, 1), (4, 8, 2), (6, 8, 4), (2, 16, 6), (6, 16, 8), (3, 4, 0.5)):
        filters = bytearray()
        for y in range(40):
            filters += bytes([(y * 3) % 5]) + noise(int(size * W + .5), y + 8)
        write("filters_type%d_%d.png" % (colour, depth), b"\x89PNG\r\n\x1a\n" +
              chunk(b"IHDR", struct.pack(">IIBBBBB", W, 40, depth, colour, 0, 0, 0)) + plte +
              chunk(b"IDAT", zlib.compress(bytes(filters))) + chunk(b"IEND", b""))


# ---- orientation -----------------------------------------------------------------------------------------------

def exif(value, kind=3, order="<", count=1):
    code = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}[kind]
    v = struct.pack(order + code, value)
    v += b"\0" * (4 - len(v))
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IHHHI", 8, 1, 0x112, kind, count) + v + b"\0" * 4


def orientations():
    for o in range(1, 9):
        save("exif%d.png" % o, rgb(), exif=b"Exif\0\0" + exif(o))
    for kind in (1, 3, 4, 8, 9):
        for order in "<>":
            name = "%s_type%d" % ("le" if order == "<" else "be", kind)
            save("exif_%s.png" % name, rgb(), exif=b"Exif\0\0" + exif(6, kind, order))
    save("exif_long.webp", rgb(), lossless=True, exif=b"Exif\0\0" + exif(8, 4, ">"))
    save("exif_rgba.webp", rgba(), lossless=True, exact=True, exif=b"Exif\0\0" + exif(5))
    save("exif_nine.png", rgb(), exif=b"Exif\0\0" + exif(9))
    e = exif(6, 3, ">")
    raw = "\nexif\n%8d\n" % (len(e) + 6) + "\n".join((b"Exif\0\0" + e).hex()[i:i + 72] for i in range(0, 2 * len(e) + 12, 72)) + "\n"
    for name, zip in (("text", False), ("ztext", True)):
        info = PngImagePlugin.PngInfo()
        info.add_text("Raw profile type exif", raw, zip=zip)
        save("exif_%s.png" % name, rgb(), pnginfo=info)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>', zip=True)
    save("xmp.png", rgb(), pnginfo=info)
    b = open("kinds/rgb8.png", "rb").read()
    write("exif_after_idat.png", b[:-12] + chunk(b"eXIf", exif(6)) + b[-12:])


# ---- GIF -------------------------------------------------------------------------------------------------------

def sub(b):
    out = b""
    for i in range(0, len(b), 255):
        out += bytes([len(b[i:i + 255])]) + b[i:i + 255]
    return out + b"\0"


def lzw(indices, bits):
    """Nothing but literals and clear codes."""
    clear, acc, n, out, since = 1 << bits, 0, 0, bytearray(), 0
    def put(c):
        nonlocal acc, n
        acc |= c << n; n += bits + 1
        while n >= 8:
            out.append(acc & 255); acc >>= 8; n -= 8
    for i in indices:
        if since == 0:
            put(clear)
        put(i); since = (since + 1) % max(1, clear - 3)
    put(clear + 1)
    out.append(acc & 255)
    return bytes(out)


def gif(w, h, frames, table=b"", version=b"GIF89a", tail=b";"):
    flags = 0x80 | (len(table) // 3).bit_length() - 2 if table else 0
    return version + struct.pack("<HHBBB", w, h, flags, 0, 0) + table + b"".join(frames) + tail


def frame(x, y, w, h, indices, transparent=None, table=b"", disposal=0, bits=4):
    out = b""
    if transparent is not None or disposal:
        out = b"!\xf9\x04" + struct.pack("<BHB", disposal << 2 | (transparent is not None), 10, transparent or 0) + b"\0"
    flags = 0x80 | (len(table) // 3).bit_length() - 2 if table else 0
    return out + b"," + struct.pack("<HHHHB", x, y, w, h, flags) + table + bytes([bits]) + sub(lzw(indices, bits))


def gifs():
    t16, u16 = noise(48, 3), noise(48, 4)
    ix = [(x * y + x) % 16 for y in range(H) for x in range(W)]
    save("optimized.gif", pal())
    save("interlaced.gif", pal(), interlace=1)
    big = Image.frombytes("L", (120, 90), noise(120 * 90)).quantize(256)
    save("long_codes.gif", big)
    save("run.gif", Image.new("P", (200, 100), 3))
    write("small_frame.gif", gif(W + 5, H + 4, [frame(2, 3, W, H, ix)], t16))
    write("small_frame_trans.gif", gif(W + 5, H + 4, [frame(2, 3, W, H, ix, 5)], t16))
    write("beyond.gif", gif(9, 8, [frame(4, 3, W, H, ix)], t16))
    write("own_table.gif", gif(W, H, [frame(0, 0, W, H, ix, table=u16)], t16))
    write("own_table_only.gif", gif(W, H, [frame(0, 0, W, H, ix, 2, table=u16)]))
    write("short_table.gif", gif(W, H, [frame(0, 0, W, H, ix)], t16[:12]))
    write("no_trailer.gif", gif(W, H, [frame(0, 0, W, H, ix)], t16, tail=b""))
    write("stray.gif", gif(W, H, [b"\0\0\0" + frame(0, 0, W, H, ix)], t16))
    write("stray2.gif", gif(W, H, [b"abc" + frame(0, 0, W, H, ix)], t16))
    write("comment.gif", gif(W, H, [b"!\xfe" + sub(b"hello, here is a comment") + frame(0, 0, W, H, ix)], t16))
    write("extra_pixels.gif", gif(W, H, [frame(0, 0, W, H, ix + ix)], t16))
    write("two_frames.gif", gif(W, H, [frame(0, 0, W, H, ix, 1), frame(2, 2, 4, 3, [3] * 12, 0)], t16))
    write("two_controls.gif", gif(W, H, [b"!\xf9\x04\x01\0\0\x07\0", frame(0, 0, W, H, ix, 1)], t16))


# ---- BMP -------------------------------------------------------------------------------------------------------

def bmp(bits, data, w=W, h=H, compression=0, table=b"", head=40, masks=b"", gap=b"", colours=0, offset=None, reserved=0):
    if head == 12:
        dib = struct.pack("<IHHHH", 12, w, h, 1, bits)
    else:
        dib = struct.pack("<IiiHHIIiiII", head, w, h, 1, bits, compression, len(data), 2835, 2835, colours, 0)
        dib += (masks if head > 40 else b"") + b"\0" * (head - 40 - (len(masks) if head > 40 else 0))
    if head <= 40:
        dib += masks
    at = 14 + len(dib) + len(table) + len(gap)
    return b"BM" + struct.pack("<III", at + len(data), reserved, at if offset is None else offset) + dib + table + gap + data


def bmps():
    def rows(bits, w=W, h=H):
        n = (w * bits + 31) // 32 * 4
        return b"".join(noise(n, y + 1) for y in range(h))
    bgrx = noise(1024, 6)
    for bits in (1, 4, 8):
        t = bgrx[:4 << bits]
        write("bits%d.bmp" % bits, bmp(bits, rows(bits), table=t))
        write("os2_bits%d.bmp" % bits, bmp(bits, rows(bits), table=bgrx[:3 << bits], head=12))
        write("down%d.bmp" % bits, bmp(bits, rows(bits), h=-H, table=t))
    write("few_colours.bmp", bmp(8, rows(8), table=bgrx[:40], colours=10))
    write("gray_table.bmp", bmp(8, rows(8), table=b"".join(bytes([i, i, i, 0]) for i in range(256))))
    write("offset_forgets_table.bmp", bmp(8, rows(8), table=bgrx, offset=54))
    write("bits16.bmp", bmp(16, rows(16)))
    write("bits24.bmp", bmp(24, rows(24)))
    write("os2_bits24.bmp", bmp(24, rows(24), head=12))
    write("os2v2_bits24.bmp", bmp(24, rows(24), head=64))
    write("down24.bmp", bmp(24, rows(24), h=-H))
    write("bits32.bmp", bmp(32, rows(32)))
    write("gap24.bmp", bmp(24, rows(24), gap=b"x" * 30))
    write("reserved24.bmp", bmp(24, rows(24), reserved=0x12345678))
    m565 = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    write("m565.bmp", bmp(16, rows(16), compression=3, masks=m565))
    write("m565_v4.bmp", bmp(16, rows(16), compression=3, masks=m565, head=108))
    write("m555.bmp", bmp(16, rows(16), compression=3, masks=struct.pack("<III", 0x7C00, 0x3E0, 0x1F)))
    write("m8888.bmp", bmp(32, rows(32), compression=3, masks=struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)))
    write("m8888_alpha.bmp", bmp(32, rows(32), compression=3, head=108,
          masks=struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)))
    write("m8888_rgba_v5.bmp", bmp(32, rows(32), compression=3, head=124,
          masks=struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)))
    write("m8888_zero.bmp", bmp(32, rows(32), compression=3, head=108, masks=struct.pack("<IIII", 0, 0, 0, 0)))
    runs = b""
    for y in range(H):
        runs += bytes([7, y + 1, 9, 3 * y]) + b"\0\x05" + noise(5, y + 2) + b"\0" + bytes([2, 200]) + b"\0\0"
    write("runs8.bmp", bmp(8, runs + b"\0\1", compression=1, table=bgrx))
    skip = bytes([5, 17]) + b"\0\2\3\2" + bytes([6, 99]) + b"\0\0" + bytes([W, 3]) + b"\0\0"
    skip += b"".join(bytes([W, y]) + b"\0\0" for y in range(H - 4)) + b"\0\1"
    write("runs8_delta.bmp", bmp(8, skip, compression=1, table=bgrx))
    runs = b"".join(bytes([9, 16 * y % 256 | 5, 8, 0x3A]) + b"\0\6" + noise(3, y + 2) + b"\0" + b"\0\0" for y in range(H))
    write("runs4.bmp", bmp(4, runs + b"\0\1", compression=2, table=bgrx[:64]))


# ---- TIFF ------------------------------------------------------------------------------------------------------

def tiff(tags, data, order="<", magic=42):
    """One strip. Tags: {tag: (type, values)}."""
    size = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4}
    code = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 6: "b", 8: "h", 9: "i"}
    tags = dict(tags)
    tags.setdefault(256, (3, [W])); tags.setdefault(257, (3, [H])); tags.setdefault(259, (3, [1]))
    tags.setdefault(273, (4, [8])); tags.setdefault(279, (4, [len(data)])); tags.setdefault(278, (3, [H]))
    data += b"\0" * (len(data) % 2)
    at = 8 + len(data)
    after = at + 2 + 12 * len(tags) + 4
    ifd, extra = struct.pack(order + "H", len(tags)), b""
    for tag in sorted(tags):
        kind, values = tags[tag]
        v = struct.pack(order + code[kind] * len(values), *values)
        ifd += struct.pack(order + "HHI", tag, kind, len(values) // (1 + (kind == 5)))
        if len(v) <= 4:
            ifd += v + b"\0" * (4 - len(v))
        else:
            ifd += struct.pack(order + "I", after + len(extra))
            extra += v + b"\0" * (len(v) % 2)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", magic, at)
    return head + data + ifd + struct.pack(order + "I", 0) + extra


def tiffs():
    bw = rgb().convert("1")
    for comp in ("group3", "group4", "tiff_lzw", "packbits", "tiff_adobe_deflate", None):
        for name, im in (("1", bw), ("l", rgb().convert("L")), ("rgb", rgb()), ("rgba", rgba()), ("p", pal()), ("cmyk", rgb().convert("CMYK"))):
            if comp in ("group3", "group4") and name != "1":
                continue
            if comp in ("packbits", "tiff_adobe_deflate") and name in ("l", "p", "cmyk"):
                continue
            save("%s_%s.tif" % (name, comp or "raw"), im, compression=comp)
    wide = Image.frombytes("1", (96, 40), noise(480))
    save("wide_g4.tif", wide, compression="group4")
    save("wide_g3.tif", wide, compression="group3")
    for name, args in (("g3_1d_fill", ["-c", "g3:1d:fill"]), ("g4_lsb", ["-c", "g4", "-f", "lsb2msb"]),
                       ("g4_strips", ["-c", "g4", "-r", "7"]), ("g3_2d", ["-c", "g3:2d"]), ("g3_2d_fill", ["-c", "g3:2d:fill"]),
                       ("g4_tiles", ["-c", "g4", "-t", "-w", "32", "-l", "16"])):
        tiffcp(name + ".tif", "wide_g4.tif", *args)
    save("ccitt_rle.tif", wide, compression="tiff_ccitt")
    # Runs of every length, in rows that differ from each other.
    lengths, bits = list(range(0, 130)) + list(range(130, 2700, 61)), []
    for y in range(60):
        row, x, colour = [], 0, y % 2
        while len(row) < 2800:
            n = lengths[(y * 3 + x * (1 if y % 3 else 7)) % len(lengths)]
            row += [colour] * n
            colour ^= 1; x += 1
        bits += row[:2800]
    runs = Image.new("1", (2800, 60)); runs.putdata([255 * b for b in bits])
    for name, comp in (("ccitt", "tiff_ccitt"), ("g3", "group3"), ("g4", "group4")):
        save("runs_%s.tif" % name, runs, compression=comp)
    tiffcp("runs_g3_2d.tif", "runs_g4.tif", "-c", "g3:2d")
    for comp in ("none", "lzw:2", "zip:2", "packbits", "zstd:2", "jpeg:r"):
        n = comp.replace(":", "_")
        tiffcp("tiled_%s.tif" % n, "rgb_raw.tif", "-c", comp, "-t", "-w", "16", "-l", "16")
        tiffcp("strips_%s.tif" % n, "rgb_raw.tif", "-c", comp, "-r", "8")
    tiffcp("kind_lzma.tif", "rgb_raw.tif", "-c", "lzma")
    for comp in ("none", "lzw", "zip:2"):
        n = comp.replace(":", "_")
        tiffcp("planar_%s.tif" % n, "rgb_raw.tif", "-c", comp, "-p", "separate")
        tiffcp("planar_rgba_%s.tif" % n, "rgba_raw.tif", "-c", comp, "-p", "separate", "-r", "5")
    tiffcp("planar_tiled.tif", "rgb_raw.tif", "-c", "zip", "-p", "separate", "-t", "-w", "16", "-l", "16")
    tiffcp("be.tif", "rgb_raw.tif", "-B", "-c", "lzw:2")
    tiffcp("bigtiff_le.tif", "rgb_raw.tif", "-8", "-c", "none")
    tiffcp("bigtiff_be.tif", "rgb_raw.tif", "-8", "-B", "-c", "zip")
    tiffcp("lsb.tif", "l_raw.tif", "-f", "lsb2msb", "-c", "none")
    tiffcp("lsb_lzw.tif", "l_raw.tif", "-f", "lsb2msb", "-c", "lzw")
    tiffcp("lsb_zip.tif", "l_raw.tif", "-f", "lsb2msb", "-c", "zip")
    tiffcp("lsb_packbits.tif", "l_raw.tif", "-f", "lsb2msb", "-c", "packbits")
    for order in "<>":
        o = "le" if order == "<" else "be"
        for bits in (1, 2, 4, 8):
            n = (W * bits + 7) // 8
            for photo in (0, 1):
                write("%s_gray%d_photo%d.tif" % (o, bits, photo), tiff({258: (3, [bits]), 262: (3, [photo]), 277: (3, [1])}, noise(n * H, bits), order))
            cm = [v * 257 for v in noise(3 << bits, 3)]
            write("%s_palette%d.tif" % (o, bits), tiff({258: (3, [bits]), 262: (3, [3]), 277: (3, [1]), 320: (3, cm)}, noise(n * H, bits), order))
        for n, extra in ((4, [0]), (4, [1]), (4, [2]), (4, None), (5, [0, 0]), (5, [2, 0]), (6, [1, 0, 0]), (4, [999])):
            t = {258: (3, [8] * n), 262: (3, [2]), 277: (3, [n])}
            if extra:
                t[338] = (3, extra)
            write("%s_rgb%d_extra%s.tif" % (o, n, "none" if extra is None else extra[0]), tiff(t, noise(W * H * n, n), order))
        for n, extra in ((3, None), (4, [0]), (4, [1]), (4, [2]), (4, None)):
            t = {258: (3, [16] * n), 262: (3, [2]), 277: (3, [n])}
            if extra:
                t[338] = (3, extra)
            write("%s_rgb16_%d_extra%s.tif" % (o, n, "none" if extra is None else extra[0]), tiff(t, noise(W * H * n * 2, n), order))
        write("%s_la.tif" % o, tiff({258: (3, [8, 8]), 262: (3, [1]), 277: (3, [2]), 338: (3, [2])}, noise(W * H * 2, 4), order))
        write("%s_pa.tif" % o, tiff({258: (3, [8, 8]), 262: (3, [3]), 277: (3, [2]), 338: (3, [2]), 320: (3, [v * 257 for v in noise(768, 3)])}, noise(W * H * 2, 4), order))
        write("%s_cmyk.tif" % o, tiff({258: (3, [8] * 4), 262: (3, [5]), 277: (3, [4])}, noise(W * H * 4, 4), order))
        write("%s_cmykx.tif" % o, tiff({258: (3, [8] * 5), 262: (3, [5]), 277: (3, [5]), 338: (3, [0])}, noise(W * H * 5, 4), order))
        floats = struct.pack(order + "f" * (W * H), *[(i * 7.3) % 300 - 20 for i in range(W * H)])
        write("%s_float255.tif" % o, tiff({258: (3, [32]), 262: (3, [1]), 277: (3, [1]), 339: (3, [3])}, floats, order))
        write("%s_long_tags.tif" % o, tiff({256: (4, [W]), 257: (4, [H]), 258: (3, [8] * 3), 262: (3, [2]), 277: (3, [3]), 278: (4, [2 ** 32 - 1]), 273: (4, [8])}, noise(W * H * 3, 4), order))
        write("%s_odd_magic.tif" % o, tiff({258: (3, [8] * 3), 262: (3, [2]), 277: (3, [3])}, noise(W * H * 3, 4), order, magic=42 << 8))
    write("cmyk16.tif", tiff({258: (3, [16] * 4), 262: (3, [5]), 277: (3, [4])}, noise(W * H * 8, 4)))
    write("no_photometric.tif", tiff({258: (3, [8]), 277: (3, [1])}, noise(W * H, 4)))
    write("bits_once.tif", tiff({258: (3, [8]), 262: (3, [2]), 277: (3, [3])}, noise(W * H * 3, 4)))
    save("float_lzw.tif", Image.open("kinds/le_float255.tif"), compression="tiff_lzw")
    tiffcp("float_predictor3.tif", "le_float255.tif", "-c", "zip:3")
    tiffcp("float_predictor2.tif", "le_float255.tif", "-c", "zip:2")
    tiffcp("rgb16_predictor2.tif", "le_rgb16_3_extranone.tif", "-c", "lzw:2")
    save("pages.tif", rgb(), save_all=True, append_images=[Image.new("RGB", (5, 5))])
    save("jpeg_ycc.tif", rgb(64, 48), compression="jpeg", quality=95)
    tiffcp("jpeg_rgb.tif", "rgb_raw.tif", "-c", "jpeg:r:95")
    tiffcp("jpeg_gray.tif", "l_raw.tif", "-c", "jpeg:95")
    save("jpeg_cmyk.tif", rgb(64, 48).convert("CMYK"), compression="jpeg", quality=95)
    tiffcp("jpeg_ycc_tiled.tif", "jpeg_ycc.tif", "-c", "jpeg:95", "-t", "-w", "32", "-l", "32")
    for h, v in ((1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 2), (4, 4), (0, 0)):
        t = {258: (3, [8] * 3), 262: (3, [6]), 277: (3, [3]), 259: (3, [8])}
        if h:
            t[530] = (3, [h, v])
        h, v = h or 2, v or 2
        n = -(-W // h) * -(-H // v) * (h * v + 2)
        write("ycc_%d%d_%d.tif" % (h, v, 530 in t), tiff(t, zlib.compress(noise(n, 4))))
    t[529] = (5, [2125, 10000, 7154, 10000, 721, 10000])
    write("ycc_709.tif", tiff(t, zlib.compress(noise(n, 4))))
    t[532] = (5, [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1])
    write("ycc_range.tif", tiff(t, zlib.compress(noise(n, 4)), ">"))
    for kind in (1, 3, 4):
        write("turned_type%d.tif" % kind, tiff({258: (3, [8] * 3), 262: (3, [2]), 277: (3, [3]), 274: (kind, [6])}, noise(W * H * 3, 4)))
    for name, tags, n in (("lab", {258: (3, [8] * 3), 262: (3, [8]), 277: (3, [3])}, 3), ("int16", {258: (3, [16]), 262: (3, [1]), 277: (3, [1]), 339: (3, [2])}, 2),
                          ("uint32", {258: (3, [32]), 262: (3, [1]), 277: (3, [1])}, 4), ("rgb_float", {258: (3, [32] * 3), 262: (3, [2]), 277: (3, [3]), 339: (3, [3] * 3)}, 12),
                          ("double", {258: (3, [64]), 262: (3, [1]), 277: (3, [1]), 339: (3, [3])}, 8), ("mask", {258: (3, [1]), 262: (3, [4]), 277: (3, [1])}, 1),
                          ("gray16", {258: (3, [16]), 262: (3, [1]), 277: (3, [1])}, 2), ("gray12", {258: (3, [12]), 262: (3, [1]), 277: (3, [1])}, 2),
                          ("565", {258: (3, [5, 6, 5]), 262: (3, [2]), 277: (3, [3])}, 2)):
        write("kind_%s.tif" % name, tiff(tags, noise(W * H * n, 4)))


# ---- WebP ------------------------------------------------------------------------------------------------------

def webps():
    for w, h in ((W, H), (24, 18), (1, 1), (2, 2), (3, 5), (64, 33)):
        save("lossy_%dx%d.webp" % (w, h), rgb(w, h), quality=60)
    save("lossy_alpha.webp", rgba(), quality=60, exact=True)
    save("lossy_alpha_even.webp", rgba().resize((30, 20)), quality=90, alpha_quality=50, exact=True)
    save("lossless.webp", rgb(), lossless=True)
    save("lossless_alpha.webp", rgba(), lossless=True, exact=True)
    save("lossless_palette.webp", pal(8).convert("RGB"), lossless=True)
    a, b = rgb(32, 24), rgb(32, 24).transpose(Image.Transpose.ROTATE_180)
    save("anim.webp", a, save_all=True, append_images=[b], duration=100, lossless=True)
    save("anim_lossy.webp", a, save_all=True, append_images=[b], duration=100, quality=50)
    r = rgba()
    save("anim_alpha.webp", r, save_all=True, append_images=[r.transpose(Image.Transpose.ROTATE_180)], duration=100, lossless=True, exact=True)
    for name, src in (("part", "lossless_alpha.webp"), ("part_opaque", "lossless.webp")):
        subprocess.run(["webpmux", "-frame", "kinds/" + src, "+100+6+4+0+b", "-frame", "kinds/" + src, "+100+0+0+0+b", "-o", "kinds/anim_%s.webp" % name], check=True, stderr=subprocess.DEVNULL)


# ---- what Pillow makes of them ------------------------------------------------------------------------------------

def reference(path):
    im = Image.open(path)
    if im.format == "TIFF":  # Pillow 9.4 turns these upright when they are loaded, and exif_transpose once more
        im.load()
    else:
        im = ImageOps.exif_transpose(im)
    drop = im.convert("RGB")
    if im.mode in ("RGBA", "LA", "PA") or "transparency" in im.info:
        over = im.convert("RGBA")
        white = Image.new("RGBA", im.size, "white")
        white.alpha_composite(over)
        white = white.convert("RGB")
    else:
        white = drop
    return white, drop


def want(root, folders):
    with open(root + "/want.tsv", "w") as out:
        for folder in folders:
            for name in sorted(os.listdir(root + "/" + folder)):
                path = folder + "/" + name
                try:
                    white, drop = reference(root + "/" + path)
                    crc = ["%08x" % zlib.crc32(m.tobytes()) for m in (white, drop)]
                    print(path, *white.size, *crc, sep="\t", file=out)
                except Exception as e:
                    print(path, "error", str(e).split(" '")[0][:40], sep="\t", file=out)
                    continue
                if name == "jpeg_cmyk.tif":  # another decoder than for all other JPEGs: it differs by a level or two
                    white.save("near/" + path.replace("/", "_") + ".png", optimize=True)


def main():
    if len(sys.argv) > 1:  # other pictures: folders, and MOCO_PICTURES_DIR for the test
        Image.MAX_IMAGE_PIXELS = None
        return want(sys.argv[1], sys.argv[2:])
    os.makedirs("kinds", exist_ok=True)
    os.makedirs("near", exist_ok=True)
    pngs(); orientations(); gifs(); bmps(); tiffs(); webps()
    want(".", ["inputs", "kinds"])


if __name__ == "__main__":
    main()
