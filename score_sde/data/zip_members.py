"""The members of a zip archive by their place in the file.

No archive stays open: threads and processes read side by side.
"""

import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from score_sde.runtime.bounded_reading import check_member
from score_sde.runtime.damage import need, need_format, reading

# bytes of a zip archive before the name of a member; the lengths of name and extra
# field end them
_LOCAL_HEADER = 30
_ENCRYPTED = 1  # a bit of the flags


def members_of(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The files in an archive, by their names.

    Raises:
        FileError: where the file is no archive, or is damaged.
    """
    with reading(path), path.open("rb") as stream:
        need_format(zipfile.is_zipfile(stream), "it is no zip archive, or is cut off")
        with zipfile.ZipFile(stream) as archive:
            return {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}


def member_offset(stream: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """The place of the bytes of a member in the archive.

    Raises:
        ValueError: where the archive ends before.
    """
    stream.seek(entry.header_offset)
    header = stream.read(_LOCAL_HEADER)
    need(len(header) == _LOCAL_HEADER, "the archive ends before its members do")
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return entry.header_offset + _LOCAL_HEADER + name + extra


def member_bytes(path: Path, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, compared with their checksum.

    Raises:
        ValueError: where the member is damaged, encrypted, or compressed in a way other
            than zip's usual one.
        zlib.error, OSError: where it is damaged, or cannot be read.
    """
    need_format(not entry.flag_bits & _ENCRYPTED, "it is encrypted")
    need_format(
        entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        "it is compressed by another method than deflate",
    )
    check_member(entry, path)
    with path.open("rb") as stream:
        stream.seek(member_offset(stream, entry))
        found = stream.read(min(entry.compress_size, path.stat().st_size))
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(found, entry.file_size + 1)
    need(
        len(found) == entry.file_size and zlib.crc32(found) == entry.CRC,
        "its bytes do not have their checksum",
    )
    return found
