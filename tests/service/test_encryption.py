"""What is sealed opens in its own place, unaltered, under its own key, and nowhere else."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bentoml_service.encryption import CannotOpen, Cipher
from bentoml_service.key_sets import KeySet, SecretKey


def cipher(*keys: SecretKey) -> Cipher:
    return Cipher(KeySet("encryption", lambda: keys))


OLD = SecretKey("old", os.urandom(32))
NEW = SecretKey("new", os.urandom(32))


@pytest.mark.parametrize("plain", [b"", b"x", os.urandom(100_000)])
def test_what_is_sealed_opens_again(plain: bytes) -> None:
    sealed = cipher(OLD).seal(plain, "film:1")
    assert cipher(OLD).open(sealed, "film:1") == plain
    assert len(sealed) == len(plain) + 30 + len("old")
    assert not plain or len(plain) < 16 or plain[:16] not in sealed


def test_the_layout_is_aes_256_gcm_with_the_header_and_context_authenticated() -> None:
    """Opened by hand, from the module's description of the layout."""
    sealed = cipher(OLD).seal(b"secret", "film:1")
    assert sealed[:5] == b"\x01\x03old"
    opened = AESGCM(OLD.value).decrypt(sealed[5:17], sealed[17:], sealed[:17] + b"film:1")
    assert opened == b"secret"


def test_two_seals_of_one_value_differ() -> None:
    assert len({cipher(OLD).seal(b"x", "here") for _ in range(1000)}) == 1000


def test_a_value_does_not_open_elsewhere() -> None:
    sealed = cipher(OLD).seal(b"x", "film:1")
    for context in ("film:2", "", "film:1 "):
        with pytest.raises(CannotOpen):
            cipher(OLD).open(sealed, context)


def test_no_altered_byte_goes_unseen() -> None:
    sealed = cipher(OLD).seal(b"secret", "here")
    for position in range(len(sealed)):
        for bit in (1, 128):
            wrong = bytearray(sealed)
            wrong[position] ^= bit
            with pytest.raises(CannotOpen):
                cipher(OLD).open(bytes(wrong), "here")


def test_no_shortened_or_lengthened_value_opens() -> None:
    sealed = cipher(OLD).seal(b"secret", "here")
    for wrong in [sealed[:length] for length in range(len(sealed))] + [sealed + b"\0"]:
        with pytest.raises(CannotOpen):
            cipher(OLD).open(wrong, "here")


def test_old_values_open_after_a_rotation_and_can_be_sealed_anew() -> None:
    sealed = cipher(OLD).seal(b"x", "here")
    both = cipher(NEW, OLD)
    assert both.open(sealed, "here") == b"x"
    renewed = both.reseal(sealed, "here")
    assert cipher(NEW).open(renewed, "here") == b"x"
    assert both.reseal(renewed, "here") == renewed


def test_a_key_that_is_not_here_is_named() -> None:
    sealed = cipher(OLD).seal(b"x", "here")
    with pytest.raises(CannotOpen, match="key old is not among the secrets"):
        cipher(NEW).open(sealed, "here")


def test_another_key_of_the_same_name_does_not_open() -> None:
    sealed = cipher(OLD).seal(b"x", "here")
    with pytest.raises(CannotOpen):
        cipher(SecretKey("old", NEW.value)).open(sealed, "here")
