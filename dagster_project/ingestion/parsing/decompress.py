"""Functions that unpack compressed deliveries and refuse archives that could do harm.

A compressed delivery is named `NAME.gz` or `NAME.zip`; a zip file must contain exactly one file. A zip file states its
unpacked size. If that size is too large, the file is refused at once. Otherwise the bytes are still counted while the
file is unpacked, because the stated size may be false.
"""

import io
import stat
import zipfile
import zlib
from typing import IO

from dagster_project.ingestion.parsing.records import DeliveryRefusedError

MOST_BYTES = 2 * 1024**3
MOST_RATIO = 100
_BLOCK = 1024**2
_PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf", b"(\xb5/\xfd", b"Rar!")


def unpack(name: str, content: bytes) -> bytes:
    """Return the content of a file, unpacked if its name ends in .gz or .zip.

    Any other file is returned unchanged.

    Raises:
        DeliveryRefusedError: if the archive is incomplete or encrypted; if it unpacks to more than 2 GB or to more than
            100 times its packed size; if it contains a link, another archive, or a path that leads out of the archive;
            if a zip file contains no file or several; or if the file is an archive but its name does not end in .gz or
            .zip.
    """
    if name.endswith(".gz"):
        unpacked = _gunzip(content)
    elif name.endswith(".zip"):
        unpacked = _unzip(content)
    elif content.startswith(_PACKED):
        raise DeliveryRefusedError("archive", "the file is an archive and its name does not end in .gz or .zip", 0)
    else:
        return content
    if unpacked.startswith(_PACKED):
        raise DeliveryRefusedError("archive_nested", "the archive holds another archive", 0)
    return unpacked


def _gunzip(content: bytes) -> bytes:
    """Return the unpacked content of a gzip file.

    A gzip file may consist of several members. Their contents are joined in order.

    Raises:
        DeliveryRefusedError: if the file is damaged, cut off or empty, or if it unpacks to too many bytes.
    """
    parts, size, rest = [], 0, content
    most = _most(len(content))
    while rest:
        stream = zlib.decompressobj(wbits=31)
        waiting = rest
        try:
            while not stream.eof:
                part = stream.decompress(waiting, _BLOCK)
                parts.append(part)
                size += len(part)
                waiting = stream.unconsumed_tail
                _refuse_bomb(size, most)
                if not part and not waiting and not stream.eof:
                    raise DeliveryRefusedError("archive", "the gzip file is cut off", 0)
        except zlib.error:
            raise DeliveryRefusedError("archive", "the file is no whole gzip file", 0) from None
        rest = stream.unused_data.lstrip(b"\x00")  # some writers fill up the last block with NUL bytes
    if not parts:
        raise DeliveryRefusedError("archive", "the gzip file holds nothing", 0)
    return b"".join(parts)


def _unzip(content: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            member = _only_member(archive)
            most = _most(member.compress_size)
            _refuse_bomb(member.file_size, most)
            with archive.open(member) as stream:
                return _read(stream, most)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        raise DeliveryRefusedError("archive", "the file is no whole zip file, or packed in an unusual way", 0) from None


def _only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = archive.infolist()
    if any(stat.S_ISLNK(m.external_attr >> 16) for m in members):
        raise DeliveryRefusedError("archive_link", "the archive holds a link", 0)
    # `zipfile` replaces `\` by `/` only on Windows; another program may follow the name as it is in the archive.
    paths = [m.orig_filename.replace("\\", "/") for m in members]
    if any(p.startswith("/") or ".." in p.split("/") or p[1:2] == ":" for p in paths):
        raise DeliveryRefusedError("archive_path", "the archive holds a path that leads out of it", 0)
    if len(members) != 1 or members[0].is_dir():
        raise DeliveryRefusedError("archive", f"the archive holds {len(members)} entries; a delivery is one file", 0)
    if members[0].flag_bits & 1:
        raise DeliveryRefusedError("archive", "the archive is encrypted", 0)
    return members[0]


def _read(stream: IO[bytes], most: int) -> bytes:
    parts, size = [], 0
    while part := stream.read(_BLOCK):
        parts.append(part)
        size += len(part)
        _refuse_bomb(size, most)
    return b"".join(parts)


def _most(packed: int) -> int:
    return min(MOST_BYTES, MOST_RATIO * packed)


def _refuse_bomb(size: int, most: int) -> None:
    if size > most:
        message = f"the archive unpacks to more than {MOST_RATIO} times its size, or 2 GB"
        raise DeliveryRefusedError("archive_bomb", message, 0)
