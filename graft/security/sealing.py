"""Values that the store may hold only sealed: the secret params of runs.

Sealed with AES-SIV (RFC 5297), not with AES-GCM: it needs no nonce, so the same value of the same run gives the same
bytes, and a start that is asked for twice is still known for the same. What a seal is for (`about`) goes in as
associated data, so a seal cannot be moved to another run or param.

The key is made of a text that is configured (`security.secrets_key`, the same on every member), or of the file
`secrets.key` in the data directory, which a process that is alone makes when it first needs one.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path
from typing import Any, Final

import msgspec

from graft.errors import ExpressionError, StorageError, UsageError

KEY_FILE: Final = "secrets.key"  # in a data directory
SEALED: Final = "$sealed"
NO_KEY: Final = "set `security.secrets_key` to the same text on every member, or give the value as a declared secret"


class Sealer:
    """`configured` is a text or "", `file` where the key of a directory is or would be. `makes`: the file is made when
    a key is needed and there is none. Keys are read when first needed."""

    def __init__(self, configured: str = "", file: Path | None = None, *, makes: bool = False) -> None:
        self._configured, self._file, self._makes = configured, file, makes
        self._keys: list[Any] | None = None

    @classmethod
    def of_one_process(cls) -> Sealer:
        """With a key that nobody keeps."""
        return cls(secrets.token_hex(32))

    def seal(self, value: Any, about: str) -> dict[str, str]:
        """`value`, which is JSON, sealed. Raises UsageError when there is no key, StorageError."""
        keys = self._all(making=self._makes and not self._configured)
        if not keys or not (self._configured or self._makes):
            raise UsageError("there is no key to seal a secret param with, and in clear it is not kept", hint=NO_KEY)
        sealed = keys[0].encrypt(msgspec.json.encode(value), [about.encode()])
        return {SEALED: base64.b64encode(sealed).decode()}

    def open(self, value: Any, about: str) -> Any:
        """What was sealed; a value that is not sealed is from before there were seals. Raises ExpressionError."""
        if not (isinstance(value, dict) and value.keys() == {SEALED}):
            return value
        from cryptography.exceptions import InvalidTag

        sealed = base64.b64decode(value[SEALED])
        for key in self._all():
            try:
                return msgspec.json.decode(key.decrypt(sealed, [about.encode()]))
            except InvalidTag:
                continue
        hint = f"it was sealed with another `security.secrets_key`, or with the file {KEY_FILE} of another directory"
        raise ExpressionError("a secret param cannot be opened where the step runs", hint=hint)

    def _all(self, *, making: bool = False) -> list[Any]:
        """The keys, the one to seal with first."""
        if self._keys is None or (making and not self._keys):
            from cryptography.hazmat.primitives.ciphers.aead import AESSIV

            texts = [self._configured, self._in_file(making=making)]
            self._keys = [AESSIV(hashlib.sha512(b"graft secrets\0" + text.encode()).digest()) for text in texts if text]
        return self._keys

    def _in_file(self, *, making: bool) -> str:
        if self._file is None:
            return ""
        try:
            return self._file.read_text().strip()
        except FileNotFoundError:
            return make_key_file(self._file) if making else ""
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"{self._file} cannot be read: {error}") from None


def make_key_file(file: Path) -> str:
    """A new key, durable in `file`, which only its owner can read; the one that is there when there is one.

    Raises StorageError.
    """
    text = secrets.token_hex(32)
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, text.encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(new, file)
        except FileExistsError:
            text = file.read_text().strip()
        finally:
            os.unlink(new)
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror or error}") from None
    return text
