"""Functions that write and read the encrypted originals of deliveries, and the encrypted texts of quarantined rows.

An original is split into chunks, and each chunk is encrypted with AES-GCM. The nonce contains the number of the chunk
and a flag for the last chunk, so that an attacker cannot swap, drop or cut off chunks unnoticed. This is the STREAM
construction (Hoang, Reyhanitabar, Rogaway and Vizar 2015).

Each delivery has its own key in the key store. The file name of the original contains the ID of the key. An erasure can
therefore write a new file with a new key before it destroys the old key.
"""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dagster_project.home.files import flush
from dagster_project.ingestion.contracts.canonical import PERSON_IDS
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.lake.files import TMP, LakeCorruptionError, verified
from dagster_project.ingestion.lake.receipts import Receipt, State
from dagster_project.ingestion.parsing.records import raw_lines
from dagster_project.ingestion.persons.identity import PersonSearch, UnreadableError, hide, mentions
from dagster_project.keys.master import seal, unseal
from dagster_project.keys.store import DeliveryKey, KeyDestroyedError


class OriginalMissingError(LakeCorruptionError):
    """Raised if the encrypted file of an original is missing."""


_MAGIC = b"CLO1"
_CHUNK = 1 << 20
_TAG = 16
_PREFIX = 7  # bytes of a nonce's random prefix; a four-byte counter and the last-chunk flag follow it
_NAME = re.compile(r"^([0-9a-f]{64})\.([0-9a-f]{8})\.sealed$")


def keep_originals(deliveries: Sequence[tuple[bytes, Receipt]], source: Source, context: IngestContext) -> None:
    """Write the originals of deliveries, encrypted and without values that identify erased persons.

    The same content is written only once. If an erasure destroyed an original, it stays destroyed even if the file is
    delivered again. This function does not flush; `flush_originals` does it for many files at once.

    Args:
        deliveries: the content and the receipt of each delivery.
        source: the source of the deliveries.
        context: lake and keys.
    """
    keys = context.key_store.make_delivery_keys(source.name, [receipt.sha256 for _, receipt in deliveries])
    erased = context.key_store.erased(source.name)
    for content, receipt in deliveries:
        if receipt.sha256 in keys:
            _keep(content, source, context, receipt, keys[receipt.sha256], erased)


def _keep(
    content: bytes, source: Source, context: IngestContext, receipt: Receipt, key: DeliveryKey, erased: frozenset[str]
) -> None:
    path = original_path(context.lake, source.name, receipt.sha256, key.key_id)
    if path.exists():
        return
    if erased and _may_mention(receipt, context, erased):
        layout = source.contract.layout_of(receipt.file_name)
        try:
            hidden = hide(content, layout, source, context.keys, PersonSearch(erased))
        except UnreadableError:
            hidden = None  # a refused file; only an erasure, which also searches for words, can find the person in it
        content = hidden[0] if hidden else content
    write_sealed(content, path, key.key, f"{source.name}:{receipt.sha256}")


def _may_mention(receipt: Receipt, context: IngestContext, erased: frozenset[str]) -> bool:
    """Return whether a delivery may contain data of an erased person.

    The pseudonyms in the delivery's lake files are compared with those of the erased persons. If some rows of the
    delivery are not in the lake, because its state is not ACCEPTED, the result is always True.
    """
    if receipt.state is not State.ACCEPTED:
        return True
    for item in receipt.files:
        table = pl.scan_parquet(context.lake / item.path).filter(pl.col("delivery_id") == receipt.delivery_id)
        ids = [c for c in PERSON_IDS if c in table.collect_schema()]
        is_erased = pl.any_horizontal(pl.col(ids).is_in(list(erased))) if ids else pl.lit(value=False)
        if table.select(is_erased.any()).collect().item():
            return True
    return False


def flush_originals(context: IngestContext, source: str, sha256s: list[str]) -> None:
    """Flush the originals of the given deliveries to disk, and then the key store.

    `sha256s` contains the hashes of the deliveries. Originals that an erasure destroyed are skipped.
    """
    key_ids = context.key_store.delivery_key_ids(source)
    for sha256 in sha256s:
        if key_ids[sha256]:  # the ID is empty if an erasure destroyed the original
            flush(original_path(context.lake, source, sha256, key_ids[sha256]))
    if _folder(context.lake, source).exists():
        flush(_folder(context.lake, source))
    context.key_store.flush()


def open_original(context: IngestContext, source: str, sha256: str) -> bytes:
    """Return the content of a delivery as it was delivered, without the values that erasures have removed.

    Raises:
        KeyMissingError: if the key store has no key for the delivery, for example because it belongs to another lake.
        KeyDestroyedError: if an erasure destroyed the original.
        OriginalMissingError: if the file is missing. This happens for example if a backup was restored that was made
            before an erasure last rewrote the original.
        LakeCorruptionError: if the file is damaged.
    """
    key = context.key_store.delivery_key(source, sha256)
    return read_sealed(original_path(context.lake, source, sha256, key.key_id), key.key, f"{source}:{sha256}")


def open_row(context: IngestContext, source: str, sha256: str, line_no: int, lines: int, sealed: bytes | None) -> str:
    """Return the raw text of a quarantined row.

    The text is stored in encrypted form with the row (`sealed`). This copy can be decrypted until an erasure gives the
    delivery a new key. After that, the text is read from the rewritten original, which no longer has the values that
    identify the erased person.

    Args:
        context: the lake, the keys and the key store.
        source: the name of the source.
        sha256: the hash of the delivery.
        line_no: the number of the row's first line in the delivery.
        lines: the number of lines that the row spans.
        sealed: the encrypted text, or None if none was stored with the row.

    Raises:
        KeyDestroyedError: if an erasure destroyed the key of the delivery, or if the key store has no such key.
        LakeCorruptionError: if the original is needed, but is missing or damaged.
    """
    key = context.key_store.delivery_key(source, sha256)
    try:
        return unseal(key.key, sealed or b"", _row_context(source, sha256, line_no)).decode()
    except (InvalidTag, ValueError):
        return "\n".join(raw_lines(open_original(context, source, sha256))[line_no - 1 : line_no - 1 + lines])


def sealed_rows(context: IngestContext, receipt: Receipt) -> list[str]:
    """Return the raw texts of a delivery's quarantined rows, as far as they can still be decrypted.

    Rows that cannot be decrypted with the current key of the delivery are skipped. The result is empty if an erasure
    destroyed the key.
    """
    try:
        key = context.key_store.delivery_key(receipt.source, receipt.sha256).key
    except KeyDestroyedError:
        return []
    texts = []
    for item in (f for f in receipt.files if f.table == "quarantine"):
        rows = pl.read_parquet(verified(context.lake, item), columns=["line_no", "sealed_row"]).drop_nulls()
        for line, sealed in rows.iter_rows():
            with contextlib.suppress(InvalidTag):
                texts.append(unseal(key, sealed, _row_context(receipt.source, receipt.sha256, line)).decode())
    return texts


def seal_rows(
    line_nos: Sequence[int], texts: Sequence[str], source: Source, context: IngestContext, sha256: str
) -> list[bytes | None]:
    """Encrypt the raw texts of quarantined rows with the key of their delivery.

    The result has one item per row. The item is None if the row mentions an erased person. All items are None if an
    erasure destroyed the key.
    """
    erased = context.key_store.erased(source.name)
    hidden = mentions(texts, source, context.keys, PersonSearch(erased)) if erased else [False] * len(texts)
    try:
        key = context.key_store.delivery_key(source.name, sha256, make=True).key
    except KeyDestroyedError:
        return [None] * len(texts)
    return [
        None if is_hidden else seal(key, text.encode(), _row_context(source.name, sha256, line))
        for line, text, is_hidden in zip(line_nos, texts, hidden, strict=True)
    ]


def _row_context(source: str, sha256: str, line_no: int) -> str:
    return f"{source}:{sha256}:{line_no}"


def original_path(lake: Path, source: str, sha256: str, key_id: str) -> Path:
    """Return the path of a delivery's original that is encrypted with the given key.

    The path is returned whether or not the file exists.
    """
    return _folder(lake, source) / f"{sha256}.{key_id}.sealed"


def _folder(lake: Path, source: str) -> Path:
    return lake / "originals" / source


def sweep_originals(context: IngestContext, source: str) -> int:
    """Remove the originals whose key was destroyed or replaced, and return the number of removed files.

    An erasure that was interrupted can leave such files.
    """
    folder, removed = _folder(context.lake, source), 0
    if not folder.exists() or not context.key_store.path.exists():
        return 0
    keys = context.key_store.delivery_key_ids(source)
    for path in folder.iterdir():
        parts = _NAME.match(path.name)
        if parts and parts[1] in keys and keys[parts[1]] != parts[2]:
            path.unlink()
            removed += 1
    return removed


def write_sealed(content: bytes, path: Path, key: bytes, context: str) -> None:
    """Encrypt `content` and write it atomically to a file that only the owner can read.

    To decrypt the file, `read_sealed` needs the same key and the same `context`. The file is not flushed to disk here.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TMP)
    cipher, prefix = AESGCM(key), os.urandom(_PREFIX)
    count = max(-(-len(content) // _CHUNK), 1)
    view = memoryview(content)
    temporary.touch(mode=0o600)
    with temporary.open("wb") as out:
        out.write(_MAGIC + prefix)
        for i in range(count):
            nonce = _nonce(prefix, i, is_last=i == count - 1)
            out.write(cipher.encrypt(nonce, view[i * _CHUNK : (i + 1) * _CHUNK], context.encode()))
    temporary.replace(path)


def read_sealed(path: Path, key: bytes, context: str) -> bytes:
    """Read and decrypt a file that `write_sealed` wrote with the same key and the same `context`.

    Raises:
        OriginalMissingError: if the file is missing.
        LakeCorruptionError: if the file was changed or cut off, or if the key or the context is wrong.
    """
    if not path.is_file():
        raise OriginalMissingError(
            f"the original {path.name} is missing: restore it from a backup. A backup that is older than the last "
            "erasure in this original does not contain it, on purpose"
        )
    sealed = path.read_bytes()
    cipher, prefix = AESGCM(key), sealed[len(_MAGIC) : len(_MAGIC) + _PREFIX]
    view, step = memoryview(sealed)[len(_MAGIC) + _PREFIX :], _CHUNK + _TAG
    count = max(-(-len(view) // step), 1)
    try:
        return b"".join(
            cipher.decrypt(_nonce(prefix, i, is_last=i == count - 1), view[i * step : (i + 1) * step], context.encode())
            for i in range(count)
        )
    except (InvalidTag, ValueError):
        raise LakeCorruptionError(f"the original {path.name} is damaged: restore it from a backup") from None


def _nonce(prefix: bytes, counter: int, *, is_last: bool) -> bytes:
    return prefix + counter.to_bytes(4, "big") + bytes([is_last])
