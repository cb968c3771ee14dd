"""Pictures that strangers send: read whole or refused, upright, on white, fitted."""

import hashlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from lorajobs.image_errors import ImageInvalid, ImageTooLarge
from lorajobs.source_picture import SourcePicture, opened, read_picture
from tests.images import a_picture, decoded, encoded

MOST = 10_000
ORIENTATION = 0x0112
SECOND = Image.new("RGB", (96, 64))
FILES = {kind: encoded(kind=kind) for kind in ("PNG", "JPEG", "WEBP")}


def read(data: bytes) -> SourcePicture:
    return read_picture(data, MOST)


@pytest.mark.parametrize("kind", FILES)
def test_what_a_file_is(kind: str) -> None:
    found = read(FILES[kind])
    assert found.sha256 == hashlib.sha256(FILES[kind]).hexdigest()
    assert found.content_type == f"image/{kind.lower()}"
    assert (found.image.size, found.image.mode) == ((96, 64), "RGB")


def test_a_photo_is_turned_upright_as_its_camera_says() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    found = read(encoded(kind="PNG", exif=exif)).image
    assert found.size == (64, 96)
    assert found.tobytes() == a_picture().transpose(Image.Transpose.ROTATE_270).tobytes()


def test_what_is_transparent_becomes_white() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    half = Image.new("LA", (8, 8), (0, 128))
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30])
    assert read(encoded(clear)).image.getpixel((4, 4)) == (255, 255, 255)
    assert read(encoded(half)).image.getpixel((4, 4)) == (127, 127, 127)
    assert read(encoded(palette)).image.getpixel((4, 4)) == (10, 20, 30)
    assert read(encoded(palette, transparency=0)).image.getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "kind"), [("1", "PNG"), ("L", "JPEG"), ("CMYK", "JPEG")])
def test_other_colours_become_rgb(mode: str, kind: str) -> None:
    found = read(encoded(Image.new(mode, (8, 8), 0), kind)).image
    expected = (255, 255, 255) if mode == "CMYK" else (0, 0, 0)
    assert (found.mode, found.getpixel((4, 4))) == ("RGB", expected)


def test_a_phones_picture_with_another_inside_is_read() -> None:
    data = encoded(kind="MPO", save_all=True, append_images=[a_picture(48, 32)])
    found = read(data)
    assert (found.image.size, found.content_type) == ((96, 64), "image/jpeg")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "no PNG, JPEG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PNG, JPEG or WebP"),
        (encoded(kind="GIF"), "no PNG, JPEG or WebP"),
        (encoded(kind="TIFF"), "no PNG, JPEG or WebP"),
        (encoded(Image.new("I;16", (8, 8), 9)), "8 bits per channel"),
        (encoded(kind="WEBP", save_all=True, append_images=[SECOND]), "animated"),
        (encoded(kind="PNG", save_all=True, append_images=[SECOND]), "animated"),
    ],
)
def test_what_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(ImageInvalid, match=what):
        read(data)


@pytest.mark.parametrize("kind", FILES)
def test_half_a_file_is_refused(kind: str) -> None:
    with pytest.raises(ImageInvalid):
        read(FILES[kind][: len(FILES[kind]) // 2])


def a_bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""

    def chunk(name: bytes, data: bytes) -> bytes:
        whole = name + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_jpeg_of_many_empty_scans_is_refused_before_it_is_decoded() -> None:
    # Each keeps a decoder busy for the whole picture, so a megabyte of them could for an hour.
    plain = encoded(Image.new("L", (96, 64)), "JPEG", progressive=True)
    scan = plain[plain.rindex(b"\xff\xda") : -2]
    few, many = (plain[:-2] + scan * count + plain[-2:] for count in (9, 200))
    assert read(few).image.size == (96, 64)
    with pytest.raises(ImageInvalid, match="scans; save it anew"):
        read(many)


@pytest.mark.parametrize("side", [101, 9_500, 60_000])
def test_what_would_be_huge_is_refused_before_it_is_decoded(side: int) -> None:
    with pytest.raises(ImageTooLarge, match="10,000"):
        read(a_bomb(side, side))


@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_damaged_file_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(FILES[kind])
    at = st.integers(0, len(damaged) - 1)
    for place in data.draw(st.lists(at, min_size=1, max_size=8)):
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(damaged))
    except (ImageInvalid, ImageTooLarge):
        return
    assert found.image.mode == "RGB"


def test_a_picture_of_the_same_proportions_is_only_scaled() -> None:
    source = read(FILES["PNG"])
    assert opened(source.fitted(96, 64)).tobytes() == a_picture().tobytes()
    scaled = a_picture().resize((48, 32), Image.Resampling.LANCZOS)
    assert opened(source.fitted(48, 32)).tobytes() == scaled.tobytes()


def test_what_hangs_over_is_cut_off_evenly() -> None:
    found = decoded(read(FILES["PNG"]).fitted(64, 64))
    middle = a_picture().crop((16, 0, 80, 64))
    assert found.size == (64, 64)
    assert ImageChops.difference(found, middle).getbbox() is None
