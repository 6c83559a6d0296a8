"""The master key: loading it, deriving keys and pseudonyms from it (HMAC-SHA256), and encrypting values (AES-GCM).

A lake has two secrets. The master key encrypts (wraps) the data keys and can be replaced with `creditloom rotate-keys`.
The root key is used to make the pseudonyms and never changes. It is the first master key of the lake. The key store
contains it, wrapped with the current master key.

If no master key is set, the development key is used. It is public, so that two development machines produce the same
bytes. It protects nothing, and it is refused in production.
"""

import hashlib
import hmac
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

_DEVELOPMENT = hashlib.sha256(b"creditloom: development key, public on purpose").digest()
_NONCE_BYTES = 12
KEY_BYTES = 32


class MasterKeyError(RuntimeError):
    """Raised if the master key is missing or cannot be used."""


@dataclass(frozen=True)
class Keys:
    """The master key of a lake, and its root key if that is a different key. The result of `repr` contains neither key.

    `is_development` is True if at least one of the two keys is the public development key.
    """

    _master: bytes = field(repr=False)
    is_development: bool
    _root: bytes | None = field(default=None, repr=False)

    @property
    def root(self) -> bytes:
        """Return the root key, which is used to make the pseudonyms."""
        return self._root or self._master

    def rooted(self, root: bytes) -> "Keys":
        """Return a copy with the same master key and the given root key."""
        return replace(self, _root=root, is_development=self.is_development or root == _DEVELOPMENT)

    def derive(self, purpose: str) -> bytes:
        """Derive a 32-byte key for the given purpose from the root key.

        The derived key never changes during the life of a lake, because the root key does not change.
        """
        return hmac.new(self.root, purpose.encode(), hashlib.sha256).digest()

    @property
    def wrapping(self) -> bytes:
        """Return the key that wraps the data keys. It is derived from the master key and changes with it."""
        return hmac.new(self._master, b"wrap", hashlib.sha256).digest()

    @property
    def mark(self) -> str:
        """Return a text that identifies the root key of a lake without revealing the key."""
        return self.derive("mark").hex()

    def pseudonyms(self, values: pl.Series, domain: str) -> pl.DataFrame:
        """Return a frame with one row per distinct value and the columns `value` and `pseudonym`. Nulls are left out.

        A pseudonym has 32 hex digits. The same value has different pseudonyms in different domains.
        """
        keyed = HMAC(self.derive(f"pseudonym:{domain}"), SHA256())
        distinct = values.drop_nulls().unique()
        pseudonyms = [_digest(keyed, str(v))[:16].hex() for v in distinct.to_list()]
        return pl.DataFrame({"value": distinct, "pseudonym": pl.Series(pseudonyms, dtype=pl.String)})


def seal(key: bytes, content: bytes, context: str) -> bytes:
    """Encrypt a value with AES-GCM.

    `context` is a text that identifies the place where the value is stored. The value can only be decrypted with the
    same context, so it cannot be moved to another place unnoticed.
    """
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, context.encode())


def unseal(key: bytes, sealed: bytes, context: str) -> bytes:
    """Decrypt a value that `seal` encrypted with the same key and the same context.

    Raises:
        cryptography.exceptions.InvalidTag: if the key or the context is wrong, or if the bytes were changed.
    """
    return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())


def _digest(keyed: HMAC, text: str) -> bytes:
    """Return the HMAC of a text, computed from a copy of the state `keyed`.

    Copying the state takes 0.8 microseconds per value, whereas creating a new state takes 2 microseconds.
    """
    state = keyed.copy()
    state.update(text.encode())
    return state.finalize()


def load_keys(master_key: str | None, master_key_file: Path | None, *, production: bool) -> Keys:
    """Load the master key from a text or a file. If neither is given, return the public development key.

    Args:
        master_key: 64 hex digits (CREDITLOOM_MASTER_KEY). If this is given, the file is ignored.
        master_key_file: a file outside the data folder that contains 64 hex digits (CREDITLOOM_MASTER_KEY_FILE).
        production: True if the development key must be refused.

    Raises:
        MasterKeyError: if the file cannot be read, if the key is not 64 hex digits, or if `production` is True and the
            key is missing or is the development key.
    """
    try:
        text = master_key or (master_key_file.read_text().strip() if master_key_file else None)
    except OSError as error:
        raise MasterKeyError(f"the master key file {master_key_file} cannot be read: {error.strerror}") from None
    if text is None:
        if production:
            raise MasterKeyError(
                "production needs a master key: set CREDITLOOM_MASTER_KEY_FILE to a file outside the data folder "
                "that contains 64 hex digits (for example from `openssl rand -hex 32`)"
            )
        return Keys(_DEVELOPMENT, is_development=True)
    try:
        master = bytes.fromhex(text)
    except ValueError:
        raise MasterKeyError("the master key is not hexadecimal") from None
    if len(master) != KEY_BYTES:
        raise MasterKeyError(f"the master key has {len(master)} bytes; {KEY_BYTES} are needed (64 hex digits)")
    if production and master == _DEVELOPMENT:
        raise MasterKeyError("this is the public development key; production needs its own key")
    return Keys(master, is_development=False)
