"""Secure comparison: two parties find out which of two whole numbers is greater, and nothing else.

Source: Lin and Tzeng, "An efficient solution to the millionaires' problem based on homomorphic encryption" (ACNS 2005).
Numbers have n bits. The 1-encoding of x holds each prefix of x that ends in 1; the 0-encoding of y holds, for each 0 in
y, the prefix up to it with that 0 turned into 1. x > y exactly if the two have an element in common: then x and y agree
before some bit that is 1 in x and 0 in y. They have at most one in common.

    step               what it does
    make_table (x)     chooser: makes a key, and encrypts a table T[i, b]: 0 where b is bit i of x, else 1
    answer (y)         answerer: for each element of y's 0-encoding, adds up the entries of T at its bits, which gives 0
                       exactly if x has it too; multiplies by a random number; fills up to n with random numbers;
                       encrypts anew; shuffles
    decide             chooser: decrypts; x > y exactly if there is a 0

Encryption is Paillier's, by the library `phe` (extra `crypto`): sums of numbers modulo N, and products with known ones,
can be made of their ciphertexts.

What is learnt, if both do what the protocol says. The answerer sees 2 n ciphertexts under a key that it has not:
nothing, as long as Paillier's encryption holds. The chooser sees n fresh ciphertexts, in random order, of numbers
from 1 to N - 1, each equally likely, but for one 0 if x > y: it learns no more than that, however much it computes. (A
sum that is not 0 is at most n, less than the primes in N. Times a random number from 1 to N - 1 it is again such a
number, and never 0: the result is always right.) A party that does not follow the protocol is not kept from anything.
Who asks several times about the same y with other x finds y by bisection.

Messages: 2 n and n numbers of twice the key's bits. Work: 2 n, at most 2 n, and n modular powers in the three steps.

Key sizes: 2048 bits (the default) are about 112 bits of security, 3072 are 128; 1024 can be broken with a great deal of
work; 512 bits and less, which a computer can break in hours or less, are for tests. A comparison of 40 bits takes about
4 seconds with 2048 bits, 13 with 3072, and 0.1 with 512.

Deviations: the paper encrypts multiplicatively and lets the chooser draw what stands at wrong bits; with a random
multiplier on the other side a 1 will do, and no result can be wrong. A key serves for one number x.

Everything here is plain data and a function of it, but for randomness, which is the operating system's. An agent calls
such functions inside `external`, so that what was drawn is in the log and replay takes it from there. How long they
take depends on the numbers, which an agent's virtual time does not show.
"""

from __future__ import annotations

import math
from importlib import import_module
from types import ModuleType
from typing import Final, NamedTuple

from agentsim.errors import RunError, UserError

DEFAULT_BITS: Final = 40
DEFAULT_KEY_SIZE: Final = 2048
LEAST_KEY_SIZE: Final = 64
MOST_BITS: Final = 1024


class Table(NamedTuple):
    """What the chooser sends: its key's modulus, and ciphertexts for bits n-1, ..., 0: of T[i, 0], then of T[i, 1]."""

    modulus: bytes
    entries: tuple[bytes, ...]


class Secret(NamedTuple):
    """What the chooser keeps: the two primes of its key."""

    p: bytes
    q: bytes


def whole(total: float, bits: int = DEFAULT_BITS) -> int:
    """Return a total as a number to compare: infinity is the greatest one of that many bits.

    Raises:
        UserError: it is negative, not whole, or not less than what stands for infinity.
    """
    greatest = (1 << bits) - 1
    if total == math.inf:
        return greatest
    if not 0 <= total < greatest or total != int(total):  # NaN is refused here
        raise UserError(
            f"secure comparison takes whole numbers from 0 to 2^{bits} - 2 and infinity: give more bits, or scale costs"
        )
    return int(total)


def make_table(x: int, bits: int = DEFAULT_BITS, key_size: int = DEFAULT_KEY_SIZE) -> tuple[Secret, Table]:
    """Begin to compare x, as the chooser: return what to keep and what to send.

    Args:
        x: 0 to 2^bits - 1.
        bits: public, the same on both sides.
        key_size: bits of the key, an even number.

    Raises:
        ValueError: an argument is out of range.
        UserError: `phe` is not installed.
    """
    require_sizes(bits, key_size)
    _require_fit(x, bits)
    public, private = paillier().generate_paillier_keypair(n_length=key_size)
    entries = [public.raw_encrypt(int(b != x >> i & 1)) for i in reversed(range(bits)) for b in (0, 1)]
    size = -(-key_size // 8)
    secret = Secret(private.p.to_bytes(size), private.q.to_bytes(size))
    return secret, Table(public.n.to_bytes(size), tuple(entry.to_bytes(2 * size) for entry in entries))


def answer(y: int, bits: int, table: Table) -> tuple[bytes, ...]:
    """Return the answerer's ciphertexts, as many as bits.

    Raises:
        ValueError: y is not in 0..2^bits - 1.
        UserError: `phe` is not installed.
        RunError: the table is not one for this many bits.
    """
    _require_fit(y, bits)
    phe = paillier()
    public = phe.PaillierPublicKey(int.from_bytes(table.modulus))
    if len(table.entries) != 2 * bits or public.n.bit_length() < LEAST_KEY_SIZE:
        raise RunError(f"no table for a secure comparison of {bits} bits: {len(table.entries)} entries")
    entries = [phe.EncryptedNumber(public, _ciphertext(entry, public.n)) for entry in table.entries]
    sums = []
    prefix = phe.EncryptedNumber(public, 1)  # 0, without randomness, which comes at the end
    for place in range(bits):
        bit = y >> (bits - 1 - place) & 1
        if not bit:
            multiplier = phe.EncodedNumber(public, public.get_random_lt_n(), 0)
            sums.append((prefix + entries[2 * place + 1]) * multiplier)
        prefix += entries[2 * place + bit]
    # `ciphertext` multiplies with a fresh encryption of 0.
    fresh = [total.ciphertext() for total in sums]
    fresh += [public.raw_encrypt(public.get_random_lt_n()) for _ in range(bits - len(sums))]
    fresh.sort(key=lambda _: public.get_random_lt_n())
    return tuple(c.to_bytes(2 * len(table.modulus)) for c in fresh)


def decide(secret: Secret, answers: tuple[bytes, ...]) -> bool:
    """Tell, as the chooser, whether x > y.

    Raises:
        RunError: something among the answers is no ciphertext under its key.
    """
    phe = paillier()
    p, q = (int.from_bytes(prime) for prime in secret)
    private = phe.PaillierPrivateKey(phe.PaillierPublicKey(p * q), p, q)
    plain = [private.raw_decrypt(_ciphertext(c, p * q)) for c in answers]
    return 0 in plain


def require_sizes(bits: int, key_size: int) -> None:
    """Raise ValueError if numbers of this many bits cannot be compared under keys of this size."""
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"bits={bits}: must be 1 to {MOST_BITS}")
    if key_size < LEAST_KEY_SIZE or key_size % 2:
        raise ValueError(f"key_size={key_size}: must be an even number, at least {LEAST_KEY_SIZE}")


def paillier() -> ModuleType:
    """Return the library `phe`; UserError if it is not installed."""
    try:
        return import_module("phe")
    except ImportError:
        raise UserError("secure comparison needs phe: pip install 'agentsim[crypto]'") from None


def _require_fit(number: int, bits: int) -> None:
    if not 0 <= number < 1 << bits:
        raise ValueError(f"the number to compare does not fit into bits={bits}")


def _ciphertext(data: bytes, modulus: int) -> int:
    """Return a ciphertext; RunError if it cannot be one."""
    number = int.from_bytes(data)
    if not 0 < number < modulus**2 or math.gcd(number, modulus) != 1:
        raise RunError("what came is no ciphertext under the chooser's key")
    return number
